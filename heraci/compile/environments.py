"""Experiments' own Python: what they declare to need, installed once by uv into a cached folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import tomllib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

from heraci.bundle import Finding, Severity
from heraci.compile.removal import remove_tree
from heraci.compile.workers import Ended, Limits, Task, Workers
from heraci.tree import Tree

REQUIREMENTS = ("requirements.txt", "pyproject.toml")
_SCRIPT_BLOCK = re.compile(rb"^# /// script\s*$(.*?)^# ///\s*$", re.MULTILINE | re.DOTALL)
_INCLUDE = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)
_LOCAL = re.compile(
    r"^\s*(?:-e\s|--editable|\.|file:|[\w.\[\],-]+\s*@\s*(?:file:|\.))", re.MULTILINE
)
# Installing may take long and write much; building may start many compilers.
_LIMITS = Limits(seconds=900, memory=None, file_size=8 << 30, open_files=4096, processes=128)
# What an installer needs to find packages; each is looked through for credentials first.
_PASSED = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"),
    *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_HTTP_TIMEOUT"),
)
_FROM_PIP = {
    "PIP_INDEX_URL": "UV_INDEX_URL",
    "PIP_EXTRA_INDEX_URL": "UV_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}
_PYTHON_NAME = re.compile(r"python3\.\d+")
_CREDENTIAL_IN_URL = re.compile(r"//[^/\s]*@")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A Python to compile with: heraci's own (`python` is None) or a cached one.

    `key` stands for all that decides what is in it, `pins` are `name==version` lines.
    """

    key: str = "own"
    python: Path | None = None
    pins: tuple[str, ...] = ()

    @property
    def own_python(self) -> Path:
        """heraci's own interpreter."""
        return Path(sys.executable)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What an experiment declares: requirement files with their texts, and a range of Pythons."""

    file: str
    requirements: Mapping[str, bytes]
    names: tuple[str, ...]
    python: str | None = None
    whole_tree: bool = False

    @property
    def key(self) -> str:
        """Stands for the declaration's content."""
        taken = hashlib.sha256(repr((self.names, self.python)).encode())
        for name, content in sorted(self.requirements.items()):
            taken.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return taken.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One experiment's question: its entry, the file that declares, a chosen Python, its tree."""

    path: str
    dependencies: str | None
    python: str | None
    tree: Tree = field(repr=False)


def declared_in(
    tree: Tree, path: str, experiments_dir: str, dependencies_from: Sequence[str] = ()
) -> str | None:
    """Find the file that says what an entry needs: itself, or the nearest up to the experiments.

    `dependencies_from` names files or folders that count instead.
    """
    if tree.locate(path) is None:
        return None  # a link out of the repository: compiling it will say so
    if b"# /// script" in tree.read_many([path])[path]:
        return path
    for place in dependencies_from:
        place = normpath(place)
        for candidate in (place, *(normpath(join(place, name)) for name in REQUIREMENTS)):
            if tree.locate(candidate):
                return candidate
    folder, top = dirname(path), normpath(experiments_dir)
    while True:
        for name in REQUIREMENTS:
            candidate = join(folder, name)
            if candidate in tree.files and _declares(tree, candidate):
                return candidate
        if folder in (top, "") or not f"{folder}/".startswith(f"{top}/"):
            return None
        folder = dirname(folder)


def _declares(tree: Tree, path: str) -> bool:
    if not path.endswith(".toml"):
        return True
    try:
        project = _toml(tree.read_many([path])[path]).get("project", {})
    except ValueError:
        return True  # broken: say so when it is read
    return "dependencies" in project or "requires-python" in project


def _toml(content: bytes) -> dict[str, Any]:
    return tomllib.loads(content.decode())


