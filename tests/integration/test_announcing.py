"""What was reviewed decides what may be submitted, and GitHub is told what came of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heraci import bundle_folder, document
from heraci.announcing import Submission
from heraci.bundle import Bundle, CompiledExperiment, Manifest, Status
from heraci.github import Event, Runner
from heraci.settings import Settings
from heraci.submit import Fate, What
from heraci.submit import Submission as Submitted
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


@pytest.fixture
def start(server: Loopback, tmp_path: Path) -> Callable[..., Submission]:
    for name in ("output", "summary"):
        (tmp_path / name).touch()

    def make(made: Bundle, **environ: str) -> Submission:
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
        link = f"{ADDRESS}/workflows/argo/"
        return Submission(made, settings, event, runner, lambda run: link + run.name)

    return make


def fate(what: What = What.CREATED, message: str = "") -> Fate:
    name = "hello-bbbbbbbbbb"
    made = workflow() | {"metadata": {"name": name, "namespace": "argo"}}
    one = Submitted(
        experiment="hello",
        kind="Workflow",
        namespace="argo",
        name=name,
        stem="hello",
        digest="sha256:0",
        document=made,
    )
    return Fate(submission=one, what=what, message=message, document=made)


def heard(submission: Submission, *fates: Fate) -> None:
    for each in fates:
        submission.hearing(lambda _: None)(each)


def outputs(folder: Path) -> dict[str, Any]:
    return dict(file_pairs((folder / "output").read_text()))


def reviewed(server: Loopback, tmp_path: Path, made: Bundle, name: str = "heraci-review") -> None:
    server.merge(7, HEAD, MERGE, merged_at="2026-01-01T00:00:00Z")
    server.artifact(name, HEAD, zipped(made, tmp_path / "reviewed"), run=400)


def test_what_was_reviewed_is_submitted_and_told(server, start, tmp_path, capsys):
    reviewed(server, tmp_path, bundle(), "heraci-review-lab")
    server.comment("<!-- heraci:review.lab run=400.1 -->\nThe review.")

    submission = start(bundle())
    assert submission.may_begin
    submission.begin()
    heard(submission, fate())
    submission.end(exit_code=0)

    link = f"[`Workflow hello-bbbbbbbbbb`](<{ADDRESS}/workflows/argo/hello-bbbbbbbbbb>)"
    [comment] = server.comments.values()
    assert comment["body"] == (
        "<!-- heraci:review.lab run=400.1 -->\nThe review.\n\n<!-- heraci-runs run=500.1 -->\n"
        "### Submitted at `bbbbbbbbbb` by [this run]"
        f"(https://github.com/{REPOSITORY}/actions/runs/500)\n\n"
        "| | experiment | on the cluster | |\n|-|-|-|-|\n"
        f"| | `hello` | {link} | ⏳ Pending |"
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
    assert submission.origin == {
        "repository": REPOSITORY,
        "pull_request": f"https://github.com/{REPOSITORY}/pull/7",
        "actor": "octocat",
        "ci_run": f"https://github.com/{REPOSITORY}/actions/runs/500",
    }
    assert capsys.readouterr().out == ""


def test_what_differs_from_the_review_is_not_begun(server, start, tmp_path, capsys):
    reviewed(server, tmp_path, bundle("alpine:3.19"))

    submission = start(bundle())
    submission.begin()
    submission.end(exit_code=1)

    assert not submission.may_begin
    assert [name for name, *_ in commands(capsys.readouterr().out)] == ["error"]
    assert server.deployments == []
    told = outputs(tmp_path)
    assert (told["reviewed"], told["submitted"]) == ("differs", "[]")
    assert told["reason"].startswith("hello: this is not what was reviewed: Workflow hello- has")


def test_a_setting_lets_it_go_on(server, start, tmp_path, capsys):
    reviewed(server, tmp_path, bundle("alpine:3.19"))

    submission = start(bundle(), HERACI_ON_MISMATCH="warn")
    submission.begin()

    assert submission.may_begin
    assert [name for name, *_ in commands(capsys.readouterr().out)] == ["warning"]


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
    server, start, tmp_path, capsys, monkeypatch, prepare, reason
):
    monkeypatch.setattr("heraci.github.pulls.LAG", 0.0)
    prepare(server, tmp_path)

    submission = start(bundle())
    submission.begin()

    [(name, _, message)] = commands(capsys.readouterr().out)
    assert name == "warning"
    import re

    assert re.search(reason, message), message


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

    assert "cannot be read" in start(bundle()).verdict.reason


def test_without_a_token_nothing_is_asked(server, start, tmp_path):
    submission = start(bundle(), HERACI_GITHUB_TOKEN="")
    submission.begin()
    heard(submission, fate())
    submission.end(exit_code=0)

    assert server.asked == []
    assert "no github-token was given" in submission.verdict.reason
    assert "hello-bbbbbbbbbb" in (tmp_path / "summary").read_text()


def test_a_submission_is_not_failed_by_what_cannot_be_told(server, start, tmp_path, capsys):
    reviewed(server, tmp_path, bundle())
    server.faults.append(Fault("POST .*/deployments", 403, message="Resource not accessible"))

    submission = start(bundle())
    submission.begin()
    heard(submission, fate())
    submission.end(exit_code=0)

    [(name, _, message)] = commands(capsys.readouterr().out)
    assert (name, "`permissions: deployments: write`" in message) == ("warning", True)
    assert json.loads(outputs(tmp_path)["result"])["exit-code"] == 0


def test_what_failed_is_told_without_any_markup_of_the_cluster(server, start, tmp_path):
    reviewed(server, tmp_path, bundle())

    submission = start(bundle())
    submission.begin()
    heard(submission, fate(What.FAILED, "no | `x` <img src=x>\n::error::y"))
    submission.end(exit_code=3)

    [deployment] = server.deployments
    assert server.statuses[deployment["id"]][-1]["state"] == "failure"
    last = (tmp_path / "summary").read_text().splitlines()[-1]
    assert last.endswith("❌ ``no \N{DIVIDES} `x` <img src=x> ::error::y`` |")


def test_a_secret_in_a_run_is_not_published(server, start, tmp_path):
    reviewed(server, tmp_path, bundle())

    submission = start(bundle())
    heard(submission, fate(What.FAILED, f"token {TOKEN} refused"))
    submission.end(exit_code=3)

    [comment] = server.comments.values()
    published = comment["body"] + (tmp_path / "summary").read_text()
    assert TOKEN not in published
    assert "A secret stands in what was submitted" in published
