"""Wait for runs on a real API server, across all that can happen to one who waits.

Where no controller is at hand, the test says what one would: it writes the status that Argo's
controller writes. The workflows carry another controller's instance id, so that a real one which
happens to be there leaves them alone. The tests at the end ask for the real one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heraci.bundle import Manifest
from heraci.cluster import Cluster, connect
from heraci.submit import Fate, Phase, Provenance, Run, What, follow, plan, runs, submit
from tests.cluster import kubelet
from tests.cluster.fixtures import Namespace, new_namespace
from tests.cluster.local import Cluster as Stack
from tests.cluster.local import LocalCluster
from tests.cluster.unreliable import Behaviour, authority, through, unreliable
from tests.submissions import COMMIT, bundle, experiment, workflow

NOBODYS = {"workflows.argoproj.io/controller-instanceid": "nobody"}
SECONDS = 60.0


@pytest.fixture
def server(namespace: Namespace) -> Cluster:
    return connect(paths=[namespace.kubeconfig])


def started(server: Cluster, namespace: str, *stems: str) -> list[Fate]:
    """Submit workflows that nobody's controller cares for."""
    made = []
    for stem in stems:
        given = workflow(f"{stem}-", duration=None)
        body = {**given.document, "metadata": {**given.document["metadata"], "labels": NOBODYS}}
        made.append(replace(given, document=body))
    return submitted(server, namespace, *made)


def submitted(server: Cluster, namespace: str, *manifests: Manifest) -> list[Fate]:
    asked = plan(
        bundle(experiment("grid", *manifests)), Provenance(commit=COMMIT), namespace=namespace
    )
    fates = list(submit(asked.submissions, server))
    assert {each.what for each in fates} == {What.CREATED}
    return fates


def say(server: Cluster, namespace: str, stem: str, phase: str, **status: str) -> None:
    """Say what a controller would."""
    labels = {"workflows.argoproj.io/phase": phase}
    change = {"metadata": {"labels": labels}, "status": {"phase": phase, **status}}
    server.patch("Workflow", namespace, f"{stem}-0123456789", change)


