"""The command ``review``: a person corrects the labels that are probably wrong, in a file for spreadsheets."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gpt_classifier.data import writers
from gpt_classifier.errors import CommandParser, InputError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from gpt_classifier.data.datamodule import TextDataModule
    from gpt_classifier.data.splits import Splits
    from gpt_classifier.evaluation.label_quality import Judge

USAGE = """gpt-classifier review export [SOURCE] [--config CONFIG] [--data.KEY VALUE ...] [--top N]
       gpt-classifier review apply REVIEW [SOURCE] [--config CONFIG] [--data.KEY VALUE ...] [--output FILE]"""
DESCRIPTION = (
    "Find training labels that are probably wrong, and correct them. SOURCE (a data file, a model folder or a run), "
    "--config and the settings of data are those of fit. `export` ranks the training rows by suspicion: each is judged "
    "by a model that was trained without it. Edit the column new_label: an empty cell leaves the label as it is, "
    "`drop` leaves the row out. `apply` checks the file and writes all rows of all splits with the new labels; val and "
    "test rows stay as they are, so that scores can be compared."
)
DROP = "drop"  # the new label of a row to leave out, unless a class has this name
MOST = 10  # rows or classes that a message names
SAME = "are source and settings of the data those of review export?"


def _data(words: Sequence[str]) -> "TextDataModule":
    """The data of fit that SOURCE, --config and settings describe, but never undersampled: all rows can be reviewed."""
    from gpt_classifier.cli import parser
    from gpt_classifier.cli.audit import QUIETLY
    from gpt_classifier.data.sources import IN_MEMORY
    from gpt_classifier.inference import model_folder
    from gpt_classifier.training.build_run import DataCLI

    source, settings = _source(words)
    trained = []
    if source is not None and Path(source).is_dir():
        model = model_folder.load(model_folder.model_folder(Path(source)))
        own = {"source": IN_MEMORY} | model.data | {"class_names": model.class_names}
        trained = [f"--config={json.dumps({'data': own})}"]
    elif source is not None:
        settings = [source, *settings]
    data = DataCLI([*trained, *parser.prepared("audit", settings), "--data.balance=none", QUIETLY]).datamodule
    if data.source == IN_MEMORY:
        raise InputError(f"{source} was not trained on a file, so name one: --data.source FILE")
    if data.multi_label:
        raise InputError("a text may have several labels here, and review is for one: leave out data.multi_label")
    return data


def _source(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file or folder that a command line begins with, if it does, and the rest of the line."""
    if words and not words[0].startswith("-"):
        return words[0], list(words[1:])
    return None, list(words)


def _what_was_read(data: "TextDataModule", tables: "Splits") -> str:
    from gpt_classifier.data.datasets import title

    frozen = [f"{len(tables[name]):,} {name}" for name in ("val", "test") if name in tables]
    first = f"{title(data.source)}, split {data.preparation.split}: {len(tables['train']):,} training rows"
    lines = [f"{first}; {' and '.join(frozen)} rows are not reviewed and stay as they are" if frozen else first]
    if data.rows.without_text:
        lines.append(
            f"  {data.rows.without_text:,} rows without text: {'dropped' if data.preparation.empty == 'drop' else 'kept'}"
        )
    return "\n".join([*lines, *(f"  {note}" for note in data.rows.notes)])


# ---------------------------------------------------------------- export


def _export(words: list[str], path: Path, top: int | None, network: bool) -> None:
    import numpy as np

    from gpt_classifier.data.splits import linked_rows, units_of_classes
    from gpt_classifier.evaluation.label_quality import (
        FOLDS,
        confident_joint,
        cross_fitted_probabilities,
        quick_judge,
        suspicions,
    )

    _check_csv(path)
    if path.exists():
        raise InputError(f"{path} is there already, perhaps with labels that you edited: name another with --output")
    data = _data(words)
    tables = data.read_tables()
    train, names = tables["train"], data.class_names
    print(_what_was_read(data, tables))
    labels = train["label"].map({name: number for number, name in enumerate(names)}).to_numpy(int)
    units = linked_rows(train)
    if network:
        print(f"trains {FOLDS} networks, each without one fold of the training rows, and keeps none of them")
        judge = _network_judge(words, data, train)
    else:
        judge = quick_judge(train["text"].tolist(), labels, len(names))
    p = cross_fitted_probabilities(labels, units.to_numpy(), len(names), judge)
    suggested, suspicion = suspicions(p, labels)
    ranked = np.argsort(-suspicion, kind="stable")[:top]
    numbers, texts = train["row"].tolist(), train["text"].tolist()
    lines = (
        [numbers[i], writers.cell(names[labels[i]]), writers.cell(names[suggested[i]]), ""]
        + [f"{value:.4f}" for value in (suspicion[i], p[i, labels[i]], p[i, suggested[i]])]
        + [writers.cell(writers.one_line(texts[i]))]
        for i in ranked
    )
    writers.write(path, chain([writers.COLUMNS], lines), writers.MARK)
    print(_estimate(confident_joint(p, labels), names))
    distinct = units_of_classes(train, units)
    if few := [name for name in names if distinct.get(name, 0) < FOLDS]:
        print(f"  classes with too few training texts for suspicions to mean much{_listed(few)}")
    print(f"{len(ranked):,} rows, the most suspicious first: {path}")
    print("write into new_label (empty: as it is; drop: leave the row out), save as CSV, then")
    print(f"gpt-classifier {shlex.join(['review', 'apply', str(path), *words])}")


