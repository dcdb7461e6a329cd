"""The memory that is reported is that of the process that reports it."""

import subprocess
import sys

from gpt_classifier.training import memory

MIB = 2**20
REPORT = "from gpt_classifier.training.memory import peak_memory; {}; print(peak_memory())"


def reported(statement: str) -> int:
    command = [sys.executable, "-c", REPORT.format(statement)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_process_reports_what_it_held_and_not_what_its_parent_held():
    held = bytearray(b"x") * (400 * MIB)
    small, large = reported("pass"), reported(f"bytearray(b'x') * {200 * MIB}")
    assert memory.peak_memory() > len(held)
    assert small < 100 * MIB
    assert 190 * MIB < large - small < 210 * MIB


def test_a_system_without_proc_reports_too(monkeypatch, tmp_path):
    exact = memory.peak_memory()
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert exact / 2 < memory.peak_memory() < memory.physical_memory()
