"""Builds workflows of the common kinds once, so that no worker has to be the first.

pydantic finishes a model's schema when it is first used, which for Hera's large models takes longer
than compiling an experiment does.
"""

from __future__ import annotations

import importlib
from typing import Any

from heraci.compile_worker.scripts import unbound_names


def build_common_workflows() -> None:
    """Build one of each; what they are does not matter."""
    hera: Any = importlib.import_module("hera.workflows")
    for kind in (hera.Workflow, hera.WorkflowTemplate):
        _build(hera, kind)
    with hera.CronWorkflow(name="w", entrypoint="s", schedules=["* * * * *"]) as workflow:
        hera.Script(name="s", source=_body, image="i", inputs=[hera.Parameter(name="x")])
    workflow.to_dict()
    unbound_names("import os\nprint(os)")


def _build(hera: Any, kind: Any) -> None:
    models = hera.models
    with kind(
        generate_name="w-",
        entrypoint="d",
        arguments=[hera.Parameter(name="p", value="1")],
        labels={"a": "b"},
        pod_gc=models.PodGC(strategy="OnPodCompletion"),
        ttl_strategy=models.TTLStrategy(seconds_after_completion=1),
        volumes=[models.Volume(name="e", empty_dir=models.EmptyDirVolumeSource())],
    ) as workflow:
        container = hera.Container(name="c", image="i", command=["c"], **_parts(hera))
        hera.Script(name="s", source="print()", image="i", command=["python"])
        volume = hera.Volume(name="n", size="1Gi", mount_path="/n")
        hera.Container(name="v", image="i", volumes=[volume])
        hera.Suspend(name="u", duration=1)
        called = hera.script(image="i")(_body)
        with hera.Steps(name="t") as steps:
            hera.Step(name="a", template=container, arguments={"x": 1}, with_items=[1, 2])
            with steps.parallel():
                called(name="b", arguments={"x": 1})
        with hera.DAG(name="d"):
            first = hera.Task(name="a", template=container, arguments={"x": "{{item}}"})
            first >> hera.Task(name="b", template="s", when="1 == 1", with_param="[1]")
            called(name="c", arguments={"x": first.result})
    workflow.to_dict()


def _parts(hera: Any) -> dict[str, Any]:
    """Give what containers and scripts have in common, one of each kind."""
    models = hera.models
    return {
        "args": ["a"],
        "inputs": [hera.Parameter(name="x"), hera.Artifact(name="a", path="/a")],
        "outputs": [hera.Parameter(name="y", value_from=models.ValueFrom(path="/y"))],
        "env": [
            hera.Env(name="A", value="1"),
            hera.SecretEnv(name="B", secret_name="b", secret_key="k"),  # noqa: S106
        ],
        "env_from": [hera.ConfigMapEnvFrom(name="c")],
        "resources": hera.Resources(cpu_request=1, memory_request="1Gi"),
        "retry_strategy": hera.RetryStrategy(limit=1),
        "volumes": [hera.ExistingVolume(name="v", claim_name="v", mount_path="/v")],
    }


def _body(x: Any) -> None:
    print(x)


# Hera takes each annotation for a class; those of this file are text.
_body.__annotations__.clear()
