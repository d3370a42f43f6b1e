"""Submit: manifest + commit → named, labelled object; create, compare, follow, report.

A stage: it knows values and a server's Protocol, neither Git nor settings nor a fence.
"""

from heraci.submit.create import submit
from heraci.submit.follow import follow, runs
from heraci.submit.ledger import Ledger, sized
from heraci.submit.ledger import read as read_ledger
from heraci.submit.plan import Plan, plan, with_commit
from heraci.submit.prune import gone, prune
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
    "Ledger",
    "Phase",
    "Plan",
    "Provenance",
    "Run",
    "Server",
    "Submission",
    "What",
    "follow",
    "gone",
    "plan",
    "prune",
    "read_ledger",
    "runs",
    "sized",
    "submit",
    "with_commit",
]
