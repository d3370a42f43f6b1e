"""Bundles and reviews made from values, for the tests of what a reviewer sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from heraci import diff, document, graph, plan
from heraci.bundle import Bundle, CompiledExperiment, Manifest, Status
from heraci.comparison import ComparedExperiment, ComparedManifest, Review

Json = dict[str, Any]


def manifest(content: Mapping[str, Any], **more: Any) -> Manifest:
    """One document with its own digest."""
    metadata = content.get("metadata", {})
    return Manifest(
        kind=str(content["kind"]),
        name=str(metadata.get("name") or metadata.get("generateName", "")),
        digest=document.digest(content),
        document=content,
        **more,
    )


def script(name: str = "simulate", image: str = "python:3.12-slim", **more: Any) -> Json:
    """A template that asks for a quarter of a core and 64 MiB."""
    requests = {"cpu": "250m", "memory": "64Mi"}
    body = {"image": image, "source": "print(1)\n", "resources": {"requests": requests}}
    return {"name": name, "script": body, **more}


def task(name: str, template: str = "simulate", **more: Any) -> Json:
    """A task or a step; keyword arguments that are parameters go under `arguments`."""
    return {"name": name, "template": template, **more}


def arguments(**values: Any) -> Json:
    """Arguments as Argo wants them."""
    return {"parameters": [{"name": name, "value": value} for name, value in values.items()]}


def dag(name: str, *tasks: Json) -> Json:
    """A template that runs tasks."""
    return {"name": name, "dag": {"tasks": list(tasks)}}


def steps(name: str, *groups: Sequence[Json]) -> Json:
    """A template that runs groups of steps one after the other."""
    return {"name": name, "steps": [list(each) for each in groups]}


def workflow(
    *templates: Json, name: str = "sweep-", kind: str = "Workflow", **spec: Any
) -> Manifest:
    """A workflow whose first template is its entrypoint."""
    key = "generateName" if name.endswith("-") else "name"
    inner = {"entrypoint": templates[0]["name"], "templates": list(templates), **spec}
    return manifest(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": kind,
            "metadata": {key: name},
            "spec": {"workflowSpec": inner} if kind == "CronWorkflow" else inner,
        }
    )


def experiment(
    name: str,
    head: Iterable[Manifest] = (),
    base: Iterable[Manifest] = (),
    status: Status = Status.CHANGED,
    **more: Any,
) -> CompiledExperiment:
    """An experiment whose entry file carries its name."""
    path = more.pop("path", f"experiments/{name}/experiment.py")
    return CompiledExperiment(
        name=name,
        path=path,
        status=status,
        manifests=tuple(head),
        base_manifests=tuple(base),
        reasons=more.pop("reasons", (f"{path} changed",)),
        **more,
    )


def reviewed(bundle: Bundle, **more: Any) -> Review:
    """What the pipeline makes of a bundle."""
    heads = [each for part in bundle.experiments for each in part.manifests]
    bases = [each for part in bundle.experiments for each in part.base_manifests]

    def planned(part: CompiledExperiment, each: ComparedManifest) -> ComparedManifest:
        return replace(
            each,
            graphs=graph.graphs(each.base, each.head, compared=each.compared),
            plan=plan.plan(each.head, part.name, heads) if each.head else None,
            base_plan=plan.plan(each.base, part.name, bases) if each.base else None,
        )

    return Review(
        bundle=bundle,
        experiments=tuple(
            ComparedExperiment(
                experiment=part,
                manifests=tuple(planned(part, each) for each in diff.compare(part)),
            )
            for part in bundle.experiments
        ),
        findings=more.pop("findings", bundle.findings),
        **more,
    )
