"""Compare the manifests of base and head, and say what a reviewer should see of the difference.

Lists whose entries have names are compared by name, so that a task put first is one task added and
not all of them changed. Many changes that are one decision of the author (an image in forty
templates, a grid of parameters made by a Python loop) are told as one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import accumulate, groupby
from typing import Any

from heraci import document
from heraci.bundle import CompiledExperiment, Manifest, Status
from heraci.comparison import Area, Change, ChangeKind, ComparedManifest
from heraci.workflow import Step, mapping, sequence, spec_of, steps_of, templates_of, text, type_of

# From so many tasks of one template on, they are points in a space and no longer persons.
MANY = 4
# From so many on, what was added or removed alike is counted instead of listed.
LISTED = 6
_CONTEXT = 3
# What difflib cannot compare in a second or so is compared by whole templates.
_SLOW = 6000

_ABSENT: Any = object()
_POD_LISTS = {"containers", "initContainers", "sidecars"}


class Key(str):
    """A segment of a path that is an entry's name in a list."""

    __slots__ = ()


Path = tuple[str, ...]
Opcode = tuple[str, int, int, int, int]

# The digests differ, so something does.
_ONLY_ORDER = Change(
    kind=ChangeKind.CHANGED, area=Area.ORDER, note="only the order of entries in a list"
)


@dataclass(frozen=True, slots=True)
class Delta:
    """One place where two documents differ; `_ABSENT` where one has nothing."""

    path: Path
    old: Any
    new: Any

    @property
    def kind(self) -> ChangeKind:
        if self.old is _ABSENT:
            return ChangeKind.ADDED
        return ChangeKind.REMOVED if self.new is _ABSENT else ChangeKind.CHANGED


def compare(experiment: CompiledExperiment) -> tuple[ComparedManifest, ...]:
    """Put the manifests of an experiment side by side, those of the head in their order first."""
    compared = experiment.base_error is None and experiment.status not in {
        Status.COMPILED,
        Status.FAILED,
    }
    if not compared:
        return tuple(
            ComparedManifest(base=None, head=head, compared=False, yaml=_text(head))
            for head in experiment.manifests
        )
    pairs = matched(experiment.base_manifests, experiment.manifests)
    return tuple(_compared(base, head) for base, head in pairs)


def _compared(base: Manifest | None, head: Manifest | None) -> ComparedManifest:
    if base is None or head is None:
        only = head or base
        assert only is not None
        return ComparedManifest(base=base, head=head, yaml=_text(only))
    if base.digest == head.digest:
        return ComparedManifest(base=base, head=head)
    return ComparedManifest(
        base=base, head=head, changes=changes(base, head), yaml=yaml_diff(base, head)
    )


def matched(
    base: Sequence[Manifest], head: Sequence[Manifest]
) -> tuple[tuple[Manifest | None, Manifest | None], ...]:
    """Pairs of base and head by kind and name; of what is left, the only one of its kind."""
    left = list(base)
    partners: list[Manifest | None] = [_take(left, each) for each in head]
    lonely = Counter(each.kind for each, partner in zip(head, partners, strict=True) if not partner)
    for number, each in enumerate(head):
        alike = [other for other in left if other.kind == each.kind]
        if partners[number] is None and lonely[each.kind] == 1 == len(alike):
            partners[number] = alike[0]
            left.remove(alike[0])
    pairs = [(partner, each) for partner, each in zip(partners, head, strict=True)]
    return (*pairs, *((each, None) for each in left))


def _take(left: list[Manifest], wanted: Manifest) -> Manifest | None:
    for number, each in enumerate(left):
        if (each.kind, each.name) == (wanted.kind, wanted.name):
            return left.pop(number)
    return None


# The texts


def _text(manifest: Manifest) -> str:
    try:
        return document.dump([manifest.document])
    except ValueError:
        # The few documents that YAML cannot hold are findings, and no reason to show nothing.
        return json.dumps(manifest.document, indent=2, ensure_ascii=False, default=str) + "\n"


