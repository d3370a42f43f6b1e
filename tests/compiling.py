"""Compiles scripts given as text, through the real compiler, its server and its workers."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

from heraci.compile.compiler import Compiler
from heraci.compile.environments import Environments
from heraci.compile.values import Outcome, Request

PATH = "experiments/it.py"
# One line, so that the line numbers of a test's script begin with 2.
_ON_ONE_LINE = (
    "from hera.workflows import DAG, Container, CronWorkflow, Parameter, Step, Steps, Task, "
    "Workflow, WorkflowTemplate, models as m, script\n"
)


@dataclass(frozen=True, eq=False)
class Texts:
    """A tree of files that lie in memory."""

    content: Mapping[str, str]
    label: str = "test"
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """Each file's path and identity."""
        return {
            path: hashlib.sha256(text.encode()).hexdigest() for path, text in self.content.items()
        }

    def locate(self, path: str) -> str | None:
        """Give the path itself where there is such a file."""
        return path if path in self.content else None

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Give the files' content."""
        return {path: self.content[path].encode() for path in paths}


def hera(text: str) -> str:
    """Write a script: Hera's names imported on its first line, then the text."""
    return _ON_ONE_LINE + dedent(text).lstrip("\n")


def request(script: str | Mapping[str, str], path: str = PATH, **options: Any) -> Request:
    """Make the request to compile a script, alone or among other files."""
    content = {path: script} if isinstance(script, str) else script
    texts = {name: dedent(text) for name, text in content.items()}
    options = {"name": "it", "files": (path,), "whole_tree": True, **options}
    return Request(path=path, tree=Texts(texts), **options)


@contextmanager
def compiler(**options: Any) -> Iterator[Compiler]:
    """Make a compiler whose cached environments go with it."""
    folder = Path(tempfile.mkdtemp(prefix="heraci-test-"))
    folder.chmod(0o755)
    try:
        environments = Environments(folder / "cache", **{"environ": {}, "offline": True, **options})
        with Compiler(jobs=1, cache=None, environments=environments) as made:
            yield made
    finally:
        shutil.rmtree(folder)


def documents(outcome: Outcome) -> list[Any]:
    """Give an outcome's manifests as plain data; the test fails with what went wrong instead."""
    assert not outcome.failed, [each.message for each in outcome.findings]
    return [each.document for each in outcome.manifests]


def names(outcome: Outcome) -> list[str]:
    """Give what the manifests are, and how they are called."""
    assert not outcome.failed, [each.message for each in outcome.findings]
    return [f"{each.kind} {each.name}" for each in outcome.manifests]


def findings(outcome: Outcome) -> list[str]:
    """Give each finding as `severity rule file:line: message`."""
    return [
        f"{each.severity.value} {each.rule} {each.file}:{each.line}: {each.message}"
        for each in outcome.findings
    ]


def needs(outcome: Outcome) -> list[str]:
    """Give each requirement as `kind namespace/name keys file:line`."""
    return [
        f"{each.kind} {each.namespace or ''}/{each.name} {','.join(each.keys)} {each.source}"
        for each in outcome.requirements
    ]
