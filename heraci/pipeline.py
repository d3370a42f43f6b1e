"""The flow: what each command does, as the list of things that happen, in their order."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import dirname, normpath
from typing import Any, Self

from heraci import __version__, bundle, changes, compile, git
from heraci.bundle import Bundle, CompiledExperiment, Finding, Severity, Status
from heraci.changes import Affected, Change, Experiment
from heraci.compile_cache import Cache
from heraci.compile_environments import Environments, declared_in
from heraci.compile_workers import Limits
from heraci.errors import HeraciError, SettingsError
from heraci.settings import ExperimentSettings, Settings

TOML = "heraci.toml"
PYPROJECT = "pyproject.toml"
SETTINGS_FILES = (TOML, PYPROJECT, "hera.config")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which experiments a command is about: names or paths, all of them, or the affected ones."""

    names: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The two ends of a comparison, with the settings that hold at each of them."""

    head: changes.Tree
    settings: Settings
    range: git.Range
    commit: str | None
    dirty: bool
    base: changes.Tree | None = None
    base_settings: Settings | None = None


def compile_experiments(
    settings: Settings, selection: Selection, where: Workspace, progress: Progress
) -> Bundle:
    """Compile what is selected at head, and at base where it is compared."""
    compared = where.compare(settings, selection)
    chosen = select(compared, selection, where)
    outcomes = run_compiler(chosen, compared, where, progress)
    return assemble(chosen, outcomes, compared)


def list_experiments(
    settings: Settings, selection: Selection, where: Workspace, progress: Progress
) -> Bundle:
    """Say of each experiment whether the change affects it, and why; with what compiling says."""
    compared = where.compare(settings, selection)
    chosen = select(compared, selection, where)
    outcomes: Outcomes | None = None
    if settings.compare and compared.base is not None:
        outcomes = run_compiler(chosen, compared, where, progress)
    listed = assemble(chosen, outcomes, compared)
    untouched = tuple(
        CompiledExperiment(name=each.name, path=each.path, status=Status.UNAFFECTED)
        for each in chosen.untouched
    )
    both = sorted((*listed.experiments, *untouched), key=lambda each: each.name)
    return replace(listed, experiments=tuple(both))


class Workspace:
    """The folder that heraci works in: its repository, or just a folder; a context manager."""

    def __init__(self, directory: Path, environ: Mapping[str, str], flags: Mapping[str, Any]) -> None:
        self.directory = directory
        self.environ = environ
        self.flags = flags
        self._stack = ExitStack()
        self.repository: git.Repository | None = None

    def __enter__(self) -> Self:
        self.repository = git.Repository.open(self.directory)
        if self.repository is not None:
            self._stack.callback(self.repository.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def root(self) -> Path:
        """The folder that paths in findings and bundles are relative to."""
        return self.repository.root if self.repository else self.directory

    def inside(self, path: Path) -> str:
        """Give a folder's path relative to the root; it must lie inside."""
        full = Path(os.path.normpath(self.directory / path))
        for root in (self.root, self.root.resolve()):
            if full.is_relative_to(root):
                return full.relative_to(root).as_posix()
        resolved = full.resolve()
        if resolved.is_relative_to(self.root.resolve()):
            return resolved.relative_to(self.root.resolve()).as_posix()
        raise SettingsError(
            f"{path} lies outside {self.root}: experiments-dir names a folder inside the repository"
        )

    def compare(self, settings: Settings, selection: Selection) -> Compared:
        """Find out what is compared with what."""
        if self.repository is None:
            if settings.base or settings.head:
                raise SettingsError(
                    f"{self.directory} is in no Git repository: --base and --head have no meaning here"
                )
            output = os.path.relpath(self.directory / settings.output, self.directory)
            folder = git.Folder(self.directory, output=output)
            whole = git.Range(kind="all")
            return Compared(head=folder, settings=settings, range=whole, commit=None, dirty=False)
        asked = self._range(settings, selection)
        compares = asked.kind not in ("all", "nothing")
        if compares:
            base, head = self.repository.trees(asked)
        else:
            base = None
            commit_only = asked.head is not None
            head = (
                self.repository.commit_tree(asked.head)
                if commit_only
                else self.repository.work_tree()
            )
        return Compared(
            head=head,
            settings=settings,
            range=asked,
            commit=asked.head or self.repository.head_commit(),
            dirty=self.repository.is_dirty(head),
            base=base,
            base_settings=self._settings_of(base, head, settings) if base is not None else None,
        )

    def _range(self, settings: Settings, selection: Selection) -> git.Range:
        assert self.repository is not None
        named = settings.base or settings.head
        if (selection.every or selection.names) and not named:
            return git.Range(kind="all")
        if not named and self.environ.get("GITHUB_EVENT_PATH"):
            payload = _read_event(Path(self.environ["GITHUB_EVENT_PATH"]))
            return git.event_range(self.environ, payload, self.repository)
        return git.range_between(self.repository, settings.base, settings.head)

    def _settings_of(
        self, base: changes.Tree, head: changes.Tree, settings: Settings
    ) -> Settings:
        """Give the settings that held at the base: its files, this run's flags and target."""
        if all(base.files.get(name) == head.files.get(name) for name in SETTINGS_FILES):
            return settings
        text = _project_text(base)
        flags = {**self.flags, "target": settings.target}
        try:
            return Settings.load(flags, environ=self.environ, project_file=(TOML, text))
        except SettingsError:
            return settings  # the target may be new, or its file was broken: compare with today's


