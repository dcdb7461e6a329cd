"""A fit says at its start what is allowed but seldom meant, and says nothing else."""

import pytest
import torch

from gpt_classifier.training import hints
from gpt_classifier.training.hints import has_bf16, has_bf16_units


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trainable": "last_block"}, "trainable is last_block"),
        ({"trainable": "lora"}, "trainable is lora"),
        ({"trainable": "head"}, "100% of the network"),
        ({"trainable": "all"}, None),
    ],
)
def test_random_weights_that_stay_frozen_are_pointed_out(settings, said, tiny_model, tiny_data, quick_trainer, caplog):
    quick_trainer(max_steps=1).fit(tiny_model(**settings), tiny_data())
    assert ("keep their random values" in caplog.text) == (said is not None)
    assert said is None or (said in caplog.text and "--config scratch" in caplog.text)


@pytest.mark.parametrize(
    ("native", "precision", "said"), [(0, "bf16-mixed", 1), (1, "bf16-mixed", 0), (0, "32-true", 0)]
)
def test_bf16_on_a_processor_without_it_is_pointed_out(native, precision, said, tiny_model, monkeypatch):
    monkeypatch.setattr(hints, "has_bf16", lambda: bool(native))
    model = tiny_model(class_names=["ham", "spam"])
    model.configure_model()
    lines = hints.hints(model.hparams, model.model, precision, torch.device("cpu"))
    assert len(lines) == said
    assert not said or "has no bfloat16 instructions" in lines[0]
    assert hints.hints(model.hparams, model.model, precision, torch.device("cuda")) == []


@pytest.mark.parametrize(
    ("units", "precision", "large", "said"),
    [(1, "32-true", 1, 1), (1, "bf16-mixed", 1, 0), (0, "32-true", 1, 0), (1, "32-true", 0, 0)],
)
def test_a_large_network_in_float32_on_a_processor_with_units_for_bf16_is_pointed_out(
    units, precision, large, said, tiny_model, monkeypatch
):
    monkeypatch.setattr(hints, "has_bf16_units", lambda: bool(units))
    monkeypatch.setattr(hints, "has_bf16", lambda: True)  # which processors with such units have
    monkeypatch.setattr(hints, "LARGE", 1 if large else 10**7)
    model = tiny_model(class_names=["ham", "spam"])
    model.configure_model()
    lines = hints.hints(model.hparams, model.model, precision, torch.device("cpu"))
    assert ["bf16-mixed" in line for line in lines] == [True] * said


@pytest.mark.parametrize(
    ("flags", "machine", "native"),
    [
        ("avx2 avx512f", "x86_64", False),
        ("avx512f avx512_bf16", "x86_64", True),
        ("amx_bf16 amx_tile", "x86_64", True),
        ("avx2", "arm64", True),  # cannot be told
    ],
)
def test_the_processor_tells_whether_it_has_bf16(flags, machine, native, tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: fpu {flags}\n")
    assert has_bf16(tmp_path / "cpuinfo") == native
    assert has_bf16_units(tmp_path / "cpuinfo") == ("amx_bf16" in flags)
    assert has_bf16(tmp_path / "nothing")
    assert not has_bf16_units(tmp_path / "nothing")
