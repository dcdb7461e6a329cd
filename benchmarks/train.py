"""The part ``train``: gpt_classifier compared with the article's loop and the Trainer of ``transformers``."""

from dataclasses import dataclass
from typing import Any

from benchmarks.fit_transformers import train_transformers
from benchmarks.fits import train_ours, train_plain
from benchmarks.runner import Job, Key, Result, Runner, installed, median, say

NAMES = {
    "cached": "gpt_classifier",
    "again": "gpt_classifier, second run",
    "uncached": "gpt_classifier, no hidden-state cache",
    "plain": "plain loop, as in the article",
    "transformers": "transformers Trainer, grouped",
}


def measure(runner: Runner) -> None:
    """Trains with all policies and systems in turn and prints their table."""
    o = runner.options
    results = runner.run_in_turn(_jobs(runner))
    what = "steps only" if o.max_steps else f"{o.epochs} epochs, accuracy of train, val and test"
    say(f"\nTraining on {o.source} ({o.split}), {o.gpt}, batch {o.batch_size}, {o.precision}: {what}\n")
    _print_table(results, compared="step_seconds" if o.max_steps else "seconds")
    _print_notes(results)


@dataclass(frozen=True)
class Training(Job):
    """Fits one system and scores it on all splits; with ``max_steps`` it only fits."""

    policy: str  # which parameters are trainable
    seed: int
    epochs: int
    max_steps: int  # 0 for all
    batch_size: int
    source: str
    split: str
    tokenizer: str
    max_length: int
    gpt: str | dict[str, Any]
    weights: str

    def run(self) -> Result:
        train = {"plain": train_plain, "transformers": train_transformers}.get(self.system, train_ours)
        return train(self)


def _jobs(runner: Runner) -> dict[Key, Job]:
    o = runner.options
    jobs: dict[Key, Job] = {}
    systems = [s for s in o.systems if s != "transformers" or installed(NAMES[s], "transformers", "accelerate")]
    for policy in o.policies:
        for system in systems:
            if policy == "all" and system in ("cached", "again"):
                continue  # nothing is frozen
            jobs[policy, system] = Training(
                system="cached" if system == "again" else system,
                device=runner.device,
                precision=o.precision,
                policy=policy,
                seed=124 if system == "again" else 123,
                epochs=o.epochs,
                max_steps=o.max_steps,
                batch_size=o.batch_size,
                source=o.source,
                split=o.split,
                tokenizer=o.tokenizer,
                max_length=o.max_length,
                gpt=runner.gpt,
                weights=runner.weights,
            )
    return jobs


# ---------------------------------------------------------------- the table


def _print_table(results: dict[Key, list[Result]], compared: str) -> None:
    """Prints medians, with the ratio of each system's ``compared`` to that of the first system of its policy."""
    say("| trainable | system | total s | x | s/step | tokens/s | GFLOP/s (of peak) | peak GB | test accuracy |")
    say("|---|---|---|---|---|---|---|---|---|")
    for (policy, system), runs in results.items():
        first = next(others for (other, _), others in results.items() if other == policy)
        ratio = median(runs, compared) / median(first, compared)
        flops, peak = median(runs, "flops_per_second"), max(run["matrix_peak"] for run in runs)
        cells = [
            policy,
            NAMES[system],
            f"{median(runs, 'seconds'):.1f}",
            f"{ratio:.2f}",
            f"{median(runs, 'step_seconds'):.5f}",
            f"{median(runs, 'tokens_per_second'):,.0f}",
            f"{flops / 1e9:.0f} ({flops / peak:.0%})",
            f"{median(runs, 'peak_memory') / 2**30:.1f}",
            runs[0]["accuracy"].get("test", "-"),
        ]
        say(f"| {' | '.join(cells)} |")


def _print_notes(results: dict[Key, list[Result]]) -> None:
    """Prints the overhead of trainer and metrics, and the speed of the pass over the frozen layers."""
    for (policy, system), runs in results.items():
        if runs[0].get("bare_step_seconds"):
            bare, step = median(runs, "bare_step_seconds"), median(runs, "step_seconds")
            say(f"\n{policy}, {NAMES[system]}: a step takes {step:.5f} s, without trainer and metrics {bare:.5f} s")
        if frozen := [run["frozen_layers"] for run in runs if run.get("frozen_layers")]:
            seconds, rate, peak = (
                median(frozen, key) for key in ("seconds", "flops_per_second", "peak_flops_per_second")
            )
            say(
                f"\n{policy}, {NAMES[system]}: frozen layers {seconds:.1f} s; batches reach {rate / 1e9:.0f} GFLOP/s, "
                f"{rate / peak:.0%} of a matrix product in turn with them ({peak / 1e9:.0f} GFLOP/s)"
            )
