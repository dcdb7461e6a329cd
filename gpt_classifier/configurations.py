"""Finds the configurations that come with the package; knows nothing about what they say."""

from pathlib import Path


def shipped() -> dict[str, Path]:
    """Their paths by names such as ``spam`` and ``study/article``."""
    package = Path(__file__).parent
    # A wheel has them in the package; in a checkout they lie beside it.
    folder = next((f for f in (package / "configs", package.parent / "configs") if f.is_dir()), package / "configs")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
