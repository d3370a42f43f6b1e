"""Is what is about to be submitted what was reviewed? Digests against digests, in plain words.

`reviewed` are the bundles of the review runs for what was merged, the newest last. Their digests
were taken anew when they were loaded, so a comment or an index that says otherwise has no weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from heraci.bundle import Bundle, CompiledExperiment, Finding, Manifest, Severity, Status

SUBMITTED = frozenset({Status.ADDED, Status.CHANGED, Status.COMPILED})


class Agreement(StrEnum):
    """How what is submitted relates to what was reviewed; the word is an output of the Action."""

    SAME = "same"
    DIFFERS = "differs"
    NOT_REVIEWED = "not-reviewed"


class Decision(StrEnum):
    """What a setting says to do where they do not agree."""

    STOP = "stop"
    WARN = "warn"
    GO_ON = "go-on"


_SEVERITIES = {
    Decision.STOP: Severity.ERROR,
    Decision.WARN: Severity.WARNING,
    Decision.GO_ON: Severity.NOTICE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How they relate, why, and a finding for each experiment where they do not agree."""

    agreement: Agreement
    reason: str = ""
    findings: tuple[Finding, ...] = ()


def compare(
    made: Bundle,
    reviewed: Sequence[Bundle],
    *,
    on_mismatch: str,
    on_not_reviewed: str,
    why_not: str = "no review run of what was merged is known",
    unchanged: bool = False,
) -> Verdict:
    """Hold what is to be submitted against what was reviewed.

    `why_not` tells why `reviewed` is empty; `unchanged` says that experiments whose manifests are
    the same are submitted too.
    """
    chosen = SUBMITTED | ({Status.UNCHANGED} if unchanged else frozenset())
    submitted = [each for each in made.experiments if each.status in chosen]
    known = {
        each.name: (each, one) for one in reviewed for each in one.experiments if each.manifests
    }
    differing, unknown = [], []
    for each in submitted:
        before = known.get(each.name)
        if before is None:
            unknown.append(_not_reviewed(each, why_not, bool(reviewed), Decision(on_not_reviewed)))
        elif said := list(_differences(each, before[0])):
            told = [*said, *_reasons(made, each, before[1], before[0])]
            differing.append(_mismatch(each, told, Decision(on_mismatch)))
    if differing:
        agreement = Agreement.DIFFERS
    else:
        agreement = Agreement.NOT_REVIEWED if unknown else Agreement.SAME
    findings = (*differing, *unknown)
    reason = " ".join(f"{each.experiment}: {each.message}" for each in findings[:3])
    if len(findings) > 3:
        reason += f" And {len(findings) - 3} more experiments."
    return Verdict(agreement=agreement, reason=reason, findings=findings)


def _not_reviewed(
    each: CompiledExperiment, why_not: str, others: bool, decision: Decision
) -> Finding:
    why = "it is not among the experiments that were reviewed" if others else why_not
    return Finding(
        rule="not-reviewed",
        severity=_SEVERITIES[decision],
        message=f"nothing says that this was reviewed: {why}.",
        experiment=each.name,
        file=each.path,
    )


def _mismatch(each: CompiledExperiment, told: Sequence[str], decision: Decision) -> Finding:
    return Finding(
        rule="not-as-reviewed",
        severity=_SEVERITIES[decision],
        message=f"this is not what was reviewed: {'; '.join(told)}. Review it anew in a pull "
        "request, or submit it on purpose with `on-mismatch: go-on`.",
        experiment=each.name,
        file=each.path,
    )


def _differences(now: CompiledExperiment, before: CompiledExperiment) -> Iterator[str]:
    """Say which manifests differ, are new, or are gone."""
    ours, theirs = _by_key(now), _by_key(before)
    for key, manifest in ours.items():
        name = f"{manifest.kind} {manifest.name}"
        if key not in theirs:
            yield f"{name} was not in the review"
        elif theirs[key].digest != manifest.digest:
            yield f"{name} has the digest {manifest.digest[:19]}, not {theirs[key].digest[:19]}"
    for key, manifest in theirs.items():
        if key not in ours:
            yield f"{manifest.kind} {manifest.name} was reviewed and is gone"


def _by_key(experiment: CompiledExperiment) -> dict[tuple[str, str | None, str, int], Manifest]:
    """Tell manifests apart, those of one name by their order."""
    found: dict[tuple[str, str | None, str, int], Manifest] = {}
    for each in experiment.manifests:
        number = 0
        while (key := (each.kind, each.namespace, each.name, number)) in found:
            number += 1
        found[key] = each
    return found


def _reasons(
    made: Bundle, now: CompiledExperiment, reviewed: Bundle, before: CompiledExperiment
) -> Iterator[str]:
    """Say what else is not the same, which is where to look for the cause."""
    if made.target != reviewed.target:
        yield f"the review was for the target {reviewed.target}, this is for {made.target}"
    names = sorted({*made.settings, *reviewed.settings})
    if changed := [
        each for each in names if made.settings.get(each) != reviewed.settings.get(each)
    ]:
        yield f"settings changed: {', '.join(changed)}"
    for what, ours, theirs in (
        ("heraci", made.versions.get("heraci"), reviewed.versions.get("heraci")),
        ("Python", now.python, before.python),
        ("Hera", now.hera, before.hera),
    ):
        if ours != theirs:
            yield f"{what} was {theirs} and is {ours}"
    if pins := sorted({*now.pins} ^ {*before.pins}):
        yield f"packages differ: {', '.join(pins[:6])}"
    if made.base != reviewed.base:
        yield (
            f"the base moved from {(reviewed.base or 'nothing')[:10]} to "
            f"{(made.base or 'nothing')[:10]}, so what was merged is more than what was reviewed"
        )
