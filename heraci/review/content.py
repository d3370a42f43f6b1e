"""What a review says, in lines and tables that no reader's markup has touched yet.

Every renderer takes its words from here, so that the comment, the terminal and the page say the
same. Data is handed on raw: making it harmless is each renderer's own work.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from urllib.parse import quote

from heraci.bundle import Finding, Manifest, Severity, Status, is_inside
from heraci.comparison import (
    TIMES,
    Amount,
    Area,
    Change,
    ChangeKind,
    ComparedExperiment,
    ComparedManifest,
    Count,
    Graph,
    Node,
    Plan,
    Review,
    Starts,
)
from heraci.review.text import Code, Line, Source

# A reviewer does not read more than that of one kind before opening the diff.
_REASONS = 5
_PLACES = 3
_CHANGES = 40
_GISTS = 4
_SHORT = 40
_PLACE = re.compile(r"([^:\x00-\x1f]+)(?::(\d{1,9}))?")


class Mark(StrEnum):
    """How something stands, at a glance."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    QUIET = "quiet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of a table, with how it stands or what happened to it."""

    cells: tuple[Line, ...]
    mark: Mark | None = None
    kind: ChangeKind | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table; `more` tells of rows that were too many to show."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    more: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The first thing that a reviewer reads."""

    mark: Mark
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestPart:
    """One manifest of an experiment, as it is shown below the experiment's title."""

    title: Line
    remark: Line
    changes: Table | None
    plan: Table | None
    notes: tuple[Line, ...]
    graphs: tuple[Graph, ...]
    digest: Line
    yaml: str
    yaml_is_diff: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentPart:
    """One experiment, below the first screen."""

    name: str
    mark: Mark
    title: Line
    why: tuple[Line, ...]
    notes: tuple[Line, ...]
    manifests: tuple[ManifestPart, ...]
    log: str


# Numbers


