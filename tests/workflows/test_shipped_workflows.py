"""The shipped workflows, run by act as docs/github-action.md has users call them.

HERACI_TEST_ACT names act, as `python -m tests.workflows build` prints it, and HERACI_TEST_IMAGE the
image. What act does not look at is not shown here: `permissions`, `environment` with its secrets
and reviewers, `concurrency` with its `queue`, `timeout-minutes`, the filters below `on`, and whether
a called workflow knows what it is given (tests/contract/test_workflows.py says that). It gives a job
that calls a workflow the result of that workflow's last job, so results are looked up where checks
are: `heraci / review`. It does not mask what is secret, which is asked of it, nor does it cut what a
job may annotate. A container action gets the host's paths, where a runner gives it /github/….
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from heraci.cluster import connect
from tests.cluster.fixtures import Namespace
from tests.cluster.lab import experiment, furnish, settings
from tests.cluster.local import Cluster
from tests.github.described import payload
from tests.github.project import PULL, Event
from tests.github.server import Fault, Loopback
from tests.image import engine
from tests.workflows.adopter import ROOT, WORKFLOWS, Adopter, documented, doubled

IMAGE = os.environ.get("HERACI_TEST_IMAGE", "")
ACT = os.environ.get("HERACI_TEST_ACT", "")
COMPILE, REVIEW, SUBMIT = "heraci / compile", "heraci / review", "heraci / submit"
KEPT = "heraci-review-lab"
BUNDLE = ["bundle.json", "waves.yaml"]
REVIEWED = ["bundle.json", "review.html", "review.md", "waves.yaml"]
CURIOUS = """\
import os
from pathlib import Path

import hera

seen = dict(os.environ)
for environ in Path("/proc").glob("[0-9]*/environ"):
    try:
        seen[str(environ)] = environ.read_text(errors="replace")
    except OSError:
        pass
raise RuntimeError(seen)
"""

pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(
        not (IMAGE and ACT),
        reason="to run them: HERACI_TEST_IMAGE=$(python -m tests.image build) "
        "HERACI_TEST_ACT=$(python -m tests.workflows build) pytest tests/workflows",
    ),
]


@pytest.fixture
def adopter() -> Iterator[Adopter]:
    # Not below pytest's own folder, which root closes to the user that jobs run as.
    with tempfile.TemporaryDirectory(prefix="heraci-workflows-") as name, Loopback() as github:
        made = Adopter.create(Path(name), github, command=Path(ACT), image=IMAGE)
        begin(made, settings("argo"))
        yield made
        made.forget()
        assert github.wrong == []


@pytest.fixture
def on_cluster(adopter: Adopter, namespace: Namespace) -> Adopter:
    kubeconfig = furnish(namespace).read_text()
    adopter.secrets |= {"KUBECONFIG": kubeconfig, "KUBECONFIG_THAT_READS": kubeconfig}
    begin(adopter, settings(namespace.name))
    return adopter


@pytest.fixture
def rehearsed(cluster: Cluster) -> Iterator[Path]:
    """The cluster that a rehearsal makes; its namespace has one name for all."""
    if not cluster.local:
        pytest.skip("a rehearsal has the namespace `heraci`, and this cluster is somebody's")
    core: Any = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
    core.create_namespace({"metadata": {"name": "heraci"}})
    yield cluster.kubeconfig
    core.delete_namespace("heraci")


def begin(adopter: Adopter, toml: str) -> None:
    """Let the branch have settings and two experiments."""
    files = {f"experiments/{name}.py": experiment(name) for name in ("waves", "still")}
    adopter.people.commit(**{"heraci.toml": toml}, **files)
    adopter.push("main")


def propose(adopter: Adopter) -> None:
    adopter.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})


def from_a_fork(event: Event) -> Event:
    theirs = {"id": 999, "fork": True, "full_name": "mallory/hello-world"}
    event.payload["pull_request"]["head"]["repo"] |= theirs
    return event


def on_the_cluster(kubeconfig: Path, namespace: str) -> dict[str, tuple[str, str]]:
    """Give the image and the commit of each workflow there."""
    found, _ = connect(paths=[kubeconfig]).objects("Workflow", namespace, "")
    return {
        each["metadata"]["name"]: (
            each["spec"]["templates"][0]["container"]["image"],
            each["metadata"]["labels"]["heraci/commit"],
        )
        for each in found
    }


@contextmanager
def another_image() -> Iterator[str]:
    """Make an image that is not heraci's."""
    empty = b"\0" * 1024
    command = ["docker", "import", "--message", "another", "-"]
    made = subprocess.run(command, input=empty, capture_output=True, check=True).stdout.decode()
    try:
        yield made.strip()
    finally:
        engine.docker("image", "rm", "--force", made.strip())


