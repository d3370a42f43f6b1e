"""Records what a script sends to Argo's or Kubernetes' REST API by itself, and answers it."""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from heraci.compile_worker.after_import import AfterImport
from heraci.compile_worker.record import Record

_PLURALS = {
    "workflows": "Workflow",
    "workflow-templates": "WorkflowTemplate",
    "cluster-workflow-templates": "ClusterWorkflowTemplate",
    "cron-workflows": "CronWorkflow",
    "workflowtemplates": "WorkflowTemplate",
    "clusterworkflowtemplates": "ClusterWorkflowTemplate",
    "cronworkflows": "CronWorkflow",
}
_ARGO = re.compile(
    r"^https?://[^/]+(?:/[^?]*)?/api/v1/"
    r"(?P<plural>workflows|workflow-templates|cluster-workflow-templates|cron-workflows"
    r"|archived-workflows|info|version|userinfo)(?:/(?P<rest>[^?]*))?"
)
_KUBERNETES = re.compile(
    r"^https?://[^/]+(?:/[^?]*)?/apis/argoproj\.io/v1alpha1/(?:namespaces/[^/?]+/)?"
    r"(?P<plural>workflows|workflowtemplates|clusterworkflowtemplates|cronworkflows)"
    r"(?:/(?P<rest>[^?]*))?"
)
_CARRIERS = ("workflow", "template", "cronWorkflow")


class Rest:
    """The two APIs by which a workflow gets to a cluster, as a script of no library sees them.

    `note` is told of a document that is sent, `submit` of the submission of a template.
    """

    def __init__(
        self, record: Record, note: Callable[[Any], None], submit: Callable[[Any, Any], None]
    ) -> None:
        self.record, self.note, self.submit = record, note, submit
        self.known: dict[str, dict[str, Any]] = {}  # what was sent, by its name

    def install(self, after_import: AfterImport) -> None:
        """Stand below the libraries by which scripts send requests."""
        after_import.watch("requests.adapters", self._watch_requests)
        after_import.watch("urllib.request", self._watch_urllib)
        after_import.watch("httpx", self._watch_httpx)

    def answer(self, method: str, url: str, body: Any) -> bytes | None:
        """Give the answer to a request; None where it goes to another server."""
        found = _ARGO.match(url) or _KUBERNETES.match(url)
        if found is None:
            return None
        try:
            sent = json.loads(body) if body else {}
        except (TypeError, ValueError):
            sent = {}
        parts = [each for each in (found["rest"] or "").split("/") if each]
        kind = _PLURALS.get(found["plural"], "Workflow")
        return json.dumps(self._answered(method.upper(), kind, parts, sent)).encode()

    def _answered(self, method: str, kind: str, parts: list[str], sent: Any) -> Any:
        name = parts[-1] if parts else ""
        if method in ("POST", "PUT") and name == "submit":
            told = {_snake(key): each for key, each in (sent.get("submitOptions") or {}).items()}
            request = SimpleNamespace(
                resource_kind=sent.get("resourceKind"),
                resource_name=sent.get("resourceName"),
                namespace=sent.get("namespace"),
                submit_options=SimpleNamespace(**told),
            )
            self.submit(request, {})
            return _with_status({"metadata": {"name": f"{sent.get('resourceName')}-heraci"}})
        carried = next((sent[each] for each in _CARRIERS if isinstance(sent.get(each), dict)), sent)
        if method in ("POST", "PUT") and isinstance(carried, dict) and "spec" in carried:
            document = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, **carried}
            if name != "lint" and not sent.get("serverDryRun"):
                self.note(document)
            metadata = dict(document.get("metadata") or {})
            given = metadata.get("name") or (metadata.get("generateName") or "") + "heraci"
            answer = _with_status({**document, "metadata": {**metadata, "name": given}})
            self.known[given] = answer
            return answer
        if method != "GET":
            what = " ".join([method, kind, *parts])
            message = f"{what} is not sent while compiling"
            self.record.find("not-sent", "notice", message, self.record.caller())
            return {}
        default = _with_status({"metadata": {"name": name}, "spec": {}})
        return {**self.known.get(name, default), "items": list(self.known.values())}

    # --- the libraries ---------------------------------------------------------------------------

    def _watch_requests(self, module: Any) -> None:
        kind = module.HTTPAdapter
        original = kind.send

        @functools.wraps(original)
        def send(adapter: Any, request: Any, *args: Any, **options: Any) -> Any:
            body = self.answer(request.method, request.url, request.body)
            if body is None:
                return original(adapter, request, *args, **options)
            response = module.Response()
            response.status_code, response.reason, response.url = 200, "OK", request.url
            response.headers["Content-Type"] = "application/json"
            response.raw, response._content, response.request = io.BytesIO(body), body, request
            response.encoding = "utf-8"
            return response

        kind.send = send

    def _watch_urllib(self, module: Any) -> None:
        kind = module.AbstractHTTPHandler
        original = kind.do_open

        @functools.wraps(original)
        def do_open(handler: Any, connection: Any, request: Any, **options: Any) -> Any:
            body = self.answer(request.get_method(), request.full_url, request.data)
            if body is None:
                return original(handler, connection, request, **options)
            from email.message import Message

            headers = Message()
            headers["Content-Type"] = "application/json"
            answer = module.addinfourl(io.BytesIO(body), headers, request.full_url, 200)
            answer.msg = "OK"
            return answer

        kind.do_open = do_open

    def _watch_httpx(self, module: Any) -> None:
        plain, asynchronous = module.HTTPTransport, module.AsyncHTTPTransport
        handle, handle_async = plain.handle_request, asynchronous.handle_async_request

        def response(body: bytes) -> Any:
            return module.Response(200, content=body, headers={"Content-Type": "application/json"})

        @functools.wraps(handle)
        def handle_request(transport: Any, request: Any) -> Any:
            body = self.answer(request.method, str(request.url), request.read())
            return handle(transport, request) if body is None else response(body)

        @functools.wraps(handle_async)
        async def handle_async_request(transport: Any, request: Any) -> Any:
            body = self.answer(request.method, str(request.url), await request.aread())
            return await handle_async(transport, request) if body is None else response(body)

        plain.handle_request = handle_request
        asynchronous.handle_async_request = handle_async_request


def _with_status(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "status": {"phase": "Succeeded", "progress": "1/1"}}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found[1].lower(), name)