def _project_text(tree: changes.Tree) -> str:
    """Give the text of a tree's heraci.toml, or of what [tool.heraci] holds instead."""
    if TOML in tree.files:
        return tree.read_many([TOML])[TOML].decode(errors="replace")
    if PYPROJECT not in tree.files:
        return ""
    import tomllib

    text = tree.read_many([PYPROJECT])[PYPROJECT].decode(errors="replace")
    if "[tool.heraci" not in text:
        return ""
    try:
        tomllib.loads(text)
    except ValueError:
        return ""
    # The tables keep their names but for the prefix, which is all that tells the two files apart.
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("[tool.heraci"))
    kept, inside = [], False
    for line in lines[start:]:
        if line.startswith("["):
            inside = line.startswith(("[tool.heraci]", "[tool.heraci."))
        if inside and line != "[tool.heraci]":
            kept.append(line.replace("[tool.heraci.", "[", 1))
    return "\n".join(kept)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is to be compiled, with why; and what is known of all the others."""

    affected: tuple[Affected, ...]
    untouched: tuple[Experiment, ...] = ()
    everything: tuple[Experiment, ...] = ()
    findings: tuple[Finding, ...] = ()
    compared: bool = False


def select(compared: Compared, selection: Selection, where: Workspace) -> Chosen:
    """Choose the experiments that a command is about."""
    folder = where.inside(compared.settings.experiments_dir)
    entries = _entries(compared.settings)
    everything = changes.find_experiments(compared.head, folder, entries)
    findings = _unknown_tables(compared.settings, everything) + tuple(
        Finding(
            rule="entry-missing",
            severity=Severity.ERROR,
            message=f"heraci.toml names {entries[name]}, which does not exist",
            experiment=name,
            file=TOML,
        )
        for name in changes.missing_entries(compared.head, entries)
    )
    if compared.base is None or compared.base_settings is None:
        reason = ("named",) if selection.names else ()
        affected = tuple(
            Affected(experiment=each, status=Change.MODIFIED, reasons=reason)
            for each in _named(everything, selection.names, where)
        )
        if compared.range.kind == "nothing":
            affected = ()
        return Chosen(affected=affected, everything=everything, findings=findings)
    found = changes.affected_experiments(
        compared.base,
        compared.head,
        folder,
        entries=entries,
        base_entries=_entries(compared.base_settings),
        known=_known(compared, folder, where),
    )
    if selection.names or selection.every:
        found = _with_unaffected(found, everything, selection, where)
    taken = {each.experiment.name for each in found}
    untouched = tuple(each for each in everything if each.name not in taken)
    return Chosen(
        affected=found,
        untouched=untouched,
        everything=everything,
        findings=findings,
        compared=True,
    )


def _unknown_tables(
    settings: Settings, everything: Iterable[Experiment]
) -> tuple[Finding, ...]:
    """Report tables of heraci.toml for experiments that do not exist, most often misspelt."""
    import difflib

    names = [each.name for each in everything]
    tables = {**settings.experiments, **settings.target_experiments}
    unknown = [name for name, table in tables.items() if name not in names and not table.path]
    findings = []
    for name in sorted(unknown):
        near = difflib.get_close_matches(name, names, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        findings.append(
            Finding(
                rule="unknown-experiment",
                severity=Severity.WARNING,
                message=f"[experiments.{name}] is for no experiment there is.{hint}",
                file=TOML,
            )
        )
    return tuple(findings)


def _entries(settings: Settings) -> dict[str, str]:
    tables = {**settings.experiments, **settings.target_experiments}
    return {name: table.path for name, table in tables.items() if table.path}


def _named(
    everything: Sequence[Experiment], names: Sequence[str], where: Workspace
) -> Iterator[Experiment]:
    """Give the experiments that names or paths mean, all of them where none is given."""
    if not names:
        yield from everything
        return
    chosen: dict[str, Experiment] = {}
    for name in names:
        found = [each for each in everything if _is_meant(each, name, where)]
        if not found:
            raise SettingsError(_unknown(name, everything))
        chosen |= {each.name: each for each in found}
    yield from chosen.values()


def _is_meant(experiment: Experiment, name: str, where: Workspace) -> bool:
    """Tell whether a word of the command line is an experiment's name, its path, or above it."""
    if experiment.name == name.strip("/"):
        return True
    try:
        path = where.inside(Path(name))
    except SettingsError:
        return False
    if not (where.directory / name).exists():
        return False
    inside = path == "." or f"{experiment.path}/".startswith(f"{path}/")
    folder = experiment.folder
    return inside or (folder is not None and f"{path}/".startswith(f"{folder}/"))


