"""Whether a volume claim is bound or will be, with the access and the size that are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from heraci.bundle import Requirement, Severity
from heraci.looks import Answer, Look, name_of
from heraci.needs import Claim, Pod, quantity
from heraci.preflight import advice
from heraci.preflight.cases import Case, Findings, Trouble
from heraci.preflight.ground import KINDS, NODES, Ground

if TYPE_CHECKING:
    from heraci.preflight.existence import Existence

CLASSES = Look(path=KINDS["StorageClass"].path())
VOLUMES = Look(path=KINDS["PersistentVolume"].path())
# What each access mode of a claim is good for.
OFFERS = {
    "ReadWriteOnce": {"ReadWriteOnce"},
    "ReadOnlyMany": {"ReadOnlyMany"},
    "ReadWriteMany": {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce"},
    "ReadWriteOncePod": {"ReadWriteOnce", "ReadWriteOncePod"},
}


def claim_troubles(
    ground: Ground, requirement: Requirement, item: Mapping[str, Any], namespace: str
) -> Iterator[Trouble]:
    """Say what is not right with a claim that is there."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if status.get("phase") == "Lost":
        how = "Its volume is gone: restore the volume, or create the claim anew."
        yield Trouble("claim-lost", "has lost its volume.", how)
    if _is_pending(item):
        yield from _pending(ground, requirement, spec, namespace)
    modes = set(status.get("accessModes") or spec.get("accessModes") or ())
    offered = set().union(*(OFFERS.get(mode, {mode}) for mode in modes))
    lacking = [mode for mode in requirement.access if mode not in offered]
    if lacking:
        what = f"offers {', '.join(sorted(modes)) or 'nothing'}, not {', '.join(lacking)}."
        other = advice.creating(replace(requirement, name="NAME"), namespace)
        how = f"A claim's access mode cannot change: use another claim, or make one. {other}"
        yield Trouble("claim-access", what, how)
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    has = (status.get("capacity") or {}).get("storage") or asked
    size, needed = quantity(has), quantity(requirement.storage)
    if needed is not None and size is not None and size < needed:
        what = f"has {has}, and {requirement.storage} are needed."
        yield Trouble("claim-size", what, advice.growing(requirement, namespace))


def class_looks(existence: Existence, cases: Sequence[Case]) -> Iterator[Look]:
    """Give what has to be looked at where claims are not bound yet, or will be made."""
    ground = existence.ground
    wanted = (each for case in cases for each in case.requirements)
    claims = (
        existence.item(each.kind, each.name, each.namespace or ground.namespace)
        for each in wanted
        if each.kind == "PersistentVolumeClaim"
    )
    made = any(claim.storage_class is None for case in cases for claim in case.needs.claims)
    if (made or any(map(_is_pending, claims))) and ground.may_list(KINDS["StorageClass"], None):
        yield CLASSES


def _is_pending(claim: Mapping[str, Any] | None) -> bool:
    status = (claim or {}).get("status") or {}
    return claim is not None and status.get("phase", "Pending") == "Pending"


def _pending(
    ground: Ground, requirement: Requirement, spec: Mapping[str, Any], namespace: str
) -> Iterator[Trouble]:
    """Tell a claim that waits for its first pod from one that nothing will ever bind."""
    see = f"See why: kubectl -n {namespace} describe pvc {requirement.name}"
    classes = storage_classes(ground)
    if classes is None:
        what = "is not bound yet, and this account may not look up its storage class."
        yield Trouble("claim-pending", what, see, Severity.WARNING)
        return
    name = spec.get("storageClassName")
    if name is None:
        name = next((key for key, each in classes.items() if is_default(each)), None)
    found = classes.get(name or "")
    if found and found.get("volumeBindingMode") == "WaitForFirstConsumer":
        return
    if not found and _has_volume_for(ground, requirement.name, spec, namespace):
        return  # it will be bound in a moment
    why = (
        f"its storage class {name!r} does not exist"
        if name and not found
        else f"nothing has bound it, though {name!r} binds at once"
        if name
        else "it has no storage class and no volume fits it"
    )
    yield Trouble("claim-pending", f"is Pending: {why}.", see)


