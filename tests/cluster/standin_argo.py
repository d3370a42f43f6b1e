"""Stand in for the Argo Server where the real one cannot be had: its REST before a real API server.

A double, because Argo's Go modules, and with them the server, are not to be had on every machine;
where they are, the same tests run against the real one too. What it answers follows the server's
source: the caller's token is passed through, Kubernetes' errors become gRPC's codes (each conflict
AlreadyExists), answers leave out the kind, a list without items holds null, a dry run is a dry run
for workflows alone, events come as server-sent events, a workflow that is gone is looked up in the
archive (a list that the test fills).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 422: 3, 429: 8, 500: 13, 503: 14}
QUOTA_CONFLICT = (
    'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please '
    "apply your changes to the latest version and try again"
)
HTTP = {3: 400, 16: 401, 7: 403, 5: 404, 6: 409, 8: 429, 13: 500, 14: 503}
KINDS = {
    "workflows": ("Workflow", "workflow"),
    "workflow-templates": ("WorkflowTemplate", "template"),
    "cluster-workflow-templates": ("ClusterWorkflowTemplate", "template"),
    "cron-workflows": ("CronWorkflow", "cronWorkflow"),
}


class StandInArgoServer(ThreadingHTTPServer):
    """The server; `archive` holds workflows that are gone from the cluster."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, kubernetes: str, authority: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kubernetes = kubernetes
        self.archive: list[dict[str, Any]] = []
        self.conflicts = 0  # how many creations to refuse as a quota's conflict would be
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(authority) if authority else True
        self.session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=32))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None: ...  # the one who asked went away


@contextmanager
def standin_argo(kubernetes: str, authority: Path | None) -> Iterator[StandInArgoServer]:
    """Run it before a Kubernetes API server."""
    with StandInArgoServer(kubernetes, authority) as server, server.session:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        self.code = GRPC.get(status, 13)
        self.message = message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandInArgoServer

    def log_message(self, *_: object) -> None: ...

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        address = urlsplit(self.path)
        params = dict(parse_qsl(address.query))
        try:
            if not self.headers.get("Authorization"):
                raise _RefusedError(
                    401, "token not valid. see https://argo-workflows.readthedocs.io/"
                )
            steps = address.path.removeprefix("/api/v1/").split("/")
            if steps[0] == "workflow-events":
                return self._events(steps[1], params)
            self._tell(200, self._answer(steps, params, body))
        except _RefusedError as refused:
            said = {"code": refused.code, "message": refused.message, "details": []}
            self._tell(HTTP[refused.code], said)

    def _tell(self, status: int, answer: Any) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _answer(self, steps: list[str], params: dict[str, str], body: Any) -> Any:
        if steps == ["version"]:
            return {"version": "v3.6.19"}
        if steps == ["archived-workflows"]:
            return self._archived(params)
        kind, field = KINDS[steps[0]]
        cluster_wide = kind.startswith("Cluster")
        namespace = None if cluster_wide else steps[1]
        rest = steps[1:] if cluster_wide else steps[2:]
        at = "/apis/argoproj.io/v1alpha1"
        at += f"/namespaces/{namespace}" if namespace else ""
        at += f"/{kind.lower()}s"
        if rest == ["lint"]:
            return body[field]
        if self.command == "POST":
            if self.server.conflicts:
                self.server.conflicts -= 1
                raise _RefusedError(409, QUOTA_CONFLICT)
            query = {"dryRun": "All"} if body.get("serverDryRun") else {}
            return _typeless(self._ask("POST", at, query, body[field]))
        if self.command == "PUT":
            return _typeless(self._ask("PUT", f"{at}/{rest[0]}", {}, body[field]))
        if self.command == "DELETE":
            self._ask("DELETE", f"{at}/{rest[0]}", {}, None)
            return {}
        if rest:
            return self._one(kind, at, rest[0])
        return self._list(kind, at, params)

    def _one(self, kind: str, at: str, name: str) -> Any:
        try:
            return _typeless(self._ask("GET", f"{at}/{name}", {}, None))
        except _RefusedError:
            gone = [e for e in self.server.archive if e["metadata"]["name"] == name]
            if kind != "Workflow" or not gone:
                raise
            return gone[0]

    def _list(self, kind: str, at: str, params: dict[str, str]) -> Any:
        query = {"labelSelector": params.get("listOptions.labelSelector", "")}
        found = self._ask("GET", at, query, None)
        items = [_typeless(each) for each in found["items"]]
        if params.get("fields") == "metadata,items.metadata":
            items = [{"metadata": each["metadata"]} for each in items]
        return {"metadata": found["metadata"], "items": items or None}

    def _archived(self, params: dict[str, str]) -> Any:
        namespace = params["listOptions.fieldSelector"].removeprefix("metadata.namespace=")
        selector = params["listOptions.labelSelector"]

        def chosen(item: dict[str, Any]) -> bool:
            labels = item["metadata"].get("labels", {})
            pairs = (part.partition("=") for part in selector.split(","))
            return item["metadata"]["namespace"] == namespace and all(
                labels.get(key) == value if equals else key in labels
                for key, equals, value in pairs
            )

        return {"metadata": {}, "items": list(filter(chosen, self.server.archive)) or None}

    def _events(self, namespace: str, params: dict[str, str]) -> None:
        query = {
            "watch": "true",
            "labelSelector": params["listOptions.labelSelector"],
            "resourceVersion": params["listOptions.resourceVersion"],
        }
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows"
        answer = self._send("GET", path, query, None, stream=True)
        if not answer.ok:
            raise _RefusedError(answer.status_code, answer.json()["message"])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for line in answer.iter_lines(chunk_size=None):
            event = json.loads(line)
            said = {"result": {"type": event["type"], "object": _typeless(event["object"])}}
            if event["type"] == "ERROR":
                said = {"error": {"grpc_code": 13, "message": event["object"]["message"]}}
            self.wfile.write(b"data: " + json.dumps(said).encode() + b"\n\n")
            self.wfile.flush()

    def _ask(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        answer = self._send(method, path, query, body)
        said: dict[str, Any] = answer.json()
        if not answer.ok:
            raise _RefusedError(answer.status_code, said["message"])
        return said

    def _send(
        self, method: str, path: str, query: dict[str, str], body: Any, *, stream: bool = False
    ) -> requests.Response:
        # Go fills in what the REST body may leave out.
        if body is not None and "kind" not in body:
            kind = re.sub("s$", "", path.rstrip("/").split("/")[-1])
            body = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, **body}
        return self.server.session.request(
            method,
            self.server.kubernetes + path,
            params=query,
            json=body,
            headers={"Authorization": self.headers["Authorization"]},
            timeout=(5, 60),
            stream=stream,
        )

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815


def _typeless(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("kind", "apiVersion")}
