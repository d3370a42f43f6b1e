"""What a cluster's answers mean: those that a shared test cluster cannot be brought to give.

The inventory is a double here, a table of paths and answers: a cluster without Argo, with an old
controller or with other nodes would have to be one for each test. The answers are written as the
API server of Kubernetes 1.36 gives them. `tests/integration/test_preflight.py` asks a real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from heraci.bundle import Finding, Manifest, Requirement, Severity
from heraci.looks import Answer, Look, Seen
from heraci.needs import Needs, Pod
from heraci.preflight import Case, check
from heraci.requirements import needs

HERE = "experiments/one.py:1"
ALL = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
KINDS = "Workflow WorkflowTemplate ClusterWorkflowTemplate CronWorkflow WorkflowTaskResult".split()
NAMESPACE = "/api/v1/namespaces/lab"
DEPLOYMENT = "/apis/apps/v1/namespaces/argo/deployments/workflow-controller"
CONFIGURATION = "/api/v1/namespaces/argo/configmaps/workflow-controller-configmap"
NODES = "/api/v1/nodes"


def rules(*allowed: Mapping[str, Any], incomplete: bool = False) -> Seen:
    return Seen(items=({"status": {"resourceRules": list(allowed), "incomplete": incomplete}},))


def groups(*kinds: str, name: str = "argoproj.io", version: str = "v1alpha1") -> Seen:
    served = [
        {"resource": f"{kind.lower()}s", "responseKind": {"kind": kind}, "scope": "Namespaced"}
        for kind in kinds
    ]
    versions = [{"version": version, "resources": served}]
    return Seen(items=({"metadata": {"name": name}, "versions": versions},))


def controller(image: str, **more: Any) -> dict[str, Any]:
    pod = {"spec": {"containers": [{"name": "x", "image": image}]}}
    metadata = {"name": "workflow-controller", "namespace": "argo"}
    spec = {"replicas": 1, "template": pod}
    return {"metadata": metadata, "spec": spec} | more


def running(image: str, **more: Any) -> dict[str, Seen]:
    found = controller(image, **more)
    return {
        "/apis/apps/v1/deployments": Seen(items=({"metadata": found["metadata"]},)),
        DEPLOYMENT: Seen(items=(found,)),
    }


def node(name: str = "n", *, labels: Any = None, taints: Any = None, **room: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels or {}}
    amounts = {key.replace("_", "/"): each for key, each in room.items()}
    spec = {"taints": taints or []}
    return {"metadata": metadata, "spec": spec, "status": {"allocatable": amounts}}


class Answers:
    """A cluster that has all that a plain workflow needs, but for what a test says."""

    def __init__(self, answers: Mapping[str, Seen]) -> None:
        self.answers = {
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews": rules(ALL),
            "/apis": groups(*KINDS),
            NAMESPACE: Seen(items=({"metadata": {"name": "lab"}},)),
            NODES: Seen(items=(node(cpu="8", memory="16Gi"),)),
            **running("quay.io/argoproj/workflow-controller:v4.1.2"),
            **answers,
        }
        self.requests = 0
        self.known: dict[Look, Seen] = {}
        self.refusals: list[Seen] = []

    def look(self, looks: Iterable[Look]) -> Mapping[Look, Seen]:
        self.known |= {each: self.answer(each) for each in looks}
        return self.known

    def answer(self, look: Look) -> Seen:
        if "localsubjectaccessreviews" in look.path:
            return Seen(items=({"status": {"allowed": True}},))
        return self.answers.get(look.path, Seen())

    def try_out(self, looks: Sequence[Look]) -> list[Seen]:
        return self.refusals or [Seen()] * len(looks)


def case(template: Mapping[str, Any] | None = None, **spec: Any) -> Case:
    plain = {"container": {"image": "busybox", "command": ["true"]}}
    templates = [{"name": "main", **(template or plain)}]
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "one-"},
        "spec": {"entrypoint": "main", "templates": templates, **spec},
    }
    manifest = Manifest(kind="Workflow", name="one-", digest="", document=body, sources={"": HERE})
    return Case(experiment="one", manifest=manifest, needs=needs(manifest, experiment="one"))


def found(answers: Mapping[str, Seen], given: Case | None = None, **how: Any) -> list[Finding]:
    inventory = Answers(answers)
    inventory.refusals = how.pop("refusals", [])
    report = check([given or case()], namespace="lab", inventory=inventory, **how)
    return list(report.findings)


def told(answers: Mapping[str, Seen], given: Case | None = None, **how: Any) -> list[Any]:
    return [(each.rule, each.severity) for each in found(answers, given, **how)]


def test_a_cluster_that_has_everything_is_passed_over_in_silence() -> None:
    full: Any = {"properties": {"spec": {"properties": {"entrypoint": {}}}}}
    spec = {"versions": [{"name": "v1alpha1", "schema": {"openAPIV3Schema": full}}]}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workflows.argoproj.io"
    assert found({path: Seen(items=({"spec": spec},))}) == []


# --- Argo -----------------------------------------------------------------------------------------


def test_a_cluster_without_argo() -> None:
    (finding,) = found({"/apis": groups("RayCluster", name="ray.io", version="v1")})
    assert finding == Finding(
        rule="missing-argo",
        severity=Severity.ERROR,
        message="The cluster does not know argoproj.io: Argo Workflows is not installed there.\n"
        f"Needed by the workflow ({HERE}) of one.\nInstall Argo Workflows: "
        "https://argo-workflows.readthedocs.io/en/latest/installation/, or choose the cluster that "
        "has it.",
        experiment="one",
        file="experiments/one.py",
        line=1,
    )


def test_definitions_that_are_not_all_there() -> None:
    assert told({"/apis": groups("Workflow")}) == [("missing-definition", Severity.ERROR)]
    http = {"http": {"url": "https://example.org"}}
    assert told({}, case(http)) == [
        ("missing-definition", Severity.ERROR),
    ]


def test_a_server_that_tells_the_kinds_of_one_group_at_a_time() -> None:
    old = Seen(items=({"kind": "APIGroupList", "groups": [{"name": "argoproj.io"}]},))
    resources = [{"name": f"{kind.lower()}s", "kind": kind, "namespaced": True} for kind in KINDS]
    resources.append({"name": "workflows/status", "kind": "Wrong", "namespaced": True})
    one = Seen(items=({"kind": "APIResourceList", "resources": resources},))
    assert told({"/apis": old, "/apis/argoproj.io/v1alpha1": one}) == []
    absent = Seen(answer=Answer.ABSENT)
    assert told({"/apis": old, "/apis/argoproj.io/v1alpha1": absent}) == [
        ("missing-argo", Severity.ERROR)
    ]


def test_minimal_definitions() -> None:
    minimal = {"properties": {"spec": {"x-kubernetes-preserve-unknown-fields": True}}}
    spec = {"versions": [{"name": "v1alpha1", "schema": {"openAPIV3Schema": minimal}}]}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workflows.argoproj.io"
    assert told({path: Seen(items=({"spec": spec},))}) == [("minimal-definitions", Severity.NOTICE)]


@pytest.mark.parametrize(
    ("image", "spec", "expected"),
    [
        ("workflow-controller:v4.1.2", {}, []),
        ("registry.example:5000/workflow-controller:v3.6.19", {}, []),
        ("workflow-controller:latest", {}, []),
        ("workflow-controller@sha256:0123", {}, []),
        ("workflow-controller:v3.4.17", {}, [("argo-version", Severity.ERROR)]),
        ("workflow-controller:v2.12.0-rc1", {}, [("argo-version", Severity.ERROR)]),
        ("workflow-controller:v3.5.1", {}, [("argo-version", Severity.WARNING)]),
        (
            "workflow-controller:v3.5.2",
            {"synchronization": {"mutexes": [{"name": "m"}]}},
            [("argo-version", Severity.ERROR)],
        ),
        ("workflow-controller:v5.0.0", {}, [("argo-version", Severity.WARNING)]),
    ],
)
def test_the_version_of_the_controller(
    image: str, spec: dict[str, Any], expected: list[Any]
) -> None:
    assert told(running(image), case(**spec)) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"status": {"observedGeneration": 1, "readyReplicas": 1}}, []),
        ({"status": {}}, []),
        ({"status": {"observedGeneration": 1}}, [("controller-down", Severity.ERROR)]),
        ({"spec": {"replicas": 0}}, [("controller-down", Severity.ERROR)]),
    ],
)
def test_a_controller_that_does_not_run(more: dict[str, Any], expected: list[Any]) -> None:
    assert told(running("workflow-controller:v4.1.2", **more)) == expected


def test_no_controller() -> None:
    empty = {"/apis/apps/v1/deployments": Seen()}
    other = {"/apis/apps/v1/deployments": Seen(items=({"metadata": {"name": "coredns"}},))}
    configured = {CONFIGURATION: Seen(items=({"metadata": {"name": "x"}},))}
    absent = {CONFIGURATION: Seen(answer=Answer.ABSENT)}
    missing = [("missing-controller", Severity.ERROR)]
    assert told(empty | absent) == missing
    assert told(other | configured) == missing
    # It may run beside the cluster, as in heraci's own tests.
    assert told(empty | configured) == [("not-checked", Severity.NOTICE)]


def configured(text: str, key: str = "config") -> dict[str, Seen]:
    """A controller with this configuration: one text, or that of one setting."""
    return {CONFIGURATION: Seen(items=({"metadata": {"name": "x"}, "data": {key: text}},))}


def labelled(instance: str) -> Case:
    given = case()
    assert given.manifest is not None
    body: Any = given.manifest.document
    labels = {"workflows.argoproj.io/controller-instanceid": instance}
    body = body | {"metadata": body["metadata"] | {"labels": labels}}
    return replace(given, manifest=replace(given.manifest, document=body))


REFERRING: dict[str, Any] = {
    "workflowTemplateRef": {"name": "library"},
    "templates": [],
    "entrypoint": "part",
}
LIBRARY = Seen(
    items=(
        {
            "metadata": {"name": "library"},
            "spec": {"templates": [{"name": "part", "suspend": {}}]},
        },
    )
)


@pytest.mark.parametrize(
    ("configuration", "given", "expected"),
    [
        ("{}", case(), []),
        ("instanceID: mine", case(), ["other-controller"]),
        ("instanceID: mine", labelled("mine"), []),
        ("instanceID: mine", labelled("theirs"), ["other-controller"]),
        ("{}", labelled("mine"), ["other-controller"]),
        ("workflowRestrictions: {templateReferencing: Strict}", case(), ["references-only"]),
        ("workflowRestrictions: {templateReferencing: Secure}", case(), ["references-only"]),
        ("workflowRestrictions: {templateReferencing: Strict}", case(**REFERRING), []),
        (
            "{}",
            case(synchronization={"semaphores": [{"database": {"key": "k"}}]}),
            ["no-limit-database"],
        ),
        (
            "synchronization: {postgresql: {}}",
            case(synchronization={"semaphores": [{"database": {"key": "k"}}]}),
            [],
        ),
        ("not: [yaml", labelled("mine"), ["other-controller"]),
    ],
)
def test_what_the_controller_is_configured_for(
    configuration: str, given: Case, expected: list[str]
) -> None:
    path = "/apis/argoproj.io/v1alpha1/namespaces/lab/workflowtemplates"
    answers = configured(configuration) | {path: LIBRARY}
    assert [each.rule for each in found(answers, given)] == expected


def test_references_are_enough_where_heraci_submits_them() -> None:
    strict = configured("workflowRestrictions: {templateReferencing: Strict}")
    assert found(strict, template_only=True) == []


def test_a_configuration_with_a_key_for_each_setting() -> None:
    assert [each.rule for each in found(configured("mine", "instanceID"))] == ["other-controller"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], []),
        (["--namespaced"], ["controller-elsewhere"]),
        (["--namespaced", "--managed-namespace", "other"], ["controller-elsewhere"]),
        (["--namespaced", "--managed-namespace=lab"], []),
        (["--namespaced", "--managed-namespace", "lab", "--loglevel", "debug"], []),
    ],
)
def test_the_namespace_that_the_controller_manages(
    arguments: list[str], expected: list[str]
) -> None:
    container = {"name": "x", "image": "workflow-controller:v4.1.2", "args": arguments}
    spec = {"replicas": 1, "template": {"spec": {"containers": [container]}}}
    answers = running("workflow-controller:v4.1.2", spec=spec)
    assert [each.rule for each in found(answers)] == expected


def test_workflows_that_name_no_account_get_the_controllers_default() -> None:
    answers = configured("workflowDefaults: {spec: {serviceAccountName: runner}}")
    inventory = Answers(answers)
    check([case()], namespace="lab", inventory=inventory)
    asked = {each.body for each in inventory.known if "localsubject" in each.path}
    assert all("system:serviceaccount:lab:runner" in (body or "") for body in asked)


STORING = {
    "container": {"image": "busybox", "command": ["true"]},
    "outputs": {"artifacts": [{"name": "made", "path": "/made"}]},
}
REPOSITORIES = f"{NAMESPACE}/configmaps"


def repositories(**annotations: str) -> dict[str, Seen]:
    noted = {f"workflows.argoproj.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    metadata = {"name": "artifact-repositories", "annotations": noted}
    data = {"minio": "s3: {bucket: b, accessKeySecret: {name: opens, key: access}}"}
    return {REPOSITORIES: Seen(items=({"metadata": metadata, "data": data},))}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (configured("{}"), ["missing-artifact-repository"]),
        (configured("artifactRepository: {s3: {bucket: b}}"), []),
        (
            configured("artifactRepository: {s3: {accessKeySecret: {name: opens, key: a}}}"),
            ["missing-secret"],
        ),
        (configured("{}") | repositories(), ["missing-artifact-repository"]),
        (
            configured("{}") | repositories(default_artifact_repository="minio"),
            ["missing-secret"],
        ),
        ({CONFIGURATION: Seen(answer=Answer.FORBIDDEN)}, ["not-checked"]),
    ],
)
def test_artifacts_that_name_no_repository(answers: dict[str, Seen], expected: list[str]) -> None:
    assert [each.rule for each in found(answers, case(STORING))] == expected


def test_a_namespace_that_is_being_deleted() -> None:
    going = {"metadata": {"name": "lab"}, "status": {"phase": "Terminating"}}
    (finding,) = found({NAMESPACE: Seen(items=(going,))})
    assert finding.rule == "missing-namespace"
    assert "is being deleted" in finding.message


# --- claims ---------------------------------------------------------------------------------------

CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
VOLUMES = "/api/v1/persistentvolumes"
CLAIMS = f"{NAMESPACE}/persistentvolumeclaims"


def storage_class(name: str, mode: str = "Immediate", *, default: bool = False) -> dict[str, Any]:
    noted = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": noted}, "volumeBindingMode": mode}


def volume(size: str, of_class: str = "", **spec: Any) -> dict[str, Any]:
    offer = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"]}
    return {"metadata": {"name": "pv"}, "spec": offer | {"storageClassName": of_class} | spec}


def pending(**spec: Any) -> Seen:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}
    metadata = {"name": "data"}
    body = {"metadata": metadata, "spec": asked | spec, "status": {"phase": "Pending"}}
    return Seen(items=(body,))


TAKEN: dict[str, Any] = {"claimRef": {"namespace": "lab", "name": "other"}}
OWN: dict[str, Any] = {"claimRef": {"namespace": "lab", "name": "data"}}


@pytest.mark.parametrize(
    ("claim", "classes", "volumes", "expected"),
    [
        (pending(storageClassName="w"), [storage_class("w", "WaitForFirstConsumer")], [], None),
        (pending(), [storage_class("w", "WaitForFirstConsumer", default=True)], [], None),
        (pending(storageClassName="i"), [storage_class("i")], [], "though 'i' binds at once"),
        (pending(storageClassName="x"), [], [], "its storage class 'x' does not exist"),
        (pending(storageClassName="manual"), [], [volume("5Gi", "manual")], None),
        (pending(storageClassName="manual"), [], [volume("5Gi", "manual", **OWN)], None),
        (pending(storageClassName="manual"), [], [volume("5Gi", "manual", **TAKEN)], "not exist"),
        (pending(storageClassName="manual"), [], [volume("4Gi", "manual")], "does not exist"),
        (pending(), [], [volume("9Gi")], None),
        (pending(), [], [], "it has no storage class and no volume fits it"),
        (pending(accessModes=["ReadWriteMany"]), [], [volume("9Gi")], "no volume fits it"),
    ],
)
def test_a_claim_that_waits(
    claim: Seen, classes: list[Any], volumes: list[Any], expected: str | None
) -> None:
    mounted = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    answers = {CLAIMS: claim, CLASSES: Seen(items=tuple(classes))}
    answers[VOLUMES] = Seen(items=tuple(volumes))
    findings = found(answers, case(volumes=mounted))
    assert [each.rule for each in findings] == ([] if expected is None else ["claim-pending"])
    assert all(str(expected) in each.message for each in findings)


@pytest.mark.parametrize(
    ("classes", "volumes", "expected"),
    [
        ([storage_class("x", default=True)], [], []),
        ([storage_class("x")], [], ["no-default-storage-class"]),
        ([], [volume("5Gi")], []),
        ([], [volume("5Gi", **TAKEN)], ["no-default-storage-class"]),
    ],
)
def test_a_claim_of_the_workflows_own_that_names_no_class(
    classes: list[Any], volumes: list[Any], expected: list[str]
) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    answers = {CLASSES: Seen(items=tuple(classes)), VOLUMES: Seen(items=tuple(volumes))}
    given = case(volumeClaimTemplates=[{"metadata": {"name": "work"}, "spec": spec}])
    assert [each.rule for each in found(answers, given)] == expected


@pytest.mark.parametrize(
    ("mode", "nodes", "items", "expected"),
    [
        ("ReadWriteOnce", 2, [1, 2], 1),
        ("ReadWriteOnce", 2, [1], 0),
        ("ReadWriteOnce", 1, [1, 2], 0),
        ("ReadWriteMany", 2, [1, 2], 0),
    ],
)
def test_pods_that_have_to_share_a_node(
    mode: str, nodes: int, items: list[int], expected: int
) -> None:
    bound = {"metadata": {"name": "data"}, "spec": {"accessModes": [mode]}}
    claims = Seen(items=(bound | {"status": {"phase": "Bound"}},))
    mounts = [{"name": "v", "mountPath": "/data"}]
    leaf = {"name": "leaf", "container": {"image": "busybox", "volumeMounts": mounts}}
    call = {"name": "all", "template": "leaf", "withItems": items}
    mounted = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    templates = [{"name": "main", "dag": {"tasks": [call]}}, leaf]
    there = Seen(items=tuple(node(str(number), cpu="8") for number in range(nodes)))
    findings = found({CLAIMS: claims, NODES: there}, case(templates=templates, volumes=mounted))
    assert [each.rule for each in findings] == ["claim-on-one-node"] * expected


# --- rights ---------------------------------------------------------------------------------------


def test_a_cluster_that_tells_only_a_part_of_the_rights_is_asked_all_the_same() -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    assert told({path: rules(incomplete=True)}) == []
    refused = Seen(answer=Answer.FORBIDDEN, said="may not create workflows")
    (finding,) = found({path: rules(incomplete=True)}, refusals=[refused])
    assert (finding.rule, finding.severity) == ("missing-right", Severity.ERROR)


def test_an_answer_of_forbidden_is_a_notice() -> None:
    forbidden = Seen(answer=Answer.FORBIDDEN)
    paths = [f"{NAMESPACE}/{plural}" for plural in ("secrets", "limitranges", "resourcequotas")]
    answers = dict.fromkeys([*paths, NODES, "/apis", "/apis/apps/v1/deployments"], forbidden)
    given = case(imagePullSecrets=[{"name": "hub"}])
    assert {*told(answers, given)} == {("not-checked", Severity.NOTICE)}


def test_an_artifact_repository_of_the_controllers_namespace() -> None:
    given = case(artifactRepositoryRef={"configMap": "far", "key": "minio"})
    path = "/api/v1/namespaces/argo/configmaps/far"
    there = Seen(items=({"metadata": {"name": "far"}, "data": {"minio": "s3: {}"}},))
    assert told({path: there}, given) == []
    assert told({path: Seen(answer=Answer.ABSENT)}, given) == [
        ("missing-config-map", Severity.ERROR)
    ]
    assert told({path: Seen(answer=Answer.FORBIDDEN)}, given) == [
        ("missing-config-map", Severity.WARNING)
    ]


# --- room -----------------------------------------------------------------------------------------


def with_resources(affinity: Any = None, **requests: str) -> dict[str, Any]:
    amounts = {key.replace("_", "/"): each for key, each in requests.items()}
    made = {"image": "busybox", "command": ["x"], "resources": {"requests": amounts}}
    return {"container": made, "affinity": {"nodeAffinity": affinity} if affinity else {}}


def affine(*terms: Mapping[str, Any]) -> dict[str, Any]:
    selected = {"nodeSelectorTerms": [{"matchExpressions": [each]} for each in terms]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": selected}


TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
GPU = {"key": "gpu", "operator": "In", "values": ["a100"]}


@pytest.mark.parametrize(
    ("template", "spec", "nodes", "reason"),
    [
        (with_resources(cpu="4"), {}, [node(cpu="8")], None),
        (
            with_resources(cpu="10"),
            {},
            [node(cpu="8")],
            "asks for 10 of cpu, and the largest has 8",
        ),
        (
            with_resources(cpu="6", memory="12Gi"),
            {},
            [node(cpu="8", memory="8Gi"), node(cpu="4", memory="16Gi")],
            "none has all of 6 of cpu, 12Gi of memory",
        ),
        (
            with_resources(cpu="1"),
            {},
            [node(cpu="8", taints=[TAINT])],
            "tainted (gpu=yes:NoSchedule)",
        ),
        (
            with_resources(cpu="1"),
            {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
            [node(cpu="8", taints=[TAINT])],
            None,
        ),
        (
            with_resources(cpu="1"),
            {"tolerations": [{"key": "gpu", "value": "no"}]},
            [node(cpu="8", taints=[TAINT])],
            "tainted",
        ),
        (
            with_resources(cpu="1"),
            {},
            [node(cpu="8", taints=[{**TAINT, "key": "node.kubernetes.io/not-ready"}])],
            None,
        ),
        (with_resources(affine(GPU)), {}, [node(labels={"gpu": "a100"})], None),
        (
            with_resources(affine({"key": "size", "operator": "Gt", "values": ["4"]})),
            {},
            [node(labels={"size": "4"})],
            "none fits its node affinity",
        ),
        (
            with_resources(affine({"key": "size", "operator": "Lt", "values": ["5"]})),
            {},
            [node(labels={"size": "4"})],
            None,
        ),
        (
            with_resources(affine(GPU)),
            {},
            [node(labels={"gpu": "t4"})],
            "none fits its node affinity",
        ),
        (
            with_resources(affine(GPU, {"key": "cpu", "operator": "Exists"})),
            {},
            [node(labels={"cpu": "big"})],
            None,
        ),
        (
            with_resources(**{"nvidia.com_gpu": "1"}),
            {},
            [],
            "asks for 1 of nvidia.com/gpu, and the largest has 0",
        ),
    ],
)
def test_a_node_for_the_pod(
    template: dict[str, Any], spec: dict[str, Any], nodes: list[Any], reason: str | None
) -> None:
    findings = found({NODES: Seen(items=tuple(nodes))}, case(template, **spec))
    if reason is None:
        assert findings == []
    else:
        (finding,) = findings
        assert (finding.rule, finding.severity) == ("no-node-fits", Severity.ERROR)
        assert reason in finding.message


def test_where_nodes_come_as_they_are_asked_for_it_is_a_warning() -> None:
    scaled = node(labels={"cloud.google.com/gke-nodepool": "default"}, cpu="2")
    (finding,) = found({NODES: Seen(items=(scaled,))}, case(with_resources(cpu="4")))
    assert (finding.rule, finding.severity) == ("no-node-fits", Severity.WARNING)


def test_a_cluster_that_shows_no_node() -> None:
    assert told({NODES: Seen()}) == [("no-nodes", Severity.NOTICE)]


def quota(hard: Mapping[str, str], used: Mapping[str, str], **spec: Any) -> dict[str, Seen]:
    metadata = {"name": "q", "namespace": "lab"}
    body = {"metadata": metadata, "spec": {"hard": hard, **spec}, "status": {"used": used}}
    return {f"{NAMESPACE}/resourcequotas": Seen(items=(body,))}


def priority(operator: str, *values: str) -> dict[str, Any]:
    term = {"scopeName": "PriorityClass", "operator": operator, "values": list(values)}
    return {"matchExpressions": [term]}


# A duty to name an amount is one for Argo's own containers, too.
ARGOS = ("quota-demands", Severity.NOTICE)


@pytest.mark.parametrize(
    ("hard", "used", "spec", "expected"),
    [
        ({"pods": "2"}, {"pods": "1"}, {}, []),
        ({"pods": "2"}, {"pods": "2"}, {}, [("quota-used-up", Severity.WARNING)]),
        ({"pods": "0"}, {}, {}, [("quota-too-small", Severity.ERROR)]),
        ({"pods": "0"}, {}, {"scopes": ["BestEffort"]}, []),
        ({"pods": "0"}, {}, {"scopes": ["NotBestEffort"]}, [("quota-too-small", Severity.ERROR)]),
        ({"pods": "0"}, {}, {"scopes": ["Terminating"]}, []),
        ({"pods": "0"}, {}, {"scopes": ["NotTerminating"]}, [("quota-too-small", Severity.ERROR)]),
        ({"pods": "0"}, {}, {"scopeSelector": priority("In", "high")}, []),
        (
            {"pods": "0"},
            {},
            {"scopeSelector": priority("NotIn", "high")},
            [("quota-too-small", Severity.ERROR)],
        ),
        ({"pods": "0"}, {}, {"scopeSelector": priority("Exists")}, []),
        (
            {"pods": "0"},
            {},
            {"scopeSelector": priority("DoesNotExist")},
            [("quota-too-small", Severity.ERROR)],
        ),
        ({"pods": "0"}, {}, {"scopes": ["CrossNamespacePodAffinity"]}, []),
        (
            {"count/workflows.argoproj.io": "5"},
            {"count/workflows.argoproj.io": "5"},
            {},
            [("quota-used-up", Severity.ERROR)],
        ),
        ({"requests.cpu": "1"}, {}, {}, [("quota-too-small", Severity.ERROR), ARGOS]),
        ({"requests.cpu": "4"}, {}, {}, [ARGOS]),
        ({"limits.cpu": "4"}, {}, {}, [("quota-demands", Severity.ERROR), ARGOS]),
        ({"requests.memory": "4Gi"}, {}, {}, [("quota-demands", Severity.ERROR), ARGOS]),
    ],
)
def test_a_quota(
    hard: dict[str, str], used: dict[str, str], spec: dict[str, Any], expected: list[Any]
) -> None:
    assert told(quota(hard, used, **spec), case(with_resources(cpu="2"))) == expected


def test_a_quota_of_pods_with_a_deadline() -> None:
    timed = case(activeDeadlineSeconds=60)
    for scope, expected in (("Terminating", ["quota-too-small"]), ("NotTerminating", [])):
        answers = quota({"pods": "0"}, {}, scopes=[scope])
        assert [each.rule for each in found(answers, timed)] == expected


# --- dry runs and images --------------------------------------------------------------------------


def test_the_template_that_the_server_speaks_of_is_found() -> None:
    said = 'strict decoding error: unknown field "spec.templates[0].container.imag"'
    refused = Seen(answer=Answer.REFUSED, said=said)
    given = case()
    assert given.manifest is not None
    (finding,) = found({}, given, refusals=[refused])
    assert finding.rule == "refused-by-server"
    assert finding.message == (
        f"The server would refuse Workflow 'one-': {said}.\nIt concerns template 'main' ({HERE}) "
        "of one."
    )


def test_a_webhook_that_takes_no_dry_runs_is_a_notice() -> None:
    said = "admission webhook w does not support dry run"
    refused = Seen(answer=Answer.REFUSED, said=said)
    assert told({}, refusals=[refused]) == [("not-checked", Severity.NOTICE)]


def test_images() -> None:
    answers = {"busybox": (False, "docker.io does not have it")}
    assert told({}, find_images=lambda _: answers) == [("missing-image", Severity.ERROR)]
    unknown = {"busybox": (None, "docker.io cannot be asked")}
    assert told({}, find_images=lambda _: unknown) == [("not-checked", Severity.NOTICE)]
    there = {"busybox": (True, "docker.io has it")}
    assert told({}, find_images=lambda _: there) == []


# --- who is told ----------------------------------------------------------------------------------


def test_one_finding_for_each_experiment_with_all_its_places() -> None:
    def declared(experiment: str, *lines: int) -> Case:
        wanted = tuple(
            Requirement(kind="ConfigMap", name="x", source=f"{experiment}.py:{line}")
            for line in lines
        )
        return Case(experiment=experiment, declared=wanted)

    cases = [declared("a", 1, 2, 3, 4, 5), declared("b", 7)]
    report = check(cases, namespace="lab", inventory=Answers({}))
    assert [(each.experiment, each.file, each.line) for each in report.findings] == [
        ("a", "a.py", 1),
        ("b", "b.py", 7),
    ]
    assert report.findings[0].message == (
        "ConfigMap 'x' in namespace lab is not there.\nNeeded by the workflow (a.py:1), the "
        "workflow (a.py:2), the workflow (a.py:3) and 2 more of a.\n"
        "Create it: kubectl -n lab create configmap x"
    )


def test_what_is_wrong_with_the_target_is_said_once() -> None:
    cases = [replace(case(), experiment=f"e{number}") for number in range(3)]
    inventory = Answers({"/apis": groups("X", name="x.example")})
    (finding,) = check(cases, namespace="lab", inventory=inventory).findings
    assert (finding.rule, finding.experiment) == ("missing-argo", "e0")
    assert f"\nNeeded by 3 experiments:\n  e0, the workflow ({HERE})\n  e1, the" in finding.message


def test_a_near_name_is_told() -> None:
    there = {f"{NAMESPACE}/configmaps": Seen(items=({"metadata": {"name": "settings"}},))}
    wanted = (Requirement(kind="ConfigMap", name="setings"),)
    given = Case(experiment="one", declared=wanted, needs=Needs(pods=(Pod(template="x"),)))
    (finding,) = found(there, given)
    assert "There is 'settings': was that meant?" in finding.message
