"""The pictures of a manifest, as nodes and edges."""

from __future__ import annotations

from typing import Any

from heraci.bundle import Manifest
from heraci.comparison import TIMES, ChangeKind, Graph, Node
from heraci.graph import graphs
from tests.reviews import arguments, dag, script, steps, task, workflow

ADDED, CHANGED, REMOVED = ChangeKind.ADDED, ChangeKind.CHANGED, ChangeKind.REMOVED


def drawn(*templates: dict[str, Any], **spec: Any) -> tuple[Graph, ...]:
    """The pictures of a workflow that did not change."""
    made = workflow(*templates, **spec)
    return graphs(made, made)


def node(name: str, runs: str = "simulate", **more: Any) -> Node:
    return Node(name=name, runs=runs, **more)


def test_tasks_are_nodes_and_what_they_wait_for_edges():
    main = dag("main", task("a"), task("b", depends="a"), task("c", dependencies=["a", "b"]))
    assert drawn(main, script()) == (
        Graph(
            template="main",
            nodes=(node("a"), node("b"), node("c")),
            edges=((0, 1), (0, 2), (1, 2)),
        ),
    )


def test_each_group_of_steps_waits_for_the_one_before():
    main = steps("main", [task("a"), task("b", "other")], [task("c")])
    (found,) = drawn(main, script(), script("other"))
    assert found.edges == ((0, 2), (1, 2))


def test_loops_and_conditions_are_told_at_the_node():
    looped = [
        task("a", withItems=[1, 2]),
        task("b", withParam="{{workflow.parameters.xs}}"),
        task("c", withParam="{{tasks.a.outputs.result}}"),
        task("d", withSequence={"count": "1200"}),
        task("e", when="x"),
    ]
    (found,) = drawn(dag("main", *looped), script(), arguments=arguments(xs="[1, 2, 3]"))
    assert [each.repeats for each in found.nodes] == [
        f"{TIMES}2",
        f"{TIMES}3",
        f"{TIMES}?",
        f"{TIMES}1,200",
        "",
    ]
    assert [each.conditional for each in found.nodes] == [False] * 4 + [True]


def test_tasks_that_cannot_be_told_apart_are_one_node():
    runs = [task(f"run-{number}", depends="prepare") for number in range(40)]
    all_runs = " && ".join(each["name"] for each in runs)
    main = dag("main", task("prepare"), *runs, task("gather", depends=all_runs))
    (found,) = drawn(main, script())
    assert found == Graph(
        template="main",
        nodes=(node("prepare"), node("run-0 … run-39", members=40), node("gather")),
        edges=((0, 1), (1, 2)),
    )


def test_chains_side_by_side_are_one_chain():
    chains = [
        task(f"{letter}{number}", letter, **({"depends": f"a{number}"} if letter == "b" else {}))
        for number in range(10)
        for letter in "ab"
    ]
    (found,) = drawn(dag("main", *chains), script("a"), script("b"))
    assert [(each.name, each.members) for each in found.nodes] == [
        ("a0 … a9", 10),
        ("b0 … b9", 10),
    ]
    assert found.edges == ((0, 1),)


def test_a_long_chain_stays_one():
    chain = [task(f"t{n}", **({"depends": f"t{n - 1}"} if n else {})) for n in range(8)]
    (found,) = drawn(dag("main", *chain), script())
    assert len(found.nodes) == 8


def test_few_alike_are_shown_one_by_one():
    (found,) = drawn(dag("main", task("a"), task("b"), task("c")), script())
    assert [each.name for each in found.nodes] == ["a", "b", "c"]


def states(base: Manifest | None, head: Manifest) -> list[tuple[str, ChangeKind]]:
    return [(each.name, each.state) for each in graphs(base, head)[0].nodes]


def test_what_changed_is_marked():
    base = workflow(
        dag("main", task("same", "other"), task("gone"), task("moved"), task("image")),
        script(),
        script("other"),
    )
    head = workflow(
        dag("main", task("same", "other"), task("new"), task("moved", depends="same")),
        script(),
        script("other"),
    )
    assert states(base, head) == [
        ("same", ChangeKind.SAME),
        ("new", ADDED),
        ("moved", CHANGED),
        ("gone", REMOVED),
        ("image", REMOVED),
    ]


def test_a_change_deep_inside_marks_all_that_run_it():
    def of(image: str) -> Manifest:
        return workflow(
            dag("main", task("a", "inner"), task("b", "other")),
            dag("inner", task("deep")),
            script(image=image),
            script("other"),
        )

    first, second = graphs(of("a:1"), of("a:2"))
    assert [each.state for each in first.nodes] == [CHANGED, ChangeKind.SAME]
    assert [each.state for each in second.nodes] == [CHANGED]


def test_without_a_base_nothing_is_marked():
    head = workflow(dag("main", task("a")), script())
    assert graphs(None, head)[0].nodes[0].state is ADDED
    assert graphs(None, head, compared=False)[0].nodes[0].state is ChangeKind.SAME


def test_only_what_is_reached_is_drawn_and_once():
    templates = (
        dag("main", task("a", "inner"), task("b", "inner")),
        dag("unused", task("x")),
        dag("inner", task("c"), task("again", "main")),
        script(),
        dag("bye", task("d")),
    )
    assert [each.template for each in drawn(*templates, onExit="bye")] == ["main", "bye", "inner"]


def test_a_removed_manifest_has_no_picture():
    assert graphs(workflow(script()), None) == ()


def test_a_thousand_templates_deep_are_drawn():
    deep = [dag(f"t{number}", task("a", f"t{number + 1}")) for number in range(1500)]
    assert len(drawn(*deep, script("t1500"))) == 1500
