"""What was reviewed decides what may be submitted, and GitHub is told what came of it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heraci import bundle_folder, document
from heraci.announcing import Announced
from heraci.bundle import Bundle, CompiledExperiment, Manifest, Status
from heraci.github import Event, Runner
from heraci.pipeline import Leave, Submitted
from heraci.settings import Settings
from heraci.submission_report import Told
from heraci.submit import Fate, Phase, Run, Submission, What
from tests.github.runner import commands, file_pairs
from tests.github.server import REPOSITORY, TOKEN, Fault, Loopback

HEAD, MERGE = "a" * 40, "b" * 40
ADDRESS = "https://argo.example.org"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as made:
        yield made
        assert made.wrong == []


def workflow(image: str = "alpine:3.20") -> dict[str, Any]:
    container = {"image": image, "command": ["true"]}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "hello-"},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", "container": container}]},
    }


def bundle(image: str = "alpine:3.20", **more: Any) -> Bundle:
    made = workflow(image)
    manifest = Manifest(
        kind="Workflow",
        name="hello-",
        digest=document.digest(made),
        document=made,
        file="hello.yaml",
    )
    experiment = CompiledExperiment(
        name="hello",
        path="experiments/hello/experiment.py",
        status=Status.CHANGED,
        manifests=(manifest,),
        text=document.dump([made]),
    )
    given: dict[str, Any] = {"target": "lab", "commit": MERGE, "experiments": (experiment,)} | more
    return Bundle(**given)


def zipped(made: Bundle, folder: Path) -> bytes:
    bundle_folder.write(made, folder)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return content.getvalue()


@dataclass(frozen=True)
class Heard:
    """A submission that began, and what was found out before."""

    announced: Announced
    leave: Leave

    def end(self, *fates: Fate, runs: tuple[Run, ...] = (), waited: bool = False) -> None:
        """Let it go on to its end."""
        for each in fates:
            self.announced.fate(each)
        self.announced.submitted()
        self.announced.end(
            Submitted(fates=fates, runs=runs, findings=self.leave.findings, waited=waited)
        )


@pytest.fixture
def start(server: Loopback, tmp_path: Path) -> Callable[..., Heard]:
    for name in ("output", "summary"):
        (tmp_path / name).touch()

    def make(made: Bundle, **environ: str) -> Heard:
        event = Event(
            name="push",
            repository=REPOSITORY,
            sha=MERGE,
            ref="refs/heads/main",
            actor="octocat",
            run_id=500,
            api_url=server.url,
            payload={"commits": [{"id": HEAD}, {"id": MERGE}]},
        )
        toml = f'[targets.lab]\nnamespace = "argo"\nargo-server = "{ADDRESS}"\n'
        given = {"HERACI_GITHUB_TOKEN": TOKEN, "HERACI_TARGET": "lab"} | environ
        settings = Settings.load({}, environ=given, project_file=("heraci.toml", toml))
        runner = Runner(output=tmp_path / "output", summary=tmp_path / "summary")

        def link(run: Run) -> str:
            return f"{ADDRESS}/workflows/argo/{run.name}"

        announced = Announced(Told("github", False, link), settings, event, runner, link)
        return Heard(announced, announced.begin(made, ()))

    return make


def fate(what: What = What.CREATED, message: str = "") -> Fate:
    name = "hello-bbbbbbbbbb"
    made = workflow() | {"metadata": {"name": name, "namespace": "argo"}}
    one = Submission(
        experiment="hello",
        kind="Workflow",
        namespace="argo",
        name=name,
        stem="hello",
        digest="sha256:0",
        document=made,
    )
    return Fate(submission=one, what=what, message=message, document=made)


def outputs(folder: Path) -> dict[str, Any]:
    return dict(file_pairs((folder / "output").read_text()))


def reviewed(server: Loopback, tmp_path: Path, made: Bundle, name: str = "heraci-review") -> None:
    server.merge(7, HEAD, MERGE, merged_at="2026-01-01T00:00:00Z")
    server.artifact(name, HEAD, zipped(made, tmp_path / "reviewed"), run=400)


def test_what_was_reviewed_is_submitted_and_told(server, start, tmp_path, capsys):
    reviewed(server, tmp_path, bundle(), "heraci-review-lab")
    server.comment("<!-- heraci:review.lab run=400.1 -->\nThe review.")

    submission = start(bundle())
    assert submission.leave.findings == ()
    submission.end(fate())

    link = f"[`Workflow hello-bbbbbbbbbb`](<{ADDRESS}/workflows/argo/hello-bbbbbbbbbb>)"
    [comment] = server.comments.values()
    assert comment["body"] == (
        "<!-- heraci:review.lab run=400.1 -->\nThe review.\n\n<!-- heraci-runs run=500.1 -->\n"
        "### Submitted at `bbbbbbbbbb` by [this run]"
        f"(https://github.com/{REPOSITORY}/actions/runs/500)\n\n"
        "| Experiment | On the cluster | State |\n|-|-|-|\n"
        f"| `hello` | {link} | ⏳ Pending |"
    )
    [deployment] = server.deployments
    states = [each["state"] for each in server.statuses[deployment["id"]]]
    assert (deployment["environment"], states) == ("lab", ["in_progress", "success"])
    told = outputs(tmp_path)
    assert {name: told[name] for name in ("changed", "submitted", "reviewed", "reason")} == {
        "changed": '["hello"]',
        "submitted": '["Workflow/argo/hello-bbbbbbbbbb"]',
        "reviewed": "same",
        "reason": "",
    }
    assert json.loads(told["result"])["exit-code"] == 0
    assert submission.leave.origin == {
        "repository": REPOSITORY,
        "pull_request": f"https://github.com/{REPOSITORY}/pull/7",
        "actor": "octocat",
        "ci_run": f"https://github.com/{REPOSITORY}/actions/runs/500",
    }
    assert [*commands(capsys.readouterr().out)] == []


def test_who_waits_reads_where_the_runs_are_before_they_end(server, start, tmp_path):
    reviewed(server, tmp_path, bundle())
    submission = start(bundle(), HERACI_WAIT="true")
    made = fate()
    submission.announced.fate(made)

    submission.announced.submitted()
    [comment] = server.comments.values()
    assert "⏳ Pending |" in comment["body"]

    run = Run(
        experiment="hello",
        name="hello-bbbbbbbbbb",
        namespace="argo",
        commit=MERGE,
        attempt=1,
        phase=Phase.FAILED,
    )
    submission.announced.end(Submitted(fates=(made,), runs=(run,), waited=True))
    [comment] = server.comments.values()
    assert "❌ Failed |" in comment["body"]
    [deployment] = server.deployments
    assert server.statuses[deployment["id"]][-1]["state"] == "failure"
    assert json.loads(outputs(tmp_path)["result"])["exit-code"] == 1


def test_what_differs_from_the_review_is_not_begun(server, start, tmp_path, capsys):
    reviewed(server, tmp_path, bundle("alpine:3.19"))

    submission = start(bundle())
    [finding] = submission.leave.findings
    assert finding.severity == "error"
    submission.end()

    assert [name for name, *_ in commands(capsys.readouterr().out)] == ["error"]
    assert server.deployments == []
    [comment] = server.comments.values()
    assert "### Nothing was submitted at `bbbbbbbbbb`" in comment["body"]
    assert "this is not what was reviewed" in comment["body"]
    told = outputs(tmp_path)
    assert (told["reviewed"], told["submitted"]) == ("differs", "[]")
    assert told["reason"].startswith("hello: this is not what was reviewed: Workflow hello- has")


def test_a_setting_lets_it_go_on(server, start, tmp_path, capsys):
    reviewed(server, tmp_path, bundle("alpine:3.19"))

    submission = start(bundle(), HERACI_ON_MISMATCH="warn")
    submission.end(fate())

    [finding] = submission.leave.findings
    assert finding.severity == "warning"
    assert [name for name, *_ in commands(capsys.readouterr().out)] == ["warning"]
    assert outputs(tmp_path)["submitted"] == '["Workflow/argo/hello-bbbbbbbbbb"]'


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda *_: None, "it was pushed to the branch without a pull request"),
        (
            lambda server, _: server.merge(7, HEAD, MERGE, merged_at="2026"),
            "#7 has no review of its last commit for lab",
        ),
        (
            lambda server, path: reviewed(server, path, bundle(target="other")),
            "#7 has no review of its last commit for lab",
        ),
        (
            lambda server, _: server.faults.append(Fault("GET .*/pulls", 403, message="No")),
            "GitHub refused GET .*Give the job `permissions: pull-requests: read`",
        ),
    ],
    ids=["direct push", "no review", "another target", "no right"],
)
def test_what_was_never_reviewed_is_said_with_the_reason(
    server, start, tmp_path, monkeypatch, prepare, reason
):
    monkeypatch.setattr("heraci.github.pulls.LAG", 0.0)
    prepare(server, tmp_path)

    [finding] = start(bundle()).leave.findings

    assert finding.severity == "warning"
    assert re.search(reason, finding.message), finding.message


def test_an_index_that_lies_about_its_digests_is_no_review(server, start, tmp_path):
    made = bundle("alpine:3.19")
    folder = tmp_path / "forged"
    bundle_folder.write(made, folder)
    index = folder / "bundle.json"
    digest = made.experiments[0].manifests[0].digest
    index.write_text(index.read_text().replace(digest, bundle().experiments[0].manifests[0].digest))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    server.merge(7, HEAD, MERGE, merged_at="2026")
    server.artifact("heraci-review", HEAD, content.getvalue(), run=400)

    [finding] = start(bundle()).leave.findings
    assert "cannot be read" in finding.message


def test_without_a_token_nothing_is_asked(server, start, tmp_path):
    submission = start(bundle(), HERACI_GITHUB_TOKEN="")
    submission.end(fate())

    assert server.asked == []
    assert "no github-token was given" in outputs(tmp_path)["reason"]
    assert "hello-bbbbbbbbbb" in (tmp_path / "summary").read_text()


def test_a_submission_is_not_failed_by_what_cannot_be_told(server, start, tmp_path, capsys):
    reviewed(server, tmp_path, bundle())
    server.faults.append(Fault("POST .*/deployments", 403, message="Resource not accessible"))

    start(bundle()).end(fate())

    [(name, _, message)] = commands(capsys.readouterr().out)
    assert (name, "`permissions: deployments: write`" in message) == ("warning", True)
    assert json.loads(outputs(tmp_path)["result"])["exit-code"] == 0


def test_what_was_submitted_before_it_broke_off_is_told(server, start, tmp_path):
    reviewed(server, tmp_path, bundle())
    submission = start(bundle())

    submission.announced.fate(fate())
    submission.announced.end(None)

    [deployment] = server.deployments
    assert server.statuses[deployment["id"]][-1]["state"] == "failure"
    assert "hello-bbbbbbbbbb" in (tmp_path / "summary").read_text()
    assert json.loads(outputs(tmp_path)["result"])["exit-code"] == 3


def test_what_failed_is_told_without_any_markup_of_the_cluster(server, start, tmp_path):
    reviewed(server, tmp_path, bundle())

    start(bundle()).end(fate(What.FAILED, "no | `x` <img src=x>\n::error::y"))

    [deployment] = server.deployments
    assert server.statuses[deployment["id"]][-1]["state"] == "failure"
    last = (tmp_path / "summary").read_text().splitlines()[-1]
    assert last.endswith("❌ ``no \N{DIVIDES} `x` <img src=x> ::error::y`` |")


def test_two_thousand_runs_fit_into_a_comment(server, start, tmp_path):
    reviewed(server, tmp_path, bundle())

    start(bundle()).end(*[fate()] * 1_999, fate(What.FAILED, "no"))

    [comment] = server.comments.values()
    lines = comment["body"].splitlines()
    assert len(comment["body"]) < 65_536
    assert lines[lines.index("|-|-|-|") + 1].endswith("❌ `no` |")
    assert re.fullmatch(r"And 1\d{3} more: see \[this run\].*", lines[-1])


def test_a_secret_in_a_run_is_not_published(server, start, tmp_path):
    reviewed(server, tmp_path, bundle())

    start(bundle()).end(fate(What.FAILED, f"token {TOKEN} refused"))

    [comment] = server.comments.values()
    published = comment["body"] + (tmp_path / "summary").read_text()
    assert TOKEN not in published
    assert "A secret stands in what was submitted" in published
