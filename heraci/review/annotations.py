"""Choose the findings that are worth one of the few annotations that GitHub shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from heraci.bundle import Finding, Severity
from heraci.review.content import ordered_findings
from heraci.review.text import clean_block

# The runner shows so many of each level for one step, and cuts a message at 4,096 characters.
EACH_LEVEL = 10
_MESSAGE = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotations:
    """The chosen findings, the gravest first, and how many of each severity were not chosen."""

    shown: tuple[Finding, ...]
    left_out: tuple[tuple[Severity, int], ...] = ()


def annotated(findings: Iterable[Finding], each_level: int = EACH_LEVEL) -> Annotations:
    """Choose by severity; first those with a place, and in turn from each experiment.

    In turn, so that one experiment with many findings hides no other's only one. Messages come
    back without invisible characters; they are not yet escaped for a command.
    """
    found = ordered_findings(findings)
    shown: list[Finding] = []
    left_out = []
    for severity in Severity:
        own = [each for each in found if each.severity is severity]
        placed = [each for each in own if each.file]
        chosen = [*_in_turn(placed), *_in_turn([each for each in own if not each.file])]
        shown += chosen[:each_level]
        if len(chosen) > each_level:
            left_out.append((severity, len(chosen) - each_level))
    told = tuple(replace(each, message=_cut(clean_block(each.message))) for each in shown)
    return Annotations(shown=told, left_out=tuple(left_out))


def _cut(message: str) -> str:
    return message if len(message) <= _MESSAGE else f"{message[: _MESSAGE - 1]}…"


def _in_turn(findings: Sequence[Finding]) -> Iterator[Finding]:
    by_experiment: dict[str, list[Finding]] = {}
    for each in findings:
        by_experiment.setdefault(each.experiment or "", []).append(each)
    for turn in zip_longest(*by_experiment.values()):
        yield from (each for each in turn if each is not None)
