"""The part ``inference``: messages classified per second, and the latency of one message."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measures import computing, now
from benchmarks.runner import Job, Key, Precision, Result, Runner, installed, median, say
from gpt_classifier.data import datasets
from gpt_classifier.errors import InputError
from gpt_classifier.export.exported_classifier import ExportedClassifier
from gpt_classifier.export.formats import To, export
from gpt_classifier.export.onnx import import_library
from gpt_classifier.export.transformers import build_transformers
from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.inference.model_folder import load
from gpt_classifier.statistics.intervals import wilson

NAMES = {
    "predict": "gpt_classifier",
    "int8": "gpt_classifier, int8",
    "onnx": "onnxruntime",
    "onnx-int8": "onnxruntime, int8",
    "pipeline": "transformers pipeline",
}
ONNX = ("onnx", "onnxscript", "onnxruntime")
# Systems that classify with an exported folder, and its format.
EXPORTED: dict[str, To] = {"onnx": "onnx", "onnx-int8": "int8"}


def measure(runner: Runner) -> None:
    """Classifies the same messages with all systems in turn and prints their table."""
    o = runner.options
    table = datasets.load(o.source)["train"].sample(frac=1, random_state=0)[: o.messages or None]
    texts, labels = table["text"].tolist(), table["label"].tolist()
    systems = ["predict", "int8"] if runner.device == "cpu" else ["predict"]
    if o.tokenizer == "gpt2" and installed(NAMES["pipeline"], "transformers"):
        systems.append("pipeline")
    folders = dict.fromkeys(systems, runner.model_folder)
    if runner.device == "cpu" and o.precision == "32-true" and installed(NAMES["onnx"], *ONNX):
        for system, to in EXPORTED.items():
            folder = runner.scratch / system
            try:
                say(export(runner.model_folder, to, folder, texts=texts[:200])[0])
            except InputError as error:  # such as a network that is too large for a file of ONNX
                say(f"{NAMES[system]} is left out: {error}")
            else:
                folders[system] = str(folder)

    def job(system: str) -> Inference:
        return Inference(system, runner.device, o.precision, texts, folders[system])

    results = runner.run_in_turn({(system,): job(system) for system in folders})
    say(f"\nClassifying {len(texts):,} messages of {o.source} with {o.model or o.gpt}, {o.precision}\n")
    _print_speeds(results)
    by_system = {NAMES[system]: results[system,][0]["predictions"] for system in systems if system != "pipeline"}
    if "int8" in systems:
        _print_shifts(*by_system.values())
    if o.model:
        for name, predictions in by_system.items():
            correct = sum(a["label"] == label for a, label in zip(predictions, labels, strict=True))
            say(f"accuracy of all these messages, {name}: {wilson(correct, len(labels))}")


@dataclass(frozen=True)
class Inference(Job):
    """Messages per second for a list, and the median latency of single messages."""

    texts: list[str]
    model: str  # its folder

    def run(self) -> Result:
        texts = self.texts
        if self.system == "pipeline":
            predict, one, note = _pipeline(self.model, self.device, self.precision, texts)
        elif self.system in EXPORTED:
            exported = ExportedClassifier(self.model)
            predict, one, note = exported.predict, lambda text: exported.predict([text]), ""
        else:
            classifier = TextClassifier.load(self.model, self.device, int8=self.system == "int8")
            predict, one, note = classifier.predict, classifier.predict, ""
        with computing(self.device, self.precision):
            predict(texts[:64])
            began = now(self.device)
            predictions = predict(texts)
            seconds = now(self.device) - began
            latencies = []
            for text in texts[:100]:
                start = time.perf_counter()
                one(text)
                latencies.append(time.perf_counter() - start)
        return {
            "seconds": seconds,
            "messages_per_second": len(texts) / seconds,
            "latency_seconds": statistics.median(latencies),
            "note": note,
            "predictions": [] if self.system in ("pipeline", *EXPORTED) else [each._asdict() for each in predictions],
        }


def _pipeline(
    folder: str, device: str, precision: Precision, texts: list[str]
) -> tuple[Callable[..., Any], Callable[..., Any], str]:
    """A text-classification pipeline of ``transformers`` with the same weights, at its fastest batch size."""
    hf = import_library("transformers")
    contents = load(folder)
    padding_id = contents.text_encoder.padding_id
    model = build_transformers(contents.model.backbone, padding_id, len(contents.class_names)).eval()
    tokenizer = _tokenizer(padding_id)
    pipe = hf.pipeline("text-classification", model=model, tokenizer=tokenizer, device=device)
    sample, times = texts[: min(256, len(texts))], {}
    with computing(device, precision):
        pipe(sample[:64], batch_size=16)
        for size in (1, 8, 16, 32, 64) if device == "cpu" else (8, 32, 64, 128, 256):
            began = now(device)
            pipe(sample, batch_size=size)
            times[size] = now(device) - began
    best = min(times, key=times.__getitem__)
    return (lambda many: pipe(many, batch_size=best)), pipe, f"batch size {best}"


def _tokenizer(padding_id: int) -> Any:
    """GPT-2's tokenizer for ``transformers``, from the files in tiktoken's cache."""
    from tiktoken.load import read_file_cached

    hf = import_library("transformers")
    base = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "merges.txt").write_bytes(read_file_cached(base + "vocab.bpe"))
        (Path(folder) / "vocab.json").write_bytes(read_file_cached(base + "encoder.json"))
        tokenizer = hf.GPT2TokenizerFast.from_pretrained(folder)
    tokenizer.pad_token_id = padding_id
    return tokenizer


# ---------------------------------------------------------------- the table


def _print_speeds(results: dict[Key, list[Result]]) -> None:
    say("| system | messages/s | x | one message, ms | peak GB | |")
    say("|---|---|---|---|---|---|")
    base = median(results["predict",], "messages_per_second")
    for (system,), runs in results.items():
        rate = median(runs, "messages_per_second")
        say(
            f"| {NAMES[system]} | {rate:.0f} | {rate / base:.2f} | {1000 * median(runs, 'latency_seconds'):.1f} | "
            f"{median(runs, 'peak_memory') / 2**30:.1f} | {runs[0]['note']} |"
        )


def _print_shifts(exact: list[dict[str, Any]], rounded: list[dict[str, Any]]) -> None:
    same = sum(a["label"] == b["label"] for a, b in zip(exact, rounded, strict=True))
    shifts = [
        abs(probability - b["probabilities"][name])
        for a, b in zip(exact, rounded, strict=True)
        for name, probability in a["probabilities"].items()
    ]
    say(
        f"\nint8 predicts the same class for {same / len(exact):.2%} of messages; "
        f"probabilities shift by {statistics.mean(shifts):.4f} on average, {max(shifts):.3f} at most"
    )
