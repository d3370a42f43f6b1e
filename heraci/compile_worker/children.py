"""What an experiment's child processes do, told to the worker that started them.

A process of a pool and a Python that a script starts are watched as the script itself is. A child
may end at any moment, without a word, so each thing is told when it happens, as a line of a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from heraci.compile_worker.after_import import AfterImport

# What a Python that a script starts has to know, and by what it comes to know it.
VARIABLE = "HERACI_CHILD"
FOR_CHILDREN = (VARIABLE, "PYTHONPATH")

_OF_THE_JOB = ("root", "path", "name", "authors", "pin_randomness", "allow_network")


class Children:
    """The file that children write to and their worker reads."""

    def __init__(self) -> None:
        self.file: str | None = None
        self.worker = 0  # the process that reads

    def install(self, after_import: AfterImport) -> None:
        """Have pools fork: what is watched here is watched in their processes, too."""
        after_import.watch("multiprocessing.context", self._watch_contexts)

    def start(self, job: Mapping[str, Any]) -> None:
        """Say that this process is the worker, and where its children write."""
        self.worker = os.getpid()
        if "TMPDIR" not in os.environ:
            return
        self.file = os.path.join(os.environ["TMPDIR"], ".told")
        told = {name: job.get(name) for name in _OF_THE_JOB}
        os.environ[VARIABLE] = json.dumps({**told, "file": self.file})
        here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "in_children")
        path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = here + os.pathsep + path if path else here

    def is_one(self) -> bool:
        """Tell whether this process is a child."""
        return self.file is not None and os.getpid() != self.worker

    def tell(self, kind: str, what: Any) -> None:
        """Tell the worker; nothing where this process is the worker."""
        if self.file is None or not self.is_one():
            return
        line = json.dumps([kind, what]).encode() + b"\n"
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)  # at once, so that no other child's comes between
        finally:
            os.close(descriptor)

    def told(self) -> Iterator[tuple[str, Any]]:
        """Give what children have told, in an order that does not depend on their pace."""
        try:
            with open(self.file or os.devnull, encoding="utf-8") as file:
                lines = sorted(file)
        except OSError:
            return
        for line in lines:
            try:
                kind, what = json.loads(line)
            except ValueError:  # a script can write there itself
                continue
            yield kind, what

    def _watch_contexts(self, module: ModuleType) -> None:
        contexts: Any = module
        fork = contexts._concrete_contexts.get("fork")
        if fork is None:
            return
        for name in contexts._concrete_contexts:
            contexts._concrete_contexts[name] = fork
        contexts._default_context._default_context = fork
