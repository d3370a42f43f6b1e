"""The real image, run with the line with which GitHub's runner runs a Docker action.

HERACI_TEST_IMAGE names the image, as `python -m tests.image build` prints it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.github.runner import commands, file_pairs
from tests.repository import Repository

IMAGE = os.environ.get("HERACI_TEST_IMAGE", "")
CANARY = "canary-0123456789-secret"
RUNNER = 1001  # the runner's user, who owns the workspace
ENTRY = ["/opt/heraci/bin/python", "-IBu", "-m", "heraci"]

pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(
        not IMAGE,
        reason="to run them: HERACI_TEST_IMAGE=$(python -m tests.image build) pytest -m image",
    ),
]

EXPERIMENT = """\
from hera.workflows import Container, Workflow

with Workflow(generate_name="hello-", entrypoint="main") as w:
    Container(name="main", image="alpine:3.20", command=["true"])
"""
HOSTILE = """\
import glob, os, pathlib, socket, sys

def show(what):
    print(what)
    print(what, file=sys.stderr)
    raise_later.append(what)

raise_later = []
for name, value in os.environ.items():
    show(f"{name}={value}")
places = [*glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/cmdline")]
places += glob.glob("/github/**/*", recursive=True) + glob.glob("/github/runner_temp/*")
for place in places:
    try:
        show(pathlib.Path(place).read_text(errors="replace"))
    except OSError:
        pass
for place in ("/github/file_commands/output", "/github/file_commands/summary", "/etc/forged"):
    try:
        with open(place, "a") as file:
            file.write("forged=1\\n")
        show("wrote" + f" {place}")
    except OSError:
        pass
try:
    socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock")
    show("reached" + " the engine")
except OSError:
    pass
for command in ("::error::forged", "::add-mask::forged", "##[error]forged", "\\r::warning::forged"):
    print(command)
    print(command, file=sys.stderr)
raise RuntimeError("::error::forged\\n##[add-mask]forged\\n" + "\\n".join(raise_later))
"""


@dataclass(frozen=True)
class Ran:
    """What a run of the Action left behind."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str
    workspace: Path

    def annotations(self) -> list[str]:
        return [name for name, *_ in commands(self.log) if name in ("error", "warning", "notice")]


Act = Callable[..., Ran]


@pytest.fixture
def act(repository: Repository, tmp_path: Path) -> Act:
    workspace, temporary = repository.path, tmp_path / "temporary"
    for name in ("_github_home", "_github_workflow", "_runner_file_commands"):
        (temporary / name).mkdir(parents=True)
    files = temporary / "_runner_file_commands"

    def run(command: str, event: str = "push", payload: Any = None, **environ: str) -> Ran:
        for name in ("output", "summary"):
            (files / name).write_text("")
        (temporary / "_github_workflow" / "event.json").write_text(json.dumps(payload or {}))
        if os.geteuid() == 0:
            for folder in (workspace, temporary):
                subprocess.run(["chown", "-R", str(RUNNER), folder], check=True)
        given = {
            "GITHUB_ACTIONS": "true",
            "CI": "true",
            "HOME": "/github/home",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": "/github/workflow/event.json",
            "GITHUB_OUTPUT": "/github/file_commands/output",
            "GITHUB_STEP_SUMMARY": "/github/file_commands/summary",
            "GITHUB_REPOSITORY": "octocat/hello-world",
            "GITHUB_WORKSPACE": "/github/workspace",
            "GITHUB_RUN_ID": "1",
            "RUNNER_TEMP": "/github/runner_temp",
            # As the runner passes it, whatever a shell in between would make of the name.
            "INPUT_COMMAND": command,
            "HERACI_COMMAND": command,
        } | environ
        mounts = {
            "/var/run/docker.sock": "/var/run/docker.sock",
            temporary: "/github/runner_temp",
            temporary / "_github_home": "/github/home",
            temporary / "_github_workflow": "/github/workflow",
            files: "/github/file_commands",
            workspace: "/github/workspace",
        }
        line = ["docker", "run", "--label", "heraci-test", "--workdir", "/github/workspace", "--rm"]
        line += [part for name in given for part in ("-e", name)]
        line += [part for a, b in mounts.items() for part in ("-v", f"{a}:{b}")]
        ran = subprocess.run(
            [*line, IMAGE, "action"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={"PATH": os.environ["PATH"]} | given,
        )
        outputs = dict(file_pairs((files / "output").read_text()))
        summary = (files / "summary").read_text()
        return Ran(ran.returncode, ran.stdout + ran.stderr, outputs, summary, workspace)

    return run


def test_it_starts_without_a_shell_as_root_and_says_what_it_is():
    shown = subprocess.run(["docker", "inspect", IMAGE], capture_output=True, check=True)
    [about] = json.loads(shown.stdout)
    config = about["Config"]

    assert (config["Entrypoint"], config["Cmd"]) == (ENTRY, ["action"])
    assert (config["User"], config["WorkingDir"]) == ("", "")
    assert {each.removeprefix("org.opencontainers.image.") for each in config["Labels"]} >= {
        "description",
        "licenses",
        "revision",
        "source",
        "title",
        "version",
    }
    print(f"\nsize: {about['Size'] // 1024**2} MiB")


def test_it_holds_every_package_at_the_pinned_version():
    code = (
        "from importlib.metadata import distributions as d;"
        "print(*[f'{x.name.lower().replace(chr(95), chr(45))}=={x.version}' for x in d()])"
    )
    listed = subprocess.run(
        ["docker", "run", "--rm", "--entrypoint", ENTRY[0], IMAGE, "-Ic", code],
        capture_output=True,
        text=True,
        check=True,
    )
    pinned = (Path(__file__).parents[2] / "constraints.txt").read_text().lower()
    missing = [
        each
        for each in listed.stdout.split()
        if not re.search(rf"(?m)^{re.escape(each)}\b", pinned) and not each.startswith("heraci==")
    ]
    assert missing == []


def test_what_it_compiles_belongs_to_the_runners_user(act: Act, repository: Repository):
    repository.commit(**{"experiments/hello/experiment.py": EXPERIMENT})

    ran = act("compile --all")

    made = ran.workspace / "compiled" / "bundle.json"
    assert ran.code == 0, ran.log
    assert [each["name"] for each in json.loads(made.read_text())["experiments"]] == ["hello"]
    if os.geteuid() == 0:
        assert {each.stat().st_uid for each in made.parent.rglob("*")} == {RUNNER}


def test_a_broken_experiment_fails_beside_one_that_is_fine(act: Act, repository: Repository):
    repository.commit(
        **{
            "experiments/hello/experiment.py": EXPERIMENT,
            "experiments/broken/experiment.py": "import hera\nraise RuntimeError('no')\n",
        }
    )

    ran = act("compile --all")

    assert (ran.code, ran.annotations()) == (1, ["error"]), ran.log
    assert (ran.workspace / "compiled" / "hello.yaml").exists()


def test_an_input_that_the_jobs_variable_contradicts_is_refused(act: Act):
    environ = {"INPUT_EXPERIMENTS-DIR": "here", "HERACI_EXPERIMENTS_DIR": "elsewhere"}

    ran = act("compile --all", **environ)

    assert ran.code == 2
    assert "HERACI_EXPERIMENTS_DIR in the job's `env` says something else" in ran.log


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("temporary/git-credentials-1.config", "[http]\n"),
        ("workspace/gha-creds-1.json", "{}"),
    ],
)
def test_nothing_is_compiled_beside_a_credential_that_lies_open(
    act: Act, repository: Repository, tmp_path: Path, place: str, content: str
):
    repository.commit(**{"experiments/hello/experiment.py": EXPERIMENT})
    folder, name = place.split("/")
    where = repository.path if folder == "workspace" else tmp_path / "temporary"
    (where / name).write_text(content)
    (where / name).chmod(0o644)

    ran = act("compile --all")

    assert ran.code == 2
    assert "experiments could read the credential in" in ran.log
    assert not (ran.workspace / "compiled").exists()