def yaml_diff(base: Manifest, head: Manifest) -> str:
    """Write the unified diff of the two YAML texts, without the header that names files."""
    old, new = _text(base).splitlines(), _text(head).splitlines()
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    matcher.opcodes = _opcodes(old, new)  # type: ignore[attr-defined]
    lines: list[str] = []
    for hunk in matcher.get_grouped_opcodes(_CONTEXT):
        lines += _hunk(hunk, old, new)
    return "\n".join(lines) + "\n" if lines else ""


def _hunk(hunk: list[Opcode], old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    first, last = hunk[0], hunk[-1]
    yield f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@"
    for tag, i1, i2, j1, j2 in hunk:
        if tag == "equal":
            yield from (f" {line}" for line in old[i1:i2])
        else:
            yield from (f"-{line}" for line in old[i1:i2])
            yield from (f"+{line}" for line in new[j1:j2])


def _span(start: int, stop: int) -> str:
    # The first line is 1, and an empty span is named by the line before it.
    length = stop - start
    return f"{start + 1 if length else start},{length}"


def _opcodes(old: Sequence[str], new: Sequence[str]) -> list[Opcode]:
    """How one text becomes the other, as difflib says it.

    difflib is given only what lies between the common start and the common end: it is faster, and
    what was appended to a list does not look like put before its last entry.
    """
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    a, b = old[start : len(old) - end], new[start : len(new) - end]
    middle = _line_opcodes(a, b) if max(len(a), len(b)) <= _SLOW else _block_opcodes(a, b)
    found = [("equal", 0, start, 0, start), *_moved(middle, start, start)]
    found.append(("equal", len(old) - end, len(old), len(new) - end, len(new)))
    return [each for each in found if each[1] < each[2] or each[3] < each[4]]


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    pairs = zip(old, new, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def _moved(opcodes: Iterable[Opcode], i: int, j: int) -> Iterator[Opcode]:
    return ((tag, i1 + i, i2 + i, j1 + j, j2 + j) for tag, i1, i2, j1, j2 in opcodes)


def _line_opcodes(old: Sequence[str], new: Sequence[str]) -> list[Opcode]:
    return list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())


def _block_opcodes(old: Sequence[str], new: Sequence[str]) -> Iterator[Opcode]:
    """Compare two long texts by the blocks that a list's entries are, then block by block."""
    a, b = _blocks(old), _blocks(new)
    at_old, at_new = _offsets(a), _offsets(b)
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        here = at_old[i1], at_old[i2], at_new[j1], at_new[j2]
        left, right = old[here[0] : here[1]], new[here[2] : here[3]]
        if tag == "replace" and max(len(left), len(right)) <= _SLOW // 4:
            yield from _moved(_line_opcodes(left, right), here[0], here[2])
        else:
            yield (tag, *here)


def _blocks(lines: Sequence[str]) -> list[tuple[str, ...]]:
    starts = ("  - ", "    - ", "- ")
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.startswith(starts):
            blocks.append([])
        blocks[-1].append(line)
    return [tuple(block) for block in blocks if block]


def _offsets(blocks: Sequence[Sequence[str]]) -> list[int]:
    return [0, *accumulate(map(len, blocks))]


# The structure


def changes(base: Manifest, head: Manifest) -> tuple[Change, ...]:
    """What differs between two manifests, the most telling first."""
    old, new = base.document, head.document
    spaces = tuple(_spaces(old, new))
    folded = {task for space in spaces for task in space.tasks}
    found = [space.change for space in spaces]
    for delta in _deltas(old, new, ()):
        if not _is_folded(delta, folded):
            found += _changes(delta)
    found += _orders(old, new)
    found = [_sourced(each, base, head) for each in _gathered(found)] or [_ONLY_ORDER]
    order = list(Area)
    return tuple(sorted(found, key=lambda each: order.index(each.area)))


def _deltas(old: Any, new: Any, path: Path) -> Iterator[Delta]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from _deltas(old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, str(key)))
    elif isinstance(old, list) and isinstance(new, list) and (keyed := _keyed(path, old, new)):
        before, after = keyed
        for name in dict.fromkeys((*after, *before)):
            here = (*path, Key(name))
            yield from _deltas(before.get(name, _ABSENT), after.get(name, _ABSENT), here)
    elif not _same(old, new):
        yield Delta(path, old, new)


