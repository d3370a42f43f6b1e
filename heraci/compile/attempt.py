"""One run of an experiment: what is staged for it, how it is run, and whether to run it again."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from posixpath import dirname
from typing import Any

from heraci import __version__
from heraci.compile.environments import Environment
from heraci.compile.values import Request
from heraci.compile.workers import Ended, Task
from heraci.compile_worker import PLACEHOLDER, PLACEHOLDER_SERVER, PLACEHOLDER_TOKEN
from heraci.tree import Tree, parents

_PACKAGE = Path(__file__).parent.parent
# By what lies there scripts know the root of a repository, going up until they find it.
_MARKERS = ("heraci.toml", "pyproject.toml", "setup.cfg", "setup.py")
_MARKER_FOLDERS = (".git",)
_MOST_ROUNDS = 8
# What Python says of a relative import outside of a package.
_RELATIVE = ("no known parent package", "beyond top-level package")
_PLACEHOLDER_KUBECONFIG = f"""\
apiVersion: v1
kind: Config
current-context: {PLACEHOLDER}
contexts: [{{name: {PLACEHOLDER}, context: {{cluster: {PLACEHOLDER}, user: {PLACEHOLDER}}}}}]
clusters: [{{name: {PLACEHOLDER}, cluster: {{server: "{PLACEHOLDER_SERVER}"}}}}]
users: [{{name: {PLACEHOLDER}, user: {{token: {PLACEHOLDER_TOKEN}}}}}]
"""


@dataclass(frozen=True)
class _Manner:
    """How an author runs a script: in which folder, and as what; `tried` is what others touched."""

    folder: str
    module: str | None
    search: tuple[str, ...]
    tried: frozenset[str] = frozenset()


class Attempt:
    """One run of a request, with the files that are staged for it."""

    def __init__(
        self,
        request: Request,
        environment: Environment,
        *,
        more: Sequence[str] = (),
        round_: int = 0,
        manner: _Manner | None = None,
    ) -> None:
        self.request = request
        self.environment = environment
        self.more = tuple(more)
        self.round = round_
        self.manner = manner or _usual_manner(request)
        every = request.tree.files if request.whole_tree else (*request.files, *self.more)
        self.staged = {path for path in (*every, *_MARKERS) if request.tree.locate(path)}
        self.key = _key(request, environment)

    def with_files(self, ended: Ended) -> Attempt | None:
        """Give the next attempt, with the files that this one lacked; None where it had them."""
        missing = self.missing(ended)
        return self._again(more=(*self.more, *missing)) if missing else None

    def elsewhere(self, ended: Ended) -> Attempt | None:
        """Give the attempt to run it as its author may do, where this one failed for its manner.

        From another folder, where what it looked for in vain lies; as a module, where it imports
        relatively without being in a package.
        """
        error = (ended.result or {}).get("error")
        if not error or self.round >= _MOST_ROUNDS:
            return None
        usual, own = _usual_manner(self.request), dirname(self.request.path)
        tried = self.manner.tried | self._touched(ended)
        if any(each in str(error.get("message")) for each in _RELATIVE):
            module = self.request.path.removesuffix(".py").replace("/", ".")
            manner = replace(self.manner, module=module, search=("",), tried=tried)
            return self._again(manner=manner) if self.manner.search != ("",) else None
        if self.manner.folder != usual.folder or not own:
            return None
        tree: Any = self.request.tree
        known = _children(tree)
        absent = [
            path[len(own) + 1 :]
            for path in tried
            if path.startswith(own + "/") and path not in tree.files and path not in known
        ]
        folder = dirname(own)
        while True:
            found = [f"{folder}/{path}" if folder else path for path in absent]
            if any(path in tree.files or path in known for path in found):
                return self._again(manner=replace(self.manner, folder=folder, tried=tried))
            if not folder:
                return None
            folder = dirname(folder)

    def _again(
        self, *, more: Sequence[str] | None = None, manner: _Manner | None = None
    ) -> Attempt:
        return Attempt(
            self.request,
            self.environment,
            more=self.more if more is None else more,
            round_=self.round + 1,
            manner=manner or self.manner,
        )

    def _touched(self, ended: Ended) -> set[str]:
        return set((ended.result or {}).get("touched") or ()) | self.manner.tried

    def task(self, label: str, authors: Path) -> Task:
        request = self.request
        tree = request.tree
        staged = sorted(self.staged)
        warm = self.environment.python is None and not request.allow_network
        python = None
        if not warm:
            own = self.environment.python or self.environment.own_python
            worker = str(_PACKAGE / "compile_worker" / "__main__.py")
            beside = str(authors) if self.environment.python else ""
            python = [str(own), "-s", worker, beside, _own_hera()]
        there = {"", *_folders(staged)}
        last = [each for each in dict.fromkeys([request.experiments_dir, ""]) if each in there]
        job = {
            "name": request.name,
            "path": request.path,
            "folder": self.manner.folder,
            "function": request.function,
            "module": self.manner.module,
            "search": list(self.manner.search),
            "search_last": last,
            "arguments": dict(request.arguments),
            "inputs": dict(request.inputs),
            "environment": dict(request.environment),
            "own_environment": dict(request.own_environment),
            "others": list(request.others),
            "pin_randomness": request.pin_randomness,
            "allow_network": request.allow_network,
            "authors": str(authors) if self.environment.python else None,
        }
        return Task(
            label=label,
            job=job,
            files=lambda: tree.read_many(staged),
            folders=_MARKER_FOLDERS,
            environ=_environ(request),
            limits=request.limits,
            python=python,
            network=request.allow_network,
            extra_files={"kubeconfig": _PLACEHOLDER_KUBECONFIG.encode()},
        )

    def missing(self, ended: Ended) -> list[str]:
        """Give the repository's files that it asked for and that were not staged."""
        touched = (ended.result or {}).get("touched") or []
        if not isinstance(touched, list) or self.round >= _MOST_ROUNDS:
            return []
        tree: Any = self.request.tree
        files = tree.files
        asked = {path for path in touched if isinstance(path, str)} - self.staged
        found = {path for path in asked if path in files}
        # A folder that was listed or looked for: what lies directly in it.
        folders = (asked - found) & _children(tree).keys() if asked - found else set()
        if folders:
            found |= {path for path in files if dirname(path) in folders}
            found |= _first_below(files, folders)
        wanted = found - self.staged
        if not wanted and self._lacks_module(ended) and not self.request.whole_tree:
            wanted = {path for path in files if path.endswith(".py")} - self.staged
        return sorted(path for path in wanted if self.request.tree.locate(path))

    def _lacks_module(self, ended: Ended) -> bool:
        error = (ended.result or {}).get("error") or {}
        return "no module named" in str(error.get("message"))

    def cacheable(self, ended: Ended) -> bool:
        """Tell whether running it again would give the same: not so after a timeout or a crash."""
        return ended.result is not None and not self.request.allow_network

    def extra(self, ended: Ended) -> dict[str, str]:
        """Give what it touched beyond the files of its key, there or not, with identities."""
        known = set(self.request.files)
        tree = self.request.tree
        return {path: _identity(tree, path) for path in self._touched(ended) - known}

    def sources(self, ended: Ended) -> tuple[str, ...]:
        touched = self._touched(ended)
        python = {path for path in self.request.files if path.endswith(".py")}
        return tuple(sorted((touched | python) & self.staged))


