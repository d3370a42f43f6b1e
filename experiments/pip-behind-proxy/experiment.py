"""Install a Python package inside a pod, through the proxy that a ConfigMap names."""

from hera.workflows import Resources, RetryStrategy, Script, Steps, Workflow
from hera.workflows.models import PodGC, TTLStrategy

from heraci import ConfigMap, Environment, Experiment, Inputs


class Cluster(Environment):
    # A cluster that reaches the package index by itself says `proxy = false`.
    proxy: ConfigMap | None = ConfigMap(keys=["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"])


class Package(Inputs):
    requirement: str = "psutil==6.1.1"


def install_and_use(requirement):
    import subprocess
    import sys

    where = "/tmp/site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--target", where]
    subprocess.run([*pip, requirement], check=True)

    sys.path.insert(0, where)
    import psutil

    print(f"psutil {psutil.__version__} sees these mounted partitions:")
    for partition in psutil.disk_partitions():
        print(f"  {partition.device} on {partition.mountpoint}")


class PipBehindProxy(Experiment):
    environment: Cluster
    inputs: Package

    def workflow(self) -> Workflow:
        proxy = self.environment.proxy
        with Workflow(
            generate_name="pip-behind-proxy-",
            entrypoint="main",
            active_deadline_seconds=900,
            ttl_strategy=TTLStrategy(seconds_after_completion=86_400),
            pod_gc=PodGC(strategy="OnWorkflowSuccess"),
        ) as w:
            install = Script(
                name="install",
                source=install_and_use,
                image="python:3.12-slim",
                env_from=[proxy.env_from()] if proxy else None,
                resources=Resources(cpu_request="250m", memory_request="256Mi"),
                retry_strategy=RetryStrategy(limit=2),
            )
            with Steps(name="main"):
                install(arguments={"requirement": self.inputs.requirement})
        return w
