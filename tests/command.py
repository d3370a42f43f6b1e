"""Runs the real command as its users do, in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Done:
    """What one run gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What it printed, where that is JSON."""
        return json.loads(self.stdout)

    @property
    def statuses(self) -> dict[str, str]:
        """What `--format json` says became of each experiment."""
        return {each["name"]: each["status"] for each in self.json["experiments"]}

    @property
    def digests(self) -> dict[str, list[str]]:
        """What `--format json` says of each experiment's manifests."""
        return {
            each["name"]: [manifest["digest"] for manifest in each.get("manifests", ())]
            for each in self.json["experiments"]
        }

    @property
    def findings(self) -> list[tuple[str, str, str | None]]:
        """Rule, severity and experiment of each finding that `--format json` lists."""
        return [
            (each["rule"], each["severity"], each.get("experiment"))
            for each in self.json["findings"]
        ]


def started(*arguments: str, cwd: Path, **environ: str) -> subprocess.Popen[str]:
    """Start the command; what it prints is not a terminal's."""
    return subprocess.Popen(
        [sys.executable, "-m", "heraci", *arguments],
        cwd=cwd,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def heraci(*arguments: str, cwd: Path, **environ: str) -> Done:
    """Run the command to its end."""
    process = started(*arguments, cwd=cwd, **environ)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode != 4, stderr
    return Done(code=process.returncode, stdout=stdout, stderr=stderr)


def on_a_terminal(*arguments: str, cwd: Path, **environ: str) -> tuple[int, str]:
    """Run the command on a terminal of its own; give its exit code and all that it showed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "heraci", *arguments],
        cwd=cwd,
        env={**os.environ, "TERM": "xterm", **environ},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # Linux says so when the last writer has gone
        pass
    os.close(master)
    return process.wait(timeout=60), shown.decode()


def contents(folder: Path) -> dict[str, bytes]:
    """Give every file below a folder with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def workflow(name: str, *, image: str = "alpine:3.20", head: str = "", args: str = "[]") -> str:
    """Write an experiment in plain Hera; `head` comes before it, `args` is an expression."""
    return f"""\
{head}
from hera.workflows import Container, Workflow

with Workflow(generate_name="{name}-", entrypoint="main") as w:
    Container(name="main", image="{image}", args={args})
"""
