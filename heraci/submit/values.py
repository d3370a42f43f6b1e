"""What a submission is made of and what became of it; frozen, and the same for every server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

COMMIT_LABEL = "heraci/commit"
EXPERIMENT_LABEL = "heraci/experiment"
ATTEMPT_LABEL = "heraci/attempt"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"

EXPERIMENT = "heraci/experiment"
DIGEST = "heraci/digest"
TARGET = "heraci/target"
REPOSITORY = "heraci/repository"
PULL_REQUEST = "heraci/pull-request"
ACTOR = "heraci/actor"
CI_RUN = "heraci/ci-run"
VERSION = "heraci/version"
# Which process created it: tells "created, but the answer was lost" from "was already there".
SUBMISSION = "heraci/submission"
# How many objects the whole submission of that commit has: tells whether all of them came to be.
SUBMISSION_SIZE = "heraci/submission-size"
# On a cron that heraci suspended because its source was gone.
SUSPENDED = "heraci/suspended"
TITLE = "workflows.argoproj.io/title"
DESCRIPTION = "workflows.argoproj.io/description"

# Argo's own labels.
PHASE_LABEL = "workflows.argoproj.io/phase"
CRON_LABEL = "workflows.argoproj.io/cron-workflow"

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a run comes from: what its labels and annotations tell."""

    commit: str
    attempt: int = 1
    target: str | None = None
    repository: str | None = None
    pull_request: str | None = None
    actor: str | None = None
    ci_run: str | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One object to be on the cluster: complete, named and labelled.

    `stem` is the name before commit and attempt; `source` is `file:line`; `serves` is the kind and
    name of the run or cron for which alone heraci made this template.
    """

    experiment: str
    kind: str
    namespace: str | None
    name: str
    stem: str
    digest: str
    document: Document = field(repr=False, hash=False)
    source: str | None = None
    serves: tuple[str, str] | None = None

    @property
    def applied(self) -> bool:
        """Say whether it is kept up to date under one name, rather than created once."""
        return self.kind != "Workflow"

    def __str__(self) -> str:
        """Kind, namespace where it has one, and name."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


class What(StrEnum):
    """What became of one object."""

    CREATED = "created"
    ALREADY_THERE = "already there"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"  # a catch-up: its last run had the same manifest
    FAILED = "failed"
    ORPHANED = "orphaned"  # its source is gone, it is not
    SUSPENDED = "suspended"
    DELETED = "deleted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What became of one object, and why; `document` is the object as the server has it."""

    submission: Submission
    what: What
    message: str = ""
    document: Document | None = field(default=None, repr=False)


class Phase(StrEnum):
    """Where a run stands; the first two are on their way, the others are ends."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"
    DELETED = "Deleted"

    @property
    def ended(self) -> bool:
        """Say whether nothing more will happen."""
        return self not in (Phase.PENDING, Phase.RUNNING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One workflow on the cluster (or in the archive) and how it fares."""

    namespace: str
    name: str
    experiment: str
    commit: str
    attempt: int
    phase: Phase
    progress: str = ""
    message: str = ""
    created: str = ""
    started: str = ""
    finished: str = ""
    uid: str = ""
    digest: str = ""
    archived: bool = False


class Server(Protocol):
    """What submitting asks of a server; its errors are HeraciErrors.

    `create` raises FileExistsError where the name seems taken, all of them PermissionError where a
    right is missing and ConnectionError where no answer came: each also a HeraciError.
    """

    def find(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """Return an object, None where there is none of that name."""

    def objects(
        self, kind: str, namespace: str | None, labels: str, *, metadata_only: bool = False
    ) -> tuple[list[dict[str, Any]], str]:
        """List what a label selector finds, and the version to watch from."""

    def create(self, document: Document, *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object."""

    def apply(self, document: Document, *, dry_run: bool = False) -> dict[str, Any]:
        """Make an object be as the document says."""

    def patch(
        self, kind: str, namespace: str | None, name: str, change: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change a few fields."""

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        """Delete an object."""

    def watch(
        self, kind: str, namespace: str | None, labels: str, since: str, seconds: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what changes since a version, for some seconds at most."""


class Archive(Protocol):
    """What submitting asks of Argo's archive of workflows that are gone from the cluster."""

    def archived(self, namespace: str, labels: str) -> list[dict[str, Any]]:
        """List the archived workflows that a label selector finds."""