def _network_judge(words: list[str], data: "TextDataModule", train: "pd.DataFrame") -> "Judge":
    """Judges by the network that fit trains with ``words``; every tenth row to train on chooses its best epoch."""
    import numpy as np

    from gpt_classifier.cli import parser
    from gpt_classifier.inference.classifier import TextClassifier
    from gpt_classifier.training import build_run

    def judge(fitted: "np.ndarray", held_out: "np.ndarray") -> "np.ndarray":
        split = np.full(len(train), "test", dtype=object)
        split[fitted], split[fitted[::10]] = "train", "val"
        with TemporaryDirectory() as folder:
            path = Path(folder) / "fold.csv"
            rows = zip(train["text"], train["label"], split, strict=True)
            writers.write(path, chain([("text", "label", "split")], rows))
            options = _fit_options(words, data, path, groups=False)
            own = [f"--data.class_names={json.dumps(data.class_names)}", f"--trainer.default_root_dir={folder}"]
            build_run.run(["fit", *parser.prepared("fit", [*options, *own])])
            return TextClassifier.load(folder).predict_proba(train["text"].iloc[held_out].tolist())

    return judge


def _estimate(joint: "np.ndarray", names: Sequence[str]) -> str:
    """About how many labels are wrong, of all and of the classes that have most of them."""
    counts = joint.sum(axis=1)
    wrong = counts - joint.diagonal()
    total = f"about {wrong.sum():,.0f} of {counts.sum():,.0f} training labels are probably wrong"
    lines = [f"{total} (an estimate by confident learning, which takes some unusual texts for wrong labels)"]
    for i in (-wrong).argsort(kind="stable")[:MOST]:
        others = {name: share for j, (name, share) in enumerate(zip(names, joint[i], strict=True)) if j != i}
        if round(wrong[i]):
            most = max(others, key=lambda name: others[name])
            share = f"about {wrong[i]:,.0f} of {counts[i]:,.0f} ({wrong[i] / counts[i]:.1%})"
            lines.append(f"  {names[i]}: {share}, most of which may be {most}")
    return "\n".join(lines)


# ---------------------------------------------------------------- apply


def _apply(words: list[str], output: str | None) -> None:
    from gpt_classifier.data.datasets import stem

    review, words = _source(words)
    if review is None:
        raise InputError("which file? Name the reviewed one first, as in review apply review.csv --config spam")
    data = _data(words)
    path = Path(output or f"{stem(data.source)}-reviewed.csv")
    _check_csv(path)
    _check_replaces_nothing(path, data, review)
    tables = data.read_tables()
    train = tables["train"]
    new = _new_labels(review, train, data.class_names)
    kept = train[~train["row"].isin([row for row, label in new.items() if label is None])]
    kept = kept.assign(label=[new.get(row, label) for row, label in zip(kept["row"], kept["label"], strict=True)])
    if lost := sorted(set(train["label"]) - set(kept["label"])):
        raise InputError(f"{review} leaves no training row with the label {lost[0]!r}: a class needs rows to train on")
    groups = ["group"] if "group" in train else []
    lines = (
        [row["text"], row["label"], split, row["row"], *(row.get(name) for name in groups)]
        for split, table in (
            tables | {"train": kept}
        ).items()  # in the order of the splits, in which fit will read them
        for row in table.to_dict("records")
    )
    writers.write(path, chain([["text", "label", "split", "source_row", *groups]], lines))
    print(_what_was_read(data, tables))
    print(_changes(new, train))
    print(f"{sum(map(len, tables.values())) - len(train) + len(kept):,} rows: {path}")
    print(f"gpt-classifier {shlex.join(['fit', *_fit_options(words, data, path, bool(groups))])}")


