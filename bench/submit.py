"""Submit 1,000 workflows, and create as many in a bare loop with the same client and concurrency.

    python bench/submit.py KUBECONFIG [COUNT]

Prints both times and their ratio: what submitting once and only once costs. The two take turns,
each in fresh namespaces, so that neither has the cold server to itself.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from heraci import document
from heraci.bundle import Bundle, CompiledExperiment, Manifest, Status
from heraci.cluster import connect
from heraci.submit import Provenance, What, plan, sized, submit

CONCURRENCY = 8
ROUNDS = 3
SCRIPT = "import time\n" + "print('a line of a script as experiments have them')\n" * 20


def manifest(number):
    container = {"image": "python:3.12", "command": ["python"], "source": SCRIPT}
    templates = [
        {"name": "main", "script": container | {"env": [{"name": "N", "value": str(number)}]}}
    ]
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": f"bench-{number}-"},
        # Suspended: a controller that is there has nothing to do and takes no processor.
        "spec": {"entrypoint": "main", "suspend": True, "templates": templates},
    }
    return Manifest(
        kind="Workflow", name=f"bench-{number}-", digest=document.digest(body), document=body
    )


def namespace(cluster, name):
    cluster.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    return name


def bare(cluster, submissions):
    began = time.perf_counter()
    with ThreadPoolExecutor(CONCURRENCY) as workers:
        for _ in workers.map(lambda each: cluster.create(each.document), submissions):
            pass
    return time.perf_counter() - began


def ours(cluster, submissions):
    began = time.perf_counter()
    fates = list(submit(submissions, cluster, concurrency=CONCURRENCY))
    took = time.perf_counter() - began
    assert all(fate.what is What.CREATED for fate in fates), fates[0]
    return took


def main():
    kubeconfig, count = Path(sys.argv[1]), int((sys.argv[2:] or ["1000"])[0])
    cluster = connect(paths=[kubeconfig], concurrency=CONCURRENCY)
    experiments = tuple(
        CompiledExperiment(
            name=f"bench-{n}", path="bench.py", status=Status.ADDED, manifests=(manifest(n),)
        )
        for n in range(count)
    )
    bundle, provenance = Bundle(experiments=experiments), Provenance(commit=os.urandom(20).hex())
    times = {bare: [], ours: []}
    for turn in range(ROUNDS):
        for way in (bare, ours) if turn % 2 else (ours, bare):
            place = namespace(cluster, f"bench-{os.getpid()}-{turn}-{way.__name__}")
            planned = plan(bundle, provenance, namespace=place)
            times[way].append(way(cluster, sized(planned.submissions)))
            cluster.request("DELETE", f"/api/v1/namespaces/{place}")
    fastest = {way.__name__: min(found) for way, found in times.items()}
    print(
        json.dumps(
            {
                "count": count,
                "concurrency": CONCURRENCY,
                "seconds": fastest,
                "ratio": round(fastest["ours"] / fastest["bare"], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
