"""Give tests a Kubernetes cluster with Argo, and each test a namespace of its own.

HERACI_TEST_KUBECONFIG names a cluster to use as it is (with HERACI_TEST_ARGO_SERVER, the URL of
its Argo Server, if it has one). Otherwise one is started, shared by all workers of a test run and
stopped with it; HERACI_TEST_ARGO chooses Argo's version, or `none`: then tests that need Argo's
controller or server are left out, and the terminal says so.

Tests that restart servers or configure them share another one, `disturbed`; they are one group of
pytest-xdist, so that one worker runs all of them and only one such cluster is started.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any, NoReturn

import pytest
import yaml
from kubernetes import client, config

from tests.cluster import build, credentials, kubelet
from tests.cluster.local import Cluster, LocalCluster

LEFT_OUT = "cluster tests left out: "
ENVIRON = dict(os.environ)  # as the run began: tests are free to change theirs
UNAVAILABLE = "test cluster: "
HOW_TO_RUN = (
    "to run them, `python -m tests.cluster build`, or HERACI_TEST_KUBECONFIG=FILE of a cluster "
    "with Argo; HERACI_TEST_ARGO=none runs those that need Kubernetes alone"
)
_STARTED: list[subprocess.Popen[bytes]] = []  # kept: it is not ours to wait for their end
FIXTURES = {"cluster", "namespace", "kubeconfig", "controller", "argo_server", "disturbed"}


@dataclass(frozen=True)
class Account:
    """A service account with just the rights that a test gave it."""

    name: str
    token: str
    kubeconfig: Path


@dataclass(frozen=True)
class Namespace:
    """A namespace that no other test uses; the kubeconfig is an administrator's."""

    name: str
    cluster: Cluster
    kubeconfig: Path
    api: client.ApiClient

    def account(self, name: str, rules: list[dict[str, list[str]]]) -> Account:
        """Make a service account, a Role with these rules for it, and its token."""
        core: Any = client.CoreV1Api(self.api)  # Any: it takes plain objects too
        rbac: Any = client.RbacAuthorizationV1Api(self.api)
        metadata = {"name": name}
        core.create_namespaced_service_account(self.name, {"metadata": metadata})
        rbac.create_namespaced_role(self.name, {"metadata": metadata, "rules": rules})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.name}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        rbac.create_namespaced_role_binding(
            self.name, {"metadata": metadata, "subjects": [subject], "roleRef": role}
        )
        asked = {"spec": {"audiences": [], "expirationSeconds": 3600}}
        answer = core.create_namespaced_service_account_token(name, self.name, asked)
        token = str(answer.status.token)
        path = self.kubeconfig.with_name(f"kubeconfig-{name}")
        return Account(name, token, _kubeconfig(path, self.api, token, self.name))

    def outcome(self, outcome: str) -> None:
        """Let pods that do not say so themselves `succeed`, `fail` or `hang` (stand-in only)."""
        patch = {"metadata": {"annotations": {kubelet.OUTCOME: outcome}}}
        client.CoreV1Api(self.api).patch_namespace(self.name, patch)


def _kubeconfig(path: Path, api: client.ApiClient, token: str, namespace: str) -> Path:
    of_api = api.configuration
    authority = Path(of_api.ssl_ca_cert) if of_api.ssl_ca_cert else None
    return credentials.write_kubeconfig(path, of_api.host, authority, token, namespace)


@contextmanager
def new_namespace(cluster: Cluster, folder: Path) -> Iterator[Namespace]:
    """Make a namespace; delete it afterwards without waiting for that."""
    api = config.new_client_from_config(str(cluster.kubeconfig))
    core: Any = client.CoreV1Api(api)
    made = core.create_namespace({"metadata": {"generateName": "heraci-test-"}})
    name = str(made.metadata.name)
    try:
        # The given one with another namespace: it may log in by a certificate or a plugin.
        given = yaml.safe_load(cluster.kubeconfig.read_text())
        current = next(c for c in given["contexts"] if c["name"] == given["current-context"])
        current["context"]["namespace"] = name
        path = folder / f"kubeconfig-{name}"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(given))
        yield Namespace(name, cluster, path, api)
    finally:
        core.delete_namespace(name)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The cluster of this test run."""
    version = ENVIRON.get("HERACI_TEST_ARGO") or build.ARGO
    return _obtain(request.config, None if version == "none" else version)


@pytest.fixture(scope="session")
def argo_server(cluster: Cluster) -> Cluster:
    """The cluster of this test run, where an Argo Server answers."""
    if cluster.argo is None:
        _leave_out("HERACI_TEST_ARGO=none asks for no Argo Server")
    if cluster.argo_server is None:
        _leave_out("HERACI_TEST_ARGO_SERVER does not name the Argo Server of the given cluster")
    return cluster


@pytest.fixture(scope="session")
def controller(cluster: Cluster) -> Cluster:
    """The cluster of this test run, where Argo's controller acts on workflows."""
    if cluster.argo is None:
        _leave_out("HERACI_TEST_ARGO=none asks for no Argo controller")
    return cluster


