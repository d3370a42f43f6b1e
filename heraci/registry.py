"""THE fence to image registries: whether an image is there, as far as anybody may know.

Names of images come from manifests, which strangers may have written, and this runs where secrets
are. So no credential is ever sent, only https is spoken (but with this machine itself), no redirect
is followed, and every request is short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    import requests

SECONDS = (3.0, 5.0)  # to connect, to answer
MOST_IMAGES = 200
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_REFERENCE = re.compile(
    r"(?:(?P<host>[\w.-]+(?::\d+)?)/)?(?P<name>[a-z0-9][a-z0-9._/-]*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>[a-z0-9]+:[0-9a-fA-F]+))?"
)
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def find(images: Iterable[str], *, concurrency: int = 8) -> dict[str, tuple[bool | None, str]]:
    """Say of each image whether it is there, None where nobody would tell, and why."""
    asked = list(dict.fromkeys(images))[:MOST_IMAGES]
    with ThreadPoolExecutor(concurrency) as pool:
        return dict(zip(asked, pool.map(_find, asked), strict=True))


def _find(image: str) -> tuple[bool | None, str]:
    import requests

    place = _place(image)
    if place is None:
        return None, "that is no name of an image"
    host, address = place
    try:
        with requests.Session() as session:
            # Otherwise requests would send what ~/.netrc holds for this host.
            session.auth = _no_credentials
            answer = _head(session, address, {})
            if answer.status_code == 401 and (token := _token(session, answer.headers)):
                answer = _head(session, address, {"Authorization": f"Bearer {token}"})
    except (requests.RequestException, ValueError) as error:
        return None, f"{host} cannot be asked ({type(error).__name__})"
    if answer.status_code == 200:
        return True, f"{host} has it"
    if answer.status_code == 404:
        return False, f"{host} does not have it"
    return None, f"{host} does not tell strangers ({answer.status_code})"


def _place(image: str) -> tuple[str, str] | None:
    """Give the registry's host and the address of an image's manifest, as Docker reads names."""
    found = _REFERENCE.fullmatch(image) if len(image) < 512 else None
    if found is None:
        return None
    host, name = found["host"], found["name"]
    if host and not ("." in host or ":" in host or host == "localhost"):
        host, name = None, f"{host}/{name}"
    if host in {None, "docker.io", "index.docker.io"}:
        host, name = "registry-1.docker.io", name if "/" in name else f"library/{name}"
    scheme = "http" if host.partition(":")[0] in _LOCAL else "https"
    reference = found["digest"] or found["tag"] or "latest"
    return host, f"{scheme}://{host}/v2/{quote(name)}/manifests/{reference}"


def _head(session: requests.Session, address: str, more: Mapping[str, str]) -> requests.Response:
    headers = {"Accept": MANIFESTS, **more}
    return session.head(address, headers=headers, timeout=SECONDS, allow_redirects=False)


def _token(session: requests.Session, headers: Mapping[str, str]) -> str | None:
    """Get the token that a registry gives to anybody, from where it says."""
    kind, _, said = headers.get("WWW-Authenticate", "").partition(" ")
    asked = dict(re.findall(r'(\w+)="([^"]*)"', said))
    realm = urlsplit(asked.pop("realm", ""))
    if kind.lower() != "bearer" or not (realm.scheme == "https" or realm.hostname in _LOCAL):
        return None
    known = {key: value for key, value in asked.items() if key in {"service", "scope"}}
    answer = session.get(realm.geturl(), params=known, timeout=SECONDS, allow_redirects=False)
    given: Any = answer.json() if answer.ok and len(answer.content) < 65536 else {}
    token = given.get("token") or given.get("access_token") if isinstance(given, dict) else None
    return str(token) if token else None


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
