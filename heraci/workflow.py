"""How to read a workflow's document: its spec, its templates, and the steps or tasks in them.

The documents come from strangers and may hold anything, so what is not of the right type counts
as absent; saying so is the validation's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TYPES = (
    "container",
    "script",
    "containerSet",
    "resource",
    "data",
    "http",
    "plugin",
    "suspend",
    "steps",
    "dag",
)
# The object that a step starts: its own pod, the workflow's one agent pod, or none at all.
POD_TYPES = frozenset({"container", "script", "containerSet", "resource", "data"})
AGENT_TYPES = frozenset({"http", "plugin"})

_DEPENDENCY = re.compile(r"(?P<not>!\s*)?(?P<name>[A-Za-z0-9_][-\w]*)(?:\.(?P<status>[A-Za-z]+))?")
# `a` alone means succeeded, skipped or daemoned: what happens when nothing goes wrong.
_GOES_WELL = frozenset({None, "Succeeded", "Daemoned", "AnySucceeded"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A template that a step runs, or that a workflow is made from."""

    name: str = ""
    template: str = ""
    cluster_scope: bool = False

    def __str__(self) -> str:
        """`TEMPLATE`, or `OBJECT/TEMPLATE` for one of another object."""
        return "/".join(part for part in (self.name, self.template) if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step or DAG task: what it runs and after which others of the same template.

    `may_skip` is said of one with a condition, `may_omit` of one that runs only if another does
    not go well, and `insists` of one that is omitted if another was skipped.
    """

    name: str
    body: Mapping[str, Any] = field(repr=False)
    runs: Reference
    inline: Mapping[str, Any] | None = None
    after: frozenset[str] = frozenset()
    may_skip: bool = False
    may_omit: bool = False
    insists: bool = False

    @property
    def conditional(self) -> bool:
        """Whether it may be that this step does not run in a run where nothing goes wrong."""
        return self.may_skip or self.may_omit


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def text(value: Any) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def spec_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The workflow's spec, which a CronWorkflow holds one level deeper."""
    spec = mapping(document.get("spec"))
    return mapping(spec.get("workflowSpec")) if document.get("kind") == "CronWorkflow" else spec


def templates_of(spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Templates by name; of two that share one, the first."""
    found: dict[str, Mapping[str, Any]] = {}
    for each in map(mapping, sequence(spec.get("templates"))):
        found.setdefault(text(each.get("name")), each)
    return found


def type_of(template: Mapping[str, Any]) -> str:
    """The key that says what a template does; empty where there is none."""
    return next((each for each in TYPES if each in template), "")


def named_parameters(value: Any) -> dict[str, Mapping[str, Any]]:
    """Parameters of `arguments` or `inputs`, by name."""
    parameters = map(mapping, sequence(mapping(value).get("parameters")))
    return {text(each.get("name")): each for each in parameters}


def steps_of(template: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps or tasks of a template, in the order in which they are written."""
    if "dag" in template:
        return tuple(_tasks(mapping(template["dag"])))
    if "steps" in template:
        return tuple(_steps(sequence(template["steps"])))
    return ()


def _tasks(dag: Mapping[str, Any]) -> Iterator[Step]:
    for body in map(mapping, sequence(dag.get("tasks"))):
        after = {text(each) for each in sequence(body.get("dependencies"))} - {""}
        omit = insists = False
        for match in _DEPENDENCY.finditer(text(body.get("depends"))):
            after.add(match["name"])
            omit |= bool(match["not"]) or match["status"] not in _GOES_WELL
            insists |= match["status"] is not None
        yield _step(body, frozenset(after), omit, insists)


def _steps(groups: Sequence[Any]) -> Iterator[Step]:
    before: frozenset[str] = frozenset()
    for group in groups:
        # A group of one may be written without its own list.
        bodies = [mapping(each) for each in (sequence(group) or [group])]
        yield from (_step(body, before) for body in bodies)
        before = frozenset(text(body.get("name")) for body in bodies) or before


def _step(
    body: Mapping[str, Any], after: frozenset[str], omit: bool = False, insists: bool = False
) -> Step:
    inline = body.get("inline")
    return Step(
        name=text(body.get("name")),
        body=body,
        runs=reference_of(body),
        inline=inline if isinstance(inline, Mapping) else None,
        after=after,
        may_skip=bool(body.get("when")),
        may_omit=omit,
        insists=insists,
    )


def reference_of(body: Mapping[str, Any]) -> Reference:
    """The template that a step names, here or in another object."""
    if isinstance(elsewhere := body.get("templateRef"), Mapping):
        return Reference(
            name=text(elsewhere.get("name")),
            template=text(elsewhere.get("template")),
            cluster_scope=elsewhere.get("clusterScope") is True,
        )
    return Reference(template=text(body.get("template")))
