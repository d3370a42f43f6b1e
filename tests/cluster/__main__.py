"""Build the test cluster or run it in the foreground: `python -m tests.cluster [build]`."""

import argparse
import os
import select
import signal
import sys
from pathlib import Path

from tests.cluster import build
from tests.cluster.local import LocalCluster


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["build", "up"], default="up")
    parser.add_argument(
        "--argo", default=build.ARGO, help="Argo's version (default %(default)s), or none"
    )
    parser.add_argument("--state", type=Path, help="write the running cluster's facts here")
    parser.add_argument("--owner", type=int, help="stop when this process ends")
    return parser.parse_args()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _up(argo: str | None, state: Path | None, owner: int | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores SIGINT
        signal.signal(number, _interrupt)
    watched = [os.pidfd_open(owner)] if owner else []
    try:
        with LocalCluster(argo) as running:
            if state:
                written = state.with_suffix(".new")
                written.write_text(running.cluster.dump(pid=os.getpid()))
                written.rename(state)
            else:
                print(f"export KUBECONFIG={running.cluster.kubeconfig}", flush=True)
                if running.cluster.argo_server:
                    print(f"export ARGO_SERVER={running.cluster.argo_server}", flush=True)
                print("The cluster runs until Ctrl-C.", file=sys.stderr)
            while not select.select(watched, [], [], 1)[0]:
                if dead := running.dead():
                    sys.exit(f"{dead} has ended")
    except KeyboardInterrupt:
        pass
    finally:
        if state:
            state.unlink(missing_ok=True)


def main() -> None:
    """Do what the command line asks."""
    given = _arguments()
    version = None if given.argo == "none" else given.argo
    try:
        build.build(version, may_install_go=not given.state)
        if given.command == "up":
            _up(version, given.state, given.owner)
    except build.UnavailableError as problem:
        sys.exit(f"test cluster: {problem}")


if __name__ == "__main__":
    main()
