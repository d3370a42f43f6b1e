"""A research group's part of a cluster: what its CI may do there, and how much fits in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kubernetes import client

from tests.cluster.fixtures import Namespace

UI = "https://argo.example.org"
# What a research group's CI may do: submit, and look around in its namespace.
SUBMITS = [
    {
        "apiGroups": ["argoproj.io"],
        "resources": ["workflows", "workflowtemplates", "cronworkflows"],
        "verbs": ["create", "get", "list", "watch", "patch"],
    },
    {
        "apiGroups": ["", "rbac.authorization.k8s.io"],
        "resources": [
            *("limitranges", "resourcequotas", "serviceaccounts", "roles", "rolebindings"),
        ],
        "verbs": ["get", "list"],
    },
]
RUNS_PODS = [
    {
        "apiGroups": ["argoproj.io"],
        "resources": ["workflowtaskresults"],
        "verbs": ["create", "patch"],
    }
]
QUOTA = {"requests.cpu": "4", "requests.memory": "8Gi", "pods": "10"}
# Another controller's: where a real one runs, it leaves these alone, and a test says how they fare.
NOBODYS = '{"workflows.argoproj.io/controller-instanceid": "nobody"}'


def furnish(namespace: Namespace) -> Path:
    """Put accounts and a quota into a namespace; return the kubeconfig of the group's CI."""
    namespace.account("runner", RUNS_PODS)
    kubeconfig = namespace.account("ci", SUBMITS).kubeconfig
    core: Any = client.CoreV1Api(namespace.api)
    quota = {"metadata": {"name": "lab"}, "spec": {"hard": QUOTA}}
    core.create_namespaced_resource_quota(namespace.name, quota)
    # Where a quota counts them, the containers that Argo adds must have some, too.
    defaults = {"type": "Container", "defaultRequest": {"cpu": "10m", "memory": "16Mi"}}
    limits = {"metadata": {"name": "lab"}, "spec": {"limits": [defaults]}}
    core.create_namespaced_limit_range(namespace.name, limits)
    return kubeconfig


def settings(namespace: str) -> str:
    """Write the heraci.toml of a repository that submits there."""
    toml = f'[targets.lab]\nnamespace = "{namespace}"\nargo-ui = "{UI}"\n'
    # No registry is asked: not every machine can.
    head = 'default-target = "lab"\ncheck-images = false\n'
    return f'{head}\n{toml}service-account = "runner"\n'


def experiment(name: str, image: str = "alpine:3.20", priority: int = 1) -> str:
    """Write an experiment that fits in."""
    return f"""\
from hera.workflows import Container, Resources, Workflow

with Workflow(
    generate_name="{name}-", entrypoint="main", labels={NOBODYS}, priority={priority}
) as w:
    asked = Resources(cpu_request=3, memory_request="1Gi")
    Container(name="main", image="{image}", command=["true"], resources=asked)
"""
