"""What is asked of a cluster: any path of its API, and Argo's four kinds as plain documents."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from heraci.cluster import errors
from heraci.cluster.connection import NO_PARAMS, Connection, Params

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PLURALS = {
    "Workflow": "workflows",
    "WorkflowTemplate": "workflowtemplates",
    "ClusterWorkflowTemplate": "clusterworkflowtemplates",
    "CronWorkflow": "cronworkflows",
}
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
FIELD_MANAGER = "heraci"
# One watch request; then the next goes on where it ended. Short, so that a dead line is noticed.
WATCH_SECONDS = 50


class Cluster:
    """One Kubernetes API, reached as one user; safe for many threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"Cluster({self.host!r})"

    @property
    def host(self) -> str:
        """The API's address."""
        return self._connection.access.host

    @property
    def namespace(self) -> str | None:
        """The namespace that the kubeconfig's context, or the pod, names."""
        return self._connection.access.namespace

    def get(
        self, path: str, params: Params = NO_PARAMS, *, accept: str = "application/json"
    ) -> Any:
        """Return the JSON at a path of the API; MissingError, ForbiddenError… where there is none.

        `accept=METADATA_ONLY` asks for the metadata of a list alone.
        """
        return self._connection.request("GET", path, params, accept=accept)

    def request(
        self,
        method: str,
        path: str,
        params: Params = NO_PARAMS,
        body: Any = None,
        *,
        content_type: str = "application/json",
    ) -> Any:
        """Send anything else; see `Connection.request` for what is tried again."""
        return self._connection.request(method, path, params, body, content_type=content_type)

    def pages(
        self, path: str, params: Params = NO_PARAMS, *, accept: str = "application/json"
    ) -> Iterator[dict[str, Any]]:
        """Yield each page of a list, 500 objects at most in each."""
        asked: dict[str, str | int | bool | None] = {"limit": 500, **params}
        while True:
            page = self.get(path, asked, accept=accept)
            page["items"] = page.get("items") or []  # null, where there are none
            yield page
            going_on = page["metadata"].get("continue")
            if not going_on:
                return
            asked["continue"] = going_on

    def find(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """Return an object, None where there is none of that name."""
        try:
            found: dict[str, Any] = self.get(_path(kind, namespace, name))
        except errors.MissingError as error:
            if error.kind_missing:
                raise
            return None
        return found

    def objects(
        self, kind: str, namespace: str | None, labels: str, *, metadata_only: bool = False
    ) -> tuple[list[dict[str, Any]], str]:
        """List the objects that a label selector finds, and the version to watch from."""
        accept = METADATA_ONLY if metadata_only else "application/json"
        params = {"labelSelector": labels}
        for last in (False, False, True):
            try:
                pages = list(self.pages(_path(kind, namespace), params, accept=accept))
            except errors.GoneError:
                if last:
                    raise
                continue  # the server forgot the list between two pages: begin anew
            items = [item for page in pages for item in page["items"]]
            return items, pages[0]["metadata"]["resourceVersion"]
        raise AssertionError("unreachable")

    def create(self, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object; ConflictError where one of that name seems to be there."""
        kind, namespace, _ = _identity(document)
        made: dict[str, Any] = self.request(
            "POST", _path(kind, namespace), _writing(dry_run=dry_run), document
        )
        return made

    def apply(self, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply an object as heraci's; fields that others own and heraci does not set are kept."""
        path = _path(*_identity(document))
        params = {**_writing(dry_run=dry_run), "force": True}
        made: dict[str, Any] = self.request(
            "PATCH", path, params, document, content_type="application/apply-patch+yaml"
        )
        return made

    def patch(
        self, kind: str, namespace: str | None, name: str, change: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change a few fields (a JSON merge patch)."""
        path, params = _path(kind, namespace, name), {"fieldManager": FIELD_MANAGER}
        content_type = "application/merge-patch+json"
        made: dict[str, Any] = self.request(
            "PATCH", path, params, change, content_type=content_type
        )
        return made

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        """Delete an object; it may be gone already."""
        try:
            self.request(
                "DELETE", _path(kind, namespace, name), {"propagationPolicy": "Background"}
            )
        except errors.MissingError as error:
            if error.kind_missing:
                raise

    def watch(
        self, kind: str, namespace: str | None, labels: str, since: str, seconds: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield ADDED, MODIFIED and DELETED objects since a version, for some seconds.

        It may end earlier, where the server has forgotten that version: list and watch anew.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            began = time.monotonic()
            params: dict[str, str | int | bool | None] = {
                "watch": True,
                "labelSelector": labels,
                "resourceVersion": since,
                "allowWatchBookmarks": True,
                "timeoutSeconds": max(1, int(min(WATCH_SECONDS, left))),
            }
            path = _path(kind, namespace)
            try:
                for line in self._connection.lines(path, params, WATCH_SECONDS + 10):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        if event["object"].get("code") == 410:
                            return
                        raise errors.UnreachableError(str(event["object"].get("message")))
                    since = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
            except errors.GoneError:
                return
            if time.monotonic() - began < 1:
                return  # a connection that is cut at once: not one to begin again at once


def _identity(document: Mapping[str, Any]) -> tuple[str, str | None, str]:
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace"), metadata["name"]


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    for part in (namespace, name):
        # They come from a bundle: none of them may lead to another address.
        if part and not NAME.fullmatch(part):
            raise errors.RejectedError(f"{part!r} cannot be the name of a {kind} or a namespace.")
    below = f"/namespaces/{namespace}" if namespace else ""
    at = f"/apis/argoproj.io/v1alpha1{below}/{PLURALS[kind]}"
    return f"{at}/{name}" if name else at


def _writing(*, dry_run: bool) -> dict[str, str | int | bool | None]:
    # Strict: a server that drops a field it does not know would run what nobody reviewed.
    return {
        "fieldManager": FIELD_MANAGER,
        "fieldValidation": "Strict",
        "dryRun": "All" if dry_run else None,
    }
