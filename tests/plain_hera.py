"""Runs scripts as their authors do, with plain Hera and nothing of heraci: what heraci must match.

As a program it reads lines of JSON, `[root, [path, …]]`, and answers each with one line: what each
script builds, or the kind of error that it ends with.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any, Self


class PlainHera:
    """A process that has imported Hera, and forks for each script; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.plain_hera"],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def build(self, root: Path, scripts: Sequence[str]) -> Mapping[str, Any]:
        """What each script of a checkout builds."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([str(root), scripts]) + "\n")
        self._process.stdin.flush()
        built: Mapping[str, Any] = json.loads(self._process.stdout.readline())
        return built


def _build(root: str, path: str) -> Any:
    """Run a script as `python script.py`, in a package as `python -m package.script`."""
    from hera.workflows import Workflow

    entry = Path(root, path)
    top = entry.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    os.chdir(entry.parent)
    sys.path[:0] = [str(entry.parent), str(top)]
    sys.path += [f"{root}/experiments", root]
    main = types.ModuleType("__main__")
    main.__file__ = str(entry)
    if top != entry.parent:
        name = ".".join(entry.relative_to(top).with_suffix("").parts)
        main.__package__ = name.rpartition(".")[0]
        main.__spec__ = ModuleSpec(name, SourceFileLoader(name, str(entry)), origin=str(entry))
        importlib.import_module(main.__package__)
    sys.modules["__main__"] = main
    exec(compile(entry.read_bytes(), entry, "exec"), main.__dict__)
    return [each.to_dict() for each in vars(main).values() if isinstance(each, Workflow)]


def _in_a_fork(root: str, path: str) -> Any:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            built = _build(root, path)
        except BaseException as error:  # noqa: BLE001 - whatever ends a script is its answer
            built = type(error).__name__
        os.write(writing, json.dumps(built).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


def _serve() -> None:
    sys.dont_write_bytecode = True
    for name in ("hera.workflows", "yaml"):  # once, before any fork
        importlib.import_module(name)
    for line in sys.stdin:
        root, paths = json.loads(line)
        print(json.dumps({path: _in_a_fork(root, path) for path in paths}), flush=True)


if __name__ == "__main__":
    _serve()
