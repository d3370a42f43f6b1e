"""Whether a cluster has what experiments need ("assert" is a keyword): requirements to findings.

Nothing is created. What this account may not look at is a notice, never a failure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heraci.bundle import Finding, Severity
from heraci.looks import Answer, Look, Seen
from heraci.preflight import argo, claims, references, repositories, rights, room, tokens
from heraci.preflight.cases import Case, Findings, Place
from heraci.preflight.existence import Existence, Explained
from heraci.preflight.explanation import explanation
from heraci.preflight.ground import (
    DISCOVERY,
    KINDS,
    Ground,
    Inventory,
    namespace_look,
    rights_look,
)

__all__ = ["Case", "Explained", "Inventory", "Report", "check"]

# Says of each image whether it is there, None where nobody would tell, and why.
FindImages = Callable[[Sequence[str]], Mapping[str, tuple[bool | None, str]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was found: findings, and for `explain` all that was looked at.

    `grouped` says the same as `findings`, to people: once for all experiments that have it.
    """

    findings: tuple[Finding, ...]
    grouped: tuple[Finding, ...]
    explained: tuple[Explained, ...]
    looked: tuple[tuple[Look, Seen], ...]
    requests: int
    dry_runs: int

    def explanation(self) -> list[str]:
        """Write all that was looked at, a line each."""
        return list(
            explanation(self.explained, self.looked, requests=self.requests, dry_runs=self.dry_runs)
        )


def check(
    cases: Sequence[Case],
    *,
    namespace: str,
    inventory: Inventory,
    check_secret_keys: bool = False,
    template_only: bool = False,
    find_images: FindImages | None = None,
    read: references.Read | None = None,
) -> Report:
    """Hold cases against the cluster; raises what keeps the inventory from looking at all.

    `template_only` says that workflows will be submitted as references to a template. `read` reads
    a manifest again, once the templates of the cluster are at hand that it refers to.
    """
    ground, findings = Ground(inventory, namespace), Findings()
    namespaces = sorted({namespace, *(case.namespace(namespace) for case in cases)})
    ground.look([*map(rights_look, namespaces), DISCOVERY])
    existence = Existence(
        ground, findings, check_secret_keys=check_secret_keys, looked_at=frozenset(namespaces)
    )
    there = _take_stock(cases, namespaces, existence, read)
    own = [case for case in there if case.manifest]
    for case in there:
        findings.pass_on(case.needs.findings)
    installed = bool(own) and argo.is_installed(ground, own, findings)
    accounts = rights.Accounts(ground, findings)
    reserved = len(set(accounts.looks(own))) if installed else 0
    ground.look(_namespace_looks(ground, namespaces, reserved))
    _say_which_go(ground, own, findings)
    controller = argo.Controller()
    if installed:
        controller = argo.find_controller(ground, own, findings, reserved=reserved)
        argo.check_configuration(controller, own, findings, template_only=template_only)
        accounts.take_defaults(controller)
        ground.look(accounts.looks(own))
    stores = repositories.Repositories(ground, existence, controller)
    existence.elsewhere = stores.of_controller
    existence.check([*there, *stores.secrets(there), *tokens.secrets(there, existence, accounts)])
    dry_runs = 0
    if own:
        if installed:
            rights.check_own_rights(ground, own, findings)
            accounts.check(own, missing=existence.missing_accounts)
            stores.check(own, findings)
        _check_actions(ground, own, findings)
        references.check_calls(own, findings)
        claims.check_own_claims(ground, own, findings)
        claims.check_shared(existence, own, findings)
        room.check_room(ground, own, findings)
        if installed:
            argo.check_definitions(ground, findings)
            dry_runs = _try_out(ground, own, findings)
    if find_images is not None:
        _check_images(cases, find_images, findings)
    return Report(
        findings=findings.result(),
        grouped=findings.grouped(),
        explained=tuple(existence.explained),
        looked=tuple(ground.known.items()),
        requests=inventory.requests,
        dry_runs=dry_runs,
    )


def _take_stock(
    cases: Sequence[Case],
    namespaces: Sequence[str],
    existence: Existence,
    read: references.Read | None,
) -> list[Case]:
    """Look at all that is required; gives the cases whose namespace is there, read to the end."""
    ground, namespace = existence.ground, existence.ground.namespace
    ground.look(
        [
            *existence.looks([*cases, *_beside(cases, namespace)]),
            *room.room_looks(ground, namespaces),
            *argo.controller_looks(ground),
        ]
    )
    gone = _missing_namespaces(ground, cases, existence.findings)
    there = [case for case in cases if case.namespace(namespace) not in gone]
    existence.take_stock([*there, *_beside(there, namespace)])
    if read is not None:
        there = references.follow(there, existence, read)
    looked_for = [*there, *_beside(there, namespace)]
    ground.look([*existence.looks(looked_for), *claims.class_looks(existence, there)])
    existence.take_stock(looked_for)
    return there


def _beside(cases: Sequence[Case], namespace: str) -> list[Case]:
    """Give what has to be looked at beside what is required, to know what that is."""
    return [*repositories.default_repositories(cases, namespace), *tokens.accounts(cases)]


def _namespace_looks(
    ground: Ground, namespaces: Iterable[str], reserved: int = 0
) -> Iterator[Look]:
    for number, namespace in enumerate(namespaces):
        may = ground.rights(namespace).may("get", KINDS["Namespace"], namespace)
        if may and ground.may_ask_more(reserved + number):
            yield namespace_look(namespace)


