"""Submit by each road there is: what is there already, what belongs to others, what is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heraci.bundle import Status
from heraci.cluster import Cluster
from heraci.submit import Server, What, gone, prune, read_ledger, runs, sized, submit
from tests.cluster.fixtures import Namespace
from tests.cluster.local import Cluster as Stack
from tests.cluster.roads import ROADS, Road, travel
from tests.submissions import (
    COMMIT,
    OTHER_COMMIT,
    PROVENANCE,
    bundle,
    cron,
    experiment,
    planned,
    template,
    told,
    user,
    workflow,
)


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest, cluster: Stack, tmp_path: Path) -> Iterator[Road]:
    with travel(request.param, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def namespace(road: Road) -> Namespace:
    return road.namespace


@pytest.fixture
def server(road: Road) -> Server:
    return road.server


@pytest.fixture
def direct(road: Road) -> Cluster:
    return road.direct


def workflows(direct: Cluster, namespace: Namespace) -> list[dict[str, Any]]:
    items, _ = direct.objects("Workflow", namespace.name, "")
    return items


def test_the_same_commit_again_changes_nothing_and_says_so(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    asked = planned(
        namespace.name,
        template("sum"),
        cron("nightly", "sum"),
        user("run-", "sum"),
        workflow("alone"),
    )
    assert told(submit(asked, server)) == [
        ("alone-0123456789", "created", ""),
        ("nightly", "created", ""),
        ("run-0123456789", "created", ""),
        ("sum", "created", ""),
    ]
    before = [server.find(each.kind, each.namespace, each.name) for each in asked]
    # A job re-run has another number, and changes as little.
    again = tuple(
        planned(
            namespace.name,
            template("sum"),
            cron("nightly", "sum"),
            user("run-", "sum"),
            workflow("alone"),
            provenance=replace(PROVENANCE, ci_run="run 2"),
        )
    )
    assert told(submit(again, server)) == [
        ("alone-0123456789", "already there", ""),
        ("nightly", "unchanged", ""),
        ("run-0123456789", "already there", ""),
        ("sum", "unchanged", ""),
    ]
    after = [server.find(each.kind, each.namespace, each.name) for each in asked]
    # A controller may have moved the workflows on; what was applied is untouched.
    assert before[:2] == after[:2]
    assert len(workflows(direct, namespace)) == 2


def test_another_commit_applies_templates_and_creates_runs_of_its_own(
    server: Server, namespace: Namespace
) -> None:
    list(submit(planned(namespace.name, template("sum"), user("run-", "sum")), server))
    later = replace(PROVENANCE, commit=OTHER_COMMIT)
    asked = planned(namespace.name, template("sum", "9s"), user("run-", "sum"), provenance=later)
    assert told(submit(asked, server)) == [
        ("run-fedcba9876", "created", ""),
        ("sum", "applied", ""),
    ]
    found = server.find("WorkflowTemplate", namespace.name, "sum")
    assert found is not None
    assert found["metadata"]["labels"]["heraci/commit"] == OTHER_COMMIT
    assert found["spec"]["templates"][0]["suspend"] == {"duration": "9s"}


def test_what_a_later_commit_applied_stays_when_an_old_job_runs_again(
    server: Server, namespace: Namespace
) -> None:
    old = planned(namespace.name, template("sum"))
    later = replace(PROVENANCE, commit=OTHER_COMMIT)
    list(submit(planned(namespace.name, template("sum", "9s"), provenance=later), server))
    message = "A later commit, fedcba9876, has applied it."
    again = submit(old, server, is_later=lambda commit: commit == OTHER_COMMIT)
    assert told(again) == [("sum", "unchanged", message)]
    assert told(submit(old, server)) == [("sum", "applied", "")]


def test_a_name_leads_nowhere_else(server: Server, namespace: Namespace) -> None:
    (asked,) = planned(namespace.name, template("../../../../../../api/v1/secrets"))
    ((_, what, message),) = told(submit([asked], server))
    assert what == "failed"
    assert "cannot be the name of a WorkflowTemplate" in message


def test_what_somebody_changed_in_a_template_is_put_right(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    asked = planned(namespace.name, template("sum"))
    list(submit(asked, server))
    direct.patch(
        "WorkflowTemplate",
        namespace.name,
        "sum",
        {
            "metadata": {"labels": {"their": "own"}},
            "spec": {"entrypoint": "other"},
        },
    )
    assert told(submit(asked, server)) == [("sum", "applied", "")]
    found = server.find("WorkflowTemplate", namespace.name, "sum")
    assert found is not None
    assert found["spec"]["entrypoint"] == "main"
    assert found["metadata"]["labels"]["their"] == "own"


def test_a_template_of_nobody_is_taken_over_and_one_of_another_repository_is_not(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    body = dict(template("sum").document)
    body["metadata"] = {"name": "sum", "namespace": namespace.name}
    direct.create(body)
    asked = planned(namespace.name, template("sum"))
    assert told(submit(asked, server)) == [("sum", "applied", "It was not heraci's until now.")]
    theirs = planned(
        namespace.name,
        template("sum"),
        user("run-", "sum"),
        workflow("alone-"),
        provenance=replace(PROVENANCE, repository="others/experiments"),
    )
    place = f"WorkflowTemplate/{namespace.name}/sum"
    assert told(submit(theirs, server)) == [
        ("alone-0123456789", "created", ""),
        (
            "run-0123456789",
            "failed",
            f"Not started: it refers to {place}, which could not be applied.",
        ),
        (
            "sum",
            "failed",
            f"{place} belongs to another repository, group/experiments. Rename one of the two.",
        ),
    ]


def test_a_wanted_rerun_is_a_run_of_its_own(server: Server, namespace: Namespace) -> None:
    list(submit(planned(namespace.name, workflow("grid-")), server))
    again = planned(namespace.name, workflow("grid-"), provenance=replace(PROVENANCE, attempt=2))
    assert told(submit(again, server)) == [("grid-0123456789-r2", "created", "")]
    assert told(submit(again, server)) == [("grid-0123456789-r2", "already there", "")]
    found = runs(server, namespace.name, commit=COMMIT)
    assert sorted((each.name, each.attempt) for each in found) == [
        ("grid-0123456789", 1),
        ("grid-0123456789-r2", 2),
    ]


def test_a_name_that_is_taken_is_looked_at_and_not_trusted(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    body = dict(workflow("grid-").document)
    body["metadata"] = {"name": "grid-0123456789", "namespace": namespace.name}
    direct.create(body)
    ((_, what, message),) = told(submit(planned(namespace.name, workflow("grid-")), server))
    assert what == "failed"
    assert message == (
        "The name is taken by a Workflow that heraci did not submit for this commit "
        "(heraci/commit: none). Rename the experiment's workflow, or delete that one."
    )


def test_the_same_commit_with_another_manifest_is_not_run_in_silence(
    server: Server, namespace: Namespace
) -> None:
    first, second = workflow("grid-"), workflow("grid-", duration="2s")
    list(submit(planned(namespace.name, first), server))
    ((_, what, message),) = told(submit(planned(namespace.name, second), server))
    assert what == "failed"
    assert message == (
        f"This commit was run already with another manifest ({first.digest}; now "
        f"{second.digest}): its settings or inputs have changed since. To run it as it is now, "
        "choose another attempt."
    )


def test_a_dry_run_says_what_would_happen_and_stores_nothing(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    asked = planned(namespace.name, template("sum"), workflow("grid-"))
    wanted = [("grid-0123456789", "created", ""), ("sum", "created", "")]
    assert told(submit(asked, server, dry_run=True)) == wanted
    assert workflows(direct, namespace) == []
    assert told(submit(asked, server)) == wanted
    assert told(submit(asked, server, dry_run=True)) == [
        ("grid-0123456789", "already there", ""),
        ("sum", "unchanged", ""),
    ]
    changed = planned(namespace.name, template("sum", "5s"))
    assert told(submit(changed, server, dry_run=True)) == [("sum", "applied", "")]
    assert told(submit(changed, server)) == [("sum", "applied", "")]


def test_one_object_that_is_refused_hides_no_other(server: Server, namespace: Namespace) -> None:
    bad = planned(namespace.name, workflow("bad-"))[0]
    broken = {**bad.document, "spec": "no spec"}
    asked = (replace(bad, document=broken), *planned(namespace.name, workflow("good-")))
    fates = {each.submission.stem: each for each in submit(asked, server)}
    assert {stem: each.what for stem, each in fates.items()} == {
        "bad": What.FAILED,
        "good": What.CREATED,
    }
    assert "spec" in fates["bad"].message
    fixed = planned(namespace.name, workflow("bad-"), workflow("good-"))
    assert told(submit(fixed, server)) == [
        ("bad-0123456789", "created", ""),
        ("good-0123456789", "already there", ""),
    ]


def test_templates_and_crons_without_a_source_are_reported_and_pruned_on_request(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    old = (template("sum"), cron("nightly", "sum"), template("theirs"))
    list(submit(planned(namespace.name, *old[:2]), server))
    body = dict(old[2].document)
    body["metadata"] = {"name": "theirs", "namespace": namespace.name}
    direct.create(body)
    without = bundle(experiment("grid", status=Status.REMOVED, base=old))
    lost = gone(without, namespace=namespace.name)
    assert told(prune(lost, server)) == [
        ("nightly", "orphaned", "Its source is gone; --prune would suspend it."),
        ("sum", "orphaned", "Its source is gone; --prune would delete it."),
    ]
    assert told(prune(lost, server, prune=True)) == [
        ("nightly", "suspended", "Its source is gone."),
        ("sum", "deleted", "Its source is gone."),
    ]
    assert told(prune(lost, server, prune=True)) == [
        ("nightly", "unchanged", "Its source is gone; it is suspended already."),
    ]
    found = server.find("CronWorkflow", namespace.name, "nightly")
    assert found is not None
    assert found["spec"]["suspend"] is True
    # Its source is back.
    list(submit(planned(namespace.name, *old[:2]), server))
    found = server.find("CronWorkflow", namespace.name, "nightly")
    assert found is not None
    assert "suspend" not in found["spec"]
    assert "heraci/suspended" not in found["metadata"]["annotations"]


def test_a_cron_that_somebody_stopped_stays_stopped(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    templates = (template("sum"), template("other"))
    list(submit(planned(namespace.name, *templates, cron("nightly", "sum")), server))
    direct.patch("CronWorkflow", namespace.name, "nightly", {"spec": {"suspend": True}})
    list(submit(planned(namespace.name, *templates, cron("nightly", "other")), server))
    found = server.find("CronWorkflow", namespace.name, "nightly")
    assert found is not None
    assert found["spec"]["suspend"] is True
    assert found["spec"]["workflowSpec"]["workflowTemplateRef"] == {"name": "other"}


def test_a_cluster_that_takes_only_references_is_served(
    server: Server, direct: Cluster, namespace: Namespace
) -> None:
    asked = planned(namespace.name, workflow("grid-"), template_only=True)
    assert told(submit(asked, server)) == [
        ("grid-0123456789", "created", ""),
        ("grid-0123456789", "created", ""),
    ]
    (found,) = workflows(direct, namespace)
    said = {key: value for key, value in found["spec"].items() if value}  # Go adds empty ones
    assert said == {"workflowTemplateRef": {"name": "grid-0123456789"}}
    assert told(submit(asked, server)) == [
        ("grid-0123456789", "already there", ""),
        ("grid-0123456789", "unchanged", ""),
    ]


def test_the_cluster_knows_which_commit_was_wholly_submitted(
    server: Server, namespace: Namespace
) -> None:
    later = replace(PROVENANCE, commit=OTHER_COMMIT)
    first = sized(planned(namespace.name, template("sum"), user("run-", "sum"), workflow("grid-")))
    second = sized(planned(namespace.name, workflow("grid-"), workflow("new-"), provenance=later))
    repository = PROVENANCE.repository
    assert read_ledger(server, namespace.name).commits(repository) == ()
    list(submit(first, server))
    list(submit(second[:1], server))  # the other one was lost
    ledger = read_ledger(server, namespace.name)
    assert ledger.commits(repository) == (COMMIT,)
    assert ledger.commits("others/experiments") == ()
    kept, skipped = ledger.without_repetition(second)
    assert [each.stem for each in kept] == ["new"]
    assert [(each.submission.stem, each.what) for each in skipped] == [("grid", What.SKIPPED)]
    list(submit(second[1:], server))
    assert set(read_ledger(server, namespace.name).commits(repository)) == {COMMIT, OTHER_COMMIT}
