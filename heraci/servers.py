"""From settings to a target's servers: the cluster's API, and the road of submissions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heraci.argo import ArgoServer, link
from heraci.cluster import Cluster, connect
from heraci.errors import SettingsError
from heraci.settings import Settings
from heraci.submit import Archive, Run, Server


@dataclass(frozen=True, kw_only=True)
class Road:
    """Where workflows are submitted and asked after.

    `archive` is None where nothing remembers those that are gone; `link` gives a run's page in
    Argo's UI, None where its address is not known.
    """

    server: Server
    archive: Archive | None
    name: str
    link: Callable[[Run], str | None]


def cluster_of(settings: Settings) -> Cluster:
    """Find the way to the target's Kubernetes API; nothing is sent yet."""
    kubeconfig = settings.kubeconfig
    content = kubeconfig.content if kubeconfig else None
    return connect(
        paths=kubeconfig.paths if kubeconfig else (),
        content=content.get_secret_value() if content else None,
        context=settings.context,
        ca_certificate=_path(settings.ca_certificate),
        insecure_skip_tls_verify=settings.insecure_skip_tls_verify,
        concurrency=settings.max_concurrency,
    )


def argo_server_of(settings: Settings) -> ArgoServer | None:
    """Give the target's Argo Server; None where no address is set."""
    if settings.argo_server is None:
        return None
    token = settings.argo_token
    return ArgoServer(
        settings.argo_server,
        token=token.get_secret_value() if token else None,
        ui=settings.argo_ui,
        ca_certificate=_path(settings.ca_certificate),
        insecure_skip_tls_verify=settings.insecure_skip_tls_verify,
        concurrency=settings.max_concurrency,
    )


def road_of(settings: Settings) -> Road:
    """Choose between the Kubernetes API and the Argo Server, as `submit-through` says.

    Left to itself: the Kubernetes API where a kubeconfig is, or no Argo Server.
    """
    argo = argo_server_of(settings)
    through = settings.submit_through
    if through == "auto":
        has_token = argo is not None and settings.argo_token is not None
        through = "argo-server" if has_token and settings.kubeconfig is None else "kubernetes"
    if through == "argo-server":
        if argo is None:
            raise SettingsError(
                "submit-through is argo-server, but the target has no argo-server: set its address"
            )
        return Road(server=argo, archive=argo, name=argo.address, link=_links(settings))
    # The archive is the Argo Server's alone; without a token it would answer nobody.
    archive = argo if argo is not None and settings.argo_token is not None else None
    return Road(
        server=cluster_of(settings),
        archive=archive,
        name="the Kubernetes API",
        link=_links(settings),
    )


def namespace_of(settings: Settings) -> str:
    """Give the namespace that workflows run in; it must be said, never guessed."""
    if settings.namespace is None:
        raise SettingsError(
            "no namespace is set: write it in the target's table of heraci.toml "
            '(namespace = "argo"), or set HERACI_NAMESPACE'
        )
    return settings.namespace


def _links(settings: Settings) -> Callable[[Run], str | None]:
    ui = settings.argo_ui or settings.argo_server
    return lambda run: link(ui, run.namespace, run.name, run.uid) if ui else None


def _path(path: Path | None) -> Path | None:
    return Path(path) if path else None
