"""Patches a module right after its own import, so that nothing is imported for nothing."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

Patch = Callable[[ModuleType], None]


class AfterImport(importlib.abc.MetaPathFinder):
    """Knows which modules are to be patched, and by what."""

    def __init__(self) -> None:
        self.patches: dict[str, Patch] = {}

    def watch(self, name: str, patch: Patch) -> None:
        """Patch a module now if it is there, else when it is imported."""
        if name in sys.modules:
            patch(sys.modules[name])
        else:
            self.patches[name] = patch

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a watched module as the finders behind this one do; leave all others to them."""
        patch = self.patches.pop(name, None)
        if patch is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
