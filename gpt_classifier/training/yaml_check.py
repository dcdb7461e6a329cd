"""Looks over YAML before it is parsed, for what would hang, overflow or be lost without a word."""

from dataclasses import dataclass, field

import yaml

from gpt_classifier.errors import InputError

MAX_DEPTH = 50  # of mappings and lists within each other
MAX_NODES = 100_000  # with what aliases repeat
MAX_DIGITS = 1000
TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")} | {"!"}


@dataclass
class _Open:
    """A mapping or list that has not ended."""

    is_mapping: bool
    anchor: str | None
    nodes: int = 1  # within it, with what aliases repeat
    keys: set[str] = field(default_factory=set)
    next_is_key: bool = True


def check_yaml(text: str, what: str) -> None:
    """Raises ``InputError``, which begins with ``what``, for YAML that should not be parsed.

    It is nested too deep, grows beyond bounds by aliases, contains itself, has tags of its own, a number of too many
    digits, or a key twice, of which the parser would keep the last. Raises ``yaml.YAMLError`` for what is no YAML.
    """
    stack: list[_Open] = []
    sizes: dict[str, int] = {}  # of what has an anchor and has ended

    def refuse(event: yaml.Event, problem: str) -> InputError:
        return InputError(f"{what}, line {event.start_mark.line + 1}: {problem}")

    def add(event: yaml.Event, nodes: int, key: str | None) -> None:
        if not stack:
            return
        inner = stack[-1]
        inner.nodes += nodes
        if inner.nodes > MAX_NODES:
            raise refuse(event, f"more than {MAX_NODES:,} values, as aliases repeat others: write them out")
        if inner.is_mapping:
            if inner.next_is_key and key is not None and key != "<<":
                if key in inner.keys:
                    raise refuse(event, f"{key} is given a second time: leave one of them")
                inner.keys.add(key)
            inner.next_is_key = not inner.next_is_key

    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.NodeEvent) and (tag := getattr(event, "tag", None)) is not None and tag not in TAGS:
            raise refuse(event, f"the tag {tag.removeprefix('tag:yaml.org,2002:')} means nothing here: leave it out")
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) == MAX_DEPTH:
                raise refuse(event, f"nested more than {MAX_DEPTH} deep")
            stack.append(_Open(isinstance(event, yaml.MappingStartEvent), event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            if ended.anchor is not None:
                sizes[ended.anchor] = ended.nodes
            add(event, ended.nodes, None)
        elif isinstance(event, yaml.AliasEvent):
            if any(each.anchor == event.anchor for each in stack):
                raise refuse(event, f"*{event.anchor} stands within what it repeats")
            add(event, sizes.get(event.anchor, 1), None)
        elif isinstance(event, yaml.ScalarEvent):
            digits = sum(map(str.isdigit, event.value))
            if event.implicit[0] and digits > MAX_DIGITS and digits == len(event.value.strip("+-")):
                raise refuse(event, f"a number of {digits:,} digits")
            if event.anchor is not None:
                sizes[event.anchor] = 1
            add(event, 1, event.value)
