"""What would be submitted, as whole values: names, labels, order, and what was there before."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import pytest

from heraci.bundle import Finding, Manifest, Severity, Status
from heraci.experiment import COMMIT as MARKER
from heraci.naming import shortened, slug, workflow_name
from heraci.submit import (
    Fate,
    Ledger,
    Phase,
    Provenance,
    Run,
    Submission,
    What,
    gone,
    plan,
    sized,
)
from heraci.submit.create import references
from heraci.submit.follow import run_of
from heraci.submit.ledger import Entry
from tests.submissions import (
    COMMIT,
    OTHER_COMMIT,
    bundle,
    cron,
    experiment,
    manifest,
    template,
    user,
    workflow,
)

PROVENANCE = Provenance(
    commit=COMMIT,
    target="lab",
    repository="group/experiments",
    pull_request="12",
    actor="ada",
    ci_run="https://ci.example.org/1",
    version="0.1.0",
)
LABELS = {
    "heraci/commit": COMMIT,
    "heraci/experiment": "grid",
    "app.kubernetes.io/managed-by": "heraci",
    "heraci/attempt": "1",
}
ANNOTATIONS = {
    "heraci/experiment": "grid",
    "heraci/target": "lab",
    "heraci/repository": "group/experiments",
    "heraci/pull-request": "12",
    "heraci/actor": "ada",
    "heraci/ci-run": "https://ci.example.org/1",
    "heraci/version": "0.1.0",
    "workflows.argoproj.io/title": "grid #12 (0123456789)",
    "workflows.argoproj.io/description": f"Commit {COMMIT} of group/experiments, by ada",
}


def planned(*manifests: Manifest, name: str = "grid", **options: Any) -> tuple[Submission, ...]:
    made = plan(bundle(experiment(name, *manifests)), PROVENANCE, namespace="lab", **options)
    assert made.findings == ()
    return made.submissions


@pytest.mark.parametrize(
    ("stem", "attempt", "name"),
    [
        ("grid", 1, "grid-0123456789"),
        ("grid", 2, "grid-0123456789-r2"),
        ("group/Big_Grid", 1, "group-big-grid-0123456789"),
        ("a" * 52, 1, "a" * 52 + "-0123456789"),
        ("a" * 53, 1, "a" * 46 + "-vprun-0123456789"),
        ("a" * 52, 12, "a" * 42 + "-nqnt3-0123456789-r12"),
        ("v1.2", 1, "v1.2-0123456789"),
        ("__", 1, "experiment-0123456789"),
    ],
)
def test_a_run_is_named_by_its_commit(stem: str, attempt: int, name: str) -> None:
    assert workflow_name(stem, COMMIT, attempt) == name


def test_every_name_is_one_that_kubernetes_and_argo_take() -> None:
    stems = ["a", "A_b", "-x-", "x.-y", "é", "a" * 80, "a." * 40, "0", "x--y"]
    names = [workflow_name(s, COMMIT, n) for s, n in itertools.product(stems, (1, 2, 999))]
    wanted = re.compile(
        r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
    )
    assert [each for each in names if not wanted.fullmatch(each)] == []
    assert len(set(names)) == len(names)


def test_long_names_that_begin_alike_stay_apart() -> None:
    one, other = (shortened("a" * 70 + end, 20) for end in "xy")
    assert one != other
    assert one[:15] == other[:15] == "a" * 14 + "-"


def test_a_slug_has_neither_dots_nor_dashes_at_its_ends() -> None:
    assert slug("-.A b.-c._") == "a-b.c"


def test_a_workflow_is_named_and_labelled_and_keeps_what_is_the_authors() -> None:
    given = workflow("grid-", podMetadata={"labels": {"mine": "1"}, "annotations": {"a": "b"}})
    body = {
        **given.document,
        "metadata": {
            "generateName": "grid-",
            "labels": {"team": "city", "heraci/commit": "forged"},
            "annotations": {"workflows.argoproj.io/title": "My title"},
        },
    }
    given = replace(given, document=body)
    spec = given.document["spec"]
    assert planned(given) == (
        Submission(
            experiment="grid",
            kind="Workflow",
            namespace="lab",
            name="grid-0123456789",
            stem="grid",
            digest=given.digest,
            source="experiments/grid.py:3",
            document={
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Workflow",
                "metadata": {
                    "name": "grid-0123456789",
                    "namespace": "lab",
                    "labels": {"team": "city", **LABELS},
                    "annotations": {
                        **ANNOTATIONS,
                        "heraci/digest": given.digest,
                        "workflows.argoproj.io/title": "My title",
                    },
                },
                "spec": {
                    **spec,
                    "podMetadata": {"labels": {"mine": "1", **LABELS}, "annotations": {"a": "b"}},
                },
            },
        ),
    )
    assert body["metadata"]["labels"]["heraci/commit"] == "forged", "the bundle was changed"


def test_what_is_referred_to_comes_first_and_templates_keep_their_names() -> None:
    made = planned(user("run-", "sum"), cron("nightly", "sum"), template("sum"))
    assert [str(each) for each in made] == [
        "WorkflowTemplate/lab/sum",
        "CronWorkflow/lab/nightly",
        "Workflow/lab/run-0123456789",
    ]
    without_attempt = {key: text for key, text in LABELS.items() if key != "heraci/attempt"}
    assert [each.document["metadata"]["labels"] for each in made[:2]] == [without_attempt] * 2
    assert made[0].document["spec"] == template("sum").document["spec"]
    assert made[1].document["spec"] == {
        "schedules": ["0 3 * * *"],
        "workflowMetadata": {"labels": without_attempt},
        "workflowSpec": {
            "workflowTemplateRef": {"name": "sum"},
            "podMetadata": {"labels": without_attempt},
        },
    }


def test_the_marker_of_the_commit_becomes_the_commit() -> None:
    given = workflow("grid-", arguments={"parameters": [{"name": "tag", "value": f"v-{MARKER}"}]})
    (made,) = planned(given)
    assert made.digest == given.digest
    assert made.document["spec"]["arguments"] == {
        "parameters": [{"name": "tag", "value": f"v-{COMMIT}"}]
    }


def test_a_cluster_that_takes_only_references_gets_a_template_and_a_reference() -> None:
    given = workflow("grid-")
    first, second = planned(given, template_only=True)
    assert (first.kind, first.name, first.digest) == (
        "WorkflowTemplate",
        "grid-0123456789",
        given.digest,
    )
    assert first.document["spec"] == {**given.document["spec"], "podMetadata": {"labels": LABELS}}
    assert (second.kind, second.name) == ("Workflow", "grid-0123456789")
    assert second.document["spec"] == {"workflowTemplateRef": {"name": "grid-0123456789"}}
    assert first.document["metadata"] == second.document["metadata"]


def test_two_objects_of_one_name_are_an_error() -> None:
    made = plan(
        bundle(experiment("one", workflow("grid-")), experiment("two", workflow("grid"))),
        PROVENANCE,
        namespace="lab",
    )
    assert made.findings == (
        Finding(
            rule="name-collision",
            severity=Severity.ERROR,
            message="Workflow/lab/grid-0123456789 would also be the name of an object of one "
            "(experiments/grid.py:3): only one of them could be submitted. Give them names that "
            "differ.",
            experiment="two",
            file="experiments/grid.py",
            line=3,
        ),
    )


def test_a_cron_with_a_long_name_and_a_stranger_kind_are_errors() -> None:
    given = (cron("n" * 53, "sum"), manifest("ConfigMap", "settings", {}))
    made = plan(bundle(experiment("grid", *given)), PROVENANCE, namespace="lab")
    assert sorted(each.rule for each in made.findings) == ["kind-not-submitted", "name-too-long"]


@pytest.mark.parametrize(
    ("status", "unchanged", "submitted"),
    [
        (Status.ADDED, False, True),
        (Status.CHANGED, False, True),
        (Status.COMPILED, False, True),
        (Status.UNCHANGED, False, False),
        (Status.UNCHANGED, True, True),
        (Status.REMOVED, True, False),
        (Status.FAILED, True, False),
    ],
)
def test_only_what_changed_is_submitted(status: Status, unchanged: bool, submitted: bool) -> None:
    given = bundle(experiment("grid", workflow("grid-"), status=status))
    made = plan(given, PROVENANCE, namespace="lab", unchanged=unchanged)
    assert bool(made.submissions) is submitted


def test_references_are_found_at_any_depth() -> None:
    steps = [[{"name": "a", "templateRef": {"name": "x", "template": "main"}}]]
    spec = {
        "templates": [{"name": "main", "steps": steps}],
        "workflowTemplateRef": {"name": "y", "clusterScope": True},
    }
    assert set(references(spec)) == {("WorkflowTemplate", "x"), ("ClusterWorkflowTemplate", "y")}


def test_templates_and_crons_whose_source_is_gone_are_found() -> None:
    old = (template("sum"), cron("nightly", "sum"), workflow("run-"))
    given = bundle(
        experiment("removed", status=Status.REMOVED, base=old),
        experiment("broken", status=Status.FAILED, base=(template("other"),)),
        experiment("heir", template("sum"), status=Status.ADDED),
    )
    found = gone(given, namespace="lab")
    assert [(str(each), each.experiment) for each in found] == [
        ("CronWorkflow/lab/nightly", "removed")
    ]


def entry(name: str, **more: Any) -> Entry:
    given: dict[str, Any] = {
        "kind": "Workflow",
        "experiment": "grid",
        "commit": COMMIT,
        "attempt": 1,
        "digest": "sha256:1",
        "repository": None,
        "size": 2,
        "created": "2026-01-02T03:04:05Z",
    }
    return Entry(name=name, **(given | more))


def test_a_commit_is_wholly_submitted_when_all_its_objects_are_there() -> None:
    later = {"commit": OTHER_COMMIT, "created": "2026-01-03T00:00:00Z"}
    part = [entry("a"), entry("x", **later), entry("y", **later)]
    assert Ledger(entries=tuple(part)).commits() == (OTHER_COMMIT,)
    assert Ledger(entries=(*part, entry("b"))).commits() == (OTHER_COMMIT, COMMIT)
    with_template = entry("t", kind="WorkflowTemplate", attempt=None)
    assert Ledger(entries=(*part, with_template)).commits() == (OTHER_COMMIT, COMMIT)
    rerun = entry("a-r2", attempt=2)
    assert Ledger(entries=(entry("a"), rerun)).commits() == ()
    assert Ledger(entries=(entry("a", size=None), entry("b", size=None))).commits() == ()


def test_a_catch_up_leaves_out_what_ran_last_with_the_same_manifest() -> None:
    same, changed, rerun = workflow("same-"), workflow("changed-"), workflow("rerun-")
    made = planned(same, changed, rerun)
    before = (
        entry(workflow_name("same", OTHER_COMMIT), commit=OTHER_COMMIT, digest=same.digest),
        entry(workflow_name("changed", OTHER_COMMIT), commit=OTHER_COMMIT, digest="sha256:0"),
        entry(workflow_name("rerun", OTHER_COMMIT), commit=OTHER_COMMIT, digest=rerun.digest),
        entry(
            workflow_name("rerun", "9" * 40, 3),
            commit="9" * 40,
            attempt=3,
            digest="sha256:newer",
            created="2026-02-01T00:00:00Z",
        ),
    )
    kept, skipped = Ledger(entries=before).without_repetition(made)
    assert [each.stem for each in kept] == ["changed", "rerun"]
    assert skipped == (
        Fate(
            submission=made[0],
            what=What.SKIPPED,
            message="The last run, same-fedcba9876, had the same manifest.",
        ),
    )


def test_the_size_of_a_submission_is_told_by_each_of_its_objects() -> None:
    made = sized(planned(template("sum"), user("run-", "sum")))
    sizes = [each.document["metadata"]["annotations"]["heraci/submission-size"] for each in made]
    assert sizes == ["2", "2"]


def test_how_a_run_fares_is_read_from_what_argo_says() -> None:
    (made,) = planned(workflow("grid-"))
    metadata = made.document["metadata"] | {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    status = {
        "phase": "Failed",
        "progress": "1/2",
        "message": "child failed",
        "startedAt": "2026-01-01T00:00:01Z",
        "finishedAt": "2026-01-01T00:00:02Z",
    }
    assert run_of({**made.document, "metadata": metadata, "status": status}) == Run(
        namespace="lab",
        name="grid-0123456789",
        experiment="grid",
        commit=COMMIT,
        attempt=1,
        phase=Phase.FAILED,
        progress="1/2",
        message="child failed",
        created="2026-01-01T00:00:00Z",
        started="2026-01-01T00:00:01Z",
        finished="2026-01-01T00:00:02Z",
        uid="u",
        digest=made.digest,
    )
    assert run_of(made.document).phase is Phase.PENDING
    in_label = metadata | {"labels": {"workflows.argoproj.io/phase": "Error"}}
    assert run_of({**made.document, "metadata": in_label}).phase is Phase.ERROR