class Environments:
    """The cached environments of one cache folder."""

    def __init__(
        self,
        folder: Path,
        *,
        environ: Mapping[str, str],
        offline: bool = False,
        index_url: str | None = None,
    ) -> None:
        self._folder = folder
        self._environ = environ
        self._offline = offline
        self._index_url = index_url
        self._known: dict[str, Environment | str] = {}

    @property
    def folders(self) -> list[Path]:
        """What workers must be able to read: the environments and the Pythons they are made of."""
        with_uv = Path(_uv()).parent
        pythons = [each.parent for each in self._interpreters]
        return [self._folder, self.authors, with_uv, *pythons]

    @cached_property
    def authors(self) -> Path:
        """A folder that holds heraci's author classes and nothing else of it."""
        package = Path(__file__).parent.parent
        sources = {name: (package / name).read_bytes() for name in ("__init__.py", "experiment.py")}
        key = hashlib.sha256(b"\0".join(sources.values())).hexdigest()[:16]
        target = self._folder / "authors" / key
        if not target.is_dir():
            self._make_folder(target.parent)
            with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
                new = Path(temporary) / "new"
                (new / "heraci").mkdir(parents=True)
                for name, content in sources.items():
                    (new / "heraci" / name).write_bytes(content)
                _open_to_all(new, None)
                _move(new, target)
        return target

    def prepare(self, questions: Sequence[Wanted], workers: Workers) -> list[Environment | Finding]:
        """Give each question's environment, installing what is not there, or a finding."""
        answers: list[Environment | Finding | str] = []
        missing: dict[str, tuple[Declaration, str]] = {}
        declarations: dict[tuple[int, str | None, str | None], Declaration | Finding] = {}
        for question in questions:
            if question.dependencies is None and question.python is None:
                answers.append(Environment())
                continue
            about = (id(question.tree), question.dependencies, question.python)
            declaration = declarations.get(about) or _declaration(question)
            declarations[about] = declaration
            if isinstance(declaration, Finding):
                answers.append(declaration)
                continue
            key = self._key(declaration, question)
            if key not in self._known and key not in missing and not self._read(key):
                missing[key] = (declaration, question.path)
                self._sources[key] = question
            answers.append(key)
        if missing:
            self._install(missing, workers)
        return [self._answer(each, q) for each, q in zip(answers, questions, strict=True)]

    @cached_property
    def _sources(self) -> dict[str, Wanted]:
        return {}

    def _answer(
        self, answer: Environment | Finding | str, question: Wanted
    ) -> Environment | Finding:
        if not isinstance(answer, str):
            return answer
        known = self._known[answer]
        if isinstance(known, Environment):
            return known
        file = question.dependencies or question.path
        if "UnknownIssuer" in known:
            known += (
                "\nWhere a proxy signs what passes, set UV_SYSTEM_CERTS=true (the certificates of "
                "this system), or SSL_CERT_FILE to the file with its certificate."
            )
        return Finding(
            rule="dependencies",
            severity=Severity.ERROR,
            message=f"the packages that {file} asks for cannot be installed:\n{known}",
            file=file,
        )

    def _key(self, declaration: Declaration, question: Wanted) -> str:
        parts = [declaration.key, metadata.version("hera"), metadata.version("uv"), sys.platform]
        parts += [str(each) for each in self._interpreters]
        if declaration.whole_tree:
            parts += sorted(f"{path}={each}" for path, each in question.tree.files.items())
        return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]

    def _read(self, key: str) -> bool:
        """Look for an environment that was made before."""
        folder = self._folder / "environments" / key
        try:
            told = json.loads((folder / "heraci.json").read_text())
        except (OSError, ValueError):
            return False
        python = folder / "bin" / "python"
        self._known[key] = Environment(key=key, python=python, pins=tuple(told["pins"]))
        return True

    def _install(self, missing: Mapping[str, tuple[Declaration, str]], workers: Workers) -> None:
        self._make_folder(self._folder / "environments")
        waiting = deque(missing.items())

        def next_task() -> Task | None:
            if not waiting:
                return None
            key, (declaration, _) = waiting.popleft()
            return self._task(key, declaration)

        for task, ended in workers.run(next_task):
            self._known[task.label] = self._made(task, ended)

    def _task(self, key: str, declaration: Declaration) -> Task:
        options = ["--offline"] if self._offline else []
        environ = self._installer_environ()
        no_build = False
        if self._index_url:
            environ["UV_DEFAULT_INDEX"] = self._index_url
            # uv alone may know its credentials; a build would be strangers' code beside them.
            no_build = bool(_CREDENTIAL_IN_URL.search(self._index_url))
        wanted = {
            "python": declaration.python or str(self._interpreters[0] / _own_name()),
            "requirements": list(declaration.names),
            "options": options,
            "no_build": no_build,
            "hera": f"hera[yaml]=={metadata.version('hera')}",
        }
        files = {f"requirements/{name}": each for name, each in declaration.requirements.items()}
        if declaration.whole_tree:
            tree = self._sources[key].tree
            every = [path for path in tree.files if tree.locate(path)]
            files = {f"requirements/{name}": each for name, each in tree.read_many(every).items()}
            files |= {f"requirements/{n}": each for n, each in declaration.requirements.items()}
        installer = str(Path(__file__).with_name("install.py"))
        return Task(
            label=key,
            command=[sys.executable, "-s", "-P", installer, _uv()],
            extra_files={**files, "install.json": json.dumps(wanted).encode()},
            environ=environ,
            limits=_LIMITS,
            network=True,
            keep=("env", self._folder / "environments" / f".{key}.{os.getpid()}"),
        )

    def _installer_environ(self) -> dict[str, str]:
        given = {name: self._environ[name] for name in _PASSED if name in self._environ}
        for name, uv_name in _FROM_PIP.items():
            if name in self._environ:
                given.setdefault(uv_name, self._environ[name])
        return {
            "PATH": os.pathsep.join(map(str, (*self._interpreters, "/usr/bin", "/bin"))),
            "UV_CACHE_DIR": "{folder}/uv",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_LINK_MODE": "copy",
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
            **{name: each for name, each in given.items() if not _CREDENTIAL_IN_URL.search(each)},
        }

    def _made(self, task: Task, ended: Ended) -> Environment | str:
        assert task.keep is not None
        made = task.keep[1]
        pins = (ended.result or {}).get("pins")
        if ended.failure or not isinstance(pins, list):
            remove_tree(str(made))
            said = [self._redacted(each) for each in ended.log.splitlines() if each.strip()][-12:]
            return "\n".join(f"  {line}" for line in said) or f"  {ended.failure}"
        try:
            _open_to_all(made, made.lstat().st_uid)
            _write_new(made / "heraci.json", json.dumps({"pins": [str(each) for each in pins]}))
        except (OSError, RecursionError) as error:
            remove_tree(str(made))
            return f"  what was installed cannot be kept: {error}"
        _move(made, made.with_name(task.label))
        self._read(task.label)
        return self._known[task.label]

    def _redacted(self, text: str) -> str:
        """Take the index's credentials out of what uv says."""
        for found in _CREDENTIAL_IN_URL.findall(self._index_url or ""):
            for part in (found.strip("/@"), *found.strip("/@").split(":")):
                text = text.replace(part, "****") if part else text
        return text

    @cached_property
    def _interpreters(self) -> list[Path]:
        """The folders of the Pythons on this machine, heraci's own first."""
        folders = [Path(sys.base_prefix) / "bin"]
        home = Path(self._environ.get("HOME", "/nonexistent"))
        for pattern in (".pyenv/versions/3*/bin", ".local/share/uv/python/*/bin"):
            folders += sorted(home.glob(pattern), reverse=True)
        folders += [Path(each) for each in self._environ.get("PATH", "").split(os.pathsep) if each]
        own = Path(sys.prefix) / "bin"
        known: dict[Path, None] = {}
        for folder in folders:
            # A shim starts another program that must be found; an environment is no interpreter.
            if folder == own or "shims" in folder.parts or (folder.parent / "pyvenv.cfg").exists():
                continue
            for python in sorted(folder.glob("python3.*")):
                # Where it really lies: the folder of a link, ~/.local/bin, holds more than Pythons.
                real = Path(os.path.realpath(python)).parent
                if _PYTHON_NAME.fullmatch(python.name) and _is_open(real.parent):
                    known.setdefault(real)
        return list(known)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o755)


