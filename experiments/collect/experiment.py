"""Collect the city models of several vintages and boroughs, and list what was collected."""

from collections.abc import Callable

from hera.workflows import DAG, Parameter, Resources, RetryStrategy, Script, Task, Workflow
from hera.workflows.models import PodGC, TTLStrategy

from heraci import Environment, Experiment, Inputs, Layout, VolumeClaim


class Cluster(Environment):
    """What must change when the cluster does."""

    # Several pods on several machines write to it at the same time.
    results: VolumeClaim = VolumeClaim(mount_path="/data", access="ReadWriteMany")


class Vintages(Inputs):
    """What must change when the experiment does."""

    vintages: list[int] = [2009, 2012]
    boroughs: list[str] = ["LYON_8EME", "VILLEURBANNE"]
    at_most: int = 4


class Folders(Layout):
    """How the experiment names what it makes."""

    def collected(self, vintage: int) -> str:
        return f"collect/{vintage}"

    def summary(self) -> str:
        return "collect/summary.csv"


def collect(vintage, borough, folder):
    import pathlib

    # Here a real experiment would download and convert the model of one borough.
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / f"{borough}.txt"
    model.write_text(f"{borough} as it was in {vintage}\n")
    print(f"Collected {model}")


def summarize(folders, summary):
    import csv
    import pathlib

    models = sorted(path for each in folders for path in pathlib.Path(each).glob("*.txt"))
    with pathlib.Path(summary).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["folder", "model", "bytes"])
        table.writerows([path.parent, path.stem, path.stat().st_size] for path in models)
    print(f"{len(models)} models are listed in {summary}")


class Collect(Experiment):
    environment: Cluster
    inputs: Vintages
    layout: Folders

    def workflow(self) -> Workflow:
        with Workflow(
            generate_name="collect-",
            entrypoint="collect-all",
            parallelism=self.inputs.at_most,
            ttl_strategy=TTLStrategy(
                seconds_after_success=86_400, seconds_after_failure=7 * 86_400
            ),
            pod_gc=PodGC(strategy="OnPodSuccess"),
        ) as w:
            collect_one = self.script("collect", collect)
            summarize_all = self.script("summarize", summarize)
            with DAG(name="collect-all"):
                collected = [
                    self.collect_vintage(collect_one, each) for each in self.inputs.vintages
                ]
                collected >> Task(
                    name="summarize",
                    template=summarize_all,
                    arguments={
                        "folders": [self.folder(each) for each in self.inputs.vintages],
                        "summary": self.environment.results.path(self.layout.summary()),
                    },
                )
        return w

    def collect_vintage(self, template: Script, vintage: int) -> Task:
        """One task for each vintage, which Argo repeats for each borough."""
        return Task(
            name=f"collect-{vintage}",
            template=template,
            arguments=[
                Parameter(name="vintage", value=vintage),
                Parameter(name="borough", value="{{item}}"),
                Parameter(name="folder", value=self.folder(vintage)),
            ],
            with_items=self.inputs.boroughs,
        )

    def folder(self, vintage: int) -> str:
        return self.environment.results.path(self.layout.collected(vintage))

    def script(self, name: str, source: Callable[..., None]) -> Script:
        return Script(
            name=name,
            source=source,
            image="python:3.12-slim",
            volumes=[self.environment.results.volume()],
            resources=Resources(cpu_request="100m", memory_request="64Mi"),
            retry_strategy=RetryStrategy(limit=2),
        )