@pytest.fixture(scope="session")
def disturbed(cluster: Cluster) -> Iterator[LocalCluster]:
    """Another cluster of the same kind, for tests that disturb it and leave it as they found it."""
    if not cluster.local:
        pytest.skip("this cluster is not ours to disturb")
    with LocalCluster(cluster.argo) as started:
        yield started


@pytest.fixture
def namespace(cluster: Cluster, tmp_path: Path) -> Iterator[Namespace]:
    """A fresh namespace of `cluster`."""
    with new_namespace(cluster, tmp_path) as made:
        yield made


@pytest.fixture
def kubeconfig(namespace: Namespace) -> Path:
    """An administrator's kubeconfig whose context is the test's namespace."""
    return namespace.kubeconfig


def _leave_out(reason: str) -> NoReturn:
    pytest.skip(LEFT_OUT + reason)


def _obtain(pytest_config: pytest.Config, argo: str | None) -> Cluster:
    if given := ENVIRON.get("HERACI_TEST_KUBECONFIG"):
        said = ENVIRON.get("HERACI_TEST_ARGO") or "unknown"
        server = ENVIRON.get("HERACI_TEST_ARGO_SERVER")
        return Cluster(Path(given), None if said == "none" else said, server, local=False)
    try:
        # Building takes minutes: let its progress through to the terminal.
        capture = pytest_config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            build.build(argo)
        return _started(_run_pid(pytest_config), argo)
    except build.UnavailableError as problem:
        reason = str(problem)
    if ENVIRON.get("CI") == "true":
        pytest.fail(f"the test cluster cannot be had: {reason}", pytrace=False)
    _leave_out(f"{reason}; {HOW_TO_RUN}")


def _run_pid(pytest_config: pytest.Config) -> int:
    # The process that outlives all workers of this run.
    return os.getppid() if hasattr(pytest_config, "workerinput") else os.getpid()


def _folder(pid: int) -> Path:
    return build.CACHE / "run" / str(pid)


def _started(pid: int, argo: str | None) -> Cluster:
    folder = _folder(pid)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    state = folder / f"argo-{argo or 'none'}.json"
    with build.locked(folder / "lock"):
        if not state.exists():
            log = state.with_suffix(".log")
            with log.open("w") as written:
                command = ["up", "--argo", argo or "none", "--state", str(state)]
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.cluster", *command, "--owner", str(pid)],
                    cwd=Path(__file__).parents[2],
                    env=ENVIRON | {"HERACI_TEST_CACHE": str(build.CACHE)},
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=written,
                    start_new_session=True,  # Ctrl-C ends the tests first, then their cluster
                )
            _STARTED.append(process)
            while not state.exists():
                if process.poll() is not None:
                    said = log.read_text().strip()
                    if said.startswith(UNAVAILABLE):
                        raise build.UnavailableError(said.removeprefix(UNAVAILABLE))
                    raise RuntimeError(f"the test cluster did not start:\n{said}")
                time.sleep(0.05)
        return Cluster.load(state.read_text())


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses a cluster, and gather those that disturb theirs."""
    for item in items:
        used = FIXTURES & set(getattr(item, "fixturenames", ()))
        if used:
            item.add_marker("cluster")
        if "disturbed" in used:
            item.add_marker(pytest.mark.xdist_group("disturbed"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line for each reason which tests were left out and how to run them."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).partition(LEFT_OUT)[2] for report in skipped)
    for reason, count in reasons.items():
        if reason:
            terminalreporter.write_line(f"{count} {LEFT_OUT}{reason}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what this run has started; a run that is killed is noticed by the cluster itself."""
    if hasattr(config, "workerinput"):
        for process in _STARTED:
            process.returncode = 0  # it serves the other workers too: no warning that it runs on
        return
    folder = _folder(os.getpid())
    for state in folder.glob("argo-*.json"):
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(json.loads(state.read_text())["pid"], SIGTERM)
        end = time.monotonic() + 10
        while state.exists() and time.monotonic() < end:
            time.sleep(0.05)
    for process in _STARTED:
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
