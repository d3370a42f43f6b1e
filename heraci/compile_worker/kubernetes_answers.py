"""Answers what a script asks of the Kubernetes API, and notes what it asks for as requirements.

Every resource is there, whatever its name, and is as a script hopes: bound, active, with each key.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable, Iterator
from types import MethodType, ModuleType
from typing import Any

from heraci.compile_worker import ENCODED_PLACEHOLDER, PLACEHOLDER, PLACEHOLDER_SERVER
from heraci.compile_worker.after_import import AfterImport
from heraci.compile_worker.record import ARGO_KINDS, Record

_SENDING = ("create", "replace", "patch", "delete", "apply")
_LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc)
_PHASES = {"PersistentVolumeClaim": "Bound", "PersistentVolume": "Bound", "Namespace": "Active"}
_AMOUNTS = ("capacity", "allocatable", "requests", "limits", "hard", "used")
_TEXTS = frozenset(
    "message reason host_ip pod_ip storage_class_name volume_name cluster_ip provisioner image uid"
    " node_name host server token type operator_name user cluster context".split()
)
_ONE = frozenset(
    "replicas ready_replicas available_replicas restart_count succeeded active port".split()
)
_FIXED = {
    "git_version": "v1.31.0",
    "major": "1",
    "minor": "31",
    "resource_version": "1",
    "creation_timestamp": _LONG_AGO,
    "start_time": _LONG_AGO,
    "deletion_timestamp": None,
    "failed": 0,
    "ready": True,
    "access_modes": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"],
}


class Cluster:
    """A cluster that has all that a script asks for."""

    def __init__(self, record: Record, send: Callable[[Any], None]) -> None:
        self.record = record
        self.send = send

    def install(self, after_import: AfterImport) -> None:
        """Replace the client's methods once a script imports it."""
        self.after_import = after_import
        after_import.watch("kubernetes.client", self._patch_client)
        after_import.watch("kubernetes.dynamic", self._patch_dynamic)
        after_import.watch("kubernetes.watch.watch", _patch_watch)
        for name in ("", ".kube_config", ".incluster_config"):
            after_import.watch("kubernetes.config" + name, _patch_config)

    def _patch_client(self, client: Any) -> None:
        # Newer clients import each API when it is first used, which takes them seconds.
        is_lazy = "__getattr__" in vars(client)
        modules = vars(client).get("_exports", {})
        for name in client.__all__ if is_lazy else dir(client):
            if not name.endswith("Api"):
                continue
            if not is_lazy:
                self._watch(getattr(client, name))
                continue
            setattr(client, name, type(name, (_Api,), {"cluster": self}))
            if name in modules:
                patch = functools.partial(self._patch_module, name)
                self.after_import.watch(client.__name__ + modules[name], patch)

    def _patch_module(self, name: str, module: ModuleType) -> None:
        self._watch(getattr(module, name))

    def _watch(self, kind: Any) -> None:
        """Answer a class's calls; looked up one by one, for there are thousands of them."""

        def look_up(api: Any, name: str) -> Any:
            value = object.__getattribute__(api, name)
            if name.startswith("_") or not isinstance(value, MethodType):
                return value
            return functools.partial(self.call, name)

        if isinstance(kind, type):
            kind.__getattribute__ = look_up  # type: ignore[assignment]

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Answer one call of the client's."""
        verb = method.partition("_")[0]
        values = {**dict(zip(_parameters(verb, method), args)), **options}
        kind = _plural_kind(values.get("plural")) if "custom_object" in method else _kind_of(method)
        if verb == "connect" or method.endswith("_log"):
            answer: Any = ""
        elif verb in _SENDING:
            answer = self.sent(method, kind, values)
        else:
            answer = self.read(kind, values.get("name"), values.get("namespace"), values)
        if method.endswith("_with_http_info"):
            return (answer, 200, {})
        return answer

    def read(self, kind: str | None, name: Any, namespace: Any, values: dict[str, Any]) -> Answer:
        """Answer a question for one resource or for many."""
        selected = re.search(r"metadata\.name==?([^,]+)", str(values.get("field_selector") or ""))
        name = name or (selected and selected[1])
        if name:
            self.record.require(kind, name, namespace, self.record.caller())
        return Answer(self, kind, namespace, name)

    def sent(self, method: str, kind: str | None, values: dict[str, Any]) -> Any:
        """Note what would have changed the cluster: Argo's own kinds are what heraci submits."""
        body = values.get("body")
        if isinstance(body, dict) and body.get("kind") in ARGO_KINDS and "spec" in body:
            self.send(body)
            metadata = dict(body.get("metadata") or {})
            prefix = metadata.get("generateName") or ""
            metadata["name"] = metadata.get("name") or prefix + "heraci"
            return {**body, "metadata": metadata, "status": {"phase": "Succeeded"}}
        message = f"{method} is not sent while compiling"
        self.record.find("not-sent", "notice", message, self.record.caller())
        if body is not None and method.startswith("create"):
            return body
        return Answer(self, kind, values.get("namespace"), None)

    def _patch_dynamic(self, dynamic: Any) -> None:
        cluster = self

        class DynamicClient:
            """Finds every kind of resource."""

            def __init__(self, *args: Any, **options: Any) -> None:
                self.resources = self

            def get(self, **wanted: Any) -> _DynamicResource:
                return _DynamicResource(cluster, wanted.get("kind"))

            def search(self, **wanted: Any) -> list[_DynamicResource]:
                return [self.get(**wanted)]

        # Also the class that was imported by name from where it is defined.
        dynamic.DynamicClient.__new__ = lambda kind, *args, **options: DynamicClient()
        dynamic.DynamicClient = DynamicClient
        dynamic.client.DynamicClient = DynamicClient


