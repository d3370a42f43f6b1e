"""Tell what merging will start: objects, their names, their pods and what these request.

Loops are expanded where their items are known from the manifest. A number is a promise, so what
depends on a condition is an upper bound, and what depends on a run, on recursion or on a template
that is not at hand is unknown, with the reason. The numbers are those of a run in which nothing
goes wrong: retries are not counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from heraci import document, naming
from heraci.bundle import Manifest
from heraci.comparison import Amount, Count, Plan, Starts
from heraci.workflow import (
    AGENT_TYPES,
    POD_TYPES,
    Reference,
    Scope,
    Step,
    items_of,
    known_values,
    mapping,
    named_parameters,
    reference_of,
    resolved,
    sequence,
    spec_of,
    steps_of,
    templates_of,
    text,
    type_of,
    workflow_scope,
)

_WORKFLOWS = {"Workflow", "CronWorkflow", "WorkflowTemplate", "ClusterWorkflowTemplate"}
_WITHOUT_PODS = {
    "ConfigMap",
    "Namespace",
    "NetworkPolicy",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
    "ServiceAccount",
}

# Argo itself stops at 100 templates deep.
_DEEP = 100
# What one manifest may cost us before we say that we do not know.
_MOST_WORK = 20_000
_TOO_MANY = "the loops are too many to follow"

_QUANTITY = re.compile(
    r"(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i))?"
)
_SUFFIXES: dict[str | None, Fraction] = {
    None: Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{suffix: Fraction(1000**n) for n, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**n) for n, suffix in enumerate("KMGTPE", 1)},
}
# Stands for every resource there is, where what is requested cannot be known.
_ANY = "*"


def quantity(value: Any) -> Fraction | None:
    """Read a Kubernetes quantity; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if (match := _QUANTITY.fullmatch(str(value).strip())) is None:
        return None
    number, exponent, suffix = match.groups()
    scale = Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix]
    return Fraction(number) * scale


def object_name(manifest: Manifest, experiment: str) -> str:
    """The name on the cluster, with `<commit>` where a run's has the commit."""
    stem = naming.stem(mapping(manifest.document.get("metadata")), experiment)
    return naming.expected_workflow_name(stem) if manifest.kind == "Workflow" else stem


# Arithmetic of what is known only in part


_ZERO = Count(least=0, most=0)
_ONE = Count(least=1, most=1)


@dataclass(frozen=True, slots=True)
class Load:
    """What a template, or a part of one, costs when it runs once."""

    pods: Count = _ZERO
    path: Count = _ZERO
    requests: Mapping[str, Amount] = field(default_factory=dict)
    silent: Count = _ZERO
    agent: Count = _ZERO  # 1 where the workflow needs its agent pod
    unknown: tuple[str, ...] = ()

    def beside(self, other: Load) -> Load:
        """Both run, at the same time."""
        return Load(
            pods=_plus(self.pods, other.pods),
            path=_longer(self.path, other.path),
            requests=_both(self.requests, other.requests),
            silent=_plus(self.silent, other.silent),
            agent=_longer(self.agent, other.agent),
            unknown=tuple(dict.fromkeys((*self.unknown, *other.unknown))),
        )

    def before(self, other: Load) -> Load:
        """The other runs after this one."""
        return replace(self.beside(other), path=_plus(self.path, other.path))

    def times(self, count: Count) -> Load:
        """So many of it run side by side."""
        once = Count(least=min(count.least, 1), most=0 if count.most == 0 else 1)
        return Load(
            pods=_times(self.pods, count),
            path=_times(self.path, once),
            requests={name: _many(each, count) for name, each in self.requests.items()},
            silent=_times(self.silent, count),
            agent=_times(self.agent, once),
            unknown=self.unknown,
        )

    def perhaps(self) -> Load:
        """It runs or it does not."""
        return self.times(Count(least=0, most=1))

    def because(self, reason: str) -> Load:
        """The same, with a reason why something of it is not known."""
        return replace(self, unknown=tuple(dict.fromkeys((*self.unknown, reason))))


def _unknown(reason: str) -> Load:
    open_end = Count(least=0, most=None)
    return Load(
        pods=open_end,
        path=open_end,
        requests={_ANY: Amount(least=Fraction(0), most=None)},
        silent=open_end,
        unknown=(reason,),
    )


