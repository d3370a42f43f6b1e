"""How scripts are written, and what compiling makes of each: real Hera, the real wall."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import dedent, indent
from typing import Any

import pytest

from heraci.bundle import Severity
from heraci.compile.compiler import Compiler
from heraci.compile.values import Outcome
from heraci.experiment import COMMIT
from tests.compiling import compiler, documents, findings, hera, names, needs, request

PLACE = "experiments/it.py"
BUILT = """\
with Workflow(generate_name="a-", entrypoint="c") as w:
    Container(name="c", image="i", command=["x"])
"""


def a_workflow(name: str = "a-", **metadata: Any) -> dict[str, Any]:
    """Write what BUILT compiles to, under a name."""
    template = {"name": "c", "container": {"image": "i", "command": ["x"]}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": name, **metadata},
        "spec": {"entrypoint": "c", "templates": [template]},
    }


@pytest.fixture(scope="module")
def the_compiler() -> Iterator[Compiler]:
    """Make one compiler for all tests: each script has a process of its own anyway."""
    with compiler() as made:
        yield made


@pytest.fixture
def compiled(the_compiler: Compiler) -> Any:
    """Give the function that compiles a script."""

    def compile_one(*args: Any, **options: Any) -> Outcome:
        ((_, outcome),) = the_compiler.compile([request(*args, **options)])
        return outcome

    return compile_one


# --- where workflows are found -------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(BUILT, id="at module level"),
        pytest.param(BUILT + "w.create()", id="created"),
        pytest.param(BUILT + "    w.create()", id="created inside the with"),
        pytest.param(BUILT + "alias = w\nimport sys\nsys.exit(0)", id="an exit at the very end"),
        pytest.param(
            f"""
def build():
{"    ".join(BUILT.splitlines(keepends=True)).join(("    ", ""))}    return w

if __name__ == "__main__":
    build().create()
""",
            id="under the main guard",
        ),
        pytest.param(
            f"""
def build(count: int = 1) -> Workflow:
{"    ".join(BUILT.splitlines(keepends=True)).join(("    ", ""))}    return w
""",
            id="made by an annotated function",
        ),
    ],
)
def test_each_style_gives_the_same_manifest(compiled: Any, script: str) -> None:
    outcome = compiled(hera(script))
    assert documents(outcome) == [a_workflow()]
    assert findings(outcome) == []


def test_a_name_bound_again_loses_nothing(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        def make(name):
            with Workflow(generate_name=name, entrypoint="c") as w:
                Container(name="c", image="i", command=["x"])
            return w

        for each in ("a-", "b-"):
            w = make(each)
        kept = {"more": [make("c-")]}
        """)
    )
    assert documents(outcome) == [a_workflow("a-"), a_workflow("b-"), a_workflow("c-")]


def test_functions_annotated_to_return_a_list_are_called(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        def make() -> list[Workflow]:
            made = []
            for each in ("a-", "b-"):
                with Workflow(generate_name=each, entrypoint="c") as w:
                    Container(name="c", image="i", command=["x"])
                made.append(w)
            return made

        def needs_more(name: str) -> Workflow:
            raise AssertionError
        """)
    )
    assert documents(outcome) == [a_workflow("a-"), a_workflow("b-")]


@pytest.mark.parametrize("word", ["def", "async def"])
def test_an_entry_may_name_a_function(compiled: Any, word: str) -> None:
    script = hera(f"""
        {word} make(name="z-"):
            with Workflow(generate_name=name, entrypoint="c") as w:
                Container(name="c", image="i", command=["x"])
            return w

        if __name__ == "__main__":
            raise SystemExit(3)
        """)
    assert documents(compiled(script, function="make")) == [a_workflow("z-")]
    missing = compiled(script, function="other")
    assert findings(missing) == [
        f"error compile-failed {PLACE}:None: NameError: {PLACE} defines no function other"
    ]


def test_a_workflow_of_another_experiment_stays_there(compiled: Any) -> None:
    files = {
        PLACE: hera("import other, lib\nfrom other import v\nfrom lib import kept\n" + BUILT),
        "experiments/other.py": hera(BUILT.replace("a-", "other-").replace("w:", "v:")),
        "experiments/lib.py": hera(
            """
            def make(name):
                with Workflow(generate_name=name, entrypoint="c") as w:
                    Container(name="c", image="i", command=["x"])
                return w

            kept = make("kept-")
            make("lost-")
            """
        ),
    }
    outcome = compiled(files, others=("experiments/other.py",))
    assert documents(outcome) == [a_workflow("kept-"), a_workflow()]


def test_a_package_is_run_as_a_module_of_it(compiled: Any) -> None:
    files = {
        "experiments/pkg/__init__.py": "",
        "experiments/pkg/one/__init__.py": "",
        "experiments/pkg/one/run.py": hera("""
            from .environment import NAME
            from ..shared import OTHER
            from sibling import LAST

            @script(constructor="runner", image="i")
            def f(a: int) -> int:
                return a

            if __name__ == "__main__":
                with Workflow(generate_name=NAME + OTHER + LAST, entrypoint="s") as w:
                    with Steps(name="s"):
                        f(arguments={"a": 1})
                w.create()
            """),
        "experiments/pkg/one/environment.py": "NAME = 'n'\n",
        "experiments/pkg/one/sibling.py": "LAST = 'l-'\n",
        "experiments/pkg/shared.py": "OTHER = 'o'\n",
    }
    (document,) = documents(compiled(files, "experiments/pkg/one/run.py"))
    assert document["metadata"] == {"generateName": "nol-"}
    (runner,) = [each for each in document["spec"]["templates"] if "script" in each]
    assert runner["script"]["args"] == ["-m", "hera.workflows.runner", "-e", "pkg.one.run:f"]


def test_what_lies_beside_a_script_is_found_as_its_author_finds_it(compiled: Any) -> None:
    files = {
        "experiments/my-exp.d/test_it.py": hera("""
            import os, sys
            from pathlib import Path
            import sibling
            sys.path.append(os.path.join(os.path.dirname(__file__), "..", "lib"))
            sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deep"))
            import helper, deeper
            name = open("name.txt").read().strip() + sibling.N + helper.N + deeper.N
            with Workflow(generate_name=name, entrypoint="c") as w:
                Container(name="c", image="i", command=["x"])
            w.to_file(".")
            assert Path("x-s-h-d.yaml").exists()
            """),
        "experiments/my-exp.d/name.txt": "x\n",
        "experiments/my-exp.d/sibling.py": "N = '-s'\n",
        "experiments/lib/helper.py": "N = '-h'\n",
        "deep/deeper.py": "N = '-d-'\n",
    }
    outcome = compiled(files, "experiments/my-exp.d/test_it.py")
    assert documents(outcome) == [a_workflow("x-s-h-d-")]
    assert set(outcome.source_files) == set(files)


def test_sources_are_the_authors_own_lines(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        c = Container(name="cc", image="i")
        @script(image="i")
        def f():
            print(1)
        with Workflow(generate_name="a-", entrypoint="s") as w:
            with Steps(name="s") as s:
                Step(name="q", template=c)
                with s.parallel():
                    f(name="r")
            with DAG(name="d"):
                Task(name="t", template=c)
        """)
    )
    (manifest,) = outcome.manifests
    lines = {"": 6, "s": 7, "s/q": 8, "s/r": 10, "cc": 2, "f": 3, "d": 11, "d/t": 12}
    assert manifest.sources == {name: f"{PLACE}:{line}" for name, line in lines.items()}


