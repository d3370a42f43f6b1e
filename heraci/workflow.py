"""How to read a workflow's document: its spec, its templates, and the steps or tasks in them.

The documents come from strangers and may hold anything, so what is not of the right type counts
as absent; saying so is the validation's business.
"""

from __future__ import annotations

import json
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


# Values that are known before the run


Scope = Mapping[str, str]

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
# What one loop may cost us before we say that we do not know.
_MOST_ITEMS = 100_000


def workflow_scope(spec: Mapping[str, Any]) -> dict[str, str]:
    """What every template of a workflow may refer to: the workflow's own parameters."""
    values = known_values(named_parameters(spec.get("arguments")), {})
    return {f"workflow.parameters.{name}": value for name, value in values.items()}


def resolved(value: Any, scope: Scope) -> str | None:
    """A text with its `{{…}}` replaced; None where one of them is only known later."""
    if not isinstance(value, str):
        return None if value is None else json.dumps(value)
    if "{{" not in value:
        return value
    if any(tag.strip() not in scope for tag in _TAG.findall(value)):
        return None
    return _TAG.sub(lambda match: scope[match[1].strip()], value)


def known_values(parameters: Mapping[str, Mapping[str, Any]], scope: Scope) -> dict[str, str]:
    """The parameters whose values are known, with their values."""
    found = {
        name: resolved(each.get("value", each.get("default")), scope)
        for name, each in parameters.items()
        if "valueFrom" not in each
    }
    return {name: value for name, value in found.items() if value is not None}


def items_of(body: Mapping[str, Any], scope: Scope) -> Sequence[Any] | str | None:
    """The items of a step's loop; None for no loop, a reason where they are not known."""
    if items := sequence(body.get("withItems")):
        return items if len(items) <= _MOST_ITEMS else "a loop is too long to follow"
    name = text(body.get("name"))
    if "withParam" in body and body["withParam"] not in {None, ""}:
        return _parameter_items(name, body["withParam"], scope)
    if isinstance(body.get("withSequence"), Mapping):
        count = _sequence_length(body["withSequence"], scope)
        if count is None:
            return f"how often {name} runs is decided while running"
        return range(count) if count <= _MOST_ITEMS else "a loop is too long to follow"
    return None


def _parameter_items(name: str, parameter: Any, scope: Scope) -> Sequence[Any] | str:
    if (value := resolved(parameter, scope)) is None:
        return f"{name} runs once for each item of {text(parameter)}"
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        return f"what {name} loops over is not a JSON list"
    return items if len(items) <= _MOST_ITEMS else "a loop is too long to follow"


def _sequence_length(loop: Mapping[str, Any], scope: Scope) -> int | None:
    if "count" in loop:
        return _whole(loop["count"], scope)
    start, end = _whole(loop.get("start", 0), scope), _whole(loop.get("end"), scope)
    return None if start is None or end is None else abs(end - start) + 1


def _whole(value: Any, scope: Scope) -> int | None:
    found = resolved(value, scope)
    return int(found) if found and re.fullmatch(r"-?\d{1,9}", found) else None
