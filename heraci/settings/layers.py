"""Settings in layers, one for each place they come from; the first that has a value wins."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one place says: raw values by field, and how to name the place.

    `origins` name it for doctor; `subject` begins a message about what lies at a path of the
    values, and leads to a line where the place is a file.
    """

    values: Mapping[str, Any] = field(repr=False)
    origins: Mapping[str, str]
    subject: Callable[[Sequence[str | int]], str]
    explicit: bool = False


def kebab(name: str) -> str:
    """Write a field's name as flags and TOML do."""
    return name.replace("_", "-")


def flag_of(name: str, value: object = None) -> str:
    """Write the flag of a field, of a switch the one that turns it to this value."""
    if name == "arguments":
        return "--set"
    return f"--no-{kebab(name)}" if value is False else f"--{kebab(name)}"


def plain_layer(
    values: Mapping[str, Any], origins: Mapping[str, str], *, explicit: bool = False
) -> Layer:
    return Layer(
        values=values,
        origins=origins,
        subject=lambda path: ": ".join([origins[str(path[0])], *map(str, path[1:2])]),
        explicit=explicit,
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that a person most probably meant."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.55)), None)


# Each layer with what its values mean.
Read = Sequence[tuple[Layer, Mapping[str, Any]]]


def merged(read: Read) -> dict[str, Any]:
    """Lay the first layers over the last ones; tables are merged key by key."""
    result: dict[str, Any] = {}
    for _, found in reversed(read):
        for name, value in found.items():
            below = result.get(name, {})
            result[name] = {**below, **value} if isinstance(value, dict) else value
    return result


def origins(read: Read) -> dict[str, str]:
    """Find where each field's value is from, and each key's (`environment.results`) of a table."""
    found_in: dict[str, str] = {}
    for layer, found in reversed(read):
        for name, value in found.items():
            found_in[name] = layer.origins[name]
            keys = value if isinstance(value, dict) else ()
            found_in |= {f"{name}.{key}": layer.origins[name] for key in keys}
    return found_in
