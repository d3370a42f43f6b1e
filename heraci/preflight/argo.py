"""Whether Argo is there: its definitions, its controller, and a version that fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

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
# A last look, for what is only good to know, stays within this many requests.
MOST_REQUESTS = 14

CONFIGURATION = Look(path=KINDS["ConfigMap"].path("argo", f"{CONTROLLER}-configmap"))
DEFINITION = Look(path=KINDS["CustomResourceDefinition"].path(name="workflows.argoproj.io"))


def is_installed(ground: Ground, cases: Sequence[Case], findings: Findings) -> bool:
    """Say which of Argo's kinds the cluster does not know; False where it knows none."""
    places = [case.place() for case in cases]
    served = ground.served(ARGO)
    if served is None:
        said = "Whether Argo is installed could not be looked up."
        findings.add("not-checked", said, "", places[:1], Severity.NOTICE)
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


def check_definitions(ground: Ground, cases: Sequence[Case], findings: Findings) -> None:
    """Say where Argo's definitions look at nothing, so that a dry run proves little."""
    kind = KINDS["CustomResourceDefinition"]
    may = ground.rights().may("get", kind, "workflows.argoproj.io")
    if not may or ground.inventory.requests > MOST_REQUESTS:
        return
    for definition in ground.see(DEFINITION).items:
        if not _looks_below_spec(definition):
            findings.add(
                "minimal-definitions",
                "Argo's minimal definitions are installed: the server takes any field below spec, "
                "so a dry run finds no misspelt one.",
                "Install the full ones, Argo's default since 4.0.",
                [case.place() for case in cases][:1],
                Severity.NOTICE,
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


def check_controller(ground: Ground, cases: Sequence[Case], findings: Findings) -> None:
    """Say whether a controller is there that acts on workflows, and whether its version fits."""
    places = [case.place() for case in cases]
    listed = ground.see(DEPLOYMENTS) if list(controller_looks(ground)) else None
    if listed is None or listed.answer is not Answer.SEEN:
        how = 'To have it asserted, add to a ClusterRole: {apiGroups: ["apps"], resources: '
        findings.add(
            "not-checked",
            "This account may not look up the cluster's deployments, so neither the presence nor "
            "the version of Argo's controller was asserted.",
            how + "[deployments], verbs: [get, list]}",
            places[:1],
            Severity.NOTICE,
        )
        return
    deployments = [_deployment(ground, each) for each in _named(listed.items)]
    if not deployments:
        _without_deployment(ground, bool(listed.items), places, findings)
    running = [each for each in deployments if not _is_down(each)]
    if deployments and not running:
        where = _where(deployments[0])
        findings.add(
            "controller-down",
            f"Argo's controller is not running: no pod of the deployment {where} is ready.",
            f"See why: kubectl -n {_namespace(deployments[0])} get pods",
            places,
            once=True,
        )
    for deployment in running[:1]:
        _check_version(deployment, cases, findings)


def _named(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    found = [each for each in items if name_of(each).endswith(CONTROLLER)]
    # A controller of the same namespace's own comes first to mind; all are asked alike.
    return sorted(found, key=name_of)[:3]


def _deployment(ground: Ground, found: Mapping[str, Any]) -> Mapping[str, Any]:
    path = KINDS["Deployment"].path(_namespace(found), name_of(found))
    seen = ground.see(Look(path=path))
    return seen.items[0] if seen.items else found


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
    ground: Ground, others: bool, places: Sequence[Place], findings: Findings
) -> None:
    """Tell a controller that runs outside of the cluster from none at all.

    Where not one deployment is to be seen, the configuration that it needs is the only trace.
    """
    may = ground.rights().may("get", KINDS["ConfigMap"], f"{CONTROLLER}-configmap")
    if not others and may and ground.see(CONFIGURATION).answer is Answer.SEEN:
        what = "Argo's controller is no deployment of this cluster: its version is unknown."
        findings.add("not-checked", what, "", places[:1], Severity.NOTICE)
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


def _image(deployment: Mapping[str, Any]) -> str:
    spec = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    images = [str(each.get("image") or "") for each in spec.get("containers") or ()]
    return next((each for each in images if CONTROLLER in each), images[0] if images else "")


def _uses_new_fields(case: Case) -> bool:
    return bool(case.manifest) and _holds(case.manifest.document if case.manifest else {})


def _holds(node: Any) -> bool:
    if isinstance(node, list):
        return any(_holds(each) for each in node)
    if not isinstance(node, dict):
        return False
    return bool(NEW_FIELDS & node.keys()) or any(_holds(each) for each in node.values())
