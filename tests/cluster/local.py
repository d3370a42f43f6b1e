"""Start and stop etcd, the Kubernetes API server, its controllers and Argo on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.cluster import build, credentials, forward, kubelet, standin_crds

START_SECONDS = 90
ARGO_CONFIG = "workflow-controller-configmap"
CONTROLLERS = (
    "namespace-controller,serviceaccount-controller,resourcequota-controller,"
    "garbage-collector-controller,root-ca-certificate-publisher-controller,"
    "persistentvolumeclaim-protection-controller"
)


@dataclass(frozen=True)
class Cluster:
    """What a test needs to know of the cluster it runs on."""

    kubeconfig: Path
    argo: str | None  # the controller's version; None: no Argo, stand-in definitions
    argo_server: str | None = None
    local: bool = True  # the stand-in kubelet settles pods

    def dump(self, **more: object) -> str:
        return json.dumps(asdict(self) | {"kubeconfig": str(self.kubeconfig)} | more)

    @classmethod
    def load(cls, text: str) -> Self:
        read = json.loads(text)
        return cls(Path(read["kubeconfig"]), read["argo"], read["argo_server"], read["local"])


class LocalCluster:
    """A cluster of this process's own; all of it is gone when this process or `with` ends.

    Start it from a thread that lives as long as the cluster: the kernel kills the servers when
    that thread ends, however it ends.
    """

    def __init__(self, argo: str | None = build.ARGO) -> None:
        self._argo = argo
        self._folder = Path(tempfile.mkdtemp(prefix="heraci-cluster-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}
        self._session = requests.Session()
        self._session.trust_env = False
        self._kubelet: kubelet.StandInKubelet | None = None
        self.cluster: Cluster

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self._start()
            on_failure.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill every server and remove what it wrote; nothing in it is worth a slow goodbye."""
        if self._kubelet:
            self._kubelet.stop()
        for process in reversed(self._processes.values()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._session.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def restart_api_server(self) -> None:
        """Kill the API server and start it again at the same address with the same data."""
        self._processes["kube-apiserver"].kill()
        self._processes["kube-apiserver"].wait()
        self._run("kube-apiserver", *self._commands["kube-apiserver"])
        self._wait_for("the API server", self._ready)

    def dead(self) -> str | None:
        """Name a server that has ended though nobody asked it to."""
        return next((name for name, p in self._processes.items() if p.poll() is not None), None)

    def _start(self) -> None:
        build.build(self._argo)
        etcd, api_server, controller_manager = (str(t.path) for t in build.kubernetes_tools())
        folder = self._folder
        api, client, peer, argo_server = _free_ports(4)
        self._server = f"https://127.0.0.1:{api}"
        token = credentials.write_keys(folder)
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.verify = str(folder / "ca.crt")
        kubeconfig = credentials.write_kubeconfig(
            folder / "kubeconfig", self._server, folder / "ca.crt", token
        )
        client_url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        # Argo's full definitions are megabytes: an API server takes half a minute to accept them.
        defined = build.defined(self._argo) if self._argo else None
        if known := defined is not None and defined.exists():
            shutil.copytree(defined, folder / "etcd")
        self._run(
            *("etcd", etcd, f"--data-dir={folder / 'etcd'}", "--name=test", "--unsafe-no-fsync"),
            *(f"--listen-client-urls={client_url}", f"--advertise-client-urls={client_url}"),
            *(f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}"),
            f"--initial-cluster=test={peer_url}",
        )
        self._run(
            *("kube-apiserver", api_server, f"--etcd-servers={client_url}"),
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={api}"),
            f"--tls-cert-file={folder / 'server.crt'}",
            f"--tls-private-key-file={folder / 'server.key'}",
            *(
                f"--client-ca-file={folder / 'ca.crt'}",
                f"--token-auth-file={folder / 'tokens.csv'}",
            ),
            *(f"--service-account-issuer={self._server}", f"--api-audiences={self._server}"),
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            f"--service-account-key-file={folder / 'accounts.pub'}",
            *("--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"),
            "--allow-privileged=true",
            # Its admission would make pods wait for a default service account in each namespace.
            *("--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none"),
        )
        self._wait_for("the API server", self._ready)
        # Before the controllers, which learn of kinds that come later after a minute or two.
        if not known:
            self._apply_definitions()
        self._wait_for_definitions()
        if defined is not None and not known:
            self._keep(defined)
        self._run(
            *("kube-controller-manager", controller_manager, f"--kubeconfig={kubeconfig}"),
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            *("--bind-address=127.0.0.1", "--secure-port=0", "--leader-elect=false"),
            f"--service-account-private-key-file={folder / 'accounts.key'}",
            *(f"--root-ca-file={folder / 'ca.crt'}", f"--controllers={CONTROLLERS}"),
        )
        self._kubelet = kubelet.StandInKubelet(kubeconfig)
        self._kubelet.start()
        url = None
        if self._argo:
            url = self._start_argo(self._argo, kubeconfig, api, argo_server)
        self.cluster = Cluster(kubeconfig, self._argo, url)

    def _start_argo(self, version: str, kubeconfig: Path, api: int, port: int) -> str:
        self._apply("/api/v1/namespaces/argo", {"apiVersion": "v1", "kind": "Namespace"})
        self._configure()
        controller, server = (str(build.argo(version) / each) for each in build.ARGO_SERVERS)
        common = [f"--kubeconfig={kubeconfig}", "--namespace=argo", f"--configmap={ARGO_CONFIG}"]
        image = f"quay.io/argoproj/argoexec:v{version}"  # named in pods, never pulled
        environ = ["env", "LEADER_ELECTION_DISABLE=true", "DEFAULT_REQUEUE_TIME=1s"]
        # By default it waits between requests, for half a minute where a test made 300 workflows.
        flags = [f"--executor-image={image}", "--qps=500", "--burst=500"]
        self.run_isolated(
            "workflow-controller", [*environ, controller, *common, *flags], reaches=[api]
        )
        # Without TLS, as it never leaves loopback; whoever asks needs a token of Kubernetes' own.
        flags = ["--auth-mode=client", "--secure=false", f"--port={port}"]
        # With a caller's token it looks for the cluster where its own client would by default.
        command = ["env", f"KUBECONFIG={kubeconfig}", server, "server", *common, *flags]
        self.run_isolated("argo-server", command, reaches=[api], offers=[port])
        url = f"http://127.0.0.1:{port}"
        self._wait_for("the Argo Server", partial(self._answers, f"{url}/"))
        return url

    def restart_controller(self, **config: Any) -> None:
        """Kill Argo's controller and start it again with this in its configuration."""
        self._configure(**config)
        process = self._processes["workflow-controller"]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._run("workflow-controller", *self._commands["workflow-controller"])

    def _configure(self, **config: Any) -> None:
        # What serves numbers would listen, and one of a kind is enough on a machine.
        quiet = {"metricsConfig": {"enabled": False}, "telemetryConfig": {"enabled": False}}
        data = {"config": json.dumps({**quiet, **config})}
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "data": data}
        self._apply(f"/api/v1/namespaces/argo/configmaps/{ARGO_CONFIG}", body)

    def run_isolated(
        self, name: str, command: list[str], reaches: list[int], offers: list[int] | None = None
    ) -> None:
        """Run a server that listens on all interfaces where "all" is only a loopback."""
        isolate = forward.namespace_command()
        if isolate is None:
            raise build.UnavailableError(
                f"{name} listens on every interface and this machine allows no network namespace"
            )
        inside, outside = [], []
        for port in reaches:
            at = self._folder / f"{name}-{port}"
            outside.append(f"{at}={port}")
            inside.append(f"{port}={at}")
        for port in offers or []:
            at = self._folder / f"{name}-{port}"
            outside.append(f"{port}={at}")
            inside.append(f"{at}={port}")
        script = [sys.executable, forward.__file__]
        self._run(f"{name}-forward", *script, *outside)
        self._run(name, *isolate, *script, *inside, "--", *command)

    def _apply_definitions(self) -> None:
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        if self._argo:
            for file in sorted((build.argo(self._argo) / "crds").iterdir()):
                plural = file.stem.removeprefix("argoproj.io_")
                self._apply(f"{path}/{plural}.argoproj.io", file.read_bytes())
        else:
            for name, definition in standin_crds.definitions().items():
                self._apply(f"{path}/{name}", definition)

    def _wait_for_definitions(self) -> None:
        # An API server serves a kind some seconds before it says so, and counts it as established.
        self._wait_for("Argo's kinds", self._tells_of_definitions)
        for plural in ("workflows", "workflowtemplates", "cronworkflows", "workflowtaskresults"):
            url = f"{self._server}/apis/argoproj.io/v1alpha1/{plural}?limit=1"
            self._wait_for(plural, partial(self._answers, url))

    def _keep(self, defined: Path) -> None:
        """Keep what etcd holds now for the clusters to come."""
        servers = ("etcd", "kube-apiserver")
        for name in reversed(servers):
            self._processes[name].terminate()
            self._processes[name].wait()
        with build.locked(build.CACHE / "build.lock"):
            if not defined.exists():
                with build.building(defined) as out:
                    shutil.copytree(self._folder / "etcd", out, dirs_exist_ok=True)
        for name in servers:
            self._run(name, *self._commands[name])
        self._wait_for("the API server", self._ready)
        self._wait_for_definitions()

    def _apply(self, path: str, body: dict[str, object] | bytes) -> None:
        if isinstance(body, dict):
            body.setdefault("metadata", {"name": path.rpartition("/")[2]})
        self._session.patch(
            f"{self._server}{path}?fieldManager=heraci-test&force=true",
            data=body if isinstance(body, bytes) else json.dumps(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
            timeout=30,
        ).raise_for_status()

    def _tells_of_definitions(self) -> bool:
        url = f"{self._server}/apis/argoproj.io/v1alpha1"
        answer = self._session.get(url, timeout=5).json()
        told = {each["name"] for each in answer.get("resources", ())}
        return told >= {f"{kind.lower()}s" for kind in standin_crds.KINDS}

    def _answers(self, url: str) -> bool:
        return self._session.get(url, timeout=5).ok

    def _ready(self) -> bool:
        return self._session.get(f"{self._server}/readyz", timeout=2).text == "ok"

    def _run(self, name: str, *command: str) -> None:
        self._commands[name] = list(command)
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*forward.DIE_WITH_PARENT, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                process_group=0,  # Ctrl-C is for the one who started the cluster, not for these
            )

    def _wait_for(self, what: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if dead := self.dead():
                raise RuntimeError(f"{dead} ended at once:\n{self._last_lines(dead)}")
            with suppress(requests.RequestException):
                if ready():
                    return
            time.sleep(0.1)
        logs = "\n".join(f"{name}:\n{self._last_lines(name)}" for name in self._processes)
        raise RuntimeError(f"{what} was not ready after {START_SECONDS} s\n{logs}")

    def _last_lines(self, name: str) -> str:
        text = (self._folder / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-10:])


def _free_ports(count: int) -> list[int]:
    # All held until all are known, so that no two are the same.
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            taken = held.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            ports.append(int(taken.getsockname()[1]))
        return ports
