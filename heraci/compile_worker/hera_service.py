"""Records what Hera would send to an Argo Server, and answers as one would."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from heraci.compile_worker import PLACEHOLDER, PLACEHOLDER_SERVER, PLACEHOLDER_TOKEN
from heraci.compile_worker.record import ARGO_KINDS, Place, Record

_CARRIERS = ("workflow", "template", "cron_workflow")
_CHANGING = ("delete", "stop", "terminate", "suspend", "resume", "retry", "resubmit", "set")


class Call(NamedTuple):
    """One document as it was sent, the workflow that it was built from, and pydantic's warnings."""

    document: dict[str, Any]
    owner: Any
    place: Place | None
    order: int
    warned: list[str]


class Service:
    """What was sent, and by which workflow."""

    def __init__(self, record: Record, workflows: list[Any]) -> None:
        self.record = record
        self.workflows = workflows
        self.calls: list[Call] = []
        self.consumed: set[int] = set()  # ids of templates that only served create_as_workflow()
        self.built: dict[int, Any] = {}  # id of a document or its spec -> what it was built from
        self.answers: list[Any] = []
        self.given_names: dict[int, str] = {}  # id of a workflow -> the name that we answered
        self.kept: list[Any] = []
        self.lock = threading.Lock()
        # Of this thread, and of this asyncio task: the workflow whose create() is at work.
        self.sending: ContextVar[Any] = ContextVar("sending", default=None)

    def install(self) -> None:
        """Stand between Hera and every server."""
        shared: Any = importlib.import_module("hera.shared")
        self.watch_config(shared.global_config)
        services = [("hera.workflows.service", "WorkflowsService")]
        services.append(("hera.workflows.async_service", "AsyncWorkflowsService"))
        for module, name in services:
            try:
                self._watch_service(getattr(importlib.import_module(module), name))
            except ImportError:
                continue
        workflow: Any = importlib.import_module("hera.workflows.workflow")
        for kind in (workflow.Workflow, *_subclasses(workflow.Workflow)):
            self._watch_kind(kind)

    def forget(self) -> None:
        """Begin anew, after what only warmed Hera up."""
        self.built.clear()
        self.kept.clear()

    def watch_config(self, config: Any) -> None:
        """Let no token or certificate be asked for: an author's function would ask the cluster."""
        config.host = PLACEHOLDER_SERVER
        kind = type(config)
        kind.token = property(lambda config: PLACEHOLDER_TOKEN, kind.token.fset)
        if hasattr(kind, "client_certs"):
            kind.client_certs = property(lambda config: None, kind.client_certs.fset)
        auth = sys.modules.get("hera.auth")
        generator = getattr(auth, "ArgoCLITokenGenerator", None)
        if generator is not None:
            generator.__call__ = lambda *args: PLACEHOLDER_TOKEN

    def _watch_service(self, service: Any) -> None:
        """Record every method that would reach a server, whatever it is called."""
        for name, method in list(vars(service).items()):
            offline = name.startswith("_") or name == "close" or name.endswith("_link")
            if not offline and inspect.isfunction(method):
                setattr(service, name, self._recorder(name, method))

    def _recorder(self, name: str, method: Any) -> Any:
        names = method.__code__.co_varnames[1 : method.__code__.co_argcount]

        @functools.wraps(method)
        def send(service: Any, *args: Any, **options: Any) -> Any:
            values = {**dict(zip(names, args)), **options}
            sent = self._record(name, values)
            return self._answer(name, sent, values, method)

        if not inspect.iscoroutinefunction(method):
            return send

        @functools.wraps(method)
        async def send_async(service: Any, *args: Any, **options: Any) -> Any:
            return send(service, *args, **options)

        return send_async

    # --- what is sent ---------------------------------------------------------------------------

    def _record(self, name: str, values: dict[str, Any]) -> Any:
        """Note the model that a call carries, and give it back."""
        if name.startswith(_CHANGING):
            message = f"{name} is not sent while compiling"
            self.record.find("not-sent", "notice", message, self.record.caller())
        request = values.get("req")
        if name == "submit_workflow" and request is not None:
            self.submit(request, values)
            return None
        for field in _CARRIERS:
            model = getattr(request, field, None)
            if model is not None:
                if not name.startswith("lint") and not getattr(request, "server_dry_run", None):
                    self.note(model)
                return model
        return None

    def note(self, content: Any) -> None:
        """Note a model or a document that is sent, with the workflow that it comes from."""
        found = (self.built.get(id(each)) for each in _with_spec(content))
        owner = next((each for each in found if each is not None), self.sending.get())
        metadata = getattr(content, "metadata", None)
        given = self.given_names.get(id(owner))
        if metadata and metadata.generate_name and given and metadata.name == given:
            # The server gave this name to an earlier one; it would draw another.
            metadata.name = None
        # At once: a script may send the same object again with something else in it.
        with self.lock:
            self.record.warned.clear()
            document = _to_dict(content)
            kind = type(content).__name__
            if kind in ARGO_KINDS:  # the server knows what is sent to it by the address
                document = {**_of_kind(kind), **document}
            place, order = self.record.caller(), len(self.workflows)
            self.calls.append(Call(document, owner, place, order, list(self.record.warned)))
            if self.record.children.is_one():
                document = json.loads(json.dumps(document, default=as_json))
                told = {"document": document, "at": self.record.shown(place)}
                self.record.children.tell("call", told)

    def told(self) -> None:
        """Take what the children have sent."""
        for kind, what in self.record.children.told():
            if kind == "call":
                place, order = self.record.unshown(what["at"]), len(self.workflows)
                self.calls.append(Call(what["document"], None, place, order, []))

    def submit(self, request: Any, values: dict[str, Any]) -> None:
        """Turn the submission of a template that is on the cluster into one that refers to it."""
        name = getattr(request, "resource_name", None) or ""
        kind = (getattr(request, "resource_kind", None) or "").lower()
        if "cron" in kind:
            message = f"runs the CronWorkflow {name} at once; heraci submits manifests only"
            self.record.find("cron-submitted", "notice", message, self.record.caller())
            return
        namespace = values.get("namespace") or getattr(request, "namespace", None)
        self.note(_submission(name, kind, namespace, getattr(request, "submit_options", None)))

    # --- what is answered -----------------------------------------------------------------------

    def _answer(self, name: str, sent: Any, values: dict[str, Any], method: Any) -> Any:
        """Give a script what a server would: what it sent, with a name and a phase."""
        models: Any = importlib.import_module("hera.workflows.models")
        returns = getattr(method, "__annotations__", {}).get("return")
        if isinstance(returns, str):
            returns = getattr(models, returns, method.__globals__.get(returns))
        if returns is str:
            return ""
        wanted = values.get("name")
        if sent is None and wanted:
            known: Any = (each for each in self.answers if isinstance(each, _type(returns)))
            found = next((each for each in known if each.metadata.name == wanted), None)
            if found is not None:
                return found
        model = self._copy(models, sent) if sent is not None else None
        if model is None:
            listed = [each for each in self.answers if _lists(returns, each)]
            namespace = values.get("namespace")
            metadata = models.ObjectMeta(name=wanted or "heraci", namespace=namespace)
            spec = _construct(getattr(models, "WorkflowSpec", None))
            model = _construct(returns, metadata=metadata, spec=spec, items=listed)
        if isinstance(model, models.Workflow):
            model.status = models.WorkflowStatus(
                phase="Succeeded", message="compiled by heraci", progress="1/1", nodes={}
            )
        if sent is not None:
            self.answers.append(model)
        return model

    def _copy(self, models: Any, sent: Any) -> Any:
        model = sent.model_copy() if hasattr(sent, "model_copy") else sent.copy()
        name = sent.metadata.name or (sent.metadata.generate_name or "") + "heraci"
        model.metadata = _construct(
            models.ObjectMeta,
            name=name,
            generate_name=sent.metadata.generate_name,
            namespace=sent.metadata.namespace,
            uid=str(uuid.UUID(int=0)),
            labels=sent.metadata.labels,
            annotations=sent.metadata.annotations,
        )
        owner = self.sending.get()
        if owner is not None and not sent.metadata.name:
            self.given_names[id(owner)] = name
        return model

    # --- Hera's own workflows -------------------------------------------------------------------

    def _watch_kind(self, kind: Any) -> None:
        for name, method in list(vars(kind).items()):
            plain = name.removeprefix("async_")
            if plain in ("create", "update", "lint", "get"):
                setattr(kind, name, _around(method, self._sending))
            elif plain == "create_as_workflow":
                setattr(kind, name, _around(method, self._consuming))
            elif plain == "wait":
                setattr(kind, name, self._waiter(method))
            elif name in ("build", "to_dict"):
                setattr(kind, name, self._builder(method))

    @contextmanager
    def _sending(self, workflow: Any) -> Iterator[None]:
        token = self.sending.set(workflow)
        try:
            with _borrowed_namespace(workflow):
                yield
        finally:
            self.sending.reset(token)

    @contextmanager
    def _consuming(self, workflow: Any) -> Iterator[None]:
        self.consumed.add(id(workflow))
        with _borrowed_namespace(workflow):
            yield

    def _builder(self, method: Any) -> Any:
        @functools.wraps(method)
        def build(workflow: Any) -> Any:
            built = method(workflow)
            self.kept.append(built)
            for each in _with_spec(built):
                self.built[id(each)] = workflow
            return built

        return build

    def _waiter(self, method: Any) -> Any:
        """Answer wait() at once: nothing was started that could be waited for."""

        def answer(workflow: Any) -> Any:
            service = workflow.workflows_service
            return service.get_workflow(workflow.name or "heraci", namespace=workflow.namespace)

        if not inspect.iscoroutinefunction(method):
            return functools.wraps(method)(lambda workflow, *args, **options: answer(workflow))

        @functools.wraps(method)
        async def wait_async(workflow: Any, *args: Any, **options: Any) -> Any:
            found = answer(workflow)
            return await found if inspect.isawaitable(found) else found

        return wait_async