def _unknown(name: str, everything: Sequence[Experiment]) -> str:
    import difflib

    names = [each.name for each in everything]
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"no experiment is called {name!r}. Did you mean {near[0]!r}?"
    if not names:
        return f"no experiment is called {name!r}; there are none. `heraci init` writes a first one."
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"no experiment is called {name!r}. There are: {shown}"


def _with_unaffected(
    found: Iterable[Affected],
    everything: Sequence[Experiment],
    selection: Selection,
    where: Workspace,
) -> tuple[Affected, ...]:
    """Give what was asked for by name, affected or not."""
    by_name = {each.experiment.name: each for each in found}
    wanted = _named(everything, selection.names, where)
    return tuple(
        by_name.get(each.name)
        or Affected(experiment=each, status=Change.MODIFIED, reasons=("named",), base=each)
        for each in wanted
    )


def _known(compared: Compared, folder: str, where: Workspace) -> changes.Known:
    base_settings = compared.base_settings

    def reaching(name: str) -> tuple[Any, Any]:
        assert base_settings is not None
        return base_settings.reaching(name), compared.settings.reaching(name)

    tables = {**compared.settings.experiments, **compared.settings.target_experiments}
    sources = compared.settings.dependencies_from
    try:
        output = where.inside(compared.settings.output)
    except SettingsError:
        output = None
    return changes.Known(
        # Asked once for each experiment: not at all where the files are the same.
        settings=reaching if base_settings is not compared.settings else None,
        data={name: table.data for name, table in tables.items() if table.data},
        dependencies_from=sources[0] if sources else None,
        output=output,
    )


@dataclass
class Outcomes:
    """What compiling gave, by name, at each end; `repeated` from a second compilation of the head."""

    head: dict[str, compile.Outcome] = field(default_factory=dict)
    base: dict[str, compile.Outcome] = field(default_factory=dict)
    repeated: dict[str, compile.Outcome] = field(default_factory=dict)
    isolated: bool = True


def run_compiler(
    chosen: Chosen, compared: Compared, where: Workspace, progress: Progress
) -> Outcomes:
    """Compile every affected experiment at head and, where they are compared, at base."""
    settings = compared.settings
    requests: list[tuple[str, compile.Request]] = []
    head = _Requests(compared.head, settings, where, chosen.everything)
    for each in chosen.affected:
        if each.status is not Change.REMOVED:
            requests.append(("head", head.make(each.experiment)))
    if compared.base is not None and settings.compare:
        # Limits and the target are the head's: what is compared is the experiment, not the run.
        base = _Requests(compared.base, compared.base_settings or settings, where, ())
        for each in chosen.affected:
            if each.base is not None:
                requests.append(("base", base.make(each.base, name=each.experiment.name)))
    outcomes = Outcomes()
    with ExitStack() as stack:
        cache = None if settings.no_cache or settings.check_determinism else _cache(settings, where)
        if cache is not None:
            stack.callback(cache.close)
        compiler = stack.enter_context(_compiler(settings, where, cache))
        outcomes.isolated = compiler.isolated
        _compile_all(compiler, requests, outcomes, progress)
        if settings.check_determinism:
            again = [("repeated", request) for end, request in requests if end == "head"]
            _compile_all(compiler, again, outcomes, progress)
    return outcomes


