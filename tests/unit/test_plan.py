"""What merging starts: names, pods, requests and the longest path."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from heraci.bundle import Manifest
from heraci.comparison import Amount, Count, Starts
from heraci.naming import workflow_name
from heraci.plan import object_name, plan, quantity
from tests.reviews import arguments, dag, manifest, script, steps, task, workflow


def count(least: int, most: int | None = -1) -> Count:
    return Count(least=least, most=least if most == -1 else most)


def pods(*templates: dict[str, Any], others: tuple[Manifest, ...] = (), **spec: Any) -> Count:
    return plan(workflow(*templates, **spec), "x", others).pods


def many(**loop: Any) -> Count:
    """How many pods a loop around one pod makes."""
    return pods(dag("main", task("run", **loop)), script())


INPUT: Any = {"inputs": {"parameters": [{"name": "n"}]}}


# Loops


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ({}, count(1)),
        ({"withItems": [1, 2, 3]}, count(3)),
        ({"withItems": [{"a": 1}, {"a": 2}]}, count(2)),
        ({"withItems": []}, count(1)),  # Argo takes an empty list for no loop
        ({"withParam": "[1, 2]"}, count(2)),
        ({"withParam": "[]"}, count(0)),
        ({"withParam": "{{tasks.list.outputs.result}}"}, count(0, None)),
        ({"withParam": "not JSON"}, count(0, None)),
        ({"withParam": '{"a": 1}'}, count(0, None)),
        ({"withSequence": {"count": "5"}}, count(5)),
        ({"withSequence": {"count": 5}}, count(5)),
        ({"withSequence": {"count": "0"}}, count(0)),
        ({"withSequence": {"start": "2", "end": "4"}}, count(3)),
        ({"withSequence": {"start": "4", "end": "2"}}, count(3)),
        ({"withSequence": {"end": "4"}}, count(5)),
        ({"withSequence": {"count": "{{tasks.a.outputs.result}}"}}, count(0, None)),
        ({"withSequence": {"count": "many"}}, count(0, None)),
        ({"withSequence": {"count": "900000"}}, count(0, None)),
        ({"withItems": [1, 2], "when": "{{item}} == 1"}, count(0, 2)),
    ],
)
def test_a_loop_makes_as_many_pods_as_it_has_items(loop, expected):
    assert many(**loop) == expected


def test_loops_inside_of_loops_multiply():
    inner = dag("inner", task("b", withItems=[1, 2, 3]))
    assert pods(dag("main", task("a", "inner", withItems=[1, 2])), inner, script()) == count(6)


def test_a_loop_may_take_its_items_from_the_workflows_parameters():
    given = arguments(xs="[1, 2, 3]", n=2)
    looped = task("run", withParam="{{workflow.parameters.xs}}")
    counted = task("more", withSequence={"count": "{{ workflow.parameters.n }}"})
    assert pods(dag("main", looped, counted), script(), arguments=given) == count(5)


def test_a_loop_may_take_its_items_from_what_its_template_was_given():
    inner = dag("inner", task("run", withSequence={"count": "{{inputs.parameters.n}}"})) | INPUT
    main = dag("main", task("a", "inner", arguments=arguments(n="{{item}}"), withItems=[1, 2, 5]))
    assert pods(main, inner, script()) == count(8)


def test_an_inputs_default_is_used_where_nothing_is_given():
    inner = dag("inner", task("run", withSequence={"count": "{{inputs.parameters.n}}"}))
    inner["inputs"] = {"parameters": [{"name": "n", "default": "4"}]}
    assert pods(dag("main", task("a", "inner")), inner, script()) == count(4)


def test_an_argument_that_is_only_known_later_hides_no_default():
    inner = dag("inner", task("run", withSequence={"count": "{{inputs.parameters.n}}"}))
    inner["inputs"] = {"parameters": [{"name": "n", "default": "4"}]}
    late = task("a", "inner", arguments=arguments(n="{{tasks.first.outputs.result}}"))
    assert pods(dag("main", late), inner, script()) == count(0, None)


def test_the_entrypoints_inputs_are_the_workflows_arguments():
    main = dag("main", task("run", withSequence={"count": "{{inputs.parameters.n}}"})) | INPUT
    assert pods(main, script(), arguments=arguments(n="3")) == count(3)


# What may or may not run


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([task("a"), task("b", when="{{tasks.a.outputs.result}} == 1")], count(1, 2)),
        ([task("a"), task("b", depends="a")], count(2)),
        ([task("a"), task("b", depends="a.Succeeded && !a.Failed")], count(1, 2)),
        ([task("a"), task("b", depends="a.Failed")], count(1, 2)),
        ([task("a", when="x == y"), task("b", depends="a")], count(1, 2)),
        ([task("a", when="x == y"), task("b", depends="a.Succeeded")], count(0, 2)),
        (
            [task("a"), task("b", depends="a.Failed"), task("c", depends="b")],
            count(1, 3),
        ),
        ([task("a"), task("b", dependencies=["a"])], count(2)),
    ],
)
def test_what_depends_on_the_run_is_an_upper_bound(tasks, expected):
    assert pods(dag("main", *tasks), script()) == expected


def test_what_is_memoized_may_not_run():
    assert pods(script(memoize={"key": "a"})) == count(0, 1)


def test_a_dag_with_a_target_runs_only_what_that_waits_for():
    main = dag("main", task("a"), task("b", depends="a"), task("c"))
    main["dag"]["target"] = "b"
    assert pods(main, script()) == count(2)


def test_hooks_and_exit_handlers_count():
    always = task("a", hooks={"exit": {"template": "simulate"}})
    perhaps = task("b", hooks={"running": {"template": "simulate", "expression": "x"}})
    main = dag("main", always, perhaps)
    assert pods(main, script(), onExit="simulate") == count(4, 5)


# Templates of every type


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"container": {"image": "a"}}, count(1)),
        ({"containerSet": {"containers": [{"name": "a"}, {"name": "b"}]}}, count(1)),
        ({"data": {}}, count(1)),
        ({"resource": {"action": "get"}}, count(1)),
        ({"resource": {"action": "create", "manifest": "kind: ConfigMap\n"}}, count(1)),
        ({"resource": {"action": "create", "manifest": "kind: Job\n"}}, count(1, None)),
        ({"suspend": {}}, count(0)),
        ({"http": {"url": "x"}}, count(1)),  # the workflow's agent
        ({"plugin": {}}, count(1)),
        ({}, count(0, None)),
    ],
)
def test_each_type_of_template_makes_its_pods(template, expected):
    assert pods({"name": "main", **template}) == expected


def test_all_http_templates_share_one_agent():
    main = dag("main", *(task(f"t{number}", "call") for number in range(5)))
    assert pods(main, {"name": "call", "http": {"url": "x"}}) == count(1)


def test_an_inline_template_counts():
    assert pods(dag("main", {"name": "a", "inline": {"container": {"image": "x"}}})) == count(1)


def test_recursion_is_unknown_and_says_so():
    found = plan(workflow(dag("main", task("again", "main", when="x")), script()), "x")
    assert (found.pods, found.unknown) == (count(0, None), ("the template main runs itself",))


def test_a_circle_of_tasks_is_unknown():
    main = dag("main", task("a", depends="b"), task("b", depends="a"))
    assert plan(workflow(main, script()), "x").unknown == ("the tasks of main wait for each other",)


def test_templates_inside_of_templates_end_at_argos_own_depth():
    deep = [dag(f"t{number}", task("a", f"t{number + 1}")) for number in range(3000)]
    assert pods(*deep, script("t3000")) == count(0, None)


def test_many_tasks_are_no_matter():
    tasks = [
        task(f"t{number}", depends=f"t{number - 1}" if number else "") for number in range(3000)
    ]
    found = plan(workflow(dag("main", *tasks), script()), "x")
    assert (found.pods, found.longest_path) == (count(3000), count(3000))


def test_loops_that_explode_are_unknown():
    def level(number: int) -> dict[str, Any]:
        given = arguments(n="{{inputs.parameters.n}}{{item}}")
        inner = task("a", f"l{number + 1}", arguments=given, withSequence={"count": "100"})
        made: dict[str, Any] = dag(f"l{number}", inner) | INPUT
        return made

    last = script("l4", **INPUT)
    last["script"]["resources"]["requests"]["cpu"] = "{{inputs.parameters.n}}"
    found = plan(workflow(*map(level, range(4)), last, arguments=arguments(n="1")), "x")
    assert found.pods.most is None


# References to other objects


TEMPLATE = workflow(
    dag("main", task("a", withItems=[1, 2])), script(), name="shared", kind="WorkflowTemplate"
)


@pytest.mark.parametrize(("others", "expected"), [((TEMPLATE,), count(2)), ((), count(0, None))])
def test_a_task_may_run_a_template_of_another_object(others, expected):
    ref = {"name": "a", "templateRef": {"name": "shared", "template": "main"}}
    assert pods(dag("main", ref), others=others) == expected


@pytest.mark.parametrize(("others", "expected"), [((TEMPLATE,), count(2)), ((), count(0, None))])
def test_a_workflow_may_be_made_from_a_template(others, expected):
    made = manifest(
        {
            "kind": "Workflow",
            "metadata": {"generateName": "x-"},
            "spec": {"workflowTemplateRef": {"name": "shared"}},
        }
    )
    assert plan(made, "x", others).pods == expected


def test_a_workflows_arguments_go_before_its_templates():
    looped = task("a", withParam="{{workflow.parameters.xs}}")
    shared = workflow(
        dag("main", looped),
        script(),
        name="shared",
        kind="WorkflowTemplate",
        arguments=arguments(xs="[1]"),
    )
    spec = {"workflowTemplateRef": {"name": "shared"}, "arguments": arguments(xs="[1, 2, 3]")}
    made = manifest({"kind": "Workflow", "metadata": {"name": "x"}, "spec": spec})
    assert plan(made, "x", (shared,)).pods == count(3)


# The longest path


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (dag("main", task("a"), task("b")), count(1)),
        (dag("main", task("a"), task("b", depends="a"), task("c", depends="b")), count(3)),
        (dag("main", task("a", withItems=[1, 2, 3]), task("b", depends="a")), count(2)),
        (dag("main", task("a"), task("b", depends="a", when="x")), count(1, 2)),
        (dag("main", task("a", withParam="{{x}}"), task("b", depends="a")), count(1, 2)),
        (steps("main", [task("a"), task("b")], [task("c")]), count(2)),
        (steps("main", [task("a", "wait")], [task("c")]), count(1)),
    ],
)
def test_the_longest_path_counts_pods_one_after_the_other(template, expected):
    made = workflow(template, script(), {"name": "wait", "suspend": {}})
    assert plan(made, "x").longest_path == expected


# Requests


def requests(*templates: dict[str, Any], **spec: Any) -> dict[str, Amount]:
    return dict(plan(workflow(*templates, **spec), "x").requests)


def amount(least: float | str, most: float | str | None = "") -> Amount:
    low = Fraction(least)
    return Amount(least=low, most=low if most == "" else None if most is None else Fraction(most))


MIB = 1024**2


def test_requests_are_summed_over_all_pods():
    assert requests(dag("main", task("a", withItems=[1, 2, 3])), script()) == {
        "cpu": amount("0.75"),
        "memory": amount(192 * MIB),
    }


def test_a_limit_is_a_request_where_there_is_no_other():
    template = script()
    template["script"]["resources"] = {"limits": {"nvidia.com/gpu": 2, "cpu": "1"}}
    assert requests(template) == {"nvidia.com/gpu": amount(2), "cpu": amount(1)}


def test_sidecars_add_and_init_containers_only_count_if_they_are_larger():
    def asking(**asked: str) -> dict[str, Any]:
        return {"name": "x", "resources": {"requests": asked}}

    template = script(sidecars=[asking(cpu="250m")], initContainers=[asking(cpu="2", memory="1Mi")])
    assert requests(template) == {"cpu": amount(2), "memory": amount(64 * MIB)}


def test_the_containers_of_a_set_share_a_pod_and_add():
    container = {"name": "a", "resources": {"requests": {"cpu": "1"}}}
    both = {"name": "main", "containerSet": {"containers": [container, {**container, "name": "b"}]}}
    assert requests(both) == {"cpu": amount(2)}


def test_requests_may_come_from_a_parameter():
    template = script(**INPUT)
    template["script"]["resources"] = {"requests": {"cpu": "{{inputs.parameters.n}}"}}
    main = dag("main", task("a", arguments=arguments(n="{{item}}"), withItems=["500m", 2]))
    assert requests(main, template) == {"cpu": amount("2.5")}


def test_requests_known_only_while_running_have_no_upper_bound():
    template = script()
    template["script"]["resources"] = {"requests": {"cpu": "{{=asInt(1)}}", "memory": "64Mi"}}
    assert requests(template) == {"cpu": amount(0, None), "memory": amount(64 * MIB)}


def test_a_pod_spec_patch_goes_first():
    patch = json.dumps({"containers": [{"name": "main", "resources": {"requests": {"cpu": "4"}}}]})
    assert requests(script(podSpecPatch=patch)) == {"cpu": amount(4), "memory": amount(64 * MIB)}


def test_a_pod_spec_patch_known_only_while_running_is_unknown():
    patch = '{"containers": [{"name": "main", "resources": {{inputs.parameters.r}}}]}'
    assert requests(script(podSpecPatch=patch)) == {
        "cpu": amount(0, None),
        "memory": amount(0, None),
    }


def test_template_defaults_lie_under_a_template():
    defaults = {"script": {"resources": {"requests": {"cpu": "9", "memory": "9", "gpu": "1"}}}}
    assert requests(script(), templateDefaults=defaults) == {
        "cpu": amount("0.25"),
        "memory": amount(64 * MIB),
        "gpu": amount(1),
    }


def test_pods_that_ask_for_nothing_are_counted():
    silent = {"name": "main", "container": {"image": "x"}}
    assert plan(workflow(silent), "x").silent == count(1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("250m", Fraction(1, 4)),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        (2, Fraction(2)),
        ("1Gi", Fraction(1024**3)),
        ("1G", Fraction(10**9)),
        ("1e3", Fraction(1000)),
        ("12E2", Fraction(1200)),
        ("1E", Fraction(10**18)),
        ("100n", Fraction(1, 10**7)),
        ("", None),
        ("1 Gi", None),
        ("many", None),
        (True, None),
        (None, None),
        ("1e999999999", None),
    ],
)
def test_quantities_are_read_as_kubernetes_does(text, value):
    assert quantity(text) == value


# Names and kinds


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("sweep-", "Workflow", "sweep-<commit>"),
        ("fixed", "Workflow", "fixed-<commit>"),
        ("nightly", "CronWorkflow", "nightly"),
        ("shared", "WorkflowTemplate", "shared"),
    ],
)
def test_a_workflow_is_named_after_the_commit(name, kind, expected):
    assert object_name(workflow(script(), name=name, kind=kind), "experiment") == expected


@pytest.mark.parametrize("name", ["a", "A b_c", "long" * 20, "x" * 52, "x" * 53, "é..-", "-"])
def test_a_reviewed_name_is_the_submitted_one(name):
    found = object_name(workflow(script(), name=name), "experiment")
    commit = "0123456789abcdef"
    submitted = workflow_name(name.rstrip("-") or "experiment", commit)
    assert found.replace("<commit>", commit[:10]) == submitted


def test_a_workflow_without_a_name_gets_its_experiments():
    assert object_name(manifest({"kind": "Workflow"}), "lab") == "lab-<commit>"


def test_a_cron_starts_nothing_by_itself():
    cron = dict(workflow(script(), name="nightly", kind="CronWorkflow").document)
    cron["spec"] |= {"schedules": ["0 3 * * *"], "timezone": "Europe/Paris", "suspend": True}
    found = plan(manifest(cron), "x")
    assert (found.starts, found.schedules, found.pods) == (
        Starts.SCHEDULED,
        ("0 3 * * * Europe/Paris (suspended)",),
        count(1),
    )


@pytest.mark.parametrize(
    ("kind", "expected"), [("ConfigMap", count(0)), ("Deployment", count(0, None))]
)
def test_other_objects_start_no_pods_or_nobody_knows(kind, expected):
    found = plan(manifest({"kind": kind, "metadata": {"name": "a"}}), "x")
    assert (found.starts, found.pods) == (Starts.APPLIED, expected)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        {"entrypoint": 5, "templates": "x"},
        {"entrypoint": "a", "templates": [None, {"name": ["a"]}, {"name": "a", "dag": []}]},
        {"entrypoint": "a", "templates": [{"name": "a", "steps": [[None], "x", 5]}]},
        {"entrypoint": "a", "templates": [{"name": "a", "script": [], "sidecars": {"x": 1}}]},
        {"entrypoint": "a", "arguments": {"parameters": {}}, "templates": [{"name": "a"}]},
    ],
)
def test_documents_of_any_shape_are_answered(spec):
    assert plan(manifest({"kind": "Workflow", "metadata": {}, "spec": spec}), "x").pods.least <= 1
