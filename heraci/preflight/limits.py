"""Whether pods and volume claims keep within a namespace's LimitRanges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from heraci.needs import quantity
from heraci.preflight.amounts import Amounts, Ask, Defaults, amounts, as_text, limits_of, total
from heraci.preflight.cases import Case, Findings, Trouble


def check_limits(
    ranges: Sequence[Mapping[str, Any]],
    asks: Sequence[Ask],
    cases: Sequence[Case],
    findings: Findings,
) -> None:
    """Say which pods and claims the LimitRanges of a namespace refuse."""
    defaults = Defaults(ranges)
    for ask in asks:
        for container in ask.pod.containers:
            what = f"container {container.name!r} of template {ask.pod.template!r}"
            named = amounts(container.requests), amounts(container.limits)
            held = defaults.of(container)
            told = [*_above_default(what, named, held)]
            for limit in limits_of(ranges, "Container"):
                told += [*_against(limit, what, named), *_ratio(limit, what, held)]
            for each in told:
                findings.add(each.rule, each.what, each.how, [ask.place])
        pod, of_pod = total(ask.pod, defaults), f"the pod of template {ask.pod.template!r}"
        # A pod of Argo's containers alone asks for what Argo's configuration says.
        for limit in limits_of(ranges, "Pod") if ask.pod.containers else ():
            for each in [*_against(limit, of_pod, pod), *_ratio(limit, of_pod, pod)]:
                findings.add(each.rule, each.what, each.how, [ask.place])
    for case in cases:
        for claim in case.needs.claims:
            storage = amounts({"storage": claim.storage} if claim.storage else {})
            for limit in limits_of(ranges, "PersistentVolumeClaim"):
                what = f"the volume claim {claim.name!r}"
                for each in _against(limit, what, (storage, storage)):
                    findings.add(each.rule, each.what, each.how, [case.place(claim.source)])


def _against(
    limit: Mapping[str, Any], what: str, asked: tuple[Amounts, Amounts]
) -> Iterator[Trouble]:
    """Hold requests and limits against the least and the most; give what is wrong, and how."""
    requests, limits = asked
    name = f"LimitRange {limit['name']!r}"
    for resource, text in (limit.get("max") or {}).items():
        most, asks = quantity(text), [each[resource] for each in asked if resource in each]
        if most is not None and asks and max(asks) > most:
            yield Trouble(
                "limit-range",
                f"{name} allows at most {text} of {resource}, and {what} asks for "
                f"{as_text(max(asks), resource)}.",
                f"Ask for less, or have the limit raised: kubectl edit limitrange {limit['name']}",
            )
        elif limit.get("type") == "Pod" and resource not in limits:
            yield Trouble(
                "limit-range",
                f"{name} allows a pod at most {text} of {resource}, so that every container has "
                f"to name a limit, and {what} names none.",
                f"Name it under resources.limits: {resource}.",
            )
    for resource, text in (limit.get("min") or {}).items():
        least = quantity(text)
        if least is not None and resource in requests and requests[resource] < least:
            yield Trouble(
                "limit-range",
                f"{name} wants at least {text} of {resource}, and {what} asks for "
                f"{as_text(requests[resource], resource)}.",
                "Ask for more.",
            )


def _ratio(limit: Mapping[str, Any], what: str, held: tuple[Amounts, Amounts]) -> Iterator[Trouble]:
    """Say where a limit is too many times the request."""
    requests, limits = held
    for resource, text in (limit.get("maxLimitRequestRatio") or {}).items():
        most, request = quantity(text), requests.get(resource)
        if most is None or not request or resource not in limits:
            continue
        if limits[resource] / request > most:
            yield Trouble(
                "limit-range",
                f"LimitRange {limit['name']!r} allows a limit of {resource} of at most {text} "
                f"times the request, and {what} has {as_text(limits[resource], resource)} for "
                f"{as_text(request, resource)}.",
                "Request more, or limit it to less.",
            )


def _above_default(
    what: str, named: tuple[Amounts, Amounts], held: tuple[Amounts, Amounts]
) -> Iterator[Trouble]:
    """Say where a container asks for more than the limit that it is given, naming none itself."""
    for resource, request in named[0].items():
        limit = held[1].get(resource, Decimal("Infinity"))
        if resource not in named[1] and request > limit:
            yield Trouble(
                "limit-range",
                f"A LimitRange gives containers that name no limit of {resource} one of "
                f"{as_text(limit, resource)}, and {what} asks for {as_text(request, resource)}: "
                "its pod would be refused.",
                f"Name a limit under resources.limits: {resource}.",
            )