def _new_labels(review: str, train: "pd.DataFrame", names: Sequence[str]) -> dict[int, str | None]:
    """The new label of each row that has one in the reviewed file, None for a row to leave out.

    Raises ``InputError`` for whatever does not fit the training rows.
    """
    import numpy as np

    from gpt_classifier.data.duplicates import near_duplicate_key

    def refuse(wrong: Iterable[bool], what: str) -> None:
        found = list(dict.fromkeys(lines["row"][np.array(list(wrong), dtype=bool)]))
        if found:
            more = f" and {len(found) - MOST:,} more" if len(found) > MOST else ""
            rows = f"row{'s' * (len(found) > 1)} {', '.join(str(row) for row in found[:MOST])}{more}"
            raise InputError(f"{review}, {rows}: {what}")

    lines = writers.read(review)
    given = train.set_index("row")
    refuse(~lines["row"].isin(given.index), f"no such training row; {SAME}")
    refuse(lines["row"].duplicated(), "there are several lines for it; leave one")
    rows = given.loc[lines["row"]]
    other = [
        near_duplicate_key(writers.one_line(text)) != near_duplicate_key(writers.content(cell))
        for text, cell in zip(rows["text"], lines["text"], strict=True)
    ]
    refuse(other, f"the text is another one; was a column sorted without the others, or {SAME}")
    other = [
        writers.class_name(cell, names) != label for cell, label in zip(lines["label"], rows["label"], strict=True)
    ]
    refuse(other, f"the label is another one; correct it in new_label, or {SAME}")
    choices = list(dict.fromkeys([*names, DROP]))
    answers = {
        row: (cell, writers.class_name(cell, choices))
        for row, cell in zip(lines["row"], lines["new_label"], strict=True)
        if cell.strip()
    }
    if unknown := {row: cell for row, (cell, name) in answers.items() if name is None}:
        wrong = list(dict.fromkeys(unknown.values()))
        expected = f"expected {', '.join(choices)}{did_you_mean(wrong[0], choices)}"
        refuse(lines["row"].isin(unknown), f"new_label is {', '.join(map(repr, wrong[:MOST]))}, {expected}")
    return {row: None if name == DROP and DROP not in names else name for row, (_, name) in answers.items()}


def _changes(new: dict[int, str | None], train: "pd.DataFrame") -> str:
    """How many labels were changed, by old and new one, and how many rows left out, by label."""
    old = dict(zip(train["row"], train["label"], strict=True))
    pairs = Counter(f"{old[row]} to {label}" for row, label in new.items() if label not in (None, old[row]))
    left_out = Counter(old[row] for row, label in new.items() if label is None)
    counts = {"labels changed": pairs, "rows left out": left_out}
    return "\n".join(
        f"{what}: {count.total():,}{_listed(f'{number:,} {name}' for name, number in count.most_common())}"
        for what, count in counts.items()
    )


def _fit_options(words: list[str], data: "TextDataModule", path: Path, groups: bool) -> list[str]:
    """The options with which fit reads ``path`` and does all else as with ``words``."""
    from gpt_classifier.data.splits import OF_THE_BOOK
    from gpt_classifier.inference import model_folder
    from gpt_classifier.settings import flat

    needed = {
        "source": str(path),
        "splitting.split_column": "split",
        "splitting.group_column": "group" if groups else None,
        "text_column": "text",
        "label_column": "label",
        "val_source": None,
        "test_source": None,
        "split": "grouped" if data.preparation.split in OF_THE_BOOK else data.preparation.split,
        "splitting.folds": 0,
        "splitting.fold": 0,
        "file_format.delimiter": None,
        "file_format.encoding": "utf-8",
        "file_format.header": True,
    }
    source, words = _source(words)
    if source is not None and Path(source).is_dir():
        config = model_folder.model_folder(Path(source)).parent / "config.yaml"
        words = [*([f"--config={config}"] if config.is_file() else []), *words]
    parser = CommandParser(add_help=False, allow_abbrev=False)
    for key in needed:
        parser.add_argument(f"--data.{key}", dest=key)
    typed, options = parser.parse_known_args(words)
    now = flat(data.hparams)
    for key, value in needed.items():
        if value != now[key] or getattr(typed, key) is not None:  # what was typed is replaced
            options += [f"--data.{key}", value if isinstance(value, str) else json.dumps(value)]
    return options


# ---------------------------------------------------------------- files


def _check_csv(path: Path) -> None:
    if path.suffix.lower() != ".csv" or path.is_dir():
        raise InputError(f"output is {path}, expected the name of a .csv file")


def _check_replaces_nothing(path: Path, data: "TextDataModule", review: str) -> None:
    """Raises ``InputError`` if ``path`` is one of the files that are read."""
    from gpt_classifier.data.datasets import is_named
    from gpt_classifier.data.readers import paths

    sources = [source for source in (data.source, data.val_source, data.test_source) if source is not None]
    files = [file for source in sources if not is_named(source) for file in paths(source)]
    if path.resolve() in [Path(file).resolve() for file in (*files, review)]:
        raise InputError(f"--output {path} would replace a file that it is made of: name another")


def _listed(parts: Iterable[str]) -> str:
    parts = list(parts)
    more = f" and {len(parts) - MOST:,} more" if len(parts) > MOST else ""
    return f" ({', '.join(parts[:MOST])}{more})" if parts else ""
