"""Lightning's averaging of weights works with the module: what validates, is saved and remains is the average."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging
from safetensors.torch import load_file

DECAY = 0.9


class Weights(Callback):
    """Keeps the weights after every step, those that validation saw and those at the end."""

    def __init__(self):
        self.steps, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.steps.append(copies(pl_module))

    def on_validation_batch_end(self, trainer, pl_module, *_):
        self.validated.append(copies(pl_module))

    def on_train_end(self, trainer, pl_module):
        self.remained = copies(pl_module)


def copies(module):
    return {name: tensor.detach().clone() for name, tensor in module.named_parameters()}


def average(steps):
    """Exponential moving average that begins with the weights after the first step."""
    found = dict(steps[0])
    for step in steps[1:]:
        found = {name: DECAY * tensor + (1 - DECAY) * step[name] for name, tensor in found.items()}
    return found


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model that overrides")
@pytest.mark.parametrize(
    "settings", [{}, {"lm_loss": 0.5}, {"trainable": "last_block"}, {"trainable": "lora"}], ids=lambda s: str(s)
)
def test_the_average_validates_and_remains(settings, tiny_data, tiny_model, quick_trainer):
    kept = Weights()
    trainer = quick_trainer(max_epochs=2, callbacks=[EMAWeightAveraging(decay=DECAY), kept])
    trainer.fit(tiny_model(**settings), tiny_data())
    assert len(kept.steps) == 8
    torch.testing.assert_close(kept.validated[0], average(kept.steps[:4]))
    torch.testing.assert_close(kept.validated[-1], average(kept.steps))
    torch.testing.assert_close(kept.remained, average(kept.steps))


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model that overrides")
def test_the_model_folder_has_the_average(fit, tmp_path):
    averaging = "--trainer.callbacks+=EMAWeightAveraging"
    assert fit(tmp_path, averaging, f"--trainer.callbacks.decay={DECAY}", "--trainer.max_epochs=1") == 0
    saved = torch.load(tmp_path / "version_0" / "checkpoints" / "best.ckpt", weights_only=False)
    written = load_file(tmp_path / "version_0" / "model" / "model.safetensors")
    name = "head.weight"
    assert torch.equal(written[name], saved["state_dict"][f"model.{name}"])
    assert not torch.equal(written[name], saved["current_model_state"][f"model.{name}"])
