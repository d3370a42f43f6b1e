"""Whether there is room: in the namespace's limits and quotas, under its rules, and on a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from heraci.looks import Answer, Look
from heraci.preflight.amounts import Ask, Defaults
from heraci.preflight.cases import Case, Findings
from heraci.preflight.ground import KINDS, NODES, Ground
from heraci.preflight.limits import check_limits
from heraci.preflight.nodes import check_nodes
from heraci.preflight.quotas import check_quotas
from heraci.preflight.security import check_security


def room_looks(ground: Ground, namespaces: Iterable[str]) -> Iterator[Look]:
    """Give what has to be looked at first."""
    for namespace in namespaces:
        rights = ground.rights(namespace)
        for kind in ("LimitRange", "ResourceQuota"):
            if rights.may("list", KINDS[kind]):
                yield Look(path=KINDS[kind].path(namespace))
    if ground.rights().may("list", KINDS["Node"]):
        yield NODES


def check_room(ground: Ground, cases: Sequence[Case], findings: Findings) -> None:
    """Say which pods, claims and workflows would find no room, or would not be let in."""
    by_namespace: dict[str, list[Case]] = {}
    for case in cases:
        by_namespace.setdefault(case.namespace(ground.namespace), []).append(case)
    for namespace, inside in by_namespace.items():
        limits = _items(ground, "LimitRange", namespace, findings)
        quotas = _items(ground, "ResourceQuota", namespace, findings)
        asks = [
            Ask(case=case, pod=pod, namespace=namespace)
            for case in inside
            for pod in case.needs.pods
        ]
        defaults = Defaults(limits)
        check_limits(limits, asks, inside, findings)
        check_quotas(quotas, defaults, asks, inside, findings)
        check_security(ground, namespace, asks, findings)
        check_nodes(ground, asks, defaults, findings)


def _items(
    ground: Ground, kind: str, namespace: str, findings: Findings
) -> tuple[Mapping[str, Any], ...]:
    if ground.rights(namespace).may("list", KINDS[kind]):
        seen = ground.see(Look(path=KINDS[kind].path(namespace)))
        if seen.answer is Answer.SEEN:
            return seen.items
    findings.unseen(KINDS[kind], namespace, "whether they leave room")
    return ()
