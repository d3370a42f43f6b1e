"""Requests to one Kubernetes API: with timeouts, tried again where that is worth it."""

from __future__ import annotations

import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from heraci.cluster import errors

TRIES = 8
FIRST_TRIES = 3
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
LONGEST_PAUSE = 8.0
LONGEST_RETRY_AFTER = 60.0
WORTH_ANOTHER_TRY = frozenset({429, 500, 502, 503, 504})
# A 403 for a quota that is so new that nobody has counted yet.
_UNCOUNTED = b"status unknown for quota"

Params = Mapping[str, str | int | bool | None]
NO_PARAMS: Params = {}


@dataclass(frozen=True, kw_only=True)
class Access:
    """One way in: where, with which connections, and as whom."""

    host: str
    name: str  # what people know it by: the context, "in-cluster"
    namespace: str | None
    pool: Any = field(repr=False)  # urllib3's PoolManager
    authorization: Callable[[], str | None] = field(repr=False)

    @property
    def who(self) -> str:
        """Name the server for a message."""
        return f"The Kubernetes API at {self.host} ({self.name})"


class Connection:
    """Ask and be answered in JSON; safe for many threads."""

    def __init__(self, enter: Callable[[], Access]) -> None:
        self._enter = enter
        self._lock = threading.Lock()
        self._met = False
        self.access = enter()

    def __repr__(self) -> str:
        return f"Connection({self.access.host!r})"

    def request(
        self,
        method: str,
        path: str,
        params: Params = NO_PARAMS,
        body: Any = None,
        *,
        accept: str = "application/json",
        content_type: str = "application/json",
        tries: int = TRIES,
        seconds: float = READ_SECONDS,
    ) -> Any:
        """Send one request and return its JSON; raise what `heraci.cluster.errors` holds.

        A request whose answer was lost is sent again. So whoever creates gives the object a name,
        and takes the ConflictError that may follow for what it is.
        """
        headers = {"Accept": accept, "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        attempt = 1
        while True:
            access, last = self.access, attempt >= tries
            attempt += 1
            try:
                answer = self._send(access, method, path, params, data, headers, seconds)
            except errors.UnreachableError:
                # A server that was never there will hardly come; one that restarts will.
                if last or (attempt > FIRST_TRIES and not self._met):
                    raise
                time.sleep(pause(attempt))
                continue
            self._met = True
            if answer.status < 300:
                return json.loads(answer.data) if answer.data else None
            if answer.status == 401 and not last and self._renewed(access):
                continue
            if last or not (answer.status in WORTH_ANOTHER_TRY or _UNCOUNTED in answer.data):
                raise errors.refusal(answer.status, method, path, answer.data, access.who)
            time.sleep(pause(attempt, answer.headers.get("Retry-After")))

    def lines(self, path: str, params: Params, seconds: float) -> Iterator[bytes]:
        """Yield the lines of a streamed answer, until it ends or stays silent for `seconds`."""
        import urllib3

        access = self.access
        headers = {"Accept": "application/json"}
        answer = self._send(access, "GET", path, params, None, headers, seconds, stream=True)
        try:
            if answer.status >= 300:
                if answer.status == 401:
                    self._renewed(access)
                raise errors.refusal(answer.status, "GET", path, answer.read(), access.who)
            rest = b""
            # Not stream(): without a length or chunks it would wait for the end.
            while chunk := answer.read1(1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
        except (urllib3.exceptions.HTTPError, OSError):
            return  # cut, or silent: whoever watches begins anew
        finally:
            # Not back into the pool: the rest of the stream is still on its way.
            answer.close()

    def _send(
        self,
        access: Access,
        method: str,
        path: str,
        params: Params,
        data: bytes | None,
        headers: dict[str, str],
        seconds: float,
        *,
        stream: bool = False,
    ) -> Any:
        import urllib3

        if authorization := access.authorization():
            headers = headers | {"Authorization": authorization}
        try:
            return access.pool.request(
                method,
                access.host + path + _query(params),
                body=data,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds),
                retries=False,
                redirect=False,
                preload_content=not stream,
            )
        except urllib3.exceptions.SSLError as error:
            raise _tls_trouble(access, error) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise errors.UnreachableError(
                f"{access.who} cannot be reached: {_reason(error)}. Check that it is up, that the "
                "address is right and that a VPN or a proxy does not stand between."
            ) from None

    def _renewed(self, access: Access) -> bool:
        """Get new credentials where they can change: a plugin's, a token file's; once for all."""
        with self._lock:
            if self.access is not access:
                return True
            before = access.authorization()
            fresh = self._enter()
            if fresh.authorization() == before:
                return False
            self.access = fresh
            return True


def pause(attempt: int, retry_after: str | None = None) -> float:
    """Say how long to wait before trying again: what the server asks, else longer each time."""
    if retry_after and retry_after.isdigit():
        return min(float(retry_after), LONGEST_RETRY_AFTER)
    longest = min(0.1 * 2.0**attempt, LONGEST_PAUSE)
    return random.uniform(longest / 2, longest)  # noqa: S311  # so that many do not come back at once


def _query(params: Params) -> str:
    given = {
        key: str(value).lower() if isinstance(value, bool) else value
        for key, value in params.items()
        if value is not None
    }
    return f"?{urlencode(given)}" if given else ""


def _tls_trouble(access: Access, error: Exception) -> Exception:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        reason = cause.args[0] if cause.args and isinstance(cause.args[0], Exception) else None
        cause = reason or cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return errors.UntrustedError(
            f"{access.who} shows a certificate that cannot be trusted: {cause.verify_message}. "
            "Give the right authority (certificate-authority in the kubeconfig, or "
            "ca-certificate), or check that this is the server you mean."
        )
    return errors.UnreachableError(f"{access.who}: no TLS connection: {cause or error}")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    text = str(reason)
    # urllib3 begins with the connection's repr.
    return text.partition(">: ")[2] or text.partition("): ")[2] or text
