"""GitHub's REST API as one token may use it: retries, limits, pages, and what refusals mean."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from heraci import __version__
from heraci.errors import GitHubError

if TYPE_CHECKING:
    import requests
    from pydantic import SecretStr

VERSION = "2022-11-28"
PER_PAGE = 100
MOST_PAGES = 50
SECONDS = (5.0, 30.0)  # to connect, to answer
TRIES = 5
# A job costs money while it waits, and a person waits for it.
PATIENCE = 120.0
# GitHub asks for this much after a secondary limit that names no time.
UNNAMED_LIMIT = 60.0
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
_REPEATABLE = frozenset({"GET", "PATCH", "DELETE"})

Parameters = Mapping[str, str | int]


class RefusedError(GitHubError):
    """The token may not do this; a fork's pull request is the usual reason."""


class MissingError(GitHubError):
    """GitHub knows nothing at this address, or hides it from this token."""


class UnansweredError(GitHubError):
    """No answer came, or one that says nothing: what was asked may have been done."""


class GitHub:
    """The REST API of one repository."""

    def __init__(
        self,
        token: SecretStr,
        repository: str,
        *,
        api_url: str = "https://api.github.com",
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.repository = repository
        self._token = token
        self._api = api_url.rstrip("/")
        self._sleep = sleep
        self._now = now
        self._patience = PATIENCE
        self._kept: requests.Session | None = None

    def __repr__(self) -> str:
        return f"GitHub({self.repository!r}, api_url={self._api!r})"

    def close(self) -> None:
        """Close the connections."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def get(self, path: str, parameters: Parameters | None = None) -> Any:
        """Ask for one thing."""
        return _json(self._send("GET", self._address(path), parameters))

    def pages(
        self, path: str, parameters: Parameters | None = None, *, key: str = ""
    ) -> Iterator[Any]:
        """Go through a list; `key` names it where GitHub wraps it into an object."""
        address: str | None = self._address(path)
        asked: Parameters | None = {"per_page": PER_PAGE, **(parameters or {})}
        for _ in range(MOST_PAGES):
            if address is None:
                return
            answer = self._send("GET", address, asked)
            found = _json(answer)
            yield from found[key] if key else found
            address, asked = self._next(answer), None

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Make something, never twice: UnansweredError where nobody knows whether it was made."""
        return _json(self._send("POST", self._address(path), body=body))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something."""
        return _json(self._send("PATCH", self._address(path), body=body))

    def delete(self, path: str) -> None:
        """Take something away."""
        self._send("DELETE", self._address(path))

    def download(self, path: str, most: int) -> bytes:
        """Fetch a file that GitHub keeps elsewhere; the token stays here."""
        answer = self._send("GET", self._address(path))
        place = urlsplit(answer.headers.get("Location", ""))
        if place.scheme != "https" and urlsplit(self._api).scheme == "https":
            raise GitHubError(f"{path} leads to an address that is not https")
        return _fetch(place.geturl(), most)

    def wait(self, seconds: float) -> None:
        """Give GitHub time to know what just happened."""
        self._sleep(seconds)

    def login(self) -> str:
        """Give the name that this token writes under."""
        try:
            asked = {"query": "query { viewer { login } }"}
            answer = _json(self._send("POST", self._graphql(), body=asked))
            return str(answer["data"]["viewer"]["login"])
        except (GitHubError, KeyError, TypeError):  # an old server: then it is the usual token's
            return "github-actions[bot]"

    def _graphql(self) -> str:
        # GitHub Enterprise Server: https://host/api/v3 and https://host/api/graphql.
        return f"{self._api.removesuffix('/v3')}/graphql"

    def _address(self, path: str) -> str:
        return f"{self._api}/repos/{self.repository}/{path}"

    def _next(self, answer: requests.Response) -> str | None:
        found = _NEXT.search(answer.headers.get("Link", ""))
        if found is None:
            return None
        if urlsplit(found[1]).netloc != urlsplit(self._api).netloc:
            raise GitHubError(f"GitHub's next page is on another host: {found[1]}")
        return found[1]

    def _session(self) -> requests.Session:
        import requests

        if self._kept is None:
            self._kept = requests.Session()
            # Otherwise requests would send what ~/.netrc holds for this host.
            self._kept.auth = _Bearer(self._token)
            self._kept.headers.update(
                {
                    "Accept": "application/vnd.github+json",
                    "X-GitHub-Api-Version": VERSION,
                    "User-Agent": f"heraci/{__version__}",
                }
            )
        return self._kept

    def _send(
        self,
        method: str,
        address: str,
        parameters: Parameters | None = None,
        *,
        body: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        """Ask until there is an answer that says something, or our patience is over."""
        said = ""
        for attempt in range(TRIES):
            limited = False
            try:
                answer = self._once(method, address, parameters, body)
            except OSError as error:  # requests' own errors are OSErrors too
                said = f"no answer ({type(error).__name__})"
                pause = 2.0**attempt
            else:
                if answer.ok:
                    return answer
                said = _said(answer)
                pause = self._pause(answer, attempt)
                limited = _limited(answer)
            repeatable = limited or method in _REPEATABLE
            if not repeatable or pause > self._patience or attempt == TRIES - 1:
                break
            self._patience -= pause
            self._sleep(pause)
        raise self._unanswered(method, address, said)

    def _once(
        self,
        method: str,
        address: str,
        parameters: Parameters | None,
        body: Mapping[str, Any] | None,
    ) -> requests.Response:
        answer = self._session().request(
            method, address, params=parameters, json=body, timeout=SECONDS, allow_redirects=False
        )
        status = answer.status_code
        if status < 300 or status == 302 or status >= 500 or _limited(answer):
            return answer
        told = f"GitHub refused {method} {urlsplit(address).path} ({status}): {_message(answer)}"
        if status == 401:
            raise GitHubError(
                f"{told}. The token is not valid (any more): renew HERACI_GITHUB_TOKEN"
            )
        if status == 403:
            raise RefusedError(f"{told}. {_advice(method, address)}")
        raise MissingError(told) if status == 404 else GitHubError(told)

    def _pause(self, answer: requests.Response, attempt: int) -> float:
        """Say how long to wait before asking again."""
        if not _limited(answer):
            return 2.0**attempt
        headers = answer.headers
        if headers.get("Retry-After", "").isdecimal():
            return float(headers["Retry-After"])
        if headers.get("X-RateLimit-Remaining") == "0":
            reset = headers.get("X-RateLimit-Reset", "")
            return max(1.0, float(reset) - self._now()) if reset.isdecimal() else UNNAMED_LIMIT
        return UNNAMED_LIMIT * 2.0**attempt

    def _unanswered(self, method: str, address: str, said: str) -> GitHubError:
        return UnansweredError(
            f"GitHub did not do {method} {urlsplit(address).path}: {said}. Run this again later; "
            "its state is shown at githubstatus.com"
        )


@dataclass(frozen=True, slots=True, repr=False)
class _Bearer:
    """Adds the token to a request, and keeps it out of every repr and error."""

    token: SecretStr

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token.get_secret_value()}"
        return request


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise UnansweredError(f"GitHub's answer ({answer.status_code}) is not JSON") from None


def _limited(answer: requests.Response) -> bool:
    """Tell a limit of requests from a missing right, which has the same status."""
    if answer.status_code not in (403, 429):
        return False
    return (
        answer.status_code == 429
        or "Retry-After" in answer.headers
        or answer.headers.get("X-RateLimit-Remaining") == "0"
        or "rate limit" in _message(answer).lower()
    )


def _message(answer: requests.Response) -> str:
    try:
        said = answer.json()
    except ValueError:
        return answer.reason or "no reason given"
    if not isinstance(said, dict):
        return "no reason given"
    details = [
        str(each.get("message") or each.get("code")) if isinstance(each, dict) else str(each)
        for each in said.get("errors") or ()
    ]
    return "; ".join([str(said.get("message", "no reason given")), *details])[:500]


def _said(answer: requests.Response) -> str:
    kind = "limit of requests reached" if _limited(answer) else f"status {answer.status_code}"
    return f"{kind}: {_message(answer)}"


# The permission of a workflow's job that a part of the API takes; the first that fits holds.
_PERMISSIONS = (
    ("/issues/", "pull-requests"),
    ("/deployments", "deployments"),
    ("/actions/", "actions"),
    ("/commits/", "pull-requests"),
    ("/pulls/", "pull-requests"),
)


def _advice(method: str, address: str) -> str:
    path = urlsplit(address).path
    needed = next((name for part, name in _PERMISSIONS if part in path), "contents")
    right = "read" if method == "GET" else "write"
    return f"Give the job `permissions: {needed}: {right}`; a fork's pull request never gets it"


def _fetch(address: str, most: int) -> bytes:
    """Read a file from a signed address, without any credential, up to a size."""
    import requests

    parts = []
    size = 0
    try:
        with requests.Session() as session:
            session.auth = _no_credentials
            with session.get(address, timeout=SECONDS, stream=True) as answer:
                if not answer.ok:
                    raise GitHubError(f"the file's store answered {answer.status_code}")
                for part in answer.iter_content(1 << 16):
                    size += len(part)
                    if size > most:
                        raise GitHubError(f"the file has more than {most} bytes")
                    parts.append(part)
    except requests.RequestException as error:
        raise UnansweredError(
            f"the file's store gave no answer ({type(error).__name__})"
        ) from error
    return b"".join(parts)


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
