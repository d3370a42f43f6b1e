"""A review goes out whole, or with a secret in it not at all."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heraci import diff, document
from heraci.bundle import (
    Bundle,
    CompiledExperiment,
    Finding,
    Manifest,
    Severity,
    Status,
    load,
)
from heraci.comparison import ComparedExperiment, Review
from heraci.errors import HeraciError
from heraci.github import Event, Runner
from heraci.publishing import finish_review
from heraci.settings import Settings
from tests.github.runner import commands, file_pairs
from tests.github.server import REPOSITORY, TOKEN, Fault, Loopback

HEAD = "a" * 40
SECRET = "the-kubeconfigs-own-token"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as made:
        made.pull(7, HEAD)
        yield made
        assert made.wrong == []


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    made = Runner(output=tmp_path / "output", summary=tmp_path / "summary")
    for path in (made.output, made.summary):
        assert path is not None
        path.touch()
    return made


def review(argument: str = "hello", name: str = "hello", **more: Any) -> Review:
    container = {"image": "alpine:3.20", "command": ["echo"], "args": [argument]}
    made = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "hello-"},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", "container": container}]},
    }
    manifest = Manifest(
        kind="Workflow",
        name="hello-",
        digest=document.digest(made),
        document=made,
        file=f"{name}.yaml",
    )
    experiment = CompiledExperiment(
        name=name,
        path="experiments/hello/experiment.py",
        status=Status.ADDED,
        manifests=(manifest,),
        text=document.dump([made]),
    )
    bundle = Bundle(target="lab", commit=HEAD, experiments=(experiment,))
    compared = ComparedExperiment(experiment=experiment, manifests=diff.compare(experiment))
    return replace(Review(bundle=bundle, experiments=(compared,)), **more)


def finish(server: Loopback, runner: Runner, given: Review, folder: Path, **environ: str) -> int:
    event = Event(
        name="pull_request",
        repository=REPOSITORY,
        sha="b" * 40,
        ref="refs/pull/7/merge",
        actor="octocat",
        run_id=500,
        api_url=server.url,
        pull_request=7,
        head_sha=HEAD,
    )
    told = {"HERACI_GITHUB_TOKEN": TOKEN, "HERACI_TARGET": "lab", "HERACI_ARGO_TOKEN": SECRET}
    told["HERACI_OUTPUT"] = str(folder)
    settings = Settings.load(
        {}, environ=told | environ, project_file=("heraci.toml", "[targets.lab]\n")
    )
    return finish_review(given, settings, event, runner)


def published(server: Loopback, runner: Runner, folder: Path, log: str) -> str:
    assert runner.output is not None
    assert runner.summary is not None
    parts = [log, runner.output.read_text(), runner.summary.read_text()]
    parts += [each["body"] for each in server.comments.values()]
    parts += [each.read_text() for each in folder.glob("*")]
    return "\n".join(parts)


def outputs(runner: Runner) -> dict[str, str]:
    assert runner.output is not None
    return dict(file_pairs(runner.output.read_text()))


def test_a_review_goes_to_all_its_readers(server, runner, tmp_path, capsys):
    finding = Finding(
        rule="no-limit",
        severity=Severity.WARNING,
        message="no memory limit",
        experiment="hello",
        file="experiments/hello/experiment.py",
        line=3,
    )
    folder = tmp_path / "bundle"

    code = finish(server, runner, review(findings=(finding,)), folder)

    [comment] = server.comments.values()
    assert code == 0
    assert comment["body"].startswith("<!-- heraci:review.lab run=500.1 -->\n## ")
    assert "no memory limit" in comment["body"]
    assert runner.summary.read_text() == (folder / "review.md").read_text()
    assert (folder / "review.html").read_text().startswith("<!doctype html>")
    assert load(folder).experiments[0].name == "hello"
    [(level, properties, message)] = commands(capsys.readouterr().out)
    assert (level, message) == ("warning", "no memory limit [no-limit]")
    assert properties["line"] == "3"
    told = outputs(runner)
    assert {name: told[name] for name in ("affected", "changed", "findings", "reviewed")} == {
        "affected": '["hello"]',
        "changed": '["hello"]',
        "findings": '{"error": 0, "warning": 1, "notice": 0}',
        "reviewed": "not-asked",
    }
    assert json.loads(told["result"])["digest"] == told["digest"]


@pytest.mark.parametrize(
    "argument",
    [SECRET, b64encode(f"user:{SECRET}".encode()).decode(), f"--token={TOKEN}"],
    ids=["raw", "base64", "GitHub's own"],
)
def test_a_secret_stops_the_whole_publication(server, runner, tmp_path, capsys, argument):
    folder = tmp_path / "bundle"

    code = finish(server, runner, review(argument), folder)

    out = published(server, runner, folder, capsys.readouterr().out)
    assert code == 1
    assert not any(each in out for each in (argument, SECRET, TOKEN))
    assert sorted(each.name for each in folder.iterdir()) == ["review.html", "review.md"]
    assert "A secret that heraci was given stands in what this experiment makes" in out
    assert "experiments/hello/experiment.py" in out


def test_a_secret_that_is_a_name_is_not_even_named(server, runner, tmp_path, capsys):
    with pytest.raises(HeraciError, match="a secret stands in an experiment's name"):
        finish(server, runner, review(name=SECRET), tmp_path / "bundle")

    assert SECRET not in published(server, runner, tmp_path / "bundle", capsys.readouterr().out)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST .*/comments", 403, message="Resource not accessible by integration"),
        Fault("GET .*/pulls/7", 404, message="Not Found"),
    ],
    ids=["fork", "gone"],
)
def test_what_cannot_be_commented_is_in_the_summary_and_a_notice(
    server, runner, tmp_path, capsys, fault
):
    server.faults.append(fault)

    code = finish(server, runner, review(), tmp_path / "bundle")

    [(level, _, message)] = commands(capsys.readouterr().out)
    assert (code, level) == (0, "notice")
    assert message.startswith("the review is in this step's summary alone: GitHub refused")
    assert "hello" in runner.summary.read_text()


def test_the_comment_can_be_switched_off(server, runner, tmp_path):
    finish(server, runner, review(), tmp_path / "bundle", HERACI_COMMENT="false")
    assert server.asked == []
