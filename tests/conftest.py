"""What holds for every test: nothing of the machine, its user or its CI reaches it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.repository import Repository

# Names that heraci, Git, Argo, Kubernetes or a CI runner would listen to.
FOREIGN = (
    "ACTIONS_",
    "ARGO",
    "GITHUB_",
    "GIT_",
    "HERACI_",
    "INPUT_",
    "KUBE",
    "RUNNER_",
    "XDG_",
)
# How this machine reaches the network is not ours to take away.
KEPT = ("GIT_SSL_",)

GIT_ENVIRON = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "An Author",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05+00:00",
    "GIT_COMMITTER_NAME": "A Committer",
    "GIT_COMMITTER_EMAIL": "committer@example.org",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05+00:00",
}


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the test an environ that no machine shapes, and an empty HOME of its own."""
    for name in list(os.environ):
        if name == "CI" or (name.startswith(FOREIGN) and not name.startswith(KEPT)):
            monkeypatch.delenv(name)
    for name, value in GIT_ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make an empty Git repository on the branch `main`."""
    return Repository.create(tmp_path / "repository")
