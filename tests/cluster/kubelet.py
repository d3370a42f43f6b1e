"""Stand in for the kubelet: say of each pod that it ran, without running anything.

This is a double because a real kubelet needs root, cgroups and a container runtime with images,
which neither a laptop's test run nor most CI machines offer. Everything else is real: the pod is
made by Argo's controller, admitted and stored by the API server, and what is patched here is the
status that a kubelet would report, which the controller then acts on.

A test chooses with an annotation of the pod, else of its namespace (`heraci.test/outcome`):
`succeed` (the default), `fail`, or `hang` (runs for ever). `heraci.test/outputs` is a JSON object
of output parameters to report through a WorkflowTaskResult, as Argo's executor does.
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
        outcome = annotations.get(OUTCOME)
        if outcome is None:
            of_namespace = self._core.read_namespace(namespace).metadata.annotations or {}
            outcome = of_namespace.get(OUTCOME, "succeed")
        if outcome == "succeed" and OUTPUTS in annotations:
            self._report_outputs(pod, json.loads(annotations[OUTPUTS]))
        status: dict[str, str] = {"phase": "Running", "startTime": _now()}
        if outcome == "succeed":
            status["phase"] = "Succeeded"
        elif outcome == "fail":
            status |= {"phase": "Failed", "message": "main: exit code 1"}
        self._core.patch_namespaced_pod_status(name, namespace, {"status": status})

    def _report_outputs(self, pod: dict[str, Any], outputs: dict[str, str]) -> None:
        metadata = pod["metadata"]
        of_workflow = "workflows.argoproj.io/workflow"
        labels = {
            of_workflow: metadata.get("labels", {}).get(of_workflow, ""),
            "workflows.argoproj.io/report-outputs-completed": "true",
        }
        node = metadata["annotations"].get("workflows.argoproj.io/node-id", metadata["name"])
        parameters = [{"name": name, "value": value} for name, value in outputs.items()]
        body = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "WorkflowTaskResult",
            "metadata": {"name": node, "labels": labels},
            "outputs": {"parameters": parameters},
        }
        try:
            self._custom.create_namespaced_custom_object(
                "argoproj.io", "v1alpha1", metadata["namespace"], "workflowtaskresults", body
            )
        except client.ApiException as error:
            if error.status != 409:  # reported before a restart of the API server
                raise


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
