"""One set of scripts beside each Hera that research groups pin, in environments made by uv."""

from __future__ import annotations

import os
from typing import Any

import pytest

from heraci.compile.values import Outcome, Request
from heraci.compile_worker import PLACEHOLDER_TOKEN
from tests.compiling import compiler, findings, hera, names, needs, request

# Read here, for a test's own environ is made anew.
IN_CI = bool(os.environ.get("CI"))
HOME = os.environ.get("HOME", "")
UNREACHABLE = ("dns error", "error sending request", "Failed to fetch", "client error (Connect)")
BUILT = """\
with Workflow(generate_name="a-", entrypoint="c") as w:
    Container(name="c", image="i", command=["x"])
"""
MANIFEST = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"generateName": "a-"},
    "spec": {
        "entrypoint": "c",
        "templates": [{"name": "c", "container": {"image": "i", "command": ["x"]}}],
    },
}

STYLES = {
    "built": hera(BUILT) + "import sys\nif sys.argv[1:] == ['--send']:\n    w.create()\n",
    "created": hera("""
        import sys
        from hera.shared import global_config
        def token():
            raise AssertionError("asked")
        global_config.host, global_config.token = "https://argo.example", token
        def main():
            with Workflow(generate_name="a-", entrypoint="c") as w:
                Container(name="c", image="i", command=["x"])
            sent = w.create()
            print(global_config.token, sent.metadata.name, sent.status.phase, w.name)
        if __name__ == "__main__":
            sys.exit(main())
        """),
    "sent": hera("""
        import time
        from hera.workflows import WorkflowsService
        with Workflow(generate_name="a-", entrypoint="c") as w:
            Container(name="c", image="i", command=["x"])
        service = WorkflowsService(host="https://argo.example", token="t", namespace="n")
        request = m.WorkflowCreateRequest(workflow=w.build())
        name = service.create_workflow(request, namespace="n").metadata.name
        while service.get_workflow(name, namespace="n").status.phase == "Running":
            time.sleep(60)
        """),
    "factory": hera("""
        def make() -> Workflow:
            with Workflow(generate_name="a-", entrypoint="c") as w:
                Container(name="c", image="i", command=["x"])
            return w
        """),
    "waited": hera(BUILT + "w.lint()\nw.create(wait=True)\n"),
    "pooled": hera("""
        from multiprocessing import get_context
        def go(prefix):
            with Workflow(generate_name=prefix, entrypoint="c") as w:
                Container(name="c", image="i", command=["x"])
            w.create()
        if __name__ == "__main__":
            with get_context("spawn").Pool(1) as pool:
                pool.map(go, ["a-"])
        """),
    "started": "import subprocess, sys\nsubprocess.run([sys.executable, 'built.py', '--send'])\n",
    "timed": hera("""
        import datetime, os, subprocess, time
        end = datetime.datetime.now() + datetime.timedelta(days=1)
        while datetime.datetime.now() < end:
            time.sleep(600)
        assert (end.year, time.localtime(0).tm_year, os.uname()[1]) == (2001, 1970, "heraci")
        sha = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
        assert len(sha) == 40
        """)
    + BUILT,
}


def requests(version: str, python: str, more: tuple[str, ...]) -> list[Request]:
    """Make the requests to compile all scripts with one version."""
    declared = "\n".join([f"hera[yaml]=={version}", "ConfigArgParse", *more])
    options: dict[str, Any] = {"dependencies": "requirements.txt", "python": python}
    made = []
    asked = scripts(version)
    if "kubernetes" not in more:  # a thousand modules, which take longer than all else
        del asked["cluster"]
    for name, script in {**STYLES, **asked}.items():
        path = f"experiments/pkg/{name}.py"
        files = {path: script, "experiments/pkg/__init__.py": "", "requirements.txt": declared}
        files.setdefault("experiments/pkg/built.py", STYLES["built"])
        made.append(request(files, path, name=name, **options))
    return made


