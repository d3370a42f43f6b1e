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


@dataclass
class Behaviour:
    """How often what goes wrong; `said` counts what did. The part of each is of 1."""

    lose: float = 0.0  # the request arrives, its answer does not
    refuse: float = 0.0  # nothing arrives
    delay: float = 0.0
    repeat: float = 0.0  # the request arrives twice, the second answer is told
    busy: float = 0.0  # 429 with Retry-After
    failing: float = 0.0  # 503
    seed: int = 1
    said: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def choose(self) -> str:
        with self._lock:
            left = self._random.random()
            for name in ("lose", "refuse", "delay", "repeat", "busy", "failing"):
                left -= getattr(self, name)
                if left < 0:
                    self.said[name] += 1
                    return name
            self.said["fine"] += 1
            return "fine"


@contextmanager
def unreliable(server: str, authority: Path | None, behaviour: Behaviour) -> Iterator[str]:
    """Run the proxy before a server; give its address."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(authority) if authority else True
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=32))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def _forward(self, body: bytes) -> requests.Response:
            headers = {
                k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length")
            }
            return session.request(
                self.command,
                server + self.path,
                data=body,
                headers=headers,
                stream=True,
                timeout=(5, 120),
                allow_redirects=False,
            )

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            what = behaviour.choose()
            if what in ("busy", "failing"):
                self.send_response(429 if what == "busy" else 503)
                self.send_header("Content-Length", "0")
                if what == "busy":
                    self.send_header("Retry-After", "1")
                self.end_headers()
                return
            if what == "refuse":
                self.close_connection = True
                return
            if what == "delay":
                time.sleep(0.3)
            answer = self._forward(body)
            if what == "repeat":
                answer.close()
                answer = self._forward(body)
            if what == "lose":
                answer.close()
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            for chunk in answer.iter_content(chunk_size=None):
                self.wfile.write(chunk)
                self.wfile.flush()

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None: ...  # whoever asked went away: killed

    with Server(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()
            session.close()
