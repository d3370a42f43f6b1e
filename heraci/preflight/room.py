"""Whether there is room: in the namespace's limits and quotas, and on a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from heraci.bundle import Severity
from heraci.looks import Answer, Look, name_of
from heraci.needs import Container, Expression, Pod, quantity
from heraci.preflight.cases import Case, Findings, Place
from heraci.preflight.ground import KINDS, Ground

NODES = Look(path=KINDS["Node"].path())
# Labels of nodes that come and go as pods ask for them.
SCALED = (
    "karpenter.sh/nodepool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
)
# What a quota calls the requests of these two.
SHORT = {"cpu": "requests.cpu", "memory": "requests.memory"}

Amounts = dict[str, Decimal]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One pod with the case that starts it."""

    case: Case
    pod: Pod
    namespace: str

    @property
    def place(self) -> Place:
        return self.case.place(self.pod.source, self.pod.template)


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
    """Say which pods, claims and workflows would find no room."""
    by_namespace: dict[str, list[Case]] = {}
    for case in cases:
        by_namespace.setdefault(case.namespace(ground.namespace), []).append(case)
    for namespace, inside in by_namespace.items():
        limits = _items(ground, "LimitRange", namespace, inside, findings)
        quotas = _items(ground, "ResourceQuota", namespace, inside, findings)
        asks = [
            Ask(case=case, pod=pod, namespace=namespace)
            for case in inside
            for pod in case.needs.pods
        ]
        _check_limits(limits, asks, inside, findings)
        _check_quotas(quotas, _Defaults(limits), asks, inside, findings)
        _check_nodes(ground, asks, _Defaults(limits), findings)


def _items(
    ground: Ground, kind: str, namespace: str, cases: Sequence[Case], findings: Findings
) -> tuple[Mapping[str, Any], ...]:
    if ground.rights(namespace).may("list", KINDS[kind]):
        seen = ground.see(Look(path=KINDS[kind].path(namespace)))
        if seen.answer is Answer.SEEN:
            return seen.items
    plural = KINDS[kind].plural
    findings.add(
        "not-checked",
        f"This account may not look up {plural} in namespace {namespace}, so nobody knows whether "
        "they leave room.",
        f'To have it asserted, add to a Role: {{apiGroups: [""], resources: [{plural}], '
        "verbs: [list]}",
        [case.place() for case in cases][:1],
        Severity.NOTICE,
    )
    return ()


# --- limit ranges ---------------------------------------------------------------------------------


class _Defaults:
    """What limit ranges give to containers that say nothing."""

    def __init__(self, limits: Iterable[Mapping[str, Any]]) -> None:
        self.requests: dict[str, str] = {}
        self.limits: dict[str, str] = {}
        for limit in _limits(limits, "Container"):
            self.limits |= {**(limit.get("max") or {}), **(limit.get("default") or {})}
            default = limit.get("default") or {}
            self.requests |= {**(limit.get("max") or {}), **default}
            self.requests |= limit.get("defaultRequest") or {}

    def of(self, container: Container) -> tuple[Amounts, Amounts]:
        """Give a container's requests and limits as they will hold."""
        limits = {**self.limits, **container.limits}
        requests = {**self.requests, **container.requests}
        return _amounts(requests), _amounts(limits)


