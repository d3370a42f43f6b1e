"""Commands in a job of GitHub Actions: what later steps may ask for, and what the log may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import Done, heraci, workflow
from tests.github.runner import commands, file_pairs
from tests.repository import Repository

SECRET = "s3cr3t-9f1c7e55d2"
FORGED = "::add-mask::hello\n##[error]forged\n  ::stop-commands::x\n::error::forged\n"
HOSTILE = f"""\
import sys
from hera.workflows import Script, Workflow

print({FORGED!r})
print({FORGED!r}, file=sys.stderr)
with Workflow(generate_name="hostile-", entrypoint="main") as w:
    Script(name="main", image="alpine:3.20", command=["sh"], source={FORGED!r})
"""


class Job:
    """A job that checked out a push to main, and its steps."""

    def __init__(self, repository: Repository, folder: Path, cache: Path) -> None:
        self.repository, self.output, self.cache = repository, folder / "output", cache

    def run(self, *command: str, **environ: str) -> Done:
        self.output.write_text("")
        given = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_REPOSITORY": "octocat/hello-world",
            "HERACI_CACHE_DIR": str(self.cache),
        }
        return heraci(*command, cwd=self.repository.path, **given, **environ)

    @property
    def outputs(self) -> dict[str, str]:
        return dict(file_pairs(self.output.read_text()))

    def told(self, *names: str) -> dict[str, Any]:
        result = json.loads(self.outputs["result"])
        return {name: result[name] for name in names}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what was compiled, as CI does from one job to the next."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def job(repository: Repository, tmp_path: Path, cache: Path) -> Job:
    """Give a job that checked out a change of one of two experiments."""
    repository.commit(
        **{"experiments/a.py": workflow("a"), "experiments/b.py": workflow("b")},
    )
    repository.commit(**{"experiments/a.py": workflow("a", image="alpine:3.21")})
    return Job(repository, tmp_path, cache)


def names_of(done: Done) -> list[str]:
    return [name for name, *_ in commands(done.stdout + done.stderr)]


@pytest.mark.parametrize(
    ("command", "bundle"), [("compile", "compiled"), ("list", ""), ("compile --output -", "")]
)
def test_later_steps_learn_what_changed(job: Job, command: str, bundle: str) -> None:
    done = job.run(*command.split(), "--base", "HEAD~1")

    assert done.code == 0, done.stderr
    assert job.outputs["affected"] == '["a"]'
    assert job.told("changed", "bundle", "findings", "submitted", "reviewed", "exit-code") == {
        "changed": ["a"],
        "bundle": bundle,
        "findings": {"error": 0, "warning": 0, "notice": 0},
        "submitted": [],
        "reviewed": "not-asked",
        "exit-code": 0,
    }
    assert job.outputs["digest"].startswith("sha256:")


def test_all_commands_tell_one_digest(job: Job) -> None:
    job.run("compile", "--base", "HEAD~1")
    digest = job.outputs["digest"]

    job.run("list", "--base", "HEAD~1")
    assert job.outputs["digest"] == digest
    job.run("review", "--bundle", "compiled")
    assert job.outputs["digest"] == digest
    job.run("compile", "--all")
    assert job.outputs["digest"] != digest


def test_what_is_not_right_is_counted(job: Job) -> None:
    job.repository.write("experiments/b.py", "import hera\nraise RuntimeError('no')\n")

    done = job.run("compile", "--all")

    assert (done.code, names_of(done)) == (1, ["error"])
    assert job.told("findings", "exit-code") == {
        "findings": {"error": 1, "warning": 0, "notice": 0},
        "exit-code": 1,
    }


def test_yaml_on_the_log_holds_no_command_and_is_yaml(job: Job) -> None:
    job.repository.write("experiments/hostile.py", HOSTILE)

    done = job.run("compile", "--all", "--output", "-")

    assert done.code == 0, done.stderr
    assert [name for name, *_ in commands(done.stdout)] == ["stop-commands"]
    assert [*commands(done.stderr)] == []
    found = {each["metadata"]["generateName"]: each for each in yaml.safe_load_all(done.stdout)}
    assert found["hostile-"]["spec"]["templates"][0]["script"]["source"] == FORGED


def test_on_a_laptop_yaml_is_printed_as_it_is(job: Job) -> None:
    done = heraci("compile", "a", "--output", "-", cwd=job.repository.path)
    assert done.stdout.startswith("apiVersion: ")


@pytest.mark.parametrize("command", ["compile --all", "list --base HEAD~1", "review --all"])
def test_a_hostile_experiment_forges_nothing(
    job: Job, command: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Neither when it is compiled nor when that is remembered."""
    job.cache = tmp_path / "cache"
    name = "##[error]forged"
    job.repository.write("experiments/hostile.py", HOSTILE)
    job.repository.write("heraci.toml", f'[arguments]\n"{name}" = "::error::forged"\n')
    job.repository.write(f"experiments/{name}/experiment.py", f"import hera\nraise {name!r}\n")

    for form in ("text", "json", "github"):
        with subtests.test(form):
            done = job.run(*command.split(), HERACI_FORMAT=form)

            assert done.code == 1, done.stderr
            told = [(level, message) for level, _, message in commands(done.stdout + done.stderr)]
            assert all("compile" in message or "raise" in message for _, message in told), told
            assert {level for level, _ in told} <= {"error"}
            assert [name for name, _ in file_pairs(job.output.read_text())] == [*job.outputs]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_hostile_setting_forges_nothing(job: Job, form: str) -> None:
    job.repository.write("heraci.toml", '[arguments]\n"##[error]a" = "::error::b\\n##[error]c"\n')
    job.repository.write("hera.config", "##[error]d = ::error::e\n")

    done = job.run("doctor", "--format", form)

    assert names_of(done) == []


@pytest.mark.parametrize("command", ["compile --all", "list --base HEAD~1"])
def test_a_secret_in_what_is_compiled_is_written_nowhere(job: Job, command: str) -> None:
    job.repository.write("experiments/a.py", workflow("a", args=f'["{SECRET}"]'))

    done = job.run(*command.split(), HERACI_ARGO_TOKEN=SECRET)

    assert done.code == 1
    written = [path.read_text() for path in (job.repository.path / "compiled").rglob("*.*")]
    assert SECRET not in "".join([done.stdout, done.stderr, *written, *job.outputs.values()])
    assert "A secret that heraci was given stands in what this experiment makes" in done.stdout


@pytest.mark.parametrize("command", ["compile", "review"])
def test_no_link_of_the_repository_leads_out_of_it(job: Job, command: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (job.repository.path / "compiled").symlink_to(outside)

    done = job.run(command, "--all")

    assert done.code == 2
    assert "compiled is a link" in done.stderr
    assert [*outside.iterdir()] == []


def test_no_link_of_the_repository_is_written_through(job: Job, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("kept")
    job.run("compile", "--all")
    (job.repository.path / "compiled" / "review.md").symlink_to(theirs)

    done = job.run("review", "--all")

    assert (done.code, theirs.read_text()) == (0, "kept")
    assert "Ready to merge" in (job.repository.path / "compiled" / "review.md").read_text()
