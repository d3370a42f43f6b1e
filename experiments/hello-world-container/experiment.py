"""Say hello from one container: the smallest experiment there is."""

from hera.workflows import Container, Resources, Workflow
from hera.workflows.models import PodGC, TTLStrategy

from heraci import Experiment, Inputs


class Greeting(Inputs):
    message: str = "Moo Hera"


class HelloWorldContainer(Experiment):
    inputs: Greeting

    def workflow(self) -> Workflow:
        with Workflow(
            generate_name="hello-world-container-",
            entrypoint="hello",
            ttl_strategy=TTLStrategy(seconds_after_completion=86_400),
            pod_gc=PodGC(strategy="OnWorkflowSuccess"),
        ) as w:
            Container(
                name="hello",
                image="alpine:3.20",
                command=["echo"],
                args=[self.inputs.message],
                resources=Resources(cpu_request="50m", memory_request="16Mi"),
            )
        return w