def test_a_hostile_experiment_reads_forges_and_reaches_nothing(act: Act, repository: Repository):
    repository.commit(**{"experiments/evil/experiment.py": f"import hera\n{HOSTILE}"})
    secrets = {"HERACI_ARGO_TOKEN": CANARY, "INPUT_ARGO-TOKEN": CANARY}
    secrets |= {"ACTIONS_RUNTIME_TOKEN": f"runtime-{CANARY}", "MY_PASSWORD": f"mine-{CANARY}"}

    ran = act("compile --all", **secrets)

    published = ran.log + ran.summary + json.dumps(ran.outputs)
    for path in ran.workspace.rglob("*"):
        if path.is_file() and ".git/" not in str(path):
            published += path.read_text(errors="replace")
    assert ran.code == 1, ran.log
    assert CANARY not in published
    assert "reached the engine" not in published
    assert "wrote /" not in published
    assert "forged" not in ran.outputs
    # Ours alone: one for the experiment that failed.
    assert ran.annotations() == ["error"]
    assert {name for name, *_ in commands(ran.log)} <= {
        "error",
        "stop-commands",
        "group",
        "endgroup",
    }


def test_the_form_that_the_workflows_use_needs_few_capabilities(repository: Repository):
    repository.commit(**{"experiments/hello/experiment.py": EXPERIMENT})
    here = repository.path
    workflow = (Path(__file__).parents[2] / ".github/workflows/review.yml").read_text()
    capabilities = re.findall(r"--cap-(?:drop|add) [A-Z_]+", workflow)

    ran = subprocess.run(
        [
            *("docker", "run", "--rm", *" ".join(dict.fromkeys(capabilities)).split()),
            *("-e", "GITHUB_ACTIONS=true", "-e", f"GITHUB_WORKSPACE={here}"),
            *("-e", "HERACI_COMMAND=compile --all", "-e", "GITHUB_REPOSITORY=octocat/hello-world"),
            *("-v", f"{here}:{here}", "-w", here, IMAGE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (here / "compiled" / "hello.yaml").exists()
