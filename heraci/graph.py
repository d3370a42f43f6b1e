"""Draw the DAGs and steps of a manifest as values: nodes and edges, what changed marked.

Tasks that no reader could tell apart by what is around them, such as forty simulations between one
preparation and one summary, become one node that says how many they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from heraci import document
from heraci.bundle import Manifest
from heraci.comparison import TIMES, ChangeKind, Graph, Node
from heraci.workflow import (
    Scope,
    Step,
    items_of,
    spec_of,
    steps_of,
    templates_of,
    text,
    workflow_scope,
)

# From so many alike on, one node stands for all.
ALIKE = 4
# Argo itself stops at 100 templates deep.
_DEEP = 100

Templates = Mapping[str, Mapping[str, Any]]


def graphs(
    base: Manifest | None, head: Manifest | None, *, compared: bool = True
) -> tuple[Graph, ...]:
    """The pictures of a manifest, that of its entrypoint first, then of what that one runs."""
    if head is None:
        return ()
    spec = spec_of(head.document)
    after = _Side(spec)
    before = _Side(spec_of(base.document) if base else {}) if compared else after
    return tuple(_graph(name, before, after) for name in _drawn(spec, after.templates))


class _Side:
    """The templates of base or head, each with a fingerprint of all that it runs."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.templates = templates_of(spec)
        self.scope = workflow_scope(spec)
        self._prints: dict[str, str] = {}
        self._depth = 0

    def steps(self, name: str) -> tuple[Step, ...]:
        return steps_of(self.templates.get(name, {}))

    def fingerprint(self, name: str) -> str:
        if name not in self._prints and self._depth < _DEEP:
            self._prints[name] = ""  # a template that runs itself ends here
            template = self.templates.get(name, {})
            self._depth += 1
            inner = [self.fingerprint(step.runs.template) for step in self.steps(name)]
            self._depth -= 1
            content = document.canonical({"template": template, "runs": inner})
            self._prints[name] = hashlib.sha256(content).hexdigest()
        return self._prints.get(name, "")

    def print_of(self, step: Step) -> tuple[str, str]:
        runs = "" if step.runs.name else self.fingerprint(step.runs.template)
        return document.digest(step.body), runs


def _drawn(spec: Mapping[str, Any], templates: Templates) -> tuple[str, ...]:
    found: dict[str, None] = {}
    waiting = [text(spec.get("entrypoint")), text(spec.get("onExit"))]
    if not waiting[0]:
        waiting += templates
    while waiting:
        name = waiting.pop(0)
        steps = steps_of(templates.get(name, {}))
        if name not in found and steps:
            found[name] = None
            waiting += [step.runs.template for step in steps if not step.runs.name]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Task:
    step: Step
    state: ChangeKind
    repeats: str


def _graph(name: str, before: _Side, after: _Side) -> Graph:
    tasks = {each.step.name: each for each in _tasks(name, before, after)}
    edges = {
        (other, task.step.name)
        for task in tasks.values()
        for other in task.step.after
        if other in tasks
    }
    classes = _alike(tasks, edges)
    members: dict[int, list[_Task]] = {}
    for task in tasks.values():
        members.setdefault(classes[task.step.name], []).append(task)
    position = {number: index for index, number in enumerate(members)}
    joined = {(position[classes[a]], position[classes[b]]) for a, b in edges}
    return Graph(
        template=name,
        nodes=tuple(_node(group) for group in members.values()),
        edges=tuple(sorted(edge for edge in joined if edge[0] != edge[1])),
    )


def _tasks(name: str, before: _Side, after: _Side) -> Iterator[_Task]:
    old = {step.name: step for step in before.steps(name)}
    new = {step.name: step for step in after.steps(name)}
    for step in new.values():
        if (other := old.get(step.name)) is None:
            yield _Task(step, ChangeKind.ADDED, _repeats(step, after.scope))
        else:
            same = before.print_of(other) == after.print_of(step) and other.after == step.after
            state = ChangeKind.SAME if same else ChangeKind.CHANGED
            yield _Task(step, state, _repeats(step, after.scope))
    for gone, step in old.items():
        if gone not in new:
            yield _Task(step, ChangeKind.REMOVED, _repeats(step, before.scope))


def _alike(tasks: Mapping[str, _Task], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Numbers by task: the same number where what is before and after cannot be told apart.

    Colours are refined by the colours of the neighbours until nothing changes; a group too small
    to be worth it keeps a number for each of its members.
    """
    before: dict[str, list[str]] = {name: [] for name in tasks}
    after: dict[str, list[str]] = {name: [] for name in tasks}
    for a, b in sorted(edges):
        after[a].append(b)
        before[b].append(a)
    colours = _numbered({name: _looks(task) for name, task in tasks.items()})
    while True:
        refined = _numbered(
            {
                name: (
                    colours[name],
                    tuple(sorted({colours[each] for each in before[name]})),
                    tuple(sorted({colours[each] for each in after[name]})),
                )
                for name in tasks
            }
        )
        if len(set(refined.values())) == len(set(colours.values())):
            return _split_small(refined)
        colours = refined


def _looks(task: _Task) -> tuple[Any, ...]:
    return str(task.step.runs), task.state, task.repeats, task.step.conditional


def _numbered(looks: Mapping[str, tuple[Any, ...]]) -> dict[str, int]:
    numbers: dict[tuple[Any, ...], int] = {}
    return {name: numbers.setdefault(look, len(numbers)) for name, look in looks.items()}


def _split_small(colours: Mapping[str, int]) -> dict[str, int]:
    sizes: dict[int, int] = {}
    for number in colours.values():
        sizes[number] = sizes.get(number, 0) + 1
    return {
        name: number if sizes[number] >= ALIKE else len(colours) + index
        for index, (name, number) in enumerate(colours.items())
    }


def _node(group: list[_Task]) -> Node:
    first, last = group[0].step, group[-1].step
    return Node(
        name=first.name if len(group) == 1 else f"{first.name} … {last.name}",
        runs=str(first.runs) or "inline",
        members=len(group),
        repeats=group[0].repeats,
        conditional=first.conditional,
        state=group[0].state,
    )


def _repeats(step: Step, scope: Scope) -> str:
    """What the loop of a step makes of it, as far as the workflow's own parameters tell."""
    items = items_of(step.body, scope)
    if items is None:
        return ""
    return f"{TIMES}?" if isinstance(items, str) else f"{TIMES}{len(items):,}"
