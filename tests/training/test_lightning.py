"""The package stands on what Lightning documents: it neither overrides nor uses a private name of its classes."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import lightning as L
import pytest

import gpt_classifier
from gpt_classifier.training.callbacks.classifier import classifier

ROOT = Path(gpt_classifier.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if re.search(r"^(from|import) lightning", path.read_text(), re.M)]
CLASSES = {
    f"{module.__name__}.{name}": each
    for module in (
        import_module(".".join(("gpt_classifier", *path.relative_to(ROOT).with_suffix("").parts))) for path in FILES
    )
    for name, each in vars(module).items()
    if inspect.isclass(each) and each.__module__ == module.__name__
}
OF_LIGHTNING = {
    name: bases
    for name, each in CLASSES.items()
    if (bases := [base for base in each.__mro__ if base.__module__.startswith("lightning.")])
}
DOCUMENTED = {"_asdict", "_replace", "_exit"}  # of named tuples and of the module os, and public
ARGPARSE = {"_ArgumentGroup", "_group_actions"}  # where it has no public name; the tests of --help see them used


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("name", OF_LIGHTNING)
def test_a_class_shares_no_private_name_with_its_lightning_base(name):
    """Lightning may rename or stop calling such a method in any version, and would call one of ours by accident."""
    tree = ast.parse(inspect.getsource(CLASSES[name]))
    ours = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    ours |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    theirs = {
        found
        for base in OF_LIGHTNING[name]
        for found in re.findall(r"(?:\bself\.|\bdef )(_[a-z]\w*)", inspect.getsource(base))
    }
    assert not {each for each in ours & theirs if private(each)}, "names that belong to Lightning"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_that_uses_lightning_uses_only_private_names_of_its_own(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used, defined = set(), DOCUMENTED | ARGPARSE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Attribute) and private(node.attr):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.attr)
    assert used <= defined


def test_the_classes_that_lightning_calls_are_checked():
    names = {name.rpartition(".")[2] for name in OF_LIGHTNING}
    assert names >= {"ClassifierCLI", "GPTClassifier", "TextDataModule", "Bar", "BestCheckpoint"}


def test_callbacks_refuse_a_model_that_they_know_nothing_of():
    with pytest.raises(TypeError, match=r"GPTClassifier.* LightningModule"):
        classifier(L.LightningModule())