def _limits(limits: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    for each in limits:
        for limit in (each.get("spec") or {}).get("limits") or ():
            if limit.get("type") == kind:
                yield {**limit, "name": name_of(each)}


def _check_limits(
    limits: Sequence[Mapping[str, Any]],
    asks: Sequence[Ask],
    cases: Sequence[Case],
    findings: Findings,
) -> None:
    for limit in _limits(limits, "Container"):
        for ask in asks:
            for container in ask.pod.containers:
                what = f"container {container.name!r} of template {ask.pod.template!r}"
                asked = (_amounts(container.requests), _amounts(container.limits))
                _hold(limit, what, asked, ask.namespace, ask.place, findings)
    for limit in _limits(limits, "Pod"):
        for ask in asks:
            asked = _total(ask.pod, _Defaults(limits))
            what = f"the pod of template {ask.pod.template!r}"
            _hold(limit, what, asked, ask.namespace, ask.place, findings)
    for limit in _limits(limits, "PersistentVolumeClaim"):
        for case in cases:
            for claim in case.needs.claims:
                storage = _amounts({"storage": claim.storage} if claim.storage else {})
                what = f"the volume claim {claim.name!r}"
                place = case.place(claim.source)
                _hold(limit, what, (storage, storage), "", place, findings)


def _hold(
    limit: Mapping[str, Any],
    what: str,
    asked: tuple[Amounts, Amounts],
    namespace: str,
    place: Place,
    findings: Findings,
) -> None:
    requests, limits = asked
    name, where = limit["name"], f" in namespace {namespace}" if namespace else ""
    for resource, text in (limit.get("max") or {}).items():
        most = quantity(text)
        amount = max((each[resource] for each in (requests, limits) if resource in each), default=0)
        if most is not None and amount > most:
            findings.add(
                "limit-range",
                f"LimitRange {name!r}{where} allows at most {text} of {resource}, and {what} asks "
                f"for {_text(Decimal(amount), resource)}.",
                "Ask for less, or have the limit raised: "
                f"kubectl -n {namespace or '…'} edit limitrange {name}",
                [place],
            )
    for resource, text in (limit.get("min") or {}).items():
        least = quantity(text)
        if least is not None and resource in requests and requests[resource] < least:
            findings.add(
                "limit-range",
                f"LimitRange {name!r}{where} wants at least {text} of {resource}, and {what} asks "
                f"for {_text(requests[resource], resource)}.",
                "Ask for more.",
                [place],
            )


# --- quotas ---------------------------------------------------------------------------------------


def _check_quotas(
    quotas: Sequence[Mapping[str, Any]],
    defaults: _Defaults,
    asks: Sequence[Ask],
    cases: Sequence[Case],
    findings: Findings,
) -> None:
    for quota in quotas:
        spec = quota.get("spec") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue  # it counts some pods only, by what is not known before they are there
        counter = _Quota(quota, findings)
        for ask in asks:
            counter.pod(ask, defaults)
        counter.objects(cases)


class _Quota:
    """One ResourceQuota, held against what will be created."""

    def __init__(self, quota: Mapping[str, Any], findings: Findings) -> None:
        status = quota.get("status") or {}
        self.name = name_of(quota)
        self.namespace = (quota.get("metadata") or {}).get("namespace")
        self.hard: dict[str, str] = {**((quota.get("spec") or {}).get("hard") or {})}
        self.used: dict[str, str] = status.get("used") or {}
        self.findings = findings

    def pod(self, ask: Ask, defaults: _Defaults) -> None:
        """Say whether one pod of a template fits, and then as many as run at the same time."""
        asked = _counted(ask.pod, defaults)
        self.demands(ask, defaults)
        what = f"one pod of template {ask.pod.template!r}"
        for resource in self.hard:
            amount = asked.get(SHORT.get(resource, resource))
            if amount is None:
                continue
            if self.lacks(resource, amount, what, [ask.place]):
                continue
            self.together(ask, resource, amount)

    def together(self, ask: Ask, resource: str, amount: Decimal) -> None:
        most = ask.case.needs.parallelism
        count = min(most or 1, ask.pod.copies)
        hard = quantity(self.hard[resource])
        if count > 1 and hard is not None and amount * count > hard:
            self.findings.add(
                "quota-below-parallelism",
                f"{self.said(resource)}, and {count} pods of template {ask.pod.template!r}, as "
                f"many as may run at the same time (parallelism {most}), need "
                f"{_text(amount * count, resource)}: they would wait for each other.",
                f"Lower the parallelism, or {self.raising}",
                [ask.place],
                Severity.WARNING,
            )

    def demands(self, ask: Ask, defaults: _Defaults) -> None:
        """Say where a quota makes naming an amount a duty."""
        for resource in self.hard:
            full = SHORT.get(resource, resource)
            side, _, plain = full.partition(".")
            if side not in {"requests", "limits"} or plain not in {"cpu", "memory"}:
                continue
            for container in ask.pod.containers:
                requests, limits = defaults.of(container)
                if plain not in (requests if side == "requests" else limits):
                    self.findings.add(
                        "quota-demands",
                        f"ResourceQuota {self.name!r} in namespace {self.namespace} refuses pods "
                        f"whose containers do not name {full}, as {container.name!r} of template "
                        f"{ask.pod.template!r} does not.",
                        f"Name it under resources.{side} of the container, or have a LimitRange "
                        "give a default.",
                        [ask.place],
                    )

    def objects(self, cases: Sequence[Case]) -> None:
        """Say whether the objects that are created at once fit."""
        counts: dict[str, list[Case]] = {}
        for case in cases:
            if case.kind == "Workflow":  # the others may be there already, and are then renewed
                counts.setdefault("count/workflows.argoproj.io", []).append(case)
        for resource, counted in counts.items():
            what = f"{len(counted)} new {resource.removeprefix('count/').partition('.')[0]}"
            self.lacks(
                resource,
                Decimal(len(counted)),
                what,
                [each.place() for each in counted],
                at_once=True,
            )
        for case in cases:
            claims = case.needs.claims
            places = [case.place(each.source) for each in claims]
            storage = sum((quantity(each.storage) or Decimal(0) for each in claims), Decimal(0))
            what = "the volume claims of one workflow"
            if claims:
                self.lacks("persistentvolumeclaims", Decimal(len(claims)), what, places)
                self.lacks("requests.storage", storage, what, places)

    def lacks(
        self,
        resource: str,
        amount: Decimal,
        what: str,
        places: Sequence[Place],
        *,
        at_once: bool = False,
    ) -> bool:
        hard = quantity(self.hard.get(resource))
        if hard is None:
            return False
        used = quantity(self.used.get(resource, "0")) or Decimal(0)
        if amount <= hard - used:
            return False
        never = amount > hard
        taken = "" if never else f", of which {self.used[resource]} are taken now"
        self.findings.add(
            "quota-too-small" if never else "quota-used-up",
            f"{self.said(resource)}{taken}, and {what} needs {_text(amount, resource)}.",
            f"Ask for less, or {self.raising}",
            places,
            Severity.ERROR if never or at_once else Severity.WARNING,
            once=at_once,
        )
        return True

    def said(self, resource: str) -> str:
        return (
            f"ResourceQuota {self.name!r} in namespace {self.namespace} allows "
            f"{self.hard[resource]} of {resource}"
        )

    @property
    def raising(self) -> str:
        return f"have the quota raised: kubectl -n {self.namespace} edit resourcequota {self.name}"


def _counted(pod: Pod, defaults: _Defaults) -> Amounts:
    """Give what a pod counts for in a quota."""
    requests, limits = _total(pod, defaults)
    counted = {"pods": Decimal(1), "count/pods": Decimal(1)}
    counted |= {f"requests.{key}": each for key, each in requests.items()}
    return counted | {f"limits.{key}": each for key, each in limits.items()}


# --- nodes ----------------------------------------------------------------------------------------


def _check_nodes(
    ground: Ground, asks: Sequence[Ask], defaults: _Defaults, findings: Findings
) -> None:
    if not asks:
        return
    seen = ground.see(NODES) if ground.rights().may("list", KINDS["Node"]) else None
    if seen is None or seen.answer is not Answer.SEEN:
        findings.add(
            "not-checked",
            "This account may not list nodes, so nobody knows whether one could take the pods.",
            'To have it asserted, add to a ClusterRole: {apiGroups: [""], resources: [nodes], '
            "verbs: [list]}",
            [asks[0].place],
            Severity.NOTICE,
        )
        return
    scaled = any(label in _labels(each) for each in seen.items for label in SCALED)
    for ask in asks:
        if not seen.items and not _is_choosy(ask.pod):
            what = "The cluster shows no node at all, so nobody knows whether one could take a pod."
            findings.add("no-nodes", what, "", [asks[0].place], Severity.NOTICE)
            continue
        reason = _why_no_node(ask.pod, _total(ask.pod, defaults)[0], seen.items)
        if reason:
            # Where nodes come and go as they are asked for, the right one may still come.
            later = " Unless the cluster adds such a node by itself, the pod waits for ever."
            findings.add(
                "no-node-fits",
                f"No node can take the pod of template {ask.pod.template!r}: {reason}."
                + (later if scaled else ""),
                "Ask for what the cluster has (kubectl describe nodes), or add a node that fits.",
                [ask.place],
                Severity.WARNING if scaled else Severity.ERROR,
            )


def _is_choosy(pod: Pod) -> bool:
    """Tell whether a pod asks for a special node: a label, or something like a GPU."""
    special = {key for each in pod.containers for key in each.requests if "/" in key}
    return bool(pod.node_selector or pod.affinity or special)


def _why_no_node(pod: Pod, needed: Amounts, nodes: Sequence[Mapping[str, Any]]) -> str | None:
    """Sift the nodes by one demand after the other; say at which one none was left."""
    left = [each for each in nodes if _selected(pod, _labels(each))]
    if not left and (pod.node_selector or pod.affinity):
        wanted = ", ".join(f"{key}={value}" for key, value in pod.node_selector.items())
        return f"none has the labels {wanted}" if wanted else "none fits its node affinity"
    before, left = left, [each for each in left if _tolerated(pod, each)]
    if before and not left:
        taints = sorted({_taint(taint) for each in before for taint in _taints(each)})
        return f"all that it selects are tainted ({', '.join(taints)}) or closed"
    for resource, amount in needed.items():
        most = max((_allocatable(each, resource) for each in left), default=Decimal(0))
        if amount > most:
            asked, has = _text(amount, resource), _text(most, resource)
            return f"it asks for {asked} of {resource}, and the largest has {has}"
    if not any(all(_allocatable(each, r) >= a for r, a in needed.items()) for each in left):
        told = ", ".join(f"{_text(a, r)} of {r}" for r, a in needed.items())
        return f"none has all of {told}"
    return None


def _labels(node: Mapping[str, Any]) -> Mapping[str, str]:
    return (node.get("metadata") or {}).get("labels") or {}


def _selected(pod: Pod, labels: Mapping[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    terms = pod.affinity
    return not terms or any(all(_matches(each, labels) for each in term) for term in terms)


def _matches(expression: Expression, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.key)
    match expression.operator:
        case "In":
            return value in expression.values
        case "NotIn":
            return value not in expression.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return True  # Gt and Lt: in doubt it fits


def _taints(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    spec = node.get("spec") or {}
    # A node that is not ready is tainted as well; that passes.
    return [
        each
        for each in spec.get("taints") or ()
        if each.get("effect") in {"NoSchedule", "NoExecute"}
        and not str(each.get("key")).startswith("node.kubernetes.io/")
    ]


def _tolerated(pod: Pod, node: Mapping[str, Any]) -> bool:
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


def _allocatable(node: Mapping[str, Any], resource: str) -> Decimal:
    status = node.get("status") or {}
    amounts = status.get("allocatable") or status.get("capacity") or {}
    return quantity(amounts.get(resource, "0")) or Decimal(0)


# --- amounts --------------------------------------------------------------------------------------


def _amounts(texts: Mapping[str, str]) -> Amounts:
    read = {key: quantity(each) for key, each in texts.items()}
    return {key: each for key, each in read.items() if each is not None}


def _total(pod: Pod, defaults: _Defaults) -> tuple[Amounts, Amounts]:
    """Add up a pod as Kubernetes does: all containers, or the largest that runs before them."""
    totals: tuple[Amounts, Amounts] = ({}, {})
    for side in (0, 1):
        for container in pod.containers:
            if not container.init:
                for key, each in defaults.of(container)[side].items():
                    totals[side][key] = totals[side].get(key, Decimal(0)) + each
        for container in pod.containers:
            if container.init:
                for key, each in defaults.of(container)[side].items():
                    totals[side][key] = max(totals[side].get(key, Decimal(0)), each)
    return totals


def _text(amount: Decimal, resource: str) -> str:
    """Write an amount as people do."""
    if resource.rpartition(".")[2] in {"memory", "storage", "ephemeral-storage"}:
        for suffix, size in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
            if amount >= size:
                return f"{(amount / size).quantize(Decimal('0.01')).normalize():f}{suffix}"
    if resource.rpartition(".")[2] == "cpu" and amount != amount.to_integral_value():
        return f"{int(amount * 1000)}m"
    return f"{amount.normalize():f}"