def counted(count: int, noun: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def count_text(count: Count) -> str:
    """`48`, `up to 48`, `12 or more`, `unknown`."""
    if count.most is None:
        return f"{count.least:,} or more" if count.least else "unknown"
    return f"{count.most:,}" if count.exact else f"up to {count.most:,}"


def amount_text(resource: str, amount: Amount) -> str:
    """A sum of requests in the unit that people use for it."""
    if amount.most is None:
        least = quantity_text(resource, amount.least)
        return f"{least} or more" if amount.least else "unknown"
    text = quantity_text(resource, amount.most)
    return text if amount.least == amount.most else f"up to {text}"


def quantity_text(resource: str, value: Fraction) -> str:
    """`13.5` cores, `6.8 GiB`."""
    if resource in {"memory", "ephemeral-storage"} or resource.startswith("hugepages-"):
        for unit, power in (("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
            if abs(value) >= 1024**power:
                return f"{_decimal(value / 1024**power)} {unit}"
        return f"{_decimal(value)} B"
    return _decimal(value)


def _decimal(value: Fraction) -> str:
    digits = 3 if abs(value) < 1 else (2 if abs(value) < 10 else 1)
    text = f"{float(value):,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _delta(now: Fraction | int | None, was: Fraction | int | None, resource: str = "") -> str:
    """` (+36)`, or that it is as before; nothing where either is not known."""
    if now is None or was is None or now == was:
        return ""
    step = Fraction(now) - Fraction(was)
    sign = "+" if step > 0 else "-"
    return f" ({sign}{quantity_text(resource, abs(step))})"


def pods_text(now: Count, was: Count | None) -> str:
    """Pods with the step from the base."""
    return count_text(now) + (_delta(now.most, was.most) if was else "")


# The first screen


def is_submitted(part: ComparedExperiment, review: Review) -> bool:
    """Whether merging hands the manifests of this experiment to the cluster."""
    status = part.experiment.status
    if status is Status.UNCHANGED:
        return review.submit_unchanged
    return status in {Status.ADDED, Status.CHANGED, Status.COMPILED}


def submitted(review: Review) -> Iterator[ComparedManifest]:
    """The manifests that merging hands to the cluster."""
    for part in review.experiments:
        if is_submitted(part, review):
            yield from (each for each in part.manifests if each.head is not None)


def verdict(review: Review) -> Verdict:
    """Whether to merge, and what that does."""
    levels = Counter(each.severity for each in review.findings)
    errors, warnings = levels[Severity.ERROR], levels[Severity.WARNING]
    failed = sum(each.experiment.status is Status.FAILED for each in review.experiments)
    lines = tuple(line for line in _verdict_lines(review) if line)
    if errors or failed:
        told = [counted(errors, "error")] if errors else []
        told += [f"{counted(failed, 'experiment')} did not compile"] if failed else []
        return Verdict(mark=Mark.BAD, title=f"Do not merge yet: {', '.join(told)}", lines=lines)
    title = "Ready to merge" if any(submitted(review)) else _nothing(review)
    if warnings:
        title = f"{title}, with {counted(warnings, 'warning')} to read first"
        return Verdict(mark=Mark.WARN, title=title, lines=lines)
    return Verdict(mark=Mark.GOOD, title=title, lines=lines)


def _nothing(review: Review) -> str:
    gone = any(each.experiment.status is Status.REMOVED for each in review.experiments)
    return "Merging starts nothing" if gone else "Nothing changes on the cluster"


def _verdict_lines(review: Review) -> Iterator[Line]:
    yield _merging(review)
    yield _totals(review)
    yield from _quota(review)
    yield _statuses(review)
    yield _context(review)


def _merging(review: Review) -> Line:
    plans = [each.plan for each in submitted(review) if each.plan]
    if not plans:
        return _why_nothing(review)
    created = [each for each in plans if each.starts is Starts.CREATED]
    told = []
    if created:
        pods = _in_words(_summed(each.pods for each in created))
        told.append(f"starts {counted(len(created), 'workflow')} with {pods}")
    applied = Counter(each.kind for each in plans if each.starts is Starts.APPLIED)
    told += [f"applies {counted(count, _noun(kind))}" for kind, count in applied.items()]
    crons = sum(each.starts is Starts.SCHEDULED for each in plans)
    told += [f"sets {counted(crons, 'schedule')}"] if crons else []
    return (f"Merging {_listed(told)}.",)


_NOUNS = {"WorkflowTemplate": "template", "ClusterWorkflowTemplate": "cluster template"}


def _noun(kind: str) -> str:
    return _NOUNS.get(kind, "other object")


def _why_nothing(review: Review) -> Line:
    statuses = Counter(each.experiment.status for each in review.experiments)
    if not statuses:
        # Where something is wrong, that is why there is nothing to show.
        wrong = any(each.severity is Severity.ERROR for each in review.findings)
        return () if wrong else ("This change affects no experiment.",)
    if set(statuses) == {Status.UNCHANGED}:
        few = statuses[Status.UNCHANGED]
        whose = "its manifest is" if few == 1 else "their manifests are"
        return (
            f"{counted(few, 'experiment')} could have changed, but {whose} the same as before.",
        )
    if set(statuses) <= {Status.UNCHANGED, Status.REMOVED}:
        return ("What the removed experiments left on the cluster stays there.",)
    return ("Nothing of it can be submitted.",)


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _summed(counts: Iterable[Count]) -> Count:
    least, most = 0, 0
    known = True
    for each in counts:
        least, most = least + each.least, most + (each.most or 0)
        known &= each.most is not None
    return Count(least=least, most=most if known else None)


def total_requests(plans: Iterable[Plan]) -> dict[str, Amount]:
    """Sums by resource over several plans."""
    found: dict[str, Amount] = {}
    for plan in plans:
        for name, each in plan.requests.items():
            old = found.get(name, Amount(least=Fraction(0), most=Fraction(0)))
            known = old.most is not None and each.most is not None
            most = old.most + each.most if known else None  # type: ignore[operator]
            found[name] = Amount(least=old.least + each.least, most=most)
    return found


def _totals(review: Review) -> Line:
    pairs = [each for each in submitted(review) if each.plan and each.plan.starts is Starts.CREATED]
    plans = [each.plan for each in pairs if each.plan]
    if not plans:
        return ()
    before = [each.base_plan for each in pairs if each.base_plan]
    comparable = all(each.compared for each in pairs)
    parts: list[str | Code | Source] = [
        "Together they request " if len(plans) > 1 else "It requests "
    ]
    now, was = total_requests(plans), total_requests(before)
    for number, (name, amount) in enumerate(_ordered(now)):
        old = was.get(name, Amount(least=Fraction(0), most=Fraction(0)))
        step = _delta(amount.most, old.most, name) if comparable else ""
        parts += [", " if number else "", f"{amount_text(name, amount)} ", *_resource(name), step]
    if not now:
        parts.append("no resources")
    path = max(
        (each.longest_path for each in plans),
        key=lambda each: (each.most is None, each.most or 0),
    )
    return (*parts, f"; the longest path is {_in_words(path)}.")


def _in_words(pods: Count) -> str:
    if pods.most is None:
        least = f"{counted(pods.least, 'pod')} or more" if pods.least else "nobody knows how many"
        return least if pods.least else f"{least} pods"
    return counted(pods.most, "pod") if pods.exact else f"up to {counted(pods.most, 'pod')}"


_RESOURCES = {"cpu": "CPU", "memory": "memory", "pods": "pods"}


def _resource(name: str) -> Line:
    return (_RESOURCES[name],) if name in _RESOURCES else (Code(name),)


def _ordered(requests: Mapping[str, Amount]) -> list[tuple[str, Amount]]:
    order = ["cpu", "memory", *sorted(requests.keys() - {"cpu", "memory"})]
    return [(name, requests[name]) for name in order if name in requests]


def _quota(review: Review) -> Iterator[Line]:
    plans = [each.plan for each in submitted(review) if each.plan]
    started = [each for each in plans if each.starts is Starts.CREATED]
    pods = _summed(each.pods for each in started)
    most = None if pods.most is None else Fraction(pods.most)
    wanted = total_requests(started) | {"pods": Amount(least=Fraction(pods.least), most=most)}
    enough: list[Line] = []
    tight: list[Line] = []
    for room in review.quota if started else ():
        name = room.resource.removeprefix("requests.")
        if name in wanted:
            left, asked = room.hard - room.used, wanted[name].most
            fits = asked is not None and asked <= left
            of = f"{quantity_text(name, left)} of {quantity_text(name, room.hard)} "
            (enough if fits else tight).append((of, *_resource(name)))
    if tight:
        waiting = ": not enough for all at once, so some will wait."
        yield ("The quota leaves ", *_enumerated(tight), waiting)
    if enough:
        yield ("The quota leaves ", *_enumerated(enough), ", which is enough.")


def _enumerated(lines: Sequence[Line]) -> Iterator[str | Code | Source]:
    for number, line in enumerate(lines):
        yield "" if number == 0 else " and " if number == len(lines) - 1 else ", "
        yield from line


_STATUS_WORDS = {
    Status.FAILED: "failed",
    Status.CHANGED: "changed",
    Status.ADDED: "added",
    Status.COMPILED: "compiled",
    Status.REMOVED: "removed",
    Status.UNCHANGED: "affected with the same manifest",
}


def _statuses(review: Review) -> Line:
    found = Counter(each.experiment.status for each in review.experiments)
    told = [f"{found[each]:,} {word}" for each, word in _STATUS_WORDS.items() if found[each]]
    if len(review.experiments) < 2 or set(found) == {Status.UNCHANGED}:
        return ()
    return (f"{counted(len(review.experiments), 'experiment')}: {', '.join(told)}.",)


def _context(review: Review) -> Line:
    bundle = review.bundle
    parts: list[str | Code] = []
    if bundle.target:
        parts += ["Target ", Code(bundle.target), ". "]
    if bundle.commit:
        base = bundle.merge_base or bundle.base
        parts += ["Commit ", Code(bundle.commit[:10])]
        parts += [" with uncommitted changes"] if bundle.dirty else []
        parts += [" compared with ", Code(base[:10])] if base else []
        parts += [". "]
    if review.asserted is False:
        parts.append("Not asserted: nobody asked the cluster whether it has what is needed.")
    elif review.asserted:
        parts.append("Asserted: the cluster was asked whether it has what is needed.")
    return tuple(parts)


# Findings


_SEVERITIES = list(Severity)


def ordered_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings in order of severity, then by place; the same one said twice is said once."""
    return tuple(
        sorted(
            dict.fromkeys(findings),
            key=lambda each: (
                _SEVERITIES.index(each.severity),
                each.experiment or "",
                each.file or "",
                each.line or 0,
                each.rule,
                each.message,
            ),
        )
    )


def gathered_findings(findings: Iterable[Finding]) -> tuple[tuple[Finding, ...], ...]:
    """Findings in order, those that say the same of several experiments or places as one."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for each in ordered_findings(findings):
        groups.setdefault((each.severity, each.rule, each.message), []).append(each)
    return tuple(map(tuple, groups.values()))


def finding_line(group: Sequence[Finding]) -> Line:
    """The message, where it is, of which experiments, and the rule that found it."""
    first = group[0]
    parts: list[str | Code | Source] = [_sentence(first.message)]
    places = dict.fromkeys(
        each.file + (f":{each.line}" if each.line else "") for each in group if each.file
    )
    if places:
        more = len(places) - 1
        parts += [" ", Source(next(iter(places)))]
        parts += [f" and {counted(more, 'more place')}"] if more else []
    parts.append(" (")
    names = list(dict.fromkeys(each.experiment for each in group if each.experiment))
    for name in names[:_PLACES]:
        parts += [Code(name), ", "]
    if len(names) > _PLACES:
        parts += [f"{counted(len(names) - _PLACES, 'more experiment')}, "]
    return (*parts, Code(first.rule), ")")


def _sentence(message: str) -> str:
    """A message on one line, where the end of a line was all that parted two sentences."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    ended = [line if line[-1] in ".:;,!?" else f"{line}." for line in lines]
    return " ".join(ended)


def source_link(review: Review, place: str) -> str | None:
    """The address of a `FILE:LINE`; None where there is none, or the file is not a plain path."""
    match = _PLACE.fullmatch(place)
    if review.source_url is None or match is None or not is_inside(match[1]):
        return None
    line = f"#L{match[2]}" if match[2] else ""
    return review.source_url + quote(match[1].encode("utf-8", "replace")) + line


# The table of experiments


def experiment_mark(part: ComparedExperiment, findings: Iterable[Finding]) -> Mark:
    """The worst that is said of an experiment."""
    own = {each.severity for each in findings if each.experiment == part.experiment.name}
    if Severity.ERROR in own or part.experiment.status is Status.FAILED:
        return Mark.BAD
    if Severity.WARNING in own:
        return Mark.WARN
    quiet = part.experiment.status in {Status.REMOVED, Status.UNCHANGED}
    return Mark.QUIET if quiet else Mark.GOOD


_STATUS_ORDER = list(_STATUS_WORDS)
_MARK_ORDER = [Mark.BAD, Mark.WARN, Mark.GOOD, Mark.QUIET]


def ordered_experiments(review: Review) -> tuple[tuple[ComparedExperiment, Mark], ...]:
    """Experiments with their marks, what needs a look first."""
    named: dict[str, list[Finding]] = {}
    for each in review.findings:
        named.setdefault(each.experiment or "", []).append(each)
    marked = [
        (each, experiment_mark(each, named.get(each.experiment.name, ())))
        for each in review.experiments
    ]
    return tuple(
        sorted(
            marked,
            key=lambda pair: (
                _MARK_ORDER.index(pair[1]),
                _STATUS_ORDER.index(pair[0].experiment.status),
                pair[0].experiment.name,
            ),
        )
    )


OVERVIEW = ("experiment", "status", "what changes", "pods", "CPU", "memory", "GPU")


def overview_row(part: ComparedExperiment, mark: Mark, review: Review) -> Row:
    """One experiment's row in the table of the first screen."""
    status = part.experiment.status
    return Row(
        mark=mark,
        cells=(
            (Code(part.experiment.name),),
            (_status_text(part),),
            gist(part),
            *_overview_numbers(part, review),
        ),
        kind={
            Status.ADDED: ChangeKind.ADDED,
            Status.REMOVED: ChangeKind.REMOVED,
            Status.CHANGED: ChangeKind.CHANGED,
        }.get(status),
    )


def _status_text(part: ComparedExperiment) -> str:
    status = part.experiment.status
    if part.experiment.base_error is not None and status is not Status.FAILED:
        return "changed, base unavailable"
    return "affected, same manifest" if status is Status.UNCHANGED else str(status)


def _overview_numbers(part: ComparedExperiment, review: Review) -> tuple[Line, ...]:
    """Pods, CPU, memory and GPUs; empty where merging hands nothing to the cluster."""
    plans = [each.plan for each in part.manifests if each.plan]
    if not plans or not is_submitted(part, review):
        return ((), (), (), ())
    comparable = all(each.compared for each in part.manifests)
    before = [each.base_plan for each in part.manifests if each.base_plan]
    was = _summed(each.pods for each in before) if comparable and before else None
    pods = pods_text(_summed(each.pods for each in plans), was)
    later = {each.starts for each in plans}
    if later == {Starts.SCHEDULED}:
        pods += " a run"
    elif Starts.CREATED not in later:
        pods += " when used"
    now, old = total_requests(plans), total_requests(before)
    told = {}
    for name, amount in _ordered(now):
        step = _delta(amount.most, old[name].most, name) if was and name in old else ""
        told[name] = f"{amount_text(name, amount)}{step}"
    gpus = [name for name in told if name.endswith("/gpu")]
    # Their maker is told only where there is more than one.
    several = [(Code(name), f" {told[name]}") for name in gpus]
    gpu: Line = (told[gpus[0]],) if len(gpus) == 1 else _joined(several)
    return ((pods,), (told.get("cpu", "none"),), (told.get("memory", "none"),), gpu)


def gist(part: ComparedExperiment) -> Line:
    """What changes in an experiment, in a few words."""
    status = part.experiment.status
    if status in {Status.FAILED, Status.UNCHANGED}:
        return ()
    if status is Status.REMOVED:
        return (f"{counted(len(part.manifests), 'manifest')} no longer compiled",)
    if status in {Status.ADDED, Status.COMPILED} or part.experiment.base_error is not None:
        return _kinds_gist(part)
    told = [(each,) for each in _whole_manifests(part)]
    return _joined([*told, *_changes_gist(part)])


def _kinds_gist(part: ComparedExperiment) -> Line:
    kinds = Counter(each.shown.kind for each in part.manifests)
    return _joined(
        (Code(kind), f" {TIMES}{count}" if count > 1 else "") for kind, count in kinds.items()
    )


def _joined(lines: Iterable[Line]) -> Line:
    parts: list[str | Code | Source] = []
    for line in lines:
        parts += ["; " if parts else "", *line]
    return tuple(parts)


def _whole_manifests(part: ComparedExperiment) -> Iterator[str]:
    kinds = Counter(each.kind for each in part.manifests)
    for kind in (ChangeKind.ADDED, ChangeKind.REMOVED):
        if kinds[kind]:
            yield f"{counted(kinds[kind], 'manifest')} {kind}"


def _changes_gist(part: ComparedExperiment) -> Iterator[Line]:
    found = [change for each in part.manifests for change in each.changes]
    areas: dict[Area, list[Change]] = {}
    for each in found:
        areas.setdefault(each.area, []).append(each)
    if len(areas) > 1:
        # What waits for what follows from the tasks that came or went.
        areas.pop(Area.ORDER, None)
    for number, (area, group) in enumerate(areas.items()):
        if number == _GISTS:
            yield (f"{counted(len(areas) - _GISTS, 'other kind')} of change",)
            return
        sized = next((each for each in group if "→" in each.note), None)
        if sized:
            name = sized.name or "".join(sized.places[:1]).rpartition("/")[2]
            yield Code(name), f" {sized.note.partition(';')[0]}"
        elif area in {Area.TEMPLATE, Area.TASK}:
            yield (_comings(area, group),)
        elif len(group) == 1 and group[0].name:
            yield f"{area} ", Code(group[0].name)
        else:
            yield (_area_words(area, len(group)),)


_PLURALS = {Area.RESOURCES: "resources", Area.SCHEDULE: "schedule", Area.ORDER: "order"}


def _area_words(area: Area, count: int) -> str:
    if area in _PLURALS or count == 1:
        return _PLURALS.get(area, str(area))
    return f"{count} {area}s"


def _comings(area: Area, group: Sequence[Change]) -> str:
    kinds = Counter[ChangeKind]()
    for each in group:
        number = each.note.split()[0].replace(",", "") if each.note else ""
        kinds[each.kind] += int(number) if number.isascii() and number.isdigit() else 1
    return ", ".join(f"{counted(kinds[kind], area)} {kind}" for kind in kinds)


# One experiment


def experiment_part(part: ComparedExperiment, mark: Mark, review: Review) -> ExperimentPart:
    """What is told of one experiment below the first screen."""
    experiment = part.experiment
    told = gist(part)
    pods = _overview_numbers(part, review)[0]
    title: list[str | Code | Source] = [Code(experiment.name), f" {_status_text(part)}"]
    title += [": ", *told] if told else []
    title += [" · pods: ", *pods] if pods else []
    return ExperimentPart(
        name=experiment.name,
        mark=mark,
        title=tuple(title),
        why=tuple(_why(part)),
        notes=tuple(_experiment_notes(part)),
        manifests=()
        if experiment.status is Status.REMOVED
        else tuple(_manifest_part(each, part, review) for each in part.manifests),
        log=experiment.log if experiment.status is Status.FAILED else "",
    )


def _why(part: ComparedExperiment) -> Iterator[Line]:
    reasons = part.experiment.reasons
    for reason in reasons[:_REASONS]:
        yield (reason,)
    if len(reasons) > _REASONS:
        yield (f"and {len(reasons) - _REASONS} more reasons",)


def _experiment_notes(part: ComparedExperiment) -> Iterator[Line]:
    experiment = part.experiment
    if experiment.base_error is not None and experiment.status is not Status.FAILED:
        yield ("The base could not be compiled, so nothing is compared: ", experiment.base_error)
    if experiment.status is Status.FAILED:
        yield ("It did not compile, so nothing of it is shown or submitted.",)
    if experiment.status is Status.UNCHANGED:
        yield ("It could have changed, but its manifests are the same as before.",)
    if experiment.status is Status.REMOVED:
        yield ("Its source is gone. What it left on the cluster stays there: ", *_names(part), ".")


def _names(part: ComparedExperiment) -> Line:
    return _codes([f"{each.shown.kind}/{each.shown.name}" for each in part.manifests])


def _manifest_part(
    each: ComparedManifest, part: ComparedExperiment, review: Review
) -> ManifestPart:
    shown = each.shown
    told = is_submitted(part, review)
    return ManifestPart(
        title=(Code(shown.kind), " ", Code(shown.name)),
        remark=() if part.experiment.status is Status.ADDED else _remark(each),
        changes=_changes_table(each.changes),
        plan=_plan_table(each) if told else None,
        notes=tuple((reason,) for reason in each.plan.unknown) if told and each.plan else (),
        graphs=each.graphs if told else (),
        digest=_digest(each.base, each.head),
        yaml=each.yaml,
        yaml_is_diff=each.compared and each.base is not None and each.head is not None,
    )


_REMARKS = {
    ChangeKind.ADDED: "new",
    ChangeKind.REMOVED: "no longer compiled; what is on the cluster stays there",
    ChangeKind.SAME: "the same as before",
}


def _remark(each: ComparedManifest) -> Line:
    remark = _REMARKS.get(each.kind) if each.kind else None
    return (remark,) if remark else ()


def _digest(base: Manifest | None, head: Manifest | None) -> Line:
    if head is None:
        return ()
    if base is None or base.digest == head.digest:
        return ("Digest ", Code(head.digest))
    return ("Digest ", Code(head.digest), ", at the base ", Code(base.digest))


def _changes_table(changes: Sequence[Change]) -> Table | None:
    if not changes:
        return None
    more = len(changes) - _CHANGES
    return Table(
        head=("what", "where", "base", "head"),
        rows=tuple(Row(cells=_change_cells(each), kind=each.kind) for each in changes[:_CHANGES]),
        more=f"{counted(more, 'more change')}: see the YAML diff" if more > 0 else "",
    )


def _change_cells(change: Change) -> tuple[Line, ...]:
    what: list[str | Code | Source] = [str(change.area)]
    what += [" ", Code(change.name)] if change.name else []
    where: list[str | Code | Source] = []
    for number, place in enumerate(change.places[:_PLACES]):
        source = "" if number else change.source
        where += [", " if where else "", Source(source, place) if source else Code(place)]
    if (more := len(change.places) - _PLACES) > 0:
        where.append(f" and {more:,} more")
    told: Line = (change.note,) if change.note else ()
    old: Line = (Code(change.old),) if change.old is not None else ()
    new: Line = (Code(change.new),) if change.new is not None else ()
    if told and max(len(change.old or ""), len(change.new or "")) > _SHORT:
        old, new = (), ()
    return tuple(what), tuple(where), old, (*new, *((" ", *told) if new and told else told))


def _plan_table(each: ComparedManifest) -> Table | None:
    plan, was = each.plan, each.base_plan
    if plan is None:
        return None
    old_name = (Code(was.name),) if was and was.name != plan.name else ()
    rows = [Row(cells=(("object",), old_name, (Code(plan.kind), " ", Code(plan.name))))]
    if plan.schedules:
        old = _codes(was.schedules) if was else ()
        rows.append(Row(cells=(("schedule",), old, _codes(plan.schedules))))
    rows.append(_count_row(_pods_label(plan), plan.pods, was.pods if was else None))
    if plan.parallelism:
        old = (f"{was.parallelism:,}",) if was and was.parallelism else ()
        rows.append(Row(cells=(("pods at a time, at most",), old, (f"{plan.parallelism:,}",))))
    rows += [_amount_row(name, amount, was) for name, amount in _ordered(plan.requests)]
    if plan.silent.most != 0:
        label = "pods that request neither CPU nor memory"
        rows.append(_count_row(label, plan.silent, was.silent if was else None))
    path = was.longest_path if was else None
    rows.append(_count_row("longest path, in pods", plan.longest_path, path))
    return Table(head=(_STARTS[plan.starts], "base", "head"), rows=tuple(rows))


_STARTS = {
    Starts.CREATED: "merging starts",
    Starts.SCHEDULED: "merging sets a schedule",
    Starts.APPLIED: "merging applies",
}


def _pods_label(plan: Plan) -> str:
    return {
        Starts.CREATED: "pods",
        Starts.SCHEDULED: "pods of each run",
        Starts.APPLIED: "pods of each run that uses it",
    }[plan.starts]


def _codes(values: Sequence[str]) -> Line:
    parts: list[str | Code] = []
    for each in values:
        parts += [", " if parts else "", Code(each)]
    return tuple(parts)


def _count_row(label: str, now: Count, was: Count | None) -> Row:
    base: Line = (count_text(was),) if was else ()
    return Row(cells=((label,), base, (pods_text(now, was),)))


def _amount_row(name: str, amount: Amount, was: Plan | None) -> Row:
    old = was.requests.get(name) if was else None
    step = _delta(amount.most, old.most, name) if old else ""
    base: Line = (amount_text(name, old),) if old else (("none",) if was else ())
    return Row(
        cells=((*_resource(name), " requested in all"), base, (amount_text(name, amount) + step,))
    )


# Pictures, told as tables


def graph_table(graph: Graph) -> Table:
    """A picture as a table, for readers and places that have no pictures."""
    before: dict[int, list[str]] = {number: [] for number in range(len(graph.nodes))}
    for start, end in graph.edges:
        before[end].append(graph.nodes[start].name)
    rows = tuple(_node_row(node, before[number]) for number, node in enumerate(graph.nodes))
    return Table(head=("task", "runs", "how often", "after"), rows=rows)


def _node_row(node: Node, before: Sequence[str]) -> Row:
    cells = ((Code(node.name),), (Code(node.runs),), (node_note(node),), _few(before))
    return Row(cells=cells, kind=node.state)


def _few(names: Sequence[str]) -> Line:
    more = len(names) - _PLACES
    return (*_codes(names[:_PLACES]), *((f" and {more:,} more",) if more > 0 else ()))


def node_note(node: Node) -> str:
    """How often a node runs, and whether it does."""
    told = [counted(node.members, "task")] if node.members > 1 else []
    told += [f"{'each ' if told else ''}{node.repeats}"] if node.repeats else []
    told += ["conditional"] if node.conditional else []
    return ", ".join(told)
