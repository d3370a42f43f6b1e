"""What `[experiments.NAME]` tables say, and what they come to for one experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from heraci.settings import values


class ExperimentTable(BaseModel):
    """What `[experiments.NAME]` of heraci.toml may say.

    Where it says nothing, the field of `Settings` with the same name holds, which explains it too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: values.Text | None = Field(
        None,
        description="The file to run, from the repository's root, where it is not found by itself; "
        "`path:function` to call a function that returns the workflow.",
    )
    inputs: values.Table = Field({}, description="Values for the fields of its Inputs.")
    environment: dict[str, values.Text] = Field(
        {}, description="Names in the cluster for the fields of its Environment."
    )
    arguments: values.Table = Field(
        {}, description="Arguments for the command line that the experiment itself parses."
    )
    data: values.Lines | None = Field(
        None,
        description="Files that it reads while compiling, as globs from the repository's root.",
    )
    allow_network: bool | None = None
    pass_environ: values.PassedNames | None = None
    dependencies_from: values.Lines | None = None
    python: values.Text | None = None
    pin_randomness: bool | None = None
    compile_timeout: values.Seconds | None = None
    compile_memory: values.Size | None = None
    compile_output: values.Size | None = None
    compile_open_files: values.Count | None = None
    compile_processes: values.Count | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentSettings:
    """All that was asked of one experiment, merged.

    `environment` maps a field of its Environment to a name in the cluster; `environ` holds the
    variables of `pass_environ` that are there. `arguments` were given to this experiment,
    `hera_config_arguments` lie in a hera.config that it shares with others and may not know.
    """

    name: str
    path: str | None
    function: str | None
    inputs: Mapping[str, Any]
    environment: Mapping[str, str]
    arguments: Mapping[str, Any]
    hera_config_arguments: Mapping[str, Any]
    data: tuple[str, ...]
    allow_network: bool
    pass_environ: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    dependencies_from: tuple[str, ...]
    python: str | None
    pin_randomness: bool
    compile_timeout: float
    compile_memory: int
    compile_output: int
    compile_open_files: int
    compile_processes: int


def choose(tables: Sequence[ExperimentTable], name: str) -> Any:
    """Take what the most particular table says, None where none says anything."""
    return next((said for each in tables if (said := getattr(each, name)) is not None), None)


def overlaid(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge tables key by key, the first one over the others."""
    merged: dict[str, Any] = {}
    for table in tables:
        merged = {**table, **merged}
    return merged


def arguments_for(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the arguments of one experiment out of those for all and for others."""
    general = {key: value for key, value in arguments.items() if ":" not in key}
    own = {
        key.removeprefix(f"{name}:"): value
        for key, value in arguments.items()
        if key.startswith(f"{name}:")
    }
    return general | own
