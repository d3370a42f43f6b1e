"""Flip a coin and act on the result: conditions in a graph, in plain Hera."""

from hera.workflows import DAG, Resources, Workflow, script
from hera.workflows.models import PodGC, TTLStrategy

IMAGE = "python:3.12-slim"
SMALL = Resources(cpu_request="100m", memory_request="64Mi")


@script(image=IMAGE, resources=SMALL)
def flip():
    # Only the body of a script travels to the pod, so what it needs is imported here.
    import random

    print(random.choice(["heads", "tails"]), end="")


@script(image=IMAGE, resources=SMALL)
def heads():
    print("It was heads.")


@script(image=IMAGE, resources=SMALL)
def tails():
    print("It was tails.")


with Workflow(
    generate_name="coin-flip-",
    entrypoint="toss",
    ttl_strategy=TTLStrategy(seconds_after_completion=86_400),
    pod_gc=PodGC(strategy="OnWorkflowSuccess"),
) as w:
    with DAG(name="toss"):
        coin = flip()
        heads().on_other_result(coin, "heads")
        tails().on_other_result(coin, "tails")
