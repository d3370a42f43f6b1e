"""Stand in for the kubelet: say of each pod that it ran, without running anything.

This is a double because a real kubelet needs root, cgroups and a container runtime with images,
which neither a laptop's test run nor most CI machines offer. Everything else is real: the pod is
made by Argo's controller, admitted and stored by the API server, and what is patched here is the
status that a kubelet would report, which the controller then acts on.

A test chooses with an annotation of the pod, else of its namespace (`heraci.test/outcome`):
`succeed` (the default), `fail`, or `hang` (runs for ever). What a step's template declares as
outputs is reported through a WorkflowTaskResult, as Argo's executor does; `heraci.test/outputs`
(again of the pod, else of the namespace) is a JSON object of the values, a script's is `result`.
"""

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

OUTCOME = "heraci.test/outcome"
OUTPUTS = "heraci.test/outputs"


class StandInKubelet(threading.Thread):
    """Settle every pending pod of the cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__(daemon=True, name="stand-in-kubelet")
        settings = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=settings)
        settings.retries = False  # our own loop tries again, and without a warning each time
        api = client.ApiClient(settings)
        self._stopped = threading.Event()
        self._core: Any = client.CoreV1Api(api)
        self._custom = client.CustomObjectsApi(api)

    def stop(self) -> None:
        """Settle no more pods; it ends as soon as its API server has."""
        self._stopped.set()

    def run(self) -> None:
        """Look again and again: unlike a watch, that outlives restarts of the API server."""
        # A pod has gone meanwhile, or the API server has: the next look will tell.
        passing = (client.ApiException, urllib3.exceptions.HTTPError, OSError, ValueError)
        while not self._stopped.wait(0.2):
            with suppress(*passing):
                answer = self._core.list_pod_for_all_namespaces(
                    field_selector="status.phase=Pending", _preload_content=False
                )
                for pod in json.loads(answer.data).get("items", []):
                    with suppress(*passing):  # one odd pod holds up no other test's
                        self._settle(pod)

    def _settle(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        if "deletionTimestamp" in metadata:
            return
        annotations = metadata.get("annotations", {})
        if not {OUTCOME, OUTPUTS} <= annotations.keys():
            of_namespace = self._core.read_namespace(namespace).metadata.annotations or {}
            annotations = of_namespace | annotations
        outcome = annotations.get(OUTCOME, "succeed")
        if outcome == "succeed":
            self._report_outputs(pod, json.loads(annotations.get(OUTPUTS, "{}")))
        status: dict[str, str] = {"phase": "Running", "startTime": _now()}
        if outcome == "succeed":
            status["phase"] = "Succeeded"
        elif outcome == "fail":
            status |= {"phase": "Failed", "message": "main: exit code 1"}
        self._core.patch_namespaced_pod_status(name, namespace, {"status": status})

    def _report_outputs(self, pod: dict[str, Any], values: dict[str, str]) -> None:
        outputs = _outputs(pod, values)
        if not outputs:
            return
        metadata = pod["metadata"]
        of_workflow = "workflows.argoproj.io/workflow"
        labels = {
            of_workflow: metadata["labels"][of_workflow],
            "workflows.argoproj.io/report-outputs-completed": "true",
        }
        node = metadata["annotations"]["workflows.argoproj.io/node-id"]
        body = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "WorkflowTaskResult",
            "metadata": {"name": node, "labels": labels},
            "outputs": outputs,
        }
        try:
            self._custom.create_namespaced_custom_object(
                "argoproj.io", "v1alpha1", metadata["namespace"], "workflowtaskresults", body
            )
        except client.ApiException as error:
            if error.status != 409:  # reported before a restart of the API server
                raise


def _outputs(pod: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """Say what the executor would of the outputs that the pod's step declares."""
    spec = pod["spec"]
    containers = spec["containers"] + spec.get("initContainers", [])
    environ = {e["name"]: e.get("value", "") for each in containers for e in each.get("env", ())}
    declared = json.loads(environ.get("ARGO_TEMPLATE") or "{}").get("outputs", {})
    outputs: dict[str, Any] = {}
    if parameters := declared.get("parameters"):
        outputs["parameters"] = [
            {"name": each["name"], "value": values.get(each["name"], "")} for each in parameters
        ]
    if artifacts := declared.get("artifacts"):
        outputs["artifacts"] = [
            {**each, "s3": {"key": f"{pod['metadata']['name']}/{each['name']}"}}
            for each in artifacts
        ]
    if environ.get("ARGO_INCLUDE_SCRIPT_OUTPUT") == "true":
        outputs["result"] = values.get("result", "")
    return outputs


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
