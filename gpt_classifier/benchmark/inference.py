"""Jobs that classify: a list of messages, and files that grow."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpt_classifier.benchmark.huggingface import as_transformers, transformers_package
from gpt_classifier.bundle import load
from gpt_classifier.data.datamodule import TextDataModule
from gpt_classifier.inference.classifier import TextClassifier

Job = dict[str, Any]


def infer(job: Job) -> Job:
    """Messages a second on a list, and the median latency of single messages."""
    texts = job["texts"]
    if job["system"] == "pipeline":
        predict, one, note = _pipeline(job, texts)
    else:
        classifier = TextClassifier.load(job["model"], int8=job["system"] == "int8")
        predict, one, note = classifier.predict, classifier.predict, ""
    predict(texts[:64])
    began = time.perf_counter()
    answers = predict(texts)
    seconds = time.perf_counter() - began
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
        "answers": [] if job["system"] == "pipeline" else [answer._asdict() for answer in answers],
    }


def _pipeline(job: Job, texts: list[str]) -> tuple[Callable[..., Any], Callable[..., Any], str]:
    """A text-classification pipeline of ``transformers`` on the same weights, at the batch size that suits it best."""
    hf = transformers_package()
    contents = load(job["model"])
    model = as_transformers(contents.model.backbone, contents.encoder.padding_id, len(contents.labels)).eval()
    pipe = hf.pipeline("text-classification", model=model, tokenizer=_tokenizer(contents.encoder.padding_id))
    sample, times = texts[: min(256, len(texts))], {}
    for size in (1, 8, 16, 32, 64):
        began = time.perf_counter()
        pipe(sample, batch_size=size)
        times[size] = time.perf_counter() - began
    best = min(times, key=times.__getitem__)
    return (lambda many: pipe(many, batch_size=best)), pipe, f"batch size {best}"


def _tokenizer(padding_id: int) -> Any:
    """GPT-2's tokenizer for ``transformers``, from the files that tiktoken keeps."""
    from tiktoken.load import read_file_cached

    hf = transformers_package()
    base = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "merges.txt").write_bytes(read_file_cached(base + "vocab.bpe"))
        (Path(folder) / "vocab.json").write_bytes(read_file_cached(base + "encoder.json"))
        tokenizer = hf.GPT2TokenizerFast.from_pretrained(folder)
    tokenizer.pad_token_id = padding_id
    return tokenizer


def load_rows(job: Job) -> Job:
    """Reads and tokenizes a file as for training."""
    began = time.perf_counter()
    data = TextDataModule(job["file"], tokenizer=job["tokenizer"], max_length=256)
    data.setup("fit")
    return {"seconds": time.perf_counter() - began, "rows": sum(len(e) for e in data.encoded.values())}


def predict_rows(job: Job) -> Job:
    """Classifies a file with the command that users call."""
    from gpt_classifier.training.cli import main

    began = time.perf_counter()
    main(["predict", "--ckpt_path", job["checkpoint"], "--data.source", job["file"], "--output", job["output"]])
    return {"seconds": time.perf_counter() - began}