def test_a_pull_request_is_reviewed_merged_submitted_and_repeated(
    on_cluster: Adopter, namespace: Namespace
):
    before = on_cluster.people.head
    propose(on_cluster)
    image = engine.docker("image", "inspect", "--format", "{{ .Id }}", IMAGE).stdout.strip()

    review = on_cluster.run(on_cluster.adopted("review.yml"), on_cluster.pull_request())

    assert (review.code, review.jobs) == (0, {COMPILE: "success", REVIEW: "success"}), review.shown
    assert review.annotations(COMPILE, "notice") == [f"{on_cluster.pulled} is {image}"]
    assert on_cluster.comment().startswith("<!-- heraci:review.lab run=101.1 -->")
    assert "\n## ✅ Ready to merge\n" in on_cluster.comment()
    assert "Asserted: the cluster was asked" in on_cluster.comment()
    assert "## ✅ Ready to merge\n" in review.summary(REVIEW)
    assert on_cluster.artifact("heraci-bundle-lab") == BUNDLE
    assert on_cluster.artifact(KEPT) == REVIEWED

    merged = on_cluster.merge()
    name, pushed = f"waves-{merged[:10]}", on_cluster.pushed(before, merged)
    runs = {name: ("alpine:3.21", merged)}
    submit = on_cluster.run(on_cluster.adopted("submit.yml"), pushed)

    told = submit.outputs(SUBMIT, "Submit")
    assert (submit.code, submit.jobs) == (0, {COMPILE: "success", SUBMIT: "success"}), submit.shown
    assert json.loads(told["submitted"]) == [f"Workflow/{namespace.name}/{name}"]
    assert (told["reviewed"], told["digest"]) == (
        "same",
        review.outputs(REVIEW, "Review")["digest"],
    )
    assert on_the_cluster(namespace.kubeconfig, namespace.name) == runs
    assert on_cluster.states() == {merged: ["in_progress", "success"]}
    assert f"`Workflow {name}`" in on_cluster.comment()
    assert f"`Workflow {name}`" in submit.summary(SUBMIT)

    # What comes later is no part of what is repeated.
    on_cluster.people.commit(**{"experiments/still.py": experiment("still", "alpine:3.22")})
    on_cluster.push("main")
    for attempt, names in {"2": {"experiments": "waves"}, "3": {}}.items():
        dispatched = on_cluster.dispatched(commit=merged, attempt=attempt, **names)
        again = on_cluster.run(on_cluster.adopted("submit.yml"), dispatched)

        runs[f"{name}-r{attempt}"] = ("alpine:3.21", merged)
        told = again.outputs(SUBMIT, "Submit")
        assert again.jobs == {COMPILE: "success", SUBMIT: "success"}, again.shown
        assert json.loads(told["submitted"]) == [f"Workflow/{namespace.name}/{name}-r{attempt}"]
        assert told["reviewed"] == "same"
        assert on_the_cluster(namespace.kubeconfig, namespace.name) == runs