def _same(old: Any, new: Any) -> bool:
    # 1, 1.0 and True are equal to Python, and three things in a manifest.
    return old is new or (type(old) is type(new) and _compact(old) == _compact(new))


def _keyed(path: Path, old: list[Any], new: list[Any]) -> tuple[dict[str, Any], ...] | None:
    """Both lists by their entries' names; None where an entry has none, or two have the same."""
    if path[-1] == "steps":
        old, new = _ungrouped(old), _ungrouped(new)
    pair = tuple({_name(path[-1], each): each for each in entries} for entries in (old, new))
    complete = all(len(by) == len(each) for by, each in zip(pair, (old, new), strict=True))
    return pair if complete and not any("" in by for by in pair) else None


def _ungrouped(steps: list[Any]) -> list[Any]:
    return [body for group in steps for body in sequence(group) or [group]]


def _name(key: str, entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return ""
    if key in {"volumeMounts", "volumeDevices"}:
        return text(entry.get("mountPath") or entry.get("devicePath"))
    return text(entry.get("name")) or text(mapping(entry.get("metadata")).get("name"))


# One delta as changes: the path says which area, which places, which name


def _changes(delta: Delta) -> Iterator[Change]:
    owner, rest = _place(delta.path)
    if rest and "resources" in rest and rest[-1] != "resources[]":
        split = _split(delta, rest.index("resources") + len(delta.path) - len(rest))
        if split is not None:
            yield from (_change(each, *_place(each.path)) for each in split)
            return
    yield _change(delta, owner, rest)


def _split(delta: Delta, at: int) -> list[Delta] | None:
    """A whole block of resources that came or went, told quantity by quantity."""
    if len(delta.path) > at + 2:
        return None
    found = [
        Delta((*delta.path, *path), *pair) for path, pair in _leaves(delta.old, delta.new).items()
    ]
    return found or None


def _leaves(old: Any, new: Any) -> dict[Path, tuple[Any, Any]]:
    before, after = dict(_flat(old, ())), dict(_flat(new, ()))
    return {
        path: (before.get(path, _ABSENT), after.get(path, _ABSENT))
        for path in dict.fromkeys((*after, *before))
        if not _same(before.get(path, _ABSENT), after.get(path, _ABSENT))
    }


def _flat(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, (*path, str(key)))
    elif value is not _ABSENT:
        yield path, value


def _place(path: Path) -> tuple[str, Path]:
    """The template or the task that a path lies in, and the rest of the path."""
    spec = _spec_length(path)
    if len(path) <= spec + 1 or path[spec] != "templates":
        return "", path
    template, rest = path[spec + 1], path[spec + 2 :]
    for prefix in (("dag", "tasks"), ("steps",)):
        end = len(prefix)
        if rest[:end] == prefix and len(rest) > end and isinstance(rest[end], Key):
            return f"{template}/{rest[end]}", rest[end + 1 :]
    return template, rest


def _spec_length(path: Path) -> int:
    return 2 if path[:2] == ("spec", "workflowSpec") else 1


def _change(delta: Delta, owner: str, rest: Path) -> Change:
    area, name = _area(owner, rest)
    old, new, note = _values(delta, area, rest)
    if area in {Area.TEMPLATE, Area.TASK, Area.STEP}:
        name = owner
        owner = owner.rpartition("/")[0]
    return Change(
        kind=delta.kind,
        area=area,
        name=name,
        places=(owner,) if owner else (),
        path=_written(delta.path),
        old=old,
        new=new,
        note=note,
    )


def _area(owner: str, rest: Path) -> tuple[Area, str]:
    if not owner:
        return _object_area(rest)
    if not rest:
        return (Area.TASK if "/" in owner else Area.TEMPLATE), ""
    if "/" in owner:
        return _task_area(rest)
    return _template_area(rest)


_CRON = {"schedules", "schedule", "timezone", "suspend", "concurrencyPolicy", "when"}


def _object_area(rest: Path) -> tuple[Area, str]:
    if rest[0] == "metadata" and len(rest) > 1:
        kinds = {"labels": Area.LABEL, "annotations": Area.ANNOTATION}
        if rest[1] in kinds:
            return kinds[rest[1]], ".".join(rest[2:])
        return Area.NAME, rest[1]
    if rest[:1] == ("spec",) and len(rest) == 2 and rest[1] in _CRON:
        return Area.SCHEDULE, rest[1]
    inner = rest[_spec_length(rest) :]
    if inner[:2] == ("arguments", "parameters") and len(inner) > 2:
        return Area.PARAMETER, _parameter(inner[2:])
    if inner[:1] in {("volumes",), ("volumeClaimTemplates",)} and len(inner) > 1:
        return Area.VOLUME, ".".join(inner[1:])
    return Area.SETTING, ".".join(inner or rest)


def _parameter(rest: Path) -> str:
    return rest[0] if rest[1:] in {(), ("value",)} else ".".join(rest)


def _task_area(rest: Path) -> tuple[Area, str]:
    if rest[0] in {"withItems", "withParam", "withSequence"}:
        return Area.LOOP, ""
    if rest[0] == "when":
        return Area.CONDITION, ""
    if rest[0] in {"depends", "dependencies"}:
        return Area.ORDER, ""
    if rest[0] == "arguments":
        is_parameter = rest[:2] == ("arguments", "parameters") and len(rest) > 2
        return Area.ARGUMENT, _parameter(rest[2:]) if is_parameter else ".".join(rest[1:])
    if rest[0] in {"template", "templateRef"}:
        return Area.SETTING, ".".join(rest)
    return (_template_area(rest[1:]) if rest[0] == "inline" and len(rest) > 1 else None) or (
        Area.SETTING,
        ".".join(rest),
    )


_POD_AREAS = {
    "image": Area.IMAGE,
    "source": Area.SCRIPT,
    "command": Area.COMMAND,
    "args": Area.COMMAND,
    "resources": Area.RESOURCES,
    "env": Area.VARIABLE,
    "volumeMounts": Area.MOUNT,
}


def _template_area(rest: Path) -> tuple[Area, str]:
    if rest[0] in {"inputs", "outputs"}:
        area = Area.INPUT if rest[0] == "inputs" else Area.OUTPUT
        is_parameter = rest[1:2] == ("parameters",) and len(rest) > 2
        return area, _parameter(rest[2:]) if is_parameter else ".".join(rest[1:])
    if rest[0] == "volumes" and len(rest) > 1:
        return Area.VOLUME, ".".join(rest[1:])
    container, inner = _container(rest)
    if not inner or inner[0] not in _POD_AREAS:
        return Area.SETTING, ".".join(rest)
    area = _POD_AREAS[inner[0]]
    if area is Area.VARIABLE and inner[2:] == ("value",):
        inner = inner[:2]
    named = inner[1:] if area not in {Area.IMAGE, Area.SCRIPT, Area.COMMAND} else ()
    return area, ".".join((*container, *named))


def _container(rest: Path) -> tuple[Path, Path]:
    """The name of a container beside the main one, and the path inside of the container."""
    if rest[0] in {"container", "script"}:
        return (), rest[1:]
    if rest[0] == "containerSet":
        rest = rest[1:]
    if len(rest) > 2 and rest[0] in _POD_LISTS:
        return (rest[1],), rest[2:]
    return (), ()


def _written(path: Path) -> str:
    parts = (f"[{each}]" if isinstance(each, Key) else f".{each}" for each in path)
    return "".join(parts).removeprefix(".")


# Values, as short texts


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), sort_keys=True)


