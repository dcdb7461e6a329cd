"""Starts a fit from a linear probe: removes the blocks above the one that is read, and gives the network its head."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.splits import linked_rows
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.probe_results import ProbeResults, ProbeTrial
from gpt_classifier.models.freezing import freeze, trainable_blocks
from gpt_classifier.models.heads import PADDING_COUNTS, SequenceClassifier, build_head
from gpt_classifier.training.probe import (
    CHOICE_ROWS,
    ENOUGH_ROWS,
    STRENGTHS,
    Linear,
    Probe,
    Rows,
    Solver,
    build_scorer,
    one_thread,
    sampled,
)
from gpt_classifier.training.runs import text_data
from gpt_classifier.training.state_cache import MANY_BYTES, CachedTexts, HiddenStateCache, PooledStates, average_windows
from gpt_classifier.training.text_states import Shard

if TYPE_CHECKING:
    from gpt_classifier.training.module import GPTClassifier

SOLVED = 1e-5  # largest component of the gradient at which the head that is kept is solved


def wants_probe(settings: Mapping[str, Any], data: TextDataModule, whole: bool) -> bool:
    """Whether a fit starts from a probe: where weights bring knowledge and the head is linear, unless told otherwise.

    Raises ``InputError`` if a probe is asked for where there can be none.
    """
    possible = {
        f"a linear head, not {settings['head']!r}": settings["head"] == "linear",
        f"a pooling that leaves padding out, not {settings['pooling']}": settings["pooling"] not in PADDING_COUNTS,
        "windows whose logits are averaged (data.windows.aggregate mean), as a head reads the mean of their states": (
            data.windows is None or data.windows.aggregate == "mean"
        ),
        "the whole network on each device (--trainer.strategy ddp or auto)": whole,
    }
    if settings["probe"] and not all(possible.values()):
        raise InputError(f"a probe needs {next(what for what, there in possible.items() if not there)}")
    wanted = settings["weights"] != "random" if settings["probe"] is None else settings["probe"]
    return wanted and all(possible.values())


def start_from_probe(module: "GPTClassifier") -> ProbeResults | None:
    """Chooses and solves the head of ``module``, and removes the blocks above the one it reads.

    None if a fit does not start so, if it is resumed, as its checkpoint has the head, or if the states would take too
    much room.
    """
    data = text_data(module.trainer) if module.fits() and not module.resumes else None
    if data is None or not wants_probe({**module.hparams, **module.given}, data, module.has_whole_weights()):
        return None
    if module.teacher is not None and not trains_more(module.hparams["trainable"]):
        raise InputError(
            f"trainable is {module.hparams['trainable']}, and the head is solved on the labels, so there is nothing to "
            "learn from a teacher: set trainable to all or last_block, or leave out teacher"
        )
    began = time.monotonic()
    module.clock.start()  # the probe is a part of the training, and may be all of it
    with _plain_tensors():
        module.model.to(module.trainer.strategy.root_device)
        module.model.eval()  # blocks that will train drop nothing here
        found = _choose(module, data)
        if found is None:
            what = "no probe, as its states exceed --model.cache.gigabytes"
            if module.hparams["probe"]:
                raise InputError(f"{what}: raise that")
            rank_zero_info(f"{what}: the head begins with random weights")
            return None
        best, states, probe = found
        best = module.trainer.strategy.broadcast(best)
        whole = module.model.backbone.config.n_layer
        if best.blocks < whole:
            module.model.backbone.keep(best.blocks)
        module.model.pooling = best.pooling
        head = module.trainer.strategy.broadcast(_solve_best(module, data, best, states, probe.solver))
        device = module.device
        module.model.use_head("standardized", head.head().to(device))
        if not trains_more(module.hparams["trainable"]):
            module.model.fold_head()
    rows = len(probe.train.labels if probe.val is None else probe.val.labels)
    by_folds, seconds = probe.val is None, time.monotonic() - began
    probed = ProbeResults(
        best=best,
        trials=probe.trials,
        rows=rows,
        by_folds=by_folds,
        monitor=probe.monitor,
        blocks=whole,
        seconds=seconds,
    )
    rank_zero_info(str(probed))
    return probed


def trains_more(trainable: str | int) -> bool:
    """Whether anything but the head trains, which a probe has solved."""
    return trainable not in ("head", 0, "0")


def adopt_choices(model: SequenceClassifier, given: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> None:
    """Makes of ``model`` what a fit made of it that is resumed from ``checkpoint``, where ``given`` leaves it open.

    Args:
        model: The network as the settings say.
        given: The settings ``blocks``, ``pooling`` and ``head``.
        checkpoint: Checkpoint of that fit.
    """
    saved = checkpoint["hyper_parameters"]
    names = (name.removeprefix("model.") for name in checkpoint["state_dict"] if name.startswith("model.backbone."))
    blocks = {model.block_of(name) for name in names} - {model.backbone.config.n_layer}
    if given["blocks"] is None and blocks and max(blocks) + 1 < model.backbone.config.n_layer:
        model.backbone.keep(max(blocks) + 1)
        freeze(model, saved["trainable"])  # other blocks are the last ones now
    if given["pooling"] is None:
        model.pooling = saved["pooling"]
    if given["head"] == "linear" and saved["head"] == "standardized":
        model.use_head("standardized", build_head("standardized", model.backbone.config.n_embd, model.num_classes))


def validate(trainer: Trainer, monitor: str) -> float | None:
    """Runs a validation before the first epoch, logged and checkpointed like any other, and returns its ``monitor``."""
    if not trainer.enable_validation:
        return None
    trainer.validating = True
    trainer.fit_loop.epoch_loop.val_loop.run()
    trainer.training = True
    score = trainer.callback_metrics.get(monitor)
    return None if score is None else float(score)


def _choose(module: "GPTClassifier", data: TextDataModule) -> tuple[ProbeTrial, PooledStates, Probe] | None:
    assert module.text_encoder is not None
    assert module.class_names is not None
    monitor, shard = module.hparams["monitor"], Shard.from_trainer(module.trainer)
    train, val = data.encoded["train"], data.encoded.get("val")
    if val is not None and len(val) < ENOUGH_ROWS:
        val = None  # folds of the training rows are more
    chosen = sampled(_labels(train.labels), CHOICE_ROWS)
    scored = np.empty(0, dtype=int) if val is None else sampled(_labels(val.labels), CHOICE_ROWS)
    kept, poolings = _list_candidates(module)
    states = _compute_pooled_states(module, len(chosen) + len(scored), kept, poolings)
    places = {place: i for i, place in enumerate(product(kept, poolings))}
    stored = [states.place(*place) for place in places]
    of_train = states.read_rows(train, chosen.tolist(), stored, shard)
    of_val = None if val is None else states.read_rows(val, scored.tolist(), stored, shard)
    if of_train is None or (of_val is None) != (val is None):
        return None
    solver = Solver(len(module.class_names), module.task, module.class_weights)
    score = build_scorer(monitor, module.class_names, module.class_weights)
    groups = linked_rows(data.tables["train"].iloc[chosen]).to_numpy()
    rows = Rows(_labels(train.labels)[chosen], groups, _weights(module, train.rows[chosen]))
    held_out = None if val is None else Rows(_labels(val.labels)[scored], np.empty(0))
    probe = Probe(solver, score, monitor, rows, held_out)

    def read(blocks: int) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        for pooling in poolings:
            place = places[blocks, pooling]
            yield pooling, of_train[:, place].float(), None if of_val is None else of_val[:, place].float()

    with one_thread():
        probe.try_places(kept, read)
        best = next(found for found in read(probe.best.blocks) if found[0] == probe.best.pooling)
        return probe.refine(*best[1:]), states, probe


def _list_candidates(module: "GPTClassifier") -> tuple[list[int], list[str]]:
    """What the probe chooses from: the numbers of blocks that the network may keep, ascending, and the poolings."""
    model = module.model
    layers, trained = model.backbone.config.n_layer, count_trained_blocks(model, module.hparams)
    kept = [layers] if trained < 0 else list(range(max(1, trained), layers + 1))
    return kept, [given] if (given := module.given["pooling"]) else _list_poolings(model)


def _list_poolings(model: SequenceClassifier) -> list[str]:
    return ["mean", "last_token" if model.backbone.config.causal else "first_token"]


def _compute_pooled_states(
    module: "GPTClassifier", rows: int, kept: Sequence[int], poolings: Sequence[str]
) -> PooledStates:
    """The states of these candidates for so many rows.

    Where they are few, those of all blocks and usual poolings, so that runs that ask for others share one pass.
    """
    model, trainer = module.model, module.trainer
    assert module.text_encoder is not None
    size = 4 * rows * model.backbone.config.n_embd
    whole, usual = range(1, model.backbone.config.n_layer + 1), _list_poolings(model)
    if _splits(model) and {*poolings} <= {*usual} and size * len(whole) * len(usual) <= MANY_BYTES:
        kept, poolings = whole, usual
    return PooledStates(
        model,
        module.text_encoder,
        poolings,
        kept,
        module.cache.bytes_on_disk,
        str(trainer.precision),
        trainer.precision_plugin.forward_context,
        half=size * len(kept) * len(poolings) > MANY_BYTES,
    )


def count_trained_blocks(model: SequenceClassifier, settings: Mapping[str, Any]) -> int:
    """How many last blocks train, of a network that may end where the probe reads it best; -1 if it keeps all blocks.

    Networks of which all blocks train, fully or by LoRA, keep them all: what the upper ones do
    not know of the task, they learn.
    """
    blocks = trainable_blocks(settings["trainable"], model.backbone.config.n_layer)
    if blocks is None or settings["blocks"] is not None or not _splits(model):
        return -1
    return blocks


def _splits(model: SequenceClassifier) -> bool:
    return len(model.backbone.starts_at) > 2 and model.backbone.can_remove_blocks


def _solve_best(
    module: "GPTClassifier", data: TextDataModule, best: ProbeTrial, states: PooledStates, solver: Solver
) -> Linear:
    """The head for all training rows, behind the network as it is now."""
    assert module.text_encoder is not None
    train = data.encoded["train"]
    cache = HiddenStateCache.from_config(module.cache, module.model, "head", module.text_encoder, module.trainer, False)
    if states.store.dtype == cache.store.dtype:
        cache.take_over(states.store, states.place(best.blocks, best.pooling))
    cached = cache.texts(train, Shard.from_trainer(module.trainer))
    if not isinstance(cached, CachedTexts):
        raise InputError("the probe's states exceed --model.cache.gigabytes: raise it, or set --model.probe false")
    x = average_windows(torch.cat(cached.states).float(), train.windows)
    strengths = sorted({*(s for s in STRENGTHS if s < best.strength), best.strength})
    with one_thread():
        return list(solver.path(x, _labels(train.labels), strengths, SOLVED, _weights(module, train.rows)))[-1]


def _weights(module: "GPTClassifier", rows: Tensor) -> np.ndarray | None:
    """(N,) the sample weights of these rows."""
    return None if module.sample_weights is None else module.sample_weights[rows].cpu().numpy()


def _labels(labels: Tensor | None) -> Tensor:
    assert labels is not None, "training and validation rows have labels"
    return labels


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """New tensors in float32 on the CPU, also while Lightning builds a model on another device or in bfloat16."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(default)