def test_this_repository_reviews_its_own_experiments(adopter: Adopter):
    for name in engine.sources():
        adopter.people.write(name, (ROOT / name).read_bytes())
    adopter.people.commit()
    adopter.push("main")
    adopter.environ = {"BASE": engine.base() or ""}
    adopter.images.append("heraci:here")
    name = "experiments/hello-world-container/experiment.py"
    text = (ROOT / name).read_text()
    adopter.propose(**{name: text.replace("alpine:3.20", "alpine:3.21")})

    ran = adopter.run((WORKFLOWS / "experiments.yml").read_text(), adopter.pull_request())

    jobs = {"image": "success", "review / compile": "success", "review / review": "success"}
    assert (ran.code, ran.jobs) == (0, jobs), ran.shown
    built, [loaded] = (
        ran.annotations(f"review / {job}", "notice") for job in ("compile", "review")
    )
    assert built == [loaded]
    assert loaded.startswith("heraci:here is sha256:")
    assert ran.outputs("review / review", "Review")["changed"] == '["hello-world-container"]'
    assert "| image | [`hello`]" in adopter.comment()
    assert "hello-world-container.yaml" in adopter.artifact("heraci-review")


def test_who_waits_learns_the_outcome(on_cluster: Adopter, namespace: Namespace):
    before = on_cluster.people.head
    propose(on_cluster)
    merged = on_cluster.merge()
    pushed = on_cluster.pushed(before, merged)
    first = on_cluster.run(on_cluster.adopted("submit.yml"), pushed)
    # What a controller would say.
    failed = {
        "metadata": {"labels": {"workflows.argoproj.io/phase": "Failed"}},
        "status": {"phase": "Failed"},
    }
    cluster = connect(paths=[namespace.kubeconfig])
    cluster.patch("Workflow", namespace.name, f"waves-{merged[:10]}", failed)

    ran = on_cluster.run(on_cluster.adopted("submit.yml", wait="true"), pushed)

    assert first.jobs == {COMPILE: "success", SUBMIT: "success"}, first.shown
    assert first.outputs(SUBMIT, "Submit")["reviewed"] == "not-reviewed"
    assert ran.jobs == {COMPILE: "success", SUBMIT: "failure"}, ran.shown
    assert "Failed (was there already) |" in ran.summary(SUBMIT)
    assert on_cluster.states()[merged][-1] == "failure"


def test_it_is_tried_without_a_cluster(adopter: Adopter, rehearsed: Path):
    before = adopter.people.head
    propose(adopter)
    asked, kubeconfig = (adopter.folder / "registry" / name for name in ("asked", "kubeconfig"))
    kubeconfig.write_text(rehearsed.read_text())
    adopter.environ = {"ASKED": str(asked), "REHEARSAL": str(kubeconfig)}
    merged = adopter.merge()

    pushed = adopter.pushed(before, merged)
    ran = adopter.run(adopter.adopted("submit.yml", rehearsal="true"), pushed)

    assert ran.jobs == {COMPILE: "success", SUBMIT: "success"}, ran.shown
    runs = {f"waves-{merged[:10]}": ("alpine:3.21", merged)}
    assert on_the_cluster(rehearsed, "heraci") == runs
    namespace, *applied = asked.read_text().splitlines()
    assert namespace == "create namespace heraci"
    assert [each.rpartition("/")[2] for each in applied] == [
        "argoproj.io_clusterworkflowtemplates.yaml",
        "argoproj.io_cronworkflows.yaml",
        "argoproj.io_workflows.yaml",
        "argoproj.io_workflowtemplates.yaml",
    ]


def test_where_nothing_is_affected_the_check_reports_it(adopter: Adopter):
    adopter.propose(**{"README.md": "Experiments.\n"})

    ran = adopter.run(adopter.adopted("review.yml"), adopter.pull_request())

    assert (ran.code, ran.jobs) == (0, {COMPILE: "success", REVIEW: "success"}), ran.shown
    assert ran.outputs(REVIEW, "Review")["affected"] == "[]"
    assert "This change affects no experiment." in ran.summary(REVIEW)
    assert "## ✅ Nothing changes on the cluster\n" in adopter.comment()


