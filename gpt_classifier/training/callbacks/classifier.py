"""The model that the callbacks of this package are called with."""

from lightning.pytorch import LightningModule

from gpt_classifier.training.module import GPTClassifier


def classifier(pl_module: LightningModule) -> GPTClassifier:
    """``pl_module`` by its own type: Lightning declares the hooks of callbacks for any module, and so must we."""
    if not isinstance(pl_module, GPTClassifier):
        raise TypeError(f"this callback needs a GPTClassifier, not a {type(pl_module).__name__}")
    return pl_module


def class_names(model: GPTClassifier) -> list[str]:
    """In the order of the logits; known when anything was computed."""
    assert model.class_names is not None
    return model.class_names
