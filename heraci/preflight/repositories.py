"""Whether artifacts have a repository to go to, and the Secrets that open it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from heraci import document
from heraci.bundle import Requirement, Severity
from heraci.looks import Answer, Look
from heraci.needs import Needs
from heraci.preflight.argo import Controller
from heraci.preflight.cases import Case, Findings
from heraci.preflight.existence import Existence
from heraci.preflight.ground import CONTROLLER, KINDS, Ground

# The ConfigMap where Argo looks, and the annotation that names its key, where nothing else does.
NAME = "artifact-repositories"
DEFAULT = "workflows.argoproj.io/default-artifact-repository"


def default_repositories(cases: Iterable[Case], namespace: str) -> list[Case]:
    """Give what has to be looked at for artifacts that name no repository."""
    return [
        Case(experiment=case.experiment, declared=(_default(case, namespace),))
        for case in cases
        if case.needs.stores
    ]


def _default(case: Case, namespace: str) -> Requirement:
    at = case.needs.stores[0]
    return Requirement(
        kind="ConfigMap",
        name=NAME,
        namespace=None if case.namespace(namespace) == namespace else case.namespace(namespace),
        keys=("",),  # of no name, yet reason to look at its content
        template=at.template,
        source=at.source,
    )


@dataclass(frozen=True, slots=True)
class Repositories:
    """Finds the artifact repositories that cases use, as Argo does."""

    ground: Ground
    existence: Existence
    controller: Controller

    def of_controller(self, requirement: Requirement) -> tuple[Mapping[str, Any] | None, bool]:
        """Find a repository where Argo looks next: in its controller's namespace.

        Gives what was found, and whether looking was possible.
        """
        kind = KINDS["ConfigMap"]
        if not self.ground.rights().may("get", kind, requirement.name):
            return None, False
        seen = self.ground.see(Look(path=kind.path(self.controller.namespace, requirement.name)))
        return (seen.items[0], True) if seen.items else (None, seen.answer is Answer.ABSENT)

    def secrets(self, cases: Iterable[Case]) -> list[Case]:
        """Give the Secrets that repositories name, as further requirements."""
        return [
            Case(experiment=case.experiment, manifest=case.manifest, needs=Needs(requirements=own))
            for case in cases
            if (own := tuple(self._secrets_of(case)))
        ]

    def _secrets_of(self, case: Case) -> Iterator[Requirement]:
        for requirement in case.needs.requirements:
            if requirement.kind == "ConfigMap" and requirement.name in case.needs.repositories:
                yield from _secrets_in(self._content(requirement), requirement)
        if case.needs.stores:
            requirement = _default(case, self.ground.namespace)
            content = self._default_content(requirement)
            found = content or self.controller.configured("artifactRepository")
            yield from _secrets_in(found, requirement)

    def _item(self, requirement: Requirement) -> Mapping[str, Any]:
        namespace = requirement.namespace or self.ground.namespace
        found = self.existence.item("ConfigMap", requirement.name, namespace)
        return found or {}

    def _content(self, requirement: Requirement) -> list[Any]:
        data = self._item(requirement).get("data") or {}
        return [_read(data.get(key)) for key in requirement.keys]

    def _default_content(self, requirement: Requirement) -> Any:
        item = self._item(requirement)
        noted = ((item.get("metadata") or {}).get("annotations") or {}).get(DEFAULT)
        return _read((item.get("data") or {}).get(noted))

    def check(self, cases: Iterable[Case], findings: Findings) -> None:
        """Say whose artifacts have nowhere to go."""
        for case in cases:
            if not case.needs.stores:
                continue
            requirement = _default(case, self.ground.namespace)
            if self._default_content(requirement) or self.controller.configured(
                "artifactRepository"
            ):
                continue
            places = [*map(case.at, case.needs.stores)]
            namespace = case.namespace(self.ground.namespace)
            configured = f"{self.controller.namespace}/{CONTROLLER}-configmap"
            unseen = not self.existence.could_see(requirement)
            if self.controller.configuration is None or unseen:
                findings.add(
                    "not-checked",
                    "Artifacts go to the default repository, and this account did not see whether "
                    f"namespace {namespace} or Argo's controller ({configured}) has one.",
                    "",
                    places[:1],
                    Severity.NOTICE,
                )
                continue
            findings.add(
                "missing-artifact-repository",
                "There is no artifact repository: neither namespace "
                f"{namespace} nor Argo's controller has a default one.",
                f"Create the ConfigMap {NAME!r} with the annotation {DEFAULT}: KEY, or set "
                f"artifactRepository in {configured}.",
                places,
            )


def _read(text: Any) -> Any:
    try:
        return (document.load(text) or [None])[0] if text else None
    except (TypeError, ValueError):
        return None


def _secrets_in(node: Any, requirement: Requirement) -> Iterator[Requirement]:
    """Find references to Secrets at any depth of an artifact repository."""
    children = node.items() if isinstance(node, dict) else ()
    for each in node if isinstance(node, list) else ():
        yield from _secrets_in(each, requirement)
    for key, each in children:
        if isinstance(each, dict) and str(key).endswith("Secret") and each.get("name"):
            keys = (str(each["key"]),) if each.get("key") else ()
            yield replace(requirement, kind="Secret", name=str(each["name"]), keys=keys)
        else:
            yield from _secrets_in(each, requirement)