def _has_volume_for(ground: Ground, claim: str, spec: Mapping[str, Any], namespace: str) -> bool:
    """Tell whether a free volume, made by hand, fits a claim."""
    for volume in _volumes(ground) or ():
        offer = volume.get("spec") or {}
        owner = offer.get("claimRef") or {}
        taken = owner and (owner.get("namespace"), owner.get("name")) != (namespace, claim)
        named = spec.get("volumeName") in {None, "", name_of(volume)}
        if not taken and named and _fits(offer, spec):
            return True
    return False


def _fits(offer: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    size, needed = quantity((offer.get("capacity") or {}).get("storage")), quantity(asked)
    modes = set(spec.get("accessModes") or ())
    same_class = (offer.get("storageClassName") or "") == (spec.get("storageClassName") or "")
    return (
        same_class and modes <= set(offer.get("accessModes") or ()) and (size or 0) >= (needed or 0)
    )


def check_own_claims(ground: Ground, cases: Sequence[Case], findings: Findings) -> None:
    """Say which claims that a workflow makes for itself nothing would ever bind."""
    for case in cases:
        for claim in case.needs.claims:
            if claim.storage_class is None and _has_no_default(ground, claim):
                findings.add(
                    "no-default-storage-class",
                    f"The volume claim {claim.name!r} that the workflow makes names no storage "
                    "class, and the cluster has no default one: it would stay Pending.",
                    "Name one under storageClassName (kubectl get storageclass), or have one made "
                    "the default.",
                    [case.place(claim.source)],
                )


def _has_no_default(ground: Ground, claim: Claim) -> bool:
    classes = storage_classes(ground)
    if classes is None or any(is_default(each) for each in classes.values()):
        return False
    made = {"accessModes": claim.access, "resources": {"requests": {"storage": claim.storage}}}
    volumes = _volumes(ground)
    # Where volumes may not be looked at, one may be there for it.
    return volumes is not None and not any(
        not (each.get("spec") or {}).get("claimRef") and _fits(each.get("spec") or {}, made)
        for each in volumes
    )


def check_shared(existence: Existence, cases: Sequence[Case], findings: Findings) -> None:
    """Tell where pods that run at the same time have to share a node for their claim's sake."""
    nodes = existence.ground.known.get(NODES)
    if nodes is None or len(nodes.items) < 2:
        return
    for case in cases:
        namespace = case.namespace(existence.ground.namespace)
        for pod in case.needs.pods:
            for name in _mounted(pod) if pod.copies > 1 else ():
                item = existence.item("PersistentVolumeClaim", name, namespace) or {}
                modes = (item.get("spec") or {}).get("accessModes") or ()
                if set(modes) != {"ReadWriteOnce"}:
                    continue
                findings.add(
                    "claim-on-one-node",
                    f"PersistentVolumeClaim {name!r} in namespace {namespace} is ReadWriteOnce, "
                    f"and {pod.copies} pods of template {pod.template!r} mount it: at any time "
                    "all of them run on one node, or wait.",
                    "Use a claim that is ReadWriteMany to spread them.",
                    [case.place(pod.source, pod.template)],
                    Severity.NOTICE,
                )


def _mounted(pod: Pod) -> list[str]:
    """Give the claims that a pod mounts."""
    mounts = {
        mount.get("name")
        for container in pod.spec.get("containers") or ()
        for mount in container.get("volumeMounts") or ()
    }
    named = {
        str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")
        for volume in pod.spec.get("volumes") or ()
        if volume.get("name") in mounts
    }
    return sorted(filter(None, named))


def storage_classes(ground: Ground) -> Mapping[str, Mapping[str, Any]] | None:
    """Give the cluster's storage classes by name; None where this account may not look."""
    if not ground.may_list(KINDS["StorageClass"], None):
        return None
    seen = ground.see(CLASSES)
    return {name_of(each): each for each in seen.items} if seen.answer is Answer.SEEN else None


def _volumes(ground: Ground) -> Sequence[Mapping[str, Any]] | None:
    if not ground.may_list(KINDS["PersistentVolume"], None):
        return None
    seen = ground.see(VOLUMES)
    return seen.items if seen.answer is Answer.SEEN else None


def is_default(storage_class: Mapping[str, Any]) -> bool:
    """Tell whether claims that name no class get this one."""
    noted = (storage_class.get("metadata") or {}).get("annotations") or {}
    return noted.get("storageclass.kubernetes.io/is-default-class") == "true"
