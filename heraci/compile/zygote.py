"""The warm process: imports Hera once, forks a worker for each job that needs no other Python.

It does as little as can be done between two forks. What a process writes to after a fork is copied,
page by page, and what its memory consists of is what a fork costs: so the books are kept by
`server`, which starts it, and a worker reads its own job.

Over one socket the server sends the size of a job, the job as JSON, and the descriptors of the
worker's result and log. The answers are lines: `+PID` for each worker that was started, in the
order in which they were asked for, and `-PID STATUS` for each that has ended, the status as
`os.waitpid` has it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NoReturn

from heraci.compile.confinement import confine
from heraci.compile_worker.process import end_with, libc, woken_by_children

_MADV_COLLAPSE = 25
_HUGE_PAGE = 2 << 20
_PIECE = 1 << 16
_HEAD = 4  # bytes of a job's size
_LARGE = 100_000  # bytes: what the C library still takes from its heap
_PATIENCE = 10.0  # seconds until its workers, once killed, count as gone
_MOST_TAKEN = 8 << 20  # bytes: where memory is ordered otherwise than here, no more than that


class LostError(Exception):
    """The warm process has ended."""


class Zygote:
    """The server's end: `ended` holds the statuses of workers that have ended."""

    # What a worker leaves behind becomes the server's before its end is told.

    def __init__(self, *, many: bool) -> None:
        self.socket, theirs = socket.socketpair()
        self.buffer = b""
        self.started: list[int] = []
        self.living: set[int] = set()
        self.ended: dict[int, int] = {}
        server = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self.socket.close()
            _serve(theirs, server=server, many=many)
        theirs.close()

    def fork(self, request: dict[str, Any], files: list[int]) -> int:
        """Have a worker forked that has these files as its result and its log; give its pid."""
        data = json.dumps(request).encode()
        data = len(data).to_bytes(_HEAD, "big") + data
        sent = socket.send_fds(self.socket, [data], files)
        if sent < len(data):
            self.socket.sendall(data[sent:])
        while not self.started:
            self.hear()
        return self.started.pop()

    def end(self) -> None:
        """End the process once it has told of all its workers, which were killed just now."""
        until = time.monotonic() + _PATIENCE
        with contextlib.suppress(OSError, LostError):
            while self.living and (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                self.hear()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def hear(self) -> None:
        """Read what it tells."""
        data = self.socket.recv(_PIECE)
        if not data:
            raise LostError("the process that workers are forked from has ended")
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            numbers = [int(each) for each in line[1:].split()]
            if line[:1] == b"+":
                self.started.append(numbers[0])
                self.living.add(numbers[0])
            else:
                self.living.remove(numbers[0])
                self.ended[numbers[0]] = numbers[1]


# --- its own end ----------------------------------------------------------------------------------


def _serve(control: socket.socket, *, server: int, many: bool) -> NoReturn:
    """Get warm, then fork workers until the server, whose pid is given, is no more."""
    code = 1
    try:
        end_with(server)
        with _noted_fork_hooks() as hooks, _light_requests():
            run = _warm_run()
        warm = _Warm(control, run, hooks)
        _make_ready_to_fork(many=many)
        warm.serve()
        code = 0
    except ConnectionError:
        code = 0  # the server has ended in the middle of a sentence
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(code)


def _warm_run() -> Any:
    from heraci.compile_worker.run import Run

    run = Run()
    run.install()
    run.warm_up()
    return run


class _Warm:
    """Forks on demand and tells of the end of what it forked."""

    def __init__(self, control: socket.socket, run: Any, hooks: list[dict[str, Any]]) -> None:
        self.control = control
        self.run = run
        self.hooks = hooks

    def serve(self) -> None:
        """Answer until the other side closes the socket."""
        woken = woken_by_children()
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        poll.register(self.control, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == woken:
                    os.read(woken, _PIECE)
                    self.tell_of_ends()
                elif not self.start():
                    return

    def tell_of_ends(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self.control.sendall(b"-%d %d\n" % ended)

    def start(self) -> bool:
        """Fork a worker; False once the other side has gone."""
        data, files, _, _ = socket.recv_fds(self.control, _PIECE, 2)
        if not data:
            return False
        pieces = [data]
        missing = _HEAD + int.from_bytes(data[:_HEAD], "big") - len(data)
        while missing > 0:
            pieces.append(self.control.recv(missing))
            if not pieces[-1]:
                return False
            missing -= len(pieces[-1])
        pid = os.fork()
        if pid == 0:
            self.become_worker(b"".join(pieces)[_HEAD:], *files)
        for file in files:
            os.close(file)
        self.control.sendall(b"+%d\n" % pid)
        return True

    def become_worker(self, request: bytes, result: int, log: int) -> NoReturn:
        """Turn the forked process into a worker, and run the job."""
        from heraci.compile_worker.run import become_worker

        def prepared() -> dict[str, Any]:
            wanted: dict[str, Any] = json.loads(request)
            confine(wanted, result, log)
            for each in self.hooks:
                os.register_at_fork(**each)
            return wanted

        become_worker(self.run, prepared)


# --- what a fork costs ----------------------------------------------------------------------------


@contextlib.contextmanager
def _noted_fork_hooks() -> Iterator[list[dict[str, Any]]]:
    """Note what modules want to be done at a fork, instead of doing it at each of ours.

    They renew locks that nobody here holds, and the seed of a generator that the worker seeds
    anyway; running them touches two hundred pages. A script's own forks need them.
    """
    hooks: list[dict[str, Any]] = []
    register = os.register_at_fork
    os.register_at_fork = lambda **hook: hooks.append(hook)
    try:
        yield hooks
    finally:
        os.register_at_fork = register


@contextlib.contextmanager
def _light_requests() -> Iterator[None]:
    """Let Hera import a stand-in for requests, which it only sends with.

    The real one brings twenty shared libraries. A script that imports it gets it.
    """
    if "requests" in sys.modules:
        yield
        return
    light = ModuleType("requests")
    for name in ("Session", "Response"):
        setattr(light, name, type(name, (), {"__module__": "requests"}))
    sys.modules["requests"] = light
    try:
        yield
    finally:
        del sys.modules["requests"]


def _fill_holes() -> None:
    """Take the memory that is free between what is used.

    What a worker makes then lies together on new pages, instead of here and there on pages that
    would be copied for it. What is taken is never given back.
    """
    _filling.extend(_fill_c_heap())
    pool = 16 << 10  # of CPython's allocator, for objects of one size each
    for size in range(48, 513, 16):
        last, row = 0, 0
        for _ in range(_MOST_TAKEN // 8 // size):
            _filling.append(bytes(size - 33))
            place = id(_filling[-1])
            row = row + 1 if place == last + size else 0
            last = place
            if row == pool // size - 2:
                break  # as many side by side as a pool holds: they came from an empty one


def _fill_c_heap() -> Iterator[int]:
    """Take what is free below the C heap's top, large pieces first."""
    malloc, free = (getattr(ctypes.CDLL(None), name) for name in ("malloc", "free"))
    malloc.restype = ctypes.c_void_p
    free.argtypes = [ctypes.c_void_p]
    top = malloc(_LARGE)
    free(top)
    left = _MOST_TAKEN
    for size in (*(1 << power for power in range(16, 10, -1)), *range(1024, 16, -16)):
        while left > 0:
            place = malloc(size)
            if not place or place >= top:
                free(place)
                break
            yield place
            left -= size


_filling: list[object] = []


def _make_ready_to_fork(*, many: bool) -> None:
    """Lay our memory out so that a fork copies little of it.

    Nothing that is here now is ever collected, or the collector would write to all of it. Where
    `many` forks are to come, what can lie in huge pages does: a fork then copies a few entries
    instead of ten thousand.
    """
    many = many and sys.platform == "linux"
    gc.collect()
    if many:
        _fill_holes()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    if not many:
        return
    with open("/proc/self/maps") as file:
        regions = [line.split() for line in file]
    for addresses, rights, *_, name in (each if len(each) > 5 else [*each, ""] for each in regions):
        if rights == "rw-p" and name in ("", "[heap]"):
            first, last = (int(each, 16) for each in addresses.split("-"))
            first = -(-first // _HUGE_PAGE) * _HUGE_PAGE
            size = last // _HUGE_PAGE * _HUGE_PAGE - first
            if size > 0:
                with contextlib.suppress(OSError):  # an older kernel does not know how
                    libc("madvise", ctypes.c_void_p(first), ctypes.c_size_t(size), _MADV_COLLAPSE)