def _plus(a: Count, b: Count) -> Count:
    most = None if a.most is None or b.most is None else a.most + b.most
    return Count(least=a.least + b.least, most=most)


def _longer(a: Count, b: Count) -> Count:
    most = None if a.most is None or b.most is None else max(a.most, b.most)
    return Count(least=max(a.least, b.least), most=most)


def _times(a: Count, by: Count) -> Count:
    if a.most == 0 or by.most == 0:
        most: int | None = 0
    else:
        most = None if a.most is None or by.most is None else a.most * by.most
    return Count(least=a.least * by.least, most=most)


def _many(a: Amount, by: Count) -> Amount:
    if a.most == 0 or by.most == 0:
        most: Fraction | None = Fraction(0)
    else:
        most = None if a.most is None or by.most is None else a.most * by.most
    return Amount(least=a.least * by.least, most=most)


def _sum(a: Amount, b: Amount) -> Amount:
    most = None if a.most is None or b.most is None else a.most + b.most
    return Amount(least=a.least + b.least, most=most)


def _both(a: Mapping[str, Amount], b: Mapping[str, Amount]) -> dict[str, Amount]:
    found = dict(a)
    for name, each in b.items():
        found[name] = _sum(found[name], each) if name in found else each
    return found


# The plan of one manifest


def plan(manifest: Manifest, experiment: str, others: Iterable[Manifest] = ()) -> Plan:
    """What a manifest makes of itself; `others` are the manifests whose templates it may use."""
    kind = manifest.kind
    load, spec = _loaded(manifest, others)
    cron = mapping(manifest.document.get("spec")) if kind == "CronWorkflow" else {}
    pods = _plus(load.pods, load.agent)
    parallelism = spec.get("parallelism")
    return Plan(
        starts=_starts(kind),
        kind=kind,
        name=object_name(manifest, experiment),
        namespace=manifest.namespace,
        pods=pods,
        longest_path=load.path,
        requests=_final(load.requests),
        silent=load.silent,
        parallelism=parallelism if type(parallelism) is int and parallelism > 0 else None,
        schedules=_schedules(cron),
        unknown=load.unknown,
    )


def _starts(kind: str) -> Starts:
    if kind == "Workflow":
        return Starts.CREATED
    return Starts.SCHEDULED if kind == "CronWorkflow" else Starts.APPLIED


def _schedules(cron: Mapping[str, Any]) -> tuple[str, ...]:
    zone = text(cron.get("timezone"))
    times = [*sequence(cron.get("schedules")), cron.get("schedule")]
    suspended = " (suspended)" if cron.get("suspend") is True else ""
    found = [f"{each} {zone}".strip() + suspended for each in map(text, times) if each]
    return tuple(dict.fromkeys(found))


def _final(requests: Mapping[str, Amount]) -> dict[str, Amount]:
    """Sums by resource; where any resource may be requested, none has an upper bound."""
    found = {name: each for name, each in requests.items() if name != _ANY}
    if _ANY not in requests or requests[_ANY].most is not None:
        return found
    nothing = Amount(least=Fraction(0), most=None)
    names = dict.fromkeys((*found, "cpu", "memory"))
    return {name: replace(found.get(name, nothing), most=None) for name in names}


def _loaded(manifest: Manifest, others: Iterable[Manifest]) -> tuple[Load, Mapping[str, Any]]:
    if manifest.kind not in _WORKFLOWS:
        known = manifest.kind in _WITHOUT_PODS
        return (Load() if known else _unknown(f"a {manifest.kind} starts pods of its own")), {}
    library = _Library(others)
    spec = spec_of(manifest.document)
    reference = mapping(spec.get("workflowTemplateRef"))
    if reference:
        name = text(reference.get("name"))
        origin = library.spec(name, reference.get("clusterScope") is True)
        if origin is None:
            return _unknown(f"it is made from {name}, which is not among what was compiled"), spec
        spec = _joined(origin, spec)
    return _Expansion(spec, library).run(), spec