def _of_kind(kind: str) -> dict[str, str]:
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": kind}


def as_json(value: Any) -> Any:
    """Write what JSON does not know as Hera's own YAML would."""
    for attribute in ("value", "isoformat", "root", "__root__"):
        found = getattr(value, attribute, None)
        if found is not None:
            return found() if callable(found) else found
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"{value!r} cannot stand in a manifest")


def _to_dict(content: Any) -> Any:
    if isinstance(content, dict):
        return copy.deepcopy(content)
    if hasattr(content, "model_dump"):
        return content.model_dump(exclude_none=True, by_alias=True)
    return content.dict(exclude_none=True, by_alias=True)


def _with_spec(content: Any) -> list[Any]:
    """Give a document and its spec, by which a copy is known: pydantic 1 makes some."""
    is_dict = isinstance(content, dict)
    spec = content.get("spec") if is_dict else getattr(content, "spec", None)
    return [content] if spec is None else [content, spec]


def _around(method: Any, context: Callable[[Any], Any]) -> Any:
    """Have a method of a workflow, plain or async, run inside a context made of the workflow."""
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def run_async(workflow: Any, *args: Any, **options: Any) -> Any:
            with context(workflow):
                return await method(workflow, *args, **options)

        return run_async

    @functools.wraps(method)
    def run(workflow: Any, *args: Any, **options: Any) -> Any:
        with context(workflow):
            return method(workflow, *args, **options)

    return run


