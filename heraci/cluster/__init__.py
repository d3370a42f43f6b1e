"""THE fence to Kubernetes: nothing else in heraci imports its client.

`connect` finds the way in; a `Cluster` asks the API in plain paths and JSON, and knows Argo's four
kinds. The client serves to read kubeconfigs, to log in and to keep connections; its generated
classes change from version to version and are left alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import ssl
import tempfile
import warnings
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heraci.cluster.api import METADATA_ONLY, Cluster
from heraci.cluster.connection import Access, Connection
from heraci.cluster.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    MissingError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
    UntrustedError,
)
from heraci.errors import ClusterError

__all__ = [
    "METADATA_ONLY",
    "Cluster",
    "ConflictError",
    "ForbiddenError",
    "GoneError",
    "MissingError",
    "RejectedError",
    "UnauthorizedError",
    "UnreachableError",
    "UntrustedError",
    "connect",
]

DEFAULT_PATHS = (Path("~/.kube/config"),)
# A login plugin is trusted with the cluster, not with heraci's other secrets.
WITHHELD_FROM_PLUGINS = (
    *("HERACI_KUBECONFIG", "KUBECONFIG", "HERACI_ARGO_TOKEN", "ARGO_TOKEN"),
    *("HERACI_GITHUB_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "ACTIONS_RUNTIME_TOKEN"),
)


def connect(
    *,
    paths: Iterable[Path] = (),
    content: str | None = None,
    context: str | None = None,
    in_cluster: bool | None = None,
    server: str | None = None,
    token: str | None = None,
    ca_certificate: Path | None = None,
    insecure_skip_tls_verify: bool = False,
    concurrency: int = 8,
) -> Cluster:
    """Find the way to a cluster and log in; nothing is sent to it yet.

    The way is `server` with `token`; else the kubeconfig's `content`; else its `paths`, as kubectl
    merges them; else `~/.kube/config`; else, in a pod, its own account (`in_cluster` True asks for
    that alone, False never takes it).
    """

    def enter() -> Access:
        with tempfile.TemporaryDirectory(prefix="heraci-") as folder:
            made = _configuration(tuple(paths), content, context, in_cluster, server, token, folder)
            configuration, name, namespace = made
            if ca_certificate is not None:
                configuration.ssl_ca_cert = str(ca_certificate)
            _check_tls(configuration, name, insecure_skip_tls_verify)
            configuration.verify_ssl = not insecure_skip_tls_verify
            return _access(configuration, name, namespace, concurrency)

    paths = tuple(paths)
    return Cluster(Connection(enter))


def _configuration(
    paths: tuple[Path, ...],
    content: str | None,
    context: str | None,
    in_cluster: bool | None,
    server: str | None,
    token: str | None,
    folder: str,
) -> tuple[Any, str, str | None]:
    from kubernetes import client, config

    configuration = client.Configuration()
    if server is not None:
        configuration.host = server.rstrip("/")
        if token:
            configuration.api_key["BearerToken"] = f"Bearer {token}"
        return configuration, "by its address", None
    by_default = content is None and not paths and not _existing(DEFAULT_PATHS)
    if in_cluster or (by_default and in_cluster is None):
        with contextlib.suppress(config.ConfigException):
            config.load_incluster_config(client_configuration=configuration)
            return configuration, "in-cluster", _pod_namespace()
    if in_cluster:
        raise ClusterError(
            "heraci does not run in a pod with a service account, so there is no in-cluster "
            "access. Give a kubeconfig."
        )
    return _from_kubeconfig(configuration, paths or DEFAULT_PATHS, content, context, folder)


def _existing(paths: Iterable[Path]) -> list[str]:
    return [str(path.expanduser()) for path in paths if path.expanduser().is_file()]


def _from_kubeconfig(
    configuration: Any,
    paths: tuple[Path, ...],
    content: str | None,
    context: str | None,
    folder: str,
) -> tuple[Any, str, str | None]:
    import yaml
    from kubernetes import config
    from kubernetes.config import kube_config

    origin = "the kubeconfig" if content is not None else os.pathsep.join(map(str, paths))
    existing = _existing(paths)
    if content is None and not existing:
        raise ClusterError(
            f"No kubeconfig: {origin} does not exist. Set kubeconfig (KUBECONFIG) to a file or to "
            "its content, or run where a cluster's service account is."
        )
    try:
        source = io.StringIO(content) if content is not None else os.pathsep.join(existing)
        merged = kube_config.KubeConfigMerger(source).config
        loader = kube_config.KubeConfigLoader(
            config_dict=_with_login(merged, context, origin),
            active_context=context,
            config_base_path=None,  # each path is relative to the file that holds it
            temp_file_path=folder,
        )
        loader.load_and_set(configuration)
        chosen = loader.current_context
    except config.ConfigException as error:
        # A login plugin may print its whole manual before it says what is wrong.
        said = str(error) if len(str(error)) < 1000 else f"{str(error)[:300]} … {str(error)[-300:]}"
        raise ClusterError(f"{origin} cannot be used: {said}") from None
    except (yaml.YAMLError, OSError, AttributeError, TypeError, ValueError) as error:
        # The text of such an error may quote the file, and the file holds secrets.
        raise ClusterError(
            f"{origin} cannot be used: it is no readable kubeconfig ({type(error).__name__})."
        ) from None
    name = str(chosen.get("name", "kubeconfig"))
    return configuration, f"context {name}", chosen["context"].get("namespace")


def _with_login(merged: Any, context: str | None, origin: str) -> Any:
    """Let the user's login plugin speak first, so that its failure is told and not only logged."""
    from kubernetes.config import kube_config
    from kubernetes.config.exec_provider import ExecProvider

    if not isinstance(merged, kube_config.ConfigNode):
        merged = kube_config.ConfigNode("kube-config", merged)
    name = context or merged.safe_get("current-context")
    if not name:
        raise ClusterError(f"{origin} names no current context. Choose one with context.")
    entry = merged["contexts"].get_with_name(name)["context"]
    named = entry.safe_get("user") and merged.safe_get("users")
    user: Any = merged["users"].get_with_name(entry["user"], safe=True) if named else None
    plugin = user["user"].safe_get("exec") if user is not None and user.safe_get("user") else None
    if not plugin:
        return merged
    command = plugin.get("command", "")
    folder = Path(user.path).parent if user.path else None
    if not shutil.which(command, path=None) and not (folder and (folder / command).is_file()):
        raise ClusterError(
            f"The kubeconfig's user {entry['user']!r} logs in with the program {command!r}, which "
            f"is not installed here. {plugin.get('installHint') or 'Install it'}, or use a "
            "kubeconfig with a token, for instance of a service account."
        )
    kept = [*(plugin.get("env") or ()), *({"name": n, "value": ""} for n in _withheld())]
    node = kube_config.ConfigNode("exec", plugin | {"env": kept}, user.path)
    cluster = merged["clusters"].get_with_name(entry["cluster"])["cluster"]
    said = ExecProvider(node, str(folder) if folder else None, cluster).run()
    fresh = {"token": said.get("token")} if said.get("token") else _plugin_certificate(said)
    if not fresh:
        raise ClusterError(f"The login program {command!r} gave neither a token nor a certificate.")
    user.value["user"] = fresh
    return merged