# --- what is sent --------------------------------------------------------------------------------


def test_what_is_sent_is_recorded_with_each_of_heras_methods(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        from hera.exceptions import AlreadyExists
        from hera.workflows import ClusterWorkflowTemplate
        with Workflow(generate_name="a-", entrypoint="c") as w:
            Container(name="c", image="i")
        w.lint()
        sent = w.create(wait=True)
        print(sent.metadata.name, w.name, sent.status.phase, w.wait(poll_interval=60).status.phase)
        with WorkflowTemplate(name="t", entrypoint="c") as t:
            Container(name="c", image="i")
        try:
            t.create()
        except AlreadyExists:
            t.update()
        with ClusterWorkflowTemplate(name="ct", entrypoint="c") as ct:
            Container(name="c", image="i")
        ct.update()
        with CronWorkflow(name="cr", entrypoint="c", schedules=["0 0 * * *"]) as cr:
            Container(name="c", image="i")
        cr.create()
        cr.update()
        with WorkflowTemplate(name="u", entrypoint="c") as u:
            Container(name="c", image="i")
        u.create_as_workflow(generate_name="uu-", wait=True)
        """)
    )
    assert names(outcome) == [
        "Workflow a-",
        "WorkflowTemplate t",
        "ClusterWorkflowTemplate ct",
        "CronWorkflow cr",
        "Workflow uu-",
    ]
    assert findings(outcome) == []
    assert outcome.log == "a-heraci a-heraci Succeeded Succeeded\n"


def test_the_same_workflow_sent_three_times_is_three_workflows(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        with Workflow(generate_name="a-", entrypoint="c") as w:
            Container(name="c", image="i", command=["x"])
        for each in range(3):
            w.labels = {"number": str(each)}
            w.create()
        """)
    )
    assert documents(outcome) == [a_workflow(labels={"number": str(each)}) for each in range(3)]


def test_an_object_is_recorded_as_it_was_when_it_was_sent(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        from hera.workflows import WorkflowsService
        with Workflow(generate_name="a-", entrypoint="c") as w:
            Container(name="c", image="i", command=["x"])
        model = w.build()
        for each in (0, "1"):
            model.metadata.labels = {"number": each}
            WorkflowsService().create_workflow(m.WorkflowCreateRequest(workflow=model))
        """)
    )
    assert documents(outcome) == [a_workflow(labels={"number": each}) for each in (0, "1")]
    assert findings(outcome) == [f"error wrong-type {PLACE}:3: labels is 0, not str"]


def test_async_methods_are_recorded_too(compiled: Any) -> None:
    pytest.importorskip("httpx", reason="Hera's asynchronous service needs httpx")
    outcome = compiled(
        hera("""
        import asyncio
        from hera.workflows.async_service import AsyncWorkflowsService
        service = AsyncWorkflowsService(host="https://h", token="t")
        def make(name):
            with Workflow(generate_name=name, entrypoint="c", workflows_service=service) as w:
                Container(name="c", image="i", command=["x"])
            return w
        async def main():
            one, two = make("a-"), make("b-")
            await one.async_lint()
            await asyncio.gather(one.async_create(poll_interval=60), two.async_create(wait=False))
            await asyncio.sleep(600)
        asyncio.run(main())
        """)
    )
    assert documents(outcome) == [a_workflow("a-"), a_workflow("b-")]


def test_threads_send_each_their_own(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        from concurrent.futures import ThreadPoolExecutor
        def make(name):
            with Workflow(generate_name=name, entrypoint="c") as w:
                Container(name="c", image="i", command=["x"])
            w.create()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(make, ["a-", "b-", "c-"]))
        """)
    )
    sent = sorted(documents(outcome), key=lambda each: each["metadata"]["generateName"])
    assert sent == [a_workflow("a-"), a_workflow("b-"), a_workflow("c-")]