def scripts(version: str) -> dict[str, str]:
    """Give the scripts whose outcome is looked at one by one."""
    return {
        "pinned": hera(f"""
            import sys
            from hera._version import version
            if version != {version!r}:
                print("Unsupported Hera version")
                sys.exit()
            """)
        + BUILT,
        "tasks": hera("""
            @script(image="i")
            def f(x):
                print(x)
            with Workflow(generate_name="a-", entrypoint="d") as w:
                with DAG(name="d"):
                    first = f(name="one", arguments={"x": "1"})
                    first >> f(name="two", arguments={"x": first.result})
            """),
        "others": hera("""
            from hera.exceptions import AlreadyExists
            with WorkflowTemplate(name="t", entrypoint="c") as t:
                Container(name="c", image="i")
            try:
                t.create()
            except AlreadyExists:
                t.update()
            with CronWorkflow(name="cr", entrypoint="c", schedule="0 0 * * *") as cr:
                Container(name="c", image="i")
            cr.create()
            """),
        "runner": hera("""
            from hera.shared import global_config
            global_config.experimental_features["script_runner"] = True
            @script(constructor="runner", image="i")
            def f(a: int):
                print(a)
            if __name__ == "__main__":
                with Workflow(generate_name="a-", entrypoint="s") as w:
                    with Steps(name="s"):
                        f(arguments={"a": "1"})
                w.create()
            """),
        "cluster": hera("""
            import base64
            from kubernetes import client, config
            config.load_kube_config()
            v1 = client.CoreV1Api()
            account = v1.read_namespaced_service_account("hera", "lab")
            data = v1.read_namespaced_secret(account.secrets[0].name, "lab").data
            base64.b64decode(data["token"]).decode()
            v1.read_namespaced_config_map(name="proxy", namespace="lab").data["HTTP_PROXY"]
            """)
        + BUILT,
        "parsed": hera("""
            import configargparse
            parser = configargparse.ArgParser(default_config_files=["hera.config"])
            parser.add("--argo_namespace")
            print(parser.parse_args())
            """)
        + BUILT,
        "misspelt": hera("""
            with Workflow(generate_name="a-", entrypoint="c", pod_gc=m.PodGC(strtegy="x")) as w:
                Container(name="c", image="i")
            """),
        "retired": hera("""
            with Workflow(generate_name="a-", entrypoint="c") as w:
                Container(name="c", image="i")
            limits = {"cpu": m.Quantity(__root__="1")}
            box = m.Container(image="i", resources=m.ResourceRequirements(limits=limits))
            w.templates.append(m.Template(name="z", container=box))
            """),
    }


@pytest.mark.parametrize(
    ("version", "python", "more"),
    [
        pytest.param("5.6.0", ">=3.9,<3.13", ("pydantic<2",), id="5.6"),
        pytest.param("5.16.3", ">=3.9,<3.13", (), id="5.16"),
        pytest.param("5.24.0", "3.9", (), id="5.24-on-3.9"),
        pytest.param("6.0.0", ">=3.10,<3.14", (), id="6.0"),
        pytest.param("7.0.0", ">=3.10,<3.14", (), id="7.0"),
        pytest.param("7.1.0", ">=3.10,<3.14", ("hera[async-client]", "kubernetes"), id="7.1"),
    ],
)
def test_scripts_compile_beside_each_hera(version: str, python: str, more: tuple[str, ...]) -> None:
    with compiler(environ={**os.environ, "HOME": HOME}, offline=False) as made:
        outcomes = {asked.name: it for asked, it in made.compile(requests(version, python, more))}
    _skip_without_index(outcomes["built"])
    for name in outcomes.keys() & {*STYLES, "pinned", "cluster", "parsed"}:
        assert [each.document for each in outcomes[name].manifests] == [MANIFEST], name
        assert findings(outcomes[name]) == [], name
        assert outcomes[name].hera == version
    assert outcomes["created"].log == f"{PLACEHOLDER_TOKEN} a-heraci Succeeded a-heraci\n"
    if "kubernetes" in more:
        assert needs(outcomes["cluster"]) == [
            "ServiceAccount lab/hera  experiments/pkg/cluster.py:6",
            "ConfigMap lab/proxy HTTP_PROXY experiments/pkg/cluster.py:9",
        ]
    _check_tasks(outcomes["tasks"])
    assert names(outcomes["others"]) == ["WorkflowTemplate t", "CronWorkflow cr"]
    (runner,) = outcomes["runner"].manifests
    (template,) = [each for each in runner.document["spec"]["templates"] if "script" in each]
    assert template["script"]["args"][-2:] == ["-e", "pkg.runner:f"]
    (misspelt,) = findings(outcomes["misspelt"])
    assert misspelt.startswith("error unknown-field experiments/pkg/misspelt.py:2: PodGC has no ")
    assert outcomes["retired"].failed == (version >= "6")


def _skip_without_index(outcome: Outcome) -> None:
    said = "\n".join(each.message for each in outcome.findings if each.rule == "dependencies")
    if "No interpreter found" in said:
        pytest.skip("this machine has no such Python")
    if any(each in said for each in UNREACHABLE) and not IN_CI:
        pytest.skip("no package index can be reached")


def _check_tasks(outcome: Outcome) -> None:
    (manifest,) = outcome.manifests
    templates = {each["name"]: each for each in manifest.document["spec"]["templates"]}
    script = templates["f"]["script"]
    assert "print(x)" in script["source"]
    assert templates["d"]["dag"]["tasks"] == [
        {"name": "one", "template": "f", "arguments": _arguments("1")},
        {
            "name": "two",
            "depends": "one",
            "template": "f",
            "arguments": _arguments("{{tasks.one.outputs.result}}"),
        },
    ]
    place = "experiments/pkg/tasks.py"
    assert manifest.sources == {
        "": f"{place}:5",
        "f": f"{place}:2",
        "d": f"{place}:6",
        "d/one": f"{place}:7",
        "d/two": f"{place}:8",
    }


def _arguments(value: str) -> dict[str, Any]:
    return {"parameters": [{"name": "x", "value": value}]}
