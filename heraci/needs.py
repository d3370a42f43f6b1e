"""What a manifest needs of a cluster, as frozen values: resources, pods, and what it creates.

`heraci.requirements` reads them from manifests, `heraci.preflight` holds them against a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, DecimalException
from typing import Any

from heraci.bundle import Finding, Requirement

_QUANTITY = re.compile(r"([+-]?[\d.]+)(?:([eE][+-]?\d+)|([A-Za-z]*))")
# No cluster has as much of anything.
_BEYOND = Decimal("1e30")
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    **{name: Decimal(1024**n) for n, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


def quantity(text: Any) -> Decimal | None:
    """Read a Kubernetes quantity (`500m`, `4Gi`, `1e3`); None for what is none."""
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None or match[3] not in {None, *_SUFFIXES} or match[1].count(".") > 1:
        return None
    if not re.search(r"\d", match[1]):
        return None
    try:
        number = Decimal(match[1] + (match[2] or "")) * _SUFFIXES[match[3] or ""]
    except DecimalException:
        return None
    return number if abs(number) < _BEYOND else None


@dataclass(frozen=True, slots=True)
class At:
    """A place in an experiment: the `file:line`, and the template where it is one's."""

    source: str | None = None
    template: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One container of a pod, with what it asks of the node; quantities as they were written."""

    name: str
    image: str | None = None
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    init: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Expression:
    """What a node affinity asks of one label, or of the node's name (a field)."""

    key: str
    operator: str
    values: tuple[str, ...] = ()
    field: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """What one template's pod asks for.

    `copies` counts how often the workflow starts it, as far as its own arguments decide that.
    `affinity` holds the terms of the required node affinity, one of which a node has to meet.
    `spec` is the pod's spec as far as manifests decide it: volumes, security contexts, priority.
    """

    template: str
    source: str | None = None
    containers: tuple[Container, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: tuple[tuple[Expression, ...], ...] = ()
    service_account: str | None = None
    copies: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A volume claim that the workflow itself creates, from a volumeClaimTemplate.

    `storage_class` is None where the cluster's default is meant, empty where none is to be used.
    """

    name: str
    storage: str | None = None
    storage_class: str | None = None
    access: tuple[str, ...] = ()
    source: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A template of another manifest that is run with these parameters and artifacts.

    `template` is the one inside a WorkflowTemplate; None where all of it is run, from `entrypoint`
    if the workflow names one.
    """

    kind: str
    name: str
    template: str | None = None
    entrypoint: str | None = None
    parameters: frozenset[str] = frozenset()
    artifacts: frozenset[str] = frozenset()
    caller: str | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What a resource template does, through the API, to an object of some kind.

    `waits` says that it looks at the object afterwards, for a condition or a value.
    """

    verb: str
    api_version: str
    kind: str
    name: str | None = None
    namespace: str | None = None
    template: str | None = None
    source: str | None = None
    service_account: str | None = None
    waits: bool = False

    @property
    def makes(self) -> bool:
        """Tell whether the object is there because of this."""
        return self.verb in {"create", "apply"} and self.name is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """All that one manifest needs.

    `accounts` are the service accounts whose tokens Argo's executor uses, each with a place that
    needs it; of those in `tokens` Argo mounts the token from a Secret. `collectors` are the
    accounts that remove artifacts. `agent` says that a template needs Argo's agent (http, plugin).
    `typed` maps ConfigMaps to the value that their label `workflows.argoproj.io/configmap-type`
    must have for Argo. `repositories` are ConfigMaps of artifact repositories, `stores` the
    templates whose artifacts go to whatever repository is the default. `semaphores` are ConfigMaps
    with the keys that hold limits, `databases` the places whose limits are in a database.
    `findings` tell what could not be read from the manifest alone.
    """

    requirements: tuple[Requirement, ...] = ()
    pods: tuple[Pod, ...] = ()
    claims: tuple[Claim, ...] = ()
    actions: tuple[Action, ...] = ()
    calls: tuple[Call, ...] = ()
    accounts: Mapping[str, At] = field(default_factory=dict)
    tokens: Mapping[str, At] = field(default_factory=dict)
    collectors: Mapping[str, At] = field(default_factory=dict)
    agent: bool = False
    typed: Mapping[str, str] = field(default_factory=dict)
    repositories: frozenset[str] = frozenset()
    stores: tuple[At, ...] = ()
    semaphores: frozenset[tuple[str, str]] = frozenset()
    databases: tuple[At, ...] = ()
    parallelism: int | None = None
    findings: tuple[Finding, ...] = ()
