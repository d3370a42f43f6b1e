"""Whether Argo is there: its definitions, its controller, and a version that fits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from heraci import document
from heraci.bundle import Severity
from heraci.looks import Answer, Look, name_of
from heraci.preflight.cases import Case, Findings, Place
from heraci.preflight.ground import ARGO, ARGO_GROUP, CONTROLLER, DEPLOYMENTS, KINDS, Ground

# Before 3.5 what Hera writes is not understood; heraci is tested with 3.6 and 4.1.
OLDEST, OLDEST_TESTED, NEWEST_MAJOR = (3, 5), (3, 6), 4
# Fields that came with 3.6; an older controller passes over them without a word.
NEW_FIELDS = frozenset({"mutexes", "schedules", "semaphores"})
INSTALL = (
    "Install Argo Workflows: https://argo-workflows.readthedocs.io/en/latest/installation/, or "
    "choose the cluster that has it."
)
# Controllers that are looked at: there may be one for each of many namespaces.
MOST_CONTROLLERS = 3
# The label of a workflow that one of several controllers is to act on.
INSTANCE = "workflows.argoproj.io/controller-instanceid"

DEFINITION = Look(path=KINDS["CustomResourceDefinition"].path(name="workflows.argoproj.io"))


def is_installed(ground: Ground, cases: Sequence[Case], findings: Findings) -> bool:
    """Say which of Argo's kinds the cluster does not know; False where it knows none."""
    places = [case.place() for case in cases]
    served = ground.served(ARGO)
    if served is None:
        said = "Whether Argo is installed could not be looked up."
        findings.note("not-checked", said)
        return True
    if not served:
        what = f"The cluster does not know {ARGO_GROUP}: Argo Workflows is not installed there."
        findings.add("missing-argo", what, INSTALL, places, once=True)
        return False
    needed: dict[str, list[Place]] = {"WorkflowTaskResult": places}
    for case in cases:
        kinds = [each.kind for each in case.requirements if each.api_version == ARGO]
        for kind in (case.kind, *kinds, *(["WorkflowTaskSet"] if case.needs.agent else [])):
            if kind:
                needed.setdefault(kind, []).append(case.place())
    for kind, concerned in needed.items():
        if kind not in served:
            what = f"The cluster does not know Argo's kind {kind}."
            findings.add("missing-definition", what, INSTALL, concerned, once=True)
    return True


def check_definitions(ground: Ground, findings: Findings) -> None:
    """Say where Argo's definitions look at nothing, so that a dry run proves little."""
    kind = KINDS["CustomResourceDefinition"]
    may = ground.rights().may("get", kind, "workflows.argoproj.io")
    if not (may and ground.may_ask_more()):
        return
    for definition in ground.see(DEFINITION).items:
        if not _looks_below_spec(definition):
            findings.note(
                "minimal-definitions",
                "Argo's minimal definitions are installed: the server takes any field below spec, "
                "so a dry run finds no misspelt one.",
                "Install the full ones, Argo's default since 4.0.",
            )


def _looks_below_spec(definition: Mapping[str, Any]) -> bool:
    for version in (definition.get("spec") or {}).get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        spec = (schema.get("properties") or {}).get("spec") or {}
        if spec.get("properties"):
            return True
    return False


def controller_looks(ground: Ground) -> Iterator[Look]:
    """Give what has to be looked at first."""
    if ground.rights().may("list", KINDS["Deployment"]):
        yield DEPLOYMENTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Controller:
    """Argo's controller, as far as this account may look.

    `configuration` is what its ConfigMap says, None where that is unknown. `managed` is the one
    namespace that it acts in, None where it acts in all. `absent` says that it has no ConfigMap.
    """

    namespace: str = "argo"
    deployment: Mapping[str, Any] | None = None
    managed: str | None = None
    configuration: Mapping[str, Any] | None = None
    absent: bool = False

    def configured(self, *keys: str) -> Any:
        """Give a value of its configuration, None where there is none."""
        found: Any = self.configuration
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found