def _compile_all(
    compiler: compile.Compiler,
    requests: Sequence[tuple[str, compile.Request]],
    outcomes: Outcomes,
    progress: Progress,
) -> None:
    ends = {id(request): end for end, request in requests}
    done = 0
    for request, outcome in compiler.compile([request for _, request in requests]):
        getattr(outcomes, ends[id(request)])[request.name] = outcome
        done += 1
        progress(done, len(requests), request.name)


def _compiler(settings: Settings, where: Workspace, cache: Cache | None) -> compile.Compiler:
    index_url = settings.index_url.get_secret_value() if settings.index_url else None
    environments = Environments(
        _shared_folder(settings.cache_dir),
        environ=where.environ,
        offline=settings.offline,
        index_url=index_url,
    )
    secrets = [each.get_secret_value() for each in settings.secrets()]
    return compile.Compiler(
        jobs=settings.jobs, cache=cache, environments=environments, secrets=secrets
    )


def _shared_folder(cache_dir: Path) -> Path:
    return Path(cache_dir) / "python"


def _cache(settings: Settings, where: Workspace) -> Cache:
    """Open the cache of this run's scope: what a pull request writes, no other run reads."""
    event = where.environ.get("GITHUB_EVENT_NAME", "")
    untrusted = event.startswith(("pull_request", "merge_group"))
    return Cache(Path(settings.cache_dir), "untrusted" if untrusted else "trusted")


class _Requests:
    """Makes the compiler's requests for the experiments of one tree."""

    def __init__(
        self,
        tree: changes.Tree,
        settings: Settings,
        where: Workspace,
        everything: Sequence[Experiment],
    ) -> None:
        self.tree = tree
        self.settings = settings
        self.folder = where.inside(settings.experiments_dir)
        self.sources = changes.Sources(tree, self.folder)
        self.entries = {each.path for each in everything}
        self.inside: dict[str, list[str]] = {}
        for path in tree.files:
            folder = dirname(path)
            self.inside.setdefault(folder, []).append(path)
        self.folders = sorted(self.inside)
        self.special = {*settings.experiments, *settings.target_experiments}
        self.special |= {name.partition(":")[0] for name in settings.arguments if ":" in name}
        self.usual: ExperimentSettings | None = None

    def _settings(self, name: str) -> ExperimentSettings:
        """Merge what was asked of one experiment; for most it is what was asked of all."""
        if name in self.special:
            return self.settings.for_experiment(name)
        self.usual = self.usual or self.settings.for_experiment("")
        return self.usual

    def make(self, experiment: Experiment, name: str | None = None) -> compile.Request:
        """Make one request; `name` is what the head calls it."""
        of = self._settings(name or experiment.name)
        closure = self.sources.closure(experiment.path)
        files = dict.fromkeys([*closure.files, *self._below(experiment.folder)])
        dependencies = declared_in(
            self.tree, experiment.path, self.folder, of.dependencies_from
        )
        return compile.Request(
            name=name or experiment.name,
            path=experiment.path,
            tree=self.tree,
            files=tuple(files),
            function=experiment.function,
            whole_tree=bool(closure.dynamic),
            strict=experiment.named or experiment.folder is not None,
            others=tuple(sorted(self.entries & closure.files.keys() - {experiment.path})),
            experiments_dir=self.folder,
            inputs=dict(of.inputs),
            environment=dict(self.settings.environment),
            own_environment=_own(of.environment, self.settings.environment),
            arguments={**of.hera_config_arguments, **of.arguments},
            environ=dict(of.environ),
            namespace=self.settings.namespace,
            argo_server=self.settings.argo_server,
            service_account=self.settings.service_account,
            dependencies=dependencies,
            python=of.python if dependencies else None,
            pin_randomness=of.pin_randomness,
            allow_network=of.allow_network,
            limits=Limits(
                seconds=of.compile_timeout,
                memory=int(of.compile_memory),
                file_size=int(of.compile_output),
                open_files=of.compile_open_files,
                processes=of.compile_processes,
            ),
        )

    def _below(self, folder: str | None) -> Iterator[str]:
        """Give the files of a folder and of those below it."""
        if folder is None:
            return
        from bisect import bisect_left

        yield from self.inside.get(folder, ())
        start = bisect_left(self.folders, folder + "/")
        for each in self.folders[start:]:
            if not each.startswith(folder + "/"):
                break
            if "__pycache__" not in each:
                yield from self.inside[each]