def _own_name() -> str:
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def _uv() -> str:
    """Give the path of the uv that came with heraci."""
    from uv import find_uv_bin

    return os.path.realpath(find_uv_bin())


def _declaration(question: Wanted) -> Declaration | Finding:
    """Read what an experiment declares; a finding where it cannot be read."""
    tree, file = question.tree, question.dependencies
    if file is None:
        return Declaration(file=question.path, requirements={}, names=(), python=question.python)
    content = tree.read_many([file])[file]
    try:
        if file.endswith(".toml"):
            found = _from_project(file, _toml(content).get("project", {}))
        elif file.endswith(".py"):
            found = _from_block(file, content)
        else:
            found = _from_requirements(tree, file)
    except ValueError as error:
        return Finding(
            rule="dependencies",
            severity=Severity.ERROR,
            message=f"{file} cannot be read: {error}",
            file=file,
        )
    if question.python:
        return Declaration(**{**_fields(found), "python": question.python})
    return found


def _fields(declaration: Declaration) -> dict[str, Any]:
    return {name: getattr(declaration, name) for name in Declaration.__dataclass_fields__}


def _from_project(file: str, project: Mapping[str, Any]) -> Declaration:
    return _from_list(file, project.get("dependencies", []), project.get("requires-python"))


def _from_block(file: str, content: bytes) -> Declaration:
    """Read a PEP 723 block: TOML in comments at the head of a script."""
    match = _SCRIPT_BLOCK.search(content)
    if match is None:
        raise ValueError("its block of script metadata (# /// script) is not closed by # ///")
    lines = [re.sub(r"^# ?", "", line) for line in match[1].decode().splitlines()]
    block = tomllib.loads("\n".join(lines))
    return _from_list(file, block.get("dependencies", []), block.get("requires-python"))


