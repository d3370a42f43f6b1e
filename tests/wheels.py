"""Makes packages for tests: wheels and sdists of nothing much, and an index to get them from."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    requires: tuple[str, ...] = (),
) -> Path:
    """Write a wheel with these files."""
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {each}\n" for each in requires)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}"
    every = {**files, f"{info}/METADATA": about, f"{info}/WHEEL": _WHEEL}
    path = folder / f"{name}-{version}-py3-none-any.whl"
    _write_wheel(path, info, {each: text.encode() for each, text in every.items()})
    return path


def repack(folder: Path, name: str) -> None:
    """Write a wheel of an installed package, and of all that it needs, from its installed files.

    So an environment of its own can be made where no index can be reached.
    """
    waiting, done = [Requirement(name)], set()
    while waiting:
        wanted = waiting.pop()
        found = metadata.distribution(wanted.name)
        extras = frozenset(wanted.extras)
        if (found.name, extras) in done:
            continue
        done.add((found.name, extras))
        _repack(folder, found)
        for text in found.requires or ():
            each = Requirement(text)
            places = [{"extra": extra} for extra in ("", *extras)]
            if each.marker is None or any(each.marker.evaluate(place) for place in places):
                waiting.append(each)


def _repack(folder: Path, found: metadata.Distribution) -> None:
    tags = [
        line.partition(":")[2].strip().split("-")
        for line in (found.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag:")
    ]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    name = found.name.replace("-", "_").replace(".", "_")
    path = folder / f"{name}-{found.version}-{tag}.whl"
    if path.exists():
        return
    files = {}
    info = ""
    for each in found.files or ():
        if each.parts[0] in ("..", "__pycache__") or each.suffix == ".pyc":
            continue
        if each.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            info = each.parts[0]
            continue
        files[each.as_posix()] = Path(str(each.locate())).read_bytes()
    _write_wheel(path, info, files)


def _write_wheel(path: Path, info: str, files: Mapping[str, bytes]) -> None:
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record += f"{name},sha256={digest.decode()},{len(content)}\n"
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


# A build backend that needs no other package: what it is told to do, it does before it builds.
BACKEND = """
import os, zipfile

def attack():
    pass

{body}

def build_wheel(folder, settings=None, metadata=None):
    attack()
    info = "{name}-{version}.dist-info"
    path = "{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, path), "w") as archive:
        archive.writestr("{name}.py", "VERSION = '{version}'\\n")
        about = "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
        archive.writestr(info + "/METADATA", about)
        about = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        archive.writestr(info + "/WHEEL", about)
        archive.writestr(info + "/RECORD", "")
    return path
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "{name}"
dynamic = ["version"]
"""


def source(name: str, version: str, body: str = "") -> dict[str, str]:
    """Give the files of a package that must be built, and the code that building it runs."""
    return {
        "pyproject.toml": PROJECT.format(name=name),
        "backend.py": BACKEND.format(name=name, version=version, body=body),
    }


def sdist(folder: Path, name: str, version: str, body: str = "") -> Path:
    """Write an sdist whose build runs this code: `attack()` is called."""
    path = folder / f"{name}-{version}.tar.gz"
    files = {
        **source(name, version, body),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{file}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@contextmanager
def index(folder: Path, password: str) -> Iterator[str]:
    """Serve the packages of a folder as an index does, to those who know the password only."""
    wanted = "Basic " + base64.b64encode(f"reader:{password}".encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                self.end_headers()
                return
            name = self.path.strip("/").split("/")[-1]
            file = folder / name
            found = [each.name for each in folder.iterdir() if _named(each.name, name)]
            content = file.read_bytes() if file.is_file() else _page(found)
            self.send_response(200 if file.is_file() or found else 404)
            self.send_header("Content-Length", str(len(content)))
            kind = "application/octet-stream" if file.is_file() else "text/html"
            self.send_header("Content-Type", kind)
            self.end_headers()
            if self.command == "GET":
                with suppress(ConnectionError):  # uv reads as much as it needs
                    self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://reader:{password}@127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()


def _named(file: str, name: str) -> bool:
    return file.partition("-")[0].lower().replace("_", "-") == name


def _page(names: list[str]) -> bytes:
    links = "".join(f'<a href="/files/{each}">{each}</a>' for each in names)
    return f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
