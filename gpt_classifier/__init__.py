"""GPT-2 text classifiers: labelled text in, one self-contained model folder out.

The public names are imported on first use, so ``import gpt_classifier`` itself costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt_classifier.data.datamodule import TextDataModule
    from gpt_classifier.inference.classifier import TextClassifier
    from gpt_classifier.models.gpt import GPT, GPTConfig
    from gpt_classifier.training.callbacks import default_callbacks
    from gpt_classifier.training.estimator import GPTTextClassifier
    from gpt_classifier.training.module import GPTClassifier

__version__ = "0.2.0"
__all__ = [
    "GPT",
    "GPTClassifier",
    "GPTConfig",
    "GPTTextClassifier",
    "TextClassifier",
    "TextDataModule",
    "default_callbacks",
]

_HOMES = {
    "GPT": "gpt_classifier.models.gpt",
    "GPTConfig": "gpt_classifier.models.gpt",
    "GPTClassifier": "gpt_classifier.training.module",
    "GPTTextClassifier": "gpt_classifier.training.estimator",
    "TextClassifier": "gpt_classifier.inference.classifier",
    "default_callbacks": "gpt_classifier.training.callbacks",
    "TextDataModule": "gpt_classifier.data.datamodule",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
