"""Compile experiments in a Python of their own: `python __main__.py AUTHORS HERA`, see `warm`."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import types
from typing import Any


def main() -> None:
    """Get warm, then run jobs that come by descriptor 3.

    AUTHORS is the folder of the author classes, HERA the version that heraci itself runs with.
    """
    authors, known_hera = sys.argv[1:3]
    del sys.argv[1:]
    _make_importable(authors)
    from heraci.compile_worker import warm
    from heraci.compile_worker.run import Run

    run = Run()
    run.install()
    if run.hera == known_hera:  # another one may be built otherwise
        run.warm_up()
    warm.serve(socket.socket(fileno=3), run)


def follow(job: dict[str, Any]) -> None:
    """Watch this Python, which an experiment has started, as its worker watches the experiment."""
    _make_importable(job.get("authors"))
    if importlib.util.find_spec("heraci") is None:  # another Python than the experiment's
        sys.modules["heraci"] = types.ModuleType("heraci")
    from heraci.compile_worker.run import Run

    Run().follow(job)


def _make_importable(authors: str | None) -> None:
    """Make this package importable under its name, beside the author classes and nothing else.

    Neither this folder's modules nor the rest of heraci and of its environment must be found by a
    script's imports.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [each for each in sys.path if os.path.abspath(each or os.curdir) != here]
    if authors:
        sys.path.append(authors)
    name = "heraci.compile_worker"
    start = os.path.join(here, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[here])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
