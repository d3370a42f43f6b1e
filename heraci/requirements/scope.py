"""What names with `{{…}}` stand for, as far as a workflow's own arguments decide that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from heraci.requirements.shapes import record, records

# How many items of a loop are followed.
MOST_ITEMS = 500

PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
# An expression that only looks a name up: `=inputs.parameters.x`, `=inputs.parameters['x']`.
_LOOKUP = re.compile(r"""=\s*([\w.]+?)(?:\[(['"])([\w-]+)\2\])?""")

Scope = Mapping[str, str | None]


def fill_in(text: str, scope: Scope) -> str:
    """Put in what the scope knows, and leave the rest as it is."""

    def known(match: re.Match[str]) -> str:
        name = match[1].strip()
        if looked_up := _LOOKUP.fullmatch(name):
            name = looked_up[1] + (f".{looked_up[3]}" if looked_up[3] else "")
        value = scope.get(name)
        return match[0] if value is None else value

    return PLACEHOLDER.sub(known, text)


def value_of(parameter: Mapping[str, Any]) -> str | None:
    """Give a parameter's value, else its default, as text."""
    value = parameter.get("value", parameter.get("default"))
    return None if value is None else written(value)


def written(value: Any) -> str:
    """Give a value as Argo puts it into a text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _item_scope(item: Any) -> dict[str, str | None]:
    scope: dict[str, str | None] = {"item": written(item)}
    if isinstance(item, dict):
        scope |= {f"item.{key}": written(each) for key, each in item.items()}
    return scope


def _json_list(text: str | None) -> list[Any] | None:
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def _numbers(given: Mapping[str, str | None]) -> list[str] | None:
    try:
        start = int(given.get("start") or 0)
        if "count" in given:
            numbers = range(start, start + int(given["count"] or ""))
        else:
            end = int(given.get("end") or "")
            numbers = range(start, end + 1) if end >= start else range(start, end - 1, -1)
        form = given.get("format") or "%d"
        return [form % number for number in numbers[:MOST_ITEMS]]
    except (TypeError, ValueError):
        return None


def fill(text: str, scope: Scope) -> str | None:
    """Put in what the scope knows; None where a placeholder stays."""
    found = fill_in(text, scope)
    return None if PLACEHOLDER.search(found) else found


def loops(call: Mapping[str, Any], scope: Scope) -> Iterator[Scope]:
    """Give the scope of each round of a call: one, or as many as it has items."""
    items = _items(call, scope)
    if items is None:
        looped = any(call.get(key) for key in ("withItems", "withParam", "withSequence"))
        # What an item holds is known at run time only.
        yield {**scope, "item": None} if looped else scope
        return
    for item in islice(items, MOST_ITEMS):
        yield {**scope, **_item_scope(item)}


def _items(call: Mapping[str, Any], scope: Scope) -> Iterable[Any] | None:
    if call.get("withItems"):
        return _json_list(fill(json.dumps(call["withItems"]), scope))
    if call.get("withParam"):
        return _json_list(fill(str(call["withParam"]), scope))
    if loop := record(call.get("withSequence")):
        return _numbers({key: fill(written(each), scope) for key, each in loop.items()})
    return None


def supplied(given: Any) -> Iterator[Any]:
    """Give the names of the parameters or artifacts that come with a value, or from somewhere."""
    for each in records(given):
        if any(value is not None for key, value in each.items() if key != "name"):
            yield each.get("name")
