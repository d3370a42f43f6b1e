"""What is asserted, and how what is wrong with it is gathered: once, with all who need it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from heraci.bundle import Finding, Manifest, Requirement, Severity
from heraci.needs import Needs

MOST_PLACES = 3


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


def place_of(case: Case, requirement: Requirement) -> Place:
    """Say who needs a requirement."""
    return case.place(requirement.source, requirement.template)


@dataclass(slots=True)
class _Trouble:
    rule: str
    severity: Severity
    what: str
    how: str
    places: list[Place]


class Findings:
    """Gathers what is wrong: the same trouble of one experiment once, with each place."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], _Trouble] = {}
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
        for place in places:
            key = ("" if once else place.experiment, rule, what)
            trouble = self._found.setdefault(key, _Trouble(rule, severity, what, how, []))
            if place not in trouble.places:
                trouble.places.append(place)

    def pass_on(self, findings: Iterable[Finding]) -> None:
        """Take in what others found."""
        self._passed |= dict.fromkeys(findings)

    def rules(self) -> frozenset[str]:
        """The rules that were broken so far."""
        return frozenset(rule for _, rule, _ in self._found)

    def result(self) -> tuple[Finding, ...]:
        """Give all findings, the gravest first."""
        grave = list(Severity)
        found = [*map(_finding, self._found.values()), *self._passed]
        return tuple(sorted(found, key=lambda each: grave.index(each.severity)))


def _finding(trouble: _Trouble) -> Finding:
    first = trouble.places[0]
    own = [each for each in trouble.places if each.experiment == first.experiment]
    shown = ", ".join(str(each) for each in own[:MOST_PLACES])
    if len(own) > MOST_PLACES:
        shown += f" and {len(own) - MOST_PLACES} more"
    others = len({each.experiment for each in trouble.places}) - 1
    of = first.experiment + (f", and {others} other experiments" if others > 1 else "")
    of += ", and another experiment" if others == 1 else ""
    file, _, line = (first.source or "").rpartition(":")
    # What is missing is needed by somebody; what stands in the way concerns somebody.
    lead = "Needed by" if trouble.rule.startswith("missing-") else "It concerns"
    needed = f"{lead} {shown} of {of}."
    return Finding(
        rule=trouble.rule,
        severity=trouble.severity,
        message=" ".join(part for part in (trouble.what, needed, trouble.how) if part).strip(),
        experiment=first.experiment,
        file=file or None,
        line=int(line) if line.isdigit() else None,
    )
