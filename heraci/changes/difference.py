"""What differs between two trees, and in whose folder it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from posixpath import basename

from heraci.changes.experiments import Experiment, find_experiments
from heraci.changes.sources import Sources
from heraci.tree import parents

SETTINGS = frozenset({"heraci.toml", "pyproject.toml", "hera.config"})


class Difference:
    """Two trees with their experiments, and what became of each path that differs."""

    def __init__(
        self,
        base: Sources,
        head: Sources,
        experiments: Sequence[Experiment],
        entries: tuple[Mapping[str, str], Mapping[str, str]],
        output: str | None,
    ) -> None:
        self.base, self.head = base, head
        self.linked = bool(base.tree.links or head.tree.links)
        self._owners: dict[str, str | None] = {}
        self.changed = differences(base.tree.files, head.tree.files, output)
        self.after = experiments
        self.folders = {each.folder for each in self.after if each.folder}
        self.before = self._found_before(entries)
        self.folders |= {each.folder for each in self.before if each.folder}
        self._owners.clear()
        self.python = [path for path in self.changed if path.endswith(".py")]
        self.other = [path for path in self.changed if not path.endswith(".py")]

    def _found_before(
        self, entries: tuple[Mapping[str, str], Mapping[str, str]]
    ) -> Sequence[Experiment]:
        """The base's experiments; the head's are the same where no file can have made another."""
        same = entries[0] == entries[1] and all(
            verb == "changed" and self.owner(path)
            for path, verb in self.changed.items()
            if path.endswith((".py", "pyvenv.cfg"))
        )
        return self.after if same else find_experiments(self.base, entries[0], mark=False)

    def owner(self, path: str) -> str | None:
        """The outermost experiment folder that a file lies in."""
        folder = path.rpartition("/")[0]
        if folder not in self._owners:
            around = [each for each in (folder, *parents(folder)) if each in self.folders]
            self._owners[folder] = around[-1] if around else None
        return self._owners[folder]

    def told(self, path: str) -> str:
        """A changed path, and what became of it."""
        return f"{path}, which {self.changed[path]}"

    @cached_property
    def by_folder(self) -> Mapping[str, list[str]]:
        """The changed paths below each folder."""
        folders: dict[str, list[str]] = {}
        for path in self.changed:
            for folder in parents(path):
                folders.setdefault(folder, []).append(path)
        return folders

    @cached_property
    def only_edits(self) -> bool:
        """Whether the same modules are there at both ends, so that names mean the same."""
        return not self.linked and all(self.changed[each] == "changed" for each in self.python)

    @cached_property
    def submodules(self) -> list[str]:
        """The changed submodules: what is in them is not known."""
        trees = (self.base.tree.files, self.head.tree.files)
        return [
            path
            for path in self.other
            if any(files.get(path, "").startswith("submodule:") for files in trees)
        ]

    @cached_property
    def readable(self) -> frozenset[str]:
        """Changed files that an experiment might read without naming them."""
        return frozenset(
            path
            for path in self.changed
            if basename(path) not in SETTINGS and self.owner(path) is None
        )

    @cached_property
    def owned(self) -> frozenset[str]:
        """Changed files in an experiment's folder, which others hardly ever read."""
        return frozenset(path for path in self.changed if self.owner(path))


def differences(
    before: Mapping[str, str], after: Mapping[str, str], output: str | None = None
) -> dict[str, str]:
    """What became of each path that differs, those in the output folder left out."""
    found = {path: "was removed" for path in before if path not in after}
    for path, identity in after.items():
        if path not in before:
            found[path] = "was added"
        elif before[path] != identity:
            found[path] = "changed"
    if output:
        found = {path: verb for path, verb in found.items() if not path.startswith(f"{output}/")}
    return dict(sorted(found.items()))
