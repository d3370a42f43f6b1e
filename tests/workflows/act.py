"""act, which runs workflows as GitHub does: built once outside the checkout, and one run by it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.cluster import build
from tests.github.project import Event

VERSION = "0.2.89"
PACKAGE = "github.com/nektos/act"
MOST_SECONDS = 300
MOST_SECONDS_TO_STOP = 20


def built(*, may_install_go: bool = False) -> Path:
    """Give act's command, and build it where it is not there yet."""
    folder = build.CACHE / f"act-{VERSION}"
    if not (folder / "act").exists():
        build.CACHE.mkdir(parents=True, exist_ok=True)
        with build.locked(build.CACHE / "build.lock"):
            if not (folder / "act").exists():
                package = f"{PACKAGE}@v{VERSION}"
                build.install(package, folder, may_install_go=may_install_go)
    return folder / "act"


@dataclass(frozen=True)
class Ran:
    """What act told of a run: its whole log, and a mapping for each line of it."""

    code: int
    log: str
    told: Sequence[Mapping[str, Any]]

    @cached_property
    def jobs(self) -> dict[str, str]:
        """The result of each job that was not skipped, by the name of its check."""
        return {_check(each): each["jobResult"] for each in self.told if each.get("jobResult")}

    def steps(self, job: str) -> dict[str, str]:
        """The outcome of each step of a job that was not skipped, in order."""
        return {
            each["step"]: each["stepResult"]
            for each in self._of(job)
            # A composite action has steps of its own.
            if each.get("stage") == "Main" and "stepResult" in each and len(each["stepID"]) == 1
        }

    def annotations(self, job: str, level: str) -> list[str]:
        """The messages of a job's annotations: `error`, `warning` or `notice`."""
        return [each["arg"] for each in self._of(job) if each.get("command") == level]

    def outputs(self, job: str, step: str) -> dict[str, str]:
        """What a step of a job set."""
        told = [each for each in self._of(job) if each.get("command") == "set-output"]
        return {each["name"]: each["arg"] for each in told if each["step"] == step}

    def summary(self, job: str) -> str:
        """What the steps of a job wrote into their summaries."""
        told = [each for each in self._of(job) if each.get("command") == "summary"]
        return "".join(each["content"] for each in told)

    @property
    def shown(self) -> str:
        """The log as people would read it."""
        lines = self.log.splitlines()
        return "\n".join(_line(each)["msg"].rstrip() for each in lines)

    def _of(self, job: str) -> list[Mapping[str, Any]]:
        return [each for each in self.told if "job" in each and _check(each) == job]


def _line(text: str) -> Mapping[str, Any]:
    """Read a line of the log; before and after the jobs, act's own is plain."""
    told: Mapping[str, Any] = json.loads(text) if text.startswith("{") else {"msg": text}
    return told


def _check(told: Mapping[str, Any]) -> str:
    """Name a job as its check is called; act names each job's workflow before it."""
    *caller, _, job = told["job"].strip().split("/")
    return " / ".join([*caller, job])


def run(
    event: Event,
    workflow: Path,
    *,
    folder: Path,
    environ: Mapping[str, str],
    variables: Mapping[str, str],
    secrets: Mapping[str, str],
    repositories: Mapping[str, Path],
    runner: int | None,
    groups: Sequence[int],
) -> Ran:
    """Run a workflow of a folder for an event; its jobs run on this host, as the user `runner`."""
    place = workflow.parent
    (place / "event.json").write_text(json.dumps(event.payload))
    # act wants YAML, which JSON is.
    (place / "secrets.yml").write_text(json.dumps(dict(secrets)))
    given = {"GITHUB_REF": event.ref, "SHA_REF": event.sha, **variables}
    command = [
        *(str(folder / "act"), event.name, "--actor", "octocat", "--json"),
        *("--directory", str(folder / "shipped"), "--workflows", str(workflow)),
        *("--eventpath", str(place / "event.json"), "--secret-file", str(place / "secrets.yml")),
        *("--platform", "ubuntu-24.04=-self-hosted", "--action-cache-path", str(place / "jobs")),
        *("--no-skip-checkout", "--no-cache-server", "--action-offline-mode"),
        # A secret that is printed must be seen.
        "--insecure-secrets",
        # act gives a container action the host's paths, and another network than loopback's.
        *("--container-options", f"--network host --volume {place}:{place}"),
        *(f"--env={name}={text}" for name, text in given.items()),
        *(f"--local-repository={used}={there}" for used, there in repositories.items()),
    ]
    process = subprocess.Popen(
        command,
        cwd=place,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        user=runner,
        group=runner,
        extra_groups=groups if runner is not None else None,
    )
    try:
        log, _ = process.communicate(timeout=MOST_SECONDS)
    finally:
        if process.poll() is None:
            # What its steps have started is in sessions of their own, and it ends them.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(MOST_SECONDS_TO_STOP)
            process.kill()
            process.wait()
    return Ran(process.returncode, log, [_line(each) for each in log.splitlines()])