def _from_list(file: str, dependencies: Any, python: Any) -> Declaration:
    if not isinstance(dependencies, list) or not all(
        isinstance(each, str) for each in dependencies
    ):
        raise ValueError("its dependencies are no list of strings")
    text = "\n".join(_without_heraci(dependencies)) + "\n"
    return Declaration(
        file=file,
        requirements={"declared.txt": text.encode()},
        names=("declared.txt",),
        python=str(python) if python else None,
    )


def _from_requirements(tree: Tree, file: str) -> Declaration:
    """Read a requirements file with those that it includes."""
    texts: dict[str, bytes] = {}
    waiting = [file]
    local = False
    while waiting:
        path = waiting.pop(0)
        if path in texts:
            continue
        if tree.locate(path) is None:
            raise ValueError(f"it includes {path}, which does not exist")
        text = tree.read_many([path])[path].decode()
        local = local or bool(_LOCAL.search(text))
        texts[path] = "\n".join(_without_heraci(text.splitlines())).encode() + b"\n"
        waiting += [normpath(join(dirname(path), each)) for each in _INCLUDE.findall(text)]
    return Declaration(file=file, requirements=texts, names=(file,), whole_tree=local)


def _without_heraci(lines: Iterable[str]) -> list[str]:
    """Leave heraci itself out: its author classes are laid beside whatever is installed."""
    # What is editable would lead to the copy of the repository that it was installed from.
    lines = [re.sub(r"^\s*(?:-e|--editable)[\s=]+", "", each) for each in lines]
    return [each for each in lines if not re.match(r"\s*heraci\b", each)]


def _open_to_all(folder: Path, owner: int | None) -> None:
    """Let all users read what an owner made, and nobody but us change it.

    Only what belongs to the owner is touched: a link or a foreign file is left as it is.
    """
    as_root = os.geteuid() == 0
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            about = os.lstat(path)
            if stat.S_ISLNK(about.st_mode) or (owner is not None and about.st_uid != owner):
                continue
            if as_root:
                os.chown(path, 0, 0, follow_symlinks=False)
            readable = 0o755 if stat.S_ISDIR(about.st_mode) or about.st_mode & 0o100 else 0o644
            os.chmod(path, readable)


def _is_open(folder: Path) -> bool:
    """Tell whether all users may look into a folder; a home, that of root, is for one alone."""
    try:
        return os.geteuid() != 0 or bool(folder.stat().st_mode & stat.S_IXOTH)
    except OSError:
        return False


def _write_new(path: Path, text: str) -> None:
    """Write a file that is ours, whatever a build put in its place: a link leads anywhere."""
    remove_tree(str(path))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
        file.write(text)


def _move(made: Path, target: Path) -> None:
    """Move a finished folder to its place; whoever came first stays."""
    try:
        os.rename(made, target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(made, ignore_errors=True)
