"""Whether a namespace's Pod Security Standard lets the pods in.

Kubernetes refuses a pod that breaks the level in the namespace's label when Argo creates it, long
after the workflow was taken. The rules are those of the standard's `baseline` and `restricted`
levels; what Argo's own containers do is Argo's concern.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heraci.preflight.amounts import Ask
from heraci.preflight.cases import Findings
from heraci.preflight.ground import KINDS, MOST_REQUESTS, Ground, namespace_look

ENFORCED = "pod-security.kubernetes.io/enforce"
# Capabilities that `baseline` leaves to a container.
_BASELINE_CAPABILITIES = frozenset(
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID "
    "SETPCAP SETUID SYS_CHROOT".split()
)
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_SYSCTLS = frozenset(
    "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports "
    "net.ipv4.ip_unprivileged_port_start net.ipv4.ping_group_range net.ipv4.tcp_fin_timeout "
    "net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes net.ipv4.tcp_keepalive_time "
    "net.ipv4.tcp_rmem net.ipv4.tcp_syncookies net.ipv4.tcp_wmem".split()
)
_RESTRICTED_VOLUMES = frozenset(
    "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected "
    "secret".split()
)
_APPARMOR = frozenset({"", "Localhost", "RuntimeDefault"})

Spec = Mapping[str, Any]


def check_security(ground: Ground, namespace: str, asks: Sequence[Ask], findings: Findings) -> None:
    """Say which pods the namespace's standard refuses, and why."""
    seen = ground.known.get(namespace_look(namespace))
    if asks and not (seen and seen.items):
        _say_unseen(ground, namespace, findings)
    labels = (
        (seen.items[0].get("metadata") or {}).get("labels") or {} if seen and seen.items else {}
    )
    level = str(labels.get(ENFORCED) or "")
    for ask in asks:
        broken = list(dict.fromkeys(violations(ask.pod.spec, level)))
        if broken:
            findings.add(
                "pod-security",
                f"Namespace {namespace} enforces the Pod Security Standard {level!r}, and the pod "
                f"of template {ask.pod.template!r} breaks it: {'; '.join(broken)}.",
                "Change the template, or run it in a namespace that allows it: kubectl get "
                f"namespaces -L {ENFORCED}",
                [ask.place],
            )


def _say_unseen(ground: Ground, namespace: str, findings: Findings) -> None:
    kind, what = KINDS["Namespace"], f"which Pod Security Standard {namespace} enforces"
    if ground.rights(namespace).may("get", kind, namespace):
        few = f"To stay within {MOST_REQUESTS} requests, it was not looked up {what}."
        findings.note("not-checked", few)
    else:
        findings.unseen(kind, namespace, what)


def violations(spec: Spec, level: str) -> Iterator[str]:
    """Give what a pod's spec does that a level forbids; nothing for `privileged` and none."""
    if level in {"baseline", "restricted"}:
        yield from _baseline(spec)
    if level == "restricted":
        yield from _restricted(spec)


def _containers(spec: Spec) -> list[Mapping[str, Any]]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _security(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return part.get("securityContext") or {}


def _named(container: Mapping[str, Any]) -> str:
    return f"container {str(container.get('name') or 'main')!r}"


def _baseline(spec: Spec) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is true"
    for volume in spec.get("volumes") or ():
        if volume.get("hostPath"):
            yield f"volume {volume.get('name')!r} is a hostPath"
    for sysctl in _security(spec).get("sysctls") or ():
        if sysctl.get("name") not in _SYSCTLS:
            yield f"sysctl {sysctl.get('name')} is set"
    yield from _profiles(_security(spec), "the pod")
    for container in _containers(spec):
        security, who = _security(container), _named(container)
        if security.get("privileged"):
            yield f"{who} is privileged"
        added = (security.get("capabilities") or {}).get("add") or ()
        if beyond := sorted(set(map(str, added)) - _BASELINE_CAPABILITIES):
            yield f"{who} adds the capabilities {', '.join(beyond)}"
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            yield f"{who} has a hostPort"
        if _shows_proc(security) and not _has_own_users(spec):
            yield f"{who} has procMount {security['procMount']}"
        yield from _profiles(security, who)


def _shows_proc(security: Mapping[str, Any]) -> bool:
    return security.get("procMount") not in {None, "Default"}


def _has_own_users(spec: Spec) -> bool:
    """Tell whether root inside is nobody outside; Kubernetes then forbids less."""
    return spec.get("hostUsers") is False


def _profiles(security: Mapping[str, Any], who: str) -> Iterator[str]:
    if (security.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield f"{who} has the seccomp profile Unconfined"
    if ((security.get("appArmorProfile") or {}).get("type") or "") not in _APPARMOR:
        yield f"{who} has the AppArmor profile {security['appArmorProfile']['type']}"
    selinux = security.get("seLinuxOptions") or {}
    if selinux.get("user") or selinux.get("role"):
        yield f"{who} sets an SELinux user or role"
    if (selinux.get("type") or "") not in _SELINUX_TYPES:
        yield f"{who} has the SELinux type {selinux['type']}"
    if (security.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{who} is a Windows host process"


def _restricted(spec: Spec) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        if kinds := sorted(set(volume) - _RESTRICTED_VOLUMES - {"hostPath", "name"}):
            yield f"volume {volume.get('name')!r} is a {kinds[0]}"
    of_pod = _security(spec)
    host_users = not _has_own_users(spec)
    if of_pod.get("runAsUser") == 0 and host_users:
        yield "the pod runs as root (runAsUser: 0)"
    for container in _containers(spec):
        own, who = _security(container), _named(container)
        if _shows_proc(own):
            yield f"{who} has procMount {own['procMount']}"
        both = {**of_pod, **{key: each for key, each in own.items() if each is not None}}
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{who} does not set allowPrivilegeEscalation: false"
        capabilities = own.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            yield f"{who} does not drop ALL capabilities"
        added = {str(each) for each in capabilities.get("add") or ()} & _BASELINE_CAPABILITIES
        if beyond := sorted(added - {"NET_BIND_SERVICE"}):
            yield f"{who} adds the capabilities {', '.join(beyond)}"
        if not both.get("runAsNonRoot") and host_users:
            yield f"{who} does not set runAsNonRoot: true"
        if own.get("runAsUser") == 0 and host_users:
            yield f"{who} runs as root (runAsUser: 0)"
        if (both.get("seccompProfile") or {}).get("type") not in {"Localhost", "RuntimeDefault"}:
            yield f"{who} does not set seccompProfile: RuntimeDefault"
