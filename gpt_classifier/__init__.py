"""GPT-2 text classifiers: labelled text in, one self-contained model folder out.

The public names are imported on first use, so ``import gpt_classifier`` itself costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt_classifier.data.augmentation import AugmentationConfig
    from gpt_classifier.data.datamodule import TextDataModule
    from gpt_classifier.data.readers import FileFormat
    from gpt_classifier.data.samplers import BatchingConfig
    from gpt_classifier.data.splits import SplittingConfig
    from gpt_classifier.errors import InputError
    from gpt_classifier.inference.classifier import TextClassifier
    from gpt_classifier.models.gpt import GPT, GPTConfig
    from gpt_classifier.models.lora import LoRAConfig
    from gpt_classifier.text.encoder import WindowsConfig
    from gpt_classifier.training.callbacks import default_callbacks
    from gpt_classifier.training.estimator import TextClassifierEstimator
    from gpt_classifier.training.module import GPTClassifier
    from gpt_classifier.training.network import ComputeConfig
    from gpt_classifier.training.optimization import OptimizerConfig
    from gpt_classifier.training.text_states import CacheConfig

__version__ = "0.2.0"
__all__ = [
    "GPT",
    "AugmentationConfig",
    "BatchingConfig",
    "CacheConfig",
    "ComputeConfig",
    "FileFormat",
    "GPTClassifier",
    "GPTConfig",
    "InputError",
    "LoRAConfig",
    "OptimizerConfig",
    "SplittingConfig",
    "TextClassifier",
    "TextClassifierEstimator",
    "TextDataModule",
    "WindowsConfig",
    "default_callbacks",
]

_HOMES = {
    "AugmentationConfig": "gpt_classifier.data.augmentation",
    "TextDataModule": "gpt_classifier.data.datamodule",
    "FileFormat": "gpt_classifier.data.readers",
    "BatchingConfig": "gpt_classifier.data.samplers",
    "SplittingConfig": "gpt_classifier.data.splits",
    "InputError": "gpt_classifier.errors",
    "TextClassifier": "gpt_classifier.inference.classifier",
    "GPT": "gpt_classifier.models.gpt",
    "GPTConfig": "gpt_classifier.models.gpt",
    "LoRAConfig": "gpt_classifier.models.lora",
    "WindowsConfig": "gpt_classifier.text.encoder",
    "default_callbacks": "gpt_classifier.training.callbacks",
    "TextClassifierEstimator": "gpt_classifier.training.estimator",
    "GPTClassifier": "gpt_classifier.training.module",
    "ComputeConfig": "gpt_classifier.training.network",
    "OptimizerConfig": "gpt_classifier.training.optimization",
    "CacheConfig": "gpt_classifier.training.text_states",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
