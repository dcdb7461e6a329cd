"""Classifies texts with a trained model; needs neither Lightning nor pandas, neither network nor caches."""

import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import torch
from torch import nn

from gpt_classifier import files
from gpt_classifier.data.values import format_value, to_list, to_text
from gpt_classifier.decision.rule import UNSURE
from gpt_classifier.errors import InputError, reason
from gpt_classifier.inference import bundle, model_folder, upload
from gpt_classifier.inference.model_card import model_card
from gpt_classifier.inference.trace import Trace, check_traceable, trace
from gpt_classifier.models.backbone import Backbone
from gpt_classifier.text.encoder import aggregate_logits, batch_tokens, texts_of_windows

if TYPE_CHECKING:
    import pandas as pd

READ_AHEAD = 256  # texts of a stream that are classified together: enough to sort by length and fill batches


class Prediction(NamedTuple):
    """The prediction for one text: the most probable class, unless the model has another rule to decide by.

    Of a text that may have any number of labels, ``labels`` are its labels, and ``label`` the most probable class.
    """

    label: str  # a class name, or ``unsure``
    probability: float  # of that class, of the most probable one where the model abstains
    probabilities: dict[str, float]  # by class name
    candidates: tuple[str, ...] = ()  # the classes that a rule which makes sets leaves

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of a text that may have any number of them."""
        return self.candidates


class TextClassifier:
    """Texts in, class names out: a trained model with its tokenizer, to be used and not trained further.

    It comes from :meth:`load`, or from a model that was just trained, ``GPTClassifier.to_text_classifier()``. What is
    trained is a :class:`~gpt_classifier.training.module.GPTClassifier`; both hold the same network, a
    :class:`~gpt_classifier.models.heads.SequenceClassifier`, which maps token ids to logits.
    ``classes_`` is a (K,) array of the class names, in the order of :meth:`predict_proba`'s columns.

    Examples:
        >>> classifier = TextClassifier.load()
        >>> classifier.predict("URGENT! You have won a free cruise, call now to claim your prize").label
        'spam'
    """

    def __init__(self, contents: bundle.Bundle, device: str | torch.device = "auto", int8: bool = False) -> None:
        self._contents = contents = contents.merged()
        self.classes_ = np.array(contents.class_names, dtype=object)  # of plain strings
        self.text_encoder, self.decision = contents.text_encoder, contents.decision
        self.device = _usable_device(device, int8)
        self.model = contents.model.to(self.device).eval()
        self._parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.int8 = int8
        if int8:
            self.model.backbone = quantized(self.model.backbone)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        device: str | torch.device = "auto",
        int8: bool = False,
        base: str | Path | None = None,
    ) -> "TextClassifier":
        """From a model folder, a run's folder or a ``.ckpt`` file; ``InputError`` if there is none or it is broken.

        Without ``path``, the model that comes with the package, which tells spam from other short messages in English.

        ``device`` is a PyTorch device (``cpu``, ``cuda``, ``cuda:1``, ``mps``), or ``auto`` for the first of CUDA, MPS
        and CPU that is there. ``int8`` quantizes the network's matrices, on the CPU: faster and less exact, see
        :func:`quantized`. ``base`` names the weights below an adapter folder: ``gpt2``, or a .safetensors file.
        """
        return cls(model_folder.load(files.built_in_model() if path is None else path, base), device, int8)

    def save(self, folder: str | Path) -> None:
        """Writes a model folder, which :meth:`load` reads anywhere; one of the same name is replaced.

        Raises ``InputError`` where the folder cannot be written, and for a quantized network.
        """
        if self.int8:
            raise InputError("an int8 network cannot be saved: load the model without int8, and save that")
        model_folder.save_folder(Path(folder), self._contents, self._contents.card or model_card(self._contents))

    @classmethod
    def from_pretrained(
        cls, name: str | Path, revision: str | None = None, device: str | torch.device = "auto", int8: bool = False
    ) -> "TextClassifier":
        """:meth:`load` of a folder, or of a model's name on the Hugging Face hub, from where it is fetched once."""
        return cls.load(name if Path(name).exists() else upload.fetch(str(name), revision), device, int8)

    def save_pretrained(self, folder: str | Path) -> None:
        """The same as :meth:`save`."""
        self.save(folder)

    def push_to_hub(self, name: str) -> str:
        """Uploads the model folder to the private repository ``name`` of the Hugging Face hub; returns its address."""
        with TemporaryDirectory() as scratch:
            self.save(Path(scratch) / "model")
            return upload.push(Path(scratch) / "model", name)

    def __call__(self, texts: str | Iterable[str], top_k: int | None = 1) -> list[Any]:
        """As a pipeline of transformers: a dictionary of ``label`` and ``score`` for each text, the most probable.

        With ``top_k`` other than 1, a list of so many for each text, all if it is None; of one text, that list alone.
        """
        predictions = self.predict([texts] if isinstance(texts, str) else texts)
        if top_k == 1 and not self.decision.multi_label:
            return [{"label": each.label, "score": each.probability} for each in predictions]
        ranked = [sorted(each.probabilities.items(), key=lambda pair: -pair[1])[:top_k] for each in predictions]
        scores = [[{"label": label, "score": score} for label, score in ranking] for ranking in ranked]
        return scores[0] if isinstance(texts, str) else scores

    def __repr__(self) -> str:
        names = ", ".join(self.classes_[:5]) + (", ..." if len(self.classes_) > 5 else "")
        network = self.model.backbone.config
        size = f"{network.n_layer} blocks, hidden size {network.n_embd}, {self._parameters:,} parameters"
        where = f"{self.device}{', int8' if self.int8 else ''}"
        return f"TextClassifier({len(self.classes_)} classes: {names}; {network.model_type}: {size}; on {where})"

    @overload
    def predict(self, texts: str, max_batch_tokens: int | None = ...) -> Prediction: ...  # type: ignore[overload-overlap]  # a str comes first
    @overload
    def predict(self, texts: Iterable[str], max_batch_tokens: int | None = ...) -> list[Prediction]: ...
    def predict(self, texts: str | Iterable[str], max_batch_tokens: int | None = None) -> Any:
        """The prediction for one text; a list of them, in order, for a list, an array, a column or any other iterable.

        ``max_batch_tokens`` limits the number of tokens in one batch, padding included; it decides speed and memory,
        never the result. A missing text (None, NaN) is classified like an empty one. Raises ``InputError`` for a table,
        and names the position of a value that is no text.
        """
        if isinstance(texts, str):
            return self.predict([texts])[0]
        return self._predictions(list(_checked(texts)), max_batch_tokens)

    def predict_frame(self, texts: "pd.Series[str]", max_batch_tokens: int | None = None) -> "pd.DataFrame":
        """A table with the index of a column of pandas, to be joined to the column's table.

        It has the column ``predicted``, of lists of labels for a multi-label model, and ``probability_NAME`` of
        each class.
        """
        import pandas as pd

        if not isinstance(texts, pd.Series):
            raise InputError(
                f"predict_frame takes a column of pandas, got {format_value(texts)}: give predict other texts"
            )
        predictions = self.predict(texts, max_batch_tokens)
        multi_label = self.decision.multi_label
        table: dict[str, list[Any]] = {"predicted": [list(p.labels) if multi_label else p.label for p in predictions]}
        for name in self.classes_:
            table[f"probability_{name}"] = [each.probabilities[name] for each in predictions]
        return pd.DataFrame(table, index=texts.index)

    def predict_stream(self, texts: Iterable[str], max_batch_tokens: int | None = None) -> Iterator[Prediction]:
        """The predictions for texts that come one after the other, of which any number fit into memory.

        It reads 256 texts at a time and classifies them before it reads on.
        """
        checked = _checked(texts)
        return self._stream(checked, max_batch_tokens)

    def predict_proba(self, texts: Iterable[str], max_batch_tokens: int | None = None) -> np.ndarray:
        """(N, K) class probabilities of N texts, a column for each of ``classes_``; see :meth:`predict`.

        An iterator is read to its end first.
        """
        if isinstance(texts, str):
            raise InputError(
                f"predict_proba takes a list of texts, got the single text {format_value(texts)}: put it into a list"
            )
        return self._probabilities(list(_checked(texts)), max_batch_tokens)

    def trace(self, text: str) -> Trace:
        """The prediction after each token of a text, from one pass through the network.

        The probabilities after a token are those that the prefix up to it would have alone; the last ones are
        :meth:`predict`'s. Of a truncated text they follow the tokens that the model reads.

        Raises ``InputError`` where the predictions for prefixes do not follow from the hidden states of the text: for
        bidirectional encoders, poolings other than the last token and the mean, texts read in several windows, int8;
        and for multi-label models.

        Examples:
            >>> classifier = TextClassifier.load()
            >>> trace = classifier.trace("URGENT! You have won a free cruise, call now to claim your prize")
            >>> trace.answer, trace.probabilities.shape
            ('spam', (17, 2))
        """
        if not isinstance(text, str):
            raise InputError(f"the text is {format_value(text)}, expected one str to trace")
        self.check_traceable()
        return trace(self.model, self.text_encoder, self.decision, self.classes_.tolist(), text)

    def check_traceable(self) -> None:
        """Raises ``InputError`` unless the prediction for a prefix follows from what is computed for the whole text."""
        check_traceable(self.model, self.decision)
        if self.int8:
            raise InputError("an int8 network rounds a token by what comes after it: load the model without int8")

    def _stream(self, texts: Iterator[str], max_batch_tokens: int | None) -> Iterator[Prediction]:
        while together := list(islice(texts, READ_AHEAD)):
            yield from self._predictions(together, max_batch_tokens)

    def _predictions(self, texts: list[str], max_batch_tokens: int | None) -> list[Prediction]:
        probabilities = self._probabilities(texts, max_batch_tokens)
        sets = self.decision.sets(probabilities)
        multi_label = self.decision.multi_label
        makes_sets = multi_label or self.decision.set_threshold > 0
        predictions = []
        for row, left in zip(probabilities, sets, strict=True):
            by_name = dict(zip(self.classes_, row.tolist(), strict=True))
            abstains = not multi_label and left.sum() != 1
            number = int(row.argmax() if multi_label or abstains else left.argmax())
            label = UNSURE if abstains else self.classes_[number]
            candidates = tuple(self.classes_[left]) if makes_sets else ()
            predictions.append(Prediction(label, float(row[number]), by_name, candidates))
        return predictions

    def _probabilities(self, texts: list[str], max_batch_tokens: int | None) -> np.ndarray:
        return self.decision.probabilities(self.logits(texts, max_batch_tokens))

    @torch.inference_mode()
    def logits(self, texts: list[str], max_batch_tokens: int | None = None) -> np.ndarray:
        """(N, K) of N texts, before any calibration."""
        windows = [self.text_encoder.encode_windows(text)[0] for text in texts]
        ids = [window for each in windows for window in each]
        result = torch.zeros(len(ids), len(self.classes_), dtype=torch.float64)
        limit = max_batch_tokens or batch_tokens(self.device.type)
        for inputs in self.text_encoder.rows_by_length([len(window) for window in ids], limit):
            batch = self.text_encoder.batch([ids[i] for i in inputs])
            logits = self.model(batch.inputs.to(self.device), batch.lengths.to(self.device))
            result[inputs] = logits.cpu().double()  # on the CPU, because MPS has no float64
        belongs = texts_of_windows([len(each) for each in windows])
        config = self.text_encoder.windows
        if belongs is not None and config is not None:
            result = aggregate_logits(result, belongs, len(texts), config.aggregate)
        return result.numpy()


