"""The same network in ``transformers``, for its Trainer and its pipeline."""

from typing import Any

from gpt_classifier.errors import InputError
from gpt_classifier.model.backbone import Backbone
from gpt_classifier.model.pretrained import TRANSPOSED


def transformers_package() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InputError("transformers is not installed: `pip install transformers`, or leave out its jobs") from error
    return transformers


def as_transformers(gpt: Backbone, padding_id: int, num_classes: int) -> Any:
    """GPT2ForSequenceClassification with the weights of ``gpt``."""
    hf = transformers_package()
    c = gpt.config
    model = hf.GPT2ForSequenceClassification(
        hf.GPT2Config(
            vocab_size=c.vocab_size, n_positions=c.context_length, n_embd=c.n_embd, n_layer=c.n_layer, n_head=c.n_head,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, num_labels=num_classes, pad_token_id=padding_id,
        )
    )  # fmt: skip
    state = {name: t.T if name.endswith(TRANSPOSED) else t for name, t in gpt.state_dict().items()}
    model.transformer.load_state_dict(state)
    return model
