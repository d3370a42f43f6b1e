"""The flow: what each command does, as the list of things that happen, in their order."""

from __future__ import annotations

from dataclasses import replace

from heraci.bundle import Bundle, CompiledExperiment, Status
from heraci.bundling import Outcomes, Progress, assemble, run_compiler
from heraci.settings import Settings
from heraci.workspace import Selection, Workspace, select


def compile_experiments(
    settings: Settings, selection: Selection, where: Workspace, progress: Progress
) -> Bundle:
    """Compile what is selected at head, and at base where it is compared."""
    compared = where.compare(settings, selection)
    chosen = select(compared, selection, where)
    outcomes = run_compiler(chosen, compared, where, progress)
    return assemble(chosen, outcomes, compared)


def list_experiments(
    settings: Settings, selection: Selection, where: Workspace, progress: Progress
) -> Bundle:
    """Say of each experiment whether the change affects it, and why; with what compiling says."""
    compared = where.compare(settings, selection)
    chosen = select(compared, selection, where)
    outcomes: Outcomes | None = None
    if settings.compare and compared.base is not None:
        outcomes = run_compiler(chosen, compared, where, progress)
    listed = assemble(chosen, outcomes, compared)
    untouched = tuple(
        CompiledExperiment(name=each.name, path=each.path, status=Status.UNAFFECTED)
        for each in chosen.untouched
    )
    both = sorted((*listed.experiments, *untouched), key=lambda each: each.name)
    return replace(listed, experiments=tuple(both))
