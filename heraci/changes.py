"""Which experiments a repository has, which of them a change affects, and why.

This rules out what cannot have changed, without running anything; in doubt an experiment stays in,
and compiling it at both ends decides. grimp was looked at for the import graph and does another
job: it wants importable packages on disk, while experiments are scripts run by path, with siblings
beside them and hyphens in their names, and one end of a comparison lies in Git's objects.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from io import BytesIO
from itertools import accumulate
from posixpath import basename, dirname, join, normpath
from typing import Any, Protocol

ENTRY = "experiment.py"


class Tree(Protocol):
    """A snapshot of the repository's files, at one end of the comparison.

    `files` maps each path to an identity that is equal where the content is; `locate` follows
    symbolic links to the file that a path leads to, None where that is outside or nowhere.
    """

    @property
    def label(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...
    @property
    def links(self) -> Mapping[str, str]: ...
    def locate(self, path: str) -> str | None: ...
    def read_many(self, paths: Iterable[str]) -> Mapping[str, bytes]: ...


# --- which experiments there are ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """One experiment of the repository.

    `path` is its entry file; `folder` is set where the whole folder is the experiment; `named`
    says that heraci.toml names it, `imported` that it was found by scanning and that another
    experiment imports it, so that it may hold no workflow of its own.
    """

    name: str
    path: str
    folder: str | None = None
    function: str | None = None
    named: bool = False
    imported: bool = False


def find_experiments(
    tree: Tree, experiments_dir: str, entries: Mapping[str, str] | None = None
) -> tuple[Experiment, ...]:
    """All experiments of a tree, by name."""
    return _find(Sources(tree, experiments_dir), entries or {})


def missing_entries(tree: Tree, entries: Mapping[str, str]) -> tuple[str, ...]:
    """Names in heraci.toml whose file is not there."""
    return tuple(name for name in sorted(entries) if _named(tree, name, entries[name]) is None)


def _find(
    sources: Sources, entries: Mapping[str, str], *, mark: bool = True
) -> tuple[Experiment, ...]:
    tree, top = sources.tree, sources.experiments_dir
    named = [found for name, entry in entries.items() if (found := _named(tree, name, entry))]
    taken = {each.path for each in named}
    scanned = _visible(sources.python, sources.prefix)
    folders = {path[: -len(ENTRY) - 1] for path in scanned if path.endswith(f"/{ENTRY}")} - {top}
    whole = [
        Experiment(name=_printable(_below(top, folder)), path=f"{folder}/{ENTRY}", folder=folder)
        for folder in sorted(folders)
        if f"{folder}/{ENTRY}" not in taken
    ]
    loose = [path for path in _loose(scanned, folders) if path not in taken]
    single = _single(sources, loose, mark=mark)
    return tuple(sorted(_one_name_each(named, whole, single), key=lambda each: each.name))


def _named(tree: Tree, name: str, entry: str) -> Experiment | None:
    path, _, function = entry.partition(":")
    path = normpath(path)
    folder = None
    if tree.locate(join(path, ENTRY)):
        folder, path = path, join(path, ENTRY)
    elif basename(path) == ENTRY:
        folder = dirname(path) or None
    if tree.locate(path) is None:
        return None
    return Experiment(name=name, path=path, folder=folder, function=function or None, named=True)


_NEVER = re.compile("__pycache__/|node_modules/|site-packages/")


def _python(tree: Tree) -> list[str]:
    """The Python files that are the repository's own: not of caches or virtual environments."""
    environments = tuple(path[:-10] for path in tree.files if path.endswith("pyvenv.cfg"))
    return [
        path
        for path in tree.files
        if path.endswith(".py")
        and not _NEVER.search(path)
        and not (environments and path.startswith(environments))
    ]


def _visible(paths: Iterable[str], prefix: str) -> list[str]:
    """Files below a folder that lie in no hidden one."""
    start = max(len(prefix) - 1, 0)
    hidden = re.compile(r"(?:/|\A)\.").search
    return [path for path in paths if path.startswith(prefix) and not hidden(path, start)]