def find_controller(
    ground: Ground, cases: Sequence[Case], findings: Findings, *, reserved: int
) -> Controller:
    """Look for the controller that will act on these workflows, and say what is wrong with it.

    `reserved` requests are still to come; its configuration is left out where that were too many,
    unless something that is needed may be in it.
    """
    places = [case.place() for case in cases]
    asked_for = any(case.needs.stores or case.needs.databases for case in cases)
    spare = None if asked_for else reserved
    listed = ground.see(DEPLOYMENTS) if list(controller_looks(ground)) else None
    if listed is None or listed.answer is not Answer.SEEN:
        what = "whether Argo's controller runs, and its version"
        findings.unseen(KINDS["Deployment"], None, what)
        return _configured(ground, Controller(), spare)
    named = [each for each in listed.items if name_of(each).endswith(CONTROLLER)]
    found = [_controller(ground, each) for each in sorted(named, key=name_of)[:MOST_CONTROLLERS]]
    if not found:
        alone = _configured(ground, Controller(), spare)
        _without_deployment(alone, bool(listed.items), places, findings)
        return alone
    acting = [each for each in found if each.managed in {None, ground.namespace}]
    if not acting:
        acts = ", ".join(str(each.managed) for each in found)
        findings.add(
            "controller-elsewhere",
            f"Argo's controller acts on workflows of namespace {acts} only, not of "
            f"{ground.namespace}: they would stay pending.",
            f"Use that namespace, or have a controller for {ground.namespace}.",
            places,
            once=True,
        )
        return found[0]
    running = [each for each in acting if not _is_down(each.deployment or {})]
    if not running:
        deployment = acting[0].deployment or {}
        findings.add(
            "controller-down",
            "Argo's controller is not running: no pod of the deployment "
            f"{_where(deployment)} is ready.",
            f"See why: kubectl -n {acting[0].namespace} get pods",
            places,
            once=True,
        )
        return acting[0]
    _check_version(running[0].deployment or {}, cases, findings)
    return _configured(ground, running[0], spare)


def check_configuration(
    controller: Controller, cases: Sequence[Case], findings: Findings, *, template_only: bool
) -> None:
    """Say which workflows the controller would pass over, or refuse, by its configuration."""
    if controller.configuration is None:
        return
    instance = str(controller.configured("instanceID") or "")
    referencing = controller.configured("workflowRestrictions", "templateReferencing")
    for case in cases:
        body: Mapping[str, Any] = case.manifest.document if case.manifest else {}
        labels = (body.get("metadata") or {}).get("labels") or {}
        wanted = str(labels.get(INSTANCE) or "")
        if case.kind in {"CronWorkflow", "Workflow"} and wanted != instance:
            acts = f"the instance ID {instance!r}" if instance else "no instance ID"
            has = f"is labelled for {wanted!r}" if wanted else "has no such label"
            label, leave = f"Label it {INSTANCE}: {instance}", f"Leave out the label {INSTANCE}"
            findings.add(
                "other-controller",
                f"Argo's controller in namespace {controller.namespace} has {acts}, and "
                f"{case.kind} {case.manifest.name if case.manifest else ''!r} {has}: nothing "
                "would act on it.",
                label if instance else leave,
                [case.place()],
            )
        spec = body.get("spec") or {}
        inline = case.kind == "Workflow" and not spec.get("workflowTemplateRef")
        if referencing in {"Secure", "Strict"} and inline and not template_only:
            findings.add(
                "references-only",
                f"Argo's controller takes only workflows that refer to a template "
                f"(templateReferencing: {referencing}).",
                "Set template-only = true for this target: heraci then submits a template and a "
                "workflow that refers to it.",
                [case.place()],
            )
        for at in case.needs.databases:
            if not controller.configured("synchronization"):
                findings.add(
                    "no-limit-database",
                    "A semaphore takes its limit from a database, and Argo's controller has none "
                    "configured.",
                    "Configure `synchronization` in the controller's ConfigMap, or take the limit "
                    "from a ConfigMap of your own (configMapKeyRef).",
                    [case.at(at)],
                )


def _controller(ground: Ground, found: Mapping[str, Any]) -> Controller:
    namespace = _namespace(found)
    seen = ground.see(Look(path=KINDS["Deployment"].path(namespace, name_of(found))))
    deployment = seen.items[0] if seen.items else found
    arguments = _arguments(deployment)
    managed = arguments.get("--managed-namespace") or namespace
    return Controller(
        namespace=namespace,
        deployment=deployment,
        managed=managed if arguments.get("--namespaced", "false") != "false" else None,
    )


def _arguments(deployment: Mapping[str, Any]) -> dict[str, str]:
    """Read the controller's command line: `--flag value`, `--flag=value` or `--flag`."""
    read: dict[str, str] = {}
    given = [str(each) for container in _containers(deployment) for each in _words(container)]
    for word, after in pairwise([*given, ""]):
        flag, equals, value = word.partition("=")
        if flag.startswith("--"):
            read[flag] = value if equals else "" if after.startswith("-") else after
    return read


