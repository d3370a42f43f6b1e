"""The cluster as this account sees it: its kinds, its objects, and what may be looked at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from heraci.looks import Answer, Look, Seen

ARGO_GROUP = "argoproj.io"
ARGO = f"{ARGO_GROUP}/v1alpha1"
# What the controller's deployment is called, whatever installed it: some put a name before it.
CONTROLLER = "workflow-controller"
# Requests in all, where no more than five kinds are required.
MOST_REQUESTS = 15


class Inventory(Protocol):
    """What the preflight asks of the outside."""

    requests: int

    def look(self, looks: Iterable[Look]) -> Mapping[Look, Seen]:
        """Answer these, and give all that is known by now."""
        ...

    def try_out(self, looks: Sequence[Look]) -> list[Seen]:
        """Ask the server whether it would take these objects; nothing is created."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of object, as the API's paths name it."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Give the path of one object, or of all in a namespace."""
        start = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{start}{within}/{self.plural}" + (f"/{name}" if name else "")


def _core(*kinds: str, namespaced: bool = True) -> dict[str, Kind]:
    return {
        kind: Kind(group="", version="v1", plural=kind.lower() + "s", namespaced=namespaced)
        for kind in kinds
    }


def _argo(*kinds: str) -> dict[str, Kind]:
    return {
        kind: Kind(
            group=ARGO_GROUP,
            version="v1alpha1",
            plural=kind.lower() + "s",
            namespaced=not kind.startswith("Cluster"),
        )
        for kind in kinds
    }


# The kinds whose names in paths are known without asking.
KINDS: Mapping[str, Kind] = {
    **_core("ConfigMap", "LimitRange", "PersistentVolumeClaim", "Pod", "ResourceQuota", "Secret"),
    **_core("Service", "ServiceAccount"),
    **_core("Namespace", "Node", "PersistentVolume", namespaced=False),
    "CSIDriver": Kind(group="storage.k8s.io", version="v1", plural="csidrivers", namespaced=False),
    **_argo("ClusterWorkflowTemplate", "CronWorkflow", "Workflow", "WorkflowTemplate"),
    "CustomResourceDefinition": Kind(
        group="apiextensions.k8s.io",
        version="v1",
        plural="customresourcedefinitions",
        namespaced=False,
    ),
    "Deployment": Kind(group="apps", version="v1", plural="deployments"),
    "PriorityClass": Kind(
        group="scheduling.k8s.io", version="v1", plural="priorityclasses", namespaced=False
    ),
    "RuntimeClass": Kind(
        group="node.k8s.io", version="v1", plural="runtimeclasses", namespaced=False
    ),
    "StorageClass": Kind(
        group="storage.k8s.io", version="v1", plural="storageclasses", namespaced=False
    ),
}


class Rights:
    """What this account may do in one namespace; what nobody can tell counts as allowed."""

    def __init__(self, seen: Seen) -> None:
        status = (seen.items[0].get("status") or {}) if seen.items else {}
        self._rules: list[Mapping[str, Any]] = list(status.get("resourceRules") or ())
        # Some clusters decide outside of roles and then list only a part.
        self.complete = bool(seen.items) and not status.get("incomplete")

    def may(self, verb: str, kind: Kind, name: str | None = None) -> bool:
        """Tell whether it may do this to objects of a kind, or to the one of this name."""
        return not self.complete or any(_allows(rule, verb, kind, name) for rule in self._rules)

    def touches(self, group: str) -> bool:
        """Tell whether it may do anything at all in an API group."""
        groups = [each for rule in self._rules for each in rule.get("apiGroups") or ()]
        return not self.complete or group in groups or "*" in groups


def _allows(rule: Mapping[str, Any], verb: str, kind: Kind, name: str | None) -> bool:
    def has(key: str, wanted: str) -> bool:
        return not {wanted, "*"}.isdisjoint(rule.get(key) or ())

    of_names = rule.get("resourceNames") or ()
    fits = not of_names or name in of_names
    return (
        fits
        and has("verbs", verb)
        and has("apiGroups", kind.group)
        and has("resources", kind.plural)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """Objects of one kind in one namespace, as far as they may be looked at."""

    items: Mapping[str, Mapping[str, Any]]
    asked: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()  # those asked for that this account may not look up
    whole: bool = True  # every object is in it, not only those asked for
    said: str = ""


class Ground:
    """Looks at one cluster for one target's namespace."""

    def __init__(self, inventory: Inventory, namespace: str) -> None:
        self.inventory = inventory
        self.namespace = namespace
        self.known: Mapping[Look, Seen] = {}
        self.kinds = 0  # how many kinds the cases require

    def look(self, looks: Iterable[Look]) -> None:
        """Look at several things at the same time."""
        self.known = self.inventory.look(looks)

    def see(self, look: Look) -> Seen:
        """Look at one thing, or remember it."""
        if look not in self.known:
            self.look([look])
        return self.known[look]

    def rights(self, namespace: str | None = None) -> Rights:
        """Give what this account may do in a namespace; of the whole cluster, at most that."""
        return Rights(self.see(rights_look(namespace or self.namespace)))

    def served(self, api_version: str) -> Mapping[str, Kind] | None:
        """Give the kinds of a group and version, by name; None where that cannot be known."""
        group, _, version = api_version.rpartition("/")
        found = self.see(DISCOVERY)
        if not group or found.answer is not Answer.SEEN:
            return None
        if not any("versions" in each and _is_aggregated(each) for each in found.items):
            # A server before 1.27 tells the kinds of one group at a time.
            found = self.see(Look(path=f"/apis/{api_version}"))
            if found.answer is Answer.ABSENT:
                return {}
            return dict(_kinds_of_list(found, group, version)) or None
        return dict(_kinds_of_groups(found, group, version))

    def kind(self, api_version: str, name: str) -> Kind | None:
        """Find a kind; None where the cluster does not serve it, or where it will not say."""
        known = KINDS.get(name)
        if known and api_version.rpartition("/")[0] in {known.group, ""}:
            return known
        return (self.served(api_version) or {}).get(name)

    def may_ask_more(self, reserved: int = 0) -> bool:
        """Tell whether a request is left for what is only good to know, others still to come.

        Where no more than five kinds are required, all together stays within `MOST_REQUESTS`.
        """
        return self.kinds > 5 or self.inventory.requests + reserved < MOST_REQUESTS

    def may_list(self, kind: Kind, namespace: str | None) -> bool:
        """Tell whether a list is worth asking for."""
        return self.rights(namespace).may("list", kind)


