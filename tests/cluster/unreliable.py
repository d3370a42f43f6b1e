"""A proxy on loopback that loses, delays and repeats: what a network does at the worst moment.

It speaks plain HTTP to the one under test and HTTPS to the real server, so that it can hold a
whole request in its hands and send it twice.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
import yaml

from tests.cluster.fixtures import Namespace

# As a real API server says it, once etcd was compacted; that takes minutes, so it is told here.
FORGOTTEN = (
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
    b'"message":"too old resource version: 1 (2)","reason":"Expired","code":410}}\n'
)


@dataclass
class Behaviour:
    """How often what goes wrong; `said` counts what did. The part of each is of 1."""

    lose: float = 0.0  # the request arrives, its answer does not
    refuse: float = 0.0  # nothing arrives
    delay: float = 0.0
    repeat: float = 0.0  # the request arrives twice, the second answer is told
    busy: float = 0.0  # 429 with Retry-After
    failing: float = 0.0  # 503
    forgotten: float = 0.0  # a watch is told that its version is too old
    seed: int = 1
    said: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def choose(self) -> str:
        with self._lock:
            left = self._random.random()
            for name in ("lose", "refuse", "delay", "repeat", "busy", "failing", "forgotten"):
                left -= getattr(self, name)
                if left < 0:
                    self.said[name] += 1
                    return name
            self.said["fine"] += 1
            return "fine"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def log_message(self, *_: object) -> None: ...

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what = self.server.behaviour.choose()
        if what == "busy":
            self._tell(429, retry_after="1")
        elif what == "failing":
            self._tell(503)
        elif what == "forgotten" and "watch=true" in self.path:
            self._tell(200, FORGOTTEN)
        elif what == "refuse":
            self.close_connection = True
        else:
            self._pass_on(body, what)

    def _tell(self, status: int, body: bytes = b"", *, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, body: bytes, what: str) -> None:
        if what == "delay":
            time.sleep(0.3)
        answer = self._ask(body)
        if what == "repeat":
            answer.close()
            answer = self._ask(body)
        self.close_connection = True
        if what == "lose":
            answer.close()
            return
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in answer.iter_content(chunk_size=None):
            self.wfile.write(chunk)
            self.wfile.flush()

    def _ask(self, body: bytes) -> requests.Response:
        own = ("host", "content-length")
        headers = {key: value for key, value in self.headers.items() if key.lower() not in own}
        return self.server.session.request(
            self.command,
            self.server.behind + self.path,
            data=body,
            headers=headers,
            stream=True,
            timeout=(5, 120),
            allow_redirects=False,
        )

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, behind: str, session: requests.Session, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.session, self.behaviour = behind, session, behaviour

    def handle_error(self, *_: object) -> None: ...  # whoever asked went away: killed


@contextmanager
def unreliable(server: str, certificate: Path | None, behaviour: Behaviour) -> Iterator[str]:
    """Run the proxy before a server; give its address."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(certificate) if certificate else True
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=32))
    with session, _Proxy(server, session, behaviour) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()


def through(namespace: Namespace, address: str, folder: Path) -> Path:
    """Write a kubeconfig that goes by the proxy."""
    given = yaml.safe_load(namespace.kubeconfig.read_text())
    for each in given["clusters"]:
        each["cluster"] = {"server": address}
    path = folder / "kubeconfig-by-proxy"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(given))
    return path


def authority(namespace: Namespace) -> Path | None:
    """Find the certificate that vouches for the API server."""
    found = namespace.api.configuration.ssl_ca_cert
    return Path(found) if found else None
