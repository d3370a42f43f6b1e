"""From a bundle and a commit to the named and labelled objects to submit; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from heraci import naming
from heraci.bundle import Bundle, CompiledExperiment, Finding, Manifest, Severity, Status
from heraci.experiment import COMMIT
from heraci.submit import values as v
from heraci.submit.values import Document, Provenance, Submission

# What others refer to comes first.
ORDER = ("ClusterWorkflowTemplate", "WorkflowTemplate", "CronWorkflow", "Workflow")
SUBMITTED = (Status.ADDED, Status.CHANGED, Status.COMPILED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What would be submitted, in order, and what is wrong with it."""

    submissions: tuple[Submission, ...] = ()
    findings: tuple[Finding, ...] = ()


def plan(
    bundle: Bundle,
    provenance: Provenance,
    *,
    namespace: str,
    unchanged: bool = False,
    template_only: bool = False,
    service_account: str | None = None,
) -> Plan:
    """Make the objects of all experiments that the bundle says to submit, in the order to do so."""
    chosen = (*SUBMITTED, Status.UNCHANGED) if unchanged else SUBMITTED
    made: list[Submission] = []
    findings: list[Finding] = []
    for experiment in bundle.experiments:
        for manifest in experiment.manifests if experiment.status in chosen else ():
            if manifest.kind in ORDER:
                manifest = with_service_account(manifest, service_account)
                made += _submissions(experiment, manifest, provenance, namespace, template_only)
            else:
                findings.append(_unknown_kind(experiment, manifest))
    findings += _collisions(made)
    findings += _long_crons(made)
    made.sort(key=lambda each: ORDER.index(each.kind))
    return Plan(submissions=tuple(made), findings=tuple(findings))


def _submissions(
    experiment: CompiledExperiment,
    manifest: Manifest,
    provenance: Provenance,
    namespace: str,
    template_only: bool,
) -> Iterator[Submission]:
    document = with_commit(manifest.document, provenance.commit)
    stem = naming.stem(document["metadata"], experiment.name)
    is_run = manifest.kind == "Workflow"
    name = naming.workflow_name(stem, provenance.commit, provenance.attempt) if is_run else stem
    cluster_wide = manifest.kind == "ClusterWorkflowTemplate"
    one = Submission(
        experiment=experiment.name,
        kind=manifest.kind,
        namespace=None if cluster_wide else manifest.namespace or namespace,
        name=name,
        stem=stem,
        digest=manifest.digest,
        document=document,
        source=manifest.sources.get("") or experiment.path,
    )
    split = template_only and manifest.kind in ("Workflow", "CronWorkflow")
    for each in _split(one, provenance) if split else (one,):
        yield replace(each, document=labelled(each, provenance, pods=not template_only))


def with_service_account(manifest: Manifest, name: str | None) -> Manifest:
    """Let what runs, and names no service account, run as the target's."""
    spec = manifest.document.get("spec") or {}
    inner = spec.get("workflowSpec") or {} if manifest.kind == "CronWorkflow" else spec
    # A workflow that refers to a template may leave it to that.
    if (
        name is None
        or manifest.kind not in ("Workflow", "CronWorkflow")
        or "serviceAccountName" in inner
        or "workflowTemplateRef" in inner
    ):
        return manifest
    inner = {**inner, "serviceAccountName": name}
    spec = {**spec, "workflowSpec": inner} if manifest.kind == "CronWorkflow" else inner
    return replace(manifest, document={**manifest.document, "spec": spec})


def with_commit(document: Any, commit: str) -> Any:
    """Put the commit where the author wrote its marker; everything else is copied as it is."""
    if isinstance(document, Mapping):
        return {
            with_commit(key, commit): with_commit(value, commit) for key, value in document.items()
        }
    if isinstance(document, list | tuple):
        return [with_commit(each, commit) for each in document]
    return document.replace(COMMIT, commit) if isinstance(document, str) else document


def labelled(one: Submission, provenance: Provenance, *, pods: bool = True) -> Document:
    """Set name, namespace, labels and annotations; the author's own stay.

    `pods` says whether the labels may reach the pods: a cluster that only takes references to
    templates refuses a workflow that says anything about pods.
    """
    metadata = dict(one.document["metadata"])
    metadata.pop("generateName", None)
    metadata["name"] = one.name
    if one.namespace:
        metadata["namespace"] = one.namespace
    labels = _labels(one, provenance)
    metadata["labels"] = _added(metadata.get("labels"), labels)
    metadata["annotations"] = _added(metadata.get("annotations"), _annotations(one, provenance))
    spec = dict(one.document.get("spec") or {})
    refers = "workflowTemplateRef" in spec or "workflowTemplateRef" in spec.get("workflowSpec", {})
    if one.kind == "CronWorkflow":
        made = _in(spec, "workflowMetadata", labels)
        if pods or not refers:
            made["workflowSpec"] = _in(dict(spec.get("workflowSpec", {})), "podMetadata", labels)
        spec = made
    elif (one.kind == "Workflow" and (pods or not refers)) or one.serves:
        spec = _in(spec, "podMetadata", labels)
    return {**one.document, "metadata": metadata, "spec": spec}


