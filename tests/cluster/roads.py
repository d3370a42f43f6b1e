"""The ways to submit, for tests that must end the same on each of them.

The third, a stand-in for the Argo Server, is for what the real one cannot be made to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from heraci.argo import ArgoServer
from heraci.cluster import Cluster, connect
from heraci.submit import Archive, Server
from tests.cluster.fixtures import Namespace, new_namespace
from tests.cluster.local import Cluster as Stack
from tests.cluster.standin_argo import StandInArgoServer, standin_argo

ROADS = ["kubernetes", "argo-server"]
RIGHTS = [
    {
        "apiGroups": ["argoproj.io"],
        "resources": ["workflows", "workflowtemplates", "cronworkflows"],
        "verbs": ["create", "get", "list", "watch", "update", "patch", "delete"],
    }
]


@dataclass(frozen=True)
class Road:
    """One way to a namespace; `direct` looks past it."""

    namespace: Namespace
    server: Server
    direct: Cluster
    archive: Archive | None = None
    standin: StandInArgoServer | None = None


@contextmanager
def travel(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Road]:
    """Open one of the ways."""
    real = name == "argo-server"
    stack: Stack = request.getfixturevalue("argo_server" if real else "cluster")
    with ExitStack() as held:
        namespace = held.enter_context(new_namespace(stack, tmp_path))
        direct = connect(paths=[namespace.kubeconfig])
        if name == "kubernetes":
            yield Road(namespace, direct, direct)
            return
        token = namespace.account("submitter", RIGHTS).token
        standin = None
        if not real:
            authority = namespace.api.configuration.ssl_ca_cert
            running = standin_argo(direct.host, Path(authority) if authority else None)
            standin = held.enter_context(running)
        address = standin.address if standin else stack.argo_server
        assert address is not None
        argo = ArgoServer(address, token=token)
        yield Road(namespace, argo, direct, archive=argo, standin=standin)
