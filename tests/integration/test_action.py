"""`heraci action`: what it refuses, and what it leaves to whom; the image's tests run the whole."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from heraci import action
from heraci.errors import SettingsError
from heraci.github import Event

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands files over")


def event(**more: Any) -> Event:
    given: dict[str, Any] = {
        "name": "pull_request",
        "repository": "o/r",
        "sha": "a" * 40,
        "ref": "refs/pull/1/merge",
        "actor": "octocat",
        "run_id": 1,
    }
    return Event(**(given | more))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    for name in ("workspace", "temporary"):
        (tmp_path / name).mkdir()
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_WORKSPACE": str(tmp_path / "workspace"),
        "RUNNER_TEMP": str(tmp_path / "temporary"),
        "HERACI_CACHE_DIR": str(tmp_path / "cache" / "heraci"),
    }


def refused(environ: dict[str, str], **more: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        action.refuse_exposure(environ, event(**more))
    return str(caught.value)


def test_the_words_of_the_input_reach_the_command_line_and_no_setting(environ):
    asked: list[Sequence[str]] = []

    def main(words: Sequence[str]) -> int:
        asked.append(words)
        return 7

    environ["HERACI_COMMAND"] = "compile --all"

    assert action.run(environ, main) == 7
    assert asked == [["compile", "--all"]]
    assert "HERACI_COMMAND" not in environ


def test_a_fork_is_refused_beside_a_secret_and_compiled_without_one(environ):
    action.refuse_exposure(environ, event(from_fork=True))
    action.refuse_exposure(environ | {"KUBECONFIG": ""}, event(from_fork=True))

    told = refused(environ | {"KUBECONFIG": "x", "HERACI_ARGO_TOKEN": "y"}, from_fork=True)
    assert told.startswith(
        "this pull request comes from a fork, and its code does not run in a job"
    )
    assert "argo-token, kubeconfig" in told


def test_what_needs_no_authors_python_is_not_refused(environ):
    (Path(environ["RUNNER_TEMP"]) / "git-credentials-1.config").write_text("")
    environ |= {"HERACI_COMMAND": "submit", "HERACI_BUNDLE": "bundle"}

    assert action.run(environ, lambda _: 0) == 0


@pytest.mark.parametrize(
    ("place", "content", "advice"),
    [
        ("temporary/git-credentials-1.config", "", "persist-credentials: false"),
        ("workspace/.git/config", "[http]\n\textraHeader = x", "persist-credentials: false"),
        ("workspace/gha-creds-1.json", "{}", "log in to the cloud in the job that submits"),
    ],
)
def test_a_credential_that_lies_open_stops_what_would_compile(
    environ, tmp_path, place, content, advice
):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    path.chmod(0o644)
    assert f"experiments could read the credential in {path}: " in refused(environ)
    assert advice in refused(environ)

    path.chmod(0o600)
    action.refuse_exposure(environ, event())


def test_a_checkout_without_a_token_is_fine(environ, tmp_path):
    config = tmp_path / "workspace" / ".git" / "config"
    config.parent.mkdir()
    config.write_text("[core]\n\tbare = false\n")
    action.refuse_exposure(environ, event())


def test_an_engine_that_anybody_may_rule_is_an_open_credential(environ, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind("docker.sock")
        monkeypatch.setattr(action, "SOCKET", tmp_path / "docker.sock")
        (tmp_path / "docker.sock").chmod(0o660)
        action.refuse_exposure(environ, event())

        (tmp_path / "docker.sock").chmod(0o666)
        assert "it rules the whole runner" in refused(environ)


@pytest.mark.parametrize(
    ("environ_", "wrong"),
    [
        ({"INPUT_DRY-RUN": "true", "HERACI_DRY_RUN": "true"}, False),
        ({"INPUT_DRY-RUN": " true\n", "HERACI_DRY_RUN": "true"}, False),
        ({"INPUT_DRY-RUN": "", "HERACI_DRY_RUN": "true"}, False),
        ({"INPUT_DRY-RUN": "true", "HERACI_DRY_RUN": "false"}, True),
        ({"INPUT_TARGET": "lab", "HERACI_TARGET": "other"}, True),
    ],
)
def test_an_input_and_a_variable_must_agree(environ_, wrong):
    if not wrong:
        action.refuse_contradictions(environ_)
        return
    with pytest.raises(SettingsError, match="says something else than the input of that name"):
        action.refuse_contradictions(environ_)


@AS_ROOT
def test_what_root_wrote_is_handed_over_and_no_link_is_followed(environ, tmp_path):
    workspace = tmp_path / "workspace"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("")
    (workspace / "theirs").write_text("")
    os.chown(workspace, 1001, 1001)
    environ |= {"HERACI_COMMAND": "compile", "HERACI_OUTPUT": "compiled"}

    def main(_: Sequence[str]) -> int:
        (workspace / "compiled").mkdir()
        (workspace / "compiled" / "a.yaml").write_text("")
        (workspace / "compiled" / "link").symlink_to(outside / "passwd")
        (workspace / "folder").symlink_to(outside)
        return 0

    action.run(environ, main)

    owners = {
        path.relative_to(tmp_path).as_posix(): path.lstat().st_uid
        for path in [*workspace.rglob("*"), *outside.rglob("*")]
    }
    assert owners == {
        "workspace/theirs": 0,
        "workspace/compiled": 1001,
        "workspace/compiled/a.yaml": 1001,
        "workspace/compiled/link": 1001,
        "workspace/folder": 0,
        "outside/passwd": 0,
    }


@AS_ROOT
def test_the_users_of_experiments_may_pass_through_the_cache(environ, tmp_path):
    environ["HERACI_COMMAND"] = "compile"
    action.run(environ, lambda _: 0)
    assert (tmp_path / "cache" / "heraci").stat().st_mode & 0o777 == 0o711