class _Api:
    """An API of the client: it has every method."""

    cluster: Cluster

    def __init__(self, api_client: Any = None) -> None:
        self.api_client = api_client

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return functools.partial(self.cluster.call, name)


class _DynamicResource:
    """What the dynamic client gives for a kind: its methods ask for resources of it."""

    def __init__(self, cluster: Cluster, kind: str | None) -> None:
        self._cluster, self.kind = cluster, kind

    def get(self, name: Any = None, namespace: Any = None, **options: Any) -> Any:
        return self._cluster.read(self.kind, name, namespace, options)

    def watch(self, **options: Any) -> Iterator[Any]:
        yield from ()

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("__"):
            raise AttributeError(verb)

        def send(body: Any = None, name: Any = None, namespace: Any = None, **options: Any) -> Any:
            values = {"body": body, "name": name, "namespace": namespace}
            return self._cluster.sent(f"{verb} of {self.kind}", self.kind, values)

        return send


class Answer:
    """A resource of the cluster or a part of one: an object, a dict and a list at once."""

    def __init__(
        self,
        cluster: Cluster,
        kind: str | None,
        namespace: Any,
        name: Any,
        path: tuple[str, ...] = (),
    ) -> None:
        self._cluster, self._kind, self._namespace = cluster, kind, namespace
        self._name, self._path = name, path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        name = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()
        if not self._path and name in ("data", "string_data", "binary_data"):
            return _Data(self)
        if name == "items":
            return _Items([self])
        if name == "phase":
            done = "Succeeded" if self._kind in ARGO_KINDS else "Running"
            return _PHASES.get(self._kind or "", done)
        if self._path[-1:] == ("conditions",) and name in ("type", "status"):
            return {"type": "Ready", "status": "True"}[name]
        if name in ("name", "namespace", "kind", "labels", "annotations"):
            return self._identity(name)
        if name in _AMOUNTS:
            return _Amounts()
        if name in _TEXTS:
            return PLACEHOLDER
        if name in _ONE:
            return 1
        if name in _FIXED:
            return _FIXED[name]
        return Answer(self._cluster, self._kind, self._namespace, self._name, (*self._path, name))

    def _identity(self, name: str) -> Any:
        if name in ("labels", "annotations"):
            return _Texts()
        if name == "namespace":
            return self._namespace or PLACEHOLDER
        if name == "kind":
            return PLACEHOLDER if self._path else self._kind
        if self._path not in ((), ("metadata",)):
            return PLACEHOLDER
        return self._name or _AnyName(self)

    def require(self, name: Any, key: Any = None) -> None:
        """Note that a script asked for a resource of this kind, by its name."""
        record = self._cluster.record
        record.require(self._kind, name, self._namespace, record.caller(), key)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, slice)):
            return [self][key]
        return getattr(self, str(key))

    def get(self, key: Any = None, default: Any = None) -> Any:
        return self if key is None else self[key]

    def __iter__(self) -> Iterator[Any]:
        return iter([self])

    def __len__(self) -> int:
        return 1

    def __contains__(self, key: Any) -> bool:
        return True

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self

    def __str__(self) -> str:
        return PLACEHOLDER

    def __format__(self, spec: str) -> str:
        return format(PLACEHOLDER, spec)

    def __int__(self) -> int:
        return 1

    __index__ = __int__

    def __float__(self) -> float:
        return 1.0

    def to_dict(self) -> Any:
        return self

    def keys(self) -> list[str]:
        return []

    values = keys


