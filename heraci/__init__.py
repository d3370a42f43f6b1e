"""What authors of experiments import; loaded on first use, so that `import heraci` stays light."""

from __future__ import annotations

# Type checkers know this name as true; importing `typing` would cost every start of heraci.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from heraci.by_hand import configure_hera
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
    "configure_hera",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'heraci' has no attribute {name!r}")
    if name == "configure_hera":
        try:
            from heraci import by_hand
        except ImportError:
            return _nothing  # in an experiment's own Python, see below, where heraci compiles
        return by_hand.configure_hera
    # Also where only this file and experiment.py lie on the path: in an experiment's own Python.
    from heraci import experiment

    return getattr(experiment, name)


def _nothing(target: str | None = None) -> None:
    """Stand for `configure_hera` where there is nothing to configure."""


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
