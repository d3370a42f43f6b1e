"""The release's own scripts, run as the runner runs them, up to what only GitHub can do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from heraci import __version__
from tests.repository import Repository

ROOT = Path(__file__).parents[2]
RELEASE = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
NAMED = ("action.yml", ".github/workflows/review.yml", ".github/workflows/submit.yml")
DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE = f"ghcr.io/vcityteam/heraci@{DIGEST}"


@pytest.fixture
def checkout(tmp_path: Path) -> Repository:
    """Make a clone of an origin that holds what a release changes, on the release's branch."""
    branch = f"release/v{__version__}"
    origin = Repository.create(tmp_path / "origin.git", branch=branch)
    changelog = f"# Changelog\n\n## [{__version__}] - 2026-12-01\n"
    files = {each: (ROOT / each).read_text() for each in (*NAMED, "heraci/__init__.py")}
    origin.commit("All is ready", **{**files, "CHANGELOG.md": changelog})
    origin.git("checkout", "--quiet", "-b", "elsewhere")  # a branch that is not checked out
    return origin.clone(tmp_path / "checkout", branch=branch)


def step(job: str, name: str) -> str:
    """Give the script of a step."""
    (found,) = (each for each in RELEASE["jobs"][job]["steps"] if each["name"] == name)
    script: str = found["run"]
    return script


def run(
    script: str, checkout: Repository, tmp_path: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a script as the runner does; `gh` only notes what it was asked."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/asked\n')
    (programs / "gh").chmod(0o755)
    (tmp_path / "output").touch()
    return subprocess.run(
        [shutil.which("bash") or "bash", "--noprofile", "--norc", "-e", "-c", script],
        cwd=checkout.path,
        env={
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("branch", "code"),
    [(f"release/v{__version__}", 0), ("release/v9.9.9", 1), ("release/v1", 1)],
)
def test_branch_package_and_changelog_say_the_same(
    checkout: Repository, tmp_path: Path, branch: str, code: int
):
    script = step("version", "Check that the branch and the package say the same")
    done = run(script, checkout, tmp_path, GITHUB_REF_NAME=branch)
    assert done.returncode == code, done.stderr
    said = (tmp_path / "output").read_text()
    assert said == ("" if code else f"version={__version__}\n")


def test_a_version_that_the_changelog_lacks_is_not_released(checkout: Repository, tmp_path: Path):
    checkout.write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n")
    script = step("version", "Check that the branch and the package say the same")
    branch = f"release/v{__version__}"
    assert run(script, checkout, tmp_path, GITHUB_REF_NAME=branch).returncode == 1


def test_the_tagged_commit_names_the_image_by_digest(checkout: Repository, tmp_path: Path):
    script = step("tag", "Name the digest and tag that commit")
    done = run(script, checkout, tmp_path, VERSION=__version__, DIGEST=DIGEST)
    assert done.returncode == 0, done.stderr
    origin = Repository(path=tmp_path / "origin.git")
    tags = (f"v{__version__}", f"v{__version__.partition('.')[0]}")
    commits = {origin.git("rev-parse", each) for each in tags}
    assert len(commits) == 1
    (commit,) = commits
    assert origin.git("rev-parse", f"{commit}^") == checkout.git("rev-parse", "HEAD^")
    assert origin.git("diff", "--name-only", f"{commit}^", commit).split() == sorted(NAMED)
    action: Any = yaml.safe_load(origin.git("show", f"{commit}:action.yml"))
    assert action["runs"]["image"] == f"docker://{IMAGE}"
    for each in NAMED[1:]:
        text = origin.git("show", f"{commit}:{each}")
        assert re.findall(r"default: (ghcr\.io\S+)", text) == [IMAGE]
    asked = (tmp_path / "asked").read_text().split("\n")
    assert asked[:4] == ["release", "create", tags[0], "--verify-tag"]


@pytest.mark.parametrize("digest", ["", "sha256:0", "latest"])
def test_without_a_digest_nothing_is_tagged(checkout: Repository, tmp_path: Path, digest: str):
    script = step("tag", "Name the digest and tag that commit")
    done = run(script, checkout, tmp_path, VERSION=__version__, DIGEST=digest)
    assert done.returncode != 0
    assert Repository(path=tmp_path / "origin.git").git("tag") == ""
    assert not (tmp_path / "asked").exists()
