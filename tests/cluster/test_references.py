"""Serve clusters that only take references to templates, and leave nothing behind on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heraci.argo import ArgoServer
from heraci.bundle import Manifest
from heraci.cluster import Cluster, connect
from heraci.submit import Phase, Provenance, Server, follow, submit
from tests.cluster.fixtures import Namespace, new_namespace
from tests.cluster.local import Cluster as Stack
from tests.cluster.local import LocalCluster
from tests.cluster.roads import RIGHTS, ROADS
from tests.cluster.waiting import eventually
from tests.submissions import COMMIT, OTHER_COMMIT, PROVENANCE, cron, manifest, planned, told
from tests.submissions import workflow as workflow_of

LATER = replace(PROVENANCE, commit=OTHER_COMMIT)
A, B = "nightly-0123456789", "nightly-fedcba9876"


@pytest.fixture(scope="module", params=["Strict", "Secure"])
def strict(
    request: pytest.FixtureRequest, controller: Stack, disturbed: LocalCluster
) -> Iterator[LocalCluster]:
    disturbed.restart_controller(workflowRestrictions={"templateReferencing": request.param})
    yield disturbed
    disturbed.restart_controller()


@pytest.fixture
def namespace(strict: LocalCluster, tmp_path: Path) -> Iterator[Namespace]:
    with new_namespace(strict.cluster, tmp_path) as made:
        yield made


@pytest.fixture
def direct(namespace: Namespace) -> Cluster:
    return connect(paths=[namespace.kubeconfig])


@pytest.fixture(params=ROADS)
def server(request: pytest.FixtureRequest, namespace: Namespace, direct: Cluster) -> Server:
    if request.param == "kubernetes":
        return direct
    address = namespace.cluster.argo_server
    assert address is not None
    return ArgoServer(address, token=namespace.account("submitter", RIGHTS).token)


def templates(direct: Cluster, namespace: Namespace) -> set[str]:
    items, _ = direct.objects("WorkflowTemplate", namespace.name, "")
    return {each["metadata"]["name"] for each in items}


def inline(name: str, duration: str = "1s") -> Manifest:
    templates = [{"name": "main", "suspend": {"duration": duration}}]
    inner = {"entrypoint": "main", "templates": templates}
    return manifest("CronWorkflow", name, {"schedules": ["0 3 1 1 *"], "workflowSpec": inner})


def apply(
    server: Server, namespace: Namespace, *manifests: Manifest, provenance: Provenance = PROVENANCE
) -> list[tuple[str, str, str]]:
    asked = planned(namespace.name, *manifests, provenance=provenance, template_only=True)
    return told(submit(asked, server))


def test_a_run_goes_by_a_template_that_goes_with_it(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    name = "grid-0123456789"
    asked = planned(namespace.name, workflow_of("grid-"), template_only=True)
    fates = list(submit(asked, server))
    assert told(fates) == [(name, "created", ""), (name, "created", "")]
    (run,) = follow(fates, server)
    assert (run.phase, run.message) == (Phase.SUCCEEDED, "")
    # Again changes nothing.
    assert told(submit(asked, server)) == [(name, "already there", ""), (name, "unchanged", "")]
    assert templates(direct, namespace) == {name}
    server.delete("Workflow", namespace.name, name)
    eventually(lambda: templates(direct, namespace) == set() or None)


def test_a_run_that_says_what_it_does_itself_is_refused_by_the_controller(
    server: Server, namespace: Namespace
) -> None:
    fates = list(submit(planned(namespace.name, workflow_of("grid-")), server))
    (run,) = follow(fates, server)
    assert run.phase is Phase.ERROR
    assert "workflowTemplateRef" in run.message


def test_a_template_that_was_not_tied_to_its_run_is_when_it_is_submitted_again(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    name = "grid-0123456789"
    apply(server, namespace, workflow_of("grid-", duration=None))
    untied: dict[str, Any] = {"metadata": {"ownerReferences": None}}
    direct.patch("WorkflowTemplate", namespace.name, name, untied)
    apply(server, namespace, workflow_of("grid-", duration=None))
    run, template = (direct.find(k, namespace.name, name) for k in ("Workflow", "WorkflowTemplate"))
    assert run is not None
    assert template is not None
    (owner,) = template["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Workflow", run["metadata"]["uid"])


def test_a_cron_leaves_the_template_of_an_older_commit(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    apply(server, namespace, inline("nightly"))
    apply(server, namespace, inline("nightly", "9s"), provenance=LATER)
    found = direct.find("CronWorkflow", namespace.name, "nightly")
    assert found is not None
    assert found["spec"]["workflowSpec"]["workflowTemplateRef"] == {"name": B}
    assert templates(direct, namespace) == {B}
    direct.delete("CronWorkflow", namespace.name, "nightly")
    eventually(lambda: templates(direct, namespace) == set() or None)


def test_a_cron_leaves_it_to_the_runs_that_still_go_by_it(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    apply(server, namespace, inline("nightly"))
    started = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": "nightly-1",
            "namespace": namespace.name,
            "labels": {"workflows.argoproj.io/cron-workflow": "nightly"},
        },
        "spec": {"workflowTemplateRef": {"name": A}, "suspend": True},
    }
    direct.create(started)

    def seen() -> bool | None:
        items, _ = server.objects("Workflow", namespace.name, "")
        return bool(items) or None

    eventually(seen)  # an Argo Server's list is a little late
    apply(server, namespace, inline("nightly", "9s"), provenance=LATER)
    assert templates(direct, namespace) == {A, B}
    direct.delete("Workflow", namespace.name, "nightly-1")
    eventually(lambda: templates(direct, namespace) == {B} or None)


def test_an_old_job_that_runs_again_leaves_no_template(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    apply(server, namespace, inline("nightly", "9s"), provenance=LATER)
    asked = planned(namespace.name, inline("nightly"), template_only=True)
    fates = told(submit(asked, server, is_later=lambda commit: commit != COMMIT))
    message = "A later commit, fedcba9876, has applied it."
    assert fates == [("nightly", "unchanged", message), (A, "created", "")]
    assert templates(direct, namespace) == {B}


def test_an_authors_own_template_stays_where_a_cron_leaves_it(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    spec = {"entrypoint": "main", "templates": [{"name": "main", "suspend": {"duration": "1s"}}]}
    own = manifest("WorkflowTemplate", "own", spec)
    apply(server, namespace, own, cron("nightly", "own"))
    apply(server, namespace, inline("nightly"), provenance=LATER)
    assert templates(direct, namespace) == {"own", B}
