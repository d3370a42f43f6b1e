"""What the templates that experiments refer to need in turn, and whether their calls are right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from heraci.bundle import Manifest, Requirement
from heraci.needs import Call, Needs
from heraci.preflight.cases import Case, Findings
from heraci.preflight.contents import template_troubles
from heraci.preflight.existence import Existence

# Reads the manifest of an experiment, with these templates of the cluster at hand.
Read = Callable[[Manifest, str, Sequence[Manifest]], Needs]
# Templates that refer to templates that refer to templates …
MOST_ROUNDS = 5


def follow(cases: Iterable[Case], existence: Existence, read: Read) -> list[Case]:
    """Give cases with what the templates of the cluster need that they refer to, too."""
    return [
        _followed(case, case.manifest, existence, read) if case.manifest else case for case in cases
    ]


def _followed(case: Case, manifest: Manifest, existence: Existence, read: Read) -> Case:
    found: dict[tuple[str, str], Manifest] = {}
    needs = case.needs
    requirements, calls = dict.fromkeys(needs.requirements), dict.fromkeys(needs.calls)
    for _ in range(MOST_ROUNDS):
        new = {
            (call.kind, call.name): template
            for call in calls
            if (call.kind, call.name) not in found
            and (template := _on_the_cluster(call, case, existence))
        }
        if not new:
            break
        found |= new
        needs = read(manifest, case.experiment, tuple(found.values()))
        requirements |= dict.fromkeys(needs.requirements)
        calls |= dict.fromkeys(needs.calls)
    return replace(case, needs=replace(needs, requirements=tuple(requirements), calls=tuple(calls)))


def _on_the_cluster(call: Call, case: Case, existence: Existence) -> Manifest | None:
    namespaced = not call.kind.startswith("Cluster")
    namespace = case.namespace(existence.ground.namespace) if namespaced else None
    item = existence.item(call.kind, call.name, namespace)
    if item is None:
        return None
    return Manifest(kind=call.kind, name=call.name, digest="", document=item)


def check_calls(cases: Sequence[Case], findings: Findings) -> None:
    """Say which calls of templates that these experiments bring themselves are not right."""
    brought: dict[tuple[str, str], Mapping[str, Any]] = {
        (case.kind, case.manifest.name): case.manifest.document
        for case in cases
        if case.manifest and case.kind.endswith("WorkflowTemplate")
    }
    for case in cases:
        for call in case.needs.calls:
            document = brought.get((call.kind, call.name))
            if document is None:
                continue
            keys = (call.template,) if call.template else ()
            wanted = Requirement(kind=call.kind, name=call.name, keys=keys)
            for rule, what, how, severity in template_troubles(wanted, document, [call]):
                told = f"{call.kind} {call.name!r}, which is submitted with it, {what}"
                findings.add(rule, told, how, [case.place(call.source, call.caller)], severity)
