"""Run a simulation for each pair of parameters, and pass the results on as artifacts."""

from itertools import product

from hera.workflows import (
    DAG,
    Artifact,
    NoneArchiveStrategy,
    Parameter,
    Resources,
    Script,
    Task,
    Workflow,
)
from hera.workflows.models import PodGC, TTLStrategy

from heraci import Experiment, Inputs


class Sweep(Inputs):
    growth_rates: list[float] = [2.5, 3.2, 3.9]
    starts: list[float] = [0.1, 0.5]
    generations: int = 200


def simulate(growth_rate, start, generations):
    import json
    import pathlib

    # The logistic map: with the growth rate it turns from a fixed point to chaos.
    population = start
    history = []
    for _ in range(generations):
        population = growth_rate * population * (1 - population)
        history.append(population)
    result = {"growth_rate": growth_rate, "start": start, "end": history[-10:]}
    pathlib.Path("/tmp/result.json").write_text(json.dumps(result))


def gather():
    import json
    import pathlib

    files = sorted(pathlib.Path("/tmp/results").glob("*.json"))
    results = [json.loads(each.read_text()) for each in files]
    for each in results:
        values = len({round(value, 6) for value in each["end"]})
        print(each["growth_rate"], each["start"], f"ends with {values} different values")
    pathlib.Path("/tmp/sweep.json").write_text(json.dumps(results, indent=2))


class ParameterSweep(Experiment):
    inputs: Sweep

    image = "python:3.12-slim"
    resources = Resources(cpu_request="250m", memory_request="64Mi")

    def workflow(self) -> Workflow:
        pairs = list(product(self.inputs.growth_rates, self.inputs.starts))
        with Workflow(
            generate_name="parameter-sweep-",
            entrypoint="sweep",
            parallelism=8,
            ttl_strategy=TTLStrategy(seconds_after_completion=7 * 86_400),
            pod_gc=PodGC(strategy="OnPodSuccess"),
        ) as w:
            simulation = self.simulation()
            gathering = self.gathering(len(pairs))
            with DAG(name="sweep"):
                runs = [
                    self.run(simulation, number, growth_rate, start)
                    for number, (growth_rate, start) in enumerate(pairs)
                ]
                results = [
                    run.get_artifact("result").with_name(f"result-{number}")
                    for number, run in enumerate(runs)
                ]
                runs >> Task(name="gather", template=gathering, arguments=results)
        return w

    def run(self, template: Script, number: int, growth_rate: float, start: float) -> Task:
        return Task(
            name=f"simulate-{number}",
            template=template,
            arguments=[
                Parameter(name="growth_rate", value=growth_rate),
                Parameter(name="start", value=start),
                Parameter(name="generations", value=self.inputs.generations),
            ],
        )

    def simulation(self) -> Script:
        return Script(
            name="simulate",
            source=simulate,
            image=self.image,
            resources=self.resources,
            outputs=[
                Artifact(name="result", path="/tmp/result.json", archive=NoneArchiveStrategy())
            ],
        )

    def gathering(self, count: int) -> Script:
        """A template with an artifact for each run: Argo cannot pass on a list of them."""
        return Script(
            name="gather",
            source=gather,
            image=self.image,
            resources=self.resources,
            inputs=[
                Artifact(name=f"result-{number}", path=f"/tmp/results/{number:03}.json")
                for number in range(count)
            ],
            outputs=[Artifact(name="sweep", path="/tmp/sweep.json", archive=NoneArchiveStrategy())],
        )
