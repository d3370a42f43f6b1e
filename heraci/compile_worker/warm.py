"""Runs job after job in an experiment's own Python, each in a fork of this process.

So Hera is imported once, and not for each experiment. `heraci.compile.own_python` is the other end
of the socket, and believes nothing that is said here: strangers' packages may speak in our place.

It sends `j` with three descriptors, those of a job's file and of the worker's result and log, and
hears the line `+` when the worker begins, and `-STATUS` when it has ended, the status as
`os.waitpid` has it; then the next job may come. `w` asks the worker to say on which line it is.

A job's file holds `environ`, `place` (the folder to start in), `seconds` and `job`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
from typing import Any

from heraci.compile_worker.process import (
    adopt_orphans,
    be_open_to_own_user,
    end_with,
    keep_only,
    limit_processor_time,
    woken_by_children,
)
from heraci.compile_worker.run import become_worker


def serve(control: socket.socket, run: Any) -> None:
    """Fork a worker for each job, until the other side closes the socket."""
    gc.collect()
    gc.freeze()
    # A worker has our uid: what it cannot look into it cannot change for the ones after it.
    be_open_to_own_user(False)
    # It may be meant for a worker that has ended.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    woken = woken_by_children()
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(control, select.POLLIN)
    worker = 0
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == woken:
                os.read(woken, 4096)
                worker = _tell_of_end(control, worker)
                continue
            asked, files, _, _ = socket.recv_fds(control, 1, 3)
            if not asked:
                return
            if asked == b"j":
                control.sendall(b"+\n")  # before the worker could stop us
                worker = _fork(run, *files)
                for file in files:
                    os.close(file)
            elif worker:
                os.kill(worker, signal.SIGUSR2)


def _tell_of_end(control: socket.socket, worker: int) -> int:
    """Take note of what has ended; give the worker that still runs, 0 where there is none."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return worker
        if pid == 0:
            return worker
        if pid == worker:
            worker = 0
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            control.sendall(b"-%d\n" % status)


def _fork(run: Any, job: int, result: int, log: int) -> int:
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        become_worker(run, lambda: _prepared(job, result, log, server))
    return pid


def _prepared(job: int, result: int, log: int, server: int) -> dict[str, Any]:
    """Keep nothing of the process that forked us, and read what is to be run."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    end_with(server)
    adopt_orphans()
    with os.fdopen(job, "rb", closefd=False) as file:
        wanted: dict[str, Any] = json.load(file)
    keep_only(os.open(os.devnull, os.O_RDONLY), log, log, result)
    be_open_to_own_user(True)
    limit_processor_time(wanted["seconds"])
    os.chdir(wanted["place"])
    return wanted
