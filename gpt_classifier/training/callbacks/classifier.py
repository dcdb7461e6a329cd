"""Access to the model in the callbacks of this package."""

from lightning.pytorch import LightningModule

from gpt_classifier.training.module import GPTClassifier


def classifier(pl_module: LightningModule) -> GPTClassifier:
    """``pl_module`` as a GPTClassifier; Lightning declares the hooks of callbacks for any module."""
    if not isinstance(pl_module, GPTClassifier):
        raise TypeError(f"this callback needs a GPTClassifier, not a {type(pl_module).__name__}")
    return pl_module


def class_names(model: GPTClassifier) -> list[str]:
    """Class names in the order of the logits; they are known once anything was computed."""
    assert model.class_names is not None
    return model.class_names
