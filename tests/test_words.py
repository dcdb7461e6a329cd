"""The package speaks the words of docs/pages/glossary.md: identifiers of former days do not come back."""

import io
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gpt_classifier"
RETIRED = {
    "behind_frozen_trunk": "behind_frozen_layers",
    "chance": "rng",
    "class_mix": "class_prior",
    "CLASSICAL": "BASELINES",
    "depth": "start_layer",
    "Depth": "StartLayer",
    "facts": "statistics, results",
    "frozen_depth": "count_frozen_layers",
    "GPTTextClassifier": "TextClassifierEstimator",
    "hire": "build_teacher",
    "Inspection": "Statistics",
    "look_at": "inspect_file",
    "looked_at": "inspected",
    "mend": "fix",
    "perceptron": "mlp",
    "Seen": "FileStatistics",
    "share": "fraction, loss_weight",
    "Share": "Shard",
    "trivial": "baselines",
    "trunk": "frozen layers, state_cache",
    "TrunkCache": "HiddenStateCache",
    "with_predictions": "add_predictions",
}


def names_in(path: Path) -> set[str]:
    """The identifiers of a module."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_identifier_is_a_retired_one(path):
    found = sorted(names_in(path) & RETIRED.keys())
    assert found == [], {name: RETIRED[name] for name in found}