def _checked(texts: Any) -> Iterator[str]:
    """The texts, each known to be one when it is reached, empty where it is missing."""
    # Refuses at once what cannot be a sequence of texts; an iterator is not read ahead.
    values = texts if isinstance(texts, Iterator) else to_list(texts, "the texts")
    return (to_text(value, lambda n=n: f"texts[{n}]") or "" for n, value in enumerate(values))  # type: ignore[misc]


def _usable_device(device: str | torch.device, int8: bool) -> torch.device:
    if device == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return torch.device("cpu" if int8 else next((name for name, is_there in there.items() if is_there), "cpu"))
    try:
        return torch.zeros(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device is {str(device)!r}, which cannot be used here ({reason(error)}): "
            "expected auto, cpu, cuda or mps, on a machine that has it"
        ) from error


def quantized(backbone: Backbone) -> Backbone:
    """A copy whose matrices are int8, a scale for each output channel; activations are quantized as they come.

    Pays on CPUs with int8 instructions (VNNI). The head stays in float32. Raises ``InputError`` elsewhere.
    """
    device = next(backbone.parameters()).device
    if device.type != "cpu" or "x86" not in torch.backends.quantized.supported_engines:
        raise InputError(f"int8 needs an x86 CPU, but the model is on {device}: load it without int8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch moves its quantization elsewhere and says so at each call
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

        torch.backends.quantized.engine = "x86"
        # The last block of a GPT uses this matrix in a way of its own, which costs next to nothing as it is.
        exact = f"h.{backbone.config.n_layer - 1}.attn.c_attn"
        return quantize_dynamic(backbone, {nn.Linear: per_channel_dynamic_qconfig, exact: None}, dtype=torch.qint8)
