"""Submit to a real API server: once and only once, whatever happens in between."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from heraci.bundle import Manifest, Status
from heraci.cluster import Cluster, ForbiddenError, connect, connection
from heraci.submit import (
    Fate,
    Provenance,
    Submission,
    What,
    gone,
    plan,
    prune,
    read_ledger,
    runs,
    sized,
    submit,
)
from tests.cluster.fixtures import Namespace
from tests.cluster.submitter import submissions as many
from tests.cluster.unreliable import Behaviour, unreliable
from tests.submissions import (
    COMMIT,
    OTHER_COMMIT,
    bundle,
    cron,
    experiment,
    template,
    user,
    workflow,
)

ROOT = Path(__file__).parents[2]
PROVENANCE = Provenance(commit=COMMIT, repository="group/experiments", ci_run="run 1")
# A submitter that is killed: how often, and how much it has to do (more by hand).
KILLS = int(os.environ.get("HERACI_TEST_KILLS", "5"))
MANY = int(os.environ.get("HERACI_TEST_MANY", "150"))


@pytest.fixture
def server(namespace: Namespace) -> Cluster:
    return connect(paths=[namespace.kubeconfig])


def planned(
    namespace: Namespace, *manifests: Manifest, provenance: Provenance = PROVENANCE, **options: Any
) -> tuple[Submission, ...]:
    made = plan(
        bundle(experiment("grid", *manifests)), provenance, namespace=namespace.name, **options
    )
    assert made.findings == ()
    return made.submissions


def told(fates: Iterable[Fate]) -> list[tuple[str, str, str]]:
    return sorted((each.submission.name, str(each.what), each.message) for each in fates)


def workflows(server: Cluster, namespace: Namespace) -> list[dict[str, Any]]:
    items, _ = server.objects("Workflow", namespace.name, "")
    return items


def test_the_same_commit_again_changes_nothing_and_says_so(
    server: Cluster, namespace: Namespace
) -> None:
    asked = planned(
        namespace, template("sum"), cron("nightly", "sum"), user("run-", "sum"), workflow("alone")
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
            namespace,
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
    assert len(workflows(server, namespace)) == 2


def test_another_commit_applies_templates_and_creates_runs_of_its_own(
    server: Cluster, namespace: Namespace
) -> None:
    list(submit(planned(namespace, template("sum"), user("run-", "sum")), server))
    later = replace(PROVENANCE, commit=OTHER_COMMIT)
    asked = planned(namespace, template("sum", "9s"), user("run-", "sum"), provenance=later)
    assert told(submit(asked, server)) == [
        ("run-fedcba9876", "created", ""),
        ("sum", "applied", ""),
    ]
    found = server.find("WorkflowTemplate", namespace.name, "sum")
    assert found is not None
    assert found["metadata"]["labels"]["heraci/commit"] == OTHER_COMMIT
    assert found["spec"]["templates"][0]["suspend"] == {"duration": "9s"}


def test_what_somebody_changed_in_a_template_is_put_right(
    server: Cluster, namespace: Namespace
) -> None:
    asked = planned(namespace, template("sum"))
    list(submit(asked, server))
    server.patch(
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
    server: Cluster, namespace: Namespace
) -> None:
    body = dict(template("sum").document)
    body["metadata"] = {"name": "sum", "namespace": namespace.name}
    server.create(body)
    asked = planned(namespace, template("sum"))
    assert told(submit(asked, server)) == [("sum", "applied", "It was not heraci's until now.")]
    theirs = planned(
        namespace,
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


def test_a_wanted_rerun_is_a_run_of_its_own(server: Cluster, namespace: Namespace) -> None:
    list(submit(planned(namespace, workflow("grid-")), server))
    again = planned(namespace, workflow("grid-"), provenance=replace(PROVENANCE, attempt=2))
    assert told(submit(again, server)) == [("grid-0123456789-r2", "created", "")]
    assert told(submit(again, server)) == [("grid-0123456789-r2", "already there", "")]
    found = runs(server, namespace.name, commit=COMMIT)
    assert sorted((each.name, each.attempt) for each in found) == [
        ("grid-0123456789", 1),
        ("grid-0123456789-r2", 2),
    ]


def test_a_name_that_is_taken_is_looked_at_and_not_trusted(
    server: Cluster, namespace: Namespace
) -> None:
    body = dict(workflow("grid-").document)
    body["metadata"] = {"name": "grid-0123456789", "namespace": namespace.name}
    server.create(body)
    ((_, what, message),) = told(submit(planned(namespace, workflow("grid-")), server))
    assert what == "failed"
    assert message == (
        "The name is taken by a Workflow that heraci did not submit for this commit "
        "(heraci/commit: none). Rename the experiment's workflow, or delete that one."
    )


def test_the_same_commit_with_another_manifest_is_not_run_in_silence(
    server: Cluster, namespace: Namespace
) -> None:
    first, second = workflow("grid-"), workflow("grid-", duration="2s")
    list(submit(planned(namespace, first), server))
    ((_, what, message),) = told(submit(planned(namespace, second), server))
    assert what == "failed"
    assert message == (
        f"This commit was run already with another manifest ({first.digest}; now "
        f"{second.digest}): its settings or inputs have changed since. To run it as it is now, "
        "choose another attempt."
    )


def test_a_dry_run_says_what_would_happen_and_stores_nothing(
    server: Cluster, namespace: Namespace
) -> None:
    asked = planned(namespace, template("sum"), workflow("grid-"))
    wanted = [("grid-0123456789", "created", ""), ("sum", "created", "")]
    assert told(submit(asked, server, dry_run=True)) == wanted
    assert workflows(server, namespace) == []
    assert told(submit(asked, server)) == wanted
    assert told(submit(asked, server, dry_run=True)) == [
        ("grid-0123456789", "already there", ""),
        ("sum", "unchanged", ""),
    ]
    changed = planned(namespace, template("sum", "5s"))
    assert told(submit(changed, server, dry_run=True)) == [("sum", "applied", "")]
    assert told(submit(changed, server)) == [("sum", "applied", "")]


def test_one_object_that_is_refused_hides_no_other(server: Cluster, namespace: Namespace) -> None:
    bad = planned(namespace, workflow("bad-"))[0]
    broken = {**bad.document, "spec": "no spec"}
    asked = (replace(bad, document=broken), *planned(namespace, workflow("good-")))
    fates = {each.submission.stem: each for each in submit(asked, server)}
    assert {stem: each.what for stem, each in fates.items()} == {
        "bad": What.FAILED,
        "good": What.CREATED,
    }
    assert "spec" in fates["bad"].message
    fixed = planned(namespace, workflow("bad-"), workflow("good-"))
    assert told(submit(fixed, server)) == [
        ("bad-0123456789", "created", ""),
        ("good-0123456789", "already there", ""),
    ]


def test_a_field_that_the_server_does_not_know_is_refused(
    server: Cluster, namespace: Namespace
) -> None:
    (asked,) = planned(namespace, workflow("grid-"))
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


def _through(namespace: Namespace, address: str, folder: Path) -> Path:
    """Write a kubeconfig that goes by the proxy."""
    given = yaml.safe_load(namespace.kubeconfig.read_text())
    for each in given["clusters"]:
        each["cluster"] = {"server": address}
    path = folder / "kubeconfig-by-proxy"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(given))
    return path


def _authority(namespace: Namespace) -> Path | None:
    found = namespace.api.configuration.ssl_ca_cert
    return Path(found) if found else None


def test_lost_delayed_and_repeated_answers_make_neither_two_runs_nor_none(
    server: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    behaviour = Behaviour(lose=0.1, refuse=0.05, delay=0.05, repeat=0.1, busy=0.02, failing=0.05)
    asked = (*planned(namespace, template("sum")), *many(namespace.name, 100))
    with unreliable(server.host, _authority(namespace), behaviour) as address:
        by_proxy = connect(paths=[_through(namespace, address, tmp_path)])
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
    with unreliable(server.host, _authority(namespace), behaviour) as address:
        kubeconfig = _through(namespace, address, tmp_path)
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
    with unreliable(server.host, _authority(namespace), behaviour) as address:
        by_proxy = connect(paths=[_through(namespace, address, tmp_path)])
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


def test_who_may_only_create_and_get_can_submit(server: Cluster, namespace: Namespace) -> None:
    rules = [{"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["create", "get"]}]
    account = namespace.account("submitter", rules)
    narrow = connect(paths=[account.kubeconfig])
    asked = planned(namespace, workflow("grid-"))
    assert told(submit(asked, narrow)) == [("grid-0123456789", "created", "")]
    assert told(submit(asked, narrow)) == [("grid-0123456789", "already there", "")]
    ((_, what, message),) = told(submit(planned(namespace, template("sum")), narrow))
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


def test_templates_and_crons_without_a_source_are_reported_and_pruned_on_request(
    server: Cluster, namespace: Namespace
) -> None:
    old = (template("sum"), cron("nightly", "sum"), template("theirs"))
    list(submit(planned(namespace, *old[:2]), server))
    body = dict(old[2].document)
    body["metadata"] = {"name": "theirs", "namespace": namespace.name}
    server.create(body)
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
    list(submit(planned(namespace, *old[:2]), server))
    found = server.find("CronWorkflow", namespace.name, "nightly")
    assert found is not None
    assert "suspend" not in found["spec"]
    assert "heraci/suspended" not in found["metadata"]["annotations"]


def test_a_cron_that_somebody_stopped_stays_stopped(server: Cluster, namespace: Namespace) -> None:
    asked = planned(namespace, cron("nightly", "sum"))
    list(submit(asked, server))
    server.patch("CronWorkflow", namespace.name, "nightly", {"spec": {"suspend": True}})
    list(submit(planned(namespace, cron("nightly", "other")), server))
    found = server.find("CronWorkflow", namespace.name, "nightly")
    assert found is not None
    assert found["spec"]["suspend"] is True
    assert found["spec"]["workflowSpec"]["workflowTemplateRef"] == {"name": "other"}


def test_a_cluster_that_takes_only_references_is_served(
    server: Cluster, namespace: Namespace
) -> None:
    asked = planned(namespace, workflow("grid-"), template_only=True)
    assert told(submit(asked, server)) == [
        ("grid-0123456789", "created", ""),
        ("grid-0123456789", "created", ""),
    ]
    (found,) = workflows(server, namespace)
    assert found["spec"] == {"workflowTemplateRef": {"name": "grid-0123456789"}}
    assert told(submit(asked, server)) == [
        ("grid-0123456789", "already there", ""),
        ("grid-0123456789", "unchanged", ""),
    ]


def test_the_cluster_knows_which_commit_was_wholly_submitted(
    server: Cluster, namespace: Namespace
) -> None:
    later = replace(PROVENANCE, commit=OTHER_COMMIT)
    first = sized(planned(namespace, template("sum"), user("run-", "sum"), workflow("grid-")))
    second = sized(planned(namespace, workflow("grid-"), workflow("new-"), provenance=later))
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
