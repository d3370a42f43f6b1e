"""Print variables that a ConfigMap of the cluster gives to a pod."""

from hera.workflows import Resources, Script, Steps, Workflow
from hera.workflows.models import PodGC, TTLStrategy

from heraci import ConfigMap, Environment, Experiment


class Cluster(Environment):
    proxy: ConfigMap = ConfigMap(keys=["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"])


def print_variables(names):
    import os

    for name in names:
        value = os.environ.get(name, "(missing)")
        print(f"{name}={value}")
    missing = ", ".join(name for name in names if name not in os.environ)
    if missing:
        raise SystemExit(f"The ConfigMap does not give {missing}.")


class PrintConfigMap(Experiment):
    environment: Cluster

    def workflow(self) -> Workflow:
        proxy = self.environment.proxy
        with Workflow(
            generate_name="print-config-map-",
            entrypoint="main",
            ttl_strategy=TTLStrategy(seconds_after_completion=86_400),
            pod_gc=PodGC(strategy="OnWorkflowSuccess"),
        ) as w:
            show = Script(
                name="show",
                source=print_variables,
                image="python:3.12-slim",
                env_from=[proxy.env_from()],
                resources=Resources(cpu_request="100m", memory_request="64Mi"),
            )
            with Steps(name="main"):
                show(arguments={"names": list(proxy.keys)})
        return w
