"""Pod specs in manifests: where they are, what patches make of them, what they ask of a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from heraci.needs import Expression
from heraci.requirements.shapes import listed, record, records

# What Argo hands from a workflow and its template on to a pod, the nearest word holding.
_POD_WIDE = (
    "activeDeadlineSeconds",
    "affinity",
    "hostNetwork",
    "nodeSelector",
    "priorityClassName",
    "securityContext",
)


def pod_spec(holders: Iterable[Mapping[str, Any]], template: Mapping[str, Any]) -> dict[str, Any]:
    """Give a template's pod spec as Argo makes it, the last holder's word holding."""
    spec: dict[str, Any] = {"tolerations": [], "volumes": []}
    for holder in holders:
        spec |= {key: holder[key] for key in _POD_WIDE if holder.get(key)}
        if holder.get("podPriorityClassName"):
            spec["priorityClassName"] = holder["podPriorityClassName"]
        for key in ("tolerations", "volumes"):
            spec[key] += records(holder.get(key))
    main = record(template.get("container")) or record(template.get("script"))
    spec["containers"] = [{**main, "name": "main"}] if main else []
    spec["containers"] += records(record(template.get("containerSet")).get("containers"))
    spec["containers"] += records(template.get("sidecars"))
    spec["initContainers"] = records(template.get("initContainers"))
    return spec


def expressions(term: Mapping[str, Any]) -> tuple[Expression, ...]:
    """Give all that one term of a node affinity asks."""
    return tuple(
        Expression(
            key=str(each.get("key")),
            operator=str(each.get("operator")),
            values=tuple(map(str, listed(each.get("values")))),
            field=of == "matchFields",
        )
        for of in ("matchExpressions", "matchFields")
        for each in records(term.get(of))
    )


def patched(base: Any, patch: Any) -> Any:
    """Lay a patch over a pod's spec as Kubernetes does: lists of named things merge by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        merged = dict(base)
        for key, each in patch.items():
            merged[key] = patched(base.get(key), each)
        return {key: each for key, each in merged.items() if each is not None}
    if isinstance(base, list) and isinstance(patch, list) and _named([*base, *patch]):
        named = {each["name"]: each for each in base}
        for each in patch:
            named[each["name"]] = patched(named.get(each["name"]), each)
        return list(named.values())
    return patch


def _named(items: Sequence[Any]) -> bool:
    return all(isinstance(each, dict) and "name" in each for each in items)


def pod_specs(node: Any) -> Iterator[Mapping[str, Any]]:
    """Find the pod specs in an object of any kind: what has containers."""
    if isinstance(node, dict) and records(node.get("containers")):
        yield node
        return
    for each in node.values() if isinstance(node, dict) else listed(node):
        yield from pod_specs(each)
