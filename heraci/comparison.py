"""What a review is written from: base and head side by side, and what merging will start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from heraci.bundle import Bundle, CompiledExperiment, Finding, Manifest

TIMES = "\N{MULTIPLICATION SIGN}"


class ChangeKind(StrEnum):
    """What happened to a part of a manifest; SAME is said of nodes in a picture only."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


class Area(StrEnum):
    """Which part of a manifest changed, the most telling first."""

    NAME = "name"
    SCHEDULE = "schedule"
    PARAMETER = "parameter"
    SPACE = "parameter space"
    TEMPLATE = "template"
    TASK = "task"
    STEP = "step"
    LOOP = "loop"
    CONDITION = "condition"
    ORDER = "order"
    ARGUMENT = "argument"
    INPUT = "input"
    OUTPUT = "output"
    IMAGE = "image"
    SCRIPT = "script"
    COMMAND = "command"
    RESOURCES = "resources"
    VOLUME = "volume"
    MOUNT = "mount"
    VARIABLE = "variable"
    LABEL = "label"
    ANNOTATION = "annotation"
    SETTING = "setting"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One difference between two manifests that a reviewer should see.

    `places` are the templates (`TEMPLATE`) and tasks (`TEMPLATE/TASK`) that share it, none for the
    object itself. `path` is the first one's place in the document. `old` and `new` are raw and as
    long as the data is; a text of several lines is told by `note` alone. `source` is `file:line`.
    """

    kind: ChangeKind
    area: Area
    name: str = ""
    places: tuple[str, ...] = ()
    path: str = ""
    old: str | None = None
    new: str | None = None
    note: str = ""
    source: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One step or task in a picture, or several alike drawn as one.

    `repeats` is what a loop makes of it: TIMES and a number, or `?` where that is not known.
    """

    name: str
    runs: str = ""
    members: int = 1
    repeats: str = ""
    conditional: bool = False
    state: ChangeKind = ChangeKind.SAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """The picture of one DAG or steps template; edges are pairs of positions in `nodes`."""

    template: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How many: between `least` and `most`, which is None where nobody can know it."""

    least: int
    most: int | None

    @property
    def exact(self) -> bool:
        """Whether there is only one answer."""
        return self.least == self.most


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """A sum of requests; `most` is None where it is not known."""

    least: Fraction
    most: Fraction | None


class Starts(StrEnum):
    """What merging does with an object."""

    CREATED = "created"
    APPLIED = "applied"
    SCHEDULED = "scheduled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one manifest makes of itself on the cluster.

    `pods`, `longest_path` (in pods) and `requests` (by resource, in cores, bytes or pieces) are
    those of one run: of the run that merging starts for a workflow, of each later one for
    templates and crons. `silent` are the pods that request neither CPU nor memory. `unknown` says
    why a number is not known.
    """

    starts: Starts
    kind: str
    name: str
    namespace: str | None = None
    pods: Count
    longest_path: Count
    requests: Mapping[str, Amount] = field(default_factory=dict)
    silent: Count = Count(least=0, most=0)
    parallelism: int | None = None
    schedules: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedManifest:
    """One manifest at base and at head; one of the two is None where it was added or removed.

    `compared` is False where there was no base to compare with, which is not the same as added.
    `yaml` is the unified diff of the two texts, or the one text where there is only one.
    """

    base: Manifest | None
    head: Manifest | None
    compared: bool = True
    changes: tuple[Change, ...] = ()
    yaml: str = ""
    graphs: tuple[Graph, ...] = ()
    plan: Plan | None = None
    base_plan: Plan | None = None

    @property
    def kind(self) -> ChangeKind | None:
        """What happened to this manifest; None where nothing was compared."""
        if not self.compared:
            return None
        if self.base is None:
            return ChangeKind.ADDED
        if self.head is None:
            return ChangeKind.REMOVED
        same = self.base.digest == self.head.digest
        return ChangeKind.SAME if same else ChangeKind.CHANGED

    @property
    def shown(self) -> Manifest:
        """The manifest to name: the head's where there is one."""
        manifest = self.head or self.base
        assert manifest is not None, "a comparison has two sides, and at least one manifest"
        return manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedExperiment:
    """One experiment with its manifests side by side."""

    experiment: CompiledExperiment
    manifests: tuple[ComparedManifest, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a quota grants of one resource (`requests.cpu`, `pods`, …) and what is used of it."""

    resource: str
    hard: Fraction
    used: Fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """All that a review says, before it is written for any reader.

    `findings` are those of every stage. `asserted` is None where asserting was not asked for.
    `source_url` is what a file's path is appended to (`…/blob/SHA/`), None for no links.
    `elsewhere` says where the reader finds what was left out for its size, and `elsewhere_url`
    links there; both are ours and not data.
    """

    bundle: Bundle
    experiments: tuple[ComparedExperiment, ...] = ()
    findings: tuple[Finding, ...] = ()
    asserted: bool | None = None
    quota: tuple[Room, ...] = ()
    submit_unchanged: bool = False
    source_url: str | None = None
    elsewhere: str = "the bundle"
    elsewhere_url: str | None = None
