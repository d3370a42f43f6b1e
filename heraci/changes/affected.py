"""Which experiments a change affects, and why; in doubt an experiment stays in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from posixpath import basename, dirname, join, normpath
from typing import Any

from heraci.changes.experiments import Experiment, _find
from heraci.changes.imports import DYNAMIC, EDITS_PATH, Imports
from heraci.changes.reads import READS, reads_untold
from heraci.changes.sources import LISTS_ITSELF, Closure, Sources
from heraci.changes.texts import PLAIN, Texts, holds, words_of
from heraci.changes.tree import Tree, as_bytes, parents, stem

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
_NO_TEXT = re.compile(rb"\0|coding[:=]")
# Each pattern holds one of these: looking for them first is far quicker.
_ANY_MODULE = (
    *(b"import_module", b"__import__", b"spec_from_file", b"SourceFileLoader", b"load_source"),
    *(b"runpy", b"exec", b"sys.path", b"from sys", b"sys as", b"addsitedir", b"PYTHONPATH"),
    *(b"\0", b"coding:", b"coding=", b"__all__"),
)
_ANY_FILE = (
    *(b"open", b".read", b"read_", b"load", b"glob", b"listdir", b"iterdir", b"scandir"),
    *(b"walk", b"genfromtxt", b"Loader", b"get_data", b"from_file", b"resources", b"pkgutil"),
    *(b"subprocess", b"system"),
)
_SETTINGS = frozenset({"heraci.toml", "pyproject.toml", "hera.config"})
_MANY_WORDS = 64  # beyond these, looking at everything costs less than looking for each


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
    it declares. `reads` are the files that an earlier compilation of it read: they decide exactly.
    `dependencies_from` is a file or folder outside the experiments that pins their dependencies,
    `output` the folder that heraci itself writes.
    """

    settings: Callable[[str], tuple[Any, Any]] | None = None
    data: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reads: Mapping[str, Collection[str]] = field(default_factory=dict)
    dependencies_from: str | None = None
    output: str | None = None


def affected_experiments(
    base: Tree,
    head: Tree,
    experiments_dir: str,
    *,
    entries: Mapping[str, str] | None = None,
    base_entries: Mapping[str, str] | None = None,
    known: Known | None = None,
) -> tuple[Affected, ...]:
    """The experiments that differ between two trees, or may; each with its reasons, by name."""
    entries = entries or {}
    before = entries if base_entries is None else base_entries
    comparison = _Comparison(base, head, experiments_dir, (before, entries), known or Known())
    return tuple(sorted(comparison.affected(), key=lambda each: each.experiment.name))


