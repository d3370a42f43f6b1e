"""Compile: experiments in, the documents that they would submit out, each from its own process.

This is the parent's side. It knows what an experiment is made of, what was compiled before, and
how to turn what a worker sends, which is untrusted data, into manifests and findings.
"""

from __future__ import annotations

import gc
import hashlib
import json
import platform
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from posixpath import dirname
from typing import Any, Protocol, Self

from heraci import __version__, document
from heraci.bundle import Finding, LazyDocument, Manifest, Origin, Requirement, Severity, plain
from heraci.compile_cache import Cache
from heraci.compile_environments import Environment, Environments, Wanted
from heraci.compile_worker import PLACEHOLDER, PLACEHOLDER_SERVER, PLACEHOLDER_TOKEN
from heraci.compile_workers import Ended, Limits, Task, Workers

# By what lies there scripts know the root of a repository, going up until they find it.
_MARKERS = ("heraci.toml", "pyproject.toml", "setup.cfg", "setup.py")
_MARKER_FOLDERS = (".git",)
KINDS = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow")
_MOST_ROUNDS = 8
# What faulthandler writes.
_STACK = re.compile(r"^(?:Stack|Current thread) .*\n(?:  File .*\n?)+", re.MULTILINE)
_STACK_LINE = re.compile(r'^  File "(.*)", line (\d{1,6}) in ', re.MULTILINE)
# What Python says of a relative import outside of a package.
_RELATIVE = ("no known parent package", "beyond top-level package")
_LONGEST_MESSAGE = 20_000
_PLACEHOLDER_KUBECONFIG = f"""\
apiVersion: v1
kind: Config
current-context: {PLACEHOLDER}
contexts: [{{name: {PLACEHOLDER}, context: {{cluster: {PLACEHOLDER}, user: {PLACEHOLDER}}}}}]
clusters: [{{name: {PLACEHOLDER}, cluster: {{server: "{PLACEHOLDER_SERVER}"}}}}]
users: [{{name: {PLACEHOLDER}, user: {{token: {PLACEHOLDER_TOKEN}}}}}]
"""
_SECRET_NAME = re.compile(
    r"token|secret|passw|credential|(api|private|access)_?key|auth|kubeconfig", re.IGNORECASE
)
# What well-known credentials look like; the key is looked for first, which costs next to nothing.
_SECRET_VALUES = {
    "eyJ": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\."),
    "ghp_": re.compile(r"\bghp_\w{20,}"),
    "gho_": re.compile(r"\bgho_\w{20,}"),
    "ghs_": re.compile(r"\bghs_\w{20,}"),
    "github_pat_": re.compile(r"\bgithub_pat_\w{20,}"),
    "glpat-": re.compile(r"\bglpat-[\w-]{20,}"),
    "AKIA": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "PRIVATE KEY-----": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}


