"""Submit many small workflows: the process that a test kills, again and again.

    python -m tests.cluster.submitter KUBECONFIG NAMESPACE COUNT

Each line of its output is what became of one object, and its name.
"""

import sys
from pathlib import Path

from heraci.bundle import Bundle
from heraci.cluster import connect
from heraci.submit import Provenance, Submission, plan, submit
from tests.submissions import COMMIT, experiment, workflow


def submissions(namespace: str, count: int) -> tuple[Submission, ...]:
    """Make what is submitted: one workflow of each experiment."""
    experiments = tuple(
        experiment(f"many-{number}", workflow(f"many-{number}-", duration=None))
        for number in range(count)
    )
    made = plan(Bundle(experiments=experiments), Provenance(commit=COMMIT), namespace=namespace)
    return made.submissions


def main() -> None:
    """Submit, and say so line by line."""
    kubeconfig, namespace, count = sys.argv[1:]
    cluster = connect(paths=[Path(kubeconfig)])
    for fate in submit(submissions(namespace, int(count)), cluster):
        print(f"{fate.what}\t{fate.submission.name}\t{fate.message}", flush=True)


if __name__ == "__main__":
    main()
