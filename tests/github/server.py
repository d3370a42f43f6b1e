"""GitHub on loopback: what heraci asks of it, with a memory, and with whatever can go wrong.

A double, as GitHub itself cannot be had in a test. Every request and every answer is held against
GitHub's own description, and `wrong` lists what does not fit; answers begin as GitHub's examples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.github.described import Operation

REPOSITORY = "octocat/hello-world"
BOT = "github-actions[bot]"
TOKEN = "ghs_0123456789abcdefghijABCDEFGHIJ"


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]

    @property
    def called(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Fault:
    """What answers the next request that fits, instead of the API; `done` does its work first."""

    called: str
    status: int = 0  # 0 cuts the line
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "broken"
    done: bool = False


Answer = tuple[int, Any, Mapping[str, str]]


class Loopback:
    """The API of one repository, and beside it the store that downloads come from."""

    def __init__(self, page: int = 100) -> None:
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.wrong: list[str] = []
        self.comments: dict[int, dict[str, Any]] = {}
        self.pulls: dict[int, dict[str, Any]] = {}
        self.merged: dict[str, list[dict[str, Any]]] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.runs: dict[int, dict[str, Any]] = {}
        self.zips: dict[int, bytes] = {}
        self.deployments: list[dict[str, Any]] = []
        self.statuses: dict[int, list[dict[str, Any]]] = {}
        self.login = BOT
        self.page = page
        self._next = 1000
        self._lock = Lock()
        self._api = _Server(self._answer)
        self.store = _Server(self._stored)
        self.url = self._api.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()
        self.store.close()

    # What is there before a test

    def comment(self, body: str, login: str = BOT) -> int:
        """Let somebody have written a comment."""
        self._next += 1
        made = Operation("POST", _path("issues/1/comments")).example(201)
        made |= {"id": self._next, "body": body, "html_url": f"{self.url}/comment/{self._next}"}
        made["user"]["login"] = login
        self.comments[self._next] = made
        return self._next

    def pull(self, number: int, head: str) -> dict[str, Any]:
        """Let there be an open pull request."""
        made: dict[str, Any] = Operation("GET", _path("pulls/1")).example(200)
        for each in made["requested_teams"]:
            each.setdefault("type", "organization")
        made["number"] = number
        made["head"]["sha"] = head
        self.pulls[number] = made
        return made

    def merge(
        self, number: int, head: str, sha: str, *, merged_at: str, base: str = "main"
    ) -> None:
        """Let a pull request have been merged as a commit."""
        made = Operation("GET", _path("commits/1/pulls")).example(200)[0]
        for each in made["requested_teams"]:
            each.setdefault("type", "organization")
        made |= {
            "number": number,
            "merged_at": merged_at,
            "merge_commit_sha": sha,
            "state": "closed",
        }
        made["html_url"] = f"https://github.com/{REPOSITORY}/pull/{number}"
        made["head"]["sha"] = head
        made["base"]["ref"] = base
        self.merged.setdefault(sha, []).append(made)

    def artifact(
        self,
        name: str,
        head: str,
        content: bytes,
        *,
        run: int,
        event: str = "pull_request",
        expired: bool = False,
    ) -> int:
        """Let a run have left an artifact."""
        self._next += 1
        example = Operation("GET", _path("actions/artifacts")).example(200)["artifacts"][0]
        example |= {
            "id": self._next,
            "name": name,
            "expired": expired,
            "size_in_bytes": len(content),
        }
        example["workflow_run"] |= {"id": run, "head_sha": head}
        self.artifacts.append(example)
        self.zips[self._next] = content
        of_run = Operation("GET", _path("actions/runs/1")).example(200)
        of_run |= {
            "id": run,
            "event": event,
            "head_sha": head,
            "path": ".github/workflows/review.yml",
        }
        of_run["html_url"] = f"https://github.com/{REPOSITORY}/actions/runs/{run}"
        self.runs[run] = of_run
        return self._next

    # What it does

    def calls(self) -> list[str]:
        """List the requests, by what was called."""
        return [each.called for each in self.asked]

    def _stored(self, asked: Asked) -> Answer:
        content = self.zips[int(asked.path.removeprefix("/zip/"))]
        return 200, content, {"Content-Type": "application/zip"}

    def _answer(self, asked: Asked) -> Answer | None:
        with self._lock:
            self.asked.append(asked)
            for fault in self.faults:
                if re.fullmatch(fault.called, asked.called):
                    self.faults.remove(fault)
                    if fault.done:
                        self._route(asked)
                    if not fault.status:
                        return None
                    return fault.status, {"message": fault.message}, fault.headers
            if asked.path == "/graphql":
                return 200, {"data": {"viewer": {"login": self.login}}}, {}
            return self._checked(asked)

    def _checked(self, asked: Asked) -> Answer:
        try:
            operation = Operation(asked.method, asked.path)
        except LookupError as error:
            self.wrong.append(str(error))
            return 404, {"message": "Not Found"}, {}
        told = operation.wrong_with_request(dict(asked.query), asked.body)
        if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            told.append("no token")
        for name, value in _HEADERS.items():
            if asked.headers.get(name) != value:
                told.append(f"{name} is {asked.headers.get(name)}")
        status, body, headers = self._route(asked)
        told += operation.wrong_with_answer(status, body)
        self.wrong += [f"{asked.called}: {each}" for each in told]
        return status, body, headers

    def _route(self, asked: Asked) -> Answer:
        called = asked.called.replace(f"/repos/{REPOSITORY}/", "")
        for pattern, act in self._routes().items():
            if found := re.fullmatch(pattern, called):
                try:
                    return act(asked, *found.groups())
                except KeyError:
                    return 404, {"message": "Not Found"}, {}
        return 404, {"message": "Not Found"}, {}

    def _routes(self) -> dict[str, Callable[..., Answer]]:
        return {
            r"GET pulls/(\d+)": lambda _, number: (200, self.pulls[int(number)], {}),
            r"GET commits/(\w+)/pulls": lambda asked, sha: self._listed(
                asked, self.merged.get(sha, [])
            ),
            r"GET issues/\d+/comments": lambda asked: self._listed(
                asked, [*self.comments.values()]
            ),
            r"POST issues/\d+/comments": self._post_comment,
            r"PATCH issues/comments/(\d+)": self._patch_comment,
            r"DELETE issues/comments/(\d+)": self._delete_comment,
            r"GET actions/artifacts": self._list_artifacts,
            r"GET actions/artifacts/(\d+)/zip": lambda _, number: (
                302,
                None,
                {"Location": f"{self.store.url}/zip/{number}"},
            ),
            r"GET actions/runs/(\d+)": lambda _, number: (200, self.runs[int(number)], {}),
            r"GET deployments": self._list_deployments,
            r"POST deployments": self._post_deployment,
            r"GET deployments/(\d+)/statuses": lambda asked, number: self._listed(
                asked, self.statuses.get(int(number), [])[::-1]
            ),
            r"POST deployments/(\d+)/statuses": self._post_status,
        }

    def _listed(self, asked: Asked, items: list[Any], key: str = "") -> Answer:
        size = min(self.page, int(asked.query.get("per_page", 30)))
        page = int(asked.query.get("page", 1))
        shown = items[(page - 1) * size : page * size]
        body: Any = {"total_count": len(items), key: shown} if key else shown
        if page * size >= len(items):
            return 200, body, {}
        kept = "".join(f"{k}={v}&" for k, v in asked.query.items() if k != "page")
        following = f"{self.url}{asked.path}?{kept}page={page + 1}"
        first = f'<{self.url}{asked.path}?page=1>; rel="first"'
        return 200, body, {"Link": f'<{following}>; rel="next", {first}'}

    def _post_comment(self, asked: Asked) -> Answer:
        body = asked.body["body"]
        if len(body.encode("utf-16-le")) // 2 > 65_536:
            errors = [{"resource": "IssueComment", "code": "unprocessable", "field": "data"}]
            return 422, {"message": "Validation Failed", "errors": errors}, {}
        return 201, self.comments[self.comment(body, self.login)], {}

    def _patch_comment(self, asked: Asked, number: str) -> Answer:
        self.comments[int(number)]["body"] = asked.body["body"]
        return 200, self.comments[int(number)], {}

    def _delete_comment(self, _: Asked, number: str) -> Answer:
        del self.comments[int(number)]
        return 204, None, {}

    def _list_artifacts(self, asked: Asked) -> Answer:
        named = [each for each in self.artifacts if each["name"] == asked.query.get("name")]
        return self._listed(asked, named[::-1], "artifacts")

    def _list_deployments(self, asked: Asked) -> Answer:
        fits = [
            each
            for each in reversed(self.deployments)
            if all(each[key] == asked.query.get(key, each[key]) for key in _DEPLOYMENT)
        ]
        return self._listed(asked, fits)

    def _post_deployment(self, asked: Asked) -> Answer:
        self._next += 1
        made = Operation("POST", _path("deployments")).example(201)
        made |= {key: asked.body[key] for key in ("task", "environment", "payload", "description")}
        made |= {"id": self._next, "sha": asked.body["ref"]}
        self.deployments.append(made)
        return 201, made, {}

    def _post_status(self, asked: Asked, number: str) -> Answer:
        made = Operation("POST", _path("deployments/1/statuses")).example(201)
        made |= {key: asked.body[key] for key in ("state", "description")}
        self.statuses.setdefault(int(number), []).append(made)
        return 201, made, {}


_DEPLOYMENT = ("sha", "task", "environment")
_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


def _path(end: str) -> str:
    return f"/repos/{REPOSITORY}/{end}"


class _Server:
    """One HTTP server on a port of its own."""

    def __init__(self, answer: Callable[[Asked], Answer | None]) -> None:
        self.asked: list[Asked] = []
        noted = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                parts = urlsplit(self.path)
                asked = Asked(
                    self.command,
                    parts.path,
                    dict(parse_qsl(parts.query)),
                    json.loads(content) if content else None,
                    dict(self.headers.items()),
                )
                noted.append(asked)
                answered = answer(asked)
                if answered is None:
                    self.close_connection = True
                    return
                status, body, headers = answered
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                data = b"" if body is None else data
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
