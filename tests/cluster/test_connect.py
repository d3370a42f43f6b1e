"""Reach a real API server by every usual way in, and be told what to do where none leads there."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes.config import incluster_config

from heraci.argo import ArgoServer
from heraci.cluster import (
    Cluster,
    MissingError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
    UntrustedError,
    connect,
    connection,
)
from heraci.errors import ArgoError, ClusterError
from tests.cluster.fixtures import Namespace
from tests.cluster.unreliable import Behaviour, authority, unreliable

CANARY = "canary-7f3a9c-token"
PLUGIN = """\
import json, os, pathlib, sys
here = pathlib.Path(sys.argv[1])
with (here / "environs").open("a") as file:
    file.write(json.dumps(dict(os.environ)) + "\\n")
tokens = (here / "tokens").read_text().split()
(here / "tokens").write_text(" ".join(tokens[1:] or tokens))
print(json.dumps({
    "apiVersion": "client.authentication.k8s.io/v1",
    "kind": "ExecCredential",
    "status": {"token": tokens[0]},
}))
"""


@pytest.fixture
def given(kubeconfig: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    return loaded


def of(given: dict[str, Any]) -> str:
    return yaml.safe_dump(given)


def user(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = given["users"][0]["user"]
    return found


def place(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = given["clusters"][0]["cluster"]
    return found


def answers(cluster: Cluster) -> bool:
    return int(cluster.get("/version")["minor"].rstrip("+")) >= 30


def token_of(namespace: Namespace) -> str:
    return namespace.account("somebody", []).token


def test_by_a_path_and_by_content(kubeconfig: Path, namespace: Namespace) -> None:
    by_path = connect(paths=[kubeconfig])
    assert answers(by_path)
    assert by_path.namespace == namespace.name
    by_content = connect(content=kubeconfig.read_text())
    assert answers(by_content)
    assert by_content.namespace == namespace.name


def test_by_several_files_as_kubectl_merges_them(
    given: dict[str, Any], kubeconfig: Path, tmp_path: Path
) -> None:
    other = {
        "contexts": [
            {"name": "other", "context": given["contexts"][0]["context"] | {"namespace": "o"}}
        ],
        "current-context": "other",
    }
    beside = tmp_path / "contexts"
    beside.write_text(of(other))
    merged = connect(paths=[tmp_path / "absent", kubeconfig, beside], context="other")
    assert answers(merged)
    assert merged.namespace == "o"


def test_by_address_and_token(namespace: Namespace, kubeconfig: Path) -> None:
    host = connect(paths=[kubeconfig]).host
    token = token_of(namespace)
    assert answers(connect(server=host, token=token, ca_certificate=authority(namespace)))


def test_by_a_client_certificate(
    given: dict[str, Any], namespace: Namespace, tmp_path: Path
) -> None:
    if not namespace.cluster.local:
        pytest.skip("only the test cluster's authority is ours")
    folder = namespace.cluster.kubeconfig.parent
    pair = {
        f"client-{name}-data": base64.b64encode((folder / file).read_bytes()).decode()
        for name, file in (("certificate", "admin.crt"), ("key", "admin.key"))
    }
    given["users"][0]["user"] = pair
    before = set(Path(tempfile.gettempdir()).iterdir())
    cluster = connect(content=of(given))
    assert answers(cluster)
    # The key was in a file for a moment only.
    left = set(Path(tempfile.gettempdir()).iterdir()) - before
    assert [each for each in left if each.is_file() and "PRIVATE" in each.read_text()] == []
    files = {"client-certificate": "admin.crt", "client-key": "admin.key"}
    given["users"][0]["user"] = files
    beside = folder / "kubeconfig-by-certificate"
    beside.write_text(of(given))
    assert answers(connect(paths=[beside])), "paths in a kubeconfig are relative to it"


def test_in_a_pod_by_its_own_account(
    namespace: Namespace, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = authority(namespace)
    if right is None:
        pytest.skip("this cluster's certificate is a public one")
    address = urlsplit(connect(paths=[kubeconfig]).host)
    token = tmp_path / "token"
    token.write_text(token_of(namespace))
    # The kubelet's folder in a pod is not to be had here; all else is as it would be there.
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(right))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    for cluster in (connect(in_cluster=True), connect()):
        user = cluster.request("POST", path, body=review)["status"]["userInfo"]["username"]
        assert user == f"system:serviceaccount:{namespace.name}:somebody"
    with pytest.raises(ClusterError, match="No kubeconfig"):
        connect(in_cluster=False)


def plugin(folder: Path, *tokens: str, **more: Any) -> dict[str, Any]:
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "tokens").write_text(" ".join(tokens))
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(folder / "plugin.py"), str(folder)],
            "interactiveMode": "Never",
            **more,
        }
    }


def test_by_a_login_plugin_that_learns_no_other_secret(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HERACI_ARGO_TOKEN", "GITHUB_TOKEN", "HERACI_KUBECONFIG"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("CLOUD_PROFILE", "lab")
    given["users"][0]["user"] = plugin(tmp_path, user(given)["token"])
    assert answers(connect(content=of(given)))
    (environ,) = map(json.loads, (tmp_path / "environs").read_text().splitlines())
    assert environ["CLOUD_PROFILE"] == "lab"
    assert [name for name, value in environ.items() if CANARY in value] == []


def test_a_login_plugin_is_asked_anew_when_its_token_has_expired(
    given: dict[str, Any], tmp_path: Path
) -> None:
    given["users"][0]["user"] = plugin(tmp_path, "expired", user(given)["token"])
    assert answers(connect(content=of(given)))
    assert len((tmp_path / "environs").read_text().splitlines()) == 2


def test_a_token_file_is_read_anew_when_its_token_has_expired(
    given: dict[str, Any], tmp_path: Path
) -> None:
    good, file = user(given)["token"], tmp_path / "token"
    file.write_text(good)
    given["users"][0]["user"] = {"tokenFile": str(file)}
    cluster = connect(content=of(given))
    assert answers(cluster)
    file.write_text("expired")
    cluster = connect(content=of(given))
    file.write_text(good)
    assert answers(cluster)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"command": "no-such-login", "installHint": "Get it from your administrator"},
            "'no-such-login', which is not installed here. Get it from your administrator",
        ),
        ({"args": ["-c", "import sys; sys.exit('not logged in')"]}, "not logged in"),
        ({"args": ["-c", "print('{}')"]}, "missing key 'apiVersion'"),
    ],
)
def test_a_login_plugin_that_fails_is_told_with_what_to_do(
    given: dict[str, Any], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    given["users"][0]["user"] = plugin(tmp_path, "t", **change)
    with pytest.raises(ClusterError, match=said.replace("{", r"\{")):
        connect(content=of(given))


class _Connect(socketserver.StreamRequestHandler):
    """A proxy that knows CONNECT and nothing else."""

    def handle(self) -> None:
        asked = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        host, _, port = asked.partition(":")
        with socket.create_connection((host, int(port))) as far:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self._pump, args=(far, self.connection))
            back.start()
            self._pump(self.connection, far)
            back.join()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@contextmanager
def connect_proxy() -> Iterator[tuple[str, list[str]]]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), _Connect) as proxy:
        proxy.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}", proxy.asked  # type: ignore[attr-defined]
        proxy.shutdown()


@pytest.mark.parametrize("how", ["kubeconfig", "HTTPS_PROXY", "NO_PROXY"])
def test_by_a_proxy(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with connect_proxy() as (address, asked):
        if how == "kubeconfig":
            place(given)["proxy-url"] = address
        else:
            monkeypatch.setenv("HTTPS_PROXY", address)
        if how == "NO_PROXY":
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert answers(connect(content=of(given)))
        server = place(given)["server"].removeprefix("https://")
        assert asked == ([] if how == "NO_PROXY" else [server])


def test_the_argo_server_by_a_proxy(
    namespace: Namespace, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any TLS server serves: how one gets there is asked, not what it says.
    address = connect(paths=[kubeconfig]).host
    server = ArgoServer(address, token="t", ca_certificate=authority(namespace))
    with connect_proxy() as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(ArgoError, match="401"):
            server.version()
    assert asked == [address.removeprefix("https://")]


def test_a_certificate_is_checked_unless_that_is_asked_for_by_name(given: dict[str, Any]) -> None:
    if "certificate-authority-data" not in place(given):
        pytest.skip("this cluster's certificate is a public one")
    del place(given)["certificate-authority-data"]
    with pytest.raises(UntrustedError, match="Give the right authority"):
        connect(content=of(given)).get("/version")
    place(given)["insecure-skip-tls-verify"] = True
    with pytest.raises(ClusterError, match="say so with insecure-skip-tls-verify"):
        connect(content=of(given))
    assert answers(connect(content=of(given), insecure_skip_tls_verify=True))


def test_another_authority_may_be_given_by_file(
    given: dict[str, Any], namespace: Namespace, tmp_path: Path
) -> None:
    right = authority(namespace)
    if right is None:
        pytest.skip("this cluster's certificate is a public one")
    del place(given)["certificate-authority-data"]
    assert answers(connect(content=of(given), ca_certificate=right))
    wrong = tmp_path / "wrong.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=wrong", "-keyout", str(tmp_path / "wrong.key"), "-out", str(wrong)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(UntrustedError):
        connect(content=of(given), ca_certificate=wrong).get("/version")
    with pytest.raises(ClusterError, match="cannot be used"):
        connect(content=of(given), ca_certificate=tmp_path / "none.crt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Invalid kube-config"),
        ("contexts: [", "no readable kubeconfig"),
        ("just text", "kubeconfig"),
        ("contexts: []\nclusters: []", "names no current context"),
        ("current-context: a\ncontexts: []\nclusters: []", "object with name a"),
    ],
)
def test_a_kubeconfig_that_is_none_is_told(content: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        connect(content=content)


def test_no_kubeconfig_at_all_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"does not exist. Set kubeconfig \(KUBECONFIG\)"):
        connect(paths=[tmp_path / "none"])
    with pytest.raises(ClusterError, match="does not run in a pod"):
        connect(in_cluster=True)


def test_no_credentials_in_the_open() -> None:
    with pytest.raises(ClusterError, match="in the open"):
        connect(server="http://cluster.example.org", token=CANARY)


def test_what_the_server_refuses_is_told_with_what_to_do(
    given: dict[str, Any], kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 0.1)
    good = connect(paths=[kubeconfig])
    with pytest.raises(MissingError, match="Argo Workflows is not installed") as missing:
        good.get("/apis/argoproj.io/v1alpha1/namespaces/default/sporkflows")
    assert missing.value.kind_missing
    with pytest.raises(MissingError, match='"nope" not found') as missing:
        good.get("/api/v1/namespaces/nope")
    assert not missing.value.kind_missing
    with pytest.raises(RejectedError):
        good.request("POST", "/api/v1/namespaces", body={"metadata": {"name": "Not A Name"}})
    place(given)["server"] = "https://127.0.0.1:9"
    with pytest.raises(UnreachableError, match=r"cannot be reached.*refused"):
        connect(content=of(given)).get("/version")
    place(given)["server"] = "https://no-such-host.invalid"
    with pytest.raises(UnreachableError, match=r"cannot be reached.*resolve"):
        connect(content=of(given)).get("/version")


def test_a_server_that_is_busy_or_in_trouble_is_asked_again(
    given: dict[str, Any], namespace: Namespace, kubeconfig: Path
) -> None:
    host = connect(paths=[kubeconfig]).host
    behaviour = Behaviour(busy=0.05, failing=0.1, refuse=0.1, lose=0.1)
    with unreliable(host, authority(namespace), behaviour) as address:
        place(given)["server"] = address
        cluster = connect(content=of(given))
        for _ in range(30):
            assert answers(cluster)
    assert min(behaviour.said[each] for each in ("busy", "failing", "refuse", "lose")) > 0


def test_a_secret_is_nowhere_to_be_seen(
    given: dict[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 0.1)
    user(given)["token"] = CANARY
    seen = []

    def note(do: Callable[[], Any]) -> None:
        try:
            seen.append(repr(do()))
        except ClusterError as error:
            seen.append("".join(traceback.format_exception(error)) + repr(error))

    cluster = connect(content=of(given))
    seen.append(repr(cluster))
    seen.append(repr(cluster._connection.access))
    note(lambda: cluster.get("/version/none"))
    note(lambda: connect(content=of(given) + "\n- broken: [").get("/version"))
    place(given)["server"] = "https://127.0.0.1:9"
    note(lambda: connect(content=of(given)).get("/version"))
    with pytest.raises(UnauthorizedError):
        cluster.get("/apis")
    assert len(seen) == 5
    assert [text for text in (*seen, caplog.text) if CANARY in text] == []
