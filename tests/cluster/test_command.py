"""Submit, wait and ask as users do: the command itself, on a real controller, by both roads."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from kubernetes import client

from heraci.cluster import Cluster, connect
from tests.cluster import kubelet
from tests.cluster.fixtures import Namespace, new_namespace
from tests.cluster.local import Cluster as Stack
from tests.cluster.local import LocalCluster
from tests.cluster.roads import RIGHTS, ROADS
from tests.cluster.waiting import eventually
from tests.command import Done, heraci, on_a_terminal, started
from tests.repository import Repository

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "experiments"
STEP = """\
from hera.workflows import Container, Suspend, Workflow

with Workflow(generate_name="{name}-", entrypoint="main"{more}) as w:
    {step}
"""
CONTAINER = 'Container(name="main", image="busybox:1.37", command=["true"], annotations={})'


def container(name: str, outcome: str = "succeed", more: str = "") -> str:
    """Write an experiment of one step that ends as told."""
    step = CONTAINER.format({kubelet.OUTCOME: outcome})
    return STEP.format(name=name, more=more, step=step)


def suspended(name: str, more: str = "") -> str:
    """Write an experiment that goes on until somebody or a deadline ends it."""
    return STEP.format(name=name, more=more, step='Suspend(name="main")')


@dataclass(frozen=True)
class Desk:
    """A repository, a namespace, and the way from one to the other."""

    repository: Repository
    namespace: Namespace
    environ: dict[str, str] = field(repr=False)
    direct: Cluster

    def heraci(self, *arguments: str, **environ: str) -> Done:
        return heraci(*arguments, cwd=self.repository.path, **{**self.environ, **environ})

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with started(*arguments, cwd=self.repository.path, **self.environ) as process:
            try:
                yield process
            finally:
                process.kill()

    def name(self, stem: str, ending: str = "") -> str:
        return f"{stem}-{self.repository.head[:10]}{ending}"

    def workflow(self, name: str) -> dict[str, Any] | None:
        return self.direct.find("Workflow", self.namespace.name, name)

    def phase(self, name: str) -> str | None:
        found = self.workflow(name)
        return found.get("status", {}).get("phase") if found else None


@dataclass(frozen=True)
class Lab:
    """A namespace where workflows run, the token to submit there, and what was compiled for it."""

    namespace: Namespace
    stack: Stack
    token: str
    cache: Path

    def desk(self, road: str, folder: Path) -> Desk:
        """Open one of the roads to the command, from an empty repository."""
        environ = {
            "HERACI_NAMESPACE": self.namespace.name,
            "HERACI_SUBMIT_THROUGH": road,
            "HERACI_KUBECONFIG": str(self.namespace.kubeconfig),
            "HERACI_CACHE_DIR": str(self.cache),
        }
        if self.stack.argo_server:
            environ["HERACI_ARGO_SERVER"] = self.stack.argo_server
            environ["HERACI_ARGO_TOKEN"] = self.token
        repository = Repository.create(folder / "repository")
        # Its commits are no other desk's, and so are the names of their runs.
        repository.write("desk.txt", str(folder))
        direct = connect(paths=[self.namespace.kubeconfig])
        return Desk(repository, self.namespace, environ, direct)


def furnished(stack: Stack, namespace: Namespace, folder: Path) -> Lab:
    """Let workflows run in a namespace, and somebody submit there."""
    allow_executor(namespace)
    token = namespace.account("submitter", RIGHTS).token if stack.argo_server else ""
    return Lab(namespace, stack, token, folder / "cache")


def allow_executor(namespace: Namespace) -> None:
    """Let the account of pods report results, as Argo's documentation asks for."""
    rbac: Any = client.RbacAuthorizationV1Api(namespace.api)
    verbs = {"verbs": ["create", "patch"]}
    rules = [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], **verbs}]
    metadata = {"name": "executor"}
    rbac.create_namespaced_role(namespace.name, {"metadata": metadata, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "executor"}
    body = {"metadata": metadata, "subjects": [subject], "roleRef": role}
    rbac.create_namespaced_role_binding(namespace.name, body)


@pytest.fixture(scope="module")
def lab(controller: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Furnish a namespace that desks share: what one has compiled, the next finds."""
    folder = tmp_path_factory.mktemp("lab")
    with new_namespace(controller, folder) as namespace:
        yield furnished(controller, namespace, folder)


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest, controller: Stack) -> str:
    if request.param == "argo-server":
        request.getfixturevalue("argo_server")
    return str(request.param)


@pytest.fixture
def at(road: str, lab: Lab, tmp_path: Path) -> Desk:
    """Open a desk of the lab."""
    return lab.desk(road, tmp_path)


@pytest.fixture
def alone_at(road: str, controller: Stack, namespace: Namespace, tmp_path: Path) -> Desk:
    """Open the only desk of a namespace: nothing else ever ran there."""
    return furnished(controller, namespace, tmp_path).desk(road, tmp_path)


def lines(done: Done, *starts: str) -> list[list[str]]:
    """Take the lines that begin so, in words."""
    return [line.split() for line in done.stdout.splitlines() if line.startswith(starts)]


def test_a_run_that_succeeds_ends_in_0_and_is_told_with_its_link(at: Desk) -> None:
    at.repository.commit(**{"experiments/good.py": container("good")})
    done = at.heraci("submit", "--all", "--wait")
    assert done.code == 0, done.stdout + done.stderr
    name = at.name("good")
    found = at.workflow(name)
    assert found is not None
    assert found["metadata"]["labels"]["heraci/commit"] == at.repository.head
    told = lines(done, "Succeeded")
    place = f"{at.namespace.name}/{name}"
    if address := at.environ.get("HERACI_ARGO_SERVER"):
        page = f"{address}/workflows/{place}?uid={found['metadata']['uid']}"
        assert told == [["Succeeded", "1/1", place, page]]
    else:
        assert told == [["Succeeded", "1/1", place]]
    assert done.stdout.splitlines()[-2:] == ["1 created", "1 succeeded"]
    pods = at.direct.get(f"/api/v1/namespaces/{at.namespace.name}/pods")["items"]
    labels = [each["metadata"]["labels"] for each in pods]
    [of_run] = [each for each in labels if each["workflows.argoproj.io/workflow"] == name]
    assert of_run["heraci/commit"] == at.repository.head


def test_each_bad_end_is_told_and_ends_in_1(at: Desk) -> None:
    at.repository.commit(
        **{
            "experiments/good.py": container("good"),
            "experiments/bad.py": container("bad", "fail"),
            "experiments/late.py": suspended("late", ", active_deadline_seconds=2"),
            "experiments/gone.py": suspended("gone"),
        }
    )
    with at.started("submit", "--all", "--wait", "--format", "json") as process:
        eventually(lambda: at.phase(at.name("gone")) == "Running" or None)
        at.direct.delete("Workflow", at.namespace.name, at.name("gone"))
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stdout + stderr
    runs = {each["experiment"]: each for each in json.loads(stdout)["runs"]}
    assert {name: (each["phase"], each["message"]) for name, each in runs.items()} == {
        "good": ("Succeeded", ""),
        "bad": ("Failed", "main: exit code 1"),
        "late": ("Failed", runs["late"]["message"]),
        "gone": ("Deleted", "It was deleted on the cluster while heraci waited for its end."),
    }
    assert "deadline" in runs["late"]["message"]
    # Asked later, all that is still there is told alike.
    asked = json.loads(at.heraci("status", "--format", "json").stdout)
    assert {each["experiment"]: each["phase"] for each in asked} == {
        "good": "Succeeded",
        "bad": "Failed",
        "late": "Failed",
    }


def test_a_terminal_shows_in_place_what_is_on_its_way(at: Desk) -> None:
    at.repository.commit(
        **{
            "experiments/good.py": container("good"),
            "experiments/late.py": suspended("late", ", active_deadline_seconds=3"),
        }
    )
    code, shown = on_a_terminal(
        "submit", "--all", "--wait", cwd=at.repository.path, **at.environ, NO_COLOR="1"
    )
    assert code == 1
    late = f"{at.namespace.name}/{at.name('late')}"
    assert f"Running    0/1      {late}" in shown
    # Drawn anew over what was there before, and away at the end.
    assert "\x1b[2F\x1b[J" in shown
    last = re.split(r"\x1b\[\d+F\x1b\[J", shown)[-1].splitlines()
    assert last[0].startswith("Failed")
    assert last[-2:] == ["2 created", "1 succeeded, 1 failed"]


def test_a_wait_that_runs_out_ends_in_3(at: Desk) -> None:
    at.repository.commit(**{"experiments/slow.py": suspended("slow")})
    done = at.heraci("submit", "--all", "--wait", "--wait-timeout", "3")
    assert done.code == 3, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "1 running"


def test_who_stops_waiting_stops_no_run(at: Desk) -> None:
    at.repository.commit(**{"experiments/slow.py": suspended("slow")})
    with at.started("submit", "--all", "--wait") as process:
        eventually(lambda: at.phase(at.name("slow")) == "Running" or None)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stdout + stderr
    assert at.phase(at.name("slow")) == "Running"


def test_a_commit_is_run_again_only_when_that_is_wanted(at: Desk) -> None:
    at.repository.commit(**{"experiments/good.py": container("good")})
    at.heraci("submit", "--all", "--wait")
    again = at.heraci("submit", "--all", "--wait")
    assert (again.code, again.stdout.splitlines()[-2:]) == (0, ["1 already there", "1 succeeded"])
    attempt = at.heraci("submit", "--all", "--wait", "--attempt", "2")
    assert attempt.code == 0, attempt.stdout + attempt.stderr
    assert at.phase(at.name("good", "-r2")) == "Succeeded"
    asked = json.loads(at.heraci("status", "--format", "json").stdout)
    assert sorted((each["attempt"], each["phase"]) for each in asked) == [
        (1, "Succeeded"),
        (2, "Succeeded"),
    ]


def test_a_catch_up_runs_what_was_lost_and_nothing_twice(alone_at: Desk) -> None:
    at = alone_at
    at.repository.commit(**{"experiments/one.py": container("one")})
    assert at.heraci("submit", "--all", "--wait").code == 0
    # A commit whose job was lost, and one after it.
    at.repository.commit(**{"experiments/two.py": container("two")})
    at.repository.commit(**{"experiments/three.py": container("three")})
    done = at.heraci("submit", "--since-last", "--wait")
    assert done.code == 0, done.stdout + done.stderr
    assert sorted(line[1] for line in lines(done, "created")) == [
        f"Workflow/{at.namespace.name}/{at.name('three')}",
        f"Workflow/{at.namespace.name}/{at.name('two')}",
    ]
    whole = at.heraci("submit", "--since-last", "--all")
    assert whole.code == 0, whole.stdout + whole.stderr
    # What ran last with the same manifest is left out.
    assert whole.stdout.splitlines()[-1] == "3 skipped"


def test_a_dry_run_creates_nothing(at: Desk) -> None:
    at.repository.commit(**{"experiments/good.py": container("good")})
    done = at.heraci("submit", "--all", "--dry-run")
    assert done.code == 0, done.stdout + done.stderr
    assert lines(done, "would")[0][:3] == ["would", "be", "created"]
    assert at.workflow(at.name("good")) is None


def test_doctor_finds_both_servers_well(at: Desk, argo_server: Stack) -> None:
    target = 'default-target = "lab"\n[targets.lab]\n'
    at.repository.commit(**{"heraci.toml": target, "experiments/good.py": container("good")})
    checks = {each["name"]: each for each in at.heraci("doctor", "--format", "json").json["checks"]}
    assert checks["cluster"]["fine"], checks["cluster"]
    assert checks["argo-server"] == {
        "name": "argo-server",
        "fine": True,
        "told": f"{argo_server.argo_server}, Argo v{argo_server.argo}",
    }
    wrong = at.heraci("doctor", HERACI_ARGO_TOKEN="canary")
    assert wrong.code == 3
    assert "does not accept the token" in wrong.stdout
    assert "canary" not in wrong.stdout + wrong.stderr


def test_a_script_run_by_hand_reaches_the_argo_server(alone_at: Desk, argo_server: Stack) -> None:
    at = alone_at
    script = "from heraci import configure_hera\n\nconfigure_hera()\n" + container("by-hand")
    at.repository.commit(**{"experiments/by_hand.py": f"{script}\nw.create()\n"})
    command = [sys.executable, "experiments/by_hand.py"]
    subprocess.run(command, cwd=at.repository.path, env=os.environ | at.environ, check=True)
    (made,), _ = at.direct.objects("Workflow", at.namespace.name, "")
    assert made["metadata"]["generateName"] == "by-hand-"
    eventually(lambda: at.phase(made["metadata"]["name"]) == "Succeeded" or None)


def furnish_for_the_shipped(namespace: Namespace) -> None:
    """Make what the shipped experiments need, as heraci.toml of this repository names it."""
    core: Any = client.CoreV1Api(namespace.api)
    size = {"storage": "10Gi"}
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": size}}
    claim = {"metadata": {"name": "experiments-data"}, "spec": spec}
    core.create_namespaced_persistent_volume_claim(namespace.name, claim)
    # What a provisioner would say.
    bound = {"phase": "Bound", "accessModes": ["ReadWriteMany"], "capacity": size}
    core.patch_namespaced_persistent_volume_claim_status(
        "experiments-data", namespace.name, {"status": bound}
    )
    proxy = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"), "proxy.example.org")
    core.create_namespaced_config_map(
        namespace.name, {"metadata": {"name": "proxy-environment"}, "data": proxy}
    )
    default = {"workflows.argoproj.io/default-artifact-repository": "lab"}
    repository = {"lab": "s3: {bucket: experiments, endpoint: s3.example.org}"}
    metadata = {"name": "artifact-repositories", "annotations": default}
    core.create_namespaced_config_map(namespace.name, {"metadata": metadata, "data": repository})
    tossed = {"metadata": {"annotations": {kubelet.OUTPUTS: json.dumps({"result": "heads"})}}}
    core.patch_namespace(namespace.name, tossed)


def test_the_shipped_experiments_are_asserted_submitted_and_followed_to_their_end(
    controller: Stack, argo_server: Stack, namespace: Namespace, tmp_path: Path
) -> None:
    if not controller.local:
        pytest.skip("this cluster has real kubelets, and may not reach a registry")
    furnish_for_the_shipped(namespace)
    at = furnished(controller, namespace, tmp_path).desk("kubernetes", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SHIPPED, at.repository.path / "experiments", ignore=ignored)
    shutil.copyfile(ROOT / "heraci.toml", at.repository.path / "heraci.toml")
    at.repository.commit()
    made = at.heraci("compile", "--all", "--output", str(tmp_path / "compiled"))
    assert made.code == 0, made.stdout + made.stderr
    bundle = ("--bundle", str(tmp_path / "compiled"))
    at.environ["HERACI_CHECK_IMAGES"] = "false"  # a registry is no part of this

    asserted = at.heraci("assert", *bundle, "--format", "json")
    assert asserted.code == 0, asserted.stdout + asserted.stderr
    assert [each for each in asserted.json if each["severity"] != "notice"] == []

    done = at.heraci("submit", *bundle, "--wait", "--format", "json")
    assert done.code == 0, done.stdout + done.stderr
    told = done.json
    assert {each["what"] for each in told["submitted"]} == {"created"}
    names = {path.name for path in SHIPPED.iterdir() if path.is_dir()}
    assert {each["experiment"] for each in told["submitted"]} == names
    # One is a template alone, and one a cron: that night comes at once.
    runs = {each["experiment"]: each for each in told["runs"]}
    assert runs.keys() == names - {"summary-template", "nightly-summary"}
    assert {(each["phase"], each["message"]) for each in runs.values()} == {("Succeeded", "")}
    for each in runs.values():
        found = at.workflow(each["name"])
        assert found is not None
        nodes = found["status"]["nodes"].values()
        assert {node["phase"] for node in nodes} <= {"Succeeded", "Omitted", "Skipped"}
        assert each["progress"].split("/")[0] == each["progress"].split("/")[1]
    night = requests.post(
        f"{argo_server.argo_server}/api/v1/workflows/{namespace.name}/submit",
        json={"resourceKind": "CronWorkflow", "resourceName": "nightly-summary"},
        headers={"Authorization": f"Bearer {at.environ['HERACI_ARGO_TOKEN']}"},
        timeout=30,
    ).json()["metadata"]["name"]
    eventually(lambda: at.phase(night) == "Succeeded" or None)
    # Whose it is, is told by its labels: heraci's status knows it with the others.
    found = at.workflow(night)
    assert found is not None
    assert found["metadata"]["labels"]["heraci/experiment"] == "nightly-summary"


def test_the_api_server_may_restart_while_one_waits(
    controller: Stack, disturbed: LocalCluster, tmp_path: Path
) -> None:
    stems = ("good", "late")
    with ExitStack() as held:
        waiting = []
        for road in ROADS:
            (folder := tmp_path / road).mkdir()
            namespace = held.enter_context(new_namespace(disturbed.cluster, folder))
            at = furnished(disturbed.cluster, namespace, folder).desk(road, folder)
            at.repository.commit(
                **{f"experiments/{stem}.py": container(stem, "hang") for stem in stems}
            )
            command = at.started("submit", "--all", "--wait", "--format", "json")
            waiting.append((at, held.enter_context(command)))
        pods = [eventually(lambda at=at: running_pods(at, stems)) for at, _ in waiting]  # type: ignore[misc]
        disturbed.restart_api_server()
        # Nothing ends before: both are under way when the server goes.
        for (at, process), (good, _) in zip(waiting, pods, strict=True):
            ended = {"status": {"phase": "Succeeded"}}
            client.CoreV1Api(at.namespace.api).patch_namespaced_pod_status(
                good, at.namespace.name, ended
            )
            at.direct.patch(
                "Workflow", at.namespace.name, at.name("late"), {"spec": {"shutdown": "Terminate"}}
            )
            stdout, stderr = process.communicate(timeout=180)
            assert process.returncode == 1, stdout + stderr
            runs = {each["experiment"]: each["phase"] for each in json.loads(stdout)["runs"]}
            assert runs == {"good": "Succeeded", "late": "Failed"}


def running_pods(at: Desk, stems: tuple[str, ...]) -> list[str] | None:
    """Give the name of each one's pod, once all of them run and their workflows say so."""
    path = f"/api/v1/namespaces/{at.namespace.name}/pods"
    found = {
        each["metadata"]["labels"]["workflows.argoproj.io/workflow"]: each["metadata"]["name"]
        for each in at.direct.get(path)["items"]
        if each["status"]["phase"] == "Running"
    }
    names = [at.name(stem) for stem in stems]
    if found.keys() != set(names) or {at.phase(name) for name in names} != {"Running"}:
        return None
    return [found[name] for name in names]
