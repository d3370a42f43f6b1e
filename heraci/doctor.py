"""Look at what heraci needs here, and say what does not work and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from posixpath import normpath

from heraci import __version__, servers
from heraci.errors import HeraciError
from heraci.settings import Settings
from heraci.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that `heraci doctor` looked at."""

    name: str
    fine: bool
    told: str


def examine(settings: Settings, where: Workspace) -> list[Check]:
    """Look at what heraci needs here, and say what does not work and what to do."""
    return [
        Check(
            name="heraci", fine=True, told=f"{__version__} on Python {platform.python_version()}"
        ),
        Check(name="hera", fine=True, told=metadata.version("hera")),
        _check_git(where),
        _check_uv(),
        _check_isolation(),
        _check_limits(),
        _check_cache(Path(settings.cache_dir)),
        _check_experiments(settings, where),
        *_check_servers(settings),
    ]


def _check_servers(settings: Settings) -> Iterator[Check]:
    """Ask the target's servers whether they are there and take our credentials."""
    if settings.target is None:
        yield Check(name="target", fine=True, told="none is chosen, so no server was asked")
        return
    if _knows_no_cluster(settings):
        yield Check(name="cluster", fine=True, told="no kubeconfig here, so it was not asked")
    else:
        yield _check_cluster(settings)
    argo = servers.argo_server_of(settings)
    if argo is None:
        yield Check(name="argo-server", fine=True, told="none is set")
        return
    try:
        yield Check(name="argo-server", fine=True, told=f"{argo.address}, Argo {argo.version()}")
    except HeraciError as error:
        yield Check(name="argo-server", fine=False, told=" ".join(str(error).split()))


def _knows_no_cluster(settings: Settings) -> bool:
    usual = Path("~/.kube/config").expanduser()
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    return settings.kubeconfig is None and not usual.exists() and not in_pod


def _check_cluster(settings: Settings) -> Check:
    try:
        cluster = servers.cluster_of(settings)
        version = cluster.get("/version").get("gitVersion", "")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        user = cluster.request("POST", path, body=review)["status"]["userInfo"].get("username")
        told = f"{cluster.host}, Kubernetes {version}, as {user}"
        return Check(name="cluster", fine=True, told=told)
    except HeraciError as error:
        return Check(name="cluster", fine=False, told=" ".join(str(error).split()))


def _check_git(where: Workspace) -> Check:
    if shutil.which("git") is None:
        return Check(name="git", fine=False, told="not on PATH: install it")
    if where.repository is None:
        return Check(name="git", fine=True, told=f"{where.directory} is in no repository")
    told = f"{where.root}, at {(where.repository.head_commit() or 'no commit yet')[:10]}"
    return Check(name="git", fine=True, told=told)


def _check_uv() -> Check:
    return Check(
        name="uv", fine=True, told=f"{metadata.version('uv')} installs experiments' packages"
    )


def _check_isolation() -> Check:
    if os.geteuid() == 0:
        told = "root: each experiment runs under an unprivileged uid of its own"
    else:
        told = (
            "not root: experiments run as you do, with a scrubbed environ and an empty HOME. "
            "Nothing else keeps them from what you can read; compile strangers' work in CI."
        )
    return Check(name="isolation", fine=True, told=told)


def _check_limits() -> Check:
    if sys.platform == "linux":
        return Check(name="limits", fine=True, told="time, memory, output, files, processes")
    told = "time, output, open files; this system does not enforce memory, nor end daemons"
    return Check(name="limits", fine=True, told=told)


def _check_cache(folder: Path) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Check(name="cache", fine=True, told=str(folder))
    except OSError as error:
        told = f"{folder} cannot be written ({error.strerror}): set HERACI_CACHE_DIR"
        return Check(name="cache", fine=False, told=told)


def _check_experiments(settings: Settings, where: Workspace) -> Check:
    folder = where.directory / settings.experiments_dir
    if not folder.is_dir():
        told = f"{folder} does not exist: `heraci init` makes it, --experiments-dir names another"
        return Check(name="experiments", fine=False, told=told)
    return Check(name="experiments", fine=True, told=normpath(str(settings.experiments_dir)))
