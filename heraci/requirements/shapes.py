"""Read what strangers wrote: what is not of the right type counts as absent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def first(values: Iterable[Any]) -> Any:
    """Give the first that is there at all."""
    return next((each for each in values if each is not None), None)


def record(value: Any) -> dict[str, Any]:
    """Give the value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """Give the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def records(value: Any) -> list[dict[str, Any]]:
    """Give the mappings in a list."""
    return [each for each in listed(value) if isinstance(each, dict)]
