"""Formats the number of rows of each class in one line. Independent of the source of the rows."""

from collections.abc import Mapping

SHOWN = 3  # most frequent classes that are listed if there are too many for all


def class_counts(counts: Mapping[str, int], maximum: int = 10) -> str:
    """Rows of each class in the given order; of more than ``maximum`` classes, the range and some of them.

    >>> class_counts({"ham": 4825, "spam": 747})
    '4,825 ham, 747 spam'
    >>> class_counts({"a": 5, "b": 1, "c": 9, "d": 3, "e": 7, "f": 0}, maximum=3)
    '6 classes, 5 of 1 to 9 rows: 9 c, 7 e, 5 a, ..., 1 b; without rows: f'
    """
    if len(counts) <= maximum:
        return ", ".join(f"{rows:,} {name}" for name, rows in counts.items())
    absent = [name for name, rows in counts.items() if not rows]
    ranked = sorted(((rows, name) for name, rows in counts.items() if rows), key=lambda pair: -pair[0])
    line = f"{len(counts)} classes"
    if ranked:
        of_these = f", {len(ranked)}" if absent else ""
        fewest, most = ranked[-1][0], ranked[0][0]
        size = f"{fewest:,} to {most:,} rows" if fewest < most else f"{most:,} row{'s' if most > 1 else ''} each"
        named = [f"{rows:,} {name}" for rows, name in ranked]
        if len(named) > SHOWN + 1:
            named[SHOWN:-1] = ["..."]
        line += f"{of_these} of {size}: {', '.join(named)}"
    if absent:
        more = f" and {len(absent) - maximum} more" if len(absent) > maximum else ""
        line += f"; without rows: {', '.join(absent[:maximum])}{more}"
    return line
