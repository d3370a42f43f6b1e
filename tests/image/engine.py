"""A Docker engine, a base image where no registry answers, and heraci's image on top of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGE = "heraci-test/heraci:here"
LOCAL_BASE = "heraci-test/python-base:here"
PID = Path(tempfile.gettempdir()) / "heraci-test-dockerd.pid"
PACKAGES = "ca-certificates,git,python-is-python3,python3,python3-venv"
# Where this machine keeps the certificates of its own authorities.
AUTHORITIES = Path("/usr/local/share/ca-certificates")
MOST_SECONDS = 60
# What the image is made of, beside the package.
BESIDE = ("Dockerfile", "LICENSE", "README.md", "constraints.txt", "pyproject.toml")


class Unavailable(Exception):  # noqa: N818 - it says what is missing, and is no error
    """There is no engine here, or no way to a base image."""


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one docker command."""
    try:
        ran = subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DOCKER_BUILDKIT": "0"} if _is_old() else None,
        )
    except FileNotFoundError:
        raise Unavailable("there is no docker here (Debian: apt install docker.io)") from None
    if check and ran.returncode:
        raise Unavailable(f"docker {arguments[0]}: {(ran.stderr or ran.stdout)[-800:].strip()}")
    return ran


def _is_old() -> bool:
    """Tell an engine that has no buildx, which takes the classic builder."""
    ran = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    return ran.returncode != 0


def start() -> None:
    """Find the engine that runs; as root, start one where there is none."""
    if docker("version", check=False).returncode == 0:
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise Unavailable("no Docker engine runs here, and only root with dockerd could start one")
    log = Path(tempfile.gettempdir()) / "heraci-test-dockerd.log"
    with log.open("wb") as output:
        engine = subprocess.Popen(
            ["dockerd"],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    PID.write_text(str(engine.pid))
    for _ in range(MOST_SECONDS * 4):
        if docker("version", check=False).returncode == 0:
            return
        if engine.poll() is not None:
            break
        time.sleep(0.25)
    stop()
    raise Unavailable(f"dockerd does not start: {log.read_text()[-600:]}")


def stop() -> None:
    """Stop the engine that `start` started, and no other."""
    if not PID.exists():
        return
    pid = int(PID.read_text())
    PID.unlink()
    command = Path(f"/proc/{pid}/cmdline")
    if command.exists() and command.read_bytes().startswith(b"dockerd"):
        os.kill(pid, 15)


def build() -> str:
    """Build heraci's image and give its name."""
    start()
    chosen = base()
    named = ("--build-arg", f"PYTHON_IMAGE={chosen}") if chosen else ()
    with tempfile.TemporaryDirectory() as folder:
        _copy_sources(Path(folder))
        docker("build", "--quiet", *named, "--tag", IMAGE, folder)
    return IMAGE


def sources() -> list[str]:
    """List what is committed or could be: a cache in the checkout must not end up in an image."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [each for each in listed.stdout.split("\0") if each and (ROOT / each).is_file()]


def _copy_sources(folder: Path) -> None:
    for name in sources():
        if name.startswith("heraci/") or name in BESIDE:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def base() -> str | None:
    """Give None where the Dockerfile's own base can be had, else one made of Debian's packages."""
    pinned = re.search(r"(?m)^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text())
    assert pinned is not None
    if docker("image", "inspect", pinned[1], check=False).returncode == 0:
        return None
    if docker("image", "inspect", LOCAL_BASE, check=False).returncode == 0:
        return LOCAL_BASE
    if docker("pull", "--quiet", pinned[1], check=False).returncode == 0:
        return None
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise Unavailable(
            "no registry answers, and only root with debootstrap could make a base image "
            "(Debian: apt install debootstrap)"
        )
    _bootstrap()
    return LOCAL_BASE


def _bootstrap() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", files],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise Unavailable(f"debootstrap: {made.stdout[-600:].strip()}")
        archive = Path(folder) / "files.tar"
        subprocess.run(["tar", "-C", files, "-cf", archive, "."], check=True)
        docker("import", str(archive), f"{LOCAL_BASE}-bare")
        context = Path(folder) / "context"
        (context / "authorities").mkdir(parents=True)
        for each in AUTHORITIES.glob("*.crt"):
            shutil.copy(each, context / "authorities")
        certificates = "/etc/ssl/certs/ca-certificates.crt"
        (context / "Dockerfile").write_text(
            f"FROM {LOCAL_BASE}-bare\n"
            f"COPY authorities {AUTHORITIES}\n"
            "RUN update-ca-certificates\n"
            f"ENV PIP_CERT={certificates} SSL_CERT_FILE={certificates}\n"
        )
        docker("build", "--quiet", "--tag", LOCAL_BASE, str(context))


def main() -> int:
    """Build, or stop; print the image's name."""
    if sys.argv[1:] == ["stop"]:
        stop()
        return 0
    try:
        print(build())
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0
