"""Which experiments a repository has, which of them a change affects, and why.

This rules out what cannot have changed, without running anything; in doubt an experiment stays in,
and compiling it at both ends decides. grimp was looked at for the import graph and does another
job: it wants importable packages on disk, while experiments are scripts run by path, with siblings
beside them and hyphens in their names, and one end of a comparison lies in Git's objects.
"""

from __future__ import annotations

from heraci.changes.affected import Affected, Change, Known, affected_experiments
from heraci.changes.experiments import Experiment, find_experiments, missing_entries
from heraci.changes.imports import Import, Imports, imports_of
from heraci.changes.sources import Closure, Sources
from heraci.tree import Tree

__all__ = [
    "Affected",
    "Change",
    "Closure",
    "Experiment",
    "Import",
    "Imports",
    "Known",
    "Sources",
    "Tree",
    "affected_experiments",
    "find_experiments",
    "imports_of",
    "missing_entries",
]
