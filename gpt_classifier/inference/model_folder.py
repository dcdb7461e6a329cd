"""Stores a trained classifier so that it needs nothing else: as a folder, or inside a Lightning checkpoint.

A folder holds ``model.safetensors`` (weights, the tokenizer's vocabulary and fingerprints of the training texts),
``config.json`` (everything else) and ``README.md`` (a model card). A checkpoint holds the same under the key
``gpt_classifier``, beside Lightning's own.
An adapter folder holds only what was trained, and the checksum of the weights that it was trained on top of.
"""

from dataclasses import replace
from pathlib import Path

from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError, reason
from gpt_classifier.files import find_in_run, named_model, whole_file
from gpt_classifier.inference import hub
from gpt_classifier.inference.adapter import ADAPTER, load_adapter
from gpt_classifier.inference.bundle import Bundle, check_probabilities, restore
from gpt_classifier.inference.checkpoint_file import CHECKPOINTS, load_checkpoint
from gpt_classifier.inference.formats import has_checksums, read_config, up_to_date, write_config
from gpt_classifier.models.tensor_file import read_tensors, write_tensors
from gpt_classifier.records import check

WEIGHTS = "model.safetensors"


def find_weights(path: str | Path) -> Path:
    """The model folder, or else the checkpoint, of a run or of the newest of several runs; any other path unchanged.

    The model that comes with the package is called by its name.
    """
    path = named_model(path)
    if path.is_file() or (path / "config.json").is_file():
        return path
    found = find_in_run(path, f"model/{WEIGHTS}", *CHECKPOINTS) or path
    return found.parent if found.name == WEIGHTS else found


def save_folder(folder: Path, bundle: Bundle, card: str) -> None:
    """Writes the three files, each whole or not at all; the weights last, so that a folder with weights is complete.

    Low-rank updates are merged into their matrices.
    """
    bundle = bundle.merged()
    check_probabilities(bundle, folder)
    with whole_file(folder / "README.md") as path:
        path.write_text(card, encoding="utf-8")
    save_config(folder, bundle)
    write_tensors(folder / WEIGHTS, bundle.model.state_dict() | bundle.tensors())


def save_config(folder: Path, bundle: Bundle) -> None:
    """Writes only ``config.json``, which holds everything that is not a tensor."""
    write_config(folder, bundle.config())


def load(path: str | Path, base: str | Path | None = None) -> Bundle:
    """From a model folder, a ``.ckpt`` file, a run (``version_N``) or a folder of runs (the newest finished one).

    Of a run that was stopped before it wrote its model folder, the best checkpoint, else the last. An adapter folder
    needs its ``base``, see :func:`load_adapter`. A folder of GPT2ForSequenceClassification is one, too.
    """
    path = Path(path)
    if (path / ADAPTER).is_file():
        if base is None:
            raise InputError(f"{path} is an adapter: name the weights below it (--base gpt2, or their file)")
        return load_adapter(path, base)
    if base is not None:
        raise InputError(f"{path} is not an adapter folder and needs no base: leave out {base}")
    found = find_weights(path.parent if path.name == WEIGHTS else path)
    if found.is_file():
        return load_checkpoint(found)
    if not (found / "config.json").is_file():
        raise InputError(
            f"no model at {path}: expected a folder with config.json and {WEIGHTS}, a run's folder, or a .ckpt file"
        )
    card, config = found / "README.md", read_config(found)
    if hub.is_classifier(config):
        contents = Bundle(*hub.read_classifier(found, config), decision=hub.decision(config))
        try:
            check_probabilities(contents, found)
        except InputError:
            raise
        except Exception as error:  # as of a folder that is not whole
            raise InputError(f"{found} is not a whole classifier ({reason(error)}): fetch it again") from error
        return contents
    contents = restore(up_to_date(config, found), read_tensors(found, has_checksums(config)), found)
    return replace(contents, card=card.read_text(encoding="utf-8") if card.is_file() else "")


def read_decision(folder: Path) -> Decision:
    """The decision that a model folder keeps; the default one if there is no such folder."""
    if not (folder / "config.json").is_file():
        return Decision()
    try:
        decision = up_to_date(read_config(folder), folder)["decision"]
        check(Decision, decision, "decision")
        return Decision(**decision)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the decision in {folder / 'config.json'} is not one ({reason(error)})") from error


def model_folder(path: Path) -> Path:
    """The model folder that ``path`` is, or that of a run or of the newest run in a folder of runs."""
    weights = path / WEIGHTS if (path / WEIGHTS).is_file() else find_in_run(path, f"model/{WEIGHTS}")
    if weights is None:
        raise InputError(
            f"no model folder at {path}: expected one with config.json and {WEIGHTS}, or a run that has one"
        )
    return weights.parent
