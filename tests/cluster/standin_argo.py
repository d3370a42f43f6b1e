"""Stand in for the Argo Server where a test asks for what the real one cannot be made to do.

A double for two things alone: an archive with what a test puts into it, which a real server takes
from a PostgreSQL or MySQL that most machines lack; and conflicts at will, which a real one has only
where two write a quota in the same moment. What else it does is pass requests to a real API server
and answer as the real one was seen to: the caller's token is passed through, Kubernetes' errors
become gRPC's codes (each conflict AlreadyExists), answers leave out the kind, a list without items
holds null, the archive's workflows are in lists too and are found by their names.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from tests.cluster import build

GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 422: 3, 429: 8, 500: 13, 503: 14}
QUOTA_CONFLICT = (
    'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please '
    "apply your changes to the latest version and try again"
)
HTTP = {3: 400, 16: 401, 7: 403, 5: 404, 6: 409, 8: 429, 13: 500, 14: 503}
KINDS = {
    "workflows": ("Workflow", "workflow"),
    "workflow-templates": ("WorkflowTemplate", "template"),
}


class StandInArgoServer(ThreadingHTTPServer):
    """The server; `archive` holds workflows that are gone from the cluster."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, kubernetes: str, authority: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kubernetes = kubernetes
        self.archive: list[dict[str, Any]] = []
        self.heard: list[str | None] = []  # what callers gave to be let in
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
            self.server.heard.append(self.headers.get("Authorization"))
            if not self.headers.get("Authorization"):
                raise _RefusedError(
                    401, "token not valid. see https://argo-workflows.readthedocs.io/"
                )
            steps = address.path.removeprefix("/api/v1/").split("/")
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
            return {"version": f"v{build.ARGO}"}
        if steps == ["archived-workflows"]:
            of = params["listOptions.fieldSelector"].removeprefix("metadata.namespace=")
            found = self._archived(params["listOptions.labelSelector"], of)
            return {"metadata": {}, "items": found or None}
        kind, field = KINDS[steps[0]]
        at = f"/apis/argoproj.io/v1alpha1/namespaces/{steps[1]}/{kind.lower()}s"
        if self.command == "POST":
            if self.server.conflicts:
                self.server.conflicts -= 1
                raise _RefusedError(409, QUOTA_CONFLICT)
            return _typeless(self._ask("POST", at, {}, body[field]))
        if steps[2:]:
            return self._one(kind, at, steps[2])
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
        if kind == "Workflow":
            namespace = at.split("/")[-2]
            items += self._archived(query["labelSelector"], namespace)
        if params.get("fields") == "metadata,items.metadata":
            items = [{"metadata": each["metadata"]} for each in items]
        return {"metadata": found["metadata"], "items": items or None}

    def _archived(self, selector: str, namespace: str) -> list[dict[str, Any]]:
        def chosen(item: dict[str, Any]) -> bool:
            labels = item["metadata"].get("labels", {})
            pairs = (part.partition("=") for part in selector.split(",") if part)
            return item["metadata"]["namespace"] == namespace and all(
                labels.get(key) == value if equals else key in labels
                for key, equals, value in pairs
            )

        return list(filter(chosen, self.server.archive))

    def _ask(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        answer = self.server.session.request(
            method,
            self.server.kubernetes + path,
            params=query,
            json=body,
            headers={"Authorization": self.headers["Authorization"]},
            timeout=(5, 60),
        )
        said: dict[str, Any] = answer.json()
        if not answer.ok:
            raise _RefusedError(answer.status_code, said["message"])
        return said

    do_GET = do_POST = _handle  # noqa: N815


def _typeless(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("kind", "apiVersion")}
