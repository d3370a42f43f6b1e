"""A template that summarizes a folder of results, for other workflows to refer to."""

from hera.workflows import Parameter, Resources, Script, Steps, WorkflowTemplate
from hera.workflows.models import PodGC, TTLStrategy

from heraci import Environment, Experiment, VolumeClaim


class Cluster(Environment):
    results: VolumeClaim = VolumeClaim(mount_path="/data", read_only=True)


def summarize(folder):
    import collections
    import pathlib

    sizes = collections.Counter()
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            sizes[str(path.parent)] += path.stat().st_size
    for where, size in sorted(sizes.items()):
        print(f"{size:>12} bytes in {where}")
    print(f"{sum(sizes.values()):>12} bytes in all")


class SummaryTemplate(Experiment):
    environment: Cluster

    def workflow(self) -> WorkflowTemplate:
        results = self.environment.results
        with WorkflowTemplate(
            name="summarize-results",
            entrypoint="main",
            arguments=[Parameter(name="folder", value=results.path())],
            ttl_strategy=TTLStrategy(seconds_after_completion=86_400),
            pod_gc=PodGC(strategy="OnPodSuccess"),
        ) as w:
            count = Script(
                name="summarize",
                source=summarize,
                image="python:3.12-slim",
                volumes=[results.volume()],
                resources=Resources(cpu_request="100m", memory_request="64Mi"),
            )
            with Steps(name="main"):
                count(arguments={"folder": "{{workflow.parameters.folder}}"})
        return w
