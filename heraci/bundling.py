"""Left of the bundle: what is chosen, requests to the compiler, its outcomes, their statuses."""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import dirname
from typing import Any

from heraci import __version__, bundle, changes
from heraci.bundle import Bundle, CompiledExperiment, Finding, Severity, Status
from heraci.changes import Affected, Change, Experiment
from heraci.compile.cache import Cache
from heraci.compile.compiler import Compiler
from heraci.compile.environments import Environments, declared_in
from heraci.compile.values import Outcome, Request, differ
from heraci.compile.workers import Limits
from heraci.errors import SettingsError
from heraci.settings import ExperimentSettings, Settings
from heraci.workspace import SETTINGS_FILES, Chosen, Compared, Selection, Workspace, select

Progress = Callable[[int, int, str], None]


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


def obtain_bundle(
    settings: Settings, selection: Selection, where: Workspace, progress: Progress
) -> Bundle:
    """Read the bundle that the settings name; without one, compile."""
    if settings.bundle is None:
        return compile_experiments(settings, selection, where, progress)
    made = bundle.load(settings.bundle)
    if settings.target is not None and made.target != settings.target:
        raise SettingsError(
            f"the bundle {settings.bundle} was compiled for the target {made.target}, this run is "
            f"for {settings.target}: compile it for this one, or choose that one with --target"
        )
    if settings.commit is not None and made.commit != settings.commit:
        raise SettingsError(
            f"the bundle {settings.bundle} was made from {made.commit or 'no commit'}, this run is "
            f"for {settings.commit}: take the bundle of that commit"
        )
    return _only(made, selection)


def _only(made: Bundle, selection: Selection) -> Bundle:
    if not selection.names:
        return made
    names = {each.name for each in made.experiments}
    if unknown := [name for name in selection.names if name not in names]:
        raise SettingsError(f"the bundle holds no experiment {unknown[0]!r}")
    chosen = tuple(each for each in made.experiments if each.name in selection.names)
    findings = (each for each in made.findings if each.experiment in (None, *selection.names))
    return replace(made, experiments=chosen, findings=tuple(findings))


@dataclass
class Outcomes:
    """What compiling gave, by name, at each end; `repeated` is the head compiled once more."""

    head: dict[str, Outcome] = field(default_factory=dict)
    base: dict[str, Outcome] = field(default_factory=dict)
    repeated: dict[str, Outcome] = field(default_factory=dict)
    isolated: bool = True


def run_compiler(
    chosen: Chosen, compared: Compared, where: Workspace, progress: Progress
) -> Outcomes:
    """Compile every affected experiment at head and, where they are compared, at base."""
    settings = compared.settings
    outcomes = Outcomes()
    with ExitStack() as stack:
        cache = None if settings.no_cache or settings.check_determinism else _cache(settings, where)
        if cache is not None:
            stack.callback(cache.close)
        compiler = stack.enter_context(_compiler(settings, where, cache))
        outcomes.isolated = compiler.isolated
        if chosen.affected and (cache is None or cache.is_empty()):
            compiler.warm_up(len(chosen.affected))
        requests = _requests(chosen, compared)
        _compile_all(compiler, requests, outcomes, progress)
        if settings.check_determinism:
            again = [("repeated", request) for end, request in requests if end == "head"]
            _compile_all(compiler, again, outcomes, progress)
    return outcomes


def _requests(chosen: Chosen, compared: Compared) -> list[tuple[str, Request]]:
    """Make a request for each affected experiment at each end, with the end's name."""
    settings = compared.settings
    head = _Requests(chosen.sources, settings, chosen.everything)
    requests = [
        ("head", head.make(each.experiment))
        for each in chosen.affected
        if each.status is not Change.REMOVED
    ]
    if compared.base is not None and settings.compare:
        # Limits and the target are the head's: what is compared is the experiment, not the run.
        before = [*chosen.untouched, *(each.base for each in chosen.affected if each.base)]
        sources = chosen.sources.beside(compared.base)
        base = _Requests(sources, compared.base_settings or settings, before)
        requests += [
            ("base", base.make(each.base, name=each.experiment.name))
            for each in chosen.affected
            if each.base is not None
        ]
    return requests


