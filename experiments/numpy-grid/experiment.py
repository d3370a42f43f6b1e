"""Build a grid of parameters with NumPy while compiling, and run one task for each point."""

import numpy as np
from hera.workflows import DAG, Parameter, Resources, Script, Task, Workflow
from hera.workflows.models import PodGC, TTLStrategy

from heraci import Experiment, Inputs


class Grid(Inputs):
    damping: tuple[float, float] = (0.05, 0.8)
    dampings: int = 4
    stiffness: tuple[float, float] = (1.0, 100.0)
    stiffnesses: int = 3

    def points(self) -> list[dict[str, float]]:
        """All pairs, evenly spaced in the one and by factors in the other."""
        dampings = np.linspace(*self.damping, self.dampings)
        stiffnesses = np.geomspace(*self.stiffness, self.stiffnesses)
        grid = np.array(np.meshgrid(dampings, stiffnesses, indexing="ij")).reshape(2, -1).T
        # Rounded, so that the last digit of one machine is that of every other.
        rounded = np.round(grid, 6).tolist()
        return [{"damping": each[0], "stiffness": each[1]} for each in rounded]


def oscillate(damping, stiffness):
    import math

    # A mass on a spring, let go at 1: how far does it swing to the other side?
    frequency = math.sqrt(stiffness)
    ratio = damping / (2 * frequency)
    overshoot = math.exp(-math.pi * ratio / math.sqrt(1 - ratio**2)) if ratio < 1 else 0.0
    print(f"damping={damping} stiffness={stiffness} overshoot={overshoot:.4f}")


class NumpyGrid(Experiment):
    inputs: Grid

    def workflow(self) -> Workflow:
        with Workflow(
            generate_name="numpy-grid-",
            entrypoint="grid",
            parallelism=6,
            ttl_strategy=TTLStrategy(seconds_after_completion=86_400),
            pod_gc=PodGC(strategy="OnPodSuccess"),
        ) as w:
            # The pods need no NumPy: the grid is made before, and only its points travel.
            oscillator = Script(
                name="oscillate",
                source=oscillate,
                image="python:3.12-slim",
                resources=Resources(cpu_request="100m", memory_request="64Mi"),
            )
            with DAG(name="grid"):
                for number, point in enumerate(self.inputs.points()):
                    Task(
                        name=f"point-{number:02}",
                        template=oscillator,
                        arguments=[Parameter(name=key, value=each) for key, each in point.items()],
                    )
        return w
