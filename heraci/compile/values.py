"""What the compiler is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heraci.bundle import Finding, Manifest, Requirement, Severity
from heraci.compile.workers import Limits
from heraci.tree import Tree


@dataclass(frozen=True, kw_only=True)
class Request:
    """One experiment to compile from one tree.

    `files` are the paths that it is known to need. `strict` makes it an error to build nothing.
    `arguments` are for its own parser, `environ` holds variables that it may see, `namespace`,
    `argo_server` and `service_account` are the target's. `dependencies` is the file that says what
    packages it needs, None for heraci's own Python.
    """

    name: str
    path: str
    tree: Tree = field(repr=False)
    files: tuple[str, ...]
    function: str | None = None
    whole_tree: bool = False
    strict: bool = True
    others: tuple[str, ...] = ()
    experiments_dir: str = "experiments"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    own_environment: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    namespace: str | None = None
    argo_server: str | None = None
    service_account: str | None = None
    dependencies: str | None = None
    python: str | None = None
    pin_randomness: bool = True
    allow_network: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What compiling one experiment gave.

    `failed` says that its manifests are not to be used. `text` is the YAML of all manifests,
    `source_files` are the repository's files that decided the result.
    """

    name: str
    path: str
    manifests: tuple[Manifest, ...] = ()
    text: str = ""
    requirements: tuple[Requirement, ...] = ()
    findings: tuple[Finding, ...] = ()
    source_files: tuple[str, ...] = ()
    failed: bool = False
    empty: bool = False
    log: str = ""
    python: str | None = None
    hera: str | None = None
    pins: tuple[str, ...] = ()
    cached: bool = False


def problem(request: Request, rule: str, message: str) -> Finding:
    return Finding(
        rule=rule,
        severity=Severity.ERROR,
        message=message,
        experiment=request.name,
        file=request.path,
    )


def failed(request: Request, finding: Finding) -> Outcome:
    return Outcome(name=request.name, path=request.path, findings=(finding,), failed=True)


def differ(base: Outcome, head: Outcome) -> bool:
    """Tell whether two outcomes would start different things on the cluster."""
    return [each.digest for each in base.manifests] != [each.digest for each in head.manifests]
