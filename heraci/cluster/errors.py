"""What the Kubernetes API refuses, each kind an exception that says what to do.

Each is also one of Python's own exceptions, so that a stage can tell them apart (`except
ConnectionError`) without knowing this fence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from heraci.errors import ClusterError

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


class UnreachableError(ClusterError, ConnectionError):
    """No answer, or none that helps, though it was tried again: worth another try later."""


class UntrustedError(ClusterError):
    """The server's certificate is not one that the given authority vouches for."""


class UnauthorizedError(ClusterError):
    """The credentials are not, or no longer, good (401)."""


class ForbiddenError(ClusterError, PermissionError):
    """The credentials are good and the right is missing (403)."""

    def __init__(self, message: str, verb: str, resource: str, namespace: str | None) -> None:
        super().__init__(message)
        self.verb = verb
        self.resource = resource
        self.namespace = namespace


class MissingError(ClusterError, LookupError):
    """There is no such object, or no such kind (404)."""

    def __init__(self, message: str, *, kind_missing: bool = False) -> None:
        super().__init__(message)
        self.kind_missing = kind_missing


class ConflictError(ClusterError, FileExistsError):
    """The name is taken, or two wrote at the same time (409): look at what is there."""


class RejectedError(ClusterError, ValueError):
    """The object itself is refused (400, 422, an admission webhook)."""


class GoneError(ClusterError):
    """A watch or a list wants to go on from where the server no longer remembers (410)."""


def refusal(status: int, method: str, path: str, body: bytes, who: str) -> ClusterError:
    """Make the exception for an answer that is not a success; `who` names server and context."""
    answer = _status(body)
    said = str(answer.get("message") or "").strip() or f"HTTP {status}"
    group, resource, namespace, name = parts(path)
    if status == 401:
        return UnauthorizedError(
            f"{who} does not accept the credentials (401). A token may have expired: renew it, "
            "or choose another context."
        )
    if status == 403:
        return _forbidden(said, method, (group, resource, namespace, name), answer)
    if status == 404:
        return _missing(said, (group, resource), answer, who)
    if status == 409:
        return ConflictError(said)
    if status == 410:
        return GoneError(said)
    if status in (400, 413, 415, 422):
        return RejectedError(f"{who} refuses it: {said}")
    if status == 405:
        return RejectedError(f"{who} does not allow {method} on {resource}: {said}")
    if status >= 500 or status == 429:
        return UnreachableError(f"{who} is in trouble ({status}): {said}. Try again later.")
    return ClusterError(f"{who} answered {method} {path} with {status}: {said}")


def _forbidden(
    said: str, method: str, at: tuple[str, str, str | None, str | None], answer: Mapping[str, Any]
) -> ClusterError:
    group, resource, namespace, name = at
    verb = VERBS[method] if method != "GET" or name else "list"
    if answer.get("reason") != "Forbidden" or "cannot" not in said:
        # Quotas and admission plugins refuse with 403 as well; no role would help.
        return RejectedError(f"The cluster refuses it: {said}")
    role = f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]'
    where = f"a Role in namespace {namespace}" if namespace else "a ClusterRole"
    message = f"{said}. What is missing is {where} with {{{role}}}."
    return ForbiddenError(message, verb, resource, namespace)


def _missing(said: str, at: tuple[str, str], answer: Mapping[str, Any], who: str) -> ClusterError:
    group, resource = at
    if answer.get("details", {}).get("name"):
        return MissingError(said)
    if group == "argoproj.io":
        message = (
            f"{who} does not know {resource}.argoproj.io: Argo Workflows is not installed there "
            "(its CustomResourceDefinitions are missing), or this is another cluster than meant."
        )
    else:
        message = f"{who} does not know {resource or 'this address'}: {said}"
    return MissingError(message, kind_missing=True)


def parts(path: str) -> tuple[str, str, str | None, str | None]:
    """Split an API path into group, resource, namespace and name."""
    steps = path.partition("?")[0].strip("/").split("/")
    if steps[0] == "api":
        group, rest = "", steps[2:]
    elif steps[0] == "apis" and len(steps) > 3:
        group, rest = steps[1], steps[3:]
    else:
        return "", path, None, None
    namespace = None
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource = "/".join(rest[:1] + rest[2:])
    return group, resource, namespace, rest[1] if len(rest) > 1 else None


def _status(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {"message": body[:500].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {}
