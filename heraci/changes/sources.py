"""The Python files of one tree, and what each experiment is made of."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from posixpath import dirname, normpath

from heraci.changes.imports import Import, Imports, imports_of, is_of_hera
from heraci.tree import Tree, as_bytes, parents, stem

_LISTS = rb"(?:glob|listdir|iterdir|scandir|iter_modules|walk_packages)"
LISTS_ITSELF = re.compile(rb"__all__.*" + _LISTS + rb"|" + _LISTS + rb".*__all__", re.DOTALL)
_NEVER = re.compile("__pycache__/|node_modules/|site-packages/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Closure:
    """An experiment's entry and the modules of the repository that it imports.

    `files` maps each file to the one that imports it first, None for the entry.
    """

    files: Mapping[str, str | None]
    dynamic: tuple[tuple[str, int, str], ...] = ()
    unparsable: tuple[str, ...] = ()
    edits_path: bool = False


class Sources:
    """The Python files of one tree: read once, scanned once, resolved by path."""

    def __init__(
        self, tree: Tree, experiments_dir: str, seen: dict[str, Imports] | None = None
    ) -> None:
        self.tree = tree
        self.experiments_dir = "" if normpath(experiments_dir) == "." else normpath(experiments_dir)
        self._seen = {} if seen is None else seen
        self.prefix = f"{self.experiments_dir}/" if self.experiments_dir else ""
        self._texts: dict[str, bytes] = {}
        self._linked = bool(tree.links)

    def beside(self, tree: Tree) -> Sources:
        """The sources of another tree; what both hold alike is scanned once."""
        return Sources(tree, self.experiments_dir, self._seen)

    def load(self, paths: Iterable[str]) -> None:
        """Read many files at once."""
        wanted = [path for path in paths if path not in self._texts]
        if self._linked:
            wanted = [path for path in wanted if self.tree.locate(path)]
        if wanted:
            self._texts.update(self.tree.read_many(wanted))

    def text(self, path: str) -> bytes:
        """The content of one file; empty where it leads out of the tree."""
        if path not in self._texts:
            self.load([path])
        return self._texts.get(path, b"")

    def imports(self, path: str) -> Imports:
        """What one file imports."""
        real = self._real(path)
        if real is None:
            return Imports()
        identity = self.tree.files[real]
        if identity not in self._seen:
            self._seen[identity] = imports_of(self.text(real))
        return self._seen[identity]

    def scan(self, paths: Iterable[str]) -> None:
        """Read at once what was not seen in the other tree."""
        files = self.tree.files
        self.load([path for path in paths if files[path] not in self._seen])

    def _real(self, path: str) -> str | None:
        if not self._linked:
            return path if path in self.tree.files else None
        return self.tree.locate(path)

    @cached_property
    def python(self) -> list[str]:
        """All files that can be imported, those of virtual environments left out."""
        return _python(self.tree)

    @cached_property
    def _by_tail(self) -> Mapping[str, list[str]]:
        """Modules by the last part of their name."""
        tails: dict[str, list[str]] = {}
        for path in self.python:
            tails.setdefault(stem(path), []).append(path)
        return tails

    def imported_among(self, paths: Collection[str]) -> set[str]:
        """Those of some files that another file below the experiments folder imports."""
        if not paths:
            return set()
        wanted, words = set(paths), {as_bytes(stem(path)) for path in paths}
        scripts = [path for path in self.python if path.startswith(self.prefix)]
        self.load(scripts)
        found = set()
        for path in scripts:
            text = self.text(path)
            if any(word in text for word in words):
                edits = self.imports(path).edits_path
                found |= wanted & set(self._imported(path, path, edits_path=edits)) - {path}
        return found

    def closure(self, entry: str) -> Closure:
        """The entry and all it imports, nearest first."""
        files: dict[str, str | None] = {entry: None}
        edits = self._walk(entry, files, edits_path=False)
        if edits:  # what was found before the edit was seen is looked up once more
            self._walk(entry, files, edits_path=True)
        every = {path: self.imports(path) for path in files}
        return Closure(
            files=files,
            dynamic=tuple(
                (path, *where) for path, found in every.items() for where in found.dynamic
            ),
            unparsable=tuple(path for path, found in every.items() if found.unparsable),
            edits_path=edits,
        )

    def unresolved(self, entry: str, closure: Closure) -> set[str]:
        """Top names that are neither in the repository nor known to be elsewhere."""
        return {
            each.module.partition(".")[0]
            for path in closure.files
            for each in self.imports(path).imports
            if not (each.level or is_of_hera(each.module) or _standard(each.module))
            and not self._resolve(each, path, entry, edits_path=closure.edits_path)
        }

    def _walk(self, entry: str, files: dict[str, str | None], *, edits_path: bool) -> bool:
        """Add what is imported to `files`; whether one of them edits the module search path."""
        waiting = list(files)
        edits = False
        while waiting:
            path = waiting.pop(0)
            edits |= self.imports(path).edits_path
            for module in self._imported(path, entry, edits_path=edits_path):
                if module not in files:
                    files[module] = path
                    waiting.append(module)
        return edits

    def _imported(self, path: str, entry: str, *, edits_path: bool) -> Iterator[str]:
        if self._linked:
            yield from self._links_to(path)
        # Of every folder above: one without the file may still be part of a package.
        for folder in parents(path):
            if self._package(folder):
                yield f"{folder}/__init__.py"
        for each in self.imports(path).imports:
            yield from self._resolve(each, path, entry, edits_path=edits_path)

    def _links_to(self, path: str) -> Iterator[str]:
        """The links by which a path is reached, and the file that it is."""
        yield from (each for each in (path, *parents(path)) if each in self.tree.links)
        real = self._real(path)
        if real is not None:
            yield real

    def _package(self, folder: str) -> bool:
        return f"{folder}/__init__.py" in self.tree.files

    def _resolve(self, each: Import, path: str, entry: str, *, edits_path: bool) -> list[str]:
        if each.level:
            folder = dirname(path)
            for _ in range(each.level - 1):
                folder = dirname(folder)
            return self._below(folder, each)
        if not self._linked and not self._has(each.module.partition(".")[0]):
            return []
        found = [
            place
            for root in self._roots(path, entry, edits_path=edits_path)
            for place in self._below(root, each)
        ]
        if edits_path and not found:
            found = self._anywhere(each)
        return found

    @cached_property
    def _parts(self) -> frozenset[str]:
        """All names that folders and modules of the tree have, those of modules with `.py`."""
        return frozenset("/".join(self.python).split("/"))

    def _has(self, name: str) -> bool:
        return name in self._parts or f"{name}.py" in self._parts

    def _roots(self, path: str, entry: str, *, edits_path: bool) -> Iterable[str]:
        """Where Python would look, and a little more: whoever shadows whom, both are taken."""
        roots = {dirname(entry): None, self._package_root(path): None, "": None}
        roots |= {self._package_root(entry): None, self.experiments_dir: None, dirname(path): None}
        if edits_path:
            roots |= dict.fromkeys([*parents(entry), *parents(path)])
        return roots

    def _package_root(self, path: str) -> str:
        folder = dirname(path)
        while folder and self._package(folder):
            folder = dirname(folder)
        return folder

    def _below(self, root: str, each: Import) -> list[str]:
        """The files of a dotted name below a folder, packages on the way included."""
        folder, places = f"{root}/" if root else "", []
        if not each.module:
            places.append(f"{folder}__init__.py")
        for part in each.module.split(".") if each.module else ():
            places += [f"{folder}{part}/__init__.py", f"{folder}{part}.py"]
            folder += f"{part}/"
        for name in each.names:
            if name == "*":
                places += self._all_in(folder[:-1])
            else:
                places += [f"{folder}{name}.py", f"{folder}{name}/__init__.py"]
        return [place for place in places if self._there(place)]

    def _all_in(self, folder: str) -> list[str]:
        """What `from package import *` loads by way of `__all__`."""
        start = f"{folder}/__init__.py" if folder else "__init__.py"
        text = self.text(start) if self._there(start) else b""
        if b"__all__" not in text:
            return []
        inside = [path for path in self.python if dirname(path) == folder]
        if LISTS_ITSELF.search(text):
            return inside
        return [path for path in inside if as_bytes(stem(path)) in text]

    def _there(self, path: str) -> bool:
        if path in self.tree.files:
            return True
        return self._linked and self.tree.locate(path) is not None

    def _anywhere(self, each: Import) -> list[str]:
        """Every file that could be this module once somebody edited the search path."""
        dotted = [each.module, *(f"{each.module}.{name}" for name in each.names if name != "*")]
        found = []
        for name in dotted:
            tail = "/" + name.replace(".", "/")
            found += [
                path
                for path in self._by_tail.get(name.rpartition(".")[2], ())
                if f"/{path}".endswith((f"{tail}.py", f"{tail}/__init__.py"))
            ]
        return found


def _python(tree: Tree) -> list[str]:
    """The Python files that are the repository's own: not of caches or virtual environments."""
    python = [path for path in tree.files if path.endswith(".py")]
    if _NEVER.search("\0".join(python)):
        python = [path for path in python if not _NEVER.search(path)]
    environments = tuple(path[:-10] for path in tree.files if path.endswith("pyvenv.cfg"))
    if environments:
        python = [path for path in python if not path.startswith(environments)]
    return python


def _standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names