def _words(container: Mapping[str, Any]) -> list[Any]:
    return [*(container.get("command") or ()), *(container.get("args") or ())]


def _configured(ground: Ground, controller: Controller, reserved: int | None) -> Controller:
    """Read the controller's ConfigMap, where this account may and requests are left for it."""
    if reserved is not None and not ground.may_ask_more(reserved):
        return controller
    name = _arguments(controller.deployment or {}).get("--configmap") or f"{CONTROLLER}-configmap"
    kind = KINDS["ConfigMap"]
    if not ground.rights().may("get", kind, name):
        return controller
    seen = ground.see(Look(path=kind.path(controller.namespace, name)))
    if not seen.items:
        return replace(controller, absent=seen.answer is Answer.ABSENT)
    return replace(controller, configuration=_read(seen.items[0].get("data") or {}))


def _read(data: Mapping[str, str]) -> dict[str, Any]:
    """Read a configuration: one text of YAML under `config`, or a key for each setting."""
    read: dict[str, Any] = {}
    for key, text in data.items():
        try:
            [value] = document.load(text) or [None]
        except (TypeError, ValueError):
            continue
        read |= (value if isinstance(value, dict) else {}) if key == "config" else {key: value}
    return read


def _namespace(item: Mapping[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("namespace") or "")


def _where(deployment: Mapping[str, Any]) -> str:
    return f"{_namespace(deployment)}/{name_of(deployment)}"


def _is_down(deployment: Mapping[str, Any]) -> bool:
    if (deployment.get("spec") or {}).get("replicas") == 0:
        return True
    status = deployment.get("status") or {}
    # Without a status nobody has looked at it yet, and nothing can be said.
    return bool(status.get("observedGeneration")) and not status.get("readyReplicas")


def _without_deployment(
    controller: Controller, others: bool, places: Sequence[Place], findings: Findings
) -> None:
    """Tell a controller that runs outside of the cluster from none at all.

    Where not one deployment is to be seen, the configuration that it needs is the only trace.
    """
    if not others and not controller.absent:
        what = "Argo's controller is no deployment of this cluster: its version is unknown."
        findings.note("not-checked", what)
        return
    findings.add(
        "missing-controller",
        "Argo's controller was not found: the cluster has its definitions, but no deployment "
        f"whose name ends in {CONTROLLER}.",
        "Nothing would act on a workflow. " + INSTALL,
        places,
        once=True,
    )


def _check_version(
    deployment: Mapping[str, Any], cases: Sequence[Case], findings: Findings
) -> None:
    image = _image(deployment)
    found = re.search(r":v?(\d+)\.(\d+)[^/]*$", image)
    if found is None:
        return
    version = int(found[1]), int(found[2])
    told = f"Argo's controller is {found[0].lstrip(':')} ({_where(deployment)})"
    places = [case.place() for case in cases]
    newer = [case.place() for case in cases if _uses_new_fields(case)]
    how = "Upgrade Argo Workflows to 3.6 or later, or choose another cluster."
    if version < OLDEST:
        what = f"{told}, too old for what Hera writes."
        findings.add("argo-version", what, how, places, once=True)
    elif version < OLDEST_TESTED and newer:
        what = (
            f"{told} and passes over fields that came with 3.6 ({', '.join(sorted(NEW_FIELDS))})."
        )
        findings.add("argo-version", what, how, newer)
    elif version < OLDEST_TESTED:
        what = f"{told}, older than heraci is tested with."
        findings.add("argo-version", what, how, places[:1], Severity.WARNING)
    elif version[0] > NEWEST_MAJOR:
        what = f"{told}, newer than this heraci knows."
        findings.add("argo-version", what, "Upgrade heraci.", places[:1], Severity.WARNING)


def _containers(deployment: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    spec = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    return spec.get("containers") or ()


def _image(deployment: Mapping[str, Any]) -> str:
    images = [str(each.get("image") or "") for each in _containers(deployment)]
    return next((each for each in images if CONTROLLER in each), images[0] if images else "")


def _uses_new_fields(case: Case) -> bool:
    return bool(case.manifest) and _holds(case.manifest.document if case.manifest else {})


def _holds(node: Any) -> bool:
    if isinstance(node, list):
        return any(_holds(each) for each in node)
    if not isinstance(node, dict):
        return False
    return bool(NEW_FIELDS & node.keys()) or any(_holds(each) for each in node.values())
