"""Who may import whom, and what importing costs."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gpt_classifier
from gpt_classifier.cli.main import COMMANDS

ROOT = Path(gpt_classifier.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"
}
BENCHMARKS = {f"benchmarks.{path.stem}": path for path in sorted((ROOT.parent / "benchmarks").glob("*.py"))}
# The floors of the house, from the ground up: a package may import what lies below it, never what lies beside or above.
FLOORS = (
    {"statistics", "errors"},
    {"files", "records"},
    {"settings"},
    {"text"},
    {"data", "models"},
    {"decision"},
    {"evaluation"},
    {"inference"},
    {"audit", "reporting", "export", "serve"},
    {"training"},
    {"pretraining"},
    {"experiments"},
    {"cli"},
)
BELOW = {name: set[str]().union(*FLOORS[:number]) for number, floor in enumerate(FLOORS) for name in floor}
NEEDS_NOTHING = {"statistics", "errors"}
WITHOUT_LIGHTNING = {
    "text",
    "models",
    "statistics",
    "decision",
    "evaluation",
    "inference",
    "audit",
    "reporting",
    "export",
    "serve",
}
WITHOUT_PANDAS = {"text", "models", "statistics", "decision", "reporting"}
ONLY = {"matplotlib": "reporting.plots", "ray": "inference.engines"}  # the one place that imports a library
MAX_LINES, MAX_CLASS, MAX_FUNCTION, MAX_COMMAND = 400, 300, 60, 60
SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
LONGER = {("data.datamodule", "__init__"), ("training.module", "__init__")}  # whose arguments are the settings
ROOT_MODULES = {"__init__", "__main__", "errors", "settings", "files", "records"}


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


def rooms(path: Path) -> set[str]:
    """Packages of ours, and modules beside them, that a file imports of."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("gpt_classifier.")} - {"__version__"}


def test_every_room_has_its_floor():
    assert {name.split(".")[0] for name in MODULES} - {"__main__"} == BELOW.keys()
    assert {path.stem for path in ROOT.glob("*.py")} == ROOT_MODULES


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__main__"])
def test_a_module_imports_only_from_below(module):
    room, path = module.split(".")[0], MODULES[module]
    assert rooms(path) - {room} <= (set() if room in NEEDS_NOTHING else BELOW[room])
    libraries = {name.split(".")[0] for name in imported(path)}
    assert "benchmarks" not in libraries, "they are not installed"
    assert not (room in WITHOUT_LIGHTNING and "lightning" in libraries)
    assert not (room in WITHOUT_PANDAS and "pandas" in libraries)
    for library, home in ONLY.items():
        assert library not in libraries or module.startswith(home)


def test_the_module_that_is_trained_knows_no_callbacks():
    assert not {name for name in imported(MODULES["training.module"]) if "training.callbacks" in name}


def test_modules_of_a_package_import_each_other_in_no_circle():
    """While they are imported: what a function imports when it is called may point anywhere within the package."""
    arrows = {name: at_once(path) for name, path in MODULES.items()}
    while leaves := [name for name, others in arrows.items() if not others & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    assert not arrows


def at_once(path: Path) -> set[str]:
    """Modules of ours that are imported together with a file, but for its types."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in (inner for outer in tree.body if not isinstance(outer, (*SCOPES, ast.If)) for inner in ast.walk(outer)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gpt_classifier"):
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
            found |= {name.removeprefix("gpt_classifier.") for name in names} & MODULES.keys()
    return found


@pytest.mark.parametrize("module", MODULES | BENCHMARKS)
def test_modules_classes_and_functions_are_short(module):
    text = (MODULES | BENCHMARKS)[module].read_text(encoding="utf-8")
    is_command = module.startswith("cli.") and module.removeprefix("cli.") in COMMANDS
    assert len(text.splitlines()) <= (MAX_COMMAND if is_command else MAX_LINES)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, SCOPES):
            maximum = MAX_CLASS if isinstance(node, ast.ClassDef) else MAX_FUNCTION
            assert node.end_lineno - node.lineno < maximum or (module, node.name) in LONGER, node.name


@pytest.mark.parametrize("module", [*(f"gpt_classifier.{module}" for module in MODULES), *BENCHMARKS])
def test_a_module_can_be_imported(module):
    import_module(module)


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