def _compile_all(
    compiler: Compiler,
    requests: Sequence[tuple[str, Request]],
    outcomes: Outcomes,
    progress: Progress,
) -> None:
    ends = {id(request): end for end, request in requests}
    compiled = compiler.compile([request for _, request in requests])
    for done, (request, outcome) in enumerate(compiled, start=1):
        getattr(outcomes, ends[id(request)])[request.name] = outcome
        progress(done, len(requests), request.name)


def _compiler(settings: Settings, where: Workspace, cache: Cache | None) -> Compiler:
    index_url = settings.index_url.get_secret_value() if settings.index_url else None
    environments = Environments(
        Path(settings.cache_dir) / "python" / _scope(where),
        environ=where.environ,
        offline=settings.offline,
        index_url=index_url,
    )
    secrets = [each.get_secret_value() for each in settings.secrets()]
    return Compiler(jobs=settings.jobs, cache=cache, environments=environments, secrets=secrets)


def _cache(settings: Settings, where: Workspace) -> Cache:
    return Cache(Path(settings.cache_dir), _scope(where))


def _scope(where: Workspace) -> str:
    """Name the part of the cache that is this run's: what a pull request writes, no other reads."""
    event = where.environ.get("GITHUB_EVENT_NAME", "")
    return "untrusted" if event.startswith(("pull_request", "merge_group")) else "trusted"


class _Requests:
    """Makes the compiler's requests for the experiments of one tree."""

    def __init__(
        self, sources: changes.Sources, settings: Settings, everything: Sequence[Experiment]
    ) -> None:
        self.tree = tree = sources.tree
        self.settings = settings
        self.folder = sources.experiments_dir
        self.sources = sources
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

    def make(self, experiment: Experiment, name: str | None = None) -> Request:
        """Make one request; `name` is what the head calls it."""
        of = self._settings(name or experiment.name)
        closure = self.sources.closure(experiment.path)
        files = dict.fromkeys([*closure.files, *self._below(experiment.folder)])
        dependencies = declared_in(self.tree, experiment.path, self.folder, of.dependencies_from)
        return Request(
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
            experiments.append(_uncompiled(affected))
            continue
        experiment, found = _compiled(affected, outcomes, compared)
        experiments.append(experiment)
        findings += found
    kept = {f"{each.name}.yaml" for each in chosen.everything}
    if outcomes is not None:  # what no longer compiles must not look as if it did
        kept -= {f"{each.name}.yaml" for each in experiments if not each.manifests}
    sources = {path for each in experiments for path in each.source_files} | {*SETTINGS_FILES}
    return Bundle(
        target=settings.target,
        commit=compared.commit,
        dirty=compared.differs_from_commit(sources),
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
    if affected.status is Change.REMOVED:
        return replace(_uncompiled(affected), base_manifests=base_manifests), ()
    head = outcomes.head[name]
    findings = head.findings
    again = outcomes.repeated.get(name)
    if again is not None and differ(again, head):
        findings = (*findings, _not_deterministic(head, again))
    result = CompiledExperiment(
        name=name,
        path=affected.experiment.path,
        status=_status(affected, base, head, compared),
        reasons=affected.reasons,
        base_manifests=base_manifests,
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


def _base_error(base: Outcome | None) -> str | None:
    if base is None or not base.failed:
        return None
    return base.findings[0].message if base.findings else "it does not compile at the base"


def _status(affected: Affected, base: Outcome | None, head: Outcome, compared: Compared) -> Status:
    if head.failed:
        return Status.FAILED
    if compared.base is None:
        return Status.COMPILED
    if affected.status is Change.ADDED:
        return Status.ADDED
    if base is None or base.failed or differ(base, head):
        return Status.CHANGED
    return Status.UNCHANGED


def _not_deterministic(head: Outcome, again: Outcome) -> Finding:
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