class Waiting:
    """Somebody who waits, in a thread; `heard` is what was said to them on the way."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.heard: list[Run] = []
        self.found: tuple[Run, ...] = ()
        self.error: BaseException | None = None

        def wait() -> None:
            try:
                self.found = follow(*arguments, on_change=self.heard.append, **options)
            except BaseException as error:  # noqa: BLE001
                self.error = error

        self._thread = threading.Thread(target=wait, daemon=True)
        self._thread.start()

    def until(self, what: Callable[[Run], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not any(what(run) for run in self.heard):
            assert time.monotonic() < end, self.heard
            assert self._thread.is_alive() or any(what(run) for run in self.heard), self.error
            time.sleep(0.02)

    def outcome(self) -> dict[str, tuple[str, str]]:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), self.heard
        if self.error:
            raise self.error
        return {each.name.partition("-")[0]: (str(each.phase), each.message) for each in self.found}


def heard(stem: str, phase: str) -> Callable[[Run], bool]:
    return lambda run: run.name.startswith(stem) and run.phase == phase


def test_each_run_ends_in_its_own_way(server: Cluster, namespace: Namespace) -> None:
    place = namespace.name
    fates = started(server, place, "good", "bad", "broken", "gone")
    waiting = Waiting(fates, server)
    say(server, place, "good", "Running", progress="0/1")
    waiting.until(heard("good", "Running"))
    say(server, place, "good", "Succeeded", progress="1/1")
    say(server, place, "bad", "Failed", message="child 'bad' failed")
    say(server, place, "broken", "Error", message="no such image")
    server.delete("Workflow", place, "gone-0123456789")
    assert waiting.outcome() == {
        "good": ("Succeeded", ""),
        "bad": ("Failed", "child 'bad' failed"),
        "broken": ("Error", "no such image"),
        "gone": ("Deleted", "It was deleted on the cluster while heraci waited for its end."),
    }
    of_good = [(str(r.phase), r.progress) for r in waiting.heard if r.name.startswith("good")]
    assert of_good == [("Pending", ""), ("Running", "0/1"), ("Succeeded", "1/1")]


def test_what_has_ended_long_ago_needs_no_wait(server: Cluster, namespace: Namespace) -> None:
    fates = started(server, namespace.name, "good", "bad")
    say(server, namespace.name, "good", "Succeeded")
    say(server, namespace.name, "bad", "Failed")
    ended = Waiting(fates, server).outcome()
    assert ended == {"good": ("Succeeded", ""), "bad": ("Failed", "")}
    # Argo's TTL may take it away while others are still waited for: it has succeeded all the same.
    found = runs(server, namespace.name, commit=COMMIT)
    assert {each.name: str(each.phase) for each in found} == {
        "good-0123456789": "Succeeded",
        "bad-0123456789": "Failed",
    }
    assert runs(server, namespace.name, experiment="grid") == found
    assert runs(server, namespace.name, experiment="gri") == ()


def test_a_run_that_has_ended_and_is_cleaned_up_has_not_failed(
    server: Cluster, namespace: Namespace
) -> None:
    waiting = Waiting(started(server, namespace.name, "good", "late"), server)
    say(server, namespace.name, "good", "Succeeded")
    server.delete("Workflow", namespace.name, "good-0123456789")
    say(server, namespace.name, "late", "Succeeded")
    assert waiting.outcome() == {"good": ("Succeeded", ""), "late": ("Succeeded", "")}


def test_a_wait_that_runs_out_says_what_was_on_its_way(
    server: Cluster, namespace: Namespace
) -> None:
    fates = started(server, namespace.name, "good", "slow")
    say(server, namespace.name, "good", "Succeeded")
    say(server, namespace.name, "slow", "Running")
    ended = Waiting(fates, server, timeout=1.5).outcome()
    assert ended == {"good": ("Succeeded", ""), "slow": ("Running", "")}


def test_runs_in_two_namespaces_are_followed_together(
    server: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    with new_namespace(namespace.cluster, tmp_path) as other:
        fates = started(server, namespace.name, "here") + started(server, other.name, "there")
        waiting = Waiting(fates, server)
        say(server, other.name, "there", "Succeeded")
        waiting.until(heard("there", "Succeeded"))
        say(server, namespace.name, "here", "Failed")
        assert waiting.outcome() == {"here": ("Failed", ""), "there": ("Succeeded", "")}


def test_who_may_list_but_not_watch_waits_all_the_same(
    server: Cluster, namespace: Namespace
) -> None:
    rules = [{"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get", "list"]}]
    narrow = connect(paths=[namespace.account("reader", rules).kubeconfig])
    waiting = Waiting(started(server, namespace.name, "good"), narrow)
    waiting.until(heard("good", "Pending"))
    say(server, namespace.name, "good", "Succeeded")
    assert waiting.outcome() == {"good": ("Succeeded", "")}


def test_broken_lines_and_forgotten_versions_end_no_wait(
    server: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    behaviour = Behaviour(lose=0.1, refuse=0.1, failing=0.1, forgotten=0.3)
    fates = started(server, namespace.name, "good", "bad")
    with unreliable(server.host, authority(namespace), behaviour) as address:
        by_proxy = connect(paths=[through(namespace, address, tmp_path)])
        for turn in range(4):
            waiting = Waiting(fates, by_proxy)
            say(server, namespace.name, "good", "Running", progress=f"{turn}/9")
            waiting.until(lambda run, turn=turn: run.progress == f"{turn}/9")  # type: ignore[misc]
            if turn == 3:
                say(server, namespace.name, "good", "Succeeded")
                say(server, namespace.name, "bad", "Failed")
                assert waiting.outcome() == {"good": ("Succeeded", ""), "bad": ("Failed", "")}
    assert behaviour.said["forgotten"] + behaviour.said["lose"] + behaviour.said["refuse"] > 0


def test_the_api_server_may_restart_while_one_waits(
    disturbed: LocalCluster, tmp_path: Path
) -> None:
    with new_namespace(disturbed.cluster, tmp_path) as namespace:
        server = connect(paths=[namespace.kubeconfig])
        waiting = Waiting(started(server, namespace.name, "good", "bad", "gone"), server)
        say(server, namespace.name, "good", "Running")
        waiting.until(heard("good", "Running"))
        disturbed.restart_api_server()
        say(server, namespace.name, "good", "Succeeded")
        say(server, namespace.name, "bad", "Failed", message="exit code 1")
        server.delete("Workflow", namespace.name, "gone-0123456789")
        assert waiting.outcome() == {
            "good": ("Succeeded", ""),
            "bad": ("Failed", "exit code 1"),
            "gone": ("Deleted", "It was deleted on the cluster while heraci waited for its end."),
        }


def test_the_real_controller_ends_runs(
    controller: Stack, server: Cluster, namespace: Namespace
) -> None:
    fails = {"image": "busybox:1.37", "command": ["sh", "-c", "exit 1"]}
    outcome = {"annotations": {kubelet.OUTCOME: "fail"}}
    templates = [{"name": "main", "container": fails, "metadata": outcome}]
    fates = submitted(
        server,
        namespace.name,
        workflow("good-"),
        workflow("bad-", templates=templates),
        workflow("late-", duration=None, activeDeadlineSeconds=2),
        workflow("gone-", duration=None),
    )
    waiting = Waiting(fates, server)
    waiting.until(heard("gone", "Running"))
    server.delete("Workflow", namespace.name, "gone-0123456789")
    ended = waiting.outcome()
    assert {stem: phase for stem, (phase, _) in ended.items()} == {
        "good": Phase.SUCCEEDED,
        "bad": Phase.FAILED,
        "late": Phase.FAILED,
        "gone": Phase.DELETED,
    }
