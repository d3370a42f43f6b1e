"""What authors of experiments import; loaded on first use, so that `import heraci` stays light."""

from __future__ import annotations

# Type checkers know this name as true; importing `typing` would cost every start of heraci.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from heraci.experiment import (
        COMMIT,
        ConfigMap,
        Environment,
        Experiment,
        ExperimentError,
        ImagePullSecret,
        Inputs,
        Layout,
        Secret,
        ServiceAccount,
        StorageClass,
        VolumeClaim,
    )

__version__ = "0.1.0"

__all__ = [
    "COMMIT",
    "ConfigMap",
    "Environment",
    "Experiment",
    "ExperimentError",
    "ImagePullSecret",
    "Inputs",
    "Layout",
    "Secret",
    "ServiceAccount",
    "StorageClass",
    "VolumeClaim",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'heraci' has no attribute {name!r}")
    # Also where only this file and experiment.py lie on the path: in an experiment's own Python.
    from heraci import experiment

    return getattr(experiment, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