def _own(merged: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in merged.items() if shared.get(name) != each}


def assemble(chosen: Chosen, outcomes: Outcomes | None, compared: Compared) -> Bundle:
    """Put together what was compiled, at both ends, as one bundle; None: nothing was."""
    settings = compared.settings
    findings = list(chosen.findings)
    experiments = []
    for affected in chosen.affected:
        if outcomes is None:
            experiment, found = _uncompiled(affected), ()
        else:
            experiment, found = _compiled(affected, outcomes, compared)
        experiments.append(experiment)
        findings += found
    kept = {f"{each.name}.yaml" for each in chosen.everything}
    return Bundle(
        target=settings.target,
        commit=compared.commit,
        dirty=compared.dirty,
        base=compared.range.base,
        merge_base=compared.range.merge_base,
        settings=_general(settings),
        versions=_versions(),
        experiments=tuple(experiments),
        findings=tuple(sorted(findings, key=_gravity)),
        known=tuple(sorted(kept)),
    )


def _gravity(finding: Finding) -> tuple[int, str, str, int]:
    severities = list(Severity)
    where = finding.file or ""
    return severities.index(finding.severity), finding.experiment or "", where, finding.line or 0


def _general(settings: Settings) -> dict[str, Any]:
    values = {
        "namespace": settings.namespace,
        "argo-server": settings.argo_server,
        "service-account": settings.service_account,
        "environment": dict(settings.environment),
    }
    return {name: value for name, value in values.items() if value}


def _versions() -> dict[str, str]:
    return {"heraci": __version__, "python": platform.python_version()}


_CHANGES = {Change.ADDED: Status.ADDED, Change.REMOVED: Status.REMOVED}


def _uncompiled(affected: Affected) -> CompiledExperiment:
    status = _CHANGES.get(affected.status, Status.CHANGED)
    return CompiledExperiment(
        name=affected.experiment.name,
        path=affected.experiment.path,
        status=status,
        reasons=affected.reasons,
    )


def _compiled(
    affected: Affected, outcomes: Outcomes, compared: Compared
) -> tuple[CompiledExperiment, tuple[Finding, ...]]:
    name = affected.experiment.name
    base = outcomes.base.get(name)
    base_manifests = () if base is None else tuple(_without_file(each) for each in base.manifests)
    result = replace(_uncompiled(affected), base_manifests=base_manifests)
    if affected.status is Change.REMOVED:
        return result, ()
    head = outcomes.head[name]
    findings = head.findings
    again = outcomes.repeated.get(name)
    if again is not None and compile.changed(again, head):
        findings = (*findings, _not_deterministic(head, again))
    result = replace(
        result,
        status=_status(affected, base, head, compared),
        base_error=_base_error(base),
        source_files=head.source_files,
        python=head.python,
        hera=head.hera,
        pins=head.pins,
        manifests=() if head.failed else head.manifests,
        requirements=head.requirements,
        log=head.log if head.failed else "",
        text=head.text,
    )
    return result, findings


def _without_file(manifest: bundle.Manifest) -> bundle.Manifest:
    return replace(manifest, file=None, index=0, sources={})


def _base_error(base: compile.Outcome | None) -> str | None:
    if base is None or not base.failed:
        return None
    return base.findings[0].message if base.findings else "it does not compile at the base"