def test_the_service_may_be_used_by_itself(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import time
        from hera.workflows import WorkflowsService
        with Workflow(generate_name="a-", entrypoint="c", namespace="n") as w:
            Container(name="c", image="i", command=["x"])
        service = WorkflowsService(host="http://localhost:2746", namespace="n")
        model = w.build()
        model.metadata.labels = {"run": "1"}
        names = [each.metadata.name for each in service.list_workflow_templates().items]
        sent = service.create_workflow(m.WorkflowCreateRequest(workflow=model), namespace="n")
        begun = time.time()
        while True:
            time.sleep(60)
            found = service.get_workflow(sent.metadata.name, namespace="n")
            listed = service.list_workflows(namespace="n", label_selector="run=1").items
            if found.status.phase in ("Succeeded", "Failed") and time.time() - begun > 600:
                break
        print(names, [each.metadata.name for each in listed], found.metadata.labels)
        print(list(found.status.nodes.values()), service.get_version().version == "")
        service.delete_workflow("old", namespace="n")
        """)
    )
    assert documents(outcome) == [a_workflow(namespace="n", labels={"run": "1"})]
    assert outcome.log == "[] ['a-heraci'] {'run': '1'}\n[] True\n"
    assert findings(outcome) == [
        f"notice not-sent {PLACE}:20: delete_workflow is not sent while compiling"
    ]


def test_submitting_a_template_of_the_cluster_becomes_a_reference_to_it(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        from hera.workflows import WorkflowsService
        options = m.SubmitOpts(
            parameters=["a=1", "b=x=y"], labels="k=v,l=w", generate_name="g-",
            entry_point="e", service_account="sa",
        )
        asked = m.WorkflowSubmitRequest(
            resource_kind="ClusterWorkflowTemplate", resource_name="t", submit_options=options
        )
        WorkflowsService().submit_workflow(asked, namespace="n")
        """)
    )
    parameters = [{"name": "a", "value": "1"}, {"name": "b", "value": "x=y"}]
    assert documents(outcome) == [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": "g-", "namespace": "n", "labels": {"k": "v", "l": "w"}},
            "spec": {
                "workflowTemplateRef": {"name": "t", "clusterScope": True},
                "arguments": {"parameters": parameters},
                "entrypoint": "e",
                "serviceAccountName": "sa",
            },
        }
    ]


def test_tokens_are_never_asked_for(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        from hera.auth import ArgoCLITokenGenerator
        from hera.shared import global_config
        from hera.workflows import WorkflowsService
        def token():
            raise AssertionError("asked")
        global_config.host, global_config.token = "https://argo.example", token
        print(global_config.token, ArgoCLITokenGenerator()(), WorkflowsService().token)
        """)
        + BUILT
        + "w.create()\n"
    )
    assert documents(outcome) == [a_workflow()]
    assert outcome.log == (
        "heraci-placeholder-token heraci-placeholder-token Bearer heraci-placeholder-token\n"
    )


def test_hooks_and_defaults_of_the_script_count(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        from hera.shared import global_config, register_pre_build_hook
        global_config.namespace = "team"
        global_config.set_class_defaults(Workflow, annotations={"by": "default"})
        @register_pre_build_hook
        def label(w: Workflow) -> Workflow:
            w.labels = {"by": "hook"}
            return w
        """)
        + BUILT
        + "w.create()\n"
    )
    metadata: dict[str, Any] = {
        "namespace": "team",
        "annotations": {"by": "default"},
        "labels": {"by": "hook"},
    }
    assert documents(outcome) == [a_workflow(**metadata)]


def test_what_was_sent_survives_a_later_failure(compiled: Any) -> None:
    outcome = compiled(hera(BUILT + 'w.create()\nraise RuntimeError("later")\n'))
    assert documents(outcome) == [a_workflow()]
    assert findings(outcome) == [
        (
            f"warning compile-failed {PLACE}:5: RuntimeError: later\n"
            "It was submitted before this happened and is kept as it was."
        )
    ]


# --- the cluster ---------------------------------------------------------------------------------


def test_questions_to_the_cluster_become_requirements(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import base64, sys
        from kubernetes import client, config
        from kubernetes.client.rest import ApiException
        config.load_kube_config()
        v1 = client.CoreV1Api()
        try:
            proxy = v1.read_namespaced_config_map("proxy", "lab")
            assert "HTTP_PROXY" in proxy.data
            claim = v1.read_namespaced_persistent_volume_claim(name="data", namespace="lab")
            assert (claim.status.phase, claim.metadata.name) == ("Bound", "data")
            assert "ReadWriteMany" in claim.spec.access_modes
            secret = v1.read_namespaced_secret("cred", "lab")
            base64.b64decode(secret.data["password"]).decode()
            v1.read_namespace("lab")
            for node in v1.list_node().items:
                cpus = int(node.status.capacity["cpu"])
                print(f"{node.metadata.name:5}", cpus, node.status.conditions[-1].type)
            names = [each.metadata.name for each in v1.list_namespaced_config_map("lab").items]
            if "other" not in names:
                sys.exit("other is missing")
        except ApiException:
            sys.exit(1)
        """)
        + BUILT
    )
    assert documents(outcome) == [a_workflow()]
    assert findings(outcome) == []
    assert outcome.log == "heraci-placeholder 64 Ready\n"
    assert needs(outcome) == [
        f"ConfigMap lab/proxy HTTP_PROXY {PLACE}:8",
        f"PersistentVolumeClaim lab/data  {PLACE}:10",
        f"Secret lab/cred password {PLACE}:13",
        f"Namespace /lab  {PLACE}:15",
        f"ConfigMap lab/other  {PLACE}:20",
    ]


def test_the_token_of_a_service_account_is_a_placeholder(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import base64
        from kubernetes import client, config
        config.load_kube_config()
        v1 = client.CoreV1Api()
        name = v1.read_namespaced_service_account("hera", "lab").secrets[0].name
        token = base64.b64decode(v1.read_namespaced_secret(name, "lab").data["token"]).decode()
        print(name, token)
        """)
        + BUILT
    )
    assert needs(outcome) == [f"ServiceAccount lab/hera  {PLACE}:6"]
    assert outcome.log == "heraci-placeholder heraci-placeholder\n"


