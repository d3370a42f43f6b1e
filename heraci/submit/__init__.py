"""Submit: manifest + commit → named, labelled object; create, compare, follow, report.

A stage: it knows values and a server's Protocol, neither Git nor settings nor a fence.
"""

from heraci.submit.create import submit
from heraci.submit.naming import workflow_name
from heraci.submit.plan import Plan, plan
from heraci.submit.values import (
    Archive,
    Fate,
    Phase,
    Provenance,
    Run,
    Server,
    Submission,
    What,
)

__all__ = [
    "Archive",
    "Fate",
    "Phase",
    "Plan",
    "Provenance",
    "Run",
    "Server",
    "Submission",
    "What",
    "plan",
    "submit",
    "workflow_name",
]
