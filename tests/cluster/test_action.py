"""The Action from review to submission: jobs as the workflows have them, on a real cluster.

Repositories, cluster and command are real, and GitHub is its double, held to its own description.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heraci.bundle import load
from heraci.cluster import connect
from heraci.submit import Phase
from tests.cluster.fixtures import Namespace, new_namespace
from tests.cluster.lab import UI, experiment, furnish, settings
from tests.cluster.local import Cluster
from tests.cluster.waiting import eventually
from tests.command import Done, heraci
from tests.github.project import PULL, Event, Project
from tests.github.runner import commands, file_pairs
from tests.github.server import REPOSITORY, TOKEN, Loopback
from tests.repository import Repository

pytestmark = pytest.mark.xdist_group("lab")  # one namespace and one cache for all

RUNS = f"https://github.com/{REPOSITORY}/actions/runs"


@dataclass(frozen=True)
class Step:
    """What one step left: its end, its outputs and its summary."""

    done: Done
    outputs: dict[str, str]
    summary: str

    @property
    def code(self) -> int:
        return self.done.code

    @property
    def levels(self) -> list[str]:
        """The levels of its annotations, but for notices of what it may not look at."""
        found = ((name, told) for name, _, told in commands(self.done.stdout))
        return [name for name, told in found if "not-checked" not in told]

    def told(self, *names: str) -> dict[str, Any]:
        result = json.loads(self.outputs["result"])
        return {name: result[name] for name in names}


@dataclass(kw_only=True)
class Jobs(Project):
    """A repository on GitHub, and the steps of its jobs on a cluster."""

    namespace: Namespace
    kubeconfig: Path
    folder: Path
    cache: Path
    run: int = 100

    def checkout(self, ref: str, depth: int | None = None) -> Path:
        """Check out as actions/checkout does: an empty folder, one fetch, a detached head."""
        self.run += 1
        place = Repository.create(self.folder / f"job-{self.run}")
        place.git("remote", "add", "origin", self.origin.as_uri())
        shallow = [f"--depth={depth}"] if depth else []
        refs = [f"+{ref}:refs/remotes/pull"] if ref.startswith("refs/") else []
        heads = "+refs/heads/*:refs/remotes/origin/*"
        place.git("fetch", "--quiet", *shallow, "origin", *(refs or [heads]))
        place.checkout("refs/remotes/pull" if refs else ref)
        return place.path

    def step(self, where: Path, command: str, event: Event, **environ: str) -> Step:
        """Run `heraci action` as the image does."""
        files = {name: self.folder / f"{name}-{where.name}" for name in ("event", "out", "sum")}
        files["event"].write_text(json.dumps(event.payload))
        files["out"].write_text("")
        files["sum"].write_text("")
        given = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.github.url,
            "GITHUB_ACTOR": "octocat",
            "GITHUB_EVENT_NAME": event.name,
            "GITHUB_EVENT_PATH": str(files["event"]),
            "GITHUB_OUTPUT": str(files["out"]),
            "GITHUB_REF": event.ref,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": str(self.run),
            "GITHUB_SHA": event.sha,
            "GITHUB_STEP_SUMMARY": str(files["sum"]),
            "GITHUB_WORKSPACE": str(where),
            "HERACI_CACHE_DIR": str(self.cache),
            "HERACI_COMMAND": command,
        }
        done = heraci("action", cwd=where, **(given | environ))
        outputs = dict(file_pairs(files["out"].read_text()))
        return Step(done=done, outputs=outputs, summary=files["sum"].read_text())

    @property
    def secrets(self) -> dict[str, str]:
        return {
            "HERACI_GITHUB_TOKEN": TOKEN,
            "HERACI_KUBECONFIG": self.kubeconfig.read_text(),
        }

    # The two workflows

    def review(self) -> Step:
        """Compile without secrets, review what came of it beside the base, keep the artifact."""
        event = self.pull_request()
        here = self.checkout("refs/pull/7/merge", depth=2)
        compiled = self.step(here, "compile", event, HERACI_OUTPUT="heraci-bundle")
        assert compiled.code in (0, 1), compiled.done.stderr
        base = self.checkout("origin/main")
        (here / "heraci-bundle").rename(base / "heraci-bundle")
        step = self.step(base, "review", event, HERACI_BUNDLE="heraci-bundle", **self.secrets)
        self.keep(base / "heraci-bundle")
        return step

    def keep(self, folder: Path) -> None:
        """Upload a bundle as actions/upload-artifact does."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for path in folder.rglob("*"):
                archive.write(path, path.relative_to(folder))
        self.github.artifact(
            "heraci-review-lab", self.heads["topic"], content.getvalue(), run=self.run
        )

    def submit(self, event: Event, *, commit: str = "", names: str = "", **environ: str) -> Step:
        """Compile a commit without secrets, and submit what came of it."""
        commit = commit or event.sha
        here = self.checkout(commit)
        base = f"{commit}^" if event.name == "workflow_dispatch" and not names else ""
        command = f"compile -- {names}" if names else "compile"
        given = {"HERACI_OUTPUT": "heraci-bundle", "HERACI_BASE": base}
        compiled = self.step(here, command, event, **given)
        assert compiled.code == 0, compiled.done
        place = self.checkout(commit)
        (here / "heraci-bundle").rename(place / "heraci-bundle")
        given = {"HERACI_BUNDLE": "heraci-bundle", "HERACI_COMMIT": commit}
        return self.step(place, "submit", event, **self.secrets, **given, **environ)

    def on_the_cluster(self) -> dict[str, dict[str, Any]]:
        server = connect(paths=[self.namespace.kubeconfig])
        found, _ = server.objects("Workflow", self.namespace.name, "")
        return {each["metadata"]["name"]: dict(each) for each in found}


