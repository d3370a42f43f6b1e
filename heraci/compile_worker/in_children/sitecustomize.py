"""Python imports this first in each Python that an experiment starts: it is watched, too."""

from __future__ import annotations

import importlib.util
import json
import os


def _follow() -> None:
    told = os.environ.get("HERACI_CHILD")
    if not told:
        return
    worker = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.util.spec_from_file_location(
        "heraci_compile_worker_main", os.path.join(worker, "__main__.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.follow(json.loads(told))


_follow()