def test_the_dynamic_client_and_custom_objects_are_answered(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        from kubernetes import client, config, watch
        from kubernetes.dynamic import DynamicClient
        config.load_kube_config()
        maps = DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")
        print(maps.get(name="dynamic", namespace="lab").data.key)
        for event in watch.Watch().stream(client.CoreV1Api().list_namespaced_pod, "lab"):
            print(event["type"], event["object"].status.phase)
        api = client.CustomObjectsApi()
        where = ("argoproj.io", "v1alpha1", "lab")
        found = api.get_namespaced_custom_object(*where, "workflowtemplates", "t")
        print(found["metadata"]["name"], found.get("status", {}).get("phase"))
        with Workflow(generate_name="a-", entrypoint="c") as w:
            Container(name="c", image="i", command=["x"])
        body = w.to_dict()
        body["metadata"]["labels"] = {"k": "v"}
        print(api.create_namespaced_custom_object(*where, "workflows", body)["metadata"]["name"])
        client.CoreV1Api().create_namespaced_config_map("lab", {"metadata": {"name": "x"}})
        """)
    )
    assert documents(outcome) == [a_workflow(labels={"k": "v"})]
    assert needs(outcome) == [
        f"ConfigMap lab/dynamic key {PLACE}:6",
        f"WorkflowTemplate lab/t  {PLACE}:11",
    ]
    assert findings(outcome) == [
        f"notice not-sent {PLACE}:18: create_namespaced_config_map is not sent while compiling"
    ]
    assert outcome.log == "heraci-placeholder\nADDED Running\nt Succeeded\na-heraci\n"


def test_a_placeholder_in_a_manifest_is_an_error(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import os
        with Workflow(
            generate_name="a-", entrypoint="c", namespace=os.environ["ARGO_NAMESPACE"],
            service_account_name=os.environ["ARGO_SERVICE_ACCOUNT"],
        ) as w:
            Container(name="c", image="i", command=["x"])
        w.create()
        with Workflow(generate_name="b-", entrypoint="c") as w:
            Container(name="c", image="i", command=[os.environ["ARGO_TOKEN"]])
        """)
    )
    assert documents(outcome)[0] == a_workflow()
    assert findings(outcome) == [
        (
            f"error placeholder-in-manifest {PLACE}:9: a placeholder that heraci gave instead of a "
            "credential, of a setting that is not set, or of the cluster's answer stands in the "
            "manifest. Refer to a Secret or a ConfigMap instead, or set what the script reads."
        )
    ]


# --- arguments -----------------------------------------------------------------------------------

ARGPARSE = hera("""
    import argparse, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["x", "y"])
    parser.add_argument("--count", "-c", type=int, default=3)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--no-cache", dest="cache", action="store_false")
    parser.add_argument("--color", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--sizes", nargs="+", type=float, default=[1])
    parser.add_argument("--tag", action="append", default=[])
    parser.add_argument("-v", action="count", default=0)
    args = parser.parse_args(sys.argv[1:])
    print(vars(args))
    """)


def test_an_authors_own_parser_gets_what_it_declares(compiled: Any) -> None:
    given = {
        "action": "y",
        "count": "-5",
        "fast": True,
        "cache": False,
        "color": "false",
        "sizes": [2, 3.5],
        "tag": ["a", "b"],
        "v": 2,
        "unknown": "x",
    }
    outcome = compiled(ARGPARSE + BUILT, arguments=given)
    assert outcome.log == (
        "{'action': 'y', 'count': -5, 'fast': True, 'cache': False, 'color': False,"
        " 'sizes': [2.0, 3.5], 'tag': ['a', 'b'], 'v': 2}\n"
    )


def test_a_missing_argument_is_told_with_the_way_to_give_it(compiled: Any) -> None:
    outcome = compiled(ARGPARSE + BUILT)
    assert findings(outcome) == [
        (
            f"error compile-failed {PLACE}:12: the script's own parser refused its command line: "
            "the following arguments are required: action. Its arguments are set in heraci.toml, "
            "under [experiments.it.arguments], or by --set; argv is the whole command line.\n"
            "It printed last:\n"
            "  usage: it.py [-h] [--count COUNT] [--fast] [--no-cache] [--color | --no-color]\n"
            "               [--sizes SIZES [SIZES ...]] [--tag TAG] [-v]\n"
            "               {x,y}\n"
            "  it.py: error: the following arguments are required: action"
        )
    ]


def test_subcommands_and_the_whole_command_line(compiled: Any) -> None:
    script = hera("""
        import argparse, sys
        parser = argparse.ArgumentParser()
        inside = parser.add_subparsers(dest="command")
        run = inside.add_parser("run")
        run.add_argument("--count", type=int, default=1)
        print(sys.argv[1:], vars(parser.parse_args()))
        """)
    outcome = compiled(script + BUILT, arguments={"command": "run", "count": 7})
    assert outcome.log == "[] {'command': 'run', 'count': 7}\n"
    outcome = compiled(script + BUILT, arguments={"argv": "run --count 8"})
    assert outcome.log == "['run', '--count', '8'] {'command': 'run', 'count': 8}\n"


