"""Whether a node of the cluster could take each pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from heraci.bundle import Severity
from heraci.looks import Answer, name_of
from heraci.needs import Expression, Pod, quantity
from heraci.preflight.amounts import Amounts, Ask, Defaults, as_text, total
from heraci.preflight.cases import Findings
from heraci.preflight.ground import KINDS, NODES, Ground

# Labels of nodes that come and go as pods ask for them.
SCALED = (
    "karpenter.sh/nodepool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
)

Node = Mapping[str, Any]


def check_nodes(
    ground: Ground, asks: Sequence[Ask], defaults: Defaults, findings: Findings
) -> None:
    """Say which pods no node could take, were it empty."""
    if not asks:
        return
    kind = KINDS["Node"]
    seen = ground.see(NODES) if ground.rights().may("list", kind) else None
    if seen is None or seen.answer is not Answer.SEEN:
        findings.unseen(kind, None, "whether one could take the pods")
        return
    scaled = any(label in _labels(each) for each in seen.items for label in SCALED)
    for ask in asks:
        if not seen.items and not _is_choosy(ask.pod):
            what = "The cluster shows no node at all, so nobody knows whether one could take a pod."
            findings.note("no-nodes", what)
            continue
        needed = total(ask.pod, defaults)[0]
        reason = _why_no_node(ask.pod, needed, seen.items)
        how = "Ask for what the cluster has (kubectl describe nodes), or add a node that fits."
        subject = f"No node can take the pod of template {ask.pod.template!r}"
        if reason:
            # Where nodes come and go as they are asked for, the right one may still come.
            later = " Unless the cluster adds such a node by itself, the pod waits for ever."
            told = f"{subject}: {reason}." + (later if scaled else "")
            severity = Severity.WARNING if scaled else Severity.ERROR
            findings.add("no-node-fits", told, how, [ask.place], severity)
        elif seen.items and all(map(_is_closed, _open_to(ask.pod, needed, seen.items))):
            told = f"{subject} now: those that could are closed (kubectl cordon)."
            how = "Open one again: kubectl uncordon NODE"
            findings.add("no-node-fits", told, how, [ask.place], Severity.WARNING)


def _is_choosy(pod: Pod) -> bool:
    """Tell whether a pod asks for a special node: a label, or something like a GPU."""
    special = {key for each in pod.containers for key in each.requests if "/" in key}
    return bool(pod.node_selector or pod.affinity or special or pod.spec.get("nodeName"))


def _why_no_node(pod: Pod, needed: Amounts, nodes: Sequence[Node]) -> str | None:
    """Sift the nodes by one demand after the other; say at which one none was left."""
    if (named := pod.spec.get("nodeName")) and named not in map(name_of, nodes):
        return f"there is no node {named!r}"
    left = [each for each in nodes if _selected(pod, each)]
    if not left and (pod.node_selector or pod.affinity):
        wanted = ", ".join(f"{key}={value}" for key, value in pod.node_selector.items())
        by_labels = [each for each in nodes if _has_labels(pod, each)]
        return (
            f"none has the labels {wanted}"
            if wanted and not by_labels
            else "none fits its node affinity"
        )
    before, left = left, [each for each in left if _tolerated(pod, each)]
    if before and not left:
        taints = sorted({_taint(taint) for each in before for taint in _taints(each)})
        return f"all that it selects are tainted ({', '.join(taints)})"
    for resource, amount in needed.items():
        most = max((_allocatable(each, resource) for each in left), default=Decimal(0))
        if amount > most:
            asked, has = as_text(amount, resource), as_text(most, resource)
            return f"it asks for {asked} of {resource}, and the largest has {has}"
    if not any(_has_room(each, needed) for each in left):
        told = ", ".join(f"{as_text(a, r)} of {r}" for r, a in needed.items())
        return f"none has all of {told}"
    return None


def _open_to(pod: Pod, needed: Amounts, nodes: Sequence[Node]) -> list[Node]:
    return [
        each
        for each in nodes
        if _selected(pod, each) and _tolerated(pod, each) and _has_room(each, needed)
    ]


def _is_closed(node: Node) -> bool:
    return bool((node.get("spec") or {}).get("unschedulable"))


def _labels(node: Node) -> Mapping[str, str]:
    return (node.get("metadata") or {}).get("labels") or {}


def _selected(pod: Pod, node: Node) -> bool:
    terms = pod.affinity
    fits = not terms or any(all(_matches(each, node) for each in term) for term in terms)
    return _has_labels(pod, node) and fits


def _has_labels(pod: Pod, node: Node) -> bool:
    labels = _labels(node)
    return all(labels.get(key) == value for key, value in pod.node_selector.items())


def _matches(expression: Expression, node: Node) -> bool:
    value = name_of(node) if expression.field else _labels(node).get(expression.key)
    match expression.operator:
        case "In":
            return value in expression.values
        case "NotIn":
            return value not in expression.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            has, bound = quantity(value), quantity("".join(expression.values))
            if has is None or bound is None:
                return False
            return has > bound if expression.operator == "Gt" else has < bound
        case _:
            return True  # of a Kubernetes to come: in doubt it fits


def _taints(node: Node) -> list[Mapping[str, Any]]:
    spec = node.get("spec") or {}
    # A node that is not ready, or closed, is tainted as well; that passes.
    return [
        each
        for each in spec.get("taints") or ()
        if each.get("effect") in {"NoSchedule", "NoExecute"}
        and not str(each.get("key")).startswith("node.kubernetes.io/")
    ]


def _tolerated(pod: Pod, node: Node) -> bool:
    return all(any(_tolerates(each, taint) for each in pod.tolerations) for taint in _taints(node))


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    key, effect = toleration.get("key"), toleration.get("effect")
    if (effect and effect != taint.get("effect")) or (key and key != taint.get("key")):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def _taint(taint: Mapping[str, Any]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key')}{value}:{taint.get('effect')}"


def _has_room(node: Node, needed: Amounts) -> bool:
    return all(_allocatable(node, resource) >= amount for resource, amount in needed.items())


def _allocatable(node: Node, resource: str) -> Decimal:
    status = node.get("status") or {}
    has = status.get("allocatable") or status.get("capacity") or {}
    return quantity(has.get(resource, "0")) or Decimal(0)