@contextmanager
def _borrowed_namespace(workflow: Any) -> Iterator[None]:
    """Hera asserts a namespace before it sends; the target's is set when heraci submits."""
    missing = getattr(workflow, "namespace", "") is None
    if not missing or "Cluster" in type(workflow).__name__:
        yield
        return
    workflow.namespace = PLACEHOLDER
    try:
        yield
    finally:
        workflow.namespace = None


def _submission(name: str, kind: str, namespace: str | None, options: Any) -> dict[str, Any]:
    """Write the workflow that the server would make of a request to submit a template."""
    reference: dict[str, Any] = {"name": name}
    if "cluster" in kind:
        reference["clusterScope"] = True
    spec: dict[str, Any] = {"workflowTemplateRef": reference}
    parameters = _pairs(getattr(options, "parameters", None))
    if parameters:
        listed = [{"name": key, "value": value} for key, value in parameters.items()]
        spec["arguments"] = {"parameters": listed}
    for field, key in (("entry_point", "entrypoint"), ("service_account", "serviceAccountName")):
        if getattr(options, field, None):
            spec[key] = getattr(options, field)
    prefix = getattr(options, "generate_name", None) or name + "-"
    metadata: dict[str, Any] = {"generateName": prefix}
    if getattr(options, "name", None):
        metadata = {"name": options.name}
    if namespace:
        metadata["namespace"] = namespace
    for field in ("labels", "annotations"):
        told = getattr(options, field, None)
        if told:
            metadata[field] = _pairs(told.split(","))
    return {
        **_of_kind("Workflow"),
        "metadata": metadata,
        "spec": spec,
    }


def _pairs(texts: Any) -> dict[str, str]:
    return {key: value for key, _, value in (each.partition("=") for each in texts or ())}


def _subclasses(kind: Any) -> Iterator[Any]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _type(returns: Any) -> type:
    return returns if isinstance(returns, type) else type(None)


def _lists(returns: Any, answer: Any) -> bool:
    return getattr(returns, "__name__", "") == type(answer).__name__ + "List"


def _construct(model: Any, **values: Any) -> Any:
    """Make a model without validation, with the fields that it has; None where that cannot be."""
    fields = getattr(model, "model_fields", None) or getattr(model, "__fields__", None)
    if not isinstance(model, type) or fields is None:
        return None
    given = {name: "" for name, field in fields.items() if _is_required(field)}
    given.update((name, value) for name, value in values.items() if name in fields)
    make = getattr(model, "model_construct", None) or model.construct  # type: ignore[attr-defined]
    return make(**given)


def _is_required(field: Any) -> bool:
    is_required = getattr(field, "is_required", None)
    return bool(is_required() if is_required else getattr(field, "required", False))
