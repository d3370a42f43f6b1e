"""The flow: what each command does, as the list of things that happen, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from heraci import __version__, bundle, diff, graph, plan, preflight, requirements, submit
from heraci.bundle import Bundle, CompiledExperiment, Finding, Manifest, Severity, Status
from heraci.bundling import Outcomes, Progress, assemble, run_compiler
from heraci.comparison import ComparedExperiment, ComparedManifest, Review
from heraci.errors import SettingsError
from heraci.needs import Needs
from heraci.preflight import Case
from heraci.servers import Road, namespace_of
from heraci.settings import Settings
from heraci.submit import Fate, Plan, Provenance, Run, What
from heraci.workspace import Selection, Workspace, select


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
    if made.target != settings.target:
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


# --- assert ------------------------------------------------------------------------------------


def assert_bundle(
    made: Bundle, settings: Settings, namespace: str, inventory: preflight.Inventory
) -> preflight.Report:
    """Hold what a bundle needs against the cluster."""
    from heraci import registry

    provided = tuple(manifest for _, manifest in made.manifests)

    def read(manifest: Manifest, experiment: str, templates: Sequence[Manifest] = ()) -> Needs:
        return requirements.needs(
            manifest,
            experiment=experiment,
            provided=(*templates, *provided),
            namespace=namespace,
            service_account=settings.service_account,
        )

    return preflight.check(
        tuple(_cases(made, read)),
        namespace=namespace,
        inventory=inventory,
        check_secret_keys=settings.check_secret_keys,
        template_only=settings.template_only,
        find_images=registry.find if settings.check_images else None,
        read=read,
    )


def _cases(made: Bundle, read: Callable[[Manifest, str], Needs]) -> Iterator[Case]:
    for experiment in made.experiments:
        if experiment.requirements:
            yield Case(experiment=experiment.name, declared=experiment.requirements, needs=Needs())
        for manifest in experiment.manifests:
            # An image that carries the commit is looked for under the name that it will have.
            document = submit.with_commit(manifest.document, made.commit) if made.commit else None
            manifest = replace(manifest, document=document) if document else manifest
            needs = read(manifest, experiment.name)
            yield Case(experiment=experiment.name, manifest=manifest, needs=needs)


# --- review ------------------------------------------------------------------------------------


def review_bundle(
    made: Bundle, settings: Settings, report: preflight.Report | None = None
) -> Review:
    """Put base and head side by side, with all findings, for any of the renderers."""
    findings = (*made.findings, *(report.findings if report else ()))
    heads = tuple(each for _, each in made.manifests)
    bases = tuple(each for part in made.experiments for each in part.base_manifests)
    return Review(
        bundle=made,
        experiments=tuple(
            ComparedExperiment(
                experiment=part,
                manifests=tuple(
                    _with_plans(each, part.name, heads, bases) for each in diff.compare(part)
                ),
            )
            for part in made.experiments
        ),
        findings=findings,
        asserted=report is not None,
        submit_unchanged=settings.submit_unchanged,
    )


def _with_plans(
    each: ComparedManifest, name: str, heads: Sequence[Manifest], bases: Sequence[Manifest]
) -> ComparedManifest:
    """Add the picture, and what merging would start, to two manifests side by side."""
    return replace(
        each,
        graphs=graph.graphs(each.base, each.head, compared=each.compared),
        plan=plan.plan(each.head, name, heads) if each.head else None,
        base_plan=plan.plan(each.base, name, bases) if each.base else None,
    )


def _errors(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(each for each in findings if each.severity is Severity.ERROR)


# --- submit ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What a submission came to; `findings` is not empty where nothing was begun."""

    fates: tuple[Fate, ...] = ()
    findings: tuple[Finding, ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def failed(self) -> bool:
        """Tell whether an object did not get to where it should be."""
        return any(each.what is What.FAILED for each in self.fates)


@dataclass(frozen=True, kw_only=True)
class Watching:
    """Who hears of a submission while it is under way."""

    on_fate: Callable[[Fate], None] = field(default=lambda _: None)
    on_run: Callable[[Run], None] = field(default=lambda _: None)


def plan_submission(
    made: Bundle, settings: Settings, namespace: str, origin: Mapping[str, str | None]
) -> Plan:
    """Name and label all that is to be submitted."""
    provenance = Provenance(
        commit=_commit(made),
        attempt=settings.attempt,
        target=settings.target,
        version=__version__,
        **origin,
    )
    return submit.plan(
        made,
        provenance,
        namespace=namespace,
        unchanged=settings.submit_unchanged,
        template_only=settings.template_only,
        service_account=settings.service_account,
    )


def _commit(made: Bundle) -> str:
    if made.commit is None:
        raise SettingsError(
            "a submission carries the commit it was made from, and this folder is in no Git "
            "repository with a commit. Commit the experiments first."
        )
    if made.dirty:
        raise SettingsError(
            "there are changes that are not committed: what is submitted must be found again by "
            "its commit. Commit them, or submit a commit with `--head HEAD`."
        )
    return made.commit


def submit_bundle(
    made: Bundle,
    settings: Settings,
    road: Road,
    checks: preflight.Inventory | None,
    origin: Mapping[str, str | None],
    watching: Watching,
    *,
    whole: bool = False,
    is_later: Callable[[str], bool] = lambda _: False,
) -> Submitted:
    """Check all of a bundle, then submit it: each object once, and once only.

    `whole` says that this is all that the commit asks for; `is_later` tells of another commit
    whether it came after this one, whose templates must not give way to ours.
    """
    namespace = namespace_of(settings)
    planned = plan_submission(made, settings, namespace, origin)
    findings = (*made.findings, *planned.findings)
    if checks is not None and not _errors(findings):
        findings += assert_bundle(made, settings, namespace, checks).findings
    if _errors(findings):
        return Submitted(findings=findings)
    submissions = planned.submissions
    skipped: tuple[Fate, ...] = ()
    repository = origin.get("repository")
    if settings.since_last:
        ledger = submit.read_ledger(
            road.server, namespace, archive=road.archive, repository=repository
        )
        submissions, skipped = ledger.without_repetition(submissions)
    if whole:
        submissions = submit.sized(submissions)
    fates = []
    submitting = submit.submit(
        submissions,
        road.server,
        archive=road.archive,
        concurrency=settings.max_concurrency,
        dry_run=settings.dry_run,
        is_later=is_later,
    )
    pruning = submit.prune(
        submit.gone(made, namespace=namespace),
        road.server,
        repository=repository,
        prune=settings.prune,
        dry_run=settings.dry_run,
    )
    for fate in chain(skipped, submitting, pruning):
        watching.on_fate(fate)
        fates.append(fate)
    runs: tuple[Run, ...] = ()
    if settings.wait and not settings.dry_run:
        runs = submit.follow(
            fates,
            road.server,
            archive=road.archive,
            timeout=settings.wait_timeout,
            on_change=watching.on_run,
        )
    return Submitted(fates=tuple(fates), findings=findings, runs=runs)


def last_submitted(
    settings: Settings, road: Road, where: Workspace, repository: str | None = None
) -> str | None:
    """Find the commit that was submitted last, and wholly, among the ancestors of this one."""
    ledger = submit.read_ledger(
        road.server, namespace_of(settings), archive=road.archive, repository=repository
    )
    return where.nearest_ancestor(ledger.commits(repository))


def status(
    settings: Settings, road: Road, commit: str | None, experiment: str | None
) -> tuple[Run, ...]:
    """Find the runs of a commit or of an experiment, the newest first."""
    return submit.runs(
        road.server,
        namespace_of(settings),
        commit=commit,
        experiment=experiment,
        archive=road.archive,
    )
