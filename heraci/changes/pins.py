"""The files that pin what an experiment depends on, where they changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from posixpath import basename, dirname, join, normpath

from heraci.changes.difference import Difference
from heraci.changes.experiments import Experiment

_PINS = re.compile(
    r"(requirements|constraints)[\w.-]*\.(txt|in|lock)|pyproject\.toml|uv\.lock|setup\.(cfg|py)"
    r"|\.python-version"
)
_PIN_ENDS = (".txt", ".in", ".lock", ".toml", ".cfg", "setup.py", ".python-version")
_REFERS = re.compile(
    rb"^\s*(?:-[rce]|--requirement|--constraint|--editable)[ \t=]*([^\s#;\[]+)"
    rb"|(?<![\w/.])(\.{1,2}/[\w./-]+)",
    re.MULTILINE,
)


class Pins:
    """Files that pin dependencies, where they or what they refer to changed.

    `dependencies_from` is a file or folder outside the experiments that pins them too.
    """

    def __init__(self, difference: Difference, dependencies_from: str | None) -> None:
        self._difference = difference
        self._outside = None if dependencies_from is None else normpath(dependencies_from)

    def reasons(self, experiment: Experiment, own: Collection[str]) -> Iterator[str]:
        """Why they concern one experiment; what changed among its own files was told before."""
        top = self._difference.head.experiments_dir
        for path, reason in self.changed.items():
            folder = dirname(path)
            around = experiment.path.startswith(f"{folder}/") if folder else not top
            outside = self._outside in {path, folder or "."}
            if path not in own and (around or outside):
                yield reason

    @cached_property
    def changed(self) -> Mapping[str, str]:
        """Each of the files with its reason."""
        files = self._difference.head.tree.files
        outer = {self._outside or "."}
        paths = [path for path in files if path.endswith(_PIN_ENDS) or path in outer]
        paths += [path for path in self._difference.other if path not in files]
        reasons = {
            path: self._reason(path)
            for path in paths
            if path in outer or _PINS.fullmatch(basename(path))
        }
        return {path: reason for path, reason in reasons.items() if reason}

    def _reason(self, path: str) -> str | None:
        changed = self._difference.changed
        if path in changed:
            return f"depends on {path}, which {changed[path]}"
        for target in self._referred(path, {path}):
            for each, verb in changed.items():
                if f"{each}/".startswith(f"{target}/"):
                    return f"depends on {each}, which {verb} (via {path})"
        return None

    def _referred(self, path: str, seen: set[str]) -> Iterator[str]:
        """Other files and folders that a file of pins takes in, by a relative path."""
        text = self._difference.head.text(path)
        for found in _REFERS.finditer(text):
            name = (found[1] or found[2]).decode("utf-8", "surrogateescape")
            target = normpath(join(dirname(path), name))
            if target not in seen:
                seen.add(target)
                yield target
                if target in self._difference.head.tree.files:
                    yield from self._referred(target, seen)
