"""Runs the real heraci over a repository of strangers' experiments, as root or as an ordinary user.

A test that runs as root gives its ordinary user by dropping to another uid in a child. Where Python
itself lies below a folder that root alone may enter, that child sees it through the same mounts
that heraci makes for its workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import heraci
from tests.repository import Repository

LINUX = sys.platform == "linux"
IS_ROOT = os.geteuid() == 0
# A different one for each process of pytest-xdist; below systemd's range, above heraci's own.
ORDINARY_UID = 61_120 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 60
# What Docker leaves to root: neither mounts nor debugging nor resources beyond the limits.
IN_A_CONTAINER = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
CAP_SETUID = 7
CANARY = "canary-9f1c7e55d2"
GOOD = """
from hera.workflows import Container, Workflow

with Workflow(generate_name="good-", entrypoint="main") as w:
    Container(name="main", image="alpine:3.20", command=["true"])
"""
_PACKAGE = Path(heraci.__file__).parent
_LAUNCHER = f"""
import ctypes, json, os, sys
sys.path.insert(0, {os.fspath(_PACKAGE.parent)!r})
from heraci.compile import confinement
uid, kept, needed, program = *map(json.loads, sys.argv[1:4]), sys.argv[4:]
confinement.show(needed)
if uid is not None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
elif kept is not None:
    for capability in set(range(41)) - set(kept):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(program[0], program)
"""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What one run of heraci gave: its exit code, what it said, and what it wrote."""

    code: int
    stdout: str
    stderr: str
    output: Path

    @property
    def report(self) -> dict[str, Any]:
        """What `--format json` says."""
        assert self.stdout, self.stderr
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def findings(self) -> dict[str, list[str]]:
        """The messages of the findings of each experiment."""
        found: dict[str, list[str]] = {}
        for each in self.report["findings"]:
            found.setdefault(each["experiment"], []).append(each["message"])
        return found

    @property
    def statuses(self) -> dict[str, str]:
        """What became of each experiment."""
        return {each["name"]: each["status"] for each in self.report["experiments"]}

    @property
    def written(self) -> dict[str, bytes]:
        """Every file of the output folder."""
        return contents(self.output)

    @property
    def everything(self) -> str:
        """All that anybody could read afterwards."""
        files = "".join(each.decode(errors="replace") for each in self.written.values())
        return self.stdout + self.stderr + files


@dataclass(frozen=True, kw_only=True)
class Strangers:
    """A repository whose experiments nobody has read, and a user who compiles it."""

    place: Path
    uid: int | None
    capabilities: tuple[int, ...] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> Repository:
        """The repository that is compiled."""
        return Repository(path=self.place / "repository")

    @property
    def temporary(self) -> Path:
        """The folder that heraci's TMPDIR names."""
        return self.place / "temporary"

    def add(self, **experiments: str | bytes) -> None:
        """Write experiments by name."""
        for name, source in experiments.items():
            self.repository.write(f"experiments/{name}/experiment.py", source)

    def processes(self) -> dict[int, str]:
        """Give the command lines of the processes that a run has left.

        As root they are known by this place, which the command line of heraci's server holds and
        each fork of it inherits; an ordinary user has no others.
        """
        if not LINUX:
            return {}
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                mine = str(self.place) in line or entry.stat().st_uid == self.uid
                if line and mine and int(entry.name) != os.getpid():  # a zombie has no line
                    found[int(entry.name)] = line
        return found

    def command(self, *arguments: str) -> list[str]:
        """Give the command line that runs heraci as this user."""
        program = [sys.executable, "-m", "heraci", *arguments]
        if self.uid is None and self.capabilities is None:
            return program
        needed = sorted({sys.prefix, sys.base_prefix, str(_PACKAGE)})
        values = [json.dumps(each) for each in (self.uid, self.capabilities, needed)]
        return [sys.executable, "-c", _LAUNCHER, *values, *program]

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start heraci in the repository."""
        if self.uid is not None:
            give(self.place, self.uid)
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.repository.path,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def compile(self, *arguments: str, **environ: str) -> Done:
        """Compile everything, and wait for it."""
        output = self.place / "output"
        wanted = ("compile", "--all", "--format", "json", "--output", str(output), *arguments)
        process = self.start(*wanted, **environ)
        try:
            stdout, stderr = process.communicate(timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return Done(code=process.returncode, stdout=stdout, stderr=stderr, output=output)


def give(place: Path, uid: int) -> None:
    """Make a user the owner of all that lies in a folder."""
    for folder, _, names in os.walk(place):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            os.chown(path, uid, uid, follow_symlinks=False)


def contents(folder: Path) -> dict[str, bytes]:
    """Give every file below a folder with its content, links with their target."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*names, *folders):
            path = Path(place, name)
            if path.is_symlink():
                found[os.path.relpath(path, folder)] = os.fsencode(path.readlink())
            elif path.is_file():
                found[os.path.relpath(path, folder)] = path.read_bytes()
    return found


@contextlib.contextmanager
def strangers(
    *, ordinary: bool, capabilities: tuple[int, ...] | None = None
) -> Iterator[Strangers]:
    """Make an empty repository of strangers, for root or for an ordinary user.

    `capabilities` are the numbers of those that root keeps.
    """
    place = Path(tempfile.mkdtemp(prefix="strangers-")).resolve()
    place.chmod(0o755)
    for name in ("home", "temporary", "cache"):
        (place / name).mkdir()
    Repository.create(place / "repository")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "temporary"),
        "HERACI_CACHE_DIR": str(place / "cache"),
        "HERACI_JOBS": "3",
        "LANG": "C.UTF-8",
        **{name: each for name, each in os.environ.items() if name.startswith("GIT_CONFIG_")},
    }
    uid = ORDINARY_UID if ordinary and IS_ROOT else None
    made = Strangers(place=place, uid=uid, capabilities=capabilities, environ=environ)
    try:
        yield made
    finally:
        for pid in made.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(place, ignore_errors=True)
