"""The flow: what each command does, as the list of things that happen, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from heraci import __version__, diff, graph, plan, preflight, quota, requirements, submit
from heraci.bundle import Bundle, Finding, Manifest, Severity, errors_of
from heraci.bundling import Progress, obtain_bundle
from heraci.comparison import ComparedExperiment, ComparedManifest, Review
from heraci.errors import HeraciError, SettingsError
from heraci.needs import Needs
from heraci.preflight import Case
from heraci.servers import Road, namespace_of
from heraci.settings import Settings
from heraci.submission_report import Told
from heraci.submit import Fate, Phase, Plan, Provenance, Run, What
from heraci.workspace import Selection, Workspace

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
    made: Bundle,
    settings: Settings,
    inventory: preflight.Inventory | None = None,
    *,
    insisted: bool = False,
) -> Review:
    """Put base and head side by side, with all findings, for any of the renderers.

    With an inventory the cluster is asserted; where that cannot be done, a finding says so unless
    somebody `insisted` on it.
    """
    report, findings = None, made.findings
    if inventory is not None:
        try:
            report = assert_bundle(made, settings, namespace_of(settings), inventory)
            findings += report.findings
        except HeraciError as error:
            if insisted:
                raise
            findings += (_not_asserted(error, settings),)
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
        quota=quota.rooms(report.looked) if report else (),
        submit_unchanged=settings.submit_unchanged,
    )


def _not_asserted(error: HeraciError, settings: Settings) -> Finding:
    """Tell that the cluster was not asked; that the base names no namespace yet is no mistake."""
    return Finding(
        rule="not-asserted",
        severity=Severity.NOTICE if settings.namespace is None else Severity.ERROR,
        message=f"The cluster was not asked whether it has what is needed: {error}",
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


# --- submit ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What a submission came to; with an error among its findings nothing was begun.

    `waited` says that the runs were to be followed to their end.
    """

    fates: tuple[Fate, ...] = ()
    findings: tuple[Finding, ...] = ()
    runs: tuple[Run, ...] = ()
    waited: bool = False

    @property
    def failed(self) -> bool:
        """Tell whether an object did not get to where it should be."""
        return any(each.what is What.FAILED for each in self.fates)

    @property
    def exit_code(self) -> int:
        """Give 1 for what is the user's to put right, 3 for what the servers did not do."""
        if errors_of(self.findings):
            return 1
        if self.failed or (self.waited and any(not each.phase.ended for each in self.runs)):
            return 3
        ended = (each.phase for each in self.runs if each.phase.ended)
        return int(any(phase is not Phase.SUCCEEDED for phase in ended))


@dataclass(frozen=True, kw_only=True)
class Leave:
    """What is found out before a submission begins: findings, which may forbid it, and its origin.

    `origin` is for the annotations: `repository`, `pull_request`, `actor`, `ci_run`.
    """

    findings: tuple[Finding, ...] = ()
    origin: Mapping[str, str | None] = field(default_factory=dict)


class Listener:
    """Hears of a submission while it is under way; this one tells who started the command."""

    def __init__(self, told: Told) -> None:
        self.told = told

    def begin(self, made: Bundle, between: Sequence[str]) -> Leave:  # noqa: ARG002
        """Say what is known of the bundle before; `between` are the commits since its base."""
        return Leave()

    def fate(self, fate: Fate) -> None:
        """Hear what became of one object."""
        self.told.fate(fate)

    def submitted(self) -> None:
        """Hear that all fates are known; what comes is waiting."""

    def run(self, run: Run) -> None:
        """Hear how one run fares now."""
        self.told.run(run)

    def end(self, result: Submitted | None) -> None:
        """Hear what it came to; None where it broke off."""
        if result is not None:
            self.told.end(result)


def submit_experiments(
    settings: Settings,
    selection: Selection,
    where: Workspace,
    road: Road,
    checks: preflight.Inventory | None,
    listener: Listener,
    progress: Progress,
) -> Submitted:
    """Submit what is selected or changed: each object once, and once only.

    `checks` is None where the cluster is not to be asserted before.
    """
    settings = _since_the_last(settings, selection, road, where)
    made = obtain_bundle(settings, selection, where, progress)
    leave = listener.begin(made, where.between(made.merge_base, made.commit))
    result = None
    try:
        result = submit_bundle(
            made,
            settings,
            road,
            checks,
            leave,
            listener,
            whole=not selection.names,
            is_later=where.is_later_than(made.commit),
        )
    finally:
        # Also where it broke off: what was submitted until then is there, and is told.
        listener.end(result)
    return result


def _since_the_last(
    settings: Settings, selection: Selection, road: Road, where: Workspace
) -> Settings:
    """Choose both ends of a submission: what a failed or lost run of CI left behind is in it too.

    Where nothing was submitted before, a commit that is named is compared with its parent, and
    otherwise the event says with what.
    """
    if settings.bundle is not None:
        return settings
    named = settings.head or settings.commit
    if named is not None and where.is_in_ci and not where.is_merged(named):
        raise SettingsError(
            f"{named} is not on the branch that is checked out: CI submits what was merged alone"
        )
    ends: dict[str, str | None] = {"head": named}
    if not (selection.names or selection.every or settings.base) and where.repository is not None:
        commit = where.commit(named)
        ledger = submit.read_ledger(road.server, namespace_of(settings), archive=road.archive)
        base = where.nearest_ancestor(ledger.commits(), of=commit)
        if base is None and named is not None:
            base = next(iter(where.repository.parents(commit)), None)
        if base is not None and where.is_in_ci:
            ends["head"] = commit  # other steps of the job may have left files in the work tree
        ends["base"] = base
    return settings.model_copy(update=ends)


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
    leave: Leave,
    listener: Listener,
    *,
    whole: bool = False,
    is_later: Callable[[str], bool] = lambda _: False,
) -> Submitted:
    """Check all of a bundle, then submit it.

    `whole` says that this is all that the commit asks for; `is_later` tells of another commit
    whether it came after this one, whose templates must not give way to ours.
    """
    namespace = namespace_of(settings)
    planned = plan_submission(made, settings, namespace, leave.origin)
    findings = (*leave.findings, *made.findings, *planned.findings)
    if checks is not None and not errors_of(findings):
        findings += assert_bundle(made, settings, namespace, checks).findings
    if errors_of(findings):
        return Submitted(findings=findings)
    submissions = planned.submissions
    skipped: tuple[Fate, ...] = ()
    repository = leave.origin.get("repository")
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
        listener.fate(fate)
        fates.append(fate)
    listener.submitted()
    runs: tuple[Run, ...] = ()
    if settings.wait and not settings.dry_run:
        runs = submit.follow(
            fates,
            road.server,
            archive=road.archive,
            timeout=settings.wait_timeout,
            on_change=listener.run,
        )
    return Submitted(fates=tuple(fates), findings=findings, runs=runs, waited=settings.wait)


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
