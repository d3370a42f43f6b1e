"""What requirements are read from a manifest, from wherever they hide."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from heraci.bundle import Finding, Manifest, Requirement, Severity
from heraci.needs import Action, At, Call, Claim, Container, Pod, quantity
from heraci.requirements import needs

ARGO = "argoproj.io/v1alpha1"
HERE = "experiments/one.py:10"
SOURCES = {"": "experiments/one.py:1", "main": HERE}


def manifest(spec: Mapping[str, Any], *, kind: str = "Workflow", **more: Any) -> Manifest:
    body = {"apiVersion": ARGO, "kind": kind, "metadata": {"name": "one"}, "spec": spec}
    values: dict[str, Any] = {"name": "one", "sources": SOURCES} | more
    return Manifest(kind=kind, digest="", document=body, **values)


def of_template(template: Mapping[str, Any], **spec: Any) -> Manifest:
    return manifest({"entrypoint": "main", "templates": [{"name": "main", **template}], **spec})


def named(kind: str, name: str, **more: Any) -> Requirement:
    """Make what the template `main` requires."""
    values: dict[str, Any] = {"template": "main", "source": HERE} | more
    return Requirement(kind=kind, name=name, **values)


def of_workflow(kind: str, name: str, **more: Any) -> Requirement:
    return named(kind, name, template=None, source="experiments/one.py:1", **more)


def container(**more: Any) -> dict[str, Any]:
    return {"container": {"image": "busybox", "command": ["true"], **more}}


STORAGE = "storage.k8s.io/v1"
SCHEDULING = "scheduling.k8s.io/v1"
S3 = {
    "bucket": "b",
    "key": "k",
    "accessKeySecret": {"name": "s3", "key": "access"},
    "secretKeySecret": {"name": "s3", "key": "secret"},
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]},
            [of_workflow("PersistentVolumeClaim", "data")],
            id="claim",
        ),
        pytest.param(
            {
                "volumes": [
                    {"name": "a", "secret": {"secretName": "s", "items": [{"key": "k"}]}},
                    {"name": "b", "configMap": {"name": "c", "optional": True}},
                ]
            },
            [of_workflow("Secret", "s", keys=("k",)), of_workflow("ConfigMap", "c", optional=True)],
            id="secret and config map volumes",
        ),
        pytest.param(
            {
                "volumes": [
                    {
                        "name": "all",
                        "projected": {
                            "sources": [
                                {"secret": {"name": "s"}},
                                {"configMap": {"name": "c", "items": [{"key": "k"}]}},
                                {"serviceAccountToken": {"path": "token"}},
                            ]
                        },
                    }
                ]
            },
            [of_workflow("Secret", "s"), of_workflow("ConfigMap", "c", keys=("k",))],
            id="projected volume",
        ),
        pytest.param(
            {
                "volumes": [
                    {"name": "a", "csi": {"nodePublishSecretRef": {"name": "csi"}}},
                    {"name": "b", "cephfs": {"secretRef": {"name": "ceph"}}},
                    {"name": "c", "azureFile": {"secretName": "azure", "shareName": "s"}},
                    {
                        "name": "d",
                        "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "x"}}},
                    },
                ]
            },
            [
                of_workflow("Secret", "azure"),
                of_workflow("Secret", "csi"),
                of_workflow("Secret", "ceph"),
                of_workflow("StorageClass", "x", api_version=STORAGE),
            ],
            id="other volumes",
        ),
        pytest.param(
            {
                "volumes": [
                    {
                        "name": "vault",
                        "csi": {
                            "driver": "secrets-store.csi.k8s.io",
                            "volumeAttributes": {"secretProviderClass": "vault"},
                        },
                    },
                    {
                        "name": "disk",
                        "iscsi": {"chapAuthSession": True, "secretRef": {"name": "i"}},
                    },
                ]
            },
            [
                of_workflow("CSIDriver", "secrets-store.csi.k8s.io", api_version=STORAGE),
                of_workflow(
                    "SecretProviderClass", "vault", api_version="secrets-store.csi.x-k8s.io/v1"
                ),
                of_workflow("Secret", "i"),
            ],
            id="volumes of drivers",
        ),
        pytest.param(
            {
                "volumeClaimTemplates": [
                    {
                        "spec": {
                            "dataSource": {"kind": "PersistentVolumeClaim", "name": "older"},
                            "volumeAttributesClassName": "quick",
                        }
                    },
                    {"spec": {"dataSourceRef": {"kind": "VolumeSnapshot", "name": "night"}}},
                    {"spec": {"dataSourceRef": {"kind": "Population", "name": "unknown"}}},
                ]
            },
            [
                of_workflow("PersistentVolumeClaim", "older"),
                of_workflow("VolumeAttributesClass", "quick", api_version=STORAGE),
                of_workflow("VolumeSnapshot", "night", api_version="snapshot.storage.k8s.io/v1"),
            ],
            id="what volume claims are made from",
        ),
        pytest.param(
            {
                "volumeClaimTemplates": [
                    {"metadata": {"name": "w"}, "spec": {"storageClassName": "fast"}}
                ]
            },
            [of_workflow("StorageClass", "fast", api_version=STORAGE)],
            id="volume claim template",
        ),
        pytest.param(
            {
                "serviceAccountName": "runner",
                "executor": {"serviceAccountName": "executor"},
                "artifactGC": {"strategy": "Never", "serviceAccountName": "collector"},
                "imagePullSecrets": [{"name": "hub"}],
                "podPriorityClassName": "high",
            },
            [
                of_workflow("ServiceAccount", "runner"),
                of_workflow("ServiceAccount", "executor"),
                of_workflow("ServiceAccount", "collector"),
                of_workflow("Secret", "hub"),
                of_workflow("PriorityClass", "high", api_version=SCHEDULING),
            ],
            id="accounts, pull secret, priority",
        ),
        pytest.param(
            {"artifactRepositoryRef": {"configMap": "repositories", "key": "minio"}},
            [of_workflow("ConfigMap", "repositories", keys=("minio",))],
            id="artifact repository",
        ),
        pytest.param(
            {"artifactRepositoryRef": {"key": "minio"}},
            [of_workflow("ConfigMap", "artifact-repositories", keys=("minio",))],
            id="artifact repository under its usual name",
        ),
        pytest.param(
            {
                "synchronization": {
                    "semaphores": [
                        {"configMapKeyRef": {"name": "locks", "key": "one"}},
                        {"configMapKeyRef": {"name": "locks", "key": "two"}, "namespace": "far"},
                    ],
                    "mutexes": [{"name": "m"}],
                }
            },
            [
                of_workflow("ConfigMap", "locks", keys=("one",)),
                of_workflow("ConfigMap", "locks", keys=("two",), namespace="far"),
            ],
            id="semaphores",
        ),
        pytest.param(
            {"workflowTemplateRef": {"name": "far"}},
            [of_workflow("WorkflowTemplate", "far", api_version=ARGO)],
            id="workflow template",
        ),
        pytest.param(
            {"workflowTemplateRef": {"name": "far", "clusterScope": True}},
            [of_workflow("ClusterWorkflowTemplate", "far", api_version=ARGO)],
            id="cluster workflow template",
        ),
        pytest.param(
            {"hooks": {"exit": {"templateRef": {"name": "far", "template": "bye"}}}},
            [of_workflow("WorkflowTemplate", "far", api_version=ARGO, keys=("bye",))],
            id="hook of the workflow",
        ),
        pytest.param(
            {
                "podSpecPatch": '{"runtimeClassName": "gvisor", "priorityClassName": "low",'
                ' "imagePullSecrets": [{"name": "hub"}]}'
            },
            [
                of_workflow("RuntimeClass", "gvisor", api_version="node.k8s.io/v1"),
                of_workflow("PriorityClass", "low", api_version=SCHEDULING),
                of_workflow("Secret", "hub"),
            ],
            id="pod spec patch in JSON",
        ),
        pytest.param(
            {
                "podSpecPatch": "containers:\n- name: main\n  envFrom:\n"
                "  - configMapRef: {name: proxy}\n"
            },
            [of_workflow("ConfigMap", "proxy")],
            id="pod spec patch in YAML",
        ),
        pytest.param(
            {
                "templateDefaults": {
                    "container": {"envFrom": [{"secretRef": {"name": "s", "optional": True}}]}
                }
            },
            [of_workflow("Secret", "s", optional=True)],
            id="template defaults",
        ),
        pytest.param(
            {
                "arguments": {
                    "parameters": [
                        {"name": "p", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}
                    ]
                }
            },
            [of_workflow("ConfigMap", "c", keys=("k",))],
            id="argument from a config map",
        ),
        pytest.param(
            {
                "arguments": {
                    "parameters": [
                        {
                            "name": "p",
                            "valueFrom": {
                                "configMapKeyRef": {"name": "c", "key": "k"},
                                "default": "",
                            },
                        }
                    ]
                }
            },
            [of_workflow("ConfigMap", "c", keys=("k",), optional=True)],
            id="argument with a default",
        ),
        pytest.param(
            {"podMetadata": {"annotations": {"secretName": "x"}}, "nodeSelector": {"volumes": "x"}},
            [],
            id="words of others",
        ),
    ],
)
def test_a_workflow_requires(spec: dict[str, Any], expected: list[Requirement]) -> None:
    found = needs(manifest(spec))
    assert sorted(found.requirements, key=str) == sorted(expected, key=str)
    assert found.findings == ()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(
            container(
                env=[
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "b"}}},
                    {
                        "name": "C",
                        "valueFrom": {
                            "configMapKeyRef": {"name": "c", "key": "k", "optional": True}
                        },
                    },
                ],
                envFrom=[{"configMapRef": {"name": "proxy"}}],
            ),
            [
                named("Secret", "s", keys=("a", "b")),
                named("ConfigMap", "c", keys=("k",), optional=True),
                named("ConfigMap", "proxy"),
            ],
            id="variables",
        ),
        pytest.param(
            {
                **container(),
                "inputs": {"artifacts": [{"name": "in", "path": "/in", "s3": S3}]},
                "outputs": {
                    "artifacts": [
                        {
                            "name": "gcs",
                            "gcs": {"serviceAccountKeySecret": {"name": "gcs", "key": "json"}},
                        },
                        {"name": "az", "azure": {"accountKeySecret": {"name": "az", "key": "k"}}},
                        {"name": "oss", "oss": {"accessKeySecret": {"name": "oss", "key": "k"}}},
                        {
                            "name": "http",
                            "http": {
                                "url": "u",
                                "auth": {"oauth2": {"clientIDSecret": {"name": "o", "key": "id"}}},
                                "headers": [],
                            },
                        },
                        {
                            "name": "git",
                            "git": {"sshPrivateKeySecret": {"name": "git", "key": "k"}},
                        },
                        {
                            "name": "hdfs",
                            "hdfs": {"krbConfigConfigMap": {"name": "krb", "key": "conf"}},
                        },
                    ]
                },
            },
            [
                named("Secret", "s3", keys=("access", "secret")),
                named("Secret", "gcs", keys=("json",)),
                named("Secret", "az", keys=("k",)),
                named("Secret", "oss", keys=("k",)),
                named("Secret", "o", keys=("id",)),
                named("Secret", "git", keys=("k",)),
                named("ConfigMap", "krb", keys=("conf",)),
            ],
            id="artifacts",
        ),
        pytest.param(
            {
                **container(),
                "sidecars": [{"name": "db", "envFrom": [{"secretRef": {"name": "db"}}]}],
                "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "i"}}]}],
                "serviceAccountName": "own",
                "priorityClassName": "high",
                "synchronization": {"semaphore": {"configMapKeyRef": {"name": "l", "key": "k"}}},
                "memoize": {"key": "k", "cache": {"configMap": {"name": "cache"}}},
            },
            [
                named("Secret", "db"),
                named("ConfigMap", "i"),
                named("ServiceAccount", "own"),
                named("PriorityClass", "high", api_version=SCHEDULING),
                named("ConfigMap", "l", keys=("k",)),
                named("ConfigMap", "cache", optional=True),
            ],
            id="around a container",
        ),
        pytest.param(
            {
                "containerSet": {
                    "containers": [{"name": "a", "envFrom": [{"secretRef": {"name": "s"}}]}]
                }
            },
            [named("Secret", "s")],
            id="container set",
        ),
        pytest.param(
            {"script": {"image": "i", "source": "x", "envFrom": [{"secretRef": {"name": "s"}}]}},
            [named("Secret", "s")],
            id="script",
        ),
        pytest.param(
            {
                "http": {
                    "url": "u",
                    "headers": [
                        {"name": "h", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
                    ],
                }
            },
            [named("Secret", "s", keys=("k",))],
            id="http",
        ),
        pytest.param(
            {"plugin": {"slack": {"secretName": "not looked at"}}},
            [named("ConfigMap", "slack-executor-plugin", optional=True)],
            id="plugin",
        ),
        pytest.param(
            {
                "resource": {
                    "action": "create",
                    "manifest": "apiVersion: batch/v1\nkind: Job\nmetadata: {namespace: far}\n"
                    "spec:\n  template:\n    spec: {containers: [{name: x}], "
                    "volumes: [{secret: {secretName: s}}]}\n",
                }
            },
            [named("Namespace", "far"), named("Secret", "s", namespace="far")],
            id="resource",
        ),
        pytest.param(
            {"resource": {"action": "delete", "manifest": "kind: Pod\nspec: {containers: [{}]}"}},
            [],
            id="resource that goes",
        ),
        pytest.param(
            {
                "resource": {
                    "action": "create",
                    "manifest": "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n"
                    "metadata: {generateName: x-}\nspec: {workflowTemplateRef: {name: inner}}\n",
                }
            },
            [named("WorkflowTemplate", "inner", api_version=ARGO)],
            id="workflow of a workflow",
        ),
        pytest.param(
            {"dag": {"tasks": [{"name": "t", "templateRef": {"name": "far", "template": "x"}}]}},
            [named("WorkflowTemplate", "far", api_version=ARGO, keys=("x",))],
            id="task",
        ),
        pytest.param(
            {
                "steps": [
                    [
                        {
                            "name": "s",
                            "inline": container(envFrom=[{"secretRef": {"name": "inline"}}]),
                            "hooks": {
                                "exit": {
                                    "templateRef": {
                                        "name": "far",
                                        "template": "x",
                                        "clusterScope": True,
                                    }
                                }
                            },
                        }
                    ]
                ]
            },
            [
                named("Secret", "inline", template="s", source="experiments/one.py:1"),
                named("ClusterWorkflowTemplate", "far", api_version=ARGO, keys=("x",)),
            ],
            id="inline template and hook of a step",
        ),
    ],
)
def test_a_template_requires(template: dict[str, Any], expected: list[Requirement]) -> None:
    found = needs(of_template(template))
    assert sorted(found.requirements, key=str) == sorted(expected, key=str)
    assert found.findings == ()


def mounting(claim: str, **more: Any) -> dict[str, Any]:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    inputs = {"inputs": {"parameters": [{"name": "claim"}]}}
    return {"name": "leaf", **inputs, **container(), "volumes": [volume], **more}


def calling(
    more: dict[str, Any], leaf: dict[str, Any], *, parameters: Any = None, **spec: Any
) -> Manifest:
    call = {"name": "task", "template": "leaf", **more}
    spec["arguments"] = {"parameters": parameters}
    main = {"name": "main", "dag": {"tasks": [call]}}
    return manifest({"entrypoint": "main", "templates": [main, leaf], **spec})


def with_claim(value: str) -> dict[str, Any]:
    return {"arguments": {"parameters": [{"name": "claim", "value": value}]}}


FROM_INPUT = "{{inputs.parameters.claim}}"


@pytest.mark.parametrize(
    ("arguments", "spec", "expected"),
    [
        (with_claim("a"), {}, ["a"]),
        (
            with_claim("{{workflow.parameters.where}}"),
            {"parameters": [{"name": "where", "value": "b"}]},
            ["b"],
        ),
        (with_claim("data-{{item}}"), {"withItems": ["x", 2]}, ["data-x", "data-2"]),
        (with_claim("{{ item.name }}"), {"withItems": [{"name": "x"}, {"name": "y"}]}, ["x", "y"]),
        (with_claim("{{item}}"), {"withParam": '["p", "q"]'}, ["p", "q"]),
        (
            with_claim("{{item}}"),
            {
                "withParam": "{{workflow.parameters.all}}",
                "parameters": [{"name": "all", "value": '["p"]'}],
            },
            ["p"],
        ),
        (
            with_claim("d{{item}}"),
            {"withSequence": {"count": "2", "start": 1, "format": "%02d"}},
            ["d01", "d02"],
        ),
        (with_claim("d{{item}}"), {"withSequence": {"start": 2, "end": "1"}}, ["d2", "d1"]),
        (with_claim("in-{{workflow.namespace}}"), {}, ["in-lab"]),
        (
            with_claim("{{=workflow.parameters.where}}"),
            {"parameters": [{"name": "where", "value": "b"}]},
            ["b"],
        ),
        (
            with_claim("{{= workflow.parameters['wh-ere'] }}"),
            {"parameters": [{"name": "wh-ere", "value": "b"}]},
            ["b"],
        ),
    ],
)
def test_names_follow_the_arguments(
    arguments: dict[str, Any], spec: dict[str, Any], expected: list[str]
) -> None:
    loop = {key: each for key, each in spec.items() if key.startswith("with")}
    one = calling({**arguments, **loop}, mounting(FROM_INPUT), parameters=spec.get("parameters"))
    found = needs(one, namespace="lab")
    assert [each.name for each in found.requirements] == expected
    assert found.findings == ()


@pytest.mark.parametrize(
    "arguments",
    [
        with_claim("{{tasks.other.outputs.result}}"),
        with_claim("{{=sprig.lower('A')}}"),
        {**with_claim("{{item}}"), "withParam": "{{tasks.other.outputs.result}}"},
        {},
    ],
)
def test_a_name_known_at_run_time_only_is_a_notice(arguments: dict[str, Any]) -> None:
    found = needs(calling(arguments, mounting(FROM_INPUT)), experiment="one")
    assert found.requirements == ()
    assert found.findings == (
        Finding(
            rule="unresolved-name",
            severity=Severity.NOTICE,
            message="template 'leaf': '{{inputs.parameters.claim}}' is known at run time only, so "
            "nothing on the cluster was looked up for it.",
            experiment="one",
            file="experiments/one.py",
            line=1,
        ),
    )


def test_an_input_keeps_its_default_where_the_call_says_nothing() -> None:
    inputs = {"inputs": {"parameters": [{"name": "claim", "default": "usual"}]}}
    found = needs(calling({}, mounting(FROM_INPUT, **inputs)))
    assert [each.name for each in found.requirements] == ["usual"]


def test_a_default_tells_nothing_of_a_template_that_others_call() -> None:
    inputs = {"inputs": {"parameters": [{"name": "claim", "default": "usual"}]}}
    library = manifest({"templates": [mounting(FROM_INPUT, **inputs)]}, kind="WorkflowTemplate")
    found = needs(library)
    assert found.requirements == ()
    assert [each.rule for each in found.findings] == ["unresolved-name"]


def test_what_a_workflow_never_runs_it_does_not_need() -> None:
    templates = [{"name": "main", **container()}, mounting("unused", inputs={})]
    found = needs(manifest({"entrypoint": "main", "templates": templates}))
    assert (found.requirements, len(found.pods)) == ((), 1)


def test_what_may_be_called_by_a_name_of_the_run_is_needed() -> None:
    step = {"name": "x", "template": "{{inputs.parameters.which}}"}
    main = {"name": "main", "inputs": {"parameters": [{"name": "which"}]}, "steps": [[step]]}
    found = needs(
        manifest({"entrypoint": "main", "templates": [main, mounting("used", inputs={})]})
    )
    assert [each.name for each in found.requirements] == ["used"]


def test_calls_of_templates_that_are_elsewhere() -> None:
    given = [{"name": "size", "value": "3"}, {"name": "later"}]
    artifacts = [{"name": "map", "from": "{{tasks.other.outputs.artifacts.map}}"}]
    call = {
        "name": "t",
        "templateRef": {"name": "library", "template": "part", "clusterScope": True},
        "arguments": {"parameters": given, "artifacts": artifacts},
    }
    found = needs(of_template({"dag": {"tasks": [call]}}))
    assert found.calls == (
        Call(
            kind="ClusterWorkflowTemplate",
            name="library",
            template="part",
            parameters=frozenset({"size"}),
            artifacts=frozenset({"map"}),
            caller="main",
            source=HERE,
        ),
    )


def test_a_workflow_made_from_a_template_calls_it_as_a_whole() -> None:
    spec = {
        "workflowTemplateRef": {"name": "library"},
        "entrypoint": "part",
        "arguments": {"parameters": [{"name": "size", "value": 3}]},
    }
    assert needs(manifest(spec)).calls == (
        Call(
            kind="WorkflowTemplate",
            name="library",
            entrypoint="part",
            parameters=frozenset({"size"}),
            source="experiments/one.py:1",
        ),
    )


def storing(*artifacts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**container(), "outputs": {"artifacts": list(artifacts)}, **more}


BARE = {"name": "made", "path": "/made"}


@pytest.mark.parametrize(
    ("template", "spec", "stores"),
    [
        (storing(BARE), {}, True),
        (storing({**BARE, "s3": {"key": "k"}}), {}, True),
        (storing({**BARE, "s3": S3}), {}, False),
        (storing(BARE, archiveLocation={"s3": S3}), {}, False),
        (storing(BARE), {"artifactRepositoryRef": {"key": "minio"}}, False),
        (container(), {"archiveLogs": True}, True),
        ({**container(), "archiveLocation": {"archiveLogs": False}}, {"archiveLogs": True}, False),
        ({**container(), "inputs": {"artifacts": [BARE]}}, {}, False),
        ({**container(), "inputs": {"artifacts": [{**BARE, "raw": {"data": "x"}}]}}, {}, False),
        ({**container(), "inputs": {"artifacts": [{**BARE, "s3": {"key": "k"}}]}}, {}, True),
        ({"suspend": {}}, {"archiveLogs": True}, False),
    ],
)
def test_artifacts_that_go_to_the_default_repository(
    template: dict[str, Any], spec: dict[str, Any], stores: bool
) -> None:
    assert needs(of_template(template, **spec)).stores == (At(HERE, "main"),) * stores


@pytest.mark.parametrize(
    ("artifact", "spec", "account"),
    [
        ({}, {}, None),
        ({"artifactGC": {"strategy": "Never"}}, {}, None),
        ({"artifactGC": {"strategy": "OnWorkflowDeletion"}}, {}, "default"),
        ({}, {"artifactGC": {"strategy": "OnWorkflowDeletion"}}, "default"),
        (
            {"artifactGC": {"strategy": "Never"}},
            {"artifactGC": {"strategy": "OnWorkflowDeletion"}},
            None,
        ),
        (
            {},
            {"artifactGC": {"strategy": "OnWorkflowDeletion", "serviceAccountName": "gc"}},
            "gc",
        ),
    ],
)
def test_the_account_that_removes_artifacts(
    artifact: dict[str, Any], spec: dict[str, Any], account: str | None
) -> None:
    found = needs(of_template(storing({**BARE, "s3": S3, **artifact}), **spec))
    assert found.collectors == ({account: At(HERE, "main")} if account else {})


@pytest.mark.parametrize(
    ("template", "spec", "expected"),
    [
        (container(), {"serviceAccountName": "runner"}, []),
        (container(), {"executor": {"serviceAccountName": "executor"}}, ["executor"]),
        ({"http": {"url": "u"}}, {"serviceAccountName": "runner"}, ["runner"]),
        ({"http": {"url": "u"}}, {}, ["default"]),
        ({"plugin": {"hello": {}}}, {}, ["default"]),
    ],
)
def test_accounts_whose_token_lies_in_a_secret(
    template: dict[str, Any], spec: dict[str, Any], expected: list[str]
) -> None:
    assert list(needs(of_template(template, **spec)).tokens) == expected


def test_where_semaphores_take_their_limits_from() -> None:
    semaphores = [
        {"configMapKeyRef": {"name": "locks", "key": "one"}},
        {"database": {"key": "k"}},
    ]
    found = needs(of_template({**container(), "synchronization": {"semaphores": semaphores}}))
    assert found.semaphores == {("locks", "one")}
    assert found.databases == (At(HERE, "main"),)


@pytest.mark.parametrize(
    ("more", "outputs", "waits"),
    [
        ({}, {}, False),
        ({"successCondition": "status.ready"}, {}, True),
        ({}, {"parameters": [{"name": "x", "valueFrom": {"jsonPath": "{.x}"}}]}, True),
    ],
)
def test_a_resource_template_may_look_at_what_it_made(
    more: dict[str, Any], outputs: dict[str, Any], waits: bool
) -> None:
    made = {"action": "create", "manifest": "kind: Pod\nmetadata: {generateName: x-}\n", **more}
    (action,) = needs(of_template({"resource": made, "outputs": outputs})).actions
    assert action.waits is waits


def test_templates_that_call_themselves_come_to_an_end() -> None:
    again = {"name": "again", "template": "main"}
    found = needs(of_template({"steps": [[again], [{"name": "x", "inline": mounting("data")}]]}))
    assert [each.name for each in found.requirements] == ["data"]


def test_what_the_bundle_brings_is_not_asked_of_the_cluster() -> None:
    library = manifest(
        {"templates": [mounting(FROM_INPUT)]},
        kind="WorkflowTemplate",
        name="library",
        sources={"": "experiments/library.py:1", "leaf": "experiments/library.py:5"},
    )
    call = {"name": "task", "templateRef": {"name": "library", "template": "leaf"}}
    user = of_template({"dag": {"tasks": [call | with_claim("mine")]}})
    found = needs(user, provided=[library, user])
    assert found.requirements == (
        Requirement(
            kind="PersistentVolumeClaim",
            name="mine",
            template="leaf",
            source="experiments/library.py:5",
        ),
    )
    assert found.findings == ()


def test_a_workflow_made_from_a_template_of_the_bundle_runs_with_its_own_arguments() -> None:
    usual = {"parameters": [{"name": "claim", "value": "usual"}]}
    library = manifest(
        {"entrypoint": "leaf", "arguments": usual, "templates": [mounting(FROM_INPUT)]},
        kind="WorkflowTemplate",
        name="library",
    )
    mine = {"parameters": [{"name": "claim", "value": "mine"}]}
    user = manifest({"workflowTemplateRef": {"name": "library"}, "arguments": mine})
    assert [each.name for each in needs(user, provided=[library]).requirements] == ["mine"]
    assert [each.name for each in needs(library).requirements] == ["usual"]


def test_the_target_names_what_the_manifest_leaves_open() -> None:
    found = needs(of_template(container()), namespace="lab", service_account="runner")
    assert found.requirements == (of_workflow("ServiceAccount", "runner"),)
    assert found.accounts == {"runner": At(HERE, "main")}


def test_a_namespace_of_its_own_is_required_and_holds_what_is_required() -> None:
    template = {"name": "main", **container(envFrom=[{"secretRef": {"name": "s"}}])}
    placed = manifest({"entrypoint": "main", "templates": [template]}, namespace="x")
    assert needs(placed, namespace="lab").requirements == (
        of_workflow("Namespace", "x"),
        named("Secret", "s", namespace="x"),
    )


def test_a_cron_workflow_is_read_one_level_deeper() -> None:
    spec = {"serviceAccountName": "runner", "templates": []}
    found = needs(manifest({"schedules": ["@daily"], "workflowSpec": spec}, kind="CronWorkflow"))
    assert found.requirements == (of_workflow("ServiceAccount", "runner"),)


def test_the_executor_has_an_account_of_its_own_where_one_is_named() -> None:
    plain = needs(of_template(container()))
    assert plain.accounts == {"default": At(HERE, "main")}
    other = {"executor": {"serviceAccountName": "executor"}, "serviceAccountName": "runner"}
    found = needs(of_template(container(), **other))
    assert found.accounts == {"executor": At(HERE, "main")}


def test_a_pod_is_what_template_workflow_and_patches_make_of_it() -> None:
    patch = (
        "containers: [{name: main, resources: {limits: "
        '{memory: "{{inputs.parameters.memory}}", nvidia.com/gpu: 1}}}]'
    )
    leaf = {
        "name": "leaf",
        "inputs": {"parameters": [{"name": "memory"}]},
        **container(resources={"requests": {"cpu": "500m", "memory": "1Gi"}}),
        "initContainers": [{"name": "first", "image": "busybox"}],
        "sidecars": [{"name": "db", "image": "postgres", "resources": {"limits": {"cpu": 2}}}],
        "podSpecPatch": patch,
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    call = {"arguments": {"parameters": [{"name": "memory", "value": "{{item}}"}]}}
    items = {"withItems": ["2Gi", "2Gi", "4Gi"]}
    spec = {"nodeSelector": {"disk": "ssd"}, "parallelism": 2, "serviceAccountName": "runner"}
    found = needs(calling({**call, **items}, leaf, **spec))

    def pod(memory: str, copies: int) -> Pod:
        limits = {"memory": memory, "nvidia.com/gpu": "1"}
        return Pod(
            template="leaf",
            source="experiments/one.py:1",
            containers=(
                Container(name="first", image="busybox", init=True),
                Container(
                    name="main",
                    image="busybox",
                    requests={"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"},
                    limits=limits,
                ),
                Container(name="db", image="postgres", requests={"cpu": "2"}, limits={"cpu": "2"}),
            ),
            node_selector={"disk": "ssd"},
            tolerations=({"key": "gpu", "operator": "Exists"},),
            service_account="runner",
            copies=copies,
        )

    assert found.pods == (pod("2Gi", 2), pod("4Gi", 1))
    assert found.parallelism == 2


def test_a_resource_template_acts_as_its_own_account() -> None:
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: x-, namespace: far}\n"
    found = needs(
        of_template({"resource": {"action": "apply", "manifest": job}, "serviceAccountName": "own"})
    )
    assert found.actions == (
        Action(
            verb="apply",
            api_version="batch/v1",
            kind="Job",
            namespace="far",
            template="main",
            source=HERE,
            service_account="own",
        ),
    )


def test_what_a_workflow_makes_itself_need_not_be_there() -> None:
    claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: mine}\n"
    making = {"name": "a", "inline": {"resource": {"action": "create", "manifest": claim}}}
    using = [{"name": n, "inline": mounting(n, inputs={})} for n in ("mine", "theirs")]
    found = needs(of_template({"steps": [[making], using]}))
    assert [each.name for each in found.requirements] == ["theirs"]


def test_config_maps_that_argo_wants_labelled() -> None:
    source = {"configMapKeyRef": {"name": "values", "key": "k"}}
    memoize = {"key": "k", "cache": {"configMap": {"name": "cache"}}}
    inputs = {"parameters": [{"name": "p", "valueFrom": source}]}
    found = needs(of_template({**container(), "inputs": inputs, "memoize": memoize}))
    assert found.typed == {"values": "Parameter", "cache": "Cache"}


def test_a_text_that_is_no_yaml_is_a_notice() -> None:
    found = needs(of_template({"resource": {"action": "create", "manifest": "a: {{=x}}"}}))
    (finding,) = found.findings
    assert finding.rule == "unreadable-text"
    assert finding.message == (
        "template 'main': its manifest cannot be read as YAML: {{=x}} is known at run time only."
    )
    assert found.actions == ()


def test_claims_that_the_workflow_makes_itself() -> None:
    claim = {"metadata": {"name": "w"}, "spec": {"resources": {"requests": {"storage": "5Gi"}}}}
    found = needs(of_template(container(), volumeClaimTemplates=[claim]))
    assert found.claims == (Claim(name="w", storage="5Gi", source="experiments/one.py:1"),)
    assert found.requirements == ()


@pytest.mark.parametrize("spec", [None, [], {"templates": {"a": 1}}, {"templates": [None, 3]}])
def test_what_is_no_workflow_at_all_requires_nothing(spec: Any) -> None:
    assert needs(manifest(spec)).requirements == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("4Gi", str(4 * 1024**3)),
        ("1e3", "1000"),
        ("2", "2"),
        (3, "3"),
        ("1.5k", "1500"),
        ("x", None),
        ("1.2.3", None),
        ("Gi", None),
        (".", None),
    ],
)
def test_a_quantity(text: Any, value: str | None) -> None:
    assert quantity(text) == (None if value is None else Decimal(value))


def test_a_text_with_aliases_is_not_unfolded() -> None:
    bomb = "a: &a [x]\nb: [*a, *a]\n"
    found = needs(of_template({**container(), "podSpecPatch": bomb}))
    assert {each.rule for each in found.findings} == {"unreadable-text"}


def test_a_loop_in_a_loop_is_read_so_far() -> None:
    inner = {"name": "i", "template": "leaf", "withSequence": {"count": "400"}}
    call = {**inner, **with_claim("{{inputs.parameters.n}}-{{item}}")}
    middle = {"name": "middle", "inputs": {"parameters": [{"name": "n"}]}, "steps": [[call]]}
    given = {"arguments": {"parameters": [{"name": "n", "value": "{{item}}"}]}}
    outer = {"name": "o", "template": "middle", "withSequence": {"count": "100"}, **given}
    main = {"name": "main", "steps": [[outer]]}
    templates = [main, middle, mounting(FROM_INPUT)]
    found = needs(manifest({"entrypoint": "main", "templates": templates}))
    assert len(found.requirements) == 1000
    assert {each.rule for each in found.findings} == {"unread-loop"}
