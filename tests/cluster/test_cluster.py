"""Prove that the test cluster behaves like a cluster: Kubernetes, Argo and the stand-ins."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from kubernetes import client, config

from tests.cluster import build, forward, kubelet
from tests.cluster.fixtures import Namespace, new_namespace
from tests.cluster.local import Cluster, LocalCluster
from tests.cluster.waiting import eventually

WORKFLOWS = ("argoproj.io", "v1alpha1")
FAST = {"duration": "1s"}


def workflow(template: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "proof-"},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", **template}], **spec},
    }


def container(command: str, **annotations: str) -> dict[str, Any]:
    made = {"image": "busybox:1.37", "command": ["sh", "-c", command]}
    return {"container": made, "metadata": {"annotations": annotations}}


def create(namespace: Namespace, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    api: Any = client.CustomObjectsApi(namespace.api)
    made: dict[str, Any] = api.create_namespaced_custom_object(
        *WORKFLOWS, namespace.name, "workflows", body, **more
    )
    return made


def stored(namespace: Namespace, name: str) -> dict[str, Any]:
    api: Any = client.CustomObjectsApi(namespace.api)
    got: dict[str, Any] = api.get_namespaced_custom_object(
        *WORKFLOWS, namespace.name, "workflows", name
    )
    return got


def outcome(namespace: Namespace, body: dict[str, Any]) -> dict[str, Any]:
    name = create(namespace, body)["metadata"]["name"]

    def ended() -> dict[str, Any] | None:
        status: dict[str, Any] = stored(namespace, name).get("status", {})
        return status if status.get("phase") in ("Succeeded", "Failed", "Error") else None

    return eventually(ended)


def test_the_admin_is_let_in(cluster: Cluster) -> None:
    api = config.new_client_from_config(str(cluster.kubeconfig))
    assert int(client.VersionApi(api).get_code().minor.rstrip("+")) >= 30


def test_objects_with_an_unknown_field_are_refused_when_strict(namespace: Namespace) -> None:
    body = workflow({"suspend": FAST}) | {"specification": {}}
    with pytest.raises(client.ApiException) as refused:
        create(namespace, body, field_validation="Strict")
    assert refused.value.status == 400
    assert "specification" in str(refused.value.body)


def test_a_dry_run_answers_and_stores_nothing(namespace: Namespace) -> None:
    made = create(namespace, workflow({"suspend": FAST}), dry_run="All")
    assert made["metadata"]["uid"]
    with pytest.raises(client.ApiException) as missing:
        stored(namespace, made["metadata"]["name"])
    assert missing.value.status == 404


def test_a_narrow_account_may_do_what_its_role_says(namespace: Namespace) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    account = namespace.account("narrow", rules)
    core: Any = client.CoreV1Api(config.new_client_from_config(str(account.kubeconfig)))
    core.list_namespaced_config_map(namespace.name)
    for forbidden in (core.list_namespaced_secret, core.list_namespaced_pod):
        with pytest.raises(client.ApiException) as refused:
            forbidden(namespace.name)
        assert refused.value.status == 403


def test_a_quota_is_counted_and_kept(namespace: Namespace) -> None:
    core: Any = client.CoreV1Api(namespace.api)
    hard = {"count/workflows.argoproj.io": "0"}
    core.create_namespaced_resource_quota(
        namespace.name, {"metadata": {"name": "none"}, "spec": {"hard": hard}}
    )
    eventually(lambda: core.read_namespaced_resource_quota("none", namespace.name).status.hard)
    with pytest.raises(client.ApiException, match="exceeded quota"):
        create(namespace, workflow({"suspend": FAST}))


@pytest.mark.parametrize(
    ("told", "of_namespace", "phase"),
    [
        ({}, "succeed", "Succeeded"),
        ({}, "fail", "Failed"),
        ({kubelet.OUTCOME: "fail"}, "succeed", "Failed"),
        ({kubelet.OUTCOME: "hang"}, "succeed", "Running"),
        ({kubelet.OUTCOME: "succeed"}, "fail", "Succeeded"),
    ],
)
def test_the_stand_in_settles_a_pod(
    cluster: Cluster, namespace: Namespace, told: dict[str, str], of_namespace: str, phase: str
) -> None:
    if not cluster.local:
        pytest.skip("this cluster has real kubelets")
    core: Any = client.CoreV1Api(namespace.api)
    namespace.outcome(of_namespace)
    spec = {"containers": [{"name": "main", "image": "any"}]}
    metadata = {"name": "one", "annotations": told}
    core.create_namespaced_pod(namespace.name, {"metadata": metadata, "spec": spec})
    eventually(
        lambda: core.read_namespaced_pod("one", namespace.name).status.phase == phase or None
    )


def test_a_restarted_api_server_has_kept_everything(
    disturbed: LocalCluster, tmp_path: Path
) -> None:
    with new_namespace(disturbed.cluster, tmp_path) as namespace:
        name = create(namespace, workflow({"suspend": FAST}))["metadata"]["name"]
        disturbed.restart_api_server()
        assert stored(namespace, name)["metadata"]["name"] == name


# What Argo Server does in this respect: it listens on all interfaces and asks the API server.
LISTENER = """
import http.server, ssl, sys, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        unverified = ssl._create_unverified_context()
        answer = urllib.request.urlopen(sys.argv[2] + "/livez", context=unverified).read()
        self.send_response(200), self.end_headers(), self.wfile.write(answer)
