"""Who may import whom, and what importing costs."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gpt_classifier

ROOT = Path(gpt_classifier.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"
}
# What a module may import of the package, by the longest name that matches; `errors` and `settings` are everyone's.
# What is not listed may import anything but OUTERMOST.
ALLOWED = {
    "errors": set(),
    "settings": set(),
    "files": set(),
    "memory": set(),
    "tokenizer": {"files"},
    "decision": set(),
    "drawing": set(),
    "learned_tokenizer": {"tokenizer"},
    "encoding": {"tokenizer"},
    "model.gpt": set(),
    "model.lora": set(),
    "model": {"files", "model"},
    "data": {"files", "tokenizer", "learned_tokenizer", "encoding", "data"},
    "huggingface": {"decision", "encoding", "model", "tokenizer"},
    "bundle": {"decision", "files", "encoding", "huggingface", "model"},
    "card": {"bundle"},
    "inference": {
        *(
            "bundle",
            "card",
            "data.values",
            "decision",
            "drawing",
            "encoding",
            "files",
            "inference",
            "learned_tokenizer",
            "model",
        ),
        *("shipped", "tokenizer"),
    },
    "shipped": set(),
    "report": {"data", "decision", "evaluation", "files", "report"},
}
OUTERMOST = {"study", "search", "benchmark", "app", "__main__"}  # import anything, and nobody imports them
FORBIDDEN = {name: {"lightning", "pandas"} for name in ("model", "inference", "bundle", "card", "report")}


def lookup(table: dict[str, set[str]], module: str) -> set[str] | None:
    parts = module.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((table[prefix] for prefix in prefixes if prefix in table), None)


def imported(path: Path) -> set[str]:
    """Full names of all that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[str]:
    """Modules of the package among them, without its name."""
    names = {name.removeprefix("gpt_classifier.") for name in imported(path) if name.startswith("gpt_classifier.")}
    within = {name for name in names if name in MODULES} | {name.rpartition(".")[0] for name in names} & set(MODULES)
    return within - {"errors", "settings"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_the_design_allows(module):
    everything = {name.split(".")[0] for name in MODULES}
    allowed = lookup(ALLOWED, module)
    if allowed is None:
        allowed = everything if module.split(".")[0] in OUTERMOST else everything - OUTERMOST
    assert {other if other in allowed else other.split(".")[0] for other in ours(MODULES[module])} <= allowed
    libraries = {name.split(".")[0] for name in imported(MODULES[module])}
    assert not libraries & (lookup(FORBIDDEN, module) or set())


def test_the_module_that_is_trained_knows_no_callbacks():
    assert not {name for name in imported(MODULES["training.module"]) if "training.callbacks" in name}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_imported(module):
    if module == "benchmark.litserve":  # its class must lie where another process finds it
        pytest.importorskip(
            "litserve", reason="LitServe is an alternative that the benchmark times where it is installed"
        )
    import_module(f"gpt_classifier.{module}")


@pytest.mark.parametrize("name", gpt_classifier.__all__)
def test_a_public_name_is_there_and_listed(name):
    assert getattr(gpt_classifier, name).__name__ == name
    assert name in dir(gpt_classifier)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Classifier3"):
        gpt_classifier.Classifier3  # noqa: B018


@pytest.mark.parametrize("arguments", [("-c", "import gpt_classifier"), ("-m", "gpt_classifier", "--help")])
def test_importing_the_package_and_asking_for_help_load_no_torch(arguments):
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    assert "gpt_classifier" in done.stderr
    assert not {"torch", "lightning", "pandas"} & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
