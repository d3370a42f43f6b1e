"""Make small bundles to submit, for tests and for the process that a test kills."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from heraci import document
from heraci.bundle import Bundle, CompiledExperiment, Manifest, Status
from heraci.submit import Fate, Provenance, Submission, plan

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
PROVENANCE = Provenance(commit=COMMIT, repository="group/experiments", ci_run="run 1")


def manifest(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> Manifest:
    """Make a manifest; a workflow's name that ends in a dash is a generateName."""
    key = "generateName" if name.endswith("-") else "name"
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {key: name, **metadata},
        "spec": spec,
    }
    return Manifest(
        kind=kind,
        name=name,
        digest=document.digest(body),
        document=body,
        sources={"": f"experiments/{name.strip('-')}.py:3"},
    )


def workflow(name: str, duration: str | None = "1s", **spec: Any) -> Manifest:
    """Make a workflow that suspends itself for a while, None: for ever."""
    suspend = {"duration": duration} if duration else {}
    templates = [{"name": "main", "suspend": suspend}]
    return manifest("Workflow", name, {"entrypoint": "main", "templates": templates, **spec})


def template(name: str, duration: str = "1s") -> Manifest:
    """Make a template of the same kind."""
    templates = [{"name": "main", "suspend": {"duration": duration}}]
    return manifest("WorkflowTemplate", name, {"entrypoint": "main", "templates": templates})


def user(name: str, of: str) -> Manifest:
    """Make a workflow that refers to a template."""
    return manifest("Workflow", name, {"workflowTemplateRef": {"name": of}})


def cron(name: str, of: str) -> Manifest:
    """Make a cron that refers to a template."""
    spec = {
        "schedules": ["0 3 * * *"],
        "workflowSpec": {"workflowTemplateRef": {"name": of}},
    }
    return manifest("CronWorkflow", name, spec)


def experiment(
    name: str,
    *manifests: Manifest,
    status: Status = Status.ADDED,
    base: tuple[Manifest, ...] = (),
) -> CompiledExperiment:
    """Make an experiment of these manifests."""
    path = f"experiments/{name}.py"
    return CompiledExperiment(
        name=name, path=path, status=status, manifests=manifests, base_manifests=base
    )


def bundle(*experiments: CompiledExperiment) -> Bundle:
    """Make a bundle of these experiments."""
    return Bundle(commit=COMMIT, experiments=experiments)


def planned(
    namespace: str, *manifests: Manifest, provenance: Provenance = PROVENANCE, **options: Any
) -> tuple[Submission, ...]:
    """Plan one experiment of these manifests, in which nothing is wrong."""
    made = plan(bundle(experiment("grid", *manifests)), provenance, namespace=namespace, **options)
    assert made.findings == ()
    return made.submissions


def told(fates: Iterable[Fate]) -> list[tuple[str, str, str]]:
    """Give name, fate and message of each object, in order."""
    return sorted((each.submission.name, str(each.what), each.message) for each in fates)
