"""Which experiments a repository has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from posixpath import basename, dirname, join, normpath

from heraci.changes.imports import HERA
from heraci.changes.sources import Sources
from heraci.tree import Tree, parents

ENTRY = "experiment.py"
_USES_HERA = re.compile(
    rb"^[ \t]*(?:from|import)[ \t]+(?:hera|heraci|hera_utils|hera_k8s_utils)\b", re.MULTILINE
)


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
    sources: Sources, entries: Mapping[str, str] | None = None, *, mark: bool = True
) -> tuple[Experiment, ...]:
    """All experiments of a tree, by name; `entries` are those that heraci.toml names.

    Without `mark` nobody asks which of them others import, which takes reading every script.
    """
    entries = entries or {}
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


def missing_entries(tree: Tree, entries: Mapping[str, str]) -> tuple[str, ...]:
    """Names in heraci.toml whose file is not there."""
    return tuple(name for name in sorted(entries) if _named(tree, name, entries[name]) is None)


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
            inside[folder] = folder in folders or any(up in folders for up in parents(folder))
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


def _below(top: str, path: str) -> str:
    return path[len(top) + 1 :] if top else path
