"""Submit to a real API server once and only once, whatever happens in between."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heraci.cluster import Cluster, ForbiddenError, connect, connection
from heraci.submit import What, submit
from tests.cluster.fixtures import Namespace, new_namespace
from tests.cluster.local import LocalCluster
from tests.cluster.submitter import submissions as many
from tests.cluster.unreliable import Behaviour, authority, through, unreliable
from tests.submissions import COMMIT, planned, template, told, workflow

ROOT = Path(__file__).parents[2]
# A submitter that is killed: how often, and how much it has to do (more by hand).
KILLS = int(os.environ.get("HERACI_TEST_KILLS", "5"))
MANY = int(os.environ.get("HERACI_TEST_MANY", "150"))


@pytest.fixture
def server(namespace: Namespace) -> Cluster:
    return connect(paths=[namespace.kubeconfig])


def workflows(server: Cluster, namespace: Namespace) -> list[dict[str, Any]]:
    items, _ = server.objects("Workflow", namespace.name, "")
    return items


def test_a_field_that_the_server_does_not_know_is_refused(
    server: Cluster, namespace: Namespace
) -> None:
    (asked,) = planned(namespace.name, workflow("grid-"))
    asked = replace(asked, document={**asked.document, "speck": {}})
    (fate,) = submit([asked], server)
    assert fate.what is What.FAILED
    assert 'unknown field "speck"' in fate.message


def test_two_jobs_at_the_same_time_make_one_run_of_each(
    server: Cluster, namespace: Namespace
) -> None:
    asked = many(namespace.name, 30)
    counted: Counter[str] = Counter()

    def job() -> None:
        own = connect(paths=[namespace.kubeconfig])
        counted.update(str(each.what) for each in submit(asked, own))

    jobs = [threading.Thread(target=job) for _ in range(2)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    assert counted == {"created": 30, "already there": 30}
    assert len(workflows(server, namespace)) == 30


def test_lost_delayed_and_repeated_answers_make_neither_two_runs_nor_none(
    server: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    behaviour = Behaviour(lose=0.1, refuse=0.05, delay=0.05, repeat=0.1, busy=0.02, failing=0.05)
    asked = (*planned(namespace.name, template("sum")), *many(namespace.name, 100))
    with unreliable(server.host, authority(namespace), behaviour) as address:
        by_proxy = connect(paths=[through(namespace, address, tmp_path)])
        fates = list(submit(asked, by_proxy))
        # Every one of them is this submission's, whichever of its requests made it.
        assert Counter(str(each.what) for each in fates) == {"created": 101}
        assert min(behaviour.said.values()) > 0, behaviour.said
    names = [each["metadata"]["name"] for each in workflows(server, namespace)]
    assert sorted(names) == sorted(each.name for each in asked[1:])


def test_a_submitter_killed_at_any_moment_leaves_the_rest_to_the_next(
    server: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    chance = random.Random(7)
    behaviour = Behaviour(lose=0.025, delay=0.025, repeat=0.05)
    killed = 0
    with unreliable(server.host, authority(namespace), behaviour) as address:
        kubeconfig = through(namespace, address, tmp_path)
        command = [sys.executable, "-m", "tests.cluster.submitter", str(kubeconfig)]
        command += [namespace.name, str(MANY)]
        for _ in range(KILLS):
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                # Not on time: after some that it created, while more are on their way.
                wanted = chance.randint(1, max(1, MANY // (KILLS + 1)))
                while wanted and (line := process.stdout.readline()):
                    wanted -= line.startswith("created")
                process.kill()
                killed += process.wait() == -9
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300
        )
    assert killed == KILLS
    last = Counter(line.partition("\t")[0] for line in done.stdout.splitlines())
    assert last["created"] > 0
    assert last["already there"] > 0
    assert sum(last.values()) == MANY
    found = workflows(server, namespace)
    assert len(found) == MANY
    assert {each["metadata"]["labels"]["heraci/commit"] for each in found} == {COMMIT}
    # Each was created by one process alone, and none twice: a name is there once.
    assert len({each["metadata"]["uid"] for each in found}) == MANY


def test_a_server_that_is_lost_is_not_asked_a_thousand_times(
    server: Cluster, namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 0.1)
    behaviour = Behaviour()
    with unreliable(server.host, authority(namespace), behaviour) as address:
        by_proxy = connect(paths=[through(namespace, address, tmp_path)])
        by_proxy.get("/version")
        asked = many(namespace.name, 40)
        behaviour.refuse = 0.0
        seen = []
        for fate in submit(asked, by_proxy, concurrency=2):
            seen.append(fate)
            if len(seen) == 5:
                behaviour.refuse = 1.0
    counted = Counter(str(each.what) for each in seen)
    assert counted["created"] + counted["failed"] == 40
    assert counted["failed"] > 20
    assert any("Not tried" in each.message for each in seen)
    assert told(submit(asked, server))[-1][1] in ("created", "already there")
    assert len(workflows(server, namespace)) == 40


def test_the_api_server_may_restart_in_the_middle(disturbed: LocalCluster, tmp_path: Path) -> None:
    with new_namespace(disturbed.cluster, tmp_path) as namespace:
        server = connect(paths=[namespace.kubeconfig])
        fates = []
        for fate in submit(many(namespace.name, 300), server):
            fates.append(fate)
            if len(fates) == 20:
                disturbed.restart_api_server()
        assert Counter(str(each.what) for each in fates) == {"created": 300}
        assert len(workflows(server, namespace)) == 300


def test_who_may_only_create_and_get_can_submit(server: Cluster, namespace: Namespace) -> None:
    rules = [{"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["create", "get"]}]
    account = namespace.account("submitter", rules)
    narrow = connect(paths=[account.kubeconfig])
    asked = planned(namespace.name, workflow("grid-"))
    assert told(submit(asked, narrow)) == [("grid-0123456789", "created", "")]
    assert told(submit(asked, narrow)) == [("grid-0123456789", "already there", "")]
    ((_, what, message),) = told(submit(planned(namespace.name, template("sum")), narrow))
    assert what == "failed"
    assert message.endswith(
        f"What is missing is a Role in namespace {namespace.name} with {{apiGroups: "
        '["argoproj.io"], resources: ["workflowtemplates"], verbs: ["get"]}.'
    )
    with pytest.raises(ForbiddenError):
        narrow.objects("Workflow", namespace.name, "")


def test_a_full_quota_is_told_and_the_rest_follows_when_there_is_room(
    server: Cluster, namespace: Namespace
) -> None:
    path = f"/api/v1/namespaces/{namespace.name}/resourcequotas"
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/workflows.argoproj.io": "2"}}}
    server.request("POST", path, body=quota)
    while not server.get(f"{path}/few").get("status", {}).get("hard"):
        pass
    asked = many(namespace.name, 4)
    fates = list(submit(asked, server))
    assert Counter(str(each.what) for each in fates) == {"created": 2, "failed": 2}
    assert all("exceeded quota" in f.message for f in fates if f.what is What.FAILED)
    server.request("DELETE", f"{path}/few")
    fates = []
    while Counter(str(each.what) for each in fates)["already there"] < 4:
        fates = list(submit(asked, server))