@dataclass(frozen=True)
class Lab:
    """What outlives a project: its namespace, CI's account there, and the cache that CI keeps."""

    namespace: Namespace
    kubeconfig: Path
    cache: Path


@pytest.fixture(scope="module")
def lab(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Furnish a namespace once, so that what was compiled for it need not be compiled again."""
    with new_namespace(cluster, tmp_path_factory.mktemp("lab")) as namespace:
        kubeconfig = furnish(namespace)
        yield Lab(namespace, kubeconfig, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def project(lab: Lab, tmp_path: Path) -> Iterator[Jobs]:
    namespace = lab.namespace
    origin, people = Project.clone(tmp_path)
    people.commit(
        **{
            "heraci.toml": settings(namespace.name),
            "experiments/waves.py": experiment("waves"),
            "experiments/still.py": experiment("still"),
        }
    )
    with Loopback() as github:
        made = Jobs(
            origin=origin,
            people=people,
            github=github,
            namespace=namespace,
            kubeconfig=lab.kubeconfig,
            folder=tmp_path,
            cache=lab.cache,
        )
        made.push("main")
        assert made.on_the_cluster() == {}
        yield made
        assert github.wrong == []
    server = connect(paths=[namespace.kubeconfig])
    for name in made.on_the_cluster():
        server.delete("Workflow", namespace.name, name)
    eventually(lambda: made.on_the_cluster() == {} or None)


def test_a_pull_request_is_reviewed_merged_and_submitted(project: Jobs) -> None:
    before = project.people.head
    project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})

    review = project.review()

    assert review.code == 0, review.done
    assert project.comment().startswith("<!-- heraci:review.lab run=")
    assert "\n## ✅ Ready to merge\n" in project.comment()
    assert "Asserted: the cluster was asked" in project.comment()
    room = "10 of 10 pods, 4 of 4 CPU and 8 GiB of 8 GiB memory"
    assert f"The quota leaves {room}, which is enough." in project.comment()
    assert review.told("affected", "changed", "submitted", "reviewed") == {
        "affected": ["waves"],
        "changed": ["waves"],
        "submitted": [],
        "reviewed": "not-asked",
    }

    merged = project.merge()
    step = project.submit(project.pushed(before, merged))

    name = f"waves-{merged[:10]}"
    place = f"{project.namespace.name}/{name}"
    assert step.code == 0, step.done
    assert step.levels == []
    assert step.told("changed", "submitted", "reviewed", "reason", "exit-code") == {
        "changed": ["waves"],
        "submitted": [f"Workflow/{place}"],
        "reviewed": "same",
        "reason": "",
        "exit-code": 0,
    }
    assert step.outputs["digest"] == review.outputs["digest"]
    [(found, made)] = project.on_the_cluster().items()
    metadata = made["metadata"]
    told = {name: text for name, text in metadata["annotations"].items() if "heraci/" in name}
    assert found == name
    assert made["spec"]["templates"][0]["container"]["image"] == "alpine:3.21"
    assert metadata["labels"]["heraci/commit"] == merged
    assert (
        told.items()
        >= {
            "heraci/repository": REPOSITORY,
            "heraci/pull-request": f"https://github.com/{REPOSITORY}/pull/7",
            "heraci/actor": "octocat",
            "heraci/ci-run": f"{RUNS}/{project.run}",
            "heraci/target": "lab",
        }.items()
    )
    uid = metadata["uid"]
    link = f"{UI}/workflows/{place}?uid={uid}"
    row = f"| `waves` | [`Workflow {name}`](<{link}>) | ⏳ Pending |"
    assert row in project.comment()
    assert row in step.summary
    assert project.comment().startswith("<!-- heraci:review.lab run=")
    assert project.states() == {merged: ["in_progress", "success"]}
    [deployment] = project.github.deployments
    assert deployment["payload"] == {"digest": step.outputs["digest"], "experiments": ["waves"]}


def test_submitting_twice_changes_nothing_and_says_so(project: Jobs) -> None:
    before = project.people.head
    project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})
    project.review()
    event = project.pushed(before, project.merge())
    first = project.submit(event)
    made = project.on_the_cluster()

    again = project.submit(event)

    assert again.code == 0, again.done
    assert again.outputs["submitted"] == first.outputs["submitted"]
    assert project.on_the_cluster() == made
    assert "⏳ Pending (was there already) |" in project.comment()
    assert project.states() == {event.sha: ["in_progress", "success", "in_progress", "success"]}


def test_pushes_that_arrive_out_of_order_each_submit_their_own(project: Jobs) -> None:
    start = project.people.head
    project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})
    project.review()
    first = project.merge()
    second = project.people.commit(**{"experiments/still.py": experiment("still", "alpine:3.21")})
    project.push("main")

    later = project.submit(project.pushed(first, second))
    earlier = project.submit(project.pushed(start, first))

    assert (later.code, earlier.code) == (0, 0)
    assert later.told("changed", "reviewed") == {"changed": ["still"], "reviewed": "not-reviewed"}
    assert earlier.told("changed", "reviewed") == {"changed": ["waves"], "reviewed": "same"}
    assert sorted(project.on_the_cluster()) == [f"still-{second[:10]}", f"waves-{first[:10]}"]
    assert f"waves-{first[:10]}" in project.comment()
    assert f"still-{second[:10]}" not in project.comment()


@pytest.mark.parametrize(
    ("setting", "code", "level"), [("", 1, "error"), ("warn", 0, "warning"), ("go-on", 0, "notice")]
)
def test_another_digest_than_the_reviewed_one(
    project: Jobs, setting: str, code: int, level: str
) -> None:
    before = project.people.head
    project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})
    project.review()
    # The base moves on between the review and the merge, into the same file.
    project.people.git("merge", "--quiet", "--no-commit", "--no-ff", "topic")
    changed = experiment("waves", "alpine:3.21", priority=7)
    merged = project.people.commit("Merge", **{"experiments/waves.py": changed})
    project.push("main")
    project.github.merge(PULL, project.heads["topic"], merged, merged_at="2026-01-01T00:00:00Z")

    step = project.submit(project.pushed(before, merged), HERACI_ON_MISMATCH=setting)

    assert (step.code, step.levels) == (code, [level]), step.done
    assert step.outputs["reviewed"] == "differs"
    assert step.outputs["reason"].startswith("waves: this is not what was reviewed: Workflow wave")
    for text in (step.summary, project.comment()):
        assert ("this is not what was reviewed" in text) is (level != "notice")
    begun = code == 0
    assert [*project.on_the_cluster()] == ([f"waves-{merged[:10]}"] if begun else [])
    assert project.states() == ({merged: ["in_progress", "success"]} if begun else {})
    assert ("Nothing was submitted at" in project.comment()) is not begun


@pytest.mark.parametrize(
    ("setting", "code", "level"), [("stop", 1, "error"), ("", 0, "warning"), ("go-on", 0, "notice")]
)
def test_a_push_that_nobody_reviewed(
    project: Jobs, setting: str, code: int, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.people.head
    after = project.people.commit(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})
    project.push("main")

    step = project.submit(project.pushed(before, after), HERACI_ON_NOT_REVIEWED=setting)

    assert (step.code, step.levels) == (code, [level]), step.done
    assert step.told("reviewed", "reason") == {
        "reviewed": "not-reviewed",
        "reason": "waves: nothing says that this was reviewed: it was pushed to the branch "
        "without a pull request.",
    }
    assert len(project.on_the_cluster()) == (1 if code == 0 else 0)


def test_a_dispatch_repeats_one_experiment_of_an_earlier_commit(project: Jobs) -> None:
    before = project.people.head
    project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})
    project.review()
    merged = project.merge()
    project.submit(project.pushed(before, merged))
    project.people.commit(**{"experiments/waves.py": experiment("waves", "alpine:3.22")})
    project.push("main")

    event = project.dispatched(commit=merged, experiments="waves", attempt="2")
    step = project.submit(event, commit=merged, names="waves", HERACI_ATTEMPT="2")

    assert step.code == 0, step.done
    assert step.told("submitted", "reviewed") == {
        "submitted": [f"Workflow/{project.namespace.name}/waves-{merged[:10]}-r2"],
        "reviewed": "same",
    }
    found = project.on_the_cluster()
    assert sorted(found) == [f"waves-{merged[:10]}", f"waves-{merged[:10]}-r2"]
    images = {each["spec"]["templates"][0]["container"]["image"] for each in found.values()}
    assert images == {"alpine:3.21"}
    assert f"waves-{merged[:10]}-r2" in project.comment()
    assert [*project.states()] == [merged]


@pytest.mark.parametrize(("phase", "code"), [("Succeeded", 0), ("Failed", 1)])
def test_who_waits_learns_the_outcome(project: Jobs, phase: str, code: int) -> None:
    before = project.people.head
    project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})
    project.review()
    merged = project.merge()
    event = project.pushed(before, merged)
    project.submit(event)
    # What a controller would say.
    labels = {"workflows.argoproj.io/phase": phase}
    connect(paths=[project.namespace.kubeconfig]).patch(
        "Workflow",
        project.namespace.name,
        f"waves-{merged[:10]}",
        {"metadata": {"labels": labels}, "status": {"phase": phase}},
    )

    step = project.submit(event, HERACI_WAIT="true")

    assert step.code == code, step.done
    told = f"{phase} (was there already) |"
    assert told in project.comment()
    assert told in step.summary
    last = project.states()[merged][-1]
    assert last == ("success" if Phase(phase) is Phase.SUCCEEDED else "failure")


@pytest.mark.skipif(os.geteuid() != 0, reason="in one step only root keeps experiments apart")
def test_one_step_does_all_of_it_and_repeats_it_by_dispatch(project: Jobs) -> None:
    project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})
    here = project.checkout("refs/pull/7/merge", depth=2)

    review = project.step(here, "", project.pull_request(), **project.secrets)

    assert review.code == 0, review.done
    assert "\n## ✅ Ready to merge\n" in project.comment()
    assert [each.name for each in load(here / "compiled").experiments] == ["waves"]
    project.keep(here / "compiled")

    before = project.people.head
    merged = project.merge()
    pushed = project.pushed(before, merged)
    step = project.step(project.checkout(merged), "", pushed, **project.secrets)

    assert step.code == 0, step.done
    assert step.told("changed", "reviewed", "submitted") == {
        "changed": ["waves"],
        "reviewed": "same",
        "submitted": [f"Workflow/{project.namespace.name}/waves-{merged[:10]}"],
    }
    again = project.step(project.checkout(merged), "", pushed, **project.secrets)
    assert again.told("changed", "submitted") == step.told("changed", "submitted")

    # What came later is no part of what is repeated.
    project.people.commit(**{"experiments/still.py": experiment("still", "alpine:3.22")})
    project.push("main")
    event = project.dispatched(commit=merged, experiments="", attempt="2")
    repeated = project.step(project.checkout("origin/main"), "", event, **project.secrets)

    assert repeated.code == 0, repeated.done
    assert repeated.told("submitted", "reviewed") == {
        "submitted": [f"Workflow/{project.namespace.name}/waves-{merged[:10]}-r2"],
        "reviewed": "same",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="in one step only root keeps experiments apart")
def test_what_a_lost_run_left_behind_is_submitted_with_the_next(project: Jobs) -> None:
    start = project.people.head
    first = project.people.commit(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})
    project.push("main")
    project.step(project.checkout(first), "", project.pushed(start, first), **project.secrets)
    # This one's run is lost.
    project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.22")})
    project.review()
    lost = project.merge()
    last = project.people.commit(**{"experiments/still.py": experiment("still", "alpine:3.21")})
    project.push("main")

    event = project.pushed(lost, last)
    step = project.step(project.checkout(last), "", event, **project.secrets)

    assert step.code == 0, step.done
    assert step.told("changed") == {"changed": ["still", "waves"]}
    # It was reviewed all the same; the other one was not.
    assert step.told("reviewed", "reason")["reason"].startswith("still: nothing says")
    assert f"waves-{last[:10]}" in project.comment()


@pytest.mark.skipif(os.geteuid() != 0, reason="in one step only root keeps experiments apart")
def test_only_what_was_merged_can_be_dispatched(project: Jobs) -> None:
    head = project.propose(**{"experiments/waves.py": experiment("waves", "alpine:3.21")})

    event = project.dispatched(commit=head)
    step = project.step(project.checkout("origin/main"), "", event, **project.secrets)

    assert step.code == 2
    assert "is not on the branch that is checked out" in step.done.stderr
    assert project.on_the_cluster() == {}
