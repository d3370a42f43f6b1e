"""What holds for every test: nothing of the machine, its user or its CI reaches it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.repository import Repository

pytest_plugins = ["tests.cluster.fixtures"]

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the one switch that writes golden files."""
    parser.addoption(
        "--rewrite-golden", action="store_true", help="write golden files instead of comparing"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to write golden files where nobody reads their diff."""
    if config.getoption("rewrite_golden") and os.environ.get("CI"):
        raise pytest.UsageError("--rewrite-golden is not for CI: the tests would always pass")


@pytest.fixture(scope="session", autouse=True)
def isolated_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the run an environ that no machine shapes: fixtures that tests share have it, too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name == "CI" or (name.startswith(FOREIGN) and not name.startswith(KEPT)):
                patch.delenv(name)
        for name, value in GIT_ENVIRON.items():
            patch.setenv(name, value)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def isolated(
    isolated_run: None, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Give the test an empty HOME of its own in that environ."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make an empty Git repository on the branch `main`."""
    return Repository.create(tmp_path / "repository")


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[[Path, str], None]:
    """Compare a text with a committed file, or write that file with `--rewrite-golden`."""

    def compare(path: Path, text: str) -> None:
        if pytestconfig.getoption("rewrite_golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden file {path}: `pytest --rewrite-golden` writes it"
        assert text == path.read_text(encoding="utf-8")

    return compare
