"""The wall around strangers' code: starts each experiment in a process of its own, and ends it.

heraci starts it as a fresh process with an allow-listed environ. A worker has limits, a result and
a log file opened for it, no other descriptor, and, where heraci runs as root, an unprivileged uid
that no other running worker has. Most are forked by `zygote`, which has imported Hera; those that
need another Python by an `own_python` of their slot; what installs packages is a fork, and an exec.

It speaks JSON lines over one socket with `heraci.compile.workers`, and lives as long as that socket
is open, whatever becomes of heraci. Its first line holds `refused`: why no stranger's code may run
here, or None. A request holds `id`, `folder` (where `result` and `log` are written; workers cannot
enter it), `place` (the worker's own folder in it), `uid` (None: keep ours), `environ`, `limits`
(`seconds`, `memory`, `file_size`, `folder_size`, `open_files`, `processes`), `job` (see
`compile_worker`), `python` (`command` and `environ` of the Python to keep warm for it, None for
ours), and `command`: run this instead of a worker. An answer holds `id`, and either `code`, or
`signal`, or `reason`, which is "timeout" or "folder_size".
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from heraci.compile.confinement import become_program, isolate
from heraci.compile.own_python import OwnPython
from heraci.compile.removal import remove_tree
from heraci.compile.zygote import LostError, Zygote
from heraci.compile_worker.process import adopt_orphans, woken_by_children

_CALM = 0.25  # seconds between two looks at what long-running workers have written
_WARMING = 60.0  # seconds until a Python must have imported Hera
_PATIENCE = 10.0  # seconds until what was killed counts as gone
_LEAST_SIZE = 4096  # what the smallest file takes
# Where anybody may write: what a worker left there would wait for the next one that has its uid.
_SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")  # noqa: S108


@dataclass(kw_only=True, slots=True)
class _Worker:
    """One running worker; `fate` is why it is being ended."""

    request: dict[str, Any]
    started: float  # by the wall's clock, as file systems have it
    deadline: float
    looked_at: float  # when its folder is next, by the same clock as the deadline
    fate: str | None = None
    begun: bool = False

    @property
    def uid(self) -> int | None:
        uid: int | None = self.request["uid"]
        return uid

    def begin(self) -> None:
        """Count its time from now, once: before, its Python was not warm."""
        if not self.begun:
            self.begun = True
            self.deadline = time.monotonic() + self.request["limits"]["seconds"]


class Server:
    """Starts, watches and ends workers, as many at a time as it is asked for.

    `keeper` is a uid of which there are no processes, for `end_user`.
    """

    def __init__(self, control: socket.socket, zygote: Zygote | None, keeper: int | None) -> None:
        self.control = control
        self.zygote = zygote
        self.own: dict[int, OwnPython] = {}  # by pid
        self.keeper = keeper
        self.folders: set[str] = set()  # where heraci stages workers' files
        self.buffer = b""
        self.running: dict[int, _Worker] = {}
        self.ended: dict[int, int] = {}  # pids of them, and the status of each
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Answer requests until the other side closes the socket, then leave nothing."""
        reader = woken_by_children()
        self.selector.register(self.control, selectors.EVENT_READ)
        self.selector.register(reader, selectors.EVENT_READ)
        if self.zygote:
            self.selector.register(self.zygote.socket, selectors.EVENT_READ)
        try:
            while self.wait(reader):
                self.reap()
                self.end_late()
                self.end_greedy()
                self.end_orphans()
        except ConnectionError:
            pass  # heraci has ended in the middle of a sentence
        finally:
            self.end()

    def wait(self, reader: int) -> bool:
        """Wait for something to do; False once the other side has gone."""
        for key, _ in self.selector.select(self.patience()):
            if key.fd == reader:
                with contextlib.suppress(BlockingIOError):
                    os.read(reader, 65536)
            elif self.zygote and key.fileobj is self.zygote.socket:
                self.zygote.hear()
            elif isinstance(key.data, OwnPython):
                self.hear(key.data)
            elif not self.receive():
                return False
        return True

    def patience(self) -> float | None:
        """Give the seconds until a worker must be looked at, None where there is none."""
        if not self.running:
            return None
        deadlines = [each.deadline for each in self.running.values() if not each.fate]
        return max(0.0, min([_CALM, *(each - time.monotonic() for each in deadlines)]))

    def receive(self) -> bool:
        data = self.control.recv(1 << 20)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.start(json.loads(line))
        return bool(data)

    def answer(self, worker: _Worker, **outcome: Any) -> None:
        line = json.dumps({"id": worker.request["id"], **outcome})
        self.control.sendall(line.encode() + b"\n")

    def start(self, request: dict[str, Any]) -> None:
        names = ("result", "log")
        files = [_create(os.path.join(request["folder"], name), request["uid"]) for name in names]
        self.folders.add(os.path.dirname(request["folder"]))
        started = time.time()
        if request["command"]:
            pid = os.fork()
            if pid == 0:
                become_program(request, *files)
        elif request["python"]:
            pid = self.run_in_own(request, files)
        else:
            assert self.zygote is not None
            pid = self.zygote.fork(request, files)
        for file in files:
            os.close(file)
        now = time.monotonic()  # not before: the first fork waits until Hera is imported
        seconds = request["limits"]["seconds"]
        self.running[pid] = _Worker(
            request=request,
            started=started,
            deadline=now + (max(seconds, _WARMING) if request["python"] else seconds),
            looked_at=now + _CALM,
        )

    def run_in_own(self, request: dict[str, Any], files: list[int]) -> int:
        """Have a job run by its slot's Python, which is kept or started; give the pid of that."""
        own = next((each for each in self.own.values() if each.fits(request)), None)
        if own is None:
            for other in [each for each in self.own.values() if each.slot == request["id"]]:
                self.end_own(other)
            own = OwnPython(request, files[1])
            self.own[own.pid] = own
            self.selector.register(own.socket, selectors.EVENT_READ, own)
        # Through a file, which takes any size at once and has no name that a later one could open.
        with tempfile.TemporaryFile(dir=request["folder"]) as job:
            told = {name: request[name] for name in ("environ", "job", "place")}
            job.write(json.dumps({**told, "seconds": request["limits"]["seconds"]}).encode())
            job.seek(0)
            with contextlib.suppress(OSError):  # it has just ended, which is told in a moment
                own.run([job.fileno(), *files])
        return own.pid

    def hear(self, own: OwnPython) -> None:
        """Take note of what a Python says of its worker; one that talks nonsense is ended."""
        if self.own.get(own.pid) is not own:
            return  # ended since there was something to hear
        try:
            for status in own.hear():
                worker = self.running.get(own.pid)
                if worker is None:
                    raise ValueError("it has no worker")
                if status is None:
                    worker.begin()
                else:
                    self.ended[own.pid] = status
        except (OSError, ValueError):
            self.forget_own(own)
            _kill(own.pid)

    def forget_own(self, own: OwnPython) -> None:
        if self.own.pop(own.pid, None):
            self.selector.unregister(own.socket)
            own.socket.close()

    def end_own(self, own: OwnPython) -> None:
        self.forget_own(own)
        _kill(own.pid)
        os.waitpid(own.pid, 0)

    def reap(self) -> None:
        """Answer for each worker that has ended, once nothing of it is left."""
        self.collect()
        while self.ended:
            pid, status = self.ended.popitem()
            worker = self.running.pop(pid)
            own = self.own.get(pid)
            if own is None or worker.fate or not own.is_alone():
                if own is not None:
                    self.end_own(own)
                _kill_group(pid)
                self.end_leftovers(worker.uid)
            _sweep(worker)
            if worker.fate:
                self.answer(worker, reason=worker.fate)
            elif os.WIFSIGNALED(status):
                self.answer(worker, signal=os.WTERMSIG(status))
            else:
                self.answer(worker, code=os.WEXITSTATUS(status))

    def collect(self) -> None:
        """Hear from every process that has ended; what workers had left behind is forgotten."""
        if self.zygote:
            self.ended |= self.zygote.ended
            self.zygote.ended.clear()
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if own := self.own.get(found[0]):
                    self.forget_own(own)
                if found[0] in self.running:
                    self.ended[found[0]] = found[1]

    def end_late(self) -> None:
        """End workers whose time is over; a moment before, they say on which line they are."""
        now = time.monotonic()
        for pid, worker in self.running.items():
            if worker.deadline > now or worker.fate not in (None, "timeout"):
                continue
            if worker.fate:
                _kill(pid)
            else:
                worker.fate, worker.deadline = "timeout", now + _CALM
                self.ask_for_line(pid)

    def ask_for_line(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            if own := self.own.get(pid):
                own.ask_for_line()
            else:
                os.kill(pid, signal.SIGUSR2)

    def end_greedy(self) -> None:
        """End workers that fill their folder; those that take a moment only are not looked at."""
        for pid, worker in self.running.items():
            most = worker.request["limits"]["folder_size"]
            began = time.monotonic()
            if worker.fate or most is None or began < worker.looked_at:
                continue
            if not _is_within(worker.request["place"], most):
                worker.fate = "folder_size"
                _kill(pid)
            # The more there is to look at, the rarer it is: other workers are waiting.
            ended = time.monotonic()
            worker.looked_at = ended + max(_CALM, 10 * (ended - began))

    def end_leftovers(self, uid: int | None) -> None:
        """End whatever a worker had started, and wait until it is gone."""
        if uid is not None and self.keeper is not None:
            end_user(uid, self.keeper)
        until = time.monotonic() + _PATIENCE
        quiet = 0
        # The kernel may leave out of its list what forks or ends just then.
        while quiet < 2 and time.monotonic() < until:
            quiet = 0 if self.end_orphans() else quiet + 1
            self.collect()
            if quiet == 0:
                time.sleep(0.0005)

    def end_orphans(self) -> bool:
        """End what ended workers had started; give whether there was anything.

        Each worker is the reaper of its own orphans, so what becomes our child without having been
        started by us is of a worker that is no more, even where a debugger hides its end from us.
        """
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                orphans = set(map(int, file.read().split())) - self.running.keys() - self.own.keys()
        except OSError:
            return False  # not Linux: a group of processes is all that can be ended
        if self.zygote:
            orphans.discard(self.zygote.pid)
        for pid in orphans:
            _kill(pid)
        return bool(orphans)

    def end(self) -> None:
        """End every worker at once and remove their files: heraci has ended, or wants no more."""
        workers = list(self.running.values())
        for pid in self.running.keys() - self.own.keys():
            _kill_group(pid)
            _kill(pid)
        for own in list(self.own.values()):
            self.end_own(own)
        if self.zygote:
            self.zygote.end()
        self.running.clear()
        self.ended.clear()
        for worker in workers:
            self.end_leftovers(worker.uid)
            _sweep(worker)
        for folder in self.folders:
            remove_tree(folder)


# --- starting -------------------------------------------------------------------------------------


def _create(path: str, uid: int | None) -> int:
    """Make a new file, whatever an earlier worker did with the one of that name."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    # Appending, because standard output and standard error share it.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if uid is not None:
        os.fchown(file, uid, uid)
    return file


# --- ending ---------------------------------------------------------------------------------------


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end_user(uid: int, keeper: int) -> None:
    """End all processes of a uid at one stroke, which no fork can outrun.

    Root's kill(-1) would reach everybody; as the uid itself we could be ended, or stopped, by a
    process of it first. With another real uid, and root's put aside as the saved one, we reach the
    uid's processes alone and none of them reaches us.
    """
    os.setresuid(keeper, uid, 0)
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.setresuid(0, 0, 0)


def _sweep(worker: _Worker) -> None:
    """Remove what a worker left where anybody may write: its uid is given to the next one."""
    if worker.uid is None:
        return
    for folder in _SHARED:
        with contextlib.suppress(OSError):
            # Clocks of file systems are coarse.
            if os.stat(folder).st_mtime < worker.started - 0.05:
                continue
            for entry in list(os.scandir(folder)):
                if entry.stat(follow_symlinks=False).st_uid == worker.uid:
                    remove_tree(entry.path)


def _is_within(place: str, most: int) -> bool:
    """Tell whether a folder holds no more than so many bytes."""
    size = 0
    for entry in _walk(place):
        with contextlib.suppress(OSError):
            size += max(_LEAST_SIZE, entry.stat(follow_symlinks=False).st_blocks * 512)
        if size > most:
            return False
    return True


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """Give every entry below a folder, as far as a path can reach; what vanishes is left out."""
    waiting = [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def main() -> None:
    """Serve the socket whose descriptor is the first argument, by the second one's JSON options."""
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # heraci gets them too, and closes the socket
    adopt_orphans()
    refused = isolate(network=options["network"], needed=options["needed"], uid=options["uid"])
    control.sendall(json.dumps({"refused": refused}).encode() + b"\n")
    zygote = Zygote(many=options["many"]) if options["warm"] else None
    try:
        Server(control, zygote, options["keeper"]).serve()
    except LostError as error:
        sys.exit(str(error))
