"""Finds what comes with the package, configurations and a model; knows nothing about what they say."""

from pathlib import Path

PACKAGE = Path(__file__).parent
MODEL = "sms-spam"


def configurations() -> dict[str, Path]:
    """Their paths by names such as ``spam`` and ``study/article``."""
    folder = _folder("configs")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def model() -> Path:
    """The folder of the ready-made model, which tells spam from other short messages in English."""
    return _folder("checkpoints") / MODEL


def _folder(name: str) -> Path:
    """A wheel has it in the package; in a checkout it lies beside it."""
    return next((f for f in (PACKAGE / name, PACKAGE.parent / name) if f.is_dir()), PACKAGE / name)