def _in(spec: dict[str, Any], key: str, labels: Mapping[str, str]) -> dict[str, Any]:
    before = spec.get(key) or {}
    return {**spec, key: {**before, "labels": _added(before.get("labels"), labels)}}


def _labels(one: Submission, provenance: Provenance) -> dict[str, str]:
    labels = {
        v.COMMIT_LABEL: provenance.commit[: naming.LABEL],  # a SHA-256 has one too many
        v.EXPERIMENT_LABEL: naming.shortened(naming.slug(one.experiment), naming.LABEL),
        v.MANAGED_BY_LABEL: "heraci",
    }
    if one.kind == "Workflow" or one.serves:
        labels[v.ATTEMPT_LABEL] = str(provenance.attempt)
    return labels


def _annotations(one: Submission, provenance: Provenance) -> dict[str, str]:
    given = {
        v.EXPERIMENT: one.experiment,
        v.DIGEST: one.digest,
        v.TARGET: provenance.target,
        v.REPOSITORY: provenance.repository,
        v.PULL_REQUEST: provenance.pull_request,
        v.ACTOR: provenance.actor,
        v.CI_RUN: provenance.ci_run,
        v.VERSION: provenance.version,
        v.TITLE: _title(one, provenance),
        v.DESCRIPTION: _description(provenance),
    }
    return {key: value for key, value in given.items() if value}


def _title(one: Submission, provenance: Provenance) -> str:
    pull_request = f" #{provenance.pull_request}" if provenance.pull_request else ""
    rerun = f", attempt {provenance.attempt}" if provenance.attempt > 1 else ""
    return f"{one.experiment}{pull_request} ({provenance.commit[:10]}{rerun})"


def _description(provenance: Provenance) -> str:
    place = f" of {provenance.repository}" if provenance.repository else ""
    actor = f", by {provenance.actor}" if provenance.actor else ""
    return f"Commit {provenance.commit}{place}{actor}"


def _added(own: Mapping[str, str] | None, ours: Mapping[str, str]) -> dict[str, str]:
    """Add ours to the author's: what lies under `heraci/` is ours to say, the rest theirs."""
    own = own or {}
    kept = {key: value for key, value in own.items() if not key.startswith("heraci/")}
    return {**ours, **kept}


def _split(one: Submission, provenance: Provenance) -> Iterator[Submission]:
    """Make of a workflow a template that nobody changes later, and a workflow that refers to it.

    The template is named by the commit: a controller in `Secure` mode ends a run whose template
    was changed. It lives as long as what it serves, which Kubernetes sees to.
    """
    in_cron = one.kind == "CronWorkflow"
    spec = one.document["spec"]
    inner = spec.get("workflowSpec", {}) if in_cron else spec
    if "workflowTemplateRef" in inner:
        yield one
        return
    name = naming.workflow_name(one.stem, provenance.commit, provenance.attempt)
    document = {
        "apiVersion": one.document["apiVersion"],
        "kind": "WorkflowTemplate",
        "metadata": {},
        "spec": inner,
    }
    serves = (one.kind, one.name)
    yield replace(one, kind="WorkflowTemplate", name=name, document=document, serves=serves)
    reference = {"workflowTemplateRef": {"name": name}}
    refers = {**spec, "workflowSpec": reference} if in_cron else reference
    yield replace(one, document={**one.document, "spec": refers})


def _collisions(made: Iterable[Submission]) -> Iterator[Finding]:
    first: dict[tuple[str, str | None, str], Submission] = {}
    for one in made:
        other = first.setdefault((one.kind, one.namespace, one.name), one)
        if other is not one:
            yield _finding(
                one,
                "name-collision",
                f"{one} would also be the name of an object of {other.experiment} "
                f"({other.source}): only one of them could be submitted. Give them names that "
                "differ.",
            )


def _long_crons(made: Iterable[Submission]) -> Iterator[Finding]:
    for one in made:
        if one.kind == "CronWorkflow" and len(one.name) > naming.CRON_NAME:
            yield _finding(
                one,
                "name-too-long",
                f"The name {one.name} has {len(one.name)} characters. A CronWorkflow's has at most "
                f"{naming.CRON_NAME}, as Argo adds a time to it for each run.",
            )


def _unknown_kind(experiment: CompiledExperiment, manifest: Manifest) -> Finding:
    return Finding(
        rule="kind-not-submitted",
        severity=Severity.ERROR,
        message=f"heraci submits {', '.join(ORDER)}, and no {manifest.kind} ({manifest.name}).",
        experiment=experiment.name,
        file=experiment.path,
    )


def _finding(one: Submission, rule: str, message: str) -> Finding:
    file, _, line = (one.source or "").rpartition(":")
    known = line.isdigit()
    return Finding(
        rule=rule,
        severity=Severity.ERROR,
        message=message,
        experiment=one.experiment,
        file=(file if known else one.source) or None,
        line=int(line) if known else None,
    )