def test_a_shared_hera_config_may_hold_keys_of_other_scripts(compiled: Any) -> None:
    files = {
        PLACE: hera("""
            import configargparse
            parser = configargparse.ArgParser(default_config_files=["hera.config"])
            parser.add("--claim")
            parser.add("--other", env_var="OTHER")
            print(vars(parser.parse_args()))
            """)
        + BUILT,
        "experiments/hera.config": "claim = 'mine'\nnot_declared = 1\n",
    }
    assert compiled(files).log == "{'claim': 'mine', 'other': None}\n"
    given = compiled(files, arguments={"claim": "set"}, environ={"OTHER": "told"})
    assert given.log == "{'claim': 'set', 'other': 'told'}\n"


# --- the world outside ---------------------------------------------------------------------------


def test_what_is_drawn_at_random_is_drawn_again(compiled: Any) -> None:
    script = hera("""
        import os, random, secrets, uuid
        from hera.workflows import Volume
        random.seed()
        drawn = [
            uuid.uuid4(), uuid.uuid1(), random.random(), random.Random().random(), os.urandom(3),
            random.SystemRandom().random(), secrets.token_hex(4), random.choices("abc", k=5),
        ]
        with Workflow(generate_name="a-", entrypoint="c", labels={"drawn": repr(drawn)}) as w:
            Container(name="c", image="i", volumes=[Volume(size="1Gi", mount_path="/v")])
        """)
    first, again = compiled(script), compiled(script)
    assert documents(first) == documents(again)
    assert documents(compiled(script, name="another")) != documents(first)
    free = [documents(compiled(script, pin_randomness=False)) for _ in range(2)]
    assert free[0] != free[1]


def test_the_time_of_day_in_a_manifest_is_told(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import time
        with Workflow(name=time.strftime("a-%Y%m%d"), entrypoint="c") as w:
            Container(name="c", image="i")
        with Workflow(name=f"b-{int(time.time())}", entrypoint="c") as w:
            Container(name="c", image="i")
        """)
    )
    assert names(outcome) == ["Workflow a-20010203", "Workflow b-981173106"]
    assert findings(outcome) == [
        f"warning time-in-manifest {PLACE}:{line}: the manifest holds the time at which it was "
        f"compiled ({told}), and the clock of a script is the same in each compilation, so it is "
        "not the day. heraci names what it submits by the commit; the time of the run is "
        "{{workflow.creationTimestamp}}."
        for line, told in ((3, "20010203"), (5, "981173106"))
    ]


def test_a_script_that_asks_gets_the_answer_that_goes_on(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import getpass
        name = input("Name? ") or "a-"
        getpass.getpass()
        with Workflow(generate_name=name, entrypoint="c") as w:
            Container(name="c", image="i", command=["x"])
        if input("Submit? [y/N] ") == "y":
            w.create()
            print("created")
        """)
    )
    assert documents(outcome) == [a_workflow()]
    assert outcome.log == "Name? \nSubmit? [y/N] \ncreated\n"
    assert findings(outcome) == [
        f"notice input {PLACE}:3: asks 'Name? ' on the terminal; while compiling, the answer is ''",
        (
            f"notice input {PLACE}:7: asks 'Submit? [y/N] ' on the terminal; while compiling, the "
            "answer is 'y'"
        ),
    ]


def test_programs_that_talk_to_a_cluster_are_not_started(compiled: Any) -> None:
    outcome = compiled(
        hera(BUILT)
        + dedent("""
        import subprocess
        w.to_file(".", name="out")
        subprocess.run(["argo", "submit", "out.yaml"], check=True)
        print(subprocess.check_output("argo auth token", shell=True, text=True).strip())
        """)
    )
    assert documents(outcome) == [a_workflow()]
    assert outcome.log == "heraci-placeholder-token\n"
    assert findings(outcome) == [
        f"notice not-sent {PLACE}:7: argo submit out.yaml is not started while compiling",
        f"notice not-sent {PLACE}:8: argo auth token is not started while compiling",
    ]


def test_the_network_is_refused_with_the_line_that_tried_it(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import urllib.request
        try:
            urllib.request.urlopen("http://example.org/data.json")
        except OSError as error:
            print(error)
        """)
        + BUILT
    )
    assert documents(outcome) == [a_workflow()]
    assert findings(outcome) == [
        (
            f"error network-refused {PLACE}:4: tried to reach example.org while compiling. Read "
            "what it needs from a file of the repository, or set allow-network = true for this "
            "experiment in heraci.toml."
        )
    ]


def test_a_pool_of_processes_works(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import multiprocessing, pickle
        from dataclasses import dataclass
        @dataclass
        class Size:
            value: int
        def square(x):
            return Size(x * x)
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print([each.value for each in pool.map(square, [1, 2, 3])])
            print(pickle.loads(pickle.dumps(Size(2))))
        """)
        + BUILT
    )
    assert documents(outcome) == [a_workflow()]
    assert outcome.log == "[1, 4, 9]\nSize(value=2)\n"


SENT = """
with Workflow(generate_name=f"{{name}}-", entrypoint="c", namespace="argo") as w:
    Container(name="c", image="i", command=["x"])
w.create()
"""
# Each sends the workflows a- and b-, from other processes or after its own end.
INDIRECT = {
    "pool": """
        import multiprocessing
        def go(name):
            {sent}
            return name
        if __name__ == "__main__":
            with multiprocessing.get_context("{how}").Pool(2) as pool:
                print(pool.map(go, ["b", "a"]))
        """,
    "executor": """
        from concurrent.futures import ProcessPoolExecutor
        def go(name):
            {sent}
        if __name__ == "__main__":
            with ProcessPoolExecutor(2) as pool:
                list(pool.map(go, ["b", "a"]))
        """,
    "python": """
        import subprocess, sys
        subprocess.run([sys.executable, "send.py", "a"], check=True, env={{}})
        subprocess.run("python send.py b", shell=True, check=True)
        """,
    "system": """
        import os
        assert os.system("python3 send.py a && python send.py b") == 0
        """,
    "threads": """
        import threading
        def go(name):
            {sent}
        for each in "ab":
            threading.Thread(target=go, args=each).start()
        """,
    "exit": """
        import atexit
        def go(name):
            {sent}
        atexit.register(go, "b")
        atexit.register(go, "a")
        """,
}
SEND = hera("import sys\nname = sys.argv[1]\n" + SENT.format().strip("\n"))


