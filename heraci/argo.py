"""The fence to the Argo Server: the same operations as through the Kubernetes API, same results.

Four things differ, and are made up for here. It has no server-side apply: templates and crons are
read, merged and written. Its dry run exists for workflows alone: for the others its linter speaks.
It calls every conflict AlreadyExists, a quota written by two at the same time included: whoever
creates looks at what is there. And it lists workflows and finds templates in a memory of its own,
which is a little late: what was written a moment ago may be missing.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from heraci.errors import ArgoError

if TYPE_CHECKING:
    import requests

TRIES = 8
FIRST_TRIES = 3
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
SILENT_SECONDS = 50.0
LONGEST_PAUSE = 8.0
LONGEST_RETRY_AFTER = 60.0
WORTH_ANOTHER_TRY = frozenset({429, 500, 502, 503, 504})
CONFLICT_TRIES = 5


class UnreachableError(ArgoError, ConnectionError):
    """No answer, or none that helps, though it was tried again: worth another try later."""


class UnauthorizedError(ArgoError):
    """The token is not, or no longer, good (401)."""


class ForbiddenError(ArgoError, PermissionError):
    """The token is good and the right is missing (403)."""


class MissingError(ArgoError, LookupError):
    """There is no such object (404)."""


class ConflictError(ArgoError, FileExistsError):
    """The name is taken, or two wrote at the same time (409): look at what is there."""


class RejectedError(ArgoError, ValueError):
    """The object itself is refused: it is not valid, or a policy is against it."""


@dataclass(frozen=True)
class _Kind:
    """How the server's addresses and bodies call one of Argo's kinds."""

    path: str
    field: str


KINDS = {
    "Workflow": _Kind("workflows", "workflow"),
    "WorkflowTemplate": _Kind("workflow-templates", "template"),
    "ClusterWorkflowTemplate": _Kind("cluster-workflow-templates", "template"),
    "CronWorkflow": _Kind("cron-workflows", "cronWorkflow"),
}
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
# What grows with a run and tells nothing that is asked here.
HEAVY = ("status.nodes", "status.storedTemplates", "status.storedWorkflowTemplateSpec")


class ArgoServer:
    """One Argo Server, asked with one token; safe for many threads."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        ui: str | None = None,
        ca_certificate: Path | None = None,
        insecure_skip_tls_verify: bool = False,
        concurrency: int = 8,
    ) -> None:
        self.address = address.rstrip("/")
        self._ui = (ui or address).rstrip("/")
        self._token = token
        self._verify = _verification(self.address, ca_certificate, insecure_skip_tls_verify)
        self._session = _session(concurrency)
        self._met = False

    def __repr__(self) -> str:
        return f"ArgoServer({self.address!r})"

    def link(self, namespace: str, name: str, uid: str = "") -> str:
        """Give the page of a workflow in Argo's UI."""
        return link(self._ui, namespace, name, uid)

    def version(self) -> str:
        """Return the server's version, once it has taken the token."""
        # It tells its version to every token; workflows only to one that is good.
        with suppress(ForbiddenError):
            limit = {"listOptions.limit": "1", "fields": "metadata"}
            self._request("GET", _path("Workflow", "default"), limit)
        return str(self._request("GET", "/api/v1/version").get("version", ""))

    def find(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """Return an object, from the archive too; None where there is none of that name."""
        try:
            found: dict[str, Any] = self._request("GET", _path(kind, namespace, name))
        except MissingError:
            return None
        return _typed(kind, found)

    def objects(
        self, kind: str, namespace: str | None, labels: str, *, metadata_only: bool = False
    ) -> tuple[list[dict[str, Any]], str]:
        """List the objects that a label selector finds, and the version to watch from."""
        params = {"listOptions.labelSelector": labels}
        if kind == "Workflow":
            heavy = "-" + ",".join(f"items.{each}" for each in HEAVY)
            params["fields"] = "metadata,items.metadata" if metadata_only else heavy
        answer = self._request("GET", _path(kind, namespace), params)
        # With an archive, its workflows are among them: `archived` is there for those.
        here = (each for each in answer.get("items") or () if not _is_archived(each))
        items = [_typed(kind, each) for each in here]
        return items, (answer.get("metadata") or {}).get("resourceVersion") or ""

    def archived(self, namespace: str, labels: str) -> list[dict[str, Any]]:
        """List the workflows of the archive that a label selector finds."""
        params = {
            "listOptions.labelSelector": labels,
            "listOptions.fieldSelector": f"metadata.namespace={namespace}",
        }
        answer = self._request("GET", "/api/v1/archived-workflows", params)
        return [_typed("Workflow", each) for each in answer.get("items") or ()]

    def create(self, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object; ConflictError where one of that name seems to be there."""
        kind, namespace = document["kind"], document["metadata"].get("namespace")
        body: dict[str, Any] = {KINDS[kind].field: document, "namespace": namespace or ""}
        path = _path(kind, namespace)
        if dry_run and kind == "Workflow":
            body["serverDryRun"] = True
        elif dry_run:
            path += "/lint"
        return _typed(kind, self._request("POST", path, body=body))

    def apply(self, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Make an object be as the document says; what others added to it is kept."""
        kind, metadata = document["kind"], document["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        for attempt in range(1, CONFLICT_TRIES + 1):
            live = self.find(kind, namespace, name)
            try:
                if live is None:
                    return self.create(document, dry_run=dry_run)
                wanted = _merged(document, live)
                if _same(wanted, live):
                    return live
                return self.create(wanted, dry_run=True) if dry_run else self._update(wanted)
            except ConflictError:
                if attempt == CONFLICT_TRIES:
                    raise
                time.sleep(_pause(attempt))
        raise AssertionError("unreachable")

    def patch(
        self, kind: str, namespace: str | None, name: str, change: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change a few fields (a JSON merge patch, made here)."""
        for attempt in range(1, CONFLICT_TRIES + 1):
            try:
                live = self._request("GET", _path(kind, namespace, name))
                return self._update(_typed(kind, _patched(live, change)))
            except (ConflictError, MissingError):
                if attempt == CONFLICT_TRIES:
                    raise
                time.sleep(_pause(attempt))
        raise AssertionError("unreachable")

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        """Delete an object; it may be gone already."""
        try:
            self._request("DELETE", _path(kind, namespace, name))
        except MissingError:
            return

    def watch(
        self, kind: str, namespace: str | None, labels: str, since: str, seconds: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield ADDED, MODIFIED and DELETED workflows since a version, for some seconds.

        It ends where the line is cut, is silent for long, or the server has forgotten that
        version: list and watch anew.
        """
        params = {
            "listOptions.labelSelector": labels,
            "listOptions.resourceVersion": since,
            "fields": "-" + ",".join(f"result.object.{each}" for each in HEAVY),
        }
        end = time.monotonic() + seconds
        silent = max(1.0, min(SILENT_SECONDS, seconds))
        path = f"/api/v1/workflow-events/{namespace or ''}"
        try:
            for line in self._lines(path, params, silent):
                event = json.loads(line).get("result")
                if event is None:
                    return  # an error of the stream; the next list says whether it lasts
                if event.get("object"):
                    yield event["type"], _typed(kind, event["object"])
                if time.monotonic() > end:
                    return
        except RejectedError as error:
            # It remembers lists longer than an API server that was restarted meanwhile.
            if "too old resource version" not in str(error):
                raise

    def _update(self, document: Mapping[str, Any]) -> dict[str, Any]:
        kind, metadata = document["kind"], document["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        body = {KINDS[kind].field: document, "namespace": namespace or "", "name": name}
        return _typed(kind, self._request("PUT", _path(kind, namespace, name), body=body))

    def _request(
        self, method: str, path: str, params: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        attempt = 1
        while True:
            last = attempt >= TRIES
            attempt += 1
            try:
                answer = self._send(method, path, params, body, READ_SECONDS)
            except UnreachableError:
                # A server that was never there will hardly come; one that restarts will.
                if last or (attempt > FIRST_TRIES and not self._met):
                    raise
                time.sleep(_pause(attempt))
                continue
            self._met = True
            if answer.ok and not answer.is_redirect:
                return self._json(answer)
            problem = self._refusal(answer, method, path)
            worth = answer.status_code in WORTH_ANOTHER_TRY and isinstance(problem, ConnectionError)
            if last or not worth:
                raise problem
            time.sleep(_pause(attempt, answer.headers.get("Retry-After")))

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Any,
        seconds: float,
        *,
        stream: bool = False,
    ) -> requests.Response:
        import requests

        try:
            return self._session.request(
                method,
                self.address + path,
                params=params,
                json=body,
                headers={"Accept-Encoding": "identity"} if stream else {},
                auth=self._authorize,  # a header of our own would give way to ~/.netrc
                timeout=(CONNECT_SECONDS, seconds),
                verify=self._verify,  # the session's would give way to REQUESTS_CA_BUNDLE
                allow_redirects=False,
                stream=stream,
            )
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise UnreachableError(f"{self._who}: no TLS connection.") from None
            raise ArgoError(
                f"{self._who} shows a certificate that cannot be trusted. Give its authority with "
                "ca-certificate, or check that this is the server you mean."
            ) from None
        except requests.exceptions.RequestException as error:
            raise UnreachableError(
                f"{self._who} cannot be reached ({type(error).__name__}). Check that it is up, "
                "that the address is right and that a VPN or a proxy does not stand between."
            ) from None

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _lines(self, path: str, params: Mapping[str, str], silent: float) -> Iterator[bytes]:
        import urllib3

        answer = self._send("GET", path, params, None, silent, stream=True)
        try:
            if not answer.ok:
                raise self._refusal(answer, "GET", path)
            rest = b""
            # Not iter_lines(): without a length or chunks it would wait for the end.
            while chunk := answer.raw.read1(1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                # Newer servers speak in server-sent events.
                yield from filter(None, (line.removeprefix(b"data: ").strip() for line in whole))
        except (urllib3.exceptions.HTTPError, OSError):
            return  # cut, or silent: whoever watches begins anew
        finally:
            answer.close()

    def _json(self, answer: requests.Response) -> Any:
        try:
            return answer.json() or {}
        except ValueError:
            raise ArgoError(
                f"{self._who} answered with something else than JSON. Is this the Argo Server's "
                "address, with its base path if it has one?"
            ) from None

    def _refusal(self, answer: requests.Response, method: str, path: str) -> ArgoError:
        status, said = answer.status_code, _message(answer)
        if answer.is_redirect or status == 401:
            return UnauthorizedError(
                f"{self._who} does not accept the token ({status}). It may have expired: renew it "
                "(argo auth token, or a service account's) and set argo-token."
            )
        if status == 500:
            status = _meant(said)
        if status == 403:
            return ForbiddenError(
                f"{said}. The token's service account needs a Role with that right "
                f"({self._who}, {method} {path})."
            )
        if status == 404:
            return MissingError(said)
        if status == 409:
            return ConflictError(said)
        if status in (400, 405, 413, 415, 422):
            return RejectedError(f"{self._who} refuses it: {said}")
        return UnreachableError(f"{self._who} is in trouble ({status}): {said}. Try again later.")

    @property
    def _who(self) -> str:
        return f"The Argo Server at {self.address}"


def link(ui: str, namespace: str, name: str, uid: str = "") -> str:
    """Give the page of a workflow in Argo's UI; with the uid it is found in the archive too."""
    page = f"{ui.rstrip('/')}/workflows/{quote(namespace)}/{quote(name)}"
    return f"{page}?uid={quote(uid)}" if uid else page


def _session(concurrency: int) -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    # A watch and the creating threads, each its connection.
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=concurrency + 4)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _verification(address: str, ca_certificate: Path | None, unverified: bool) -> bool | str:
    parts = urlsplit(address)
    if unverified:
        import warnings

        # It was asked for by name; a warning for each request would tell nothing new.
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        return False
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ArgoError(
            f"{address} is no https address: the token would travel in the open. Use https, or say "
            "insecure-skip-tls-verify."
        )
    if ca_certificate is None:
        return True
    if not ca_certificate.is_file():
        raise ArgoError(f"ca-certificate: {ca_certificate} does not exist.")
    return str(ca_certificate)


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    for part in (namespace, name):
        # They come from a bundle: none of them may lead to another address.
        if part and not NAME.fullmatch(part):
            raise RejectedError(f"{part!r} cannot be the name of a {kind} or a namespace.")
    return "/".join(part for part in ("/api/v1", KINDS[kind].path, namespace, name) if part)


def _typed(kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Say the kind, which the server's answers leave out."""
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, **document}


def _is_archived(item: Mapping[str, Any]) -> bool:
    labels = item["metadata"].get("labels") or {}
    return bool(labels.get("workflows.argoproj.io/workflow-archiving-status") == "Persisted")


def _merged(document: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """Put a document over a live object: its spec whole, labels and annotations over theirs."""
    metadata, ours = dict(live["metadata"]), document["metadata"]
    for key in ("labels", "annotations"):
        theirs = {k: v for k, v in (metadata.get(key) or {}).items() if not _is_ours(k)}
        metadata[key] = theirs | dict(ours.get(key) or {})
    spec = dict(document["spec"])
    if live["spec"].get("suspend") and document["kind"] == "CronWorkflow":
        spec.setdefault("suspend", True)  # somebody stopped it by hand
    return {**live, "kind": document["kind"], "metadata": metadata, "spec": spec}


def _is_ours(key: str) -> bool:
    return key.startswith("heraci/")


def _same(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Tell whether writing would change nothing.

    The server's Go types leave zero values out and put empty objects in; where such a value is all
    that was changed, the digest among the annotations tells.
    """
    both = (
        (each["spec"], _told(each, "labels"), _told(each, "annotations")) for each in (wanted, live)
    )
    one, other = (_without_zeros(list(each)) for each in both)
    return bool(one == other)


def _told(document: Mapping[str, Any], key: str) -> Any:
    return document["metadata"].get(key) or {}


def _without_zeros(node: Any) -> Any:
    if isinstance(node, Mapping):
        kept = {key: _without_zeros(value) for key, value in node.items()}
        return {key: value for key, value in kept.items() if value or value == "0"}
    if isinstance(node, list):
        return [_without_zeros(each) for each in node]
    return node


def _patched(node: Any, change: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386)."""
    if not isinstance(change, Mapping):
        return change
    made = dict(node) if isinstance(node, Mapping) else {}
    for key, value in change.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = _patched(made.get(key), value)
    return made


def _message(answer: requests.Response) -> str:
    try:
        said = answer.json()
    except ValueError:
        return f"HTTP {answer.status_code}"
    said = said if isinstance(said, dict) else {}
    message = said.get("message") or said.get("error")
    if isinstance(message, dict):  # a stream's
        message = message.get("message")
    return str(message or f"HTTP {answer.status_code}").strip().rstrip(".")


def _meant(said: str) -> int:
    """Read from the text what some servers hide behind a 500: Kubernetes' own words."""
    known = {" not found": 404, " already exists": 409, " is forbidden": 403, "Unauthorized": 401}
    return next((status for text, status in known.items() if text in said), 500)


def _pause(attempt: int, retry_after: str | None = None) -> float:
    """Say how long to wait before trying again: what the server asks, else longer each time."""
    if retry_after and retry_after.isdigit():
        return min(float(retry_after), LONGEST_RETRY_AFTER)
    longest = min(0.1 * 2.0**attempt, LONGEST_PAUSE)
    return random.uniform(longest / 2, longest)  # noqa: S311  # so that many do not come at once