def _joined(origin: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """A workflow made from a template: its own spec goes first, arguments one by one."""
    parameters = {
        **named_parameters(origin.get("arguments")),
        **named_parameters(own.get("arguments")),
    }
    return {**origin, **own, "arguments": {"parameters": list(parameters.values())}}


class _Library:
    """The templates of other objects, as far as they are at hand."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._specs: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._templates: dict[int, dict[str, Mapping[str, Any]]] = {}
        for each in manifests:
            name = text(mapping(each.document.get("metadata")).get("name"))
            self._specs[each.kind, name] = spec_of(each.document)

    def spec(self, name: str, cluster_scope: bool) -> Mapping[str, Any] | None:
        kind = "ClusterWorkflowTemplate" if cluster_scope else "WorkflowTemplate"
        return self._specs.get((kind, name))

    def templates(self, spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        if id(spec) not in self._templates:
            self._templates[id(spec)] = templates_of(spec)
        return self._templates[id(spec)]


class _Expansion:
    """One workflow, followed from its entrypoint through everything that it runs."""

    def __init__(self, spec: Mapping[str, Any], library: _Library) -> None:
        self._spec = spec
        self._library = library
        self._memory: dict[tuple[Any, ...], Load] = {}
        self._running: list[tuple[int, str]] = []
        self._needs: dict[int, set[str] | None] = {}
        self._work = 0
        self._globals = workflow_scope(spec)

    def run(self) -> Load:
        entrypoint = text(self._spec.get("entrypoint"))
        if not entrypoint:
            return _unknown("it has no entrypoint, so what runs is up to who refers to it")
        arguments = mapping(self._spec.get("arguments"))
        load = self._call(Reference(template=entrypoint), self._spec, arguments, self._globals)
        return self._with_hooks(load, self._spec, self._spec, self._globals)

    def _with_hooks(
        self, load: Load, body: Mapping[str, Any], home: Mapping[str, Any], scope: Scope
    ) -> Load:
        """Add what runs at the end, or when something happens."""
        if at_exit := text(body.get("onExit")):
            load = load.before(self._call(Reference(template=at_exit), home, {}, scope))
        for name, hook in mapping(body.get("hooks")).items():
            hook = mapping(hook)
            arguments = mapping(hook.get("arguments"))
            cost = self._call(reference_of(hook), home, arguments, scope)
            certain = name == "exit" and not hook.get("expression")
            load = load.before(cost if certain else cost.perhaps())
        return load

    def _call(
        self, wanted: Reference, home: Mapping[str, Any], arguments: Mapping[str, Any], scope: Scope
    ) -> Load:
        """Run the template that a step refers to, from the object that the step is written in."""
        if wanted.name:
            found = self._library.spec(wanted.name, wanted.cluster_scope)
            if found is None:
                return _unknown(f"{wanted} is not among what was compiled")
            home = found
        name = resolved(wanted.template, scope)
        if name is None:
            return _unknown(f"which template runs is decided while running: {wanted.template}")
        template = self._library.templates(home).get(name)
        if template is None:
            return _unknown(f"there is no template {name}")
        return self._template(template, home, arguments, scope)

    def _needed(self, template: Mapping[str, Any]) -> set[str] | None:
        if id(template) not in self._needs:
            self._needs[id(template)] = _needed(template)
        return self._needs[id(template)]

    def _is_same_for_all(self, step: Step, home: Mapping[str, Any]) -> bool:
        """Whether no item of a loop can make its turn another than the others'."""
        if not _mentions_item(step.body):
            return True
        arguments = named_parameters(step.body.get("arguments"))
        others = {key: each for key, each in step.body.items() if key != "arguments"}
        if step.inline is not None or _mentions_item(others):
            return False
        if step.runs.name:
            home = self._library.spec(step.runs.name, step.runs.cluster_scope) or {}
        needed = self._needed(self._library.templates(home).get(step.runs.template, {}))
        return needed is not None and not any(
            name in needed for name, each in arguments.items() if _mentions_item(each)
        )

    def _template(
        self,
        template: Mapping[str, Any],
        home: Mapping[str, Any],
        arguments: Mapping[str, Any],
        scope: Scope,
    ) -> Load:
        inner = self._inputs(template, arguments, scope)
        key = (id(template), *sorted(inner.items()))
        if key in self._memory:
            return self._memory[key]
        name = text(template.get("name"))
        here = (id(template), name)
        if here in self._running:
            return _unknown(f"the template {name} runs itself")
        if len(self._running) >= _DEEP:
            return _unknown(f"more than {_DEEP} templates run inside of each other")
        self._running.append(here)
        load = self._body(template, home, {**self._globals, **inner})
        self._running.pop()
        self._memory[key] = load
        return load

    def _inputs(
        self, template: Mapping[str, Any], arguments: Mapping[str, Any], scope: Scope
    ) -> dict[str, str]:
        """The inputs whose values are known, of those that decide what runs."""
        declared = named_parameters(template.get("inputs"))
        given = named_parameters(arguments)
        told = {name: given.get(name, each) for name, each in declared.items()}
        values = known_values(told, scope)
        needed = self._needed(template)
        return {
            f"inputs.parameters.{name}": value
            for name, value in values.items()
            if needed is None or name in needed
        }

    def _body(self, template: Mapping[str, Any], home: Mapping[str, Any], scope: Scope) -> Load:
        self._work += 1
        if self._work > _MOST_WORK:
            return _unknown(_TOO_MANY)
        kind = type_of(template)
        if kind == "dag":
            load = self._dag(template, home, scope)
        elif kind == "steps":
            load = self._steps(template, home, scope)
        elif kind in AGENT_TYPES:
            load = Load(agent=_ONE)
        elif kind in POD_TYPES:
            load = _pod(template, self._spec, scope)
        elif kind == "suspend":
            load = Load()
        else:
            load = _unknown(f"the template {text(template.get('name'))} has no type known here")
        return load.perhaps() if template.get("memoize") else load

    def _steps(self, template: Mapping[str, Any], home: Mapping[str, Any], scope: Scope) -> Load:
        load, group, after = Load(), Load(), None
        for step in steps_of(template):
            if step.after != after:
                load, group, after = load.before(group), Load(), step.after
            cost = self._step(step, home, scope)
            group = group.beside(cost.perhaps() if step.may_skip else cost)
        return load.before(group)

    def _dag(self, template: Mapping[str, Any], home: Mapping[str, Any], scope: Scope) -> Load:
        steps = {step.name: step for step in steps_of(template)}
        order = _order(steps)
        if order is None:
            return _unknown(f"the tasks of {text(template.get('name'))} wait for each other")
        target = mapping(template["dag"]).get("target")
        wanted = _targeted(steps, order, resolved(text(target), scope)) if target else set(steps)
        omitted = _may_be_omitted(steps, order)
        load, ends = Load(), dict[str, Count]()
        for step in (steps[name] for name in order if name in wanted):
            cost = self._step(step, home, scope)
            if step.may_skip or step.name in omitted:
                cost = cost.perhaps()
            start = _ZERO
            for other in step.after & ends.keys():
                start = _longer(start, ends[other])
            ends[step.name] = _plus(start, cost.path)
            load = load.beside(replace(cost, path=ends[step.name]))
        return load

    def _step(self, step: Step, home: Mapping[str, Any], scope: Scope) -> Load:
        """One step with its loop, not yet asking whether it runs at all."""
        items = items_of(step.body, scope)
        if items is None:
            return self._once(step, home, scope)
        if isinstance(items, str):
            cost = self._once(step, home, scope)
            return cost.times(Count(least=0, most=None)).because(items)
        if self._is_same_for_all(step, home):
            count = len(items)
            return self._once(step, home, scope).times(Count(least=count, most=count))
        return self._each(step, home, scope, items)

    def _each(
        self, step: Step, home: Mapping[str, Any], scope: Scope, items: Sequence[Any]
    ) -> Load:
        alike: dict[int, tuple[Load, int]] = {}
        for item in items:
            self._work += 1
            if self._work > _MOST_WORK:
                return _unknown(_TOO_MANY)
            cost = self._once(step, home, {**scope, **_item_scope(item)})
            alike[id(cost)] = (cost, alike.get(id(cost), (cost, 0))[1] + 1)
        load = Load()
        for cost, count in alike.values():
            load = load.beside(cost.times(Count(least=count, most=count)))
        return load

    def _once(self, step: Step, home: Mapping[str, Any], scope: Scope) -> Load:
        arguments = mapping(step.body.get("arguments"))
        if step.inline is not None:
            load = self._template(step.inline, home, arguments, scope)
        else:
            load = self._call(step.runs, home, arguments, scope)
        if "hooks" in step.body or "onExit" in step.body:
            load = self._with_hooks(load, step.body, home, scope)
        return load


# Values that are known before the run


_STRUCTURAL = ("withItems", "withParam", "withSequence", "template", "templateRef", "arguments")
_INPUT = re.compile(r"\{\{\s*inputs\.parameters\.([-\w]+)")


def _needed(template: Mapping[str, Any]) -> set[str] | None:
    """The inputs that may decide what runs or what it requests; None for any of them."""
    steps = steps_of(template)
    if not steps:
        told = {key: each for key, each in template.items() if key not in {"inputs", "outputs"}}
        parts = [_resources_text(told)]
    elif any(step.inline is not None or step.body.get("hooks") for step in steps):
        return None
    else:
        parts = [json.dumps([step.body.get(key) for key in _STRUCTURAL]) for step in steps]
    return {name for part in parts for name in _INPUT.findall(part)}


def _resources_text(template: Mapping[str, Any]) -> str:
    resources = [each.get("resources") for each, _ in _containers(template)]
    return json.dumps([resources, template.get("podSpecPatch"), template.get("resource")])


def _mentions_item(body: Mapping[str, Any]) -> bool:
    told = {key: each for key, each in body.items() if key not in {"withItems", "when"}}
    return "{{item" in json.dumps(told).replace("{{ ", "{{")


def _item_scope(item: Any) -> dict[str, str]:
    if isinstance(item, Mapping):
        parts = {f"item.{key}": resolved(each, {}) for key, each in item.items()}
        found = {key: value for key, value in parts.items() if value is not None}
        return {"item": json.dumps(item), **found}
    value = resolved(item, {})
    return {} if value is None else {"item": value}


# The order of a DAG


def _order(steps: Mapping[str, Step]) -> list[str] | None:
    """Names so that each comes after those it waits for; None if they go round in a circle."""
    waiting = {name: len(step.after & steps.keys()) for name, step in steps.items()}
    followers: dict[str, list[str]] = {name: [] for name in steps}
    for name, step in steps.items():
        for other in step.after & steps.keys():
            followers[other].append(name)
    order = [name for name, count in waiting.items() if count == 0]
    for name in order:
        for follower in followers[name]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                order.append(follower)
    return order if len(order) == len(steps) else None


def _targeted(steps: Mapping[str, Step], order: Sequence[str], target: str | None) -> set[str]:
    """What a DAG runs that has a target: that, and all that it waits for."""
    if target is None:
        return set(steps)
    wanted = set(target.split())
    for name in reversed(order):
        if name in wanted:
            wanted |= steps[name].after & steps.keys()
    return wanted


def _may_be_omitted(steps: Mapping[str, Step], order: Sequence[str]) -> set[str]:
    """Tasks that a skipped one may take with it: `a.Succeeded` is not true of a skipped `a`."""
    omitted: set[str] = set()
    for name in order:
        step = steps[name]
        others = [steps[other] for other in step.after & steps.keys()]
        skipped = any(each.may_skip or "withParam" in each.body for each in others)
        if step.may_omit or (step.insists and skipped) or step.after & omitted:
            omitted.add(name)
    return omitted


# What one pod requests


def _pod(template: Mapping[str, Any], spec: Mapping[str, Any], scope: Scope) -> Load:
    name = text(template.get("name"))
    patched = _patched_resources((template.get("podSpecPatch"), spec.get("podSpecPatch")), scope)
    if patched is None:
        total: dict[str, Amount] = {_ANY: Amount(least=Fraction(0), most=None)}
        reasons = [f"the podSpecPatch of {name} is only known while running"]
    else:
        total, reasons = _pod_requests(template, spec, patched, scope)
    load = Load(
        pods=_ONE,
        path=_ONE,
        requests=total,
        silent=_ZERO if total else _ONE,
        unknown=tuple(reasons),
    )
    return load.beside(_created(template, scope)) if "resource" in template else load


def _pod_requests(
    template: Mapping[str, Any],
    spec: Mapping[str, Any],
    patched: Mapping[str, Mapping[str, Any]],
    scope: Scope,
) -> tuple[dict[str, Amount], list[str]]:
    """The pod's own requests: all that run together, or the largest that runs before them."""
    together: dict[str, Amount] = {}
    before: dict[str, Amount] = {}
    reasons: list[str] = []
    for container, early in _containers(template, spec):
        resources = _merged(container.get("resources"), patched.get(text(container.get("name"))))
        asked = _requests(resources, scope)
        if any(each.most is None for each in asked.values()):
            reasons.append(f"what {text(template.get('name'))} requests is decided while running")
        if early:
            before = _larger(before, asked)
        else:
            together = _both(together, asked)
    return _larger(together, before), reasons


def _larger(a: Mapping[str, Amount], b: Mapping[str, Amount]) -> dict[str, Amount]:
    found = dict(a)
    for name, each in b.items():
        other = found.get(name, each)
        most = None if other.most is None or each.most is None else max(other.most, each.most)
        found[name] = Amount(least=max(other.least, each.least), most=most)
    return found


def _containers(
    template: Mapping[str, Any], spec: Mapping[str, Any] | None = None
) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The containers of a template's pod, each with whether it ends before the others start."""
    kind = type_of(template)
    if kind in {"container", "script"}:
        defaults = mapping(mapping((spec or {}).get("templateDefaults")).get(kind))
        main = mapping(template[kind])
        resources = _merged(defaults.get("resources"), main.get("resources"))
        yield {**main, "name": "main", "resources": resources}, False
    elif kind == "containerSet":
        yield from ((mapping(each), False) for each in _listed(template[kind], "containers"))
    yield from ((mapping(each), False) for each in _listed(template, "sidecars"))
    for each in map(mapping, _listed(template, "initContainers")):
        yield each, each.get("restartPolicy") != "Always"


def _listed(value: Any, key: str) -> Sequence[Any]:
    return sequence(mapping(value).get(key))


def _merged(under: Any, over: Any) -> dict[str, Any]:
    """Resources with those of a patch, or of the template itself, laid over them."""
    under, over = mapping(under), mapping(over)
    return {
        key: {**mapping(under.get(key)), **mapping(over.get(key))} for key in ("requests", "limits")
    }


def _requests(resources: Mapping[str, Any], scope: Scope) -> dict[str, Amount]:
    # Kubernetes takes the limit for the request where only the limit is given.
    asked = {**mapping(resources.get("limits")), **mapping(resources.get("requests"))}
    found = {}
    for name, value in asked.items():
        known = quantity(resolved(value, scope))
        found[str(name)] = Amount(least=known or Fraction(0), most=known)
    return found


def _patched_resources(patches: Sequence[Any], scope: Scope) -> dict[str, Mapping[str, Any]] | None:
    """Resources by container that podSpecPatch sets; None where they are not known."""
    found: dict[str, Mapping[str, Any]] = {}
    # A workflow's own patch is laid over the template's.
    for patch in filter(None, map(text, patches)):
        if (known := resolved(patch, scope)) is None:
            if "resources" in patch:
                return None
            continue
        try:
            documents = document.load(known)
        except (ValueError, RecursionError):
            return None
        for each in map(mapping, _listed(documents[0] if documents else None, "containers")):
            name = text(each.get("name"))
            found[name] = _merged(found.get(name), each.get("resources"))
    return found


_KIND = re.compile(r"^\s*\"?kind\"?:\s*[\"']?(\w+)", re.MULTILINE)


def _created(template: Mapping[str, Any], scope: Scope) -> Load:
    """What a resource template makes on the cluster may start pods that nobody can count."""
    resource = mapping(template["resource"])
    if resource.get("action") not in {"create", "apply", "replace"}:
        return Load()
    match = _KIND.search(resolved(resource.get("manifest"), scope) or "")
    if match and match[1] in _WITHOUT_PODS:
        return Load()
    kind = f"a {match[1]}" if match else "an object"
    return _unknown(f"the template {text(template.get('name'))} makes {kind} of its own")