def _missing_namespaces(
    ground: Ground, cases: Sequence[Case], findings: Findings
) -> frozenset[str]:
    """Say which namespaces are not there; one that holds anything is, and is not asked for."""
    places: dict[str, list[Place]] = {}
    for case in cases:
        places.setdefault(case.namespace(ground.namespace), []).append(case.place())
    empty = {each: at for each, at in places.items() if not _holds_anything(ground, each)}
    ground.look(_namespace_looks(ground, empty))
    gone = set()
    for namespace, concerned in empty.items():
        seen = ground.known.get(namespace_look(namespace))
        if seen and seen.answer is Answer.ABSENT:
            gone.add(namespace)
            findings.add(
                "missing-namespace",
                f"Namespace {namespace!r} is not there.",
                f"Create it: kubectl create namespace {namespace}",
                concerned,
                once=True,
            )
        elif seen is None or not seen.items:
            what = f"whether {namespace} is there"
            findings.unseen(KINDS["Namespace"], namespace, what)
    return frozenset(gone)


def _say_which_go(ground: Ground, cases: Iterable[Case], findings: Findings) -> None:
    """Say which namespaces are being deleted."""
    for case in cases:
        namespace = case.namespace(ground.namespace)
        seen = ground.known.get(namespace_look(namespace))
        status = (seen.items[0].get("status") or {}) if seen and seen.items else {}
        if status.get("phase") == "Terminating":
            findings.add(
                "missing-namespace",
                f"Namespace {namespace!r} is being deleted.",
                f"Wait until it is gone, then create it: kubectl create namespace {namespace}",
                [case.place()],
                once=True,
            )


def _holds_anything(ground: Ground, namespace: str) -> bool:
    start = f"/namespaces/{namespace}/"
    return any(
        seen.items for look, seen in ground.known.items() if start in look.path and not look.body
    )


def _check_actions(ground: Ground, cases: Iterable[Case], findings: Findings) -> None:
    """Say which kinds that resource templates act on the cluster does not know."""
    for case in cases:
        for action in case.needs.actions:
            served = ground.served(action.api_version)
            if not action.kind or action.kind in KINDS or served is None or action.kind in served:
                continue
            findings.add(
                "missing-kind",
                f"The cluster knows no kind {action.kind} ({action.api_version}).",
                "Install the operator that brings it, or use another cluster.",
                [case.place(action.source, action.template)],
            )


# --- images ---------------------------------------------------------------------------------------


def _check_images(cases: Iterable[Case], find_images: FindImages, findings: Findings) -> None:
    places: dict[str, list[Place]] = {}
    for case in cases:
        for pod in case.needs.pods:
            for container in pod.containers:
                if container.image:
                    place = case.place(pod.source, pod.template)
                    places.setdefault(container.image, []).append(place)
    for image, (there, why) in find_images(list(places)).items():
        if there is False:
            how = "Push it, or correct its name or tag."
            what = f"The image {image!r} does not exist: {why}."
            findings.add("missing-image", what, how, places[image])
        elif there is None:
            what = f"Whether the image {image!r} exists was not asserted: {why}."
            findings.add("not-checked", what, "", places[image][:1], Severity.NOTICE)


# --- dry runs -------------------------------------------------------------------------------------


def _try_out(ground: Ground, cases: Sequence[Case], findings: Findings) -> int:
    """Let the server say whether it would take each distinct manifest."""
    trials: dict[Look, list[Case]] = {}
    for case in cases:
        if not rights.missing_verbs(ground, case.kind, case.namespace(ground.namespace)):
            look = _trial(case, ground.namespace)
            if look is not None:
                trials.setdefault(look, []).append(case)
    if not trials:
        return 0
    for seen, concerned in zip(
        ground.inventory.try_out(list(trials)), trials.values(), strict=True
    ):
        if seen.answer is Answer.FORBIDDEN:
            how = "Give this account the right to create it."
            places = [case.place() for case in concerned]
            what = f"No dry run was made: {seen.said}."
            findings.add("missing-right", what, how, places, once=True)
        elif seen.answer is not Answer.SEEN:
            _refused(seen, concerned, findings)
    return len(trials)


def _trial(case: Case, namespace: str) -> Look | None:
    manifest = case.manifest
    kind = KINDS.get(case.kind)
    if manifest is None or kind is None:
        return None
    body = dict(manifest.document)
    within = case.namespace(namespace) if kind.namespaced else None
    if within:
        metadata = body.get("metadata")
        body["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "namespace": within}
    return Look(path=kind.path(within), body=json.dumps(body, default=str))


def _refused(seen: Seen, cases: Sequence[Case], findings: Findings) -> None:
    if "does not support dry run" in seen.said:
        said = f"The server cannot say whether it would take this: {seen.said.rstrip('.')}."
        findings.add("not-checked", said, "", [cases[0].place()], Severity.NOTICE)
        return
    if "exceeded quota" in seen.said and {"quota-too-small", "quota-used-up"} & findings.rules():
        return  # said already, with what to do
    for case in cases:
        place = _place_in(case, seen.said)
        what = (
            f"The server would refuse {case.kind} {case.manifest.name if case.manifest else ''!r}: "
        )
        findings.add("refused-by-server", what + seen.said.rstrip(".") + ".", "", [place])


def _place_in(case: Case, said: str) -> Place:
    """Find the template that a server's message is about."""
    found = re.search(r"spec(?:\.workflowSpec)?\.templates\[(\d+)\]", said)
    document: Mapping[str, Any] = case.manifest.document if case.manifest else {}
    spec = document.get("spec") or {}
    templates = (spec.get("workflowSpec") or spec).get("templates") or []
    if found is None or int(found[1]) >= len(templates) or case.manifest is None:
        return case.place()
    name = str(templates[int(found[1])].get("name"))
    return case.place(case.manifest.sources.get(name), name)