DISCOVERY = Look(path="/apis")
NODES = Look(path=KINDS["Node"].path())
DEPLOYMENTS = Look(path=KINDS["Deployment"].path(), metadata_only=True)


def rights_look(namespace: str) -> Look:
    """Ask what this account may do in a namespace."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    return Look(path=path, body=json.dumps(body))


def namespace_look(namespace: str) -> Look:
    """Look at a namespace: whether it is there, and what its labels say."""
    return Look(path=KINDS["Namespace"].path(name=namespace))


def access_look(namespace: str, account: str, verb: str, kind: Kind, subresource: str = "") -> Look:
    """Ask whether a service account may do something in its namespace."""
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": kind.group,
        "resource": kind.plural,
        "subresource": subresource,
    }
    service = "system:serviceaccount"
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "LocalSubjectAccessReview",
        "metadata": {"namespace": namespace},
        "spec": {
            "user": f"{service}:{namespace}:{account}",
            "groups": [f"{service}s", f"{service}s:{namespace}", "system:authenticated"],
            "resourceAttributes": {key: each for key, each in attributes.items() if each},
        },
    }
    path = f"/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews"
    return Look(path=path, body=json.dumps(body))


REVIEWS = Kind(group="authorization.k8s.io", version="v1", plural="localsubjectaccessreviews")


def _is_aggregated(group: Mapping[str, Any]) -> bool:
    return any("resources" in version for version in group["versions"])


def _kinds_of_groups(seen: Seen, group: str, version: str) -> Iterator[tuple[str, Kind]]:
    for each in seen.items:
        if (each.get("metadata") or {}).get("name") != group:
            continue
        for served in each.get("versions") or ():
            if served.get("version") != version:
                continue
            for found in served.get("resources") or ():
                kind = (found.get("responseKind") or {}).get("kind") or ""
                namespaced = found.get("scope") != "Cluster"
                plural = str(found.get("resource"))
                yield kind, Kind(group=group, version=version, plural=plural, namespaced=namespaced)


def _kinds_of_list(seen: Seen, group: str, version: str) -> Iterator[tuple[str, Kind]]:
    for found in (seen.items[0].get("resources") or ()) if seen.items else ():
        plural, namespaced = str(found.get("name")), bool(found.get("namespaced"))
        if "/" not in plural:
            kind = Kind(group=group, version=version, plural=plural, namespaced=namespaced)
            yield str(found.get("kind")), kind