http.server.HTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_on_all_interfaces_is_met_on_loopback_only(disturbed: LocalCluster) -> None:
    if forward.namespace_command() is None:
        pytest.skip("this machine allows no network namespace")
    api = config.new_client_from_config(str(disturbed.cluster.kubeconfig)).configuration.host
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", LISTENER, str(port), api]
    reaches = [int(api.rpartition(":")[2])]
    disturbed.run_isolated("listener", command, reaches=reaches, offers=[port])

    def answer() -> str | None:
        try:
            return requests.get(f"http://127.0.0.1:{port}/", timeout=2).text or None
        except requests.RequestException:
            return None

    assert eventually(answer) == "ok"
    # Not on 0.0.0.0 here: that one is in a namespace that has no way out.
    listening = Path("/proc/net/tcp").read_text().split()
    assert f"00000000:{port:04X}" not in listening
    assert f"0100007F:{port:04X}" in listening


def test_nothing_outlives_a_killed_run(cluster: Cluster, tmp_path: Path) -> None:
    if not cluster.local:
        pytest.skip("this cluster is not started by the tests")
    state = tmp_path / "state.json"
    command = [sys.executable, "-m", "tests.cluster", "up", "--argo", "none", "--state", str(state)]
    environ = os.environ | {"HERACI_TEST_CACHE": str(build.CACHE), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environ)
    try:
        eventually(lambda: state.exists() or None)
        kubeconfig = Cluster.load(state.read_text()).kubeconfig
        host = config.new_client_from_config(str(kubeconfig)).configuration.host
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    port = int(host.rpartition(":")[2])

    def closed() -> bool | None:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0 or None

    eventually(closed, seconds=5)


def test_a_build_that_is_refused_is_one_plain_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(build.UnavailableError, match=r"^no Go .* on PATH"):
        build.build(None)


@pytest.mark.parametrize(
    ("template", "spec", "phase"),
    [
        ({"suspend": FAST}, {}, "Succeeded"),
        (container("true"), {}, "Succeeded"),
        (container("exit 1", **{kubelet.OUTCOME: "fail"}), {}, "Failed"),
        ({"suspend": {}}, {"activeDeadlineSeconds": 2}, "Failed"),
    ],
    ids=["suspend", "container", "failing container", "deadline"],
)
def test_the_controller_ends_a_workflow(
    controller: Cluster,
    namespace: Namespace,
    template: dict[str, Any],
    spec: dict[str, Any],
    phase: str,
) -> None:
    status = outcome(namespace, workflow(template, **spec))
    assert status["phase"] == phase, status


def test_the_controller_takes_output_parameters(controller: Cluster, namespace: Namespace) -> None:
    template = container("echo -n 42 >/tmp/answer", **{kubelet.OUTPUTS: '{"answer": "42"}'})
    template["outputs"] = {"parameters": [{"name": "answer", "valueFrom": {"path": "/tmp/answer"}}]}
    (node,) = outcome(namespace, workflow(template))["nodes"].values()
    assert node["outputs"]["parameters"][0]["value"] == "42"


def test_full_definitions_look_below_spec(controller: Cluster, namespace: Namespace) -> None:
    with pytest.raises(client.ApiException) as refused:
        create(namespace, workflow({"suspended": FAST}), field_validation="Strict")
    assert refused.value.status == 400


def test_the_argo_server_creates_and_lists(argo_server: Cluster, tmp_path: Path) -> None:
    verbs = ["create", "get", "list", "watch"]
    rules = [{"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": verbs}]
    with new_namespace(argo_server, tmp_path) as namespace:
        token = namespace.account("submitter", rules).token
        url = f"{argo_server.argo_server}/api/v1/workflows/{namespace.name}"
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.get(url, timeout=10).status_code == 401
        body = {"workflow": workflow({"suspend": FAST})}
        made = requests.post(url, json=body, headers=headers, timeout=10)
        made.raise_for_status()
        listed = requests.get(url, headers=headers, timeout=10).json()
        names = [item["metadata"]["name"] for item in listed["items"]]
        assert names == [made.json()["metadata"]["name"]]
        name = names[0]
        eventually(
            lambda: stored(namespace, name).get("status", {}).get("phase") == "Succeeded" or None
        )
