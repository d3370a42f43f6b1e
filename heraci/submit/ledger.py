"""What was submitted before, read from the labels on the cluster: the cluster is the ledger.

No record of its own could be lost, go stale or ask for more rights than submitting does; it serves
through the Kubernetes API and the Argo Server alike. What Argo's TTL has removed is known where an
archive is; where there is none, a forgotten submission only makes the next one look further back,
and what has run with the same manifest is not run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from heraci import naming
from heraci.submit import values as v
from heraci.submit.values import Archive, Document, Fate, Server, Submission, What


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One object that heraci submitted."""

    kind: str
    name: str
    experiment: str
    commit: str
    attempt: int | None  # None: applied, not created
    digest: str
    repository: str | None
    size: int | None
    created: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """All that heraci submitted to a namespace, as far as it is still known."""

    entries: tuple[Entry, ...] = ()

    def commits(self, repository: str | None = None) -> tuple[str, ...]:
        """List the commits that were submitted wholly, the latest first.

        Whoever wants the last one chooses by Git: a wanted re-run makes an old commit a late one.
        """
        by_commit: dict[str, list[Entry]] = {}
        for each in self.entries:
            if each.size is not None and repository in (None, each.repository):
                by_commit.setdefault(each.commit, []).append(each)
        whole = {commit: found for commit, found in by_commit.items() if _complete(found)}
        return tuple(
            sorted(whole, key=lambda commit: max(e.created for e in whole[commit]), reverse=True)
        )

    def without_repetition(
        self, submissions: Iterable[Submission]
    ) -> tuple[tuple[Submission, ...], tuple[Fate, ...]]:
        """Part what a catch-up has to run from what ran last with the same manifest."""
        submissions = tuple(submissions)
        known = {
            (each.experiment, each.stem): last
            for each in submissions
            if not each.applied
            and (last := self._last_run(each)) is not None
            and last.digest == each.digest
        }
        kept, skipped = [], []
        for each in submissions:
            last = known.get((each.experiment, each.stem))
            if last is None or each.kind == "CronWorkflow":
                kept.append(each)
            else:
                message = f"The last run, {last.name}, had the same manifest."
                skipped.append(Fate(submission=each, what=What.SKIPPED, message=message))
        return tuple(kept), tuple(skipped)

    def _last_run(self, one: Submission) -> Entry | None:
        ours = (
            each
            for each in self.entries
            if each.experiment == one.experiment
            and each.attempt is not None
            and each.kind == "Workflow"
            and each.name == naming.workflow_name(one.stem, each.commit, each.attempt)
        )
        return max(ours, key=lambda each: each.created, default=None)


def read(
    server: Server, namespace: str, *, archive: Archive | None = None, repository: str | None = None
) -> Ledger:
    """Read the ledger; kinds that one may not list are left out, which is on the safe side."""
    found: list[Entry] = []
    for kind in ("Workflow", "WorkflowTemplate", "CronWorkflow", "ClusterWorkflowTemplate"):
        place = None if kind.startswith("Cluster") else namespace
        selector = f"{v.COMMIT_LABEL},{v.ATTEMPT_LABEL}" if kind == "Workflow" else v.COMMIT_LABEL
        with suppress(PermissionError):
            items, _ = server.objects(kind, place, selector, metadata_only=True)
            found += _entries(kind, items)
    if archive is not None:
        here = {(each.kind, each.name) for each in found}
        with suppress(PermissionError):
            gone = archive.archived(namespace, f"{v.COMMIT_LABEL},{v.ATTEMPT_LABEL}")
            found += [
                each for each in _entries("Workflow", gone) if (each.kind, each.name) not in here
            ]
    ours = (e for e in found if repository is None or e.repository in (None, repository))
    return Ledger(entries=tuple(ours))


def sized(submissions: Iterable[Submission]) -> tuple[Submission, ...]:
    """Mark objects as all that their commit asks for, so that `commits` can tell a whole one."""
    submissions = tuple(submissions)
    return tuple(_sized(each, len(submissions)) for each in submissions)


def _sized(one: Submission, size: int) -> Submission:
    metadata = one.document["metadata"]
    annotations = {**metadata["annotations"], v.SUBMISSION_SIZE: str(size)}
    document = {**one.document, "metadata": {**metadata, "annotations": annotations}}
    return replace(one, document=document)


def _complete(entries: list[Entry]) -> bool:
    """Tell whether all objects of one of the commit's attempts are there."""
    applied = sum(each.attempt is None for each in entries)
    for attempt in {each.attempt for each in entries}:
        created = [each for each in entries if each.attempt == attempt and attempt is not None]
        sizes = [each.size or 0 for each in created or entries]
        if applied + len(created) >= max(sizes):
            return True
    return False


def _entries(kind: str, items: Iterable[Document]) -> Iterator[Entry]:
    for item in items:
        metadata: Mapping[str, Any] = item["metadata"]
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        attempt, size = labels.get(v.ATTEMPT_LABEL, ""), annotations.get(v.SUBMISSION_SIZE, "")
        yield Entry(
            kind=kind,
            name=metadata["name"],
            experiment=annotations.get(v.EXPERIMENT) or labels.get(v.EXPERIMENT_LABEL, ""),
            commit=labels.get(v.COMMIT_LABEL, ""),
            attempt=int(attempt) if attempt.isdigit() else None,
            digest=annotations.get(v.DIGEST, ""),
            repository=annotations.get(v.REPOSITORY),
            size=int(size) if size.isdigit() else None,
            created=metadata.get("creationTimestamp") or "",
        )
