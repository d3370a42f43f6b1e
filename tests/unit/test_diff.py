"""What a reviewer is shown of the difference between two manifests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from heraci.bundle import Manifest, Status
from heraci.comparison import Area, Change, ChangeKind
from heraci.diff import changes, compare, items_note, matched, yaml_diff
from tests.reviews import arguments, dag, experiment, manifest, script, steps, task, workflow

Json = dict[str, Any]


def base_document() -> Json:
    """A workflow with one of everything that a reviewer looks for."""
    one = script(inputs={"parameters": [{"name": "dt"}]})
    one["script"] |= {
        "env": [{"name": "LEVEL", "value": "1"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    tasks = (
        task("prepare", "prepare"),
        task("run", depends="prepare", withItems=[1, 2, 3], arguments=arguments(dt="{{item}}")),
    )
    return dict(
        workflow(
            dag("main", *tasks),
            one,
            {"name": "prepare", "container": {"image": "busybox:1", "args": ["a"]}},
            arguments=arguments(mesh="coarse"),
            volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "lab"}}],
        ).document
    )


def changed(edit: Callable[[Json], object]) -> tuple[Change, ...]:
    """The changes that an edit of the spec makes."""
    head = copy.deepcopy(base_document())
    edit(head["spec"])
    return changes(manifest(base_document()), manifest(head))


def change(area: Area, kind: ChangeKind = ChangeKind.CHANGED, **more: Any) -> tuple[Change, ...]:
    return (Change(kind=kind, area=area, **more),)


def edit_template(number: int, **more: Any) -> Callable[[Json], object]:
    return lambda spec: spec["templates"][number].update(more)


def edit_script(**more: Any) -> Callable[[Json], object]:
    return lambda spec: spec["templates"][1]["script"].update(more)


def edit_task(number: int, **more: Any) -> Callable[[Json], object]:
    return lambda spec: spec["templates"][0]["dag"]["tasks"][number].update(more)


SPEC = "spec.templates"
SCRIPT = f"{SPEC}[simulate].script"
RUN = f"{SPEC}[main].dag.tasks[run]"

CASES = {
    "image": (
        edit_script(image="python:3.13"),
        change(
            Area.IMAGE,
            places=("simulate",),
            path=f"{SCRIPT}.image",
            old="python:3.12-slim",
            new="python:3.13",
        ),
    ),
    "script": (
        edit_script(source="print(1)\nprint(2)\n"),
        change(
            Area.SCRIPT,
            places=("simulate",),
            path=f"{SCRIPT}.source",
            note="1 line added, 0 removed",
        ),
    ),
    "resources": (
        edit_script(resources={"requests": {"cpu": "2", "memory": "64Mi"}}),
        change(
            Area.RESOURCES,
            name="requests.cpu",
            places=("simulate",),
            path=f"{SCRIPT}.resources.requests.cpu",
            old="250m",
            new="2",
        ),
    ),
    "resources that came as a block": (
        edit_script(resources={"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"x": 1}}),
        change(
            Area.RESOURCES,
            ChangeKind.ADDED,
            name="limits.x",
            places=("simulate",),
            path=f"{SCRIPT}.resources.limits.x",
            new="1",
        ),
    ),
    "variable": (
        edit_script(env=[{"name": "MODE", "value": "x"}, {"name": "LEVEL", "value": "1"}]),
        change(
            Area.VARIABLE,
            ChangeKind.ADDED,
            name="MODE",
            places=("simulate",),
            path=f"{SCRIPT}.env[MODE]",
            new='{"name": "MODE", "value": "x"}',
        ),
    ),
    "value of a variable": (
        edit_script(env=[{"name": "LEVEL", "value": "2"}]),
        change(
            Area.VARIABLE,
            name="LEVEL",
            places=("simulate",),
            path=f"{SCRIPT}.env[LEVEL].value",
            old="1",
            new="2",
        ),
    ),
    "mount": (
        edit_script(volumeMounts=[{"name": "data", "mountPath": "/data", "readOnly": True}]),
        change(
            Area.MOUNT,
            ChangeKind.ADDED,
            name="/data.readOnly",
            places=("simulate",),
            path=f"{SCRIPT}.volumeMounts[/data].readOnly",
            new="true",
        ),
    ),
    "volume": (
        lambda spec: spec["volumes"][0]["persistentVolumeClaim"].update(claimName="other"),
        change(
            Area.VOLUME,
            name="data.persistentVolumeClaim.claimName",
            path="spec.volumes[data].persistentVolumeClaim.claimName",
            old="lab",
            new="other",
        ),
    ),
    "parameter": (
        lambda spec: spec["arguments"]["parameters"].insert(0, {"name": "new", "value": 1}),
        change(
            Area.PARAMETER,
            ChangeKind.ADDED,
            name="new",
            path="spec.arguments.parameters[new]",
            new='{"name": "new", "value": 1}',
        ),
    ),
    "value of a parameter": (
        lambda spec: spec["arguments"]["parameters"][0].update(value="fine"),
        change(
            Area.PARAMETER,
            name="mesh",
            path="spec.arguments.parameters[mesh].value",
            old="coarse",
            new="fine",
        ),
    ),
    "a number is not its text": (
        lambda spec: spec["arguments"]["parameters"][0].update(value=True),
        change(
            Area.PARAMETER,
            name="mesh",
            path="spec.arguments.parameters[mesh].value",
            old="coarse",
            new="true",
        ),
    ),
    "loop": (
        edit_task(1, withItems=[1, 2, 3, 4, 5]),
        change(
            Area.LOOP,
            places=("main/run",),
            path=f"{RUN}.withItems",
            old="[1, 2, 3]",
            new="[1, 2, 3, 4, 5]",
            note="3 → 5 items (+2); added 4, 5",
        ),
    ),
    "condition": (
        edit_task(1, when="1 == 2"),
        change(
            Area.CONDITION,
            ChangeKind.ADDED,
            places=("main/run",),
            path=f"{RUN}.when",
            new="1 == 2",
        ),
    ),
    "order": (
        edit_task(1, depends=""),
        change(Area.ORDER, places=("main/run",), path=f"{RUN}.depends", old="prepare", new=""),
    ),
    "argument": (
        edit_task(1, arguments=arguments(dt="0.1")),
        change(
            Area.ARGUMENT,
            name="dt",
            places=("main/run",),
            path=f"{RUN}.arguments.parameters[dt].value",
            old="{{item}}",
            new="0.1",
        ),
    ),
    "command": (
        lambda spec: spec["templates"][2]["container"].update(args=["b"]),
        change(
            Area.COMMAND,
            places=("prepare",),
            path=f"{SPEC}[prepare].container.args",
            old='["a"]',
            new='["b"]',
        ),
    ),
    "task put first": (
        lambda spec: spec["templates"][0]["dag"]["tasks"].insert(0, task("early", withItems=[1])),
        change(
            Area.TASK,
            ChangeKind.ADDED,
            name="main/early",
            places=("main",),
            path=f"{SPEC}[main].dag.tasks[early]",
            new="runs simulate, 1 item",
        ),
    ),
    "task removed": (
        lambda spec: spec["templates"][0]["dag"]["tasks"].pop(1),
        change(
            Area.TASK,
            ChangeKind.REMOVED,
            name="main/run",
            places=("main",),
            path=RUN,
            old="runs simulate, 3 items",
        ),
    ),
    "template": (
        lambda spec: spec["templates"].insert(0, script("other")),
        change(
            Area.TEMPLATE,
            ChangeKind.ADDED,
            name="other",
            path=f"{SPEC}[other]",
            new="script, python:3.12-slim",
        ),
    ),
    "retries": (
        edit_template(1, retryStrategy={"limit": 2}),
        change(
            Area.SETTING,
            ChangeKind.ADDED,
            name="retryStrategy",
            places=("simulate",),
            path=f"{SPEC}[simulate].retryStrategy",
            new='{"limit": 2}',
        ),
    ),
    "setting": (
        lambda spec: spec.update(parallelism=4),
        change(
            Area.SETTING, ChangeKind.ADDED, name="parallelism", path="spec.parallelism", new="4"
        ),
    ),
    "order of templates": (
        lambda spec: spec["templates"].reverse(),
        change(Area.ORDER, path="spec.templates", note="the templates come in another order"),
    ),
    "order of tasks": (
        lambda spec: spec["templates"][0]["dag"]["tasks"].reverse(),
        change(Area.ORDER, note="only the order of entries in a list"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_told_by_what_and_where_it_is(name):
    edit, expected = CASES[name]
    assert changed(edit) == expected


def test_one_decision_in_many_templates_is_one_change():
    def of(image: str) -> Manifest:
        return workflow(*(script(f"t{number}", image) for number in range(12)))

    (one,) = changes(of("a:1"), of("a:2"))
    assert (one.area, one.old, one.new, one.places) == (
        Area.IMAGE,
        "a:1",
        "a:2",
        tuple(f"t{number}" for number in range(12)),
    )


def test_many_templates_that_came_alike_are_counted():
    def of(count: int) -> Manifest:
        return workflow(*(script(f"t{number}") for number in range(count)))

    (one,) = changes(of(1), of(20))
    assert (one.kind, one.area, one.name, one.note) == (
        ChangeKind.ADDED,
        Area.TEMPLATE,
        "t1 … t19",
        "19 templates",
    )


def grid(count: int, dt: float = 0.1) -> Manifest:
    points = [
        task(f"point-{number}", arguments=arguments(dt=dt * (number % 4), side=number // 4))
        for number in range(count)
    ]
    return workflow(dag("grid", *points), script())


def test_tasks_made_by_a_loop_are_told_as_a_space():
    (one,) = changes(grid(12), grid(48))
    assert one == Change(
        kind=ChangeKind.CHANGED,
        area=Area.SPACE,
        name="simulate",
        places=("grid",),
        path="spec.templates[grid]",
        note="12 → 48 tasks (+36); side 3 → 12 values",
    )


def test_a_space_of_the_same_size_tells_the_axis_that_moved():
    (one,) = changes(grid(12), grid(12, dt=0.2))
    assert one.note == "12 tasks, as before; dt 4 values, 2 others"


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ([1], [1, 2], "1 → 2 items (+1); added 2"),
        (["a", "b"], ["b"], "2 → 1 item (-1); removed a"),
        (list(range(3)), list(range(1003)), "3 → 1,003 items (+1,000); added 1,000"),
        ([1, 2], [2, 1], "2 items, as before"),
        (
            [{"dt": 1, "n": 1}, {"dt": 2, "n": 1}],
            [{"dt": x, "n": 1} for x in range(4)],
            "2 → 4 items (+2); dt 2 → 4 values",
        ),
        ([], [], "0 items, as before"),
    ],
)
def test_a_list_of_a_loop_is_told_by_its_size_and_its_points(old, new, note):
    assert items_note(old, new) == note


def test_a_parameter_that_holds_a_list_is_told_like_one():
    base = workflow(script(), arguments=arguments(xs="[1, 2]"))
    head = workflow(script(), arguments=arguments(xs="[1, 2, 3]"))
    assert [each.note for each in changes(base, head)] == ["2 → 3 items (+1); added 3"]


def test_steps_are_compared_by_name_over_all_groups():
    base = workflow(steps("main", [task("a")], [task("b")]), script())
    head = workflow(steps("main", [task("a")], [task("new")], [task("b")]), script())
    assert [(each.kind, each.area, each.name) for each in changes(base, head)] == [
        (ChangeKind.ADDED, Area.TASK, "main/new")
    ]


def test_steps_that_change_their_place_are_told():
    base = workflow(steps("main", [task("a")], [task("b")]), script())
    head = workflow(steps("main", [task("a"), task("b")]), script())
    assert [each.note for each in changes(base, head)] == ["the steps come in another order"]


def test_schedules_and_the_workflow_of_a_cron_are_told_apart():
    base = workflow(script(), name="nightly", kind="CronWorkflow")
    head = copy.deepcopy(dict(base.document))
    head["spec"]["schedules"] = ["0 3 * * *"]
    head["spec"]["workflowSpec"]["templates"][0]["script"]["image"] = "b"
    found = changes(base, manifest(head))
    assert [(each.area, each.path) for each in found] == [
        (Area.SCHEDULE, "spec.schedules"),
        (Area.IMAGE, "spec.workflowSpec.templates[simulate].script.image"),
    ]


def test_a_change_names_the_authors_line():
    base, head = workflow(script(image="a")), workflow(script(image="b"))
    head = manifest(head.document, sources={"simulate": "experiments/a.py:7"})
    assert [each.source for each in changes(base, head)] == ["experiments/a.py:7"]


# Which manifests belong together


def named(*names: str, kind: str = "Workflow") -> tuple[Manifest, ...]:
    return tuple(workflow(script(), name=name, kind=kind) for name in names)


def pairs(base: tuple[Manifest, ...], head: tuple[Manifest, ...]) -> list[tuple[Any, Any]]:
    return [(a and a.name, b and b.name) for a, b in matched(base, head)]


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        (("a", "b"), ("b", "a"), [("b", "b"), ("a", "a")]),
        (("a",), ("renamed",), [("a", "renamed")]),
        (("a", "b"), ("b", "new", "c"), [("b", "b"), (None, "new"), (None, "c"), ("a", None)]),
        (("a", "b"), ("c",), [(None, "c"), ("a", None), ("b", None)]),
        (("a", "a"), ("a", "a", "a"), [("a", "a"), ("a", "a"), (None, "a")]),
    ],
)
def test_manifests_are_matched_by_name_and_the_only_one_left_is_renamed(base, head, expected):
    assert pairs(named(*base), named(*head)) == expected


def test_manifests_of_two_kinds_never_match():
    assert pairs(named("a"), named("a", kind="WorkflowTemplate")) == [(None, "a"), ("a", None)]


@pytest.mark.parametrize("status", [Status.COMPILED, Status.FAILED])
def test_without_a_base_nothing_is_called_added(status):
    (one,) = compare(experiment("a", named("a"), status=status))
    assert (one.kind, one.compared) == (None, False)


def test_a_base_that_does_not_compile_makes_nothing_added():
    (one,) = compare(experiment("a", named("a"), base_error="SyntaxError"))
    assert (one.kind, one.changes) == (None, ())


def test_what_is_the_same_has_neither_changes_nor_yaml():
    (one,) = compare(experiment("a", named("a"), named("a"), status=Status.UNCHANGED))
    assert (one.kind, one.changes, one.yaml) == (ChangeKind.SAME, (), "")


# The raw texts


def test_the_yaml_diff_counts_lines_of_the_whole_text():
    def of(image: str) -> Manifest:
        return workflow(*(script(f"t{number}") for number in range(30)), script("last", image))

    assert yaml_diff(of("a:1"), of("a:2")).splitlines()[:6] == [
        "@@ -277,7 +277,7 @@",
        "           memory: '64Mi'",
        "   - name: last",
        "     script:",
        "-      image: a:1",
        "+      image: a:2",
    ]


def patched(old: list[str], diff: str) -> list[str]:
    """Apply a unified diff."""
    new: list[str] = []
    at = 0
    for line in diff.splitlines():
        if line.startswith("@@"):
            start, _, length = line.split()[1][1:].partition(",")
            first = int(start) - (0 if length == "0" else 1)
            new += old[at:first]
            at = first
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            new += [] if line.startswith("-") else [line[1:]]
            at += 1
    return new + old[at:]


@pytest.mark.parametrize("size", [40, 3000])
def test_a_yaml_diff_applies_however_long_the_texts(size):
    from heraci import document

    def of(change: int) -> Manifest:
        templates = [script(f"t{each}", f"i:{each % change == 0}") for each in range(size)]
        return workflow(*templates[change:], *([script("extra")] if change > 5 else []))

    base, head = of(5), of(7)
    old, new = (document.dump([each.document]).splitlines() for each in (base, head))
    assert patched(old, yaml_diff(base, head)) == new


def test_what_yaml_cannot_hold_is_shown_as_json():
    def of(value: int) -> Manifest:
        spec: Json = {"k" * 2000: value}
        return workflow(script(), **spec)

    assert yaml_diff(of(1), of(2)).splitlines()[-4:-2] == [
        f'-    "{"k" * 2000}": 1',
        f'+    "{"k" * 2000}": 2',
    ]
