"""Whether a namespace's ResourceQuotas leave room for what will be created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from heraci.bundle import Severity
from heraci.looks import name_of
from heraci.needs import Claim, Pod, quantity
from heraci.preflight.amounts import Amounts, Ask, Defaults, as_text, total
from heraci.preflight.cases import Case, Findings, Place

# What a quota calls the requests of these two.
SHORT = {"cpu": "requests.cpu", "memory": "requests.memory"}
# What Argo adds to each pod; its configuration says what these ask for.
ARGOS_OWN = "`init` and `wait`"


def check_quotas(
    quotas: Sequence[Mapping[str, Any]],
    defaults: Defaults,
    asks: Sequence[Ask],
    cases: Sequence[Case],
    findings: Findings,
) -> None:
    """Say which pods, claims and workflows the quotas of a namespace have no room for."""
    for quota in quotas:
        counter = _Quota(quota, findings)
        for ask in asks:
            if counts(quota, ask.pod, defaults):
                counter.pod(ask, defaults)
        if not _scopes(quota):
            counter.workflows(cases)
            counter.claims(cases)


def _scopes(quota: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Give what a quota counts only: scope, operator, values."""
    spec = quota.get("spec") or {}
    found: list[tuple[str, str, list[str]]] = []
    found += [(str(each), "Exists", []) for each in spec.get("scopes") or ()]
    for each in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        values = [str(value) for value in each.get("values") or ()]
        found.append((str(each.get("scopeName")), str(each.get("operator")), values))
    return found


def counts(quota: Mapping[str, Any], pod: Pod, defaults: Defaults) -> bool:
    """Tell whether a quota counts a pod."""
    return all(_in_scope(pod, defaults, *scope) for scope in _scopes(quota))


def _in_scope(pod: Pod, defaults: Defaults, scope: str, operator: str, values: list[str]) -> bool:
    match scope:
        case "BestEffort":
            return _is_best_effort(pod, defaults)
        case "NotBestEffort":
            return not _is_best_effort(pod, defaults)
        case "Terminating":
            return bool(pod.spec.get("activeDeadlineSeconds"))
        case "NotTerminating":
            return not pod.spec.get("activeDeadlineSeconds")
        case "PriorityClass":
            name = str(pod.spec.get("priorityClassName") or "")
            within = {"In": name in values, "NotIn": name not in values, "Exists": bool(name)}
            return within.get(operator, not name)
        case "CrossNamespacePodAffinity":
            return _looks_across_namespaces(pod.spec.get("affinity"))
        case _:
            return False  # of a Kubernetes to come: in doubt it does not count


def _is_best_effort(pod: Pod, defaults: Defaults) -> bool:
    asked = [amount for container in pod.containers for amount in defaults.of(container)]
    return not any(each.get("cpu") or each.get("memory") for each in asked)


def _looks_across_namespaces(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_looks_across_namespaces, node))
    if not isinstance(node, dict):
        return False
    here = node.get("namespaces") or node.get("namespaceSelector") is not None
    return bool(here) or any(map(_looks_across_namespaces, node.values()))


class _Quota:
    """One ResourceQuota, held against what will be created."""

    def __init__(self, quota: Mapping[str, Any], findings: Findings) -> None:
        status = quota.get("status") or {}
        self.name = name_of(quota)
        self.namespace = (quota.get("metadata") or {}).get("namespace")
        self.hard: dict[str, str] = {**((quota.get("spec") or {}).get("hard") or {})}
        self.used: dict[str, str] = status.get("used") or {}
        self.findings = findings

    def pod(self, ask: Ask, defaults: Defaults) -> None:
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
                f"{as_text(amount * count, resource)}: they would wait for each other.",
                f"Lower the parallelism, or {self.raising}",
                [ask.place],
                Severity.WARNING,
            )

    def demands(self, ask: Ask, defaults: Defaults) -> None:
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
            if plain not in (defaults.requests if side == "requests" else defaults.limits):
                self.findings.note(
                    "quota-demands",
                    f"ResourceQuota {self.name!r} in namespace {self.namespace} wants {full} of "
                    f"every container, of Argo's own {ARGOS_OWN}, too, and no LimitRange gives "
                    "them a default.",
                    "Argo's configuration has to: executor.resources in its ConfigMap.",
                )

    def workflows(self, cases: Sequence[Case]) -> None:
        """Say whether the workflows that are created at once fit."""
        new = [case for case in cases if case.kind == "Workflow"]
        if new:  # the others may be there already, and are then renewed
            places = [each.place() for each in new]
            what = f"{len(new)} new workflow{'s' if len(new) > 1 else ''}"
            resource = "count/workflows.argoproj.io"
            self.lacks(resource, Decimal(len(new)), what, places, at_once=True)

    def claims(self, cases: Sequence[Case]) -> None:
        """Say whether the volume claims that one workflow makes fit."""
        for case in cases:
            claims = case.needs.claims
            places = [case.place(each.source) for each in claims]
            for resource in self.hard if claims else ():
                amount = _claimed(resource, claims)
                if amount:
                    self.lacks(resource, amount, "the volume claims of one workflow", places)

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
        needs = "need" if what[0].isdigit() and not what.startswith("1 ") else "needs"
        needs = "need" if what.startswith("the volume claims") else needs
        self.findings.add(
            "quota-too-small" if never else "quota-used-up",
            f"{self.said(resource)}{taken}, and {what} {needs} {as_text(amount, resource)}.",
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


def _claimed(resource: str, claims: Sequence[Claim]) -> Decimal:
    """Add up claims under the name that a quota has for them."""
    storage_class, _, of_class = resource.partition(".storageclass.storage.k8s.io/")
    if of_class:
        claims = [each for each in claims if each.storage_class == storage_class]
        resource = of_class
    if resource in {"persistentvolumeclaims", "count/persistentvolumeclaims"}:
        return Decimal(len(claims))
    if resource == "requests.storage":
        return sum((quantity(each.storage) or Decimal(0) for each in claims), Decimal(0))
    return Decimal(0)


def _counted(pod: Pod, defaults: Defaults) -> Amounts:
    """Give what one pod counts for, under the names that quotas use."""
    requests, limits = total(pod, defaults)
    counted = {f"requests.{key}": each for key, each in requests.items()}
    counted |= {f"limits.{key}": each for key, each in limits.items()}
    return counted | {"pods": Decimal(1), "count/pods": Decimal(1)}