def _status(
    affected: Affected, base: compile.Outcome | None, head: compile.Outcome, compared: Compared
) -> Status:
    if head.failed:
        return Status.FAILED
    if compared.base is None:
        return Status.COMPILED
    if affected.status is Change.ADDED:
        return Status.ADDED
    if base is None or base.failed or compile.changed(base, head):
        return Status.CHANGED
    return Status.UNCHANGED


def _not_deterministic(head: compile.Outcome, again: compile.Outcome) -> Finding:
    pairs = zip(head.manifests, again.manifests, strict=False)
    differing = [
        path for one, other in pairs for path in _differences(one.document, other.document)
    ]
    where = ", ".join(differing[:5]) or "the number of manifests"
    return Finding(
        rule="not-deterministic",
        severity=Severity.ERROR,
        message=f"compiling twice gives different manifests: {where}. "
        "Look for the time, the network, or an object's address in what it writes.",
        experiment=head.name,
        file=head.path,
    )


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _differences(a, b, f"{path}[{number}]")
    elif one != other:
        yield path


def _read_event(path: Path) -> dict[str, Any]:
    try:
        payload = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HeraciError(f"the event's payload {path} cannot be read: {error}") from error
    return payload if isinstance(payload, dict) else {}


# --- writing the bundle --------------------------------------------------------------------------


def write_bundle(result: Bundle, folder: Path) -> None:
    """Write a bundle's folder: each file whole or not at all, its index last.

    Files of experiments that are gone are removed, those of experiments that this run did not
    compile are kept, and nothing else in the folder is touched.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _files_of(folder)
        written = {}
        for experiment in result.experiments:
            if experiment.manifests:
                written[f"{experiment.name}.yaml"] = experiment.text
        for name, text in written.items():
            _replace(folder, name, text)
        kept = sorted((before & set(result.known)) - set(written))
        for name in before - set(written) - set(kept):
            _remove(folder, name)
        lines = [bundle.index_line(each) for each in result.experiments]
        _replace(folder, bundle.INDEX, bundle.index(replace(result, known=tuple(kept)), lines))
    except OSError as error:
        where = error.filename or folder
        raise SettingsError(f"{where} cannot be written: {error.strerror}") from error


def _files_of(folder: Path) -> set[str]:
    """Give the files that the bundle now in a folder says are heraci's."""
    try:
        index = bundle.read_index((folder / bundle.INDEX).read_bytes(), bundle.INDEX)
        listed = {
            manifest["file"]
            for experiment in index["experiments"]
            for manifest in experiment.get("manifests", ())
        } | set(index.get("known", ()))
    except (OSError, HeraciError, KeyError, TypeError, AttributeError):
        return set()
    return {
        name
        for name in listed
        if isinstance(name, str) and name.endswith(".yaml") and bundle.is_inside(name)
    }


