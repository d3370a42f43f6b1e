"""Hold experiments against a real cluster: one that has everything, and each thing missing."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from heraci import document
from heraci.bundle import Finding, Manifest, Origin, Requirement, Severity
from heraci.cluster import (
    ConflictError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
    connect,
    inventory,
)
from heraci.cluster.inventory import Inventory
from heraci.needs import Needs
from heraci.preflight import Case, Report, check
from heraci.preflight.ground import KINDS
from heraci.preflight.security import violations
from heraci.requirements import needs
from tests.cluster.fixtures import Namespace

ARGO = "argoproj.io/v1alpha1"
LABEL = "workflows.argoproj.io/configmap-type"
SOURCES = {
    "": "experiments/one.py:1",
    "main": "experiments/one.py:7",
    "gpu": "experiments/one.py:9",
    "make": "experiments/one.py:11",
}


class Lab:
    """A namespace that has all that the experiment of these tests needs."""

    def __init__(self, namespace: Namespace) -> None:
        self.name = namespace.name
        self.namespace = namespace
        self.cluster = connect(paths=[namespace.kubeconfig])
        # What belongs to the whole cluster is shared with the other tests: a name of its own.
        self.own = f"own-{namespace.name}"
        self.made: list[str] = []

    def path(self, kind: str, name: str | None = None) -> str:
        known = {"Role": "roles", "RoleBinding": "rolebindings"}
        if kind in known:
            path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.name}/{known[kind]}"
            return f"{path}/{name}" if name else path
        return KINDS[kind].path(self.name, name)

    def create(self, kind: str, name: str, **content: Any) -> None:
        labels = content.pop("labels", {})
        namespaced = kind not in KINDS or KINDS[kind].namespaced
        body = {"metadata": {"name": name, "labels": labels}, **content}
        path = self.path(kind)
        group = path.removeprefix("/apis/").removeprefix("/api/").split("/")
        version = group[0] if group[0] == "v1" else "/".join(group[:2])
        self.cluster.request("POST", path, body={"apiVersion": version, "kind": kind, **body})
        if not namespaced:
            self.made.append(self.path(kind, name))

    def delete(self, kind: str, name: str) -> None:
        self.cluster.request("DELETE", self.path(kind, name))

    def patch(self, kind: str, name: str, body: dict[str, Any], sub: str = "") -> None:
        path = self.path(kind, name) + sub
        merge = "application/merge-patch+json"
        self.cluster.request("PATCH", path, body=body, content_type=merge)

    def claim(self, name: str, **spec: Any) -> None:
        resources = {"requests": {"storage": spec.pop("storage", "10Gi")}}
        modes = spec.pop("access", ["ReadWriteMany"])
        bound = spec.pop("bound", True)
        spec = {"accessModes": modes, "resources": resources, **spec}
        self.create("PersistentVolumeClaim", name, spec=spec)
        if bound:
            status = {"phase": "Bound", "accessModes": modes, "capacity": resources["requests"]}
            self.patch("PersistentVolumeClaim", name, {"status": status}, "/status")

    def secure(self, level: str) -> None:
        label = {"pod-security.kubernetes.io/enforce": level}
        self.patch("Namespace", self.name, {"metadata": {"labels": label}})

    def quota(self, name: str, **hard: Any) -> None:
        spec = {key: hard.pop(key) for key in ("scopes", "scopeSelector") if key in hard}
        names = {key.replace("__", "/").replace("_", "."): each for key, each in hard.items()}
        self.create("ResourceQuota", name, spec={"hard": names, **spec})
        # Of kinds that came after it, the controller learns within half a minute.
        end = time.monotonic() + 90
        while not names.keys() <= self.used(name).keys():
            assert time.monotonic() < end, "nobody counts what the quota counts"
            time.sleep(0.1)

    def used(self, quota: str) -> dict[str, str]:
        found = self.cluster.get(self.path("ResourceQuota", quota)).get("status", {})
        return dict(found.get("used", {}))

    def claims(self) -> list[str]:
        found = self.cluster.get(self.path("PersistentVolumeClaim"))["items"]
        return [each["metadata"]["name"] for each in found]

    def fill(self) -> None:
        """Make everything that `workflow` needs."""
        self.claim("data")
        self.create("ConfigMap", "settings", data={"proxy": "none"})
        self.create("Secret", "token", data={"password": base64.b64encode(b"x").decode()})
        self.create("Secret", "hub", data={})
        self.create("Secret", "s3", data={"access": "eA==", "secret": "eA=="})
        secrets = "s3: {accessKeySecret: {name: s3, key: access}}"
        self.create("ConfigMap", "artifact-repositories", data={"minio": secrets})
        self.create("ConfigMap", "locks", data={"one": "1"})
        self.create("ConfigMap", "cache", labels={LABEL: "Cache"}, data={})
        self.create("ConfigMap", "values", labels={LABEL: "Parameter"}, data={"size": "3"})
        self.create("ServiceAccount", "runner")
        self.create("Secret", "runner.service-account-token", data={"token": "eA=="})
        rule = {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"]}
        rules = [rule | {"verbs": ["create", "patch"]}]
        rules.append({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]})
        self.create("Role", "executor", rules=rules)
        subject = {"kind": "ServiceAccount", "name": "runner", "namespace": self.name}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "executor"}
        self.create("RoleBinding", "executor", subjects=[subject], roleRef=role)
        inputs = {"parameters": [{"name": "size"}]}
        library = {"templates": [{"name": "part", "inputs": inputs, "suspend": {}}]}
        self.create("WorkflowTemplate", "library", spec=library)
        self.create("ClusterWorkflowTemplate", self.own, spec=library)
        self.create("PriorityClass", self.own, value=10)
        self.create("StorageClass", self.own, provisioner="none", volumeBindingMode="Immediate")
        self.create("RuntimeClass", self.own, handler="runc")
        self.create("CSIDriver", self.own, spec={"volumeLifecycleModes": ["Ephemeral"]})
        self.create("Node", self.own, labels={"for": self.own})
        room = {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "1", "pods": "10"}
        status = {"status": {"allocatable": room, "capacity": room}}
        self.patch("Node", self.own, status, "/status")
        self.quota("quota", pods="10", requests_cpu="8", count__workflows_argoproj_io="1000")
        limit = {"type": "Container", "max": {"memory": "8Gi"}, "default": {"cpu": "1"}}
        self.create("LimitRange", "limits", spec={"limits": [limit]})

    def remove(self) -> None:
        for path in self.made:
            self.cluster.request("DELETE", path)

    def workflow(self) -> dict[str, Any]:
        """Give an experiment that needs everything there is."""
        size = {"arguments": {"parameters": [{"name": "size", "value": "3"}]}}
        far = {"name": "far", "templateRef": {"name": "library", "template": "part"}, **size}
        wide = {"name": self.own, "template": "part", "clusterScope": True}
        job = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}}
        cache = {"configMap": {"name": "cache"}}
        lock = {"configMapKeyRef": {"name": "locks", "key": "one"}}
        value = {"configMapKeyRef": {"name": "values", "key": "size"}}
        steps = ("gpu", "make")
        tasks = [far, {"name": "wide", "templateRef": wide, **size}]
        tasks += [{"name": name, "template": name} for name in ("first", *steps)]
        claim = {"storageClassName": self.own, "accessModes": ["ReadWriteOnce"]}
        gigabyte = {"resources": {"requests": {"storage": "1Gi"}}}
        spec = {
            "entrypoint": "main",
            "serviceAccountName": "runner",
            "parallelism": 2,
            "podPriorityClassName": self.own,
            "podSpecPatch": json.dumps({"runtimeClassName": self.own}),
            "imagePullSecrets": [{"name": "hub"}],
            "artifactRepositoryRef": {"key": "minio"},
            "arguments": {"parameters": [{"name": "size", "valueFrom": value}]},
            "synchronization": {"semaphores": [lock]},
            "volumeClaimTemplates": [{"metadata": {"name": "work"}, "spec": claim | gigabyte}],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "csi", "csi": {"driver": self.own}},
            ],
            "executor": {"serviceAccountName": "runner"},
            "templates": [
                {"name": "main", "dag": {"tasks": tasks}},
                {
                    "name": "first",
                    "memoize": {"key": "k", "maxAge": "1h", "cache": cache},
                    "container": {
                        "image": "busybox:1.37",
                        "command": ["true"],
                        "env": [
                            {"name": "P", "valueFrom": _key("secretKeyRef", "token", "password")},
                            {
                                "name": "X",
                                "valueFrom": _key("configMapKeyRef", "settings", "proxy"),
                            },
                        ],
                        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
                    },
                },
                {
                    "name": "gpu",
                    "nodeSelector": {"for": self.own},
                    "container": {
                        "image": "busybox:1.37",
                        "command": ["true"],
                        "resources": {"limits": {"nvidia.com/gpu": 1}},
                    },
                },
                {"name": "make", "resource": {"action": "create", "manifest": json.dumps(job)}},
            ],
        }
        body = {"apiVersion": ARGO, "kind": "Workflow", "metadata": {"generateName": "one-"}}
        return body | {"spec": spec}

    def check(
        self, body: dict[str, Any] | None = None, kubeconfig: Path | None = None, **how: Any
    ) -> Report:
        case = self.case(body or self.workflow(), how.pop("declared", DECLARED))
        cluster = connect(paths=[kubeconfig]) if kubeconfig else self.cluster
        how = {"read": self.read, **how}
        return check([case], namespace=self.name, inventory=Inventory(cluster), **how)

    def read(
        self, manifest: Manifest, experiment: str, templates: Sequence[Manifest] = ()
    ) -> Needs:
        return needs(manifest, experiment=experiment, provided=templates, namespace=self.name)

    def case(
        self, body: dict[str, Any], declared: tuple[Requirement, ...] = (), name: str = "one"
    ) -> Case:
        manifest = manifest_of(body)
        read = self.read(manifest, name)
        return Case(experiment=name, manifest=manifest, needs=read, declared=declared)


def manifest_of(body: dict[str, Any]) -> Manifest:
    kind, name = body["kind"], body["metadata"].get("name", "one-")
    return Manifest(kind=kind, name=name, digest="", document=body, sources=SOURCES)


def _key(kind: str, name: str, key: str) -> dict[str, Any]:
    return {kind: {"name": name, "key": key}}


DECLARED = (
    Requirement(
        kind="PersistentVolumeClaim",
        name="data",
        access=("ReadWriteMany",),
        storage="5Gi",
        origin=Origin.ENVIRONMENT,
        source="experiments/one.py:3",
    ),
)


@pytest.fixture
def bare(namespace: Namespace) -> Iterator[Lab]:
    made = Lab(namespace)
    yield made
    made.remove()


@pytest.fixture
def lab(bare: Lab) -> Lab:
    """A namespace that has everything, on a cluster where a controller is configured."""
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/api/v1/namespaces", {"metadata": {"name": "argo"}}),
        (
            "/api/v1/namespaces/argo/configmaps",
            {"metadata": {"name": "workflow-controller-configmap"}},
        ),
    ]
    for path, body in bodies:
        with suppress(ConflictError):
            bare.cluster.request("POST", path, body=body)
    bare.fill()
    return bare


def grave(report: Report) -> list[Finding]:
    return [each for each in report.findings if each.severity is not Severity.NOTICE]


def test_a_cluster_that_has_everything_raises_no_alarm(lab: Lab) -> None:
    report = lab.check(check_secret_keys=True)
    assert grave(report) == []


# --- each thing that can be missing or wrong ------------------------------------------------------

Breaking = Callable[[Lab, dict[str, Any]], None]
BREAKING: dict[str, tuple[Breaking, str, str]] = {}


def breaks(rule: str, told: str) -> Callable[[Breaking], Breaking]:
    def remember(change: Breaking) -> Breaking:
        BREAKING[change.__name__.replace("_", " ")] = (change, rule, told)
        return change

    return remember


@breaks("missing-persistent-volume-claim", "'data'")
def no_claim(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "date"


@breaks("claim-pending", "is Pending: its storage class 'nowhere' does not exist")
def a_claim_that_nothing_binds(lab: Lab, body: dict[str, Any]) -> None:
    lab.claim("stuck", bound=False, storageClassName="nowhere")
    body["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "stuck"


@breaks("missing-config-map", "'settings'")
def no_config_map(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("ConfigMap", "settings")


@breaks("missing-key", "lacks the key 'proxy' (it has other)")
def no_key_in_a_config_map(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("ConfigMap", "settings", {"data": {"proxy": None, "other": "x"}})


@breaks("missing-secret", "'token'")
def no_secret(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("Secret", "token")


@breaks("missing-key", "lacks the key 'password' (it has other)")
def no_key_in_a_secret(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("Secret", "token", {"data": {"password": None, "other": "eA=="}})


@breaks("missing-secret", "'hub'")
def no_pull_secret(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("Secret", "hub")


@breaks("missing-service-account", "'runner'")
def no_service_account(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("ServiceAccount", "runner")


@breaks("missing-account-right", "may not create and patch workflowtaskresults")
def no_rights_for_the_executor(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("RoleBinding", "executor")


@breaks("missing-config-map", "'artifact-repositories'")
def no_artifact_repository(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("ConfigMap", "artifact-repositories")


@breaks("missing-key", "lacks the key 'minio'")
def no_key_of_the_artifact_repository(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("ConfigMap", "artifact-repositories", {"data": {"minio": None}})


@breaks("missing-secret", "'s3'")
def no_secret_of_the_artifact_repository(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("Secret", "s3")


@breaks("missing-workflow-template", "'library'")
def no_workflow_template(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("WorkflowTemplate", "library")


@breaks("missing-template", "holds no template 'part'; it holds other")
def no_such_template_inside(lab: Lab, body: dict[str, Any]) -> None:
    other = {"spec": {"templates": [{"name": "other", "suspend": {}}]}}
    lab.patch("WorkflowTemplate", "library", other)


@breaks("missing-cluster-workflow-template", "'nobody'")
def no_cluster_workflow_template(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][0]["dag"]["tasks"][1]["templateRef"]["name"] = "nobody"


@breaks("missing-priority-class", "'nobody'")
def no_priority_class(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["podPriorityClassName"] = "nobody"


@breaks("missing-storage-class", "'nobody'")
def no_storage_class(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] = "nobody"


@breaks("missing-runtime-class", "'nobody'")
def no_runtime_class(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["podSpecPatch"] = "runtimeClassName: nobody"


@breaks("missing-config-map", "'locks'")
def no_semaphore(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("ConfigMap", "locks")


@breaks("missing-key", "lacks the key 'one'")
def no_key_of_the_semaphore(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("ConfigMap", "locks", {"data": {"one": None}})


@breaks("unlabelled-config-map", f"lacks the label {LABEL}: Cache")
def a_cache_without_its_label(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("ConfigMap", "cache", {"metadata": {"labels": {LABEL: None}}})


@breaks("unlabelled-config-map", f"lacks the label {LABEL}: Parameter")
def values_without_their_label(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("ConfigMap", "values", {"metadata": {"labels": {LABEL: None}}})


@breaks("missing-kind", "knows no kind RayCluster (ray.io/v1)")
def no_kind_for_a_resource_template(lab: Lab, body: dict[str, Any]) -> None:
    ray = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"generateName": "x-"}}
    body["spec"]["templates"][3]["resource"]["manifest"] = json.dumps(ray)


@breaks("missing-account-right", "may not create pods")
def no_right_for_a_resource_template(lab: Lab, body: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-"}}
    body["spec"]["templates"][3]["resource"]["manifest"] = json.dumps(pod)


@breaks("missing-namespace", "'nowhere-at-all'")
def no_namespace_for_a_resource_template(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][3]["resource"]["manifest"] = json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "nowhere-at-all"}}
    )


@breaks("missing-csidriver", "'nobody'")
def no_driver_of_a_volume(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["volumes"][1]["csi"]["driver"] = "nobody"


@breaks("missing-secret", "'runner.service-account-token'")
def no_token_for_the_executor(lab: Lab, body: dict[str, Any]) -> None:
    lab.delete("Secret", "runner.service-account-token")


@breaks("missing-secret", "'another'")
def no_token_under_the_name_that_the_account_says(lab: Lab, body: dict[str, Any]) -> None:
    noted = {"workflows.argoproj.io/service-account-token.name": "another"}
    lab.patch("ServiceAccount", "runner", {"metadata": {"annotations": noted}})


@breaks("missing-argument", "wants 'size' for its template 'part', and this call does not")
def no_argument_for_a_template_of_the_cluster(lab: Lab, body: dict[str, Any]) -> None:
    del body["spec"]["templates"][0]["dag"]["tasks"][0]["arguments"]


@breaks("missing-secret", "'of-the-library'")
def no_secret_for_a_template_of_the_cluster(lab: Lab, body: dict[str, Any]) -> None:
    container: dict[str, Any] = {"image": "busybox:1.37", "command": ["true"]}
    container["envFrom"] = [{"secretRef": {"name": "of-the-library"}}]
    patch = {"spec": {"templates": [{"name": "part", "container": container}]}}
    lab.patch("WorkflowTemplate", "library", patch)


@breaks("missing-template", "names no entrypoint, and the workflow that is made from it")
def no_entrypoint_in_a_whole_template(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"] = {"workflowTemplateRef": {"name": "library"}, "serviceAccountName": "runner"}


@breaks("missing-argument", "wants 'size' from a workflow that is made from it, and this")
def no_argument_for_a_whole_template(lab: Lab, body: dict[str, Any]) -> None:
    arguments = {"parameters": [{"name": "size"}, {"name": "kind", "value": "usual"}]}
    lab.patch("WorkflowTemplate", "library", {"spec": {"arguments": arguments}})
    body["spec"] = {"workflowTemplateRef": {"name": "library"}, "entrypoint": "part"}
    body["spec"]["serviceAccountName"] = "runner"


@breaks("semaphore-limit", "says '0' under 'one'")
def a_semaphore_that_lets_nobody_in(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("ConfigMap", "locks", {"data": {"one": "0"}})


@breaks("claim-lost", "'data'")
def a_claim_that_lost_its_volume(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("PersistentVolumeClaim", "data", {"status": {"phase": "Lost"}}, "/status")


@breaks("missing-persistent-volume-claim", "'of-the-job'")
def no_claim_for_the_pod_of_a_job(lab: Lab, body: dict[str, Any]) -> None:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "of-the-job"}}
    pod = {"containers": [{"name": "x", "image": "busybox"}], "volumes": [volume]}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}}
    made["spec"] = {"template": {"spec": pod}}
    body["spec"]["templates"][3]["resource"]["manifest"] = json.dumps(made)


@breaks("missing-account-right", "may not get configmaps")
def no_right_to_look_at_what_a_resource_template_waits_for(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][3]["resource"]["successCondition"] = "status.ready == true"


@breaks("missing-account-right", "may not list and watch workflowartifactgctasks, patch")
def no_right_to_remove_artifacts(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["artifactGC"] = {"strategy": "OnWorkflowDeletion"}
    artifact = {"name": "made", "path": "/made"}
    body["spec"]["templates"][1]["outputs"] = {"artifacts": [artifact]}


@breaks("pod-security", "the pod of template 'first' breaks it: volume 'host' is a hostPath.")
def a_volume_that_the_namespace_forbids(lab: Lab, body: dict[str, Any]) -> None:
    lab.secure("baseline")
    host = {"name": "host", "hostPath": {"path": "/"}}
    body["spec"]["templates"][1]["volumes"] = [host]


@breaks("pod-security", "container 'main' is privileged")
def a_privileged_pod_that_the_namespace_forbids(lab: Lab, body: dict[str, Any]) -> None:
    lab.secure("baseline")
    patch = {"containers": [{"name": "main", "securityContext": {"privileged": True}}]}
    body["spec"]["templates"][1]["podSpecPatch"] = json.dumps(patch)


@breaks("quota-too-small", "allows 0 of pods, and one pod of template 'first' needs 1")
def a_quota_of_its_priority(lab: Lab, body: dict[str, Any]) -> None:
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": [lab.own]}
    lab.quota("small", scopeSelector={"matchExpressions": [scope]}, pods="0")


@breaks("quota-too-small", "allows 0 of pods, and one pod of template 'gpu' needs 1")
def a_quota_of_pods_with_a_deadline(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][2]["activeDeadlineSeconds"] = 60
    lab.quota("small", scopes=["Terminating"], pods="0")


@breaks("quota-too-small", "storageclass.storage.k8s.io/requests.storage, and the volume claims")
def a_quota_of_its_storage_class(lab: Lab, body: dict[str, Any]) -> None:
    lab.quota("small", **{f"{lab.own}.storageclass.storage.k8s.io/requests.storage": "512Mi"})


@breaks("limit-range", "at most 2 times the request, and container 'main' of template 'first'")
def a_limit_too_many_times_the_request(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][1]["container"]["resources"]["limits"] = {"memory": "4Gi"}
    ratio = {"type": "Container", "maxLimitRequestRatio": {"memory": "2"}}
    lab.create("LimitRange", "ratio", spec={"limits": [ratio]})


@breaks("limit-range", "name no limit of cpu one of 1, and container 'main' of template 'first'")
def a_request_above_the_limit_by_default(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][1]["container"]["resources"]["requests"]["cpu"] = "2"


@breaks(
    "limit-range", "every container has to name a limit, and the pod of template 'first' names none"
)
def no_limit_where_the_pod_has_one(lab: Lab, body: dict[str, Any]) -> None:
    del body["spec"]["templates"][0]["dag"]["tasks"][3]
    lab.patch("LimitRange", "limits", {"spec": {"limits": []}})
    limit = {"type": "Pod", "max": {"memory": "8Gi"}}
    lab.create("LimitRange", "pods", spec={"limits": [limit]})


@breaks("no-node-fits", "there is no node 'nobody'")
def no_node_of_the_name(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][2]["podSpecPatch"] = "nodeName: nobody"


@breaks("no-node-fits", "template 'gpu' now: those that could are closed (kubectl cordon)")
def no_node_that_is_open(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("Node", lab.own, {"spec": {"unschedulable": True}})


@breaks("quota-too-small", "allows 0 of pods, and one pod of template 'first' needs 1")
def a_quota_without_pods(lab: Lab, body: dict[str, Any]) -> None:
    lab.quota("small", pods="0")


@breaks("quota-too-small", "allows 500m of requests.cpu, and one pod of template 'first' needs 1")
def a_quota_with_little_cpu(lab: Lab, body: dict[str, Any]) -> None:
    lab.quota("small", requests_cpu="500m")


@breaks("quota-too-small", "allows 512Mi of memory, and one pod of template 'first' needs 1Gi")
def a_quota_with_little_memory(lab: Lab, body: dict[str, Any]) -> None:
    lab.quota("small", memory="512Mi")


@breaks("quota-demands", "do not name limits.memory, as 'main' of template 'gpu' does not")
def a_quota_that_wants_limits(lab: Lab, body: dict[str, Any]) -> None:
    lab.patch("LimitRange", "limits", {"spec": {"limits": []}})
    lab.quota("strict", limits_memory="64Gi")


@breaks("quota-too-small", "allows 0 of count/workflows.argoproj.io, and 1 new workflow needs 1")
def a_quota_without_workflows(lab: Lab, body: dict[str, Any]) -> None:
    lab.quota("small", count__workflows_argoproj_io="0")


@breaks("quota-too-small", "allows 0 of persistentvolumeclaims")
def a_quota_without_claims(lab: Lab, body: dict[str, Any]) -> None:
    lab.quota("small", persistentvolumeclaims="0")


@breaks("quota-below-parallelism", "2 pods of template 'first', as many as may run")
def a_quota_below_the_parallelism(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][0]["dag"]["tasks"][2]["withItems"] = [1, 2, 3]
    lab.quota("small", requests_cpu="1500m")


@breaks("limit-range", "allows at most 8Gi of memory, and container 'main' of template 'first'")
def a_limit_below_the_request(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][1]["container"]["resources"]["requests"]["memory"] = "9Gi"


@breaks("limit-range", "allows at most 512Mi of storage, and the volume claim 'work'")
def a_limit_below_the_claim(lab: Lab, body: dict[str, Any]) -> None:
    limit = {"type": "PersistentVolumeClaim", "max": {"storage": "512Mi"}}
    lab.create("LimitRange", "claims", spec={"limits": [limit]})


@breaks("no-node-fits", "none has the labels for=nobody")
def no_node_with_the_label(lab: Lab, body: dict[str, Any]) -> None:
    body["spec"]["templates"][2]["nodeSelector"] = {"for": "nobody"}


@breaks("no-node-fits", "it asks for 4 of nvidia.com/gpu, and the largest has 1")
def no_node_with_as_many_gpus(lab: Lab, body: dict[str, Any]) -> None:
    limits = body["spec"]["templates"][2]["container"]["resources"]["limits"]
    limits["nvidia.com/gpu"] = 4


@breaks("no-node-fits", "template 'gpu': all that it selects are tainted (only=others:NoSchedule)")
def no_node_without_a_taint(lab: Lab, body: dict[str, Any]) -> None:
    taint = {"key": "only", "value": "others", "effect": "NoSchedule"}
    lab.patch("Node", lab.own, {"spec": {"taints": [taint]}})


@breaks("refused-by-server", "specification")
def a_manifest_that_the_server_refuses(lab: Lab, body: dict[str, Any]) -> None:
    body["specification"] = {}


@pytest.mark.parametrize("name", BREAKING)
def test_what_is_missing_or_wrong_is_named(name: str, lab: Lab) -> None:
    change, rule, told = BREAKING[name]
    body = deepcopy(lab.workflow())
    change(lab, body)
    report = lab.check(body, check_secret_keys=True)
    found = [each for each in grave(report) if each.rule == rule and told in each.message]
    assert len(found) == 1, report.findings
    assert (found[0].experiment, found[0].file) == ("one", "experiments/one.py")
    assert found[0].line
    assert {each.rule for each in grave(report)} == {rule}


BOTH = ("baseline", "restricted")
HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PODS: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    # what the pod has, what its container has, and which levels refuse it
    ({}, {"securityContext": HARDENED}, ()),
    ({}, {}, ("restricted",)),
    ({"hostNetwork": True}, {"securityContext": HARDENED}, BOTH),
    ({"hostPID": True}, {"securityContext": HARDENED}, BOTH),
    ({"hostIPC": True}, {"securityContext": HARDENED}, BOTH),
    ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, {"securityContext": HARDENED}, BOTH),
    (
        {"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]},
        {"securityContext": HARDENED},
        ("restricted",),
    ),
    ({"volumes": [{"name": "v", "emptyDir": {}}]}, {"securityContext": HARDENED}, ()),
    (
        {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]},
        {"securityContext": HARDENED},
        (),
    ),
    (
        {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
        {"securityContext": HARDENED},
        BOTH,
    ),
    (
        {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}},
        {"securityContext": HARDENED},
        (),
    ),
    ({"securityContext": {"runAsUser": 0}}, {"securityContext": HARDENED}, ("restricted",)),
    (
        {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            }
        },
        {
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            }
        },
        (),
    ),
    (
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"securityContext": HARDENED},
        BOTH,
    ),
    (
        {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
        {"securityContext": HARDENED},
        BOTH,
    ),
    (
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
        {"securityContext": HARDENED},
        BOTH,
    ),
    ({}, {"securityContext": {"privileged": True}}, BOTH),
    ({}, {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, BOTH),
    ({}, {"securityContext": {"capabilities": {"add": ["CHOWN"]}}}, ("restricted",)),
    (
        {},
        {"securityContext": HARDENED | {"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}},
        ("restricted",),
    ),
    ({}, {"securityContext": HARDENED, "ports": [{"containerPort": 1, "hostPort": 1}]}, BOTH),
    ({}, {"securityContext": HARDENED | {"runAsUser": 0}}, ("restricted",)),
    ({}, {"securityContext": HARDENED | {"runAsNonRoot": False}}, ("restricted",)),
    (
        {"hostUsers": False},
        {"securityContext": HARDENED | {"procMount": "Unmasked"}},
        ("restricted",),
    ),
    ({"hostUsers": False}, {"securityContext": HARDENED | {"runAsNonRoot": False}}, ()),
    ({"hostUsers": False}, {"securityContext": HARDENED | {"runAsUser": 0}}, ()),
    (
        {"initContainers": [{"name": "i", "image": "busybox"}]},
        {"securityContext": HARDENED},
        ("restricted",),
    ),
]


@pytest.mark.parametrize("level", BOTH)
def test_the_pod_security_standards_are_those_of_kubernetes(bare: Lab, level: str) -> None:
    """Each pod is shown to the API server, too: it has the last word."""
    bare.secure(level)
    for of_pod, of_container, refused_by in PODS:
        container = {"name": "main", "image": "busybox", **of_container}
        spec = {"containers": [container], **of_pod}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        try:
            bare.cluster.request("POST", bare.path("Pod"), {"dryRun": "All"}, body)
        except RejectedError as error:
            refused = "violates PodSecurity" in str(error)
        else:
            refused = False
        found = list(violations(spec, level))
        assert (refused, bool(found)) == ((level in refused_by),) * 2, (spec, found)


# --- what an account may look at ------------------------------------------------------------------

NARROW = [
    {
        "apiGroups": [""],
        "resources": ["persistentvolumeclaims", "configmaps"],
        "verbs": ["list"],
    }
]


def narrow(lab: Lab, *more: dict[str, list[str]]) -> Path:
    return lab.namespace.account("narrow", [*NARROW, *more]).kubeconfig


def test_a_narrow_account_asserts_what_it_may_look_at(lab: Lab) -> None:
    report = lab.check(kubeconfig=narrow(lab))
    assert [(each.rule, each.severity) for each in grave(report)] == [
        ("missing-right", Severity.WARNING)
    ]
    (unlooked,) = [each.message for each in report.findings if each.rule == "not-checked"]
    for plural in (
        *("secrets", "serviceaccounts", "workflowtemplates", "clusterworkflowtemplates"),
        *("priorityclasses", "storageclasses", "runtimeclasses", "limitranges", "resourcequotas"),
        *("nodes", "deployments", "localsubjectaccessreviews"),
    ):
        assert f"\n{plural}: " in unlooked
    roles = document.load(unlooked.partition("give this account:\n")[2])
    assert [each["kind"] for each in roles] == ["Role", "ClusterRole"]


def test_the_told_roles_let_an_account_look_at_all_of_it(lab: Lab) -> None:
    kubeconfig = narrow(lab)

    def unlooked() -> list[str]:
        findings = lab.check(kubeconfig=kubeconfig).findings
        return [each.message for each in findings if "give this account:" in each.message]

    (message,) = unlooked()
    start = "/apis/rbac.authorization.k8s.io/v1"
    subject = {"kind": "ServiceAccount", "name": "narrow", "namespace": lab.name}
    for role in document.load(message.partition("give this account:\n")[2]):
        # What belongs to the whole cluster is shared with the other tests.
        role["metadata"]["name"] = lab.own
        plural = "roles" if role["kind"] == "Role" else "clusterroles"
        within = f"/namespaces/{lab.name}" if role["kind"] == "Role" else ""
        lab.cluster.request("POST", f"{start}{within}/{plural}", body=role)
        group = "rbac.authorization.k8s.io"
        reference = {"apiGroup": group, "kind": role["kind"], "name": lab.own}
        binding = {"metadata": {"name": lab.own}, "subjects": [subject], "roleRef": reference}
        bindings = f"{start}{within}/{plural.removesuffix('s')}bindings"
        lab.cluster.request("POST", bindings, body=binding)
        if not within:
            lab.made += [
                f"{start}/clusterroles/{lab.own}",
                f"{start}/clusterrolebindings/{lab.own}",
            ]
    end = time.monotonic() + 30
    while unlooked():  # the API server takes a moment to know of them
        assert time.monotonic() < end, unlooked()


def test_a_narrow_account_finds_what_is_missing_where_it_may_look(lab: Lab) -> None:
    kubeconfig = narrow(lab)
    body = lab.workflow()
    no_claim(lab, body)
    no_key_in_a_config_map(lab, body)
    report = lab.check(body, kubeconfig)
    assert {each.rule for each in grave(report)} == {
        *("missing-persistent-volume-claim", "missing-key", "missing-right")
    }


def test_an_account_that_submits_and_may_not_create_is_told_the_role(lab: Lab) -> None:
    looking = {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get", "list"]}
    report = lab.check(kubeconfig=narrow(lab, looking))
    (finding,) = grave(report)
    assert (finding.rule, finding.severity) == ("missing-right", Severity.ERROR)
    assert (finding.file, finding.line) == ("experiments/one.py", 1)
    role = finding.message.partition("(bind it to the account):\n")[2] + "\n"
    assert role == (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: heraci-submit\n"
        f"  namespace: {lab.name}\nrules:\n- apiGroups:\n  - argoproj.io\n  resources:\n"
        "  - workflows\n  verbs:\n  - create\n"
    )


def test_the_told_role_is_enough(lab: Lab) -> None:
    rule = {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["create"]}
    report = lab.check(kubeconfig=narrow(lab, rule))
    assert grave(report) == []
    assert report.dry_runs == 1


def test_a_secret_may_be_looked_up_by_name_where_no_list_is_allowed(lab: Lab) -> None:
    rule = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "verbs": ["get"],
        "resourceNames": ["token", "gone"],
    }
    body = lab.workflow()
    body["spec"]["imagePullSecrets"] = [{"name": "gone"}]
    report = lab.check(body, narrow(lab, rule), check_secret_keys=True)
    assert [each.rule for each in grave(report)] == ["missing-secret", "missing-right"]
    (unlooked,) = [each for each in report.findings if each.rule == "not-checked"]
    assert "\nsecrets: runner.service-account-token, s3\n" in unlooked.message


def test_keys_of_secrets_are_looked_at_only_when_asked(lab: Lab) -> None:
    body = lab.workflow()
    no_key_in_a_secret(lab, body)
    assert grave(lab.check(body)) == []


def test_no_value_of_a_secret_is_kept(lab: Lab) -> None:
    canary = base64.b64encode(b"a-canary-in-a-secret").decode()
    lab.patch("Secret", "token", {"data": {"password": canary}})
    note = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": canary}}
    lab.patch("Secret", "token", {"metadata": note})
    report = lab.check(check_secret_keys=True)
    assert grave(report) == []
    assert canary not in repr(report)
    assert canary not in "\n".join(report.explanation())


# --- the cluster itself ---------------------------------------------------------------------------


def test_a_missing_namespace_is_said_once(bare: Lab) -> None:
    body = bare.workflow()
    case = bare.case(body)
    found = check([case], namespace="nowhere-at-all", inventory=Inventory(bare.cluster))
    assert [each for each in found.findings if each.severity is not Severity.NOTICE] == [
        Finding(
            rule="missing-namespace",
            severity=Severity.ERROR,
            message="Namespace 'nowhere-at-all' is not there.\nNeeded by the workflow "
            "(experiments/one.py:1) of one.\nCreate it: kubectl create namespace nowhere-at-all",
            experiment="one",
            file="experiments/one.py",
            line=1,
        )
    ]
    assert found.dry_runs == 0


def test_bad_credentials_and_no_server_are_errors_of_their_own(bare: Lab, tmp_path: Path) -> None:
    kubeconfig = json.loads(bare.namespace.account("any", NARROW).kubeconfig.read_text())
    kubeconfig["users"][0]["user"] = {"token": "wrong"}
    with pytest.raises(UnauthorizedError):
        bare.check(kubeconfig=written(tmp_path, kubeconfig))
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    with pytest.raises(UnreachableError):
        bare.check(kubeconfig=written(tmp_path, kubeconfig))


def written(folder: Path, kubeconfig: dict[str, Any]) -> Path:
    path = folder / "kubeconfig"
    path.write_text(json.dumps(kubeconfig))
    return path


def test_a_claim_that_its_first_pod_will_bind_is_fine(lab: Lab) -> None:
    waiting = f"waiting-{lab.own}"
    lab.create(
        "StorageClass", waiting, provisioner="none", volumeBindingMode="WaitForFirstConsumer"
    )
    lab.claim("waits", bound=False, storageClassName=waiting)
    body = lab.workflow()
    body["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "waits"
    assert grave(lab.check(body)) == []


@pytest.mark.parametrize(
    ("declared", "rule", "told"),
    [
        ({"access": ("ReadWriteMany",)}, "claim-access", "offers ReadWriteOnce, not ReadWriteMany"),
        ({"storage": "20Gi"}, "claim-size", "has 10Gi, and 20Gi are needed"),
    ],
)
def test_what_an_environment_declares_of_a_claim_is_asserted(
    lab: Lab, declared: dict[str, Any], rule: str, told: str
) -> None:
    lab.claim("single", access=["ReadWriteOnce"])
    source = "experiments/one.py:3"
    wanted = Requirement(
        kind="PersistentVolumeClaim",
        name="single",
        origin=Origin.ENVIRONMENT,
        source=source,
        **declared,
    )
    (finding,) = grave(lab.check(declared=(wanted,)))
    assert (finding.rule, finding.file, finding.line) == (rule, "experiments/one.py", 3)
    assert told in finding.message


def eventually_gone(lab: Lab, claim: str) -> None:
    end = time.monotonic() + 30
    while claim in lab.claims():
        assert time.monotonic() < end, "the claim stays"
        time.sleep(0.1)


def test_the_told_claim_is_one_that_fits(lab: Lab) -> None:
    lab.delete("PersistentVolumeClaim", "data")
    eventually_gone(lab, "data")
    (finding,) = grave(lab.check())
    (told,) = document.load(finding.message.partition("kubectl apply -f:\n")[2])
    spec = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "5Gi"}},
    }
    assert (told["kind"], told["metadata"]["namespace"]) == ("PersistentVolumeClaim", lab.name)
    assert told["spec"] == spec
    lab.claim(told["metadata"]["name"], storage="5Gi")
    assert grave(lab.check()) == []


def test_what_may_be_missing_is_a_notice(lab: Lab) -> None:
    body = lab.workflow()
    lab.delete("ConfigMap", "cache")
    report = lab.check(body)
    assert grave(report) == []
    (message,) = [each.message for each in report.findings if each.rule == "missing-config-map"]
    assert message == (
        f"ConfigMap 'cache' in namespace {lab.name} is not there, and it is optional.\nNeeded by "
        "template 'first' (experiments/one.py:1) of one.\n"
        f"Create it: kubectl -n {lab.name} create configmap cache"
    )


def test_two_hundred_experiments_take_few_requests(lab: Lab) -> None:
    cases = []
    for number in range(200):
        body = lab.workflow()
        spec = body["spec"]
        for key in ("podPriorityClassName", "podSpecPatch", "volumeClaimTemplates"):
            del spec[key]
        del spec["volumes"][1]
        spec["templates"][0]["dag"]["tasks"].pop(1)  # the cluster's own template
        spec["arguments"]["parameters"].append({"name": "n", "value": str(number // 2)})
        cases.append(lab.case(body, DECLARED, name=f"experiment-{number}"))
    lab.create(
        "StorageClass",
        "slow-" + lab.own,
        provisioner="none",
        volumeBindingMode="WaitForFirstConsumer",
    )
    lab.delete("PersistentVolumeClaim", "data")
    eventually_gone(lab, "data")
    lab.claim("data", bound=False, storageClassName="slow-" + lab.own)
    kinds = {each.kind for case in cases for each in case.requirements}
    assert len(kinds) == 5
    asked = Inventory(lab.cluster)
    report = check(cases, namespace=lab.name, inventory=asked, read=lab.read)
    assert grave(report) == []
    assert report.requests <= 15, "\n".join(report.explanation())
    assert (report.dry_runs, asked.dry_runs) == (100, 100)


def test_a_long_list_is_read_to_its_end(bare: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "PAGE", 2)
    monkeypatch.setattr(inventory, "METADATA_PAGE", 2)
    for number in range(5):
        bare.create("ConfigMap", f"one-{number}", data={"key": "x"})
    wanted = tuple(
        Requirement(kind="ConfigMap", name=f"one-{number}", keys=keys)
        for number in range(5)
        for keys in ((), ("key",))
    )
    for declared in (wanted, wanted[::2]):
        case = Case(experiment="one", declared=declared)
        report = check([case], namespace=bare.name, inventory=Inventory(bare.cluster))
        assert report.findings == ()
        assert len(report.explained) == len(declared)


def test_an_explanation_says_all_that_was_looked_at(lab: Lab) -> None:
    lines = lab.check().explanation()
    assert lines[0] == "one needs"
    assert "  PersistentVolumeClaim/data (environment, experiments/one.py:3): is there" in lines
    assert f"  may {lab.name}/runner create workflowtaskresults: yes" in lines
    claims = f"  GET /api/v1/namespaces/{lab.name}/persistentvolumeclaims: 1 seen (data)"
    assert claims in lines
    secrets = f"  GET /api/v1/namespaces/{lab.name}/secrets (metadata only): 4 seen (hub, "
    secrets += "runner.service-account-token, s3, token)"
    assert secrets in lines