@pytest.mark.parametrize(
    ("kind", "how"),
    [*((kind, "fork") for kind in INDIRECT), ("pool", "spawn"), ("pool", "forkserver")],
)
def test_what_other_processes_send_is_recorded(compiled: Any, kind: str, how: str) -> None:
    script = dedent(INDIRECT[kind])
    sent = indent(SENT.format().strip("\n"), "    ").lstrip()
    files = {PLACE: hera(script.format(sent=sent, how=how)), "experiments/send.py": SEND}
    outcome = compiled(files)
    assert sorted(names(outcome)) == ["Workflow a-", "Workflow b-"]
    assert [each for each in outcome.findings if each.rule != "no-workflow"] == []
    assert [each.digest for each in compiled(files).manifests] == [
        each.digest for each in outcome.manifests
    ]


def test_a_python_that_a_script_starts_reaches_nothing(compiled: Any) -> None:
    files = {
        PLACE: hera(
            "import subprocess, sys\nsubprocess.run([sys.executable, 'up.py'], check=True)\n"
        )
        + BUILT,
        "experiments/up.py": (
            "import socket\ntry:\n    socket.create_connection(('example.org', 80))\n"
            "except OSError as error:\n    print(error)\n"
        ),
    }
    outcome = compiled(files)
    assert documents(outcome) == [a_workflow()]
    assert [(each.rule, each.file, each.line) for each in outcome.findings] == [
        ("network-refused", "experiments/up.py", 3)
    ]


def test_shells_find_stand_ins_for_the_clusters_programs(compiled: Any) -> None:
    files = {
        PLACE: hera("""
            import os, subprocess
            os.system("true; argo submit --watch 'a b.yaml'")
            subprocess.run(["sh", "deploy.sh"], check=True)
            print(os.popen("/usr/local/bin/argo auth token; kubectl get pods -o json").read())
            """)
        + BUILT,
        "experiments/deploy.sh": "kubectl apply -f x && helm list\n",
    }
    outcome = compiled(files)
    assert documents(outcome) == [a_workflow()]
    assert outcome.log == "heraci-placeholder-token\n{}\n\n"
    assert findings(outcome) == [
        f"notice not-sent {PLACE}:{line}: {told} is not started while compiling"
        for line, told in (
            (3, "argo submit --watch a b.yaml"),
            (4, "helm list"),
            (4, "kubectl apply -f x"),
            (5, "argo auth token"),
            (5, "kubectl get pods -o json"),
        )
    ]


@pytest.mark.parametrize(
    "asked",
    [
        "subprocess.check_output(['git', 'rev-parse', 'HEAD'], text=True).strip()",
        "subprocess.getoutput('git -C .. rev-parse --short HEAD')",
        "subprocess.getoutput('git describe --always --dirty')",
        "subprocess.getoutput('git log -1 --pretty=format:%h')",
        "os.popen('git rev-parse HEAD').read().strip()",
    ],
)
def test_git_answers_with_the_commits_marker(compiled: Any, asked: str) -> None:
    script = hera(f"""
        import os, subprocess
        assert not subprocess.check_output(["git", "status", "--porcelain"])
        root = subprocess.getoutput("git rev-parse --show-toplevel")
        assert os.path.exists(os.path.join(root, "experiments/it.py"))
        sha = {asked}
        with Workflow(generate_name="a-", entrypoint="c", labels={{"git": sha}}) as w:
            Container(name="c", image="i", command=["x"])
        """)
    outcome = compiled(script)
    assert documents(outcome) == [a_workflow(labels={"git": COMMIT})]
    assert findings(outcome) == []
    piece = compiled(script.replace('"git": sha}', '"git": sha[:7]}'))
    assert [(each.rule, each.line) for each in piece.findings] == [("piece-of-the-commit", 7)]


def test_git_says_what_it_does_not_know(compiled: Any) -> None:
    outcome = compiled(
        hera("import subprocess\nsubprocess.run(['git', 'log', '--oneline'], check=True)\n" + BUILT)
    )
    (finding,) = outcome.findings
    assert finding.line == 3
    assert "while heraci compiles, the repository has no history and no remote" in finding.message


