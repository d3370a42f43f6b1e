"""What is asserted, and how what is wrong with it is gathered: once, with all who need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from heraci.bundle import Finding, Manifest, Requirement, Severity
from heraci.needs import At, Needs
from heraci.preflight import advice
from heraci.preflight.ground import Kind

MOST_PLACES = 3


class Trouble(NamedTuple):
    """What is wrong with something that is there, said of it, and how to put it right."""

    rule: str
    what: str
    how: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Who needs something: an experiment, one of its templates, a `file:line`."""

    experiment: str
    template: str | None = None
    source: str | None = None

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        return f"template {self.template!r}{where}" if self.template else f"the workflow{where}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One manifest with its needs, or what one experiment declares beside its manifests."""

    experiment: str
    manifest: Manifest | None = None
    needs: Needs = field(default_factory=Needs)
    declared: tuple[Requirement, ...] = ()

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """All that it requires."""
        return self.needs.requirements + self.declared

    @property
    def kind(self) -> str:
        """The manifest's kind, empty where there is none."""
        return self.manifest.kind if self.manifest else ""

    def namespace(self, target: str) -> str:
        """Give the namespace that it runs in."""
        return (self.manifest.namespace if self.manifest else None) or target

    def place(self, source: str | None = None, template: str | None = None) -> Place:
        """Name a place in it, by default its beginning."""
        beginning = self.manifest.sources.get("") if self.manifest else None
        return Place(
            experiment=self.experiment, template=template, source=source or beginning or None
        )

    def at(self, place: At) -> Place:
        """Name a place that its needs tell."""
        return self.place(place.source, place.template)


def place_of(case: Case, requirement: Requirement) -> Place:
    """Say who needs a requirement."""
    return case.place(requirement.source, requirement.template)


@dataclass(frozen=True, kw_only=True, slots=True)
class _What:
    """What is wrong; the same said twice is one trouble, whoever has it."""

    rule: str
    severity: Severity
    told: str
    once: bool


@dataclass(slots=True)
class _Affected:
    how: str
    places: dict[Place, None] = field(default_factory=dict)


class Findings:
    """Gathers what is wrong: each trouble once, with all who have it."""

    def __init__(self) -> None:
        self._found: dict[_What, _Affected] = {}
        self._unseen: dict[tuple[str, Kind, str | None], None] = {}
        self._passed: dict[Finding, None] = {}

    def add(
        self,
        rule: str,
        what: str,
        how: str,
        places: Iterable[Place],
        severity: Severity = Severity.ERROR,
        *,
        once: bool = False,
    ) -> None:
        """Say what is wrong and how to put it right, to each experiment that is concerned.

        `once` is for what is wrong with the target itself: the first that needs it is told.
        """
        key = _What(rule=rule, severity=severity, told=what, once=once)
        for place in places:
            self._found.setdefault(key, _Affected(how)).places[place] = None

    def note(self, rule: str, what: str, how: str = "") -> None:
        """Say what is good to know of the target, whoever it concerns."""
        message = "\n".join(filter(None, (what, how)))
        self._passed[Finding(rule=rule, severity=Severity.NOTICE, message=message)] = None

    def unseen(self, kind: Kind, namespace: str | None, what: str) -> None:
        """Say what was not asserted because this account may not look a kind up."""
        self._unseen[what, kind, namespace] = None

    def pass_on(self, findings: Iterable[Finding]) -> None:
        """Take in what others found."""
        self._passed |= dict.fromkeys(findings)

    def rules(self) -> frozenset[str]:
        """The rules that were broken so far."""
        return frozenset(what.rule for what in self._found)

    def result(self) -> tuple[Finding, ...]:
        """Give all findings, the gravest first: one for each experiment that is concerned."""
        found = [
            _finding(what, trouble.how, concerned)
            for what, trouble in self._found.items()
            for concerned in _parted(what, trouble.places)
        ]
        return self._ordered(found)

    def grouped(self) -> tuple[Finding, ...]:
        """Give all findings, the gravest first: one for all experiments that have the same."""
        found = [
            _finding(what, trouble.how, trouble.places) for what, trouble in self._found.items()
        ]
        return self._ordered(found)

    def _ordered(self, found: Iterable[Finding]) -> tuple[Finding, ...]:
        grave = list(Severity)
        everything = [*found, *self._passed, *self._not_looked_at()]
        return tuple(sorted(everything, key=lambda each: grave.index(each.severity)))

    def _not_looked_at(self) -> Iterator[Finding]:
        """One notice for all that may not be looked up: it is about the account."""
        if not self._unseen:
            return
        told = sorted({f"{kind.plural}: {what}" for what, kind, _ in self._unseen})
        asked = dict.fromkeys((kind, namespace) for _, kind, namespace in self._unseen)
        how = "To have it asserted, give this account:\n" + advice.looking(asked)
        lead = "This account may not look at all of it, so this was not asserted:"
        what = "\n".join([lead, *told])
        yield Finding(rule="not-checked", severity=Severity.NOTICE, message=f"{what}\n{how}")


def _parted(what: _What, places: Iterable[Place]) -> Iterable[Iterable[Place]]:
    if what.once:
        return [places]
    parts: dict[str, list[Place]] = {}
    for place in places:
        parts.setdefault(place.experiment, []).append(place)
    return parts.values()


def _finding(what: _What, how: str, places: Iterable[Place]) -> Finding:
    # What is missing is needed by somebody; what stands in the way concerns somebody.
    lead = "Needed by" if what.rule.startswith("missing-") else "It concerns"
    lines = (what.told, _concerned(lead, places), how)
    message = "\n".join(line for line in lines if line).strip()
    return _located(what.rule, what.severity, message, next(iter(places)))


def _concerned(lead: str, places: Iterable[Place]) -> str:
    """Name those who have a trouble: a few places of one experiment, or a few experiments."""
    parts: dict[str, list[Place]] = {}
    for place in places:
        parts.setdefault(place.experiment, []).append(place)
    if len(parts) == 1:
        [(experiment, own)] = parts.items()
        shown = ", ".join(map(str, own[:MOST_PLACES]))
        more = len(own) - MOST_PLACES
        return f"{lead} {shown}{f' and {more} more' if more > 0 else ''} of {experiment}."
    lines = [f"{lead} {len(parts)} experiments:"]
    lines += [f"  {experiment}, {own[0]}" for experiment, own in parts.items()]
    more = len(parts) - MOST_PLACES
    if more > 1:
        lines[MOST_PLACES + 1 :] = [f"  and {more} more (--format json names them all)"]
    return "\n".join(lines)


def _located(rule: str, severity: Severity, message: str, place: Place) -> Finding:
    file, _, line = (place.source or "").rpartition(":")
    return Finding(
        rule=rule,
        severity=severity,
        message=message,
        experiment=place.experiment,
        file=file or None,
        line=int(line) if line.isdigit() else None,
    )
