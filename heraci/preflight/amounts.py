"""How much of cpu, memory and other resources pods ask for, as Kubernetes counts it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from heraci.looks import name_of
from heraci.needs import Container, Pod, quantity
from heraci.preflight.cases import Case, Place

Amounts = dict[str, Decimal]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One pod with the case that starts it."""

    case: Case
    pod: Pod
    namespace: str

    @property
    def place(self) -> Place:
        """Who asks for it."""
        return self.case.place(self.pod.source, self.pod.template)


class Defaults:
    """What limit ranges give to containers that say nothing."""

    def __init__(self, limits: Iterable[Mapping[str, Any]]) -> None:
        self.requests: dict[str, str] = {}
        self.limits: dict[str, str] = {}
        for limit in limits_of(limits, "Container"):
            default = limit.get("default") or {}
            self.limits |= {**(limit.get("max") or {}), **default}
            self.requests |= {**(limit.get("max") or {}), **default}
            self.requests |= limit.get("defaultRequest") or {}

    def of(self, container: Container) -> tuple[Amounts, Amounts]:
        """Give a container's requests and limits as they will hold."""
        limits = {**self.limits, **container.limits}
        requests = {**self.requests, **container.requests}
        return amounts(requests), amounts(limits)


def limits_of(limits: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    """Give the limits of LimitRanges that are about a kind, each with the name of its range."""
    for each in limits:
        for limit in (each.get("spec") or {}).get("limits") or ():
            if limit.get("type") == kind:
                yield {**limit, "name": name_of(each)}


def amounts(texts: Mapping[str, str]) -> Amounts:
    """Read quantities, leaving out what is none."""
    read = {key: quantity(each) for key, each in texts.items()}
    return {key: each for key, each in read.items() if each is not None}


def total(pod: Pod, defaults: Defaults) -> tuple[Amounts, Amounts]:
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


def as_text(amount: Decimal, resource: str) -> str:
    """Write an amount as people do."""
    if resource.rpartition(".")[2] in {"memory", "storage", "ephemeral-storage"}:
        for suffix, size in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
            if amount >= size:
                return f"{(amount / size).quantize(Decimal('0.01')).normalize():f}{suffix}"
    if resource.rpartition(".")[2] == "cpu" and amount != amount.to_integral_value():
        return f"{int(amount * 1000)}m"
    return f"{amount.normalize():f}"
