"""What the quotas of a namespace leave, from what was looked at when the cluster was asserted."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from heraci.comparison import Room
from heraci.looks import Look, Seen
from heraci.needs import quantity

_PLURAL = "/resourcequotas"
# Quotas have two names for what these request.
_LONG = {"cpu": "requests.cpu", "memory": "requests.memory"}


def rooms(looked: Iterable[tuple[Look, Seen]]) -> tuple[Room, ...]:
    """Give for each resource the quota that leaves least, sorted by resource.

    Quotas with a scope count some pods only, by what is not known before they are there.
    """
    found: dict[str, Room] = {}
    for look, seen in looked:
        for item in seen.items if look.path.endswith(_PLURAL) else ():
            for room in _of_one(item):
                other = found.get(room.resource)
                if other is None or room.hard - room.used < other.hard - other.used:
                    found[room.resource] = room
    return tuple(found[name] for name in sorted(found))


def _of_one(item: Any) -> Iterable[Room]:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if spec.get("scopes") or spec.get("scopeSelector"):
        return
    for name, written in (spec.get("hard") or {}).items():
        hard = quantity(written)
        used = quantity((status.get("used") or {}).get(name, "0"))
        if hard is not None and used is not None:
            yield Room(resource=_LONG.get(name, name), hard=Fraction(hard), used=Fraction(used))
