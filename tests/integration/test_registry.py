"""Ask a registry for images.

The registry is a double: a small HTTP server on loopback that answers as the distribution spec
says, because no real one can be had without a network.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from heraci.registry import _place, find

TOKEN = "for-anybody"


class Registry(BaseHTTPRequestHandler):
    """Has `public/image:1` for all, `free/image:1` for who gets a token, `own/…` for its owner."""

    asked: list[tuple[str, str | None]] = []

    def do_HEAD(self) -> None:
        authorization = self.headers.get("Authorization")
        self.asked.append((self.path, authorization))
        seen: list[tuple[str, str | None]] = [("/v2/public/image/manifests/1", None)]
        seen.append(("/v2/free/image/manifests/1", f"Bearer {TOKEN}"))
        if (self.path, authorization) in seen:
            self.answer(200)
        elif self.path.startswith(("/v2/free/", "/v2/own/")) and not authorization:
            scope = f"repository:{self.path.split('/')[2]}:pull"
            realm = (
                f'Bearer realm="http://{self.headers["Host"]}/token",service="here",scope="{scope}"'
            )
            self.answer(401, realm)
        elif self.path.startswith("/v2/own/"):
            self.answer(403)
        elif self.path.startswith("/v2/moved/"):
            self.answer(307)
        else:
            self.answer(404)

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        assert set(asked) == {"service", "scope"}
        body = json.dumps({"token": TOKEN}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, status: int, challenge: str | None = None) -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        if status == 307:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(Registry, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_images_are_there_or_not_or_nobody_tells(host: str) -> None:
    names = ["public/image:1", "public/image:2", "free/image:1", "free/image:9", "own/image:1"]
    images = [f"{host}/{name}" for name in [*names, "moved/image:1"]]
    assert list(find(images).items()) == [
        (images[0], (True, f"{host} has it")),
        (images[1], (False, f"{host} does not have it")),
        (images[2], (True, f"{host} has it")),
        (images[3], (False, f"{host} does not have it")),
        (images[4], (None, f"{host} does not tell strangers (403)")),
        (images[5], (None, f"{host} does not tell strangers (307)")),
    ]


def test_the_users_own_credentials_stay_at_home(host: str) -> None:
    home = Path.home()
    (home / ".netrc").write_text("machine 127.0.0.1 login me password a-canary\n")
    assert find([f"{host}/public/image:1"]) == {f"{host}/public/image:1": (True, f"{host} has it")}
    assert Registry.asked == [("/v2/public/image/manifests/1", None)]


def test_a_registry_that_is_not_there_and_names_that_are_none() -> None:
    assert find(["127.0.0.1:1/image", "No Image", "x" * 600]) == {
        "127.0.0.1:1/image": (None, "127.0.0.1:1 cannot be asked (ConnectionError)"),
        "No Image": (None, "that is no name of an image"),
        "x" * 600: (None, "that is no name of an image"),
    }


@pytest.mark.parametrize(
    ("image", "address"),
    [
        ("python", "https://registry-1.docker.io/v2/library/python/manifests/latest"),
        ("python:3.12", "https://registry-1.docker.io/v2/library/python/manifests/3.12"),
        ("vcity/pagoda:1", "https://registry-1.docker.io/v2/vcity/pagoda/manifests/1"),
        ("docker.io/vcity/x", "https://registry-1.docker.io/v2/vcity/x/manifests/latest"),
        ("ghcr.io/a/b/c:t", "https://ghcr.io/v2/a/b/c/manifests/t"),
        ("r.example:5000/a", "https://r.example:5000/v2/a/manifests/latest"),
        ("localhost:5000/a", "http://localhost:5000/v2/a/manifests/latest"),
        ("a/b@sha256:0f", "https://registry-1.docker.io/v2/a/b/manifests/sha256:0f"),
        ("a/b:t@sha256:0f", "https://registry-1.docker.io/v2/a/b/manifests/sha256:0f"),
    ],
)
def test_where_an_image_is(image: str, address: str) -> None:
    place = _place(image)
    assert place is not None
    assert place[1] == address