def test_an_experiment_that_breaks_fails_the_review_and_hides_no_other(adopter: Adopter):
    changed = experiment("waves", "alpine:3.21")
    adopter.propose(**{"experiments/waves.py": changed, "experiments/curious.py": CURIOUS})

    ran = adopter.run(adopter.adopted("review.yml"), adopter.pull_request())

    assert (ran.code, ran.jobs) == (1, {COMPILE: "success", REVIEW: "failure"}), ran.shown
    assert json.loads(ran.outputs(REVIEW, "Review")["result"])["exit-code"] == 1
    [error] = ran.annotations(REVIEW, "error")
    assert error.startswith("RuntimeError: {'PATH'")
    assert "## ❌ Do not merge yet: 1 error, 1 experiment did not compile\n" in adopter.comment()
    assert "| ✅ | `waves` | changed |" in adopter.comment()
    assert adopter.artifact(KEPT) == REVIEWED


def test_where_nothing_could_be_compiled_the_check_fails(adopter: Adopter):
    adopter.propose(**{"heraci.toml": "default-target = 7\n"})

    ran = adopter.run(adopter.adopted("review.yml"), adopter.pull_request())

    assert (ran.code, ran.jobs) == (1, {COMPILE: "failure", REVIEW: "failure"}), ran.shown
    assert "heraci: heraci.toml, line 1: default-target must be a text, not 7." in ran.shown
    assert ran.steps(REVIEW) == {"Stop where nothing was compiled": "failure"}
    assert ran.annotations(REVIEW, "error") == ["Nothing was compiled, see the job compile."]


def test_a_fork_is_reviewed_without_secrets_and_without_a_comment(adopter: Adopter):
    propose(adopter)
    event = from_a_fork(adopter.pull_request())
    # The token of a fork's run may read, no more.
    refusal = "Resource not accessible by integration"
    adopter.github.faults.append(Fault("POST .*/comments", 403, message=refusal))

    ran = adopter.run(adopter.adopted("review.yml"), event)

    assert (ran.code, ran.jobs) == (0, {COMPILE: "success", REVIEW: "success"}), ran.shown
    assert adopter.github.comments == {}
    _, notice = ran.annotations(REVIEW, "notice")
    assert notice.startswith("the review is in this step's summary alone: GitHub refused POST")
    assert "## ✅ Ready to merge\n" in ran.summary(REVIEW)
    assert "Not asserted" in ran.summary(REVIEW)


def test_a_merge_queue_is_reviewed(adopter: Adopter):
    propose(adopter)
    base, head = adopter.people.git("rev-parse", "main", "preview").split()
    ref = f"refs/heads/gh-readonly-queue/main/pr-{PULL}-{base}"
    adopter.push(f"preview:{ref}")
    told = payload("merge_group")
    told["merge_group"] |= {"head_ref": ref, "head_sha": head, "base_sha": base}
    # The branch moves on, and the queue's base stays what it is.
    adopter.people.commit(**{"heraci.toml": "default-target = 7\n"})
    adopter.push("main")

    ran = adopter.run(adopter.adopted("review.yml"), Event("merge_group", told, ref, head))

    assert (ran.code, ran.jobs) == (0, {COMPILE: "success", REVIEW: "success"}), ran.shown
    assert ran.outputs(REVIEW, "Review")["changed"] == '["waves"]'
    assert "## ✅ Ready to merge\n" in ran.summary(REVIEW)
    assert adopter.github.calls() == []


def test_several_targets_are_reviewed_beside_each_other(adopter: Adopter):
    toml = settings("argo") + '\n[targets.other]\nnamespace = "other"\n'
    adopter.people.commit(**{"heraci.toml": toml})
    adopter.push("main")
    propose(adopter)
    matrix = "    strategy: { matrix: { target: [lab, other] } }\n"
    workflow = adopter.adopted("review.yml").replace("  heraci:\n", f"  heraci:\n{matrix}")
    workflow = workflow.replace("target: lab\n", "target: ${{ matrix.target }}\n")

    ran = adopter.run(workflow, adopter.pull_request())

    assert ran.code == 0, ran.shown
    bodies = sorted(str(each["body"]) for each in adopter.github.comments.values())
    assert [each.partition(" run=")[0] for each in bodies] == [
        "<!-- heraci:review.lab",
        "<!-- heraci:review.other",
    ]
    assert adopter.artifact(KEPT) == adopter.artifact("heraci-review-other") == REVIEWED


