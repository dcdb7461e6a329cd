"""Reports a test: tables in the terminal, scores and predictions as files, results in the model card."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only
from safetensors import safe_open

from gpt_classifier import __version__
from gpt_classifier.data import writers
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.data.datasets import stem
from gpt_classifier.data.duplicates import compute_digest, find_trained_on, near_duplicate_key
from gpt_classifier.decision.fitting import describe_rates
from gpt_classifier.decision.prior import score_at_class_prior
from gpt_classifier.decision.rule import join_labels
from gpt_classifier.errors import InputError
from gpt_classifier.evaluation.baselines import LIMIT
from gpt_classifier.evaluation.outputs import EpochOutputs
from gpt_classifier.evaluation.results import DecisionResults, NotFinite, Tested, TestResults
from gpt_classifier.evaluation.scores import report
from gpt_classifier.files import whole_file
from gpt_classifier.inference.model_card import with_section
from gpt_classifier.records import to_json
from gpt_classifier.reporting.report import write_report
from gpt_classifier.reporting.results_tables import format_results
from gpt_classifier.settings import flat
from gpt_classifier.training.callbacks.classifier import class_names, classifier
from gpt_classifier.training.callbacks.history import learning_curves
from gpt_classifier.training.callbacks.report_statistics import add_row_statistics, describe_run
from gpt_classifier.training.callbacks.tensorboard import FINAL, find_evaluated_texts
from gpt_classifier.training.callbacks.training_rows import BATCH_SETTINGS, compare_with_baselines, read_training_data
from gpt_classifier.training.module import GPTClassifier
from gpt_classifier.training.runs import run_folder, text_data


class ReportTest(Callback):
    """Prints a test's results and writes them into the logger's run, as ``scores.json`` and ``predictions.csv``.

    Beside them it writes the report of the test, ``report.html`` and ``report.md``. Results on other rows than the
    run's own test rows, or of other weights than its model folder's, get other file names. The run's own results also
    go into the model's card and into TensorBoard's hparams tab.

    Args:
        baselines: Which baselines are trained on the same rows, for comparison: those of at most so many
            estimated seconds; None for none.
        report: Whether ``report.html`` and ``report.md`` are written too, and measured what only they say.
    """

    def __init__(self, baselines: float | None = LIMIT, report: bool = True) -> None:
        self.baselines, self.report = baselines, report
        self.seconds = 0.0  # of the test, without whatever callbacks draw of it

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = -time.perf_counter()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.perf_counter()

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model, run, data = classifier(pl_module), run_folder(trainer), text_data(trainer)
        outputs = model.epoch_outputs["test"]
        texts = find_evaluated_texts(trainer, "test", outputs.rows)
        trained: TextDataModule | InputError = InputError("they were not asked for")
        if self.baselines is not None or self.report:
            trained = read_training_data(data, model)
        curves = learning_curves(trainer, run)
        results: TestResults | NotFinite = self._results(trainer, model, outputs, texts, trained)
        if isinstance(results, TestResults) and curves is not None:
            results = replace(results, validation=curves.validation_at(model.trained_steps()))
        rank_zero_info(format_results(results, shutil.get_terminal_size().columns))
        if run is None:
            rank_zero_info("no scores.json and predictions.csv: this trainer keeps no files")
            return
        ending = _other_rows(data, model, len(outputs)) + _other_weights(run / "model", model)
        readable = None if isinstance(trained, InputError) else trained
        results = replace(results, tested=_describe_tested(model, data, texts))
        if isinstance(results, TestResults):
            results = replace(results, run=describe_run(model, outputs, run, readable, curves))
            if self.report and texts is not None and data is not None:
                results = add_row_statistics(results, data.encoded["test"], model, outputs, texts, readable)
        scores_file, predictions = run / f"scores{ending}.json", run / f"predictions{ending}.csv"
        with whole_file(scores_file) as path:
            text = json.dumps(to_json(results), indent=2, ensure_ascii=False, allow_nan=False, default=str)
            path.write_text(text + "\n", encoding="utf-8")
        writers.write(predictions, _list_predictions(outputs, class_names(model)))
        rank_zero_info(f"scores: {scores_file}, predictions: {predictions}")
        if isinstance(results, NotFinite):
            return
        if self.report:
            rank_zero_info(f"report: {write_report(scores_file)}")
        if not ending:
            if (card := run / "model" / "README.md").is_file():
                text = with_section(card.read_text(encoding="utf-8"), "Test", format_results(results))
                with whole_file(card) as path:
                    path.write_text(text, encoding="utf-8")
            if isinstance(trainer.logger, TensorBoardLogger):
                scores = {name: trainer.callback_metrics.get(f"test/{name}") for name in FINAL}
                shown = {f"final/test_{name}": float(score) for name, score in scores.items() if score is not None}
                trainer.logger.log_metrics(shown, model.trained_steps())

    def _results(
        self,
        trainer: Trainer,
        model: GPTClassifier,
        outputs: EpochOutputs,
        texts: list[str] | None,
        trained: TextDataModule | InputError,
    ) -> TestResults | NotFinite:
        """Scores of the model's outputs, of the baselines, and of the model's own decision."""
        names, data = class_names(model), text_data(trainer)
        clusters = None if texts is None else [near_duplicate_key(text) for text in texts]
        scores = report(outputs, names, clusters)
        if isinstance(scores, NotFinite):
            return scores
        labels, predicted = outputs.labels.numpy(), outputs.logits.argmax(-1).numpy()
        natural_mix = baselines = decision = None
        if data is not None and data.rows.natural_counts and data.test_source is None:  # else the test rows have it
            natural_mix = score_at_class_prior(predicted, labels, names, data.rows.natural_counts)
        if self.baselines is not None:
            baselines = compare_with_baselines(trained, model, outputs, texts, clusters, self.baselines)
        if rule := model.decision.asked:
            probabilities = model.decision.probabilities(outputs.logits.double().numpy())
            on_these_rows = describe_rates(model.decision, probabilities, labels, names)
            decision = DecisionResults(asked=rule, on_these_rows=on_these_rows)
        return TestResults(
            scores=scores,
            loss=float(trainer.callback_metrics["test/loss"]),
            training_seconds=model.trained_seconds(),
            test_seconds=self.seconds,
            natural_mix=natural_mix,
            baselines=baselines,
            decision=decision,
        )


def _describe_tested(model: GPTClassifier, data: TextDataModule | None, texts: list[str] | None) -> Tested:
    known = None if texts is None or model.trained_on is None else find_trained_on(texts, model.trained_on)
    return Tested(
        version=__version__,
        trained_steps=model.trained_steps() or None,
        data=None if data is None else dict(data.hparams),
        test_fingerprint=None if texts is None else compute_digest(texts),
        rows_trained_on=None if known is None else int(known.sum()),
    )


def _other_rows(data: TextDataModule | None, model: GPTClassifier, n: int) -> str:
    """Names rows that are not the test rows of the model's own run; empty where they are."""
    if data is None or not (own := model.data_settings):
        return ""
    own, now = flat(own), flat(data.hparams)
    same = BATCH_SETTINGS | {"balance"}  # which change neither which rows are tested nor what they are called
    changed = any(own[name] != now[name] for name in (own.keys() & now.keys()) - same)
    part = f"-{n}-rows" if n < len(data.tables["test"]) else ""  # with limit_test_batches
    return (f"-{stem(data.test_source or data.source)}" if changed else "") + part


def _other_weights(folder: Path, model: GPTClassifier) -> str:
    """Names weights that are not those of the run's model ``folder``; empty where they are, or where there is none."""
    if not (folder / "model.safetensors").is_file():
        return ""
    head = {f"head.{name}": tensor.cpu() for name, tensor in model.model.plain_head().state_dict().items()}
    with safe_open(folder / "model.safetensors", framework="pt") as stream:
        # The head trains under every policy, so other weights have another head.
        same = all(tensor.equal(stream.get_tensor(name)) for name, tensor in head.items())
    return "" if same else f"-step-{model.trained_steps()}"


def _list_predictions(outputs: EpochOutputs, names: list[str]) -> Iterator[list[object]]:
    """The names of the columns, and the row of each text."""
    yield ["row", "label", "predicted", *(f"probability_{name}" for name in names)]
    true, predicted = (join_labels(which.numpy(), names) for which in (outputs.truth, outputs.predicted))
    columns = (outputs.rows.tolist(), true, predicted, outputs.probabilities.tolist())
    for row, label, prediction, values in zip(*columns, strict=True):
        yield [row, label, prediction, *(f"{value:.6f}" for value in values)]
