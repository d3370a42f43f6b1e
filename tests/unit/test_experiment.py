"""The author classes: what they are filled with, what they offer, what they say of mistakes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hera.workflows import (
    DAG,
    Container,
    CronWorkflow,
    Steps,
    Workflow,
    WorkflowTemplate,
    script,
)
from pydantic import ValidationError

from heraci import experiment
from heraci.experiment import (
    COMMIT,
    ConfigMap,
    Environment,
    Experiment,
    ExperimentError,
    ImagePullSecret,
    Inputs,
    Layout,
    Secret,
    ServiceAccount,
    StorageClass,
    VolumeClaim,
    build,
    configure,
    experiments_in,
    instantiate,
    requirements_of,
)


@pytest.fixture(autouse=True)
def nothing_configured() -> Iterator[None]:
    """Leave no values behind for the next test of this process."""
    configure()
    yield
    configure()


class Platform(Environment):
    results: VolumeClaim = VolumeClaim(mount_path="/data", access="ReadWriteMany", storage="10Gi")
    proxy_settings: ConfigMap = ConfigMap(keys=("HTTPS_PROXY", "NO_PROXY"))
    database: Secret | None = None
    registry: str = "docker.io"


class Vintages(Inputs):
    vintages: list[int] = [2009, 2012]
    boroughs: list[str] = ["LYON_8EME"]
    model_name: str = "lod2"
    scale: float | None = None


class Folders(Layout):
    def collected(self, vintage: int) -> str:
        return f"collected/{vintage}"


class Collect(Experiment):
    environment: Platform
    inputs: Vintages
    layout: Folders

    def workflow(self) -> Workflow:
        with Workflow(name=self.name, entrypoint="list") as w:
            Container(
                name="list",
                image="alpine:3.20",
                command=["ls", self.environment.results.path(self.layout.collected(2009))],
                volumes=[self.environment.results.volume()],
                env_from=[self.environment.proxy_settings.env_from()],
            )
        return w


def line_of(obj: Any) -> int:
    return inspect.getsourcelines(obj)[1]


def message_of(cls: type[Experiment]) -> str:
    """What building says is wrong with it."""
    with pytest.raises(ExperimentError) as caught:
        build(cls)
    return str(caught.value)


# --- The commit's marker ---


def test_commit_marker_is_valid_wherever_a_sha_is() -> None:
    label_value = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    image_tag = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
    object_name = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    patterns = [label_value, image_tag, object_name]
    assert [bool(re.fullmatch(each, COMMIT)) for each in patterns] == [True, True, True]
    assert len(COMMIT) == len("0" * 40)


# --- Filling ---


def test_defaults_hold_where_nothing_is_configured() -> None:
    collect = instantiate(Collect)
    assert collect.inputs == Vintages(
        vintages=[2009, 2012], boroughs=["LYON_8EME"], model_name="lod2", scale=None
    )
    assert collect.environment.results.name == "results"
    assert collect.environment.proxy_settings.name == "proxy-settings"
    assert collect.environment.database is None
    assert collect.environment.registry == "docker.io"
    assert collect.layout.collected(2009) == "collected/2009"
    assert collect.name == "collect"


def test_configured_values_win_over_defaults() -> None:
    configure(
        experiment="collect-lyon",
        inputs={"vintages": [2018]},
        environment={"results": "vcity-pvc", "registry": "harbor.example.org", "unheard-of": "x"},
    )
    collect = instantiate(Collect)
    assert collect.name == "collect-lyon"
    assert collect.inputs == Vintages(vintages=[2018])
    assert collect.environment.results.name == "vcity-pvc"
    assert collect.environment.results.mount_path == "/data"
    assert collect.environment.registry == "harbor.example.org"


def test_own_environment_wins_over_the_targets() -> None:
    configure(environment={"results": "for-all"}, own_environment={"results": "for-this-one"})
    assert instantiate(Collect).environment.results.name == "for-this-one"


def test_table_of_a_target_changes_what_the_field_declares() -> None:
    configure(environment={"results": {"name": "pvc", "mount_path": "/mnt", "storage": "1Ti"}})
    results = instantiate(Collect).environment.results
    assert results.model_dump() == {
        "name": "pvc",
        "mount_path": "/mnt",
        "access": "ReadWriteMany",
        "storage": "1Ti",
        "read_only": False,
    }


def test_arguments_win_over_inputs_and_leave_alone_what_is_none() -> None:
    configure(
        inputs={"vintages": [2018], "boroughs": ["BRON"]},
        arguments={"vintages": "2021", "model-name": "lod1", "dry-run": "yes"},
    )
    assert instantiate(Collect).inputs == Vintages(
        vintages=[2021], boroughs=["BRON"], model_name="lod1"
    )


def test_configure_without_arguments_forgets() -> None:
    configure(experiment="x", inputs={"vintages": [1]}, environment={"results": "y"})
    configure()
    collect = instantiate(Collect)
    assert (collect.name, collect.inputs) == ("collect", Vintages())
    assert collect.environment.results.name == "results"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ({"vintages": "2018"}, {"vintages": [2018]}),
        ({"vintages": "2018, 2021"}, {"vintages": [2018, 2021]}),
        ({"vintages": "[2018, 2021]"}, {"vintages": [2018, 2021]}),
        ({"boroughs": "A,B"}, {"boroughs": ["A", "B"]}),
        ({"boroughs": '["A,B"]'}, {"boroughs": ["A,B"]}),
        ({"model_name": "1,2"}, {"model_name": "1,2"}),
        ({"scale": "0.5"}, {"scale": 0.5}),
        ({"scale": "null"}, {"scale": None}),
    ],
)
def test_text_of_a_command_line_becomes_what_the_input_is(
    text: dict[str, str], expected: dict[str, Any]
) -> None:
    configure(inputs=text)
    assert instantiate(Collect).inputs == Vintages(**expected)


def test_optional_resource_is_there_once_the_target_names_it() -> None:
    configure(environment={"database": {"name": "postgres", "keys": ["PASSWORD"]}})
    database = instantiate(Collect).environment.database
    assert database is not None
    assert (database.name, database.keys) == ("postgres", ("PASSWORD",))


def test_false_leaves_an_optional_resource_out() -> None:
    class Proxied(Environment):
        proxy: ConfigMap | None = ConfigMap(keys=("HTTPS_PROXY",))

    class Install(Experiment):
        environment: Proxied

    assert instantiate(Install).environment.proxy is not None
    configure(environment={"proxy": False})
    assert instantiate(Install).environment.proxy is None


def test_values_of_the_class_stand_between_defaults_and_settings() -> None:
    class CollectMore(Collect):
        inputs = Vintages(vintages=[2021], boroughs=["VILLEURBANNE"])

    configure(inputs={"boroughs": ["BRON"]})
    assert instantiate(CollectMore).inputs == Vintages(vintages=[2021], boroughs=["BRON"])


def test_parts_that_are_not_declared_are_empty() -> None:
    class Small(Experiment):
        image = "alpine:3.20"

        def workflow(self) -> Workflow:
            return Workflow(name=self.image)

    configure(environment={"results": "vcity-pvc"})
    small = instantiate(Small)
    assert (small.environment, small.inputs) == (Environment(), Inputs())
    assert type(small.layout) is Layout
    assert requirements_of(small) == []


def test_parts_are_frozen() -> None:
    collect = instantiate(Collect)
    with pytest.raises(ValidationError, match="frozen"):
        collect.inputs.vintages = []  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        collect.environment.results.name = "x"  # type: ignore[misc]


def test_own_init_may_keep_what_it_likes() -> None:
    class Derived(Collect):
        def __init__(self) -> None:
            super().__init__()
            self.count = len(self.inputs.vintages)

    assert instantiate(Derived).count == 2


def test_environment_can_be_made_by_hand() -> None:
    platform = Platform(results="pvc", database=Secret(name="pg"))
    assert platform.results == Platform(results={"name": "pvc"}).results
    assert platform.database is not None
    assert platform.database.name == "pg"


# --- What a resource offers ---


def compiled(**container: Any) -> dict[str, Any]:
    """A container template with these arguments, as Argo gets it."""
    with Workflow(name="w", entrypoint="c") as w:
        Container(name="c", image="alpine:3.20", command=["ls"], **container)
    template: dict[str, Any] = w.to_dict()["spec"]["templates"][0]
    return template


class Everything(Environment):
    raw_data: VolumeClaim = VolumeClaim(name="pvc.v2", mount_path="/raw", read_only=True)
    settings: ConfigMap = ConfigMap(keys=("A",), mount_path="/etc/settings")
    keys_of_s3: Secret = Secret(name="s3", mount_path="/keys", optional=True)
    runner: ServiceAccount = ServiceAccount()
    hub: ImagePullSecret = ImagePullSecret(name="harbor")
    scratch: StorageClass = StorageClass(name="fast-ssd", mount_path="/scratch")


def test_volume_of_a_claim() -> None:
    assert compiled(volumes=[Everything().raw_data.volume(sub_path="lyon")]) == {
        "name": "c",
        "container": {
            "image": "alpine:3.20",
            "command": ["ls"],
            "volumeMounts": [
                {"name": "raw-data", "mountPath": "/raw", "subPath": "lyon", "readOnly": True}
            ],
        },
        "volumes": [
            {
                "name": "raw-data",
                "persistentVolumeClaim": {"claimName": "pvc.v2", "readOnly": True},
            }
        ],
    }


def test_claim_of_the_whole_workflow() -> None:
    claim = Everything().raw_data
    with Workflow(name="w", entrypoint="c", volumes=[claim.volume()]) as w:
        Container(
            name="c",
            image="alpine:3.20",
            command=["ls"],
            volume_mounts=[claim.volume_mount(mount_path="/mnt")],
        )
    spec = w.to_dict()["spec"]
    assert spec["volumes"] == [
        {"name": "raw-data", "persistentVolumeClaim": {"claimName": "pvc.v2", "readOnly": True}}
    ]
    assert spec["templates"][0]["container"]["volumeMounts"] == [
        {"name": "raw-data", "mountPath": "/mnt", "readOnly": True}
    ]


def test_path_inside_a_claim() -> None:
    claim = VolumeClaim(name="pvc", mount_path="/data/")
    assert [claim.path(), claim.path("a", 2009, "b.csv"), claim.path("/a/", "b")] == [
        "/data",
        "/data/a/2009/b.csv",
        "/data/a/b",
    ]


def test_variables_of_a_config_map() -> None:
    settings = Everything().settings
    container = compiled(
        env_from=[settings.env_from(prefix="S_")], env=[settings.env("A", variable="LETTER")]
    )["container"]
    assert container["envFrom"] == [{"prefix": "S_", "configMapRef": {"name": "settings"}}]
    assert container["env"] == [
        {"name": "LETTER", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "A"}}}
    ]


def test_variables_of_a_secret() -> None:
    s3 = Everything().keys_of_s3
    container = compiled(env_from=[s3.env_from()], env=[s3.env("ACCESS_KEY")])["container"]
    assert container["envFrom"] == [{"secretRef": {"name": "s3", "optional": True}}]
    assert container["env"] == [
        {
            "name": "ACCESS_KEY",
            "valueFrom": {
                "secretKeyRef": {"name": "s3", "key": "ACCESS_KEY", "optional": True},
            },
        }
    ]


def test_files_of_a_config_map_and_a_secret() -> None:
    everything = Everything()
    template = compiled(volumes=[everything.settings.volume(), everything.keys_of_s3.volume()])
    assert template["volumes"] == [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys-of-s3", "secret": {"secretName": "s3", "optional": True}},
    ]
    assert template["container"]["volumeMounts"] == [
        {"name": "settings", "mountPath": "/etc/settings"},
        {"name": "keys-of-s3", "mountPath": "/keys"},
    ]
    mounts = [everything.settings.volume_mount(), everything.keys_of_s3.volume_mount()]
    assert [each.name for each in mounts] == ["settings", "keys-of-s3"]


def test_names_for_the_workflow_itself() -> None:
    everything = Everything(runner="argo-workflow")
    w = Workflow(
        name="w",
        service_account_name=everything.runner.name,
        image_pull_secrets=[everything.hub.name],
    )
    spec = w.to_dict()["spec"]
    assert spec["serviceAccountName"] == "argo-workflow"
    assert spec["imagePullSecrets"] == [{"name": "harbor"}]
    assert f"{everything.runner}" == "argo-workflow"


def test_fresh_volume_of_a_storage_class() -> None:
    scratch = Everything().scratch
    with Workflow(name="w", entrypoint="c", volumes=[scratch.volume("5Gi")]) as w:
        Container(
            name="c", image="alpine:3.20", command=["ls"], volume_mounts=[scratch.volume_mount()]
        )
    spec = w.to_dict()["spec"]
    assert spec["volumeClaimTemplates"] == [
        {
            "metadata": {"name": "scratch"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "5Gi"}},
                "storageClassName": "fast-ssd",
            },
        }
    ]
    assert spec["templates"][0]["container"]["volumeMounts"] == [
        {"name": "scratch", "mountPath": "/scratch"}
    ]


def test_requirements_are_plain_data() -> None:
    class Whole(Experiment):
        environment: Everything

    def required(kind: str, name: str, field: str, **more: Any) -> dict[str, Any]:
        nothing: dict[str, Any] = {"keys": [], "access": [], "storage": None, "optional": False}
        return {"kind": kind, "api_version": "v1", "name": name, "field": field} | nothing | more

    assert requirements_of(instantiate(Whole)) == [
        required("PersistentVolumeClaim", "pvc.v2", "raw_data"),
        required("ConfigMap", "settings", "settings", keys=["A"]),
        required("Secret", "s3", "keys_of_s3", optional=True),
        required("ServiceAccount", "runner", "runner"),
        required("Secret", "harbor", "hub"),
        required("StorageClass", "fast-ssd", "scratch", api_version="storage.k8s.io/v1"),
    ]
    assert requirements_of(instantiate(Collect))[0] == required(
        "PersistentVolumeClaim",
        "results",
        "results",
        access=["ReadWriteMany"],
        storage="10Gi",
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: VolumeClaim(name="My_Claim"), "'My_Claim' is no name of a PersistentVolumeClaim"),
        (lambda: VolumeClaim(mount_path="data"), "'data' does not begin with \"/\""),
        (lambda: VolumeClaim(storage="lots"), "'lots' is no amount of storage"),
        (lambda: VolumeClaim(access="RWX"), "Input should be 'ReadWriteOnce'"),
        (lambda: ConfigMap(key="A"), "Extra inputs are not permitted"),  # type: ignore[call-arg]
    ],
)
def test_resource_refuses_what_cannot_be(wrong: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        wrong()
    assert message in str(caught.value)


def test_undeclared_key_names_the_nearest() -> None:
    proxy = Platform().proxy_settings
    with pytest.raises(ExperimentError) as caught:
        proxy.env("HTTP_PROXY")
    assert str(caught.value) == (
        "the ConfigMap 'proxy_settings' does not declare the key 'HTTP_PROXY', did you mean"
        " 'HTTPS_PROXY'?; add it to keys=[…], so that heraci asserts it"
    )


def test_volume_without_a_mount_path_says_what_to_write() -> None:
    with pytest.raises(ExperimentError) as caught:
        Platform().proxy_settings.volume()
    assert str(caught.value) == (
        "the ConfigMap 'proxy_settings' has no mount_path: write ConfigMap(mount_path=\"/data\"),"
        " or give it here"
    )


# --- Finding and building ---


def test_experiments_of_a_module_in_the_order_of_definition() -> None:
    class _Base(Experiment):
        def workflow(self) -> Workflow:
            return Workflow(name="base")

    class WithoutWorkflow(Experiment):
        environment: Platform

    class Second(WithoutWorkflow):
        def workflow(self) -> Workflow:
            return Workflow(name="second")

    class First(_Base):
        pass

    class Elsewhere(_Base):
        pass

    Elsewhere.__module__ = "another"
    namespace = {
        "Experiment": Experiment,
        "_Base": _Base,
        "WithoutWorkflow": WithoutWorkflow,
        "Second": Second,
        "Alias": Second,
        "First": First,
        "Elsewhere": Elsewhere,
        "number": 1,
    }
    assert experiments_in(namespace, __name__) == [Second, First]


def test_class_without_workflow_is_kept_where_nothing_derives_from_it() -> None:
    class Forgotten(Experiment):
        pass

    assert experiments_in({"Forgotten": Forgotten}, __name__) == [Forgotten]


def test_build_gives_what_hera_compiles() -> None:
    configure(environment={"results": "vcity-pvc", "proxy_settings": "proxy"})
    [w] = build(Collect)
    assert w.to_dict() == {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "collect"},
        "spec": {
            "entrypoint": "list",
            "templates": [
                {
                    "name": "list",
                    "container": {
                        "image": "alpine:3.20",
                        "command": ["ls", "/data/collected/2009"],
                        "envFrom": [{"configMapRef": {"name": "proxy"}}],
                        "volumeMounts": [{"name": "results", "mountPath": "/data"}],
                    },
                    "volumes": [
                        {
                            "name": "results",
                            "persistentVolumeClaim": {"claimName": "vcity-pvc"},
                        }
                    ],
                }
            ],
        },
    }


def test_several_workflows_as_a_list_a_tuple_or_a_generator() -> None:
    template = WorkflowTemplate(name="t")
    cron = CronWorkflow(name="c", schedules=["0 3 * * *"])

    class AsList(Experiment):
        def workflow(self) -> list[Workflow]:
            return [template, cron]

    class AsTuple(Experiment):
        def workflow(self) -> tuple[Workflow, ...]:
            return template, cron

    class AsGenerator(Experiment):
        def workflow(self) -> Iterator[Workflow]:
            yield template
            yield cron

    for each in (AsList, AsTuple, AsGenerator):
        assert build(each) == [template, cron]


def test_build_takes_an_instance_too() -> None:
    collect = instantiate(Collect)
    assert [each.name for each in build(collect)] == ["collect"]


def test_to_yaml_for_a_look_by_hand() -> None:
    @script(image="python:3.12-slim")
    def hello() -> None:
        print("hello")

    class Two(Experiment):
        def workflow(self) -> list[Workflow]:
            with Workflow(name="one", entrypoint="d") as one, DAG(name="d"):
                hello()
            with Workflow(name="two", entrypoint="s") as two, Steps(name="s"):
                hello()
            return [one, two]

    documents = Two().to_yaml().split("---\n")
    assert [each.splitlines()[3] for each in documents] == ["  name: one", "  name: two"]


# --- What authors do wrong ---


def test_no_workflow() -> None:
    class Empty(Experiment):
        pass

    with pytest.raises(ExperimentError) as caught:
        build(Empty)
    assert str(caught.value) == (
        "Empty has no workflow: write a method `def workflow(self)` that returns one of Hera's"
        " workflows"
    )
    assert (caught.value.file, caught.value.line) == (__file__, line_of(Empty))


def test_workflow_that_returns_none() -> None:
    class Forgetful(Experiment):
        def workflow(self) -> Workflow:  # type: ignore[return]
            with Workflow(name="w"):
                pass

    with pytest.raises(ExperimentError) as caught:
        build(Forgetful)
    assert str(caught.value) == (
        "Forgetful.workflow returns None; end it with `return w`, the workflow it made"
    )
    assert (caught.value.file, caught.value.line) == (__file__, line_of(Forgetful.workflow))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"kind": "Workflow"}, "returns a dict; it must return one of Hera's workflows"),
        (Workflow, "returns the class Workflow; it must return one of Hera's workflows"),
        ([Workflow(name="w"), "x"], "returns a str; it must return one of Hera's workflows"),
        ([], "returns nothing to run: an empty list"),
    ],
)
def test_workflow_that_returns_something_else(returned: Any, message: str) -> None:
    class Odd(Experiment):
        def workflow(self) -> Any:
            return returned

    assert message_of(Odd) == f"Odd.workflow {message}"


def test_workflow_that_is_no_method() -> None:
    class Assigned(Experiment):
        workflow = "w"  # type: ignore[assignment]

    assert message_of(Assigned) == "Assigned.workflow must be a method: `def workflow(self)`"


def test_init_that_forgets_super() -> None:
    class Careless(Collect):
        def __init__(self) -> None:
            self.count = 1

    assert message_of(Careless) == "Careless.__init__ does not call super().__init__()"


def test_init_that_calls_super_too_late() -> None:
    class Hasty(Collect):
        def __init__(self) -> None:
            self.count = len(self.inputs.vintages)
            super().__init__()

    assert message_of(Hasty) == (
        "Hasty uses self.inputs before it is there: call super().__init__() first in __init__"
    )


def test_init_with_arguments() -> None:
    class Demanding(Collect):
        def __init__(self, size: int) -> None:
            super().__init__()

    assert message_of(Demanding) == (
        "Demanding.__init__ must take no argument but self; make it an input"
    )


def test_attribute_that_is_not_there_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="'Collect' object has no attribute 'input'"):
        instantiate(Collect).input  # noqa: B018 - the access is the test


def test_layout_with_arguments() -> None:
    class Rooted(Layout):
        def __init__(self, root: str) -> None:
            self.root = root

    class Placed(Experiment):
        layout: Rooted

    assert message_of(Placed).startswith("Rooted must be made without arguments (")


def test_part_annotated_with_another_class() -> None:
    class Wrong(Experiment):
        inputs: dict[str, int]  # type: ignore[assignment]

    assert message_of(Wrong) == (
        "Wrong.inputs is annotated with dict; it must be a class that derives from heraci.Inputs"
    )


def test_part_that_is_assigned_its_class() -> None:
    class Wrong(Experiment):
        inputs = Vintages  # type: ignore[assignment]

    assert message_of(Wrong) == (
        "Wrong.inputs is assigned a class; annotate it instead: `inputs: Vintages`"
    )


def test_part_annotated_with_an_unknown_name() -> None:
    class Wrong(Experiment):
        inputs: Vintagse  # type: ignore[name-defined]  # noqa: F821

    assert message_of(Wrong) == (
        "the annotation of Wrong.inputs is unknown: name 'Vintagse' is not defined"
    )


def test_environment_field_without_a_type() -> None:
    with pytest.raises(ExperimentError) as caught:

        class Untyped(Environment):
            results = VolumeClaim(mount_path="/data")  # type: ignore[pydantic-field]

    assert str(caught.value) == (
        "Untyped.results has no type: write `results: VolumeClaim = VolumeClaim(…)`"
    )


def test_environment_field_of_another_type() -> None:
    with pytest.raises(ExperimentError) as caught:

        class Mistyped(Environment):
            results: str = VolumeClaim(mount_path="/data")  # type: ignore[assignment]

    assert str(caught.value) == (
        "Mistyped.results is annotated with str and is a VolumeClaim: write"
        " `results: VolumeClaim = VolumeClaim(…)`"
    )


@pytest.mark.parametrize(
    ("configured", "message"),
    [
        (
            {"inputs": {"vintage": [2018]}},
            (
                "Collect has no input 'vintage', did you mean 'vintages'?;"
                " it has boroughs, model_name, scale, vintages"
            ),
        ),
        (
            {"inputs": {"vintages": "many"}},
            "the input 'vintages' of Collect: Input should be a valid list",
        ),
        (
            {"inputs": {"vintages": [2009, "x"]}},
            (
                "the input 'vintages.1' of Collect: Input should be a valid integer,"
                " unable to parse string as an integer"
            ),
        ),
        (
            {"own_environment": {"reslts": "pvc"}},
            (
                "Collect has no environment field 'reslts', did you mean 'results'?;"
                " it has database, proxy_settings, registry, results"
            ),
        ),
        (
            {"environment": {"results": "My_Claim"}},
            (
                "the environment field 'results.name' of Collect: 'My_Claim' is no name of a"
                " PersistentVolumeClaim: Kubernetes takes lower-case letters, digits,"
                " dashes and dots, at most 253"
            ),
        ),
        (
            {"environment": {"results": {"mount": "/data"}}},
            "the environment field 'results.mount' of Collect is not known",
        ),
        (
            {"environment": {"results": 3}},
            (
                "the environment field 'results' is given 3: write the resource's name,"
                " or a table with a name"
            ),
        ),
    ],
)
def test_settings_that_do_not_fit(configured: dict[str, Any], message: str) -> None:
    configure(**configured)
    assert message_of(Collect) == message


def test_input_without_a_value() -> None:
    class Needed(Inputs):
        vintages: list[int]
        scale: float

    class Needy(Experiment):
        inputs: Needed

        def workflow(self) -> Workflow:
            return Workflow(name=f"scale-{self.inputs.scale}")

    assert message_of(Needy) == (
        "Needy needs the input 'vintages': give it a default, or a value in settings;"
        " Needy needs the input 'scale': give it a default, or a value in settings"
    )
    configure(inputs={"vintages": "2009", "scale": "2"})
    assert [each.name for each in build(Needy)] == ["scale-2.0"]


def test_module_reads_no_value_of_its_own() -> None:
    imported = {
        node.split()[1].split(".")[0]
        for node in inspect.getsource(experiment).splitlines()
        if re.match(r"(from|import) ", node)
    }
    assert imported & {"os", "pathlib", "hera", "kubernetes", "yaml", "heraci"} == {"pathlib"}
    assert not hasattr(experiment, "Path")