@pytest.mark.parametrize(("name", "job"), [("review.yml", REVIEW), ("submit.yml", SUBMIT)])
def test_another_image_than_the_one_that_compiled_stops(adopter: Adopter, name: str, job: str):
    before = adopter.people.head
    propose(adopter)
    event = adopter.pull_request() if job == REVIEW else adopter.pushed(before, adopter.merge())
    with another_image() as other:
        adopter.offer(IMAGE, other)
        ran = adopter.run(adopter.adopted(name), event)

    assert (ran.code, ran.jobs) == (1, {COMPILE: "success", job: "failure"}), ran.shown
    told = "Another image compiled this: run all jobs again."
    assert ran.annotations(job, "error") == [told]
    assert [*ran.steps(job)][-1] == "Check that it is the same image"
    assert adopter.github.calls() == []
    # What was not reviewed must not pass for it.
    assert adopter.artifact(KEPT) == []


def test_a_dispatch_takes_no_commit_of_another_branch(adopter: Adopter):
    propose(adopter)

    event = adopter.dispatched(commit=adopter.heads["topic"])
    ran = adopter.run(adopter.adopted("submit.yml"), event)

    assert (ran.code, ran.jobs) == (1, {COMPILE: "failure"}), ran.shown
    assert ran.annotations(COMPILE, "error") == ["That commit is not on main."]


def test_a_branch_that_was_deleted_submits_nothing(adopter: Adopter):
    event = adopter.pushed(adopter.people.head, adopter.people.head)
    event.payload.update(after="0" * 40, deleted=True, head_commit=None)

    ran = adopter.run(adopter.adopted("submit.yml"), event)

    assert (ran.code, ran.jobs) == (0, {}), ran.shown


def test_one_step_does_all_of_it_but_for_forks(on_cluster: Adopter, namespace: Namespace):
    step, upload = "VCityTeam/heraci@COMMIT", "actions/upload-artifact@COMMIT"
    # What act calls the image that it builds for the step: no other test may use it.
    on_cluster.images.append("act-vcityteam-heraci-commit-dockeraction")
    workflow = documented("VCityTeam/heraci@")
    before = on_cluster.people.head
    propose(on_cluster)

    fork = on_cluster.run(workflow, from_a_fork(on_cluster.pull_request()))

    assert (fork.code, fork.jobs) == (1, {"heraci": "failure"}), fork.shown
    assert "heraci: this pull request comes from a fork, and its code does not run" in fork.shown
    assert [*fork.steps("heraci")][-1] == step
    assert on_cluster.github.calls() == []

    review = on_cluster.run(workflow, on_cluster.pull_request())

    assert (review.code, review.jobs) == (0, {"heraci": "success"}), review.shown
    assert "\n## ✅ Ready to merge\n" in on_cluster.comment()
    assert review.outputs("heraci", step)["bundle"] == "compiled"
    assert on_cluster.artifact(KEPT) == REVIEWED

    merged = on_cluster.merge()
    submit = on_cluster.run(workflow, on_cluster.pushed(before, merged))

    name = f"waves-{merged[:10]}"
    told = submit.outputs("heraci", step)
    assert (submit.code, submit.jobs) == (0, {"heraci": "success"}), submit.shown
    assert upload not in submit.steps("heraci")
    assert json.loads(told["submitted"]) == [f"Workflow/{namespace.name}/{name}"]
    assert (told["reviewed"], told["digest"]) == ("same", review.outputs("heraci", step)["digest"])
    found = on_the_cluster(namespace.kubeconfig, namespace.name)
    assert found == {name: ("alpine:3.21", merged)}
    assert on_cluster.states() == {merged: ["in_progress", "success"]}


def test_a_double_takes_no_input_that_it_does_not_know():
    step = "{ uses: actions/checkout@COMMIT, with: { fetch-dept: 0 } }"
    with pytest.raises(ValueError, match="the double of actions/checkout@COMMIT has no fetch-dept"):
        doubled(f"jobs: {{ job: {{ steps: [{step}] }} }}")