class Tree(Protocol):
    """A snapshot of the repository's files; see `heraci.changes.Tree`."""

    @property
    def label(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...
    @property
    def links(self) -> Mapping[str, str]: ...
    def locate(self, path: str) -> str | None: ...
    def read_many(self, paths: Iterable[str]) -> Mapping[str, bytes]: ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """One experiment to compile from one tree.

    `files` are the paths that it is known to need. `strict` makes it an error to build nothing.
    `arguments` are for its own parser, `environ` holds variables that it may see, `namespace`,
    `argo_server` and `service_account` are the target's. `dependencies` is the file that says what
    packages it needs, None for heraci's own Python.
    """

    name: str
    path: str
    tree: Tree = field(repr=False)
    files: tuple[str, ...]
    function: str | None = None
    whole_tree: bool = False
    strict: bool = True
    others: tuple[str, ...] = ()
    experiments_dir: str = "experiments"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    own_environment: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    namespace: str | None = None
    argo_server: str | None = None
    service_account: str | None = None
    dependencies: str | None = None
    python: str | None = None
    pin_randomness: bool = True
    allow_network: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What compiling one experiment gave.

    `failed` says that its manifests are not to be used. `text` is the YAML of all manifests,
    `source_files` are the repository's files that decided the result.
    """

    name: str
    path: str
    manifests: tuple[Manifest, ...] = ()
    text: str = ""
    requirements: tuple[Requirement, ...] = ()
    findings: tuple[Finding, ...] = ()
    source_files: tuple[str, ...] = ()
    failed: bool = False
    empty: bool = False
    log: str = ""
    python: str | None = None
    hera: str | None = None
    pins: tuple[str, ...] = ()
    cached: bool = False


class Compiler:
    """Compiles requests, the cached ones first; a context manager that ends every worker."""

    def __init__(
        self,
        *,
        jobs: int,
        cache: Cache | None,
        environments: Environments,
        secrets: Sequence[str] = (),
    ) -> None:
        # One more slot than processors: a worker is ready while another's result is written.
        self._workers = Workers(jobs=jobs + 1, needed=environments.folders)
        self._environments = environments
        self._cache = cache
        self._secrets = [each for each in secrets if len(each) >= 8]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._workers.__exit__(*raised)

    @property
    def isolated(self) -> bool:
        """Tell whether each worker runs under a uid of its own."""
        return self._workers.isolated

    def warm_up(self, expected: int) -> None:
        """Let the first worker get ready while the requests, about so many, are still made."""
        self._workers.expected = expected
        self._workers.warm_up()

    def compile(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Compile each request and give it with its outcome, in the order of completion."""
        environments = self._prepare(requests)
        waiting: deque[_Attempt] = deque()
        for request, environment in zip(requests, environments, strict=True):
            if isinstance(environment, Finding):
                finding = replace(environment, experiment=request.name)
                yield request, _failed(request, finding)
            elif request.tree.locate(request.path) is None:
                message = "is a link that leads out of the repository, or to nothing"
                yield request, _failed(request, _finding(request, "compile-failed", message))
            else:
                waiting.append(_Attempt(request, environment))
        found = self._recall(waiting)
        attempts = deque(each for each in waiting if id(each) not in found)
        self._workers.expected = len(attempts)
        for attempt in waiting:
            if id(attempt) in found:
                yield attempt.request, _revive(attempt.request, found[id(attempt)])
        yield from self._run(attempts)

    def _prepare(self, requests: Sequence[Request]) -> list[Environment | Finding]:
        """Give the Python that each request runs with, or what is wrong with it."""
        wanted = [
            Wanted(
                path=each.path, dependencies=each.dependencies, python=each.python, tree=each.tree
            )
            for each in requests
        ]
        return self._environments.prepare(wanted, self._workers)

    def _recall(self, attempts: Iterable[_Attempt]) -> dict[int, dict[str, Any]]:
        """Give what the cache knows of each attempt, by its id.

        Base and head may share a key and yet differ in what the experiment will touch.
        """
        if self._cache is None:
            return {}
        found = {}
        trees = {id(each.request.tree): each.request.tree for each in attempts}
        for tree in trees.values():
            asked = [each for each in attempts if each.request.tree is tree]
            known = self._cache.find(dict.fromkeys(each.key for each in asked), _holds_in(tree))
            found.update({id(each): known[each.key] for each in asked if each.key in known})
        return found

    def _run(self, attempts: deque[_Attempt]) -> Iterator[tuple[Request, Outcome]]:
        if attempts:
            # What is here now stays until the end: collecting it takes a tenth of the time.
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            gc.enable()
        running: dict[str, _Attempt] = {}
        kept: list[tuple[str, Mapping[str, str], str]] = []
        number = 0

        def next_task() -> Task | None:
            nonlocal number
            if not attempts:
                return None
            number += 1
            attempt = attempts.popleft()
            running[str(number)] = attempt
            return attempt.task(str(number), self._environments.authors)

        try:
            for task, ended in self._workers.run(next_task):
                attempt = running.pop(task.label)
                ended = _checked(ended)
                again = attempt.with_files(ended) or attempt.elsewhere(ended)
                if again is not None:
                    attempts.appendleft(again)
                    continue
                outcome = self._outcome(attempt, ended)
                if attempt.cacheable(ended):
                    kept.append((attempt.key, attempt.extra(ended), _preserve(outcome)))
                yield attempt.request, outcome
        finally:
            if self._cache is not None:
                self._cache.keep(kept)

    def _outcome(self, attempt: _Attempt, ended: Ended) -> Outcome:
        request = attempt.request
        reader = _Reader(request, self._secrets)
        if ended.result is None:
            message = ended.failure or "ended without a result: the script ended its own process"
            place, log = _stopped_at(ended.log, request.tree.files)
            finding = _finding(request, "compile-failed", _with_log(message, log))
            if place:
                finding = replace(finding, file=place[0], line=place[1])
            return replace(_failed(request, finding), log=log)
        try:
            outcome = reader.read(ended.result, ended.log)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            finding = _finding(request, "compile-failed", f"sent what is no result: {error!r:.300}")
            return replace(_failed(request, finding), log=ended.log)
        return replace(
            outcome,
            pins=attempt.environment.pins,
            source_files=attempt.sources(ended),
        )


def _holds_in(tree: Tree) -> Callable[[str, Mapping[str, str]], bool]:
    """Make the cache's question: is what an experiment touched in this tree as it was?"""
    return lambda _, extra: all(_identity(tree, path) == each for path, each in extra.items())


@dataclass(frozen=True)
class _Manner:
    """How an author runs a script: in which folder, and as what; `tried` is what others touched."""

    folder: str
    module: str | None
    search: tuple[str, ...]
    tried: frozenset[str] = frozenset()


class _Attempt:
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

    def with_files(self, ended: Ended) -> _Attempt | None:
        """Give the next attempt, with the files that this one lacked; None where it had them."""
        missing = self.missing(ended)
        return self._again(more=(*self.more, *missing)) if missing else None

    def elsewhere(self, ended: Ended) -> _Attempt | None:
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
    ) -> _Attempt:
        return _Attempt(
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
        command = None
        if not warm:
            python = self.environment.python or self.environment.own_python
            worker = str(Path(__file__).with_name("compile_worker") / "__main__.py")
            command = [str(python), "-s", worker, "3", "4"]
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
            command=command,
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


class _Reader:
    """Reads what a worker sent, which is untrusted, as manifests and findings."""

    def __init__(self, request: Request, secrets: Sequence[str]) -> None:
        self.request = request
        self.secrets = secrets
        self.findings: list[Finding] = []

    def read(self, result: Mapping[str, Any], log: str) -> Outcome:
        request = self.request
        self.findings = [self.finding(each) for each in result["findings"]]
        failed = bool(result["error"])
        if failed:
            error = self.finding(result["error"])
            self.findings.append(replace(error, message=_with_log(error.message, log)))
        manifests = tuple(self.manifest(each, n) for n, each in enumerate(result["documents"]))
        requirements = tuple(self.requirement(each) for each in result["requirements"])
        if not manifests and not failed:
            self.nothing_built(log)
        failed = failed or (not manifests and request.strict)
        return Outcome(
            name=request.name,
            path=request.path,
            manifests=manifests,
            text=document.dump(each.document for each in manifests),
            requirements=requirements,
            findings=tuple(self.findings),
            failed=failed,
            empty=not manifests and not failed,
            log=log,
            python=str(result["python"]),
            hera=result["hera"] and str(result["hera"]),
        )

    def nothing_built(self, log: str) -> None:
        message = (
            "built no workflow. Define one at module level, call create() under "
            '`if __name__ == "__main__":`, or derive a class from heraci.Experiment; a function '
            "that makes it is named as `path:function` in heraci.toml."
        )
        severity = Severity.ERROR if self.request.strict else Severity.WARNING
        finding = _finding(self.request, "no-workflow", _with_log(message, log))
        self.findings.append(replace(finding, severity=severity))

    def finding(self, data: Mapping[str, Any]) -> Finding:
        line = data["line"]
        return Finding(
            rule=str(data["rule"]),
            severity=Severity(data["severity"]),
            message=str(data["message"])[:_LONGEST_MESSAGE],
            experiment=self.request.name,
            file=str(data["file"] or self.request.path),
            line=line if isinstance(line, int) and line > 0 else None,
        )

    def manifest(self, data: Mapping[str, Any], index: int) -> Manifest:
        content = data["document"]
        sources = {str(key): str(value) for key, value in data["sources"].items() if value}
        kind, meta = _text(content.get("kind")), content.get("metadata") or {}
        name = meta.get("name") or meta.get("generateName") or ""
        if kind not in KINDS:
            self.find("unknown-kind", f"is of kind {kind}, which Argo does not know", sources)
        canonical = document.canonical(content)
        self.check_secrets(canonical.decode(), sources)
        return Manifest(
            kind=str(kind),
            name=_text(name) or "",
            namespace=_text(meta.get("namespace")),
            digest=document.digest_of(canonical),
            document=content,
            file=f"{self.request.name}.yaml",
            index=index,
            sources=sources,
        )

    def check_secrets(self, text: str, sources: Mapping[str, str]) -> None:
        environ = self.request.environ.items()
        told = {value for name, value in environ if _SECRET_NAME.search(name) and len(value) >= 8}
        if any(json.dumps(each)[1:-1] in text for each in {*told, *self.secrets}):
            self.find(
                "credential-in-manifest",
                "holds the value of a variable of the environ that looks like a credential. "
                "Put it in a Secret on the cluster and refer to that.",
                sources,
            )
        elif found := next(
            (k for k, e in _SECRET_VALUES.items() if k in text and e.search(text)), ""
        ):
            self.find(
                "credential-in-manifest",
                f"holds what looks like a credential ({found}…). "
                "Put it in a Secret on the cluster and refer to that.",
                sources,
            )

    def find(self, rule: str, message: str, sources: Mapping[str, str]) -> None:
        file, _, line = sources.get("", "").rpartition(":")
        self.findings.append(
            Finding(
                rule=rule,
                severity=Severity.ERROR,
                message=f"the manifest {message}",
                experiment=self.request.name,
                file=file or self.request.path,
                line=int(line) if line.isdigit() else None,
            )
        )

    def requirement(self, data: Mapping[str, Any]) -> Requirement:
        return Requirement(
            kind=str(data["kind"]),
            name=str(data["name"]),
            api_version=str(data.get("api_version") or "v1"),
            namespace=_text(data.get("namespace")),
            keys=tuple(map(str, data.get("keys") or ())),
            access=tuple(map(str, data.get("access") or ())),
            storage=_text(data.get("storage")),
            origin=Origin(data.get("origin") or "compiling"),
            source=_text(data.get("source")),
            optional=bool(data.get("optional")),
        )


_RESULT: Mapping[str, type | tuple[type, ...]] = {
    "documents": list,
    "requirements": list,
    "findings": list,
    "touched": list,
    "error": (dict, type(None)),
    "hera": (str, type(None)),
    "python": str,
}


def _checked(ended: Ended) -> Ended:
    """Let only a result pass that has the shape of one: a script can write there itself."""
    result = ended.result
    if result is None:
        return ended
    wrong = [name for name, kind in _RESULT.items() if not isinstance(result.get(name), kind)]
    if not wrong and not all(isinstance(path, str) for path in result["touched"]):
        wrong = ["touched"]
    if not wrong:
        return replace(ended, result=_printable(result)) if ended.has_surrogates else ended
    kind = type(result.get(wrong[0])).__name__
    failure = ended.failure or f"sent what is no result: {wrong[0]} of type {kind}"
    return replace(ended, result=None, failure=failure)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{value!r:.60} where a text is wanted")


def _printable(result: dict[str, Any]) -> dict[str, Any]:
    """Replace lone surrogates, which no file and no terminal takes; paths need theirs."""
    try:
        json.dumps(result, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        rest = json.dumps({**result, "touched": []}, ensure_ascii=False)
        cleaned: dict[str, Any] = json.loads(rest.encode("utf-8", "replace"))
        return {**cleaned, "touched": result["touched"]}
    return result


def _finding(request: Request, rule: str, message: str) -> Finding:
    return Finding(
        rule=rule,
        severity=Severity.ERROR,
        message=message,
        experiment=request.name,
        file=request.path,
    )


def _failed(request: Request, finding: Finding) -> Outcome:
    return Outcome(name=request.name, path=request.path, findings=(finding,), failed=True)


def _with_log(message: str, log: str) -> str:
    """Add the last lines that a script printed, which most often say why."""
    lines = [line for line in log.splitlines() if line.strip()][-8:]
    if not lines:
        return message
    return message + "\nIt printed last:\n" + "\n".join(f"  {line[:300]}" for line in lines)


def _stopped_at(log: str, files: Mapping[str, str]) -> tuple[tuple[str, int] | None, str]:
    """Find the author's line in the stack that a worker writes before it is ended; cut it out."""
    stack = _STACK.search(log)
    if stack is None:
        return None, log
    lines = ((found[1], int(found[2])) for found in _STACK_LINE.finditer(stack[0]))
    place = next((each for each in lines if each[0] in files), None)
    return place, log.replace(stack[0], "")


def _preserve(outcome: Outcome) -> str:
    """Write an outcome for the cache."""
    manifests = [plain(each) for each in outcome.manifests]
    for each in manifests:
        # As text in the text: most of the time only its digest is asked for.
        each["document"] = json.dumps(each["document"], ensure_ascii=False, separators=(",", ":"))
    data = {
        "manifests": manifests,
        "text": outcome.text,
        "requirements": [plain(each) for each in outcome.requirements],
        "findings": [plain(each) for each in outcome.findings],
        "source_files": outcome.source_files,
        "failed": outcome.failed,
        "empty": outcome.empty,
        "log": outcome.log,
        "python": outcome.python,
        "hera": outcome.hera,
        "pins": outcome.pins,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # A path need not be text; as JSON's own escape it survives.
    return text.encode("utf-8", "backslashreplace").decode()


def _revive(request: Request, data: dict[str, Any]) -> Outcome:
    """Read an outcome of the cache; our own data, not checked again."""
    data = dict(data)  # base and head may share it
    return Outcome(
        name=request.name,
        path=request.path,
        manifests=tuple(_read_manifest(each) for each in data.pop("manifests")),
        requirements=tuple(_read_requirement(each) for each in data.pop("requirements")),
        findings=tuple(_read_finding(each) for each in data.pop("findings")),
        source_files=tuple(data.pop("source_files")),
        pins=tuple(data.pop("pins")),
        cached=True,
        **data,
    )


def _read_manifest(data: dict[str, Any]) -> Manifest:
    return Manifest(**{**data, "document": LazyDocument(data["document"])})


def _read_requirement(data: dict[str, Any]) -> Requirement:
    lists: dict[str, Any] = {name: tuple(data[name]) for name in ("keys", "access") if name in data}
    origin = Origin(data.get("origin", Origin.MANIFEST))
    return Requirement(**{**data, **lists, "origin": origin})


def _read_finding(data: dict[str, Any]) -> Finding:
    return Finding(**{**data, "severity": Severity(data["severity"])})


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
        parent = dirname(path)
        while parent:
            if dirname(parent) in folders:
                first.setdefault(parent, path)
            parent = dirname(parent)
    return set(first.values())


def _identity(tree: Any, path: str) -> str:
    """Give what must stay the same for what was touched to be the same."""
    if path in tree.files:
        return str(tree.files[path])
    inside = sorted(_children(tree).get(path, ()))
    return "folder:" + hashlib.sha256("\0".join(inside).encode()).hexdigest() if inside else ""


@cache
def _own_versions() -> tuple[str, ...]:
    """Give what of heraci itself decides the bytes: its worker, its author classes, its Hera."""
    folder = Path(__file__).parent
    own = hashlib.sha256()
    worker = sorted((folder / "compile_worker").rglob("*.py"))
    for file in (*worker, folder / "experiment.py", folder / "document.py", folder / "compile.py"):
        own.update(file.read_bytes())
    return (own.hexdigest(), platform.python_version(), metadata.version("hera"))


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


def differ(base: Outcome, head: Outcome) -> bool:
    """Tell whether two outcomes would start different things on the cluster."""
    return [each.digest for each in base.manifests] != [each.digest for each in head.manifests]