def _loose(scanned: list[str], folders: set[str]) -> list[str]:
    """Files of no experiment folder."""
    inside: dict[str, bool] = {}
    loose = []
    for path in scanned:
        folder, _, name = path.rpartition("/")
        if folder not in inside:
            inside[folder] = any(each in folders for each in (folder, *parents(folder)))
        if not inside[folder] and name not in {"__init__.py", "conftest.py"}:
            loose.append(path)
    return loose


def _single(sources: Sources, paths: Sequence[str], *, mark: bool) -> list[Experiment]:
    """The loose files that use Hera."""
    sources.scan(paths)
    using = [
        path
        for path in paths
        if sources.imports(path).uses_hera and _states_hera(sources.text(path))
    ]
    imported = sources.imported_among(using) if mark else ()
    top = sources.experiments_dir
    return [
        Experiment(name=_printable(_below(top, path)[:-3]), path=path, imported=path in imported)
        for path in using
    ]


_LISTS = rb"(?:glob|listdir|iterdir|scandir|iter_modules|walk_packages)"
LISTS_ITSELF = re.compile(rb"__all__.*" + _LISTS + rb"|" + _LISTS + rb".*__all__", re.DOTALL)
_USES_HERA = re.compile(
    rb"^[ \t]*(?:from|import)[ \t]+(?:hera|heraci|hera_utils|hera_k8s_utils)\b", re.MULTILINE
)