def _replace(folder: Path, name: str, text: str) -> None:
    """Put a text into place, if it is not there already; a link on the way is an error."""
    target = os.path.join(folder, name)
    content = text.encode()
    if _holds(target, content):
        return
    parent = folder
    for part in name.split("/")[:-1]:
        parent = parent / part
        if parent.is_symlink():
            raise SettingsError(f"{parent} is a link: remove it, heraci writes into folders only")
        parent.mkdir(exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=parent, prefix=".heraci-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _holds(target: str, content: bytes) -> bool:
    """Tell whether a plain file has this content already; one that a link leads to does not."""
    try:
        about = os.lstat(target)
        if not stat.S_ISREG(about.st_mode) or about.st_size != len(content):
            return False
        with open(target, "rb") as file:
            return file.read() == content
    except OSError:
        return False


def _remove(folder: Path, name: str) -> None:
    target = folder / name
    if any((folder / each).is_symlink() for each in Path(name).parents if each != Path()):
        return
    target.unlink(missing_ok=True)
    for parent in Path(name).parents:
        try:
            (folder / parent).rmdir()
        except OSError:
            return


# --- init and doctor -----------------------------------------------------------------------------

_EXPERIMENT = '''\
"""Say hello, once for each name."""

from hera.workflows import DAG, Container, Parameter, Workflow

from heraci import Experiment, Inputs


class Names(Inputs):
    names: list[str] = ["world", "heraci"]


class {title}(Experiment):
    inputs: Names

    def workflow(self) -> Workflow:
        with Workflow(generate_name="{name}-", entrypoint="greet-all") as w:
            greet = Container(
                name="greet",
                image="alpine:3.20",
                command=["echo"],
                args=["hello {{{{inputs.parameters.name}}}}"],
                inputs=[Parameter(name="name")],
            )
            with DAG(name="greet-all"):
                for name in self.inputs.names:
                    greet(name=f"greet-{{name}}", arguments={{"name": name}})
        return w
'''
_SETTINGS = """\
# What heraci is to know about this repository; `heraci doctor` shows what holds, and why.
default-target = "lab"

[targets.lab]                      # one cluster; add a table for each
namespace = "argo"
# argo-server = "argo.example.org"

# [targets.lab.environment]        # what the resources of an Environment are called there
# results = "my-volume-claim"
"""


def init(settings: Settings, where: Workspace, name: str) -> list[Path]:
    """Write a first experiment, and heraci.toml where there is none; give what was written."""
    if not name.replace("-", "").replace("_", "").isalnum() or not name[0].isalpha():
        raise SettingsError(f"{name!r} is no good name: take letters, digits and dashes")
    folder = where.directory / settings.experiments_dir / name
    entry = folder / "experiment.py"
    if entry.exists():
        raise SettingsError(f"{entry} exists already; nothing was written. Choose another name")
    title = "".join(word.capitalize() for word in name.replace("_", "-").split("-"))
    folder.mkdir(parents=True, exist_ok=True)
    slug = name.lower().replace("_", "-")
    entry.write_text(_EXPERIMENT.format(title=title, name=slug))
    written = [entry]
    if not (where.root / TOML).exists() and not _has_table(where.root / "pyproject.toml"):
        (where.root / TOML).write_text(_SETTINGS)
        written.append(where.root / TOML)
    return written


def _has_table(path: Path) -> bool:
    try:
        return "[tool.heraci" in path.read_text()
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that `heraci doctor` looked at."""

    name: str
    fine: bool
    told: str


def examine(settings: Settings, where: Workspace) -> list[Check]:
    """Look at what heraci needs here, and say what does not work and what to do."""
    checks = [
        Check(name="heraci", fine=True, told=f"{__version__} on Python {platform.python_version()}"),
        Check(name="hera", fine=True, told=_version("hera")),
        _check_git(where),
        _check_uv(),
        _check_isolation(),
        _check_limits(),
        _check_cache(Path(settings.cache_dir)),
        _check_experiments(settings, where),
    ]
    return checks


def _version(name: str) -> str:
    from importlib import metadata

    return metadata.version(name)


def _check_git(where: Workspace) -> Check:
    if shutil.which("git") is None:
        return Check(name="git", fine=False, told="not on PATH: install it")
    if where.repository is None:
        return Check(name="git", fine=True, told=f"{where.directory} is in no repository")
    told = f"{where.root}, at {(where.repository.head_commit() or 'no commit yet')[:10]}"
    return Check(name="git", fine=True, told=told)


def _check_uv() -> Check:
    return Check(name="uv", fine=True, told=f"{_version('uv')} installs experiments' packages")


def _check_isolation() -> Check:
    if os.geteuid() == 0:
        told = "root: each experiment runs under an unprivileged uid of its own"
    else:
        told = (
            "not root: experiments run as you do, with a scrubbed environ and an empty HOME. "
            "Nothing else keeps them from what you can read; compile strangers' work in CI."
        )
    return Check(name="isolation", fine=True, told=told)


def _check_limits() -> Check:
    if sys.platform == "linux":
        return Check(name="limits", fine=True, told="time, memory, output, files, processes")
    told = "time, output, open files; this system does not enforce memory, nor end daemons"
    return Check(name="limits", fine=True, told=told)


def _check_cache(folder: Path) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Check(name="cache", fine=True, told=str(folder))
    except OSError as error:
        told = f"{folder} cannot be written ({error.strerror}): set HERACI_CACHE_DIR"
        return Check(name="cache", fine=False, told=told)


def _check_experiments(settings: Settings, where: Workspace) -> Check:
    folder = where.directory / settings.experiments_dir
    if not folder.is_dir():
        told = f"{folder} does not exist: `heraci init` makes it, --experiments-dir names another"
        return Check(name="experiments", fine=False, told=told)
    return Check(name="experiments", fine=True, told=normpath(str(settings.experiments_dir)))
