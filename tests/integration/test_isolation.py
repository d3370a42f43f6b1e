"""The ground that other tests stand on: an environ of nobody's, and real Git repositories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import Repository

ROOT = Path(__file__).parents[2]
A_TEST = """
import os
from pathlib import Path

def test_what_is_left():
    left = {"ARGOCONFIG", "CI", "GITHUB_TOKEN", "HERACI_BASE", "KUBECONFIG"} & set(os.environ)
    assert (left, list(Path.home().iterdir())) == (set(), [])
"""


def pytest_run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout with this one's settings and conftest, and one test of its own."""
    made = tmp_path / "checkout"
    (made / "tests").mkdir(parents=True)
    for name in ("pyproject.toml", "tests/conftest.py", "tests/repository.py"):
        (made / name).write_bytes((ROOT / name).read_bytes())
    (made / "tests/cluster").symlink_to(ROOT / "tests/cluster")
    (made / "heraci").symlink_to(ROOT / "heraci")
    (made / "tests/test_it.py").write_text(A_TEST)
    return made


def test_nothing_of_the_machine_reaches_a_test(checkout: Path) -> None:
    home = checkout / "home"
    (home / ".kube").mkdir(parents=True)
    machine = dict.fromkeys(["ARGOCONFIG", "CI", "GITHUB_TOKEN", "HERACI_BASE", "KUBECONFIG"], "x")
    done = pytest_run("tests/test_it.py", cwd=checkout, HOME=str(home), **machine)
    assert done.returncode == 0, done.stdout + done.stderr


def test_golden_files_are_not_rewritten_in_ci(checkout: Path) -> None:
    done = pytest_run("--rewrite-golden", "tests/test_it.py", cwd=checkout, CI="true")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--rewrite-golden is not for CI" in done.stderr


def test_commits_are_the_same_on_every_machine(tmp_path: Path) -> None:
    commits = [
        Repository.create(tmp_path / name).commit("First", **{"a folder/é.py": "x = 1\n"})
        for name in ("one", "two")
    ]
    assert commits[0] == commits[1]


def test_a_clone_can_be_shallow(repository: Repository, tmp_path: Path) -> None:
    repository.commit("First", a="1")
    head = repository.commit("Second", a="2")
    clone = repository.clone(tmp_path / "clone", depth=1)
    assert clone.git("log", "--format=%H") == head
    assert clone.git("rev-parse", "--is-shallow-repository") == "true"


def test_a_merge_has_both_parents(repository: Repository) -> None:
    repository.commit("First", a="1")
    repository.branch("topic")
    topic = repository.commit("On topic", b="1")
    repository.checkout("main")
    main = repository.commit("On main", c="1")
    repository.merge("topic")
    assert repository.git("log", "-1", "--format=%P") == f"{main} {topic}"
