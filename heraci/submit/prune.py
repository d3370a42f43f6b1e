"""Templates and crons whose source is gone: report them, and with `prune` put them to rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from heraci.bundle import Bundle, CompiledExperiment, Manifest, Status
from heraci.errors import HeraciError
from heraci.submit import values as v
from heraci.submit.values import Fate, Server, Submission, What

# In the order in which they go: an Argo Server suspends no cron whose template is not there.
APPLIED = ("CronWorkflow", "WorkflowTemplate", "ClusterWorkflowTemplate")


def gone(bundle: Bundle, *, namespace: str) -> tuple[Submission, ...]:
    """Find the templates and crons that the base had and the head has no more."""
    kept = {(each.kind, each.name) for _, each in bundle.manifests}
    found = (
        _once_submitted(experiment, manifest, namespace)
        for experiment in bundle.experiments
        # A head that does not compile says nothing about what it has no more.
        if experiment.status is not Status.FAILED
        for manifest in experiment.base_manifests
        if manifest.kind in APPLIED and (manifest.kind, manifest.name) not in kept
    )
    return tuple(sorted(found, key=lambda each: APPLIED.index(each.kind)))


def prune(
    gone: Iterable[Submission],
    server: Server,
    *,
    repository: str | None = None,
    prune: bool = False,
    dry_run: bool = False,
) -> Iterator[Fate]:
    """Suspend crons and delete templates, or only say that they are still there.

    What is not there, or was not submitted by heraci from this repository, is passed over.
    """
    for one in gone:
        try:
            live = server.find(one.kind, one.namespace, one.name)
            if live is not None and _ours(live, repository):
                yield _pruned(one, live, server, prune=prune, dry_run=dry_run)
        except HeraciError as error:
            yield Fate(submission=one, what=What.FAILED, message=str(error))


def _pruned(
    one: Submission, live: dict[str, Any], server: Server, *, prune: bool, dry_run: bool
) -> Fate:
    cron = one.kind == "CronWorkflow"
    if cron and live["spec"].get("suspend"):
        message = "Its source is gone; it is suspended already."
        return Fate(submission=one, what=What.UNCHANGED, message=message, document=live)
    if not prune:
        message = f"Its source is gone; --prune would {'suspend' if cron else 'delete'} it."
        return Fate(submission=one, what=What.ORPHANED, message=message, document=live)
    if not dry_run and cron:
        change = {"metadata": {"annotations": {v.SUSPENDED: "true"}}, "spec": {"suspend": True}}
        live = server.patch(one.kind, one.namespace, one.name, change)
    elif not dry_run:
        server.delete(one.kind, one.namespace, one.name)
    what = What.SUSPENDED if cron else What.DELETED
    return Fate(submission=one, what=what, message="Its source is gone.", document=live)


def _ours(live: dict[str, Any], repository: str | None) -> bool:
    metadata = live["metadata"]
    owner = (metadata.get("annotations") or {}).get(v.REPOSITORY)
    return v.COMMIT_LABEL in (metadata.get("labels") or {}) and (
        repository is None or owner in (None, repository)
    )


def _once_submitted(
    experiment: CompiledExperiment, manifest: Manifest, namespace: str
) -> Submission:
    cluster_wide = manifest.kind == "ClusterWorkflowTemplate"
    return Submission(
        experiment=experiment.name,
        kind=manifest.kind,
        namespace=None if cluster_wide else manifest.namespace or namespace,
        name=manifest.name,
        stem=manifest.name,
        digest=manifest.digest,
        document=manifest.document,
        source=manifest.sources.get("") or experiment.path,
    )