def test_a_script_meets_the_same_person_and_machine_everywhere(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import getpass, os, platform, pwd, socket
        print(getpass.getuser(), os.getlogin(), os.environ["USER"], pwd.getpwuid(os.getuid()).pw_name)
        print(socket.gethostname(), platform.node(), os.uname().nodename)
        """)
        + BUILT
    )
    assert documents(outcome) == [a_workflow()]
    assert outcome.log == "heraci heraci heraci heraci\nheraci heraci heraci\n"


def test_the_clock_is_the_same_and_goes_on(compiled: Any) -> None:
    script = hera("""
        import datetime, time
        from datetime import date, datetime as d
        first = [d.now(), d.utcnow(), d.now(datetime.timezone.utc), d.today(), date.today()]
        first += [time.time(), time.ctime(), time.strftime("%c"), time.localtime()[:5]]
        assert first[0] < first[1] < d.now() and isinstance(first[0], d)
        until = d.now() + datetime.timedelta(hours=8)
        while d.now() < until:
            time.sleep(60)
        until = time.time() + 3600
        while time.time() < until:
            pass
        print(first, d.now(), time.time_ns())
        """)
    script += BUILT
    outcome = compiled(script)
    assert findings(outcome) == []
    assert outcome.log.startswith("[datetime.datetime(2001, 2, 3, 4, 5, 6")
    assert compiled(script).log == outcome.log
    free = compiled(script, pin_randomness=False)
    assert documents(free) == documents(outcome)
    assert "datetime.datetime(2001" not in free.log


@pytest.mark.parametrize(
    "opened",
    ["~/.argo-token", "token.txt", "secrets/argo_token", "~/.config/lab/credentials"],
)
def test_a_credential_that_is_read_from_a_file_is_a_placeholder(compiled: Any, opened: str) -> None:
    outcome = compiled(
        hera(f"""
        from pathlib import Path
        print(Path({opened!r}).expanduser().read_text().strip())
        """)
        + BUILT
    )
    assert documents(outcome) == [a_workflow()]
    assert outcome.log == "heraci-placeholder-token\n"
    place = opened if opened.startswith("~") else f"experiments/{opened}"
    assert findings(outcome) == [
        (
            f"notice placeholder {PLACE}:3: reads {place}, which is not there while compiling: it "
            "gets a placeholder"
        )
    ]


def test_what_is_sent_by_hand_is_recorded(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import json, requests, urllib.request
        URL = "https://argo.example.org/api/v1/workflows/lab"
        """)
        + BUILT
        + dedent("""
        body = {"workflow": {"metadata": {"generateName": "b-"}, "spec": w.to_dict()["spec"]}}
        made = requests.post(URL, json=body, headers={"Authorization": "Bearer x"}, verify=False)
        made.raise_for_status()
        name = made.json()["metadata"]["name"]
        print(name, requests.get(f"{URL}/{name}").json()["status"]["phase"])
        asked = urllib.request.Request(URL, data=json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(asked) as answer:
            print(answer.status, json.load(answer)["metadata"]["name"])
        requests.post(URL + "/submit", json={
            "resourceKind": "WorkflowTemplate", "resourceName": "t",
            "submitOptions": {"parameters": ["p=1"], "entryPoint": "e"},
        })
        requests.delete(URL + "/old")
        """)
    )
    assert names(outcome) == ["Workflow a-", "Workflow b-", "Workflow t-"]
    assert outcome.log == "b-heraci Succeeded\n200 b-heraci\n"
    assert documents(outcome)[1] == a_workflow("b-")
    assert documents(outcome)[2]["spec"] == {
        "workflowTemplateRef": {"name": "t"},
        "arguments": {"parameters": [{"name": "p", "value": "1"}]},
        "entrypoint": "e",
    }
    assert findings(outcome) == [
        f"notice not-sent {PLACE}:19: DELETE Workflow lab old is not sent while compiling"
    ]


def test_models_are_named_as_argo_names_them(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        from hera.workflows import WorkflowsService
        class Study(Workflow):
            pass
        with Study(generate_name="a-", entrypoint="c") as w:
            Container(name="c", image="i", command=["x"])
        template = m.Template(name="c", container=m.Container(image="i", command=["x"]))
        spec = m.WorkflowSpec(entrypoint="c", templates=[template])
        made = m.Workflow(metadata=m.ObjectMeta(generate_name="b-"), spec=spec)
        request = m.WorkflowCreateRequest(workflow=made)
        WorkflowsService(host="https://x", token="t").create_workflow(request, namespace="n")
        """)
    )
    assert documents(outcome) == [a_workflow(), a_workflow("b-")]
    assert findings(outcome) == []


# Each reads something in another folder than its own, or as a module that it is not.
ELSEWHERE = {
    "opened": "open('data/x.csv').read()",
    "asked": "__import__('os').path.exists('data/x.csv') or exit('no data')",
    "listed": "__import__('os').listdir('data')",
    "globbed": "__import__('glob').glob('data/*.csv')[0]",
    "between": "open('deep/y.txt').read()",
    "own": "open('y.txt').read()",
    "changed": "__import__('os').chdir('../../data') or open('x.csv').read()",
}


@pytest.mark.parametrize("how", ELSEWHERE)
@pytest.mark.parametrize("whole", [True, False])
def test_a_script_runs_in_the_folder_that_its_author_runs_it_in(
    compiled: Any, how: str, whole: bool
) -> None:
    path = "experiments/deep/it.py"
    files = {
        path: hera(ELSEWHERE[how] + "\n" + BUILT),
        "experiments/deep/y.txt": "y",
        "data/x.csv": "x",
    }
    outcome = compiled(files, path=path, whole_tree=whole)
    assert documents(outcome) == [a_workflow()]
    assert findings(outcome) == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_relative_import_needs_no_package(compiled: Any, whole: bool) -> None:
    path = "experiments/deep/it.py"
    files = {
        path: hera("from .names import A\nfrom ..names import B\nassert A + B == 'ab'\n" + BUILT),
        "experiments/deep/names.py": "A = 'a'\n",
        "experiments/names.py": "B = 'b'\n",
    }
    assert documents(compiled(files, path=path, whole_tree=whole)) == [a_workflow()]


# --- what Hera loses without a word --------------------------------------------------------------


def test_unknown_fields_are_found_at_every_depth(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        with Workflow(generate_name="a-", entrypoint="c", pod_gc=m.PodGC(strtegy="x")) as w:
            Container(name="c", image="i", resources=m.ResourceRequirements(limits={"cpu": "1"}))
        w.templates.append(
            m.Template(name="z", container=m.Container(image="i", resources={"limts": {}}))
        )
        y = Workflow.from_yaml('''
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {generateName: y-}
        spec:
          entrypont: c
          templates: [{name: c, container: {image: i, args: [a], imge: j}}]
        ''')
        """)
    )
    assert names(outcome) == ["Workflow a-", "Workflow y-"]
    said = "has no field {}: Hera drops it without a word. Did you mean {}?"
    assert findings(outcome) == [
        f"error unknown-field {PLACE}:2: PodGC {said.format('strtegy', 'strategy')}",
        f"error unknown-field {PLACE}:5: ResourceRequirements {said.format('limts', 'limits')}",
        f"error unknown-field {PLACE}:7: WorkflowSpec {said.format('entrypont', 'entrypoint')}",
        f"error unknown-field {PLACE}:7: Container {said.format('imge', 'image')}",
    ]


