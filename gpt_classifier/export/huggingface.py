"""Writes a classifier for the libraries of Hugging Face: a sequence classifier of ``transformers`` where one computes
the same, else a folder of ``sentence-transformers``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from gpt_classifier.errors import InputError
from gpt_classifier.export import sentence_transformers, transformers
from gpt_classifier.export.onnx import check_one_pass, import_library, library_tokenizer
from gpt_classifier.export.transformers import Inexpressible, appends_padding
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.text.normalize import replace_surrogates


def write(contents: Bundle, folder: Path, notes: list[str]) -> Callable[[list[str]], np.ndarray]:
    """Writes the folder and adds to ``notes`` which it is, and why; returns what the library says of texts, (N, K).

    Raises ``InputError`` for what neither library can do.
    """
    check_one_pass(contents, "hf")
    import_library("transformers")
    encoder, network = contents.text_encoder, contents.model.backbone.config
    if encoder.truncation == "head+tail":
        raise InputError("truncation is head+tail, which tokenizers of transformers do not have: use --to onnx")
    if appends_padding(encoder) and encoder.max_length == network.context_length and network.family != "gpt":
        raise InputError(
            f"texts have up to {encoder.max_length} tokens, all that the network reads, but --to hf needs room for one "
            f"more: use --to onnx, or train with --data.max_length {encoder.max_length - 1}"
        )
    if _finds_special_tokens(encoder):
        notes.append("Otherwise than here, a special token's name that is written in a text is read as that token.")
    try:
        name = transformers.write(contents, folder, notes)
    except Inexpressible as why:
        try:
            if network.family == "gpt":
                raise
            sentence_transformers.write(contents, folder, notes)
        except Inexpressible as error:
            raise InputError(f"--to hf cannot express this model, as {error}: use --to onnx") from error
        notes.insert(0, f"A folder of sentence-transformers, as {why}.")
        return partial(sentence_transformers.compute_probabilities, folder, multi_label=contents.decision.multi_label)
    notes.insert(0, f"A folder of transformers: {name} computes the same.")
    return partial(transformers.compute_probabilities, folder, class_names=contents.class_names)


def find_comparable(encoder: TextEncoder, texts: list[str]) -> list[str]:
    """The texts in which the libraries find no special token that we leave out."""
    tokenizer = library_tokenizer(encoder.tokenizer)
    tokenizer.encode_special_tokens = True
    found = (tokenizer.encode(replace_surrogates(text), add_special_tokens=False).ids for text in texts)
    never = encoder.tokenizer.never_text
    return [text for text, ids in zip(texts, found, strict=True) if never.isdisjoint(ids)]


def _finds_special_tokens(encoder: TextEncoder) -> bool:
    """Whether the tokenizer finds special tokens in texts, as unigram models do, in whose vocabulary they are."""
    added = library_tokenizer(encoder.tokenizer).get_added_tokens_decoder().values()
    names = [token.content for token in added if token.special]
    return len(find_comparable(encoder, names)) < len(names)