def _states_hera(text: bytes) -> bool:
    """Whether the import is a statement, and no example in a docstring."""
    for found in _USES_HERA.finditer(text):
        before = text[: found.start()]
        if before.count(b'"""') % 2 == 0 and before.count(b"'''") % 2 == 0:
            return True
    try:
        nodes = ast.walk(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return True
    return any(HERA & _top_names(node) for node in nodes)


def _top_names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {each.name.partition(".")[0] for each in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {(node.module or "").partition(".")[0]}
    return set()


def _one_name_each(
    named: list[Experiment], whole: list[Experiment], single: list[Experiment]
) -> Iterator[Experiment]:
    """What heraci.toml names comes first, then folders, then files; a loser keeps its suffix."""
    names = {each.name for each in named}
    yield from named
    for each in whole:
        unique = each if each.name not in names else _renamed(each, f"{each.name}/{ENTRY}")
        names.add(unique.name)
        yield unique
    for each in single:
        yield each if each.name not in names else _renamed(each, f"{each.name}.py")


def _renamed(each: Experiment, name: str) -> Experiment:
    return replace(each, name=name)


def _printable(path: str) -> str:
    if path.isascii():
        return path
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _below(top: str, path: str) -> str:
    return path[len(top) + 1 :] if top else path


def parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


# --- what one source imports --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: `from ..a import b` has level 2, module `a`, names `("b",)`."""

    module: str
    names: tuple[str, ...] = ()
    level: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Imports:
    """What a source says of the modules it uses; rather too much than too little.

    `dynamic` holds line and word of what can import any module; `unparsable` says that the text
    cannot be read at all. Broken syntax does not hide an import from the scan.
    """

    imports: tuple[Import, ...] = ()
    dynamic: tuple[tuple[int, str], ...] = ()
    edits_path: bool = False
    unparsable: bool = False

    @property
    def uses_hera(self) -> bool:
        """Whether it imports Hera, heraci or the two libraries that heraci carries on."""
        return any(
            each.level == 0 and each.module.partition(".")[0] in HERA for each in self.imports
        )


HERA = frozenset({"hera", "heraci", "hera_utils", "hera_k8s_utils"})
DYNAMIC = re.compile(
    rb"\b(import_module|__import__|spec_from_file_location|SourceFileLoader|load_source"
    rb"|runpy|execfile|exec(?=\s*\())"
)
EDITS_PATH = re.compile(
    rb"\bsys\s*\.\s*path\b|\bfrom\s+sys\s+import\b|\bsys\s+as\b|addsitedir|PYTHONPATH"
)
# One of these stands in whatever the two expressions find, and is looked for thirty times faster.
_DYNAMIC_WORDS = (b"import_", b"spec_from", b"SourceFile", b"load_source", b"runpy", b"exec")
_PATH_WORDS = (b"sys", b"addsitedir", b"PYTHONPATH")
_IMPORT = re.compile(r"import\b(.*)", re.DOTALL)
_FROM = re.compile(r"from\b\s*([.\s]*)([\w.\s]*?)\s*\bimport\b(.*)", re.DOTALL)
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def imports_of(source: bytes) -> Imports:
    """Scan one source, line by line: statements inside strings count too."""
    text = _newlines(source)
    if text is None:
        return Imports(unparsable=True)
    imports = dict.fromkeys(_statements(text))
    if b"\\\n" in text:
        imports |= dict.fromkeys(_statements(text.replace(b"\\\n", b" ")))
    return Imports(
        imports=tuple(imports),
        dynamic=tuple(
            (text.count(b"\n", 0, found.start()) + 1, found[1].decode())
            for found in DYNAMIC.finditer(text)
        )
        if any(word in text for word in _DYNAMIC_WORDS)
        else (),
        edits_path=any(word in text for word in _PATH_WORDS)
        and EDITS_PATH.search(text) is not None,
    )


def _newlines(source: bytes) -> bytes | None:
    """The text as UTF-8 with newlines only; None where Python would not read it either."""
    if b"coding" in source[:400] or source.startswith(b"\xef\xbb\xbf"):
        try:
            encoding, _ = tokenize.detect_encoding(BytesIO(source).readline)
            source = source.decode(encoding, "replace").encode()
        except (SyntaxError, LookupError):
            return None
    if b"\0" in source:
        return None
    if b"\r" in source:
        source = source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return source


def _statements(text: bytes) -> Iterator[Import]:
    if b"import" not in text:
        return
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        if b"import" in line:
            found = _line(line)
            yield from (_line(_until_closed(lines, number)) or ()) if found is None else found


def _until_closed(lines: list[bytes], number: int) -> bytes:
    """`from a import (` with the lines up to its closing bracket, comments left out."""
    parts = []
    for line in lines[number:]:
        part = line.partition(b"#")[0]
        parts.append(part)
        if b")" in part and (len(parts) > 1 or part.rfind(b")") > part.rfind(b"(")):
            return b" ".join(parts)
    return b" ".join(parts) + b")"


@lru_cache(maxsize=1 << 16)
def _line(line: bytes) -> tuple[Import, ...] | None:
    """The imports of one line, which is the same in many files; None where it goes on below."""
    text = line.decode("utf-8", "replace").strip().lstrip("\ufeff")
    if text.startswith("#"):
        return ()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    found: list[Import] = []
    # A statement begins the line, or follows a semicolon or the colon of `if`, `try`, …
    for piece in re.split(r"[;:]", text):
        parsed = _statement(piece.strip())
        if parsed is None:
            return None
        found += parsed
    return tuple(found)


def _statement(piece: str) -> list[Import] | None:
    plain = _IMPORT.match(piece)
    if plain:
        names = _names(plain[1])
        return [Import(name) for name in names]
    found = _FROM.match(piece)
    if not found:
        return []
    level = found[1].count(".")
    module = "".join(found[2].split())
    tail = found[3].partition("#")[0] if "\n" not in found[3] else found[3]
    if "(" in tail and ")" not in tail:
        return [Import(module)] if not level and is_of_hera(module) else None
    return [Import(module, tuple(_names(tail)), level)]


def _names(tail: str) -> list[str]:
    """`a.b as c, d` -> a.b, d; what is no name is prose in a string, and left out."""
    names = []
    for each in tail.partition("#")[0].replace("(", " ").replace(")", " ").split(","):
        name = re.sub(r"\s*\.\s*", ".", each.strip()).partition(" ")[0].partition("\t")[0]
        if name == "*" or _DOTTED.fullmatch(name):
            names.append(name)
    return names


def is_of_hera(module: str) -> bool:
    """Whether a module cannot be the repository's: its names need not be known then."""
    return module.partition(".")[0] in HERA


def _standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


# --- what one experiment is made of -------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Closure:
    """An experiment's entry and the modules of the repository that it imports.

    `files` maps each file to the one that imports it first, None for the entry.
    """

    files: Mapping[str, str | None]
    dynamic: tuple[tuple[str, int, str], ...] = ()
    unparsable: tuple[str, ...] = ()
    edits_path: bool = False


def source_closure(experiment: Experiment, tree: Tree, experiments_dir: str = "") -> Closure:
    """The entry and what it imports, transitively, found without running it."""
    return Sources(tree, experiments_dir).closure(experiment.path)


class Sources:
    """The Python files of one tree: read once, scanned once, resolved by path.

    Two trees of one repository share `seen`, so that what is equal at both ends is scanned once.
    """

    def __init__(
        self, tree: Tree, experiments_dir: str, seen: dict[str, Imports] | None = None
    ) -> None:
        self.tree = tree
        self.experiments_dir = "" if normpath(experiments_dir) == "." else normpath(experiments_dir)
        self._seen = {} if seen is None else seen
        self.prefix = f"{self.experiments_dir}/" if self.experiments_dir else ""
        self._texts: dict[str, bytes] = {}
        self._linked = bool(tree.links)

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
        if not self._linked and each.module.partition(".")[0] not in self._parts:
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
        """All names that folders and modules of the tree have."""
        folders = {path.rpartition("/")[0] for path in self.python}
        parts = {part for folder in folders for part in folder.split("/")}
        return frozenset(parts | {path.rpartition("/")[2][:-3] for path in self.python})

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


def stem(path: str) -> str:
    """The last part of a module's name."""
    name = basename(path)
    return basename(dirname(path)) if name == "__init__.py" else name.removesuffix(".py")


# --- which experiments a change affects ---------------------------------------------------------


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
READS = re.compile(
    rb"\bopen\s*\(|\.read\w*\s*\(|\bread_\w+|\bload\w*\s*\(|glob|listdir|iterdir|scandir"
    rb"|\bwalk\s*\(|\bgenfromtxt|Loader|get_data|\bfrom_file\w*|importlib.resources|pkgutil|subprocess|system"
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


class Texts:
    """Many sources as one text, to find a word in all of them at the speed of `bytes.find`."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._texts: list[bytes] = []

    def add(self, texts: Iterable[tuple[str, bytes]]) -> None:
        """Take in more files; one may come twice, with another text."""
        for path, text in texts:
            self.paths.append(path)
            self._texts.append(text)

    @cached_property
    def _all(self) -> tuple[bytes, list[int]]:
        ends = accumulate(len(text) + 1 for text in self._texts)
        return b"\n".join(self._texts), [0, *ends]

    def around(self, word: bytes) -> Iterator[tuple[str, bytes]]:
        """Files that hold a word, with their texts; an empty word is in all of them."""
        everything, starts = self._all
        found = everything.find(word)
        while 0 <= found < len(everything):
            number = bisect_right(starts, found) - 1
            yield self.paths[number], self._texts[number]
            found = everything.find(word, starts[number + 1])

    def holding(self, word: bytes) -> set[str]:
        """Paths of files that hold a word."""
        return {path for path, _ in self.around(word)}

    def matching(self, words: Iterable[bytes], patterns: Sequence[re.Pattern[bytes]]) -> set[str]:
        """Files that hold one of the words, and match one of the patterns."""
        texts = {(path, text) for word in words for path, text in self.around(word)}
        return {path for path, text in texts if any(each.search(text) for each in patterns)}


PLAIN = re.compile(rb"\w(?:[\w.-]*\w)?", re.ASCII)


def words_of(text: bytes) -> frozenset[bytes]:
    """The words of a text, names of files among them whole and in parts."""
    words = set(re.findall(rb"\w(?:[\w.-]*\w)?", text))
    return frozenset(words.union(*(re.findall(rb"\w+", word) for word in words)))


def holds(text: bytes, words: frozenset[bytes], word: str) -> bool:
    name = as_bytes(word)
    return name in words if PLAIN.fullmatch(name) else name in text


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


# --- reads that do not say what they read --------------------------------------------------------

_READING = re.compile(
    r"open|read_\w+|r?glob|listdir|iterdir|scandir|walk|load\w*(?<!loads)|genfromtxt|from_file\w*"
    r"|FileSystemLoader|PackageLoader|files|contents|get_data|run|call|check_\w+|Popen|system"
)
_CHILDREN = frozenset({"run", "call", "check_call", "check_output", "Popen", "system"})


@lru_cache(maxsize=1 << 14)
def reads_untold(source: bytes) -> int | None:
    """The line of the first read whose file no text in the source names; in doubt, any read."""
    if not READS.search(source):
        return None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return 1
    values = _assigned(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_read(node) and not _told(_what(node), values, 4):
            return node.lineno
    return None


def _is_read(call: ast.Call) -> bool:
    name = _called(call)
    if name in _CHILDREN:  # a child process reads what it likes
        owner = call.func.value if isinstance(call.func, ast.Attribute) else call.func
        return isinstance(owner, ast.Name) and owner.id in {"subprocess", "os", name}
    return _READING.fullmatch(name) is not None


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _what(call: ast.Call) -> list[ast.expr]:
    """The expressions that may name the file: the first argument, and whose method it is."""
    if _called(call) in _CHILDREN:
        return []
    found = [*call.args[:1], *(each.value for each in call.keywords if each.arg in _FILE_NAMES)]
    return [*found, call.func.value] if isinstance(call.func, ast.Attribute) else found


_FILE_NAMES = frozenset({"file", "path", "filename", "name", "pathname", "fname"})


def _assigned(tree: ast.AST) -> Mapping[str, list[ast.expr]]:
    """Every value that a name or an attribute is given anywhere."""
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        for target, value in _bindings(node):
            for each in ast.walk(target):
                if isinstance(each, (ast.Name, ast.Attribute)):
                    name = each.id if isinstance(each, ast.Name) else each.attr
                    values.setdefault(name, []).append(value)
    return values


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    match node:
        case ast.Assign():
            yield from ((target, node.value) for target in node.targets)
        case ast.AnnAssign(value=ast.expr() as value) | ast.AugAssign(value=value):
            yield node.target, value
        case ast.NamedExpr():
            yield node.target, node.value
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            yield node.target, node.iter
        case ast.withitem(optional_vars=ast.expr() as target):
            yield target, node.context_expr
        case _:
            pass


def _told(what: Iterable[ast.expr], values: Mapping[str, list[ast.expr]], depth: int) -> bool:
    """Whether an expression holds the name of a file or folder, directly or by a variable."""
    if depth == 0:
        return False
    for expression in what:
        for node in ast.walk(expression):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if _names_a_file(node.value, whole=not _pieced(expression, node)):
                    return True
            elif isinstance(node, (ast.Name, ast.Attribute)):
                name = node.id if isinstance(node, ast.Name) else node.attr
                if _told(values.get(name, ()), values, depth - 1):
                    return True
    return False


def _names_a_file(text: str, *, whole: bool) -> bool:
    parts = text.split("/")
    if not whole:  # the last part goes on in another piece
        parts.pop()
    return any(re.fullmatch(r"[^*?\[{}%]*\w\w[^*?\[{}%]*", part.strip()) for part in parts)


def _pieced(expression: ast.expr, constant: ast.Constant) -> bool:
    """Whether a text is one piece of an f-string or of a sum."""
    joins = (ast.JoinedStr, ast.BinOp)
    return any(
        isinstance(node, joins)
        and not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
        and any(each is constant for each in ast.walk(node))
        for node in ast.walk(expression)
    )