def _plugin_certificate(said: Mapping[str, Any]) -> dict[str, str]:
    pair = said.get("clientCertificateData"), said.get("clientKeyData")
    if not all(pair):
        return {}
    certificate, key = (b64encode(str(each).encode()).decode() for each in pair)
    return {"client-certificate-data": certificate, "client-key-data": key}


def _withheld() -> list[str]:
    return [name for name in WITHHELD_FROM_PLUGINS if name in os.environ]


def _pod_namespace() -> str | None:
    path = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return path.read_text().strip() if path.is_file() else None


def _check_tls(configuration: Any, name: str, unverified: bool) -> None:
    parts = urlsplit(configuration.host)
    if unverified:
        return
    if not configuration.verify_ssl:
        raise ClusterError(
            f"The kubeconfig ({name}) turns the check of the server's certificate off. Give the "
            "cluster's authority (certificate-authority-data) instead; or, if whoever sits between "
            "may read the credentials, say so with insecure-skip-tls-verify."
        )
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ClusterError(
            f"{configuration.host} is no https address: credentials would travel in the open. "
            "Use https, or say insecure-skip-tls-verify."
        )


def _access(configuration: Any, name: str, namespace: str | None, concurrency: int) -> Access:
    from kubernetes.client import rest

    tls = _tls(configuration)
    # A watch and the creating threads, each its connection.
    configuration.connection_pool_maxsize = concurrency + 4
    # The client would read these files for each new connection; they are gone by then.
    configuration.ssl_ca_cert = configuration.cert_file = configuration.key_file = None
    pool: Any = rest.RESTClientObject(configuration).pool_manager
    if not configuration.verify_ssl:
        # It was asked for by name; a warning for each request would tell nothing new.
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    pool.connection_pool_kw["ssl_context"] = tls
    keys: dict[str, str] = configuration.api_key

    def authorization() -> str | None:
        # A pod's token file is renewed by the kubelet; the hook reads it again.
        if configuration.refresh_api_key_hook is not None:
            configuration.refresh_api_key_hook(configuration)
        # One of two names, by the client's version.
        return keys.get("BearerToken") or keys.get("authorization")

    return Access(
        host=configuration.host.rstrip("/"),
        name=name,
        namespace=namespace,
        pool=pool,
        authorization=authorization,
    )


def _tls(configuration: Any) -> ssl.SSLContext:
    try:
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        # Clusters make their own authorities, often without what RFC 5280 asks; kubectl minds not.
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ClusterError(f"A certificate or its key cannot be used: {error}") from None
    if not configuration.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls
