"""Bring planned objects onto a server, once and only once, and report the fate of each."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import Any

from heraci.errors import HeraciError
from heraci.submit import serving
from heraci.submit import values as v
from heraci.submit.values import Archive, Document, Fate, Server, Submission, What

# After so many objects without an answer the server is taken for lost, and the rest is not tried.
LOST_AFTER = 3
CONFLICT_TRIES = 5
# How often to ask again whether the server has seen a template that was applied a moment ago.
LATE_TRIES = 7


def submit(
    submissions: Iterable[Submission],
    server: Server,
    *,
    archive: Archive | None = None,
    concurrency: int = 8,
    dry_run: bool = False,
    is_later: Callable[[str], bool] = lambda _: False,
) -> Iterator[Fate]:
    """Apply templates and crons, then create workflows; yield each fate as it is known.

    Ask again and nothing is done twice: a run has one name for its commit, and what is there
    already is compared and reported. `is_later` says of another commit whether it comes after this
    one: what that one applied is left as it is. HeraciError means that nothing was begun.
    """
    submissions = tuple(submissions)
    applied = [each for each in submissions if each.applied]
    created = [each for each in submissions if not each.applied]
    work = _Work(server=server, dry_run=dry_run, is_later=is_later)
    work.standing, only_archived = _standing(server, archive, created)
    fates = []
    for one in applied:
        if one.serves and (*one.serves, one.namespace) in only_archived:
            message = "Its run has ended."
            fates.append(Fate(submission=one, what=What.UNCHANGED, message=message))
    yield from fates
    over = {each.submission for each in fates}
    for wave in _waves([each for each in applied if each not in over]):
        for fate in _concurrently(work.apply, wave, concurrency):
            fates.append(fate)
            yield fate
    failed = {fate.submission for fate in fates if fate.what is What.FAILED}
    held = {each: why for each in created if (why := _held_back(each, failed, applied))}
    for one, why in held.items():
        yield Fate(submission=one, what=What.FAILED, message=why)
    if dry_run:
        work.absent = {
            (each.submission.kind, each.submission.name)
            for each in fates
            if each.what is What.CREATED
        }
    free = [each for each in created if each not in held]
    yield from _concurrently(work.create, free, concurrency)


@dataclass(kw_only=True, eq=False)
class _Work:
    """One submission under way; what its threads share."""

    server: Server
    dry_run: bool
    is_later: Callable[[str], bool]
    absent: set[tuple[str, str]] = field(default_factory=set)  # templates, in a dry run
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    standing: Mapping[tuple[str | None, str], Document] = field(default_factory=dict)
    fresh: set[tuple[str, str]] = field(default_factory=set)  # templates applied just now
    # The templates that heraci made, by what they serve; and what crons referred to until now.
    templates: dict[tuple[str, str, str | None], Document] = field(default_factory=dict)
    used_before: dict[Submission, str | None] = field(default_factory=dict)
    unanswered: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, one: Submission) -> Fate:
        """Create a run unless it is there; whatever happens is its fate."""
        return self._carefully(one, self._create)

    def apply(self, one: Submission) -> Fate:
        """Make a template or cron be as planned."""
        return self._carefully(one, self._apply)

    def _carefully(self, one: Submission, do: Callable[[Submission], Fate]) -> Fate:
        if self.unanswered >= LOST_AFTER:
            message = "Not tried: the server gave no more answers. Run the same command again."
            return Fate(submission=one, what=What.FAILED, message=message)
        try:
            fate = self._patiently(one, do)
        except HeraciError as error:
            with self.lock:
                self.unanswered += isinstance(error, ConnectionError)
            return Fate(submission=one, what=What.FAILED, message=str(error))
        self.unanswered = 0
        if one.applied and fate.what in (What.CREATED, What.APPLIED) and not self.dry_run:
            self.fresh.add((one.kind, one.name))
        return fate if self.dry_run or fate.what is What.FAILED else self._tied(fate)

    def _patiently(self, one: Submission, do: Callable[[Submission], Fate]) -> Fate:
        """Do it again where the server may not know yet what it refers to.

        An Argo Server checks references against a memory of its own, which is a little late.
        """
        for attempt in range(1, LATE_TRIES):
            try:
                return do(one)
            except ValueError:
                if not self.fresh & set(references(one.document)):
                    raise
            time.sleep(0.2 * attempt)
        return do(one)

    def _tied(self, fate: Fate) -> Fate:
        """Bind the life of a template that heraci made to that of the object it was made for."""
        one, document = fate.submission, fate.document
        if one.serves and document:
            self.templates[*one.serves, one.namespace] = document
        template = self.templates.get((one.kind, one.name, one.namespace))
        if template is None or document is None:
            return fate
        name = template["metadata"]["name"]
        try:
            serving.tie(self.server, template, one.kind, document)
            if one.kind == "CronWorkflow":
                for other in {name, self.used_before.get(one) or name}:
                    if other != serving.template_of(document):
                        serving.retire(self.server, other, document)
        except HeraciError as error:
            message = f"Its template {name} will stay on the cluster when it goes: {error}"
            return replace(fate, message=message)
        return fate

    def _create(self, one: Submission) -> Fate:
        if (found := self.standing.get((one.namespace, one.name))) is not None:
            return self._compared(one, found)
        document = self._signed(one.document)
        for attempt in range(1, CONFLICT_TRIES + 1):
            try:
                made = self.server.create(document, dry_run=self.dry_run)
            except ValueError as refused:
                if not (waits := self.absent & set(references(one.document))):
                    raise
                name = min(name for _, name in waits)
                message = f"Not checked: it refers to {name}, which is not there yet. ({refused})"
                return Fate(submission=one, what=What.CREATED, message=message)
            except FileExistsError as conflict:
                # Both servers say so too where two of them wrote a quota at the same time.
                if (found := self.server.find(one.kind, one.namespace, one.name)) is not None:
                    return self._compared(one, found)
                if attempt == CONFLICT_TRIES:
                    return Fate(submission=one, what=What.FAILED, message=str(conflict))
                time.sleep(0.2 * attempt)
            else:
                return Fate(submission=one, what=What.CREATED, document=made)
        raise AssertionError("unreachable")

    def _signed(self, document: Document) -> Document:
        metadata = document["metadata"]
        annotations = {**metadata["annotations"], v.SUBMISSION: self.nonce}
        return {**document, "metadata": {**metadata, "annotations": annotations}}

    def _compared(self, one: Submission, found: Document) -> Fate:
        """Look at what has the name: this run, or something else."""
        labels, annotations = _labels(found), _annotations(found)
        ours = _labels(one.document)
        if labels.get(v.COMMIT_LABEL) != ours[v.COMMIT_LABEL]:
            message = (
                f"The name is taken by a {one.kind} that heraci did not submit for this commit"
                f" ({v.COMMIT_LABEL}: {labels.get(v.COMMIT_LABEL, 'none')}). Rename the "
                "experiment's workflow, or delete that one."
            )
            return Fate(submission=one, what=What.FAILED, message=message, document=found)
        if annotations.get(v.DIGEST) != one.digest:
            message = (
                "This commit was run already with another manifest "
                f"({annotations.get(v.DIGEST)}; now {one.digest}): its settings or inputs have "
                "changed since. To run it as it is now, choose another attempt."
            )
            return Fate(submission=one, what=What.FAILED, message=message, document=found)
        made_here = annotations.get(v.SUBMISSION) == self.nonce
        what = What.CREATED if made_here else What.ALREADY_THERE
        return Fate(submission=one, what=what, document=found)

    def _apply(self, one: Submission) -> Fate:
        live = self.server.find(one.kind, one.namespace, one.name)
        if live is not None and v.SUSPENDED in _annotations(live) and not self.dry_run:
            # heraci did that when its source was gone; now it is back.
            change = {"metadata": {"annotations": {v.SUSPENDED: None}}, "spec": {"suspend": None}}
            live = self.server.patch(one.kind, one.namespace, one.name, change)
        document = one.document
        if live is not None:
            self.used_before[one] = serving.template_of(live)
            if owner := _other_owner(one, live):
                return Fate(submission=one, what=What.FAILED, message=owner, document=live)
            commit = _labels(live).get(v.COMMIT_LABEL, "")
            if commit and not _same_run(one, live) and self.is_later(commit):
                message = f"A later commit, {commit[:10]}, has applied it."
                return Fate(submission=one, what=What.UNCHANGED, message=message, document=live)
            if _same_run(one, live):
                document = _as_told_before(document, live)
        made = self.server.apply(document, dry_run=self.dry_run)
        if live is None:
            return Fate(submission=one, what=What.CREATED, document=made)
        message = "" if v.COMMIT_LABEL in _labels(live) else "It was not heraci's until now."
        what = What.UNCHANGED if _told(made) == _told(live) else What.APPLIED
        return Fate(submission=one, what=what, message=message, document=made)


def _standing(
    server: Server, archive: Archive | None, created: Sequence[Submission]
) -> tuple[dict[tuple[str | None, str], Document], set[tuple[str, str, str | None]]]:
    """Find the runs of these commits that are there already, or were: one list, not a thousand.

    The second answer names the runs that only the archive knows.
    """
    found: dict[tuple[str | None, str], Document] = {}
    live: set[tuple[str | None, str]] = set()
    places = {(each.namespace, _labels(each.document)[v.COMMIT_LABEL]) for each in created}
    for namespace, commit in sorted(places, key=str):
        selector = f"{v.COMMIT_LABEL}={commit},{v.ATTEMPT_LABEL}"
        if archive is not None and namespace:
            try:
                gone = archive.archived(namespace, selector)
            except PermissionError:
                gone = []  # who may not look there is served as if there were none
            found |= {(namespace, each["metadata"]["name"]): each for each in gone}
        try:
            items, _ = server.objects("Workflow", namespace, selector, metadata_only=True)
        except PermissionError:
            continue  # who may only create finds out by the name, one at a time
        found |= {(namespace, each["metadata"]["name"]): each for each in items}
        live |= {(namespace, each["metadata"]["name"]) for each in items}
    return found, {("Workflow", name, place) for place, name in found.keys() - live}


def _waves(applied: Sequence[Submission]) -> Iterator[list[Submission]]:
    """Group objects so that what others refer to is there before them; a ring comes last."""
    needs = {each: set(references(each.document)) for each in applied}
    while needs:
        there = {(each.kind, each.name) for each in needs}
        blocked = {e: names for e, names in needs.items() if (names - {(e.kind, e.name)}) & there}
        ready = [each for each in needs if each not in blocked]
        yield ready or list(blocked)
        needs = blocked if ready else {}


def _held_back(
    one: Submission, failed: set[Submission], applied: Sequence[Submission]
) -> str | None:
    """Say why a run must wait for the next time: a template that it refers to is not there."""
    by_name = {(each.kind, each.name): each for each in applied}
    open_names, seen = list(references(one.document)), set()
    while open_names:
        name = open_names.pop()
        other = by_name.get(name)
        if other is None or name in seen:
            continue
        seen.add(name)
        if other in failed:
            return f"Not started: it refers to {other}, which could not be applied."
        open_names += references(other.document)
    return None


def references(node: Any) -> Iterator[tuple[str, str]]:
    """Find the kind and name of each template that a document refers to."""
    if isinstance(node, Mapping):
        for key in ("templateRef", "workflowTemplateRef"):
            reference = node.get(key)
            if isinstance(reference, Mapping) and reference.get("name"):
                cluster = "Cluster" if reference.get("clusterScope") else ""
                yield f"{cluster}WorkflowTemplate", reference["name"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list | tuple):
        for each in node:
            yield from references(each)


def _other_owner(one: Submission, live: Document) -> str | None:
    owner = _annotations(live).get(v.REPOSITORY)
    ours = _annotations(one.document).get(v.REPOSITORY)
    if v.COMMIT_LABEL in _labels(live) and owner and ours and owner != ours:
        return f"{one} belongs to another repository, {owner}. Rename one of the two."
    return None


def _same_run(one: Submission, live: Document) -> bool:
    return (
        _labels(live).get(v.COMMIT_LABEL) == _labels(one.document)[v.COMMIT_LABEL]
        and _annotations(live).get(v.DIGEST) == one.digest
    )


def _as_told_before(document: Document, live: Document) -> Document:
    """Keep who submitted it and in which CI run: the same commit again changes nothing."""
    metadata = document["metadata"]
    before = {key: text for key, text in _annotations(live).items() if key.startswith("heraci/")}
    labels = {key: text for key, text in _labels(live).items() if key.startswith("heraci/")}
    kept = {
        **metadata,
        "annotations": {**metadata["annotations"], **before},
        "labels": {**metadata["labels"], **labels},
    }
    return {**document, "metadata": kept}


def _concurrently(
    do: Callable[[Submission], Fate], submissions: Sequence[Submission], concurrency: int
) -> Iterator[Fate]:
    if not submissions:
        return
    workers = ThreadPoolExecutor(min(concurrency, len(submissions)))
    try:
        for done in as_completed([workers.submit(do, each) for each in submissions]):
            yield done.result()
    finally:
        # Interrupted: what is on its way ends, what waits is never begun.
        workers.shutdown(wait=True, cancel_futures=True)


def _told(document: Document) -> tuple[Any, ...]:
    """Take what a submission can change; versions do not tell, a dry run's stay as they were."""
    return document.get("spec"), _labels(document), _annotations(document)


def _labels(document: Document) -> Mapping[str, str]:
    return document["metadata"].get("labels") or {}


def _annotations(document: Document) -> Mapping[str, str]:
    return document["metadata"].get("annotations") or {}
