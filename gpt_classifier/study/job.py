"""One run of a study, in a process of its own: what it does to memory or to the process is nobody else's affair."""

import hashlib
import json
import os
import sys
import threading
import time
import warnings
from pathlib import Path

import torch
from lightning.pytorch.loggers import TensorBoardLogger

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import CLASSICAL
from gpt_classifier.memory import peak_memory
from gpt_classifier.study.plan import SPLITS, Result, Run, Settings, arguments
from gpt_classifier.training.callbacks import BestCheckpoint
from gpt_classifier.training.cli import ClassifierCLI

QUIET: Settings = {"trainer.enable_checkpointing": False, "trainer.enable_progress_bar": False}


def perform(run: Run, scratch: Path, logs: Path) -> Result:
    """Trains and scores; ``scratch`` is a folder for files that nobody needs afterwards."""
    cli = build(run.base, run.settings | {"seed_everything": run.seed}, scratch)
    return _classical(run, cli.datamodule) if run.classical else _network(run, cli, scratch, logs)


def build(base: str, settings: Settings, scratch: Path) -> ClassifierCLI:
    """Data, model and a trainer that leaves no files outside ``scratch``."""
    warnings.filterwarnings("ignore", message="LightningCLI.s args parameter")  # its own advice for notebooks
    settings = settings | QUIET | {"trainer.default_root_dir": str(scratch)}
    return ClassifierCLI(arguments(base, settings, scratch), run=False)


def _network(run: Run, cli: ClassifierCLI, scratch: Path, logs: Path) -> Result:
    trainer, model, data = cli.trainer, cli.model, cli.datamodule
    weights = model.hparams["weights"]
    trainer.loggers = [TensorBoardLogger(logs, name="", version=str(run), default_hp_metric=False)]
    best = BestCheckpoint()
    best.dirpath = str(scratch)  # or it would lie beside the log
    if run.weights == "best":
        trainer.callbacks.append(best)  # type: ignore[attr-defined]
    began = time.perf_counter()
    trainer.fit(model, data)
    seconds = time.perf_counter() - began
    if run.weights == "best":
        checkpoint = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
        model.load_state_dict(checkpoint["state_dict"])
    trainer.callbacks.clear()  # type: ignore[attr-defined]
    trainer.loggers = []  # what follows is for the table alone
    loaders = {name: data.evaluation_dataloader(name) for name in SPLITS}
    scores = {}
    for name, loader in loaders.items():
        trainer.test(model, loader, verbose=False)
        logits, labels, index = model.epoch_predictions
        scores[name] = (logits.argmax(-1) == labels, index)
    return _result(scores) | {
        "seconds": seconds,
        "epochs": trainer.current_epoch,
        "trainable": sum(p.numel() for p in model.model.parameters() if p.requires_grad),
        "initial_weights": weights,
    }


def _classical(run: Run, data: TextDataModule) -> Result:
    assert run.classical is not None
    data.prepare_data()
    data.setup("fit")
    model = CLASSICAL[run.classical]()
    began = time.perf_counter()
    model.fit(data.tables["train"]["text"], data.tables["train"]["label"])
    seconds = time.perf_counter() - began
    scores = {}
    for name in SPLITS:
        table = data.tables[name].sort_values("row", kind="stable")
        correct = model.predict(table["text"]) == table["label"].to_numpy()
        scores[name] = (torch.tensor(correct), torch.tensor(table["row"].to_numpy()))
    return _result(scores) | {"seconds": seconds, "epochs": 0, "trainable": 0, "initial_weights": ""}


def _result(scores: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> Result:
    correct, index = scores["test"]
    return {
        "accuracy": {name: [int(right.sum()), len(right)] for name, (right, _) in scores.items()},
        "test_rows": hashlib.sha256(index.numpy().tobytes()).hexdigest()[:16],  # only equal rows can be paired
        "test_correct": "".join(map(str, correct.int().tolist())),
    }


def main() -> None:
    """Reads a run from the named file and writes its result there; ends when the process that started it does."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    path, logs = Path(sys.argv[1]), Path(sys.argv[2])
    run = Run(**json.loads(path.read_text()))
    try:
        result = perform(run, path.parent, logs)
    except InputError as error:
        sys.exit(str(error))
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory()
    path.write_text(json.dumps(result | {"peak_memory": peak}))
    sys.stdout.flush()
    os._exit(0)  # nothing to tidy up; some libraries' threads would take their time


if __name__ == "__main__":
    main()
