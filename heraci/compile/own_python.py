"""An experiment's own Python, kept warm: the server's end; `compile_worker.warm` is the other.

Packages that strangers chose run in it, so it lives where their experiments do: behind the wall,
under the uid of one slot, whose jobs it runs one after the other. Each is a fork that it cannot be
changed from. What it says is believed only where a lie would harm nobody but its own experiments:
the server ends nothing that it names, and after each job looks for itself whether anything is left.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from heraci.compile.confinement import become_program

_MOST_SAID = 1 << 16


class OwnPython:
    """One warm process; `pid` is our own child's."""

    def __init__(self, request: dict[str, Any], log: int) -> None:
        self.slot = request["id"]
        self._wanted = _wanted(request)
        self._said = b""
        self.socket, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            # Its time is that of many experiments, each of which limits its own.
            limits = {**request["limits"], "seconds": None}
            started = {**request, **request["python"], "place": "/", "limits": limits}
            become_program(started, theirs.fileno(), log)
        theirs.close()

    def fits(self, request: dict[str, Any]) -> bool:
        """Tell whether a request can be run by it."""
        return self.slot == request["id"] and self._wanted == _wanted(request)

    def run(self, files: list[int]) -> None:
        """Have a job run: its file, its result and its log."""
        socket.send_fds(self.socket, [b"j"], files)

    def ask_for_line(self) -> None:
        """Have the worker say on which line it is."""
        self.socket.sendall(b"w")

    def hear(self) -> Iterator[int | None]:
        """Give None for a worker's start and a status for its end; ValueError for all else."""
        data = self.socket.recv(_MOST_SAID)
        if not data:
            raise ValueError("it says nothing any more")
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            if line == b"+":
                yield None
            elif line[:1] == b"-" and 0 <= (status := int(line[1:])) < 1 << 16:
                yield status
            else:
                raise ValueError("it says what it was not asked")
        if len(self._said) > _MOST_SAID:
            raise ValueError("it never ends a line")

    def is_alone(self) -> bool:
        """Tell whether nothing is left of what it forked: what is orphaned becomes its child."""
        if sys.platform != "linux":
            return True  # a group of processes is all that can be ended, and it has done that
        try:
            # The kernel may leave out what forks or ends just then.
            return not any(self._has_children() for _ in range(2))
        except OSError:
            return False

    def _has_children(self) -> bool:
        tasks = f"/proc/{self.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/children") as file:
                if file.read().strip():
                    return True
        return False


def _wanted(request: dict[str, Any]) -> tuple[Any, ...]:
    """Give what a process keeps for good."""
    limits = request["limits"]
    kept = ("memory", "file_size", "open_files")
    return (*request["python"]["command"], *(limits[each] for each in kept))
