"""Check that a volume claim is mounted, can be written, and is the same for two pods."""

from hera.workflows import DAG, Resources, Script, Workflow
from hera.workflows.models import PodGC, TTLStrategy

from heraci import Environment, Experiment, Layout, VolumeClaim


class Cluster(Environment):
    results: VolumeClaim = VolumeClaim(mount_path="/data")


class Files(Layout):
    def probe(self) -> str:
        # Argo puts the workflow's own name in, so that two runs do not meet.
        return "check-volume-claim/{{workflow.name}}.txt"


def write(mount_path, probe):
    import os
    import pathlib
    import shutil

    if not os.path.ismount(mount_path):
        raise SystemExit(f"Nothing is mounted at {mount_path}.")
    free = shutil.disk_usage(mount_path).free
    print(f"{mount_path} is mounted, with {free / 2**30:.1f} GiB free.")

    path = pathlib.Path(probe)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("written by the first pod\n")
    print(f"Wrote {path}.")


def read(mount_path, probe):
    import pathlib

    path = pathlib.Path(probe)
    if not path.is_file():
        raise SystemExit(f"{path} is not there: this pod sees another volume than the first one.")
    print(f"Read {path}: {path.read_text()}", end="")
    path.unlink()
    print("Beside it:", *sorted(each.name for each in pathlib.Path(mount_path).iterdir()))


class CheckVolumeClaim(Experiment):
    environment: Cluster
    layout: Files

    def workflow(self) -> Workflow:
        results = self.environment.results
        arguments = {
            "mount_path": results.path(),
            "probe": results.path(self.layout.probe()),
        }
        pod = {
            "image": "python:3.12-slim",
            "volumes": [results.volume()],
            "resources": Resources(cpu_request="100m", memory_request="64Mi"),
        }
        with Workflow(
            generate_name="check-volume-claim-",
            entrypoint="main",
            active_deadline_seconds=900,
            ttl_strategy=TTLStrategy(seconds_after_completion=86_400),
            pod_gc=PodGC(strategy="OnWorkflowSuccess"),
        ) as w:
            write_probe = Script(name="write", source=write, **pod)
            read_probe = Script(name="read", source=read, **pod)
            with DAG(name="main"):
                written = write_probe(name="write", arguments=arguments)
                checked = read_probe(name="read", arguments=arguments)
                written >> checked
        return w