class _Items(list[Any]):
    """The items of a list, which is also what a dict's `items` method would be."""

    def __call__(self) -> Iterator[Any]:
        return iter(())


class _AnyName(str):
    """A name in a list of the cluster's: equal to whichever one the script looks for."""

    __slots__ = ("answer",)
    answer: Answer

    def __new__(cls, answer: Answer) -> _AnyName:  # noqa: PYI034 - Self is newer than 3.9
        self = super().__new__(cls, PLACEHOLDER)
        self.answer = answer
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            self.answer.require(other)
        return True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class _Texts(dict[str, str]):
    """Labels or annotations: none is known, each may be read."""

    def __missing__(self, key: str) -> str:
        return PLACEHOLDER


class _Amounts(dict[str, str]):
    """Quantities of a node, a claim or a quota: ample ones."""

    def __missing__(self, key: str) -> str:
        if "cpu" in key or "gpu" in key:
            return "64"
        return "110" if key == "pods" else "1Ti"

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key]

    def __contains__(self, key: object) -> bool:
        return True


class _Data(dict[str, str]):
    """The data of a ConfigMap or a Secret: every key is there and holds a placeholder."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def __missing__(self, key: Any) -> str:
        self.answer.require(self.answer._name, key)
        # A Secret's data is base64 of what it holds, and scripts decode it.
        return ENCODED_PLACEHOLDER if self.answer._kind == "Secret" else PLACEHOLDER

    def __getattr__(self, key: str) -> str:
        if key.startswith("__"):
            raise AttributeError(key)
        return self[key]

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key]

    def __contains__(self, key: object) -> bool:
        return bool(self[key])  # type: ignore[index]

    def __bool__(self) -> bool:
        return True


def _patch_config(config: Any) -> None:
    def load(*args: Any, **options: Any) -> None:
        return None

    def client(*args: Any, **options: Any) -> Any:
        from kubernetes.client import ApiClient, Configuration

        configuration = Configuration()
        configuration.host = PLACEHOLDER_SERVER
        return ApiClient(configuration)

    told = {"cluster": PLACEHOLDER, "namespace": PLACEHOLDER, "user": PLACEHOLDER}
    context = {"name": PLACEHOLDER, "context": told}
    for name in dir(config):
        if name.startswith("load_"):
            setattr(config, name, load)
        elif name.startswith("new_client_from"):
            setattr(config, name, client)
        elif name == "list_kube_config_contexts":
            config.list_kube_config_contexts = lambda *args, **options: ([context], context)


def _patch_watch(module: Any) -> None:
    def stream(watch: Any, function: Any, *args: Any, **options: Any) -> Iterator[dict[str, Any]]:
        found = function(*args, **options)
        for each in found if isinstance(found, Answer) else ():
            yield {"type": "ADDED", "object": each, "raw_object": each}

    module.Watch.stream = stream


def _kind_of(method: str) -> str:
    """Give the kind that `read_namespaced_config_map` and its like speak of."""
    words = method.split("_")[1:]
    for suffix in (["with", "http", "info"], ["for", "all", "namespaces"], ["status"]):
        if words[-len(suffix) :] == suffix:
            words = words[: -len(suffix)]
    if words[:1] == ["namespaced"]:
        words = words[1:]
    return "".join(word.capitalize() for word in words)


def _parameters(verb: str, method: str) -> list[str]:
    """Give the names of a method's positional arguments, which follow one rule in all of them."""
    names = ["name"] if verb not in ("list", "create") and "_collection_" not in method else []
    namespace = ["namespace"] if "_namespaced_" in method else []
    if "custom_object" in method:
        return ["group", "version", *namespace, "plural", *names, "body"]
    return [*names, *namespace, "body"]


def _plural_kind(plural: Any) -> str | None:
    return next((kind for kind in ARGO_KINDS if kind.lower() + "s" == plural), None)