def test_templates_that_share_a_name_are_found(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        @script(image="i", name="same")
        def one():
            print(1)
        @script(image="i", name="same")
        def two():
            print(2)
        with Workflow(generate_name="a-", entrypoint="s") as w:
            with Steps(name="s"):
                one(name="x")
                two(name="y")
                one(name="z")
            Container(name="cc", image="i")
            Container(name="cc", image="j")
        """)
    )
    assert findings(outcome) == [
        (
            f"error template-dropped {PLACE}:5: a second template named same: Hera keeps the first "
            "and drops this one. Give it another name."
        ),
        f"error template-name-twice {PLACE}:14: two templates are named cc",
    ]


def test_wrong_types_and_names_that_no_pod_has_are_found(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import math
        LIMIT = 3
        @script(image="i")
        def f(a: int = 1):
            import os
            print(a, os.sep, [x for x in range(3)])
            print(LIMIT, math.pi)
        with Workflow(generate_name="a-", entrypoint="f", labels={"x": 1}) as w:
            f()
        """)
    )
    said = (
        "the script f uses {}, which will not exist in the pod: only the function's body travels. "
        "Import or define it inside the function."
    )
    assert findings(outcome) == [
        f"error wrong-type {PLACE}:9: labels is 1, not str",
        f"error name-not-in-pod {PLACE}:8: {said.format('LIMIT')}",
        f"error name-not-in-pod {PLACE}:8: {said.format('math')}",
    ]


def test_a_path_of_this_machine_is_shown_alike_on_all(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        import os
        with Workflow(generate_name="a-", entrypoint="c") as w:
            Container(name="c", image="i", command=[os.path.abspath("x")])
        """)
    )
    (document,) = documents(outcome)
    command = document["spec"]["templates"][0]["container"]["command"]
    assert command == ["/heraci-repository/experiments/x"]
    assert [each.rule for each in outcome.findings] == ["path-of-this-machine"]


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "line", "message"),
    [
        ("def f(:\n", 1, "SyntaxError: "),
        ("import no_such_package_at_all\n", 1, "no module named no_such_package_at_all. "),
        ("def f():\n    f()\nf()\n", 2, "RecursionError: maximum recursion depth exceeded"),
        ("import sys\nprint('Unsupported')\nsys.exit()\n" + hera(BUILT), 3, "exit code 0 before"),
        (hera(BUILT + "import sys\nsys.exit('no cluster')"), 5, "ended itself: no cluster"),
        (hera(BUILT + "    import sys\n    sys.exit()"), 5, "exit code 0 before"),
        ("import os\nos.environ['IMAGE']\n", 2, "the variable IMAGE is not there. Set it where"),
        ("import os\nos.getenv('IMAGE') + ':1'\n", 2, "variables that are not there: IMAGE. Set"),
        ("import sys\nsys.argv[1]\n", 2, "given no arguments. Its arguments are set in heraci"),
        ("import sys\nif not sys.argv[1:]:\n    sys.exit()\n", 3, "[experiments.it.arguments]"),
        ("import socket\nsocket.create_connection(('x.org', 1))\n", 2, "It tried to reach x.org"),
        ("open('/nowhere/at/all')\n", 1, "No such file or directory: '/nowhere/at/all'"),
        ("import os\nopen(os.path.expanduser('~/x'))\n", 2, "No such file or directory: '~/x'"),
        (hera("with Workflow(name='\\ud800') as w:\n    Container(name='c')"), 2, "surrogates"),
        (hera(BUILT + "w.to_dict = lambda: {'spec': {'templates': [float('nan')]}}"), 2, "float"),
        (
            hera(BUILT + "x = []\nx.append(x)\nw.to_dict = lambda: {'spec': {'templates': x}}"),
            2,
            "Circ",
        ),
        (
            "from __future__ import annotations\n"
            + hera(
                "@script(image='i')\ndef f(x: int | None): ...\n\nwith Workflow() as w:\n    f()"
            ),
            6,
            "leave that line out",
        ),
    ],
)
def test_a_failure_is_one_finding_at_the_authors_line(
    compiled: Any, script: str, line: int, message: str
) -> None:
    outcome = compiled(script)
    (finding,) = outcome.findings
    assert (finding.rule, finding.severity, finding.line) == (
        "compile-failed",
        Severity.ERROR,
        line,
    )
    assert message in finding.message
    assert outcome.failed
    assert outcome.manifests == ()


def test_a_workflow_without_templates_is_left_out(compiled: Any) -> None:
    outcome = compiled(hera("w = Workflow(generate_name='a-')\n"))
    assert findings(outcome)[0] == (
        f"notice empty-workflow {PLACE}:2: a workflow without templates is left out"
    )


def test_many_tasks_and_many_templates(compiled: Any) -> None:
    outcome = compiled(
        hera("""
        with Workflow(generate_name="a-", entrypoint="d") as w:
            each = [Container(name=f"c{n}", image="i") for n in range(1157)]
            with DAG(name="d"):
                tasks = [Task(name=f"t{n}", template=one) for n, one in enumerate(each)]
                for before, after in zip(tasks, tasks[1:]):
                    before >> after
        """)
    )
    (document,) = documents(outcome)
    assert len(document["spec"]["templates"]) == 1158
    assert findings(outcome) == []
