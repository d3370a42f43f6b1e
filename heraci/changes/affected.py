"""Which experiments a change affects, and why; in doubt an experiment stays in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from posixpath import dirname
from typing import Any

from heraci.changes.difference import Difference
from heraci.changes.experiments import Experiment
from heraci.changes.mentions import Mentions
from heraci.changes.near import within_reach
from heraci.changes.pins import Pins
from heraci.changes.reads import untold
from heraci.changes.renames import edited_on_the_way, renamed
from heraci.changes.sources import Closure, Sources


class Change(StrEnum):
    """What became of an experiment's source, as far as can be told without compiling."""

    ADDED = "added"
    MODIFIED = "modified"
    RENAMED = "renamed"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Affected:
    """An experiment that a change may have changed, and why.

    `experiment` is the head's, the base's where it was removed; `base` is what it was before.
    """

    experiment: Experiment
    status: Change
    reasons: tuple[str, ...]
    base: Experiment | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What else is known of the experiments, by name; each part may be left out.

    `settings` gives what reaches an experiment at base and at head, as JSON. `data` are globs that
    it declares. `dependencies_from` is a file or folder outside the experiments that pins their
    dependencies, `output` the folder that heraci itself writes.
    """

    settings: Callable[[str], tuple[Any, Any]] | None = None
    data: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dependencies_from: str | None = None
    output: str | None = None


def affected_experiments(
    base: Sources,
    head: Sources,
    experiments: Sequence[Experiment],
    *,
    entries: Mapping[str, str] | None = None,
    base_entries: Mapping[str, str] | None = None,
    known: Known | None = None,
) -> tuple[Affected, ...]:
    """The experiments that differ between two trees, or may; each with its reasons, by name.

    `experiments` are the head's, as `find_experiments` gives them.
    """
    entries = entries or {}
    before = entries if base_entries is None else base_entries
    known = known or Known()
    difference = Difference(base, head, experiments, (before, entries), known.output)
    judge = _Judge(difference, known)
    return tuple(sorted(judge.affected(), key=lambda each: each.experiment.name))


class _Judge:
    """Says of each experiment whether the difference of two trees may concern it."""

    def __init__(self, difference: Difference, known: Known) -> None:
        self.difference = difference
        self.known = known
        self.base, self.head = difference.base, difference.head
        self.changed = difference.changed
        self.mentions = Mentions(difference)
        self.pins = Pins(difference, known.dependencies_from)

    @cached_property
    def near(self) -> Collection[str]:
        """The Python files that the difference can reach, or more."""
        return within_reach(self.difference, self.mentions)

    def affected(self) -> Iterator[Affected]:
        """Pair the experiments of both ends, and judge each pair."""
        old = {(each.path, each.function): each for each in self.difference.before}
        new = {(each.path, each.function): each for each in self.difference.after}
        gone = [each for key, each in old.items() if key not in new]
        come = [each for key, each in new.items() if key not in old]
        origins = renamed(self.difference, gone, come)
        for key, each in new.items():
            if not self._untouched(each, old.get(key)):
                yield from self._judged(each, old.get(key) or origins.get(each))
        moved = set(origins.values())
        for each in gone:
            if each not in moved:
                reason = f"{each.path} was removed"
                if each.path in self.head.tree.files:
                    reason = f"{each.path} is no experiment any more"
                yield Affected(experiment=each, status=Change.REMOVED, reasons=(reason,), base=each)

    def _untouched(self, each: Experiment, old: Experiment | None) -> bool:
        """What is so for nearly all experiments, found out quickly."""
        return (
            (old is each or old == each)
            and each.folder not in self.difference.by_folder
            and each.path not in self.near
            and not self._concerning_many
        )

    @cached_property
    def _concerning_many(self) -> bool:
        """Whether more than imports and reads has to be looked at for every experiment."""
        configured = any(path.endswith("hera.config") for path in self.difference.other)
        return bool(configured or self.pins.changed or self.known.data or self.known.settings)

    def _judged(self, each: Experiment, old: Experiment | None) -> Iterator[Affected]:
        if old is None:
            reason = f"{each.path} was added"
            if each.path in self.base.tree.files:
                reason = f"{each.path} was no experiment before"
            yield Affected(experiment=each, status=Change.ADDED, reasons=(reason,))
            return
        reasons = tuple(dict.fromkeys(self._reasons(each, old)))
        if old.path != each.path or old.name != each.name:
            origin = old.path if old.path != each.path else old.name
            moved = f"renamed from {origin}"
            yield Affected(
                experiment=each, status=Change.RENAMED, reasons=(moved, *reasons), base=old
            )
        elif reasons:
            yield Affected(experiment=each, status=Change.MODIFIED, reasons=reasons, base=old)

    def _reasons(self, each: Experiment, old: Experiment) -> Iterator[str]:
        own = self._own(each, old)
        if each.folder and old.folder and each.folder != old.folder:
            yield from edited_on_the_way(self.difference, each.folder, old.folder)
        else:
            yield from (f"{path} {self.changed[path]}" for path in sorted(own))
        if each.function != old.function:
            yield f"heraci.toml names {_entry(each)}, where it named {_entry(old)}"
        if each.path in self.near or old.path in self.near:
            yield from self._from_sources(each, old, own)
        yield from self._from_declared(each, own)
        yield from self.pins.reasons(each, own)
        yield from self._from_settings(each)

    def _own(self, each: Experiment, old: Experiment) -> set[str]:
        own = {path for path in (each.path, old.path) if path in self.changed}
        own.update(self.difference.by_folder.get(each.folder or "", ()))
        own.update(self.difference.by_folder.get(old.folder or "", ()))
        config = f"{each.path.rpartition('/')[0]}/hera.config"  # read unnamed, from its folder
        return own | {config} if config in self.changed else own

    def _from_sources(self, each: Experiment, old: Experiment, own: set[str]) -> Iterator[str]:
        after = self.head.closure(each.path)
        before = after if self._same_before(after, own) else self.base.closure(old.path)
        for closure, verb in ((after, "imports"), (before, "imported")):
            for path, importer in closure.files.items():
                if path in self.changed and path not in own:
                    own.add(path)
                    via = f" (via {importer})" if importer not in (None, each.path) else ""
                    yield f"{verb} {self.difference.told(path)}{via}"
        yield from self._from_any_module(after, before, own)
        yield from self._from_submodules(each, after, own)
        yield from self._from_mentions(after, before, own)

    def _same_before(self, after: Closure, own: set[str]) -> bool:
        """Whether the base surely gives the same closure."""
        return (
            self.difference.only_edits and not own and self.changed.keys().isdisjoint(after.files)
        )

    def _from_any_module(self, after: Closure, before: Closure, own: set[str]) -> Iterator[str]:
        modules = [path for path in self.difference.python if path not in own]
        if not modules:
            return
        modules.sort(key=lambda path: path in self.difference.owned)  # the likely ones first
        what = self._first_of(modules)
        for path, line, word in (after.dynamic or before.dynamic)[:1]:
            yield f"may import any module ({word} at {path}:{line}); {what}"
        for path in (after.unparsable or before.unparsable)[:1]:
            yield f"may import any module ({path} is not text that Python reads); {what}"

    def _from_submodules(self, each: Experiment, after: Closure, own: set[str]) -> Iterator[str]:
        for path in self.difference.submodules:
            names = sorted(self.head.unresolved(each.path, after))
            if names and path not in own:
                submodule = self.difference.told(path)
                yield f"may import from the submodule {submodule} ({', '.join(names)})"

    def _first_of(self, paths: Sequence[str]) -> str:
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        return f"{paths[0]} {self.changed[paths[0]]}{more}"

    def _from_mentions(self, after: Closure, before: Closure, own: set[str]) -> Iterator[str]:
        hints = self.mentions.hints
        texts = [self.base.text(path) for path in before.files if hints is None or path in hints]
        texts += [self.head.text(path) for path in after.files if hints is None or path in hints]
        told: dict[str, str] = {}
        for text in dict.fromkeys(texts):
            for path, verb in self.mentions.of(text).items():
                if verb == "reads" or path not in told:
                    told[path] = verb
        for path in sorted(told.keys() - own):
            yield f"{told[path]} {self.difference.told(path)}"
        yield from self._from_untold(after, own | told.keys())

    def _from_untold(self, after: Closure, known: Collection[str]) -> Iterator[str]:
        readable = sorted(self.difference.readable.difference(known))
        there = [path for path in readable if self.changed[path] != "changed"]
        owned = sorted(self.difference.owned.difference(known))
        if not (readable or owned):
            return
        for path in after.files:
            found = untold(self.head.text(path))
            if found.reads and readable:
                where = f"{path}:{found.reads}"
                yield f"may read any file (at {where}); {self._first_of(readable)}"
                return
            if found.asks and there:
                where = f"{path}:{found.asks}"
                yield f"may look for any file (at {where}); {self._first_of(there)}"
                return
            if found.lists and owned:
                where = f"{path}:{found.lists}"
                yield f"may read any file (at {where}); {self._first_of(owned)}"
                return

    def _from_declared(self, each: Experiment, own: set[str]) -> Iterator[str]:
        for pattern in self.known.data.get(each.name, ()):
            wanted = _globs(pattern, dirname(each.path))
            for path, verb in self.changed.items():
                if path not in own and wanted.fullmatch(path):
                    yield f"declares {path} as data, which {verb}"

    def _from_settings(self, each: Experiment) -> Iterator[str]:
        if self.known.settings is None:
            return
        before, after = self.known.settings(each.name)
        if before != after:
            keys = sorted(_differing_keys(before, after))
            named = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
            yield f"settings that reach it differ{f': {named}' if named else ''}"


def _entry(each: Experiment) -> str:
    return f"{each.path}:{each.function}" if each.function else each.path


def _globs(pattern: str, folder: str) -> re.Pattern[str]:
    """A glob of files, from an experiment's folder or from the repository's root."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./"))
    kinds = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    body = "".join(kinds.get(part) or re.escape(part) for part in parts)
    start = f"(?:{re.escape(folder)}/)?" if folder else ""
    return re.compile(f"{start}{body}(?:/.*)?")


def _differing_keys(before: Any, after: Any, prefix: str = "") -> Iterator[str]:
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        if before != after and prefix:
            yield prefix
        return
    for key in {**before, **after}:
        dotted = f"{prefix}.{key}" if prefix else str(key)
        yield from _differing_keys(before.get(key), after.get(key), dotted)