def _shown(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    return value if isinstance(value, str) else _compact(value)


def _values(delta: Delta, area: Area, rest: Path) -> tuple[str | None, str | None, str]:
    if area in {Area.TEMPLATE, Area.TASK, Area.STEP} and not rest:
        return _summary(area, delta.old), _summary(area, delta.new), ""
    old, new = _shown(delta.old), _shown(delta.new)
    if area is Area.ORDER:
        before, after = (sorted(_waits_for(rest[0], each)) for each in (delta.old, delta.new))
        if max(len(before), len(after)) > LISTED and before != after:
            return None, None, f"waits for {_growth(len(before), len(after), 'task')}"
    items = (_items(delta.old), _items(delta.new)) if area in _LISTS else (None, None)
    if items[0] is not None and items[1] is not None:
        return old, new, items_note(items[0], items[1])
    if "\n" in (old or "") or "\n" in (new or ""):
        return None, None, _lines_note(old, new)
    return old, new, ""


# Where a list is a loop, or may become one.
_LISTS = {Area.LOOP, Area.PARAMETER, Area.ARGUMENT, Area.INPUT}


def _summary(area: Area, value: Any) -> str | None:
    if value is _ABSENT:
        return None
    body = mapping(value)
    if area is Area.TEMPLATE:
        kind = type_of(body)
        if kind in {"dag", "steps"}:
            return f"{kind}, {len(steps_of(body))} {'tasks' if kind == 'dag' else 'steps'}"
        image = text(mapping(body.get(kind)).get("image"))
        return ", ".join(part for part in (kind, image) if part)
    step = steps_of({"steps": [[body]]})[0]
    loops = {"withItems", "withParam", "withSequence"} & body.keys()
    count = _items(body.get("withItems", body.get("withParam", _ABSENT)))
    loop = _counted(len(count), "item") if count is not None else "in a loop"
    return ", ".join(part for part in (f"runs {step.runs}", loop if loops else "") if part)


def _items(value: Any) -> list[Any] | None:
    """The items of a list, or of a text that holds a JSON list."""
    if isinstance(value, list):
        return value
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    return None


def _waits_for(key: str, value: Any) -> frozenset[str]:
    body = {} if value is _ABSENT else {key: value}
    return steps_of({"dag": {"tasks": [body]}})[0].after


def _lines_note(old: str | None, new: str | None) -> str:
    before, after = Counter((old or "").splitlines()), Counter((new or "").splitlines())
    added, removed = (after - before).total(), (before - after).total()
    if not added and not removed:
        return "lines moved or blanks changed"
    return f"{_counted(added, 'line')} added, {removed} removed"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def items_note(old: list[Any], new: list[Any]) -> str:
    """Say how a list of a loop grew or shrank: `12 → 48 items (+36); dt 3 → 12 values`."""
    told = [_growth(len(old), len(new), "item")]
    if all(isinstance(each, Mapping) for each in (*old, *new)):
        told += _axes(old, new)
    else:
        told += _points(old, new)
    return "; ".join(told)


def _growth(before: int, after: int, noun: str) -> str:
    if before == after:
        return f"{_counted(after, noun)}, as before"
    return f"{before:,} → {_counted(after, noun)} ({after - before:+,})"


def _axes(old: Iterable[Any], new: Iterable[Any]) -> Iterator[str]:
    """For points in a space: the axes whose values are not those of before."""
    before, after = _values_by_key(old), _values_by_key(new)
    for key in dict.fromkeys((*after, *before)):
        was, now = before.get(key, {}), after.get(key, {})
        if was.keys() == now.keys():
            continue
        if len(was) != len(now):
            yield f"{key} {len(was):,} → {len(now):,} values"
        else:
            yield f"{key} {len(now):,} values, {_counted(len(now.keys() - was.keys()), 'other')}"


def _values_by_key(points: Iterable[Any]) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {}
    for point in points:
        for key, value in point.items():
            found.setdefault(str(key), {})[_compact(value)] = None
    return found


def _points(old: list[Any], new: list[Any]) -> Iterator[str]:
    before, after = (Counter(str(_shown(each)) for each in items) for items in (old, new))
    for word, found in (("added", after - before), ("removed", before - after)):
        listed = list(found.elements())
        if 0 < len(listed) <= LISTED and all(len(each) <= 40 for each in listed):
            yield f"{word} {', '.join(listed)}"
        elif listed and old and new:
            yield f"{word} {len(listed):,}"


# Tasks that a Python loop made: one space of parameters


@dataclass(frozen=True, slots=True)
class Space:
    """The change of a parameter space, and the tasks (`TEMPLATE/TASK`) that it stands for."""

    change: Change
    tasks: frozenset[str]


def _spaces(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Space]:
    before, after = templates_of(spec_of(old)), templates_of(spec_of(new))
    for name in after:
        if name in before:
            yield from _template_spaces(name, before[name], after[name])


def _template_spaces(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Space]:
    before, after = _by_template(old), _by_template(new)
    for runs, tasks in after.items():
        others = before.get(runs, [])
        if others and max(len(tasks), len(others)) >= MANY:
            was, now = [_point(each) for each in others], [_point(each) for each in tasks]
            if sorted(map(_compact, was)) != sorted(map(_compact, now)):
                change = _space_change(name, runs, was, now)
                members = frozenset(f"{name}/{each.name}" for each in (*tasks, *others))
                yield Space(change, members)


def _by_template(template: Mapping[str, Any]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps_of(template):
        found.setdefault(str(step.runs), []).append(step)
    return found


def _point(step: Step) -> dict[str, Any]:
    parameters = sequence(mapping(step.body.get("arguments")).get("parameters"))
    return {text(each.get("name")): each.get("value") for each in map(mapping, parameters)}


def _space_change(
    name: str, runs: str, was: list[dict[str, Any]], now: list[dict[str, Any]]
) -> Change:
    note = "; ".join((_growth(len(was), len(now), "task"), *_axes(was, now)))
    return Change(
        kind=ChangeKind.CHANGED,
        area=Area.SPACE,
        name=runs,
        places=(name,),
        path=f"spec.templates[{name}]",
        note=note,
    )


def _is_folded(delta: Delta, folded: set[str]) -> bool:
    owner, rest = _place(delta.path)
    return owner in folded and (not rest or rest[:2] == ("arguments", "parameters"))


# Order, where it is all that differs or where it means something


def _orders(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    before, after = templates_of(spec_of(old)), templates_of(spec_of(new))
    for name in after:
        if name not in before or "steps" not in after[name]:
            continue
        if _sequence_of(before[name], after[name]) != _sequence_of(after[name], before[name]):
            yield _order_change(name, f"spec.templates[{name}].steps", "steps")
    if list(before) != list(after) and sorted(before) == sorted(after):
        yield _order_change("", "spec.templates", "templates")


def _sequence_of(template: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The groups of steps, without the steps that the other does not have."""
    known = {step.name for step in steps_of(other)}
    groups = groupby(steps_of(template), key=lambda step: step.after)
    kept = (tuple(step.name for step in group if step.name in known) for _, group in groups)
    return [names for names in kept if names]


def _order_change(owner: str, path: str, what: str) -> Change:
    return Change(
        kind=ChangeKind.CHANGED,
        area=Area.ORDER,
        places=(owner,) if owner else (),
        path=path,
        note=f"the {what} come in another order",
    )


# Many as one


def _gathered(found: Iterable[Change]) -> Iterator[Change]:
    groups: dict[tuple[Any, ...], list[Change]] = {}
    for each in found:
        groups.setdefault(_likeness(each), []).append(each)
    for group in groups.values():
        if group[0].area in {Area.TEMPLATE, Area.TASK}:
            yield from _named_together(group)
        else:
            yield _placed_together(group)


def _likeness(change: Change) -> tuple[Any, ...]:
    if change.area in {Area.TEMPLATE, Area.TASK}:
        return change.kind, change.area, change.places, change.old, change.new
    if change.area is Area.SPACE or (change.old is None and change.new is None):
        return change.area, change.path
    return change.kind, change.area, change.name, change.old, change.new, change.note


def _named_together(group: list[Change]) -> Iterator[Change]:
    if len(group) <= LISTED:
        yield from group
        return
    first, last = group[0], group[-1]
    noun = f"{first.area}s"
    yield replace(
        first, name=f"{first.name} … {last.name.rpartition('/')[2]}", note=f"{len(group):,} {noun}"
    )


def _placed_together(group: list[Change]) -> Change:
    return replace(group[0], places=tuple(place for each in group for place in each.places))


def _sourced(change: Change, base: Manifest, head: Manifest) -> Change:
    named = change.area in {Area.TEMPLATE, Area.TASK}
    wanted = change.name if named else "".join(change.places[:1])
    side = base if change.kind is ChangeKind.REMOVED else head
    template = wanted.partition("/")[0]
    source = side.sources.get(wanted) or side.sources.get(template) or side.sources.get("")
    return replace(change, source=source)
