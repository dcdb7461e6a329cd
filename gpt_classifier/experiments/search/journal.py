"""Opens the journal of a search, Optuna's record of its trials, and samples the next trial."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_classifier.errors import InputError, reason
from gpt_classifier.experiments.search.findings import find_finished
from gpt_classifier.experiments.search.space import Search
from gpt_classifier.files import whole_file
from gpt_classifier.training.monitor import mode

if TYPE_CHECKING:
    import optuna

# A trial is pruned when it is worse than the median of the trials before it, once there are enough of them, and never
# in its first epoch, which depends more on the warm-up than on the settings.
TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING = 5, 2


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Locks the folder against other searches; the lock does not outlive a killed process.

    Raises ``InputError`` if another search holds the lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another search is writing to {folder}: wait for its end, or name another folder with --output"
        ) from error
    try:
        yield
    finally:
        lock.release()


def open_journal(search: Search, folder: Path) -> "optuna.Study":
    """The optuna study in ``folder``, created if there is none. A trial that was interrupted is marked as failed.

    Raises ``InputError`` if the journal is damaged, or if it belongs to another search.
    """
    from optuna.trial import TrialState

    path, identity = folder / "journal.jsonl", search.identity()
    content = path.read_bytes() if path.exists() else b""
    if not content.endswith(b"\n"):  # the line that was being written when the search was killed
        with whole_file(path) as part:
            part.write_bytes(content[: content.rfind(b"\n") + 1])
    try:
        optuna_study = _open(search, path)
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} is damaged ({reason(error)}): remove it, or name another --output") from error
    known = optuna_study.user_attrs.get("search")
    if known != identity and find_finished(optuna_study):
        other = ", ".join(name for name in identity if (known or {}).get(name) != identity[name])
        raise InputError(f"{folder} holds a search with another {other}: name another --output, or remove it")
    if known != identity:  # new, or without a finished trial to lose
        path.unlink()
        optuna_study = _open(search, path)
        optuna_study.set_user_attr("search", identity)
    for trial in optuna_study.get_trials(states=[TrialState.RUNNING]):
        optuna_study.tell(trial.number, state=TrialState.FAIL)
    return optuna_study


def _open(search: Search, path: Path) -> "optuna.Study":
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage = JournalStorage(JournalFileBackend(str(path)))
    pruner = optuna.pruners.MedianPruner(TRIALS_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING)
    settings: dict[str, Any] = {
        "study_name": "search",
        "storage": storage,
        "pruner": pruner if search.prune else optuna.pruners.NopPruner(),
    }
    if path.stat().st_size:
        return optuna.load_study(**settings)
    return optuna.create_study(direction="minimize" if mode(search.monitor) == "min" else "maximize", **settings)


def next_trial(optuna_study: "optuna.Study", search: Search, number: int) -> "optuna.Trial":
    """The next trial, a function of the seed and the finished trials only, however often the search was killed."""
    import optuna

    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    optuna_study.sampler = optuna.samplers.TPESampler(seed=seed)
    waiting = optuna_study.get_trials(states=[optuna.trial.TrialState.WAITING])  # if it was killed right here
    if number <= len(search.start) and not waiting:
        optuna_study.enqueue_trial(search.encode(search.start[number - 1]))
    return optuna_study.ask(search.distributions())
