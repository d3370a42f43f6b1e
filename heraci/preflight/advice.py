"""The command or the manifest that would provide what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from heraci import document
from heraci.bundle import Requirement
from heraci.preflight.ground import Kind

# How Argo names the Secret that holds a service account's token, where no annotation does.
TOKEN = ".service-account-token"  # noqa: S105
# What looking takes where it is more, or other, than a list.
_LOOKING: Mapping[str, tuple[str, ...]] = {
    "deployments": ("get", "list"),
    "localsubjectaccessreviews": ("create",),
    "namespaces": ("get",),
}
_ASK = "Ask the cluster's administrator for it, or use another."


def kebab(kind: str) -> str:
    """Write a kind as part of a rule's id: `persistent-volume-claim`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind).lower()


def creating(requirement: Requirement, namespace: str) -> str:
    """Say how to create what is missing."""
    name, into = requirement.name, f"kubectl -n {namespace} create"
    match requirement.kind:
        case "Namespace":
            return f"Create it: kubectl create namespace {name}"
        case "PersistentVolumeClaim":
            return "Create it with kubectl apply -f:\n" + manifest(_claim(requirement, namespace))
        case "ConfigMap":
            return f"Create it: {into} configmap {name}{_literals(requirement.keys)}"
        case "Secret" if name.endswith(TOKEN):
            return "Create it with kubectl apply -f:\n" + manifest(_token(name, namespace))
        case "Secret":
            generic = f"Create it: {into} secret generic {name}{_literals(requirement.keys)}"
            if requirement.keys:
                return generic
            return (
                f"{generic} --from-literal=KEY=…; or, to pull images: {into} secret "
                f"docker-registry {name} --docker-server=… --docker-username=… --docker-password=…"
            )
        case "ServiceAccount":
            return f"Create it: {into} serviceaccount {name}"
        case "PriorityClass":
            return f"{_ASK} It is made by: kubectl create priorityclass {name} --value=1000"
        case "WorkflowTemplate":
            return f"Apply it first: kubectl -n {namespace} apply -f FILE"
        case "ClusterWorkflowTemplate":
            return "Apply it first (takes rights on the whole cluster): kubectl apply -f FILE"
        case _:
            return _ASK


def adding_keys(requirement: Requirement, keys: Sequence[str], namespace: str) -> str:
    """Say how to add keys to what is there."""
    data = ", ".join(f'"{key}": "…"' for key in keys)
    field = "data" if requirement.kind == "ConfigMap" else "stringData"
    kind, patch = requirement.kind.lower(), f'{{"{field}": {{{data}}}}}'
    return f"Add it: kubectl -n {namespace} patch {kind} {requirement.name} --patch '{patch}'"


def setting(requirement: Requirement, key: str, value: str, namespace: str) -> str:
    """Say how to change what a ConfigMap says under a key."""
    patch = f'{{"data": {{"{key}": "{value}"}}}}'
    return f"Set it: kubectl -n {namespace} patch configmap {requirement.name} --patch '{patch}'"


def growing(requirement: Requirement, namespace: str) -> str:
    """Say how to make a claim larger."""
    size = f'{{"spec": {{"resources": {{"requests": {{"storage": "{requirement.storage}"}}}}}}}}'
    return (
        "Where its storage class lets it grow: "
        f"kubectl -n {namespace} patch pvc {requirement.name} --patch '{size}'"
    )


def labelling(name: str, namespace: str, label: str, value: str) -> str:
    """Say how to label a ConfigMap."""
    return f"Add it: kubectl -n {namespace} label configmap {name} {label}={value}"


def role(namespace: str, name: str, rules: Iterable[tuple[Kind | str, Sequence[str]]]) -> str:
    """Write the smallest Role that allows this: kinds or `group|plural`, and verbs."""
    return manifest(_role(name, namespace, [_rule(*_named(kind), verbs) for kind, verbs in rules]))


def looking(asked: Iterable[tuple[Kind, str | None]]) -> str:
    """Write the smallest Roles that let an account look kinds up, in namespaces or everywhere."""
    rules: dict[str | None, dict[tuple[str, tuple[str, ...]], list[str]]] = {}
    for kind, namespace in asked:
        verbs = _LOOKING.get(kind.plural, ("list",))
        rules.setdefault(namespace, {}).setdefault((kind.group, verbs), []).append(kind.plural)
    return document.dump(
        _role(
            "heraci-assert",
            namespace,
            [_rule(group, plurals, verbs) for (group, verbs), plurals in inside.items()],
        )
        for namespace, inside in sorted(rules.items(), key=lambda each: each[0] is None)
    )


def _role(name: str, namespace: str | None, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "rules": rules,
    }


def _rule(group: str, plurals: str | list[str], verbs: Sequence[str]) -> dict[str, Any]:
    resources = [plurals] if isinstance(plurals, str) else plurals
    return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}


def manifest(body: Mapping[str, Any]) -> str:
    """Write a manifest as YAML."""
    return document.dump([dict(body)])


def _named(kind: Kind | str) -> tuple[str, str]:
    if isinstance(kind, Kind):
        return kind.group, kind.plural
    group, _, plural = kind.partition("|")
    return group, plural


def _literals(keys: Sequence[str]) -> str:
    return "".join(f" --from-literal={key}=…" for key in keys)


def _claim(requirement: Requirement, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": requirement.name, "namespace": namespace},
        "spec": {
            "accessModes": list(requirement.access) or ["ReadWriteOnce"],
            "resources": {"requests": {"storage": requirement.storage or "10Gi"}},
        },
    }


def _token(name: str, namespace: str) -> dict[str, Any]:
    noted = {"kubernetes.io/service-account.name": name.removesuffix(TOKEN)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "annotations": noted},
        "type": "kubernetes.io/service-account-token",
    }