class _Comparison:
    """Two trees, what differs between them, and whom that concerns."""

    def __init__(
        self,
        base: Tree,
        head: Tree,
        experiments_dir: str,
        entries: tuple[Mapping[str, str], Mapping[str, str]],
        known: Known,
    ) -> None:
        seen: dict[str, Imports] = {}
        self.base, self.head = (Sources(tree, experiments_dir, seen) for tree in (base, head))
        self.known = known
        self._linked = bool(base.links or head.links)
        self._owners: dict[str, str | None] = {}
        self._mentioned: dict[bytes, Mapping[str, str]] = {}
        self.changed = _differences(base.files, head.files, known.output)
        self.after = _find(self.head, entries[1])
        self.folders = {each.folder for each in self.after if each.folder}
        self.before = self._found_before(entries)
        self.folders |= {each.folder for each in self.before if each.folder}
        self._owners.clear()
        self.python = [path for path in self.changed if path.endswith(".py")]
        self.other = [path for path in self.changed if not path.endswith(".py")]

    def _found_before(
        self, entries: tuple[Mapping[str, str], Mapping[str, str]]
    ) -> tuple[Experiment, ...]:
        """The base's experiments; the head's are the same where no file can have made another."""
        same = entries[0] == entries[1] and all(
            verb == "changed" and self._owner(path)
            for path, verb in self.changed.items()
            if path.endswith((".py", "pyvenv.cfg"))
        )
        return self.after if same else _find(self.base, entries[0], mark=False)

    def affected(self) -> Iterator[Affected]:
        """Pair the experiments of both ends, and judge each pair."""
        old = {(each.path, each.function): each for each in self.before}
        new = {(each.path, each.function): each for each in self.after}
        gone = [each for key, each in old.items() if key not in new]
        moved = self._moved(gone, [each for key, each in new.items() if key not in old])
        for key, each in new.items():
            if not self._untouched(each, old.get(key)):
                yield from self._judged(each, old.get(key) or moved.get(key))
        origins = {(each.path, each.function) for each in moved.values()}
        for each in gone:
            if (each.path, each.function) not in origins:
                reason = f"{each.path} was removed"
                if each.path in self.head.tree.files:
                    reason = f"{each.path} is no experiment any more"
                yield Affected(experiment=each, status=Change.REMOVED, reasons=(reason,), base=each)

    def _untouched(self, each: Experiment, old: Experiment | None) -> bool:
        """What is so for nearly all experiments, found out quickly."""
        return (
            old == each
            and each.folder not in self._by_folder
            and each.path not in self.near
            and not self._concerning_many
        )

    @cached_property
    def _concerning_many(self) -> bool:
        """Whether more than imports and reads has to be looked at for every experiment."""
        configured = any(path.endswith("hera.config") for path in self.other)
        return bool(configured or self._pins or self.known.data or self.known.settings)

    def _moved(
        self, gone: Sequence[Experiment], come: Sequence[Experiment]
    ) -> dict[tuple[str, str | None], Experiment]:
        """Added experiments whose entry is a removed one's: the likest of these each time."""
        left: dict[str, list[Experiment]] = {}
        for each in gone:
            if each.path in self.changed and each.path not in self.head.tree.files:
                left.setdefault(self.base.tree.files[each.path], []).append(each)
        moved = {}
        for each in come if left else ():
            same = left.get(self.head.tree.files.get(each.path, ""), [])
            if same:
                origin = max(same, key=lambda old: self._likeness(old, each))
                same.remove(origin)
                moved[each.path, each.function] = origin
        return moved

    def _likeness(self, old: Experiment, new: Experiment) -> tuple[int, bool]:
        before = _contents(self.base.tree, old.folder)
        after = _contents(self.head.tree, new.folder)
        return len(before & after), basename(old.path) == basename(new.path)

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
            yield from self._edited_on_the_way(each.folder, old.folder)
        else:
            yield from (f"{path} {self.changed[path]}" for path in sorted(own))
        if each.path in self.near or old.path in self.near:
            yield from self._from_sources(each, old, own)
        yield from self._from_declared(each, own)
        yield from self._from_pins(each, own)
        yield from self._from_settings(each)

    # The experiment's own files

    @cached_property
    def _by_folder(self) -> Mapping[str, list[str]]:
        folders: dict[str, list[str]] = {}
        for path in self.changed:
            for folder in parents(path):
                folders.setdefault(folder, []).append(path)
        return folders

    def _own(self, each: Experiment, old: Experiment) -> set[str]:
        own = {path for path in (each.path, old.path) if path in self.changed}
        own.update(self._by_folder.get(each.folder or "", ()))
        own.update(self._by_folder.get(old.folder or "", ()))
        config = f"{each.path.rpartition('/')[0]}/hera.config"  # read unnamed, from its folder
        return own | {config} if config in self.changed else own

    def _edited_on_the_way(self, folder: str, old: str) -> Iterator[str]:
        """What differs in a folder besides its place."""
        before = dict(_contents(self.base.tree, old))
        after = dict(_contents(self.head.tree, folder))
        for name, verb in _differences(before, after, None).items():
            yield f"{old if verb == 'was removed' else folder}/{name} {verb}"

    # Sources: what is imported, and what these read

    def _from_sources(self, each: Experiment, old: Experiment, own: set[str]) -> Iterator[str]:
        after = self.head.closure(each.path)
        before = after if self._same_before(after, own) else self.base.closure(old.path)
        for closure, verb in ((after, "imports"), (before, "imported")):
            for path, importer in closure.files.items():
                if path in self.changed and path not in own:
                    own.add(path)
                    via = f" (via {importer})" if importer not in (None, each.path) else ""
                    yield f"{verb} {path}, which {self.changed[path]}{via}"
        yield from self._from_any_module(after, before, own)
        yield from self._from_submodules(each, after, own)
        recorded = self.known.reads.get(each.name)
        if recorded is None:
            yield from self._from_mentions(after, before, own)
        else:
            read = sorted(path for path in recorded if path in self.changed and path not in own)
            yield from (f"reads {path}, which {self.changed[path]}" for path in read)

    def _same_before(self, after: Closure, own: set[str]) -> bool:
        """Whether the base surely gives the same closure."""
        return self._only_edits and not own and self.changed.keys().isdisjoint(after.files)

    @cached_property
    def _only_edits(self) -> bool:
        """Whether the same modules are there at both ends, so that names mean the same."""
        return not self._linked and all(self.changed[each] == "changed" for each in self.python)

    def _from_any_module(self, after: Closure, before: Closure, own: set[str]) -> Iterator[str]:
        modules = [path for path in self.python if path not in own]
        if not modules:
            return
        what = self._first_of(modules)
        for path, line, word in (after.dynamic or before.dynamic)[:1]:
            yield f"may import any module ({word} at {path}:{line}); {what}"
        for path in (after.unparsable or before.unparsable)[:1]:
            yield f"may import any module ({path} is not text that Python reads); {what}"

    def _from_submodules(self, each: Experiment, after: Closure, own: set[str]) -> Iterator[str]:
        for path in self._submodules:
            names = sorted(self.head.unresolved(each.path, after))
            if names and path not in own:
                verb = self.changed[path]
                yield f"may import from the submodule {path}, which {verb} ({', '.join(names)})"

    def _first_of(self, paths: Sequence[str]) -> str:
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        return f"{paths[0]} {self.changed[paths[0]]}{more}"

    def _from_mentions(self, after: Closure, before: Closure, own: set[str]) -> Iterator[str]:
        texts = [self.base.text(path) for path in before.files if self._hinted(path)]
        texts += [self.head.text(path) for path in after.files if self._hinted(path)]
        told: dict[str, str] = {}
        for text in dict.fromkeys(texts):
            for path, verb in self._mentions(text).items():
                if verb == "reads" or path not in told:
                    told[path] = verb
        for path in sorted(told.keys() - own):
            yield f"{told[path]} {path}, which {self.changed[path]}"
        unsure = sorted(self._readable - own - told.keys())
        where = self._untold(after) if unsure else None
        if where:
            yield f"may read any file (at {where}); {self._first_of(unsure)}"

    @cached_property
    def _telling(self) -> Mapping[bytes, list[str]]:
        """Words that may name a changed file; an empty one for names that are no plain words."""
        words: dict[bytes, list[str]] = {}
        for path in self.changed:
            for word in (basename(path), *self._loose_words(path)):
                plain = as_bytes(word) if PLAIN.fullmatch(as_bytes(word)) else b""
                words.setdefault(plain, []).append(path)
        return words

    def _hinted(self, path: str) -> bool:
        return self._hints is None or path in self._hints

    @cached_property
    def _hints(self) -> frozenset[str] | None:
        """Files that hold a telling word somewhere; None where these are too many to look for."""
        if len(self._telling) > _MANY_WORDS or self._linked:
            return None
        return frozenset().union(*(self._texts.holding(word) for word in self._telling))

    def _mentions(self, text: bytes) -> Mapping[str, str]:
        """The changed files that a source names, each with how."""
        found = self._mentioned.get(text)
        if found is None:
            words = words_of(text)
            hits = {path for word in words & self._telling.keys() for path in self._telling[word]}
            hits.update(self._telling.get(b"", ()))
            verbs = {path: self._mention(path, text, words) for path in hits}
            found = {path: verb for path, verb in verbs.items() if verb}
            self._mentioned[text] = found
        return found

    def _mention(self, path: str, text: bytes, words: frozenset[bytes]) -> str:
        """Whether a source names a file: by its name, or loosely by its stem or a folder."""
        owner = self._owner(path)
        if owner and as_bytes(basename(owner)) not in text:
            return ""  # in another experiment's folder, and that is not named
        if holds(text, words, basename(path)):
            return "reads"
        loosely = any(holds(text, words, word) for word in self._loose_words(path))
        return "may read" if loosely else ""

    def _loose_words(self, path: str) -> set[str]:
        name = basename(path)
        if path.endswith(".py") or name in _SETTINGS or self._owner(path):
            return set()
        return {name.partition(".")[0], *map(basename, parents(path))} - {""}

    def _owner(self, path: str) -> str | None:
        """The outermost experiment folder that a file lies in."""
        folder = path.rpartition("/")[0]
        if folder not in self._owners:
            around = [each for each in (folder, *parents(folder)) if each in self.folders]
            self._owners[folder] = around[-1] if around else None
        return self._owners[folder]

    @cached_property
    def _readable(self) -> frozenset[str]:
        """Changed files that an experiment might read without naming them."""
        return frozenset(
            path
            for path in self.other
            if basename(path) not in _SETTINGS and self._owner(path) is None
        )

    def _untold(self, closure: Closure) -> str | None:
        for path in closure.files:
            line = reads_untold(self.head.text(path))
            if line:
                return f"{path}:{line}"
        return None

    # What is declared: data, pins, settings

    def _from_declared(self, each: Experiment, own: set[str]) -> Iterator[str]:
        for pattern in self.known.data.get(each.name, ()):
            wanted = _globs(pattern, dirname(each.path))
            for path, verb in self.changed.items():
                if path not in own and wanted.fullmatch(path):
                    yield f"declares {path} as data, which {verb}"

    def _from_pins(self, each: Experiment, own: set[str]) -> Iterator[str]:
        top = self.head.experiments_dir
        for path, reason in self._pins.items():
            folder = dirname(path)
            around = each.path.startswith(f"{folder}/") if folder else not top
            if path not in own and (around or self._from_outside(path)):
                yield reason

    def _from_outside(self, path: str) -> bool:
        start = self.known.dependencies_from
        return start is not None and normpath(start) in {path, dirname(path) or "."}

    @cached_property
    def _pins(self) -> Mapping[str, str]:
        """Files that pin dependencies, where they or what they refer to changed."""
        files = self.head.tree.files
        outer = {normpath(self.known.dependencies_from or ".")}
        paths = [path for path in files if path.endswith(_PIN_ENDS) or path in outer]
        paths += [path for path in self.other if path not in files]
        reasons = {
            path: self._pin_reason(path)
            for path in paths
            if path in outer or _PINS.fullmatch(basename(path))
        }
        return {path: reason for path, reason in reasons.items() if reason}

    def _pin_reason(self, path: str) -> str | None:
        if path in self.changed:
            return f"depends on {path}, which {self.changed[path]}"
        for target in self._referred(path, {path}):
            for each, verb in self.changed.items():
                if f"{each}/".startswith(f"{target}/"):
                    return f"depends on {each}, which {verb} (via {path})"
        return None

    def _referred(self, path: str, seen: set[str]) -> Iterator[str]:
        """Other files and folders that a file of pins takes in, by a relative path."""
        text = self.head.text(path)
        for found in _REFERS.finditer(text):
            name = (found[1] or found[2]).decode("utf-8", "surrogateescape")
            target = normpath(join(dirname(path), name))
            if target not in seen:
                seen.add(target)
                yield target
                if target in self.head.tree.files:
                    yield from self._referred(target, seen)

    def _from_settings(self, each: Experiment) -> Iterator[str]:
        if self.known.settings is None:
            return
        before, after = self.known.settings(each.name)
        if before != after:
            keys = sorted(_differing_keys(before, after))
            named = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
            yield f"settings that reach it differ{f': {named}' if named else ''}"

    # Which experiments are worth a closer look

    @cached_property
    def near(self) -> Collection[str]:
        """The Python files that a change can reach, or more.

        A module can only be imported by a file that names it. So words are looked for in the texts,
        and again those of what was found; only what remains is scanned and resolved.
        """
        texts = self._texts
        if self._linked or self._submodules or len(self._telling) > _MANY_WORDS:
            return frozenset(texts.paths)
        near = fresh = self._starts(texts)
        while fresh:
            words = {word for path in fresh for word in self._importing_words(path)}
            if len(words) > _MANY_WORDS:
                return frozenset(texts.paths)
            beside = tuple({f"{each}/" for path in fresh for each in self._beside(path)})
            fresh = {path for path in texts.paths if beside and path.startswith(beside)}
            fresh = fresh.union(*(texts.holding(word) for word in words)) - near
            near = near | fresh
        return near

    @cached_property
    def _submodules(self) -> list[str]:
        trees = (self.base.tree.files, self.head.tree.files)
        return [
            path
            for path in self.other
            if any(files.get(path, "").startswith("submodule:") for files in trees)
        ]

    @cached_property
    def _texts(self) -> Texts:
        """Each Python file with its text at head, and at base where that is another."""
        before = [path for path in self.python if path in self.base.tree.files]
        texts = Texts()
        for sources, paths in ((self.head, self.head.python), (self.base, before)):
            sources.load(paths)
            texts.add((path, sources.text(path)) for path in paths)
        return texts

    def _starts(self, texts: Texts) -> set[str]:
        """Files that changed, that name a changed file, or that may use any."""
        found = set(self.python)
        for word in self._telling:
            for path, text in texts.around(word):
                if path not in found and self._mentions(text):
                    found.add(path)
        if self.python:
            found |= texts.matching(_ANY_MODULE, (DYNAMIC, EDITS_PATH, _NO_TEXT, LISTS_ITSELF))
        if self._readable:
            found |= texts.matching(_ANY_FILE, (READS,))
        return found

    def _importing_words(self, path: str) -> Iterator[bytes]:
        """What the text of any file says that imports this one, from outside its folder."""
        owner = self._owner(path)
        yield as_bytes(basename(owner) if owner else stem(path))

    def _beside(self, path: str) -> Iterator[str]:
        """Folders whose files may load this one without a word."""
        owner = self._owner(path)
        if owner:
            yield owner
        if basename(path) == "__init__.py":
            yield dirname(path)


def _differences(
    before: Mapping[str, str], after: Mapping[str, str], output: str | None
) -> dict[str, str]:
    found = {path: "was removed" for path in before if path not in after}
    for path, identity in after.items():
        if path not in before:
            found[path] = "was added"
        elif before[path] != identity:
            found[path] = "changed"
    if output:
        found = {path: verb for path, verb in found.items() if not path.startswith(f"{output}/")}
    return dict(sorted(found.items()))


def _contents(tree: Tree, folder: str | None) -> set[tuple[str, str]]:
    start = f"{folder}/"
    return {(p[len(start) :], tree.files[p]) for p in tree.files if folder and p.startswith(start)}


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
