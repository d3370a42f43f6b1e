"""Print the variables that a pod of this cluster finds: a script with a `__main__` guard."""

from hera.workflows import Resources, Steps, Workflow, script
from hera.workflows.models import PodGC, TTLStrategy


@script(
    image="python:3.12-slim",
    resources=Resources(cpu_request="100m", memory_request="64Mi"),
)
def print_environment():
    import os
    import platform

    print(f"Python {platform.python_version()} on {platform.platform()}")
    # Names alone for what may be secret: the log of a workflow is read by many.
    secretive = ("KEY", "PASSWORD", "SECRET", "TOKEN")
    for name in sorted(os.environ):
        hidden = any(word in name.upper() for word in secretive)
        value = "(not shown)" if hidden else os.environ[name]
        print(f"{name}={value}")


def make_workflow() -> Workflow:
    with Workflow(
        generate_name="print-environment-",
        entrypoint="main",
        ttl_strategy=TTLStrategy(seconds_after_completion=86_400),
        pod_gc=PodGC(strategy="OnWorkflowSuccess"),
    ) as w:
        with Steps(name="main"):
            print_environment()
    return w


if __name__ == "__main__":
    make_workflow().create()
