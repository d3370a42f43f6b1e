"""What was asked of a cluster and what it answered, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Answer(StrEnum):
    """How a cluster answers a question that was put well."""

    SEEN = "seen"
    ABSENT = "absent"  # no such object, or no such kind
    FORBIDDEN = "forbidden"
    REFUSED = "refused"  # the object itself is not right, or an admission rule stands against it


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One question: a path of the API, and the metadata alone or all of it.

    `keys_only` blanks the values of what holds secrets before anybody sees them. `body` is the
    JSON of a review (a question that is posted) or of a dry run.
    """

    path: str
    params: tuple[tuple[str, str], ...] = ()
    metadata_only: bool = False
    keys_only: bool = False
    body: str | None = None

    def __str__(self) -> str:
        asked = "&".join(f"{key}={value}" for key, value in self.params)
        verb = "GET" if self.body is None else "POST"
        only = " (metadata only)" if self.metadata_only else ""
        return f"{verb} {self.path}{'?' if asked else ''}{asked}{only}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The answer: the objects, one or many, or what the cluster said instead."""

    answer: Answer = Answer.SEEN
    items: tuple[Mapping[str, Any], ...] = ()
    said: str = ""

    @property
    def names(self) -> frozenset[str]:
        """The names of all objects seen."""
        return frozenset(name_of(each) for each in self.items)


def name_of(item: Mapping[str, Any]) -> str:
    """Give an object's name."""
    return str((item.get("metadata") or {}).get("name") or "")