def _usual_manner(request: Request) -> _Manner:
    """Give the way in which most authors run a script: in its own folder."""
    own = dirname(request.path)
    package = _package_root(request.path, request.tree.files)
    search = (package,) if package != own else ()
    return _Manner(folder=own, module=_module(request.path, package), search=search)


def holds_in(tree: Tree) -> Callable[[str, Mapping[str, str]], bool]:
    """Make the cache's question: is what an experiment touched in this tree as it was?"""
    return lambda _, extra: all(_identity(tree, path) == each for path, each in extra.items())


def _environ(request: Request) -> dict[str, str]:
    """Give the variables that scripts read: what the target is, and placeholders for secrets."""
    environ = {
        "ARGO_SERVER": request.argo_server or PLACEHOLDER_SERVER,
        "ARGO_NAMESPACE": request.namespace or PLACEHOLDER,
        "ARGO_SERVICE_ACCOUNT": request.service_account or PLACEHOLDER,
        "ARGO_TOKEN": PLACEHOLDER_TOKEN,
        "KUBECONFIG": "{folder}/kubeconfig",
        "HERACI": __version__,
    }
    return environ | dict(request.environ)


def _package_root(path: str, files: Mapping[str, str]) -> str:
    """Give the folder above the outermost package that a file is in; its own where in none."""
    folder = dirname(path)
    while folder and f"{folder}/__init__.py" in files:
        if not folder.rpartition("/")[2].isidentifier():
            break
        folder = dirname(folder)
    return folder


def _module(path: str, package_root: str) -> str | None:
    if package_root == dirname(path):
        return None
    return path[len(package_root) :].strip("/").removesuffix(".py").replace("/", ".")


def _folders(files: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in files:
        folder = dirname(path)
        while folder and folder not in found:
            found.add(folder)
            folder = dirname(folder)
    return found


@lru_cache(maxsize=4)
def _children(tree: Any) -> dict[str, set[str]]:
    """Give the paths of what lies directly in each folder; the root's is empty."""
    found: dict[str, set[str]] = {}
    for path in tree.files:
        while path:
            inside = found.setdefault(dirname(path), set())
            if path in inside:
                break
            inside.add(path)
            path = dirname(path)
    return found


def _first_below(files: Iterable[str], folders: set[str]) -> set[str]:
    """Give one file of each folder inside the given ones, so that they are there to be listed."""
    first: dict[str, str] = {}
    for path in files:
        for parent in parents(path):
            if dirname(parent) in folders:
                first.setdefault(parent, path)
    return set(first.values())


def _identity(tree: Any, path: str) -> str:
    """Give what must stay the same for what was touched to be the same."""
    if path in tree.files:
        return str(tree.files[path])
    inside = sorted(_children(tree).get(path, ()))
    return "folder:" + hashlib.sha256("\0".join(inside).encode()).hexdigest() if inside else ""


@cache
def _own_hera() -> str:
    return metadata.version("hera")


@cache
def _own_versions() -> tuple[str, ...]:
    """Give what of heraci itself decides the bytes: its compiler, its author classes, its Hera."""
    own = hashlib.sha256()
    rooms = sorted((_PACKAGE / "compile").glob("*.py"))
    worker = sorted((_PACKAGE / "compile_worker").rglob("*.py"))
    for file in (*rooms, *worker, _PACKAGE / "experiment.py", _PACKAGE / "document.py"):
        own.update(file.read_bytes())
    return (own.hexdigest(), platform.python_version(), _own_hera())


def _key(request: Request, environment: Environment) -> str:
    tree = request.tree
    known = {path: tree.files[path] for path in request.files if path in tree.files}
    parts = [
        _own_versions(),
        environment.key,
        request.name,
        request.path,
        request.function,
        request.strict,
        request.whole_tree,
        request.experiments_dir,
        sorted(request.others),
        request.inputs,
        request.environment,
        request.own_environment,
        request.arguments,
        request.environ,
        request.namespace,
        request.argo_server,
        request.service_account,
        request.pin_randomness,
        request.allow_network,
        known,
    ]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
