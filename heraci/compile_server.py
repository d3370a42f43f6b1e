"""The wall around strangers' code: starts each experiment in a process of its own, and ends it.

heraci starts this file as a fresh process with an allow-listed environ. It imports Hera once, then
forks for each job: a worker has limits, a result and a log file opened for it, no other descriptor,
and, where heraci runs as root, an unprivileged uid that no other running worker has. Jobs that need
another Python, and the installing of packages, are the same fork followed by an exec.

It speaks JSON lines over one socket with `heraci.compile_workers`, and lives as long as that socket
is open, whatever becomes of heraci. Its first line holds `refused`: why no stranger's code may run
here, or None. A request holds `id`, `folder` (where `result` and `log` are written; workers cannot
enter it), `place` (the worker's own folder in it), `uid` (None: keep ours), `environ`, `limits`
(`seconds`, `memory`, `file_size`, `folder_size`, `open_files`, `processes`), `job` (see
`compile_worker`), and `command`: run this instead of forking a warm worker. An answer holds `id`,
and either `code`, or `signal`, or `reason`, which is "timeout" or "folder_size".
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import selectors
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWNET = 0x40000000
_MADV_COLLAPSE = 25
_HUGE_PAGE = 2 << 20
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18

_LINUX = sys.platform == "linux"
_RESULT = 3
_JOB, _RESULT_OF_COMMAND = 3, 4
_CALM = 0.25  # seconds between two looks at what long-running workers have written
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

    @property
    def uid(self) -> int | None:
        uid: int | None = self.request["uid"]
        return uid


class Server:
    """Starts, watches and ends workers, as many at a time as it is asked for.

    `keeper` is a uid of which there are no processes, for `end_user`.
    """

    def __init__(self, control: socket.socket, run: Any, keeper: int | None) -> None:
        self.control = control
        self.run = run
        self.keeper = keeper
        self.folders: set[str] = set()  # where heraci stages workers' files
        self.buffer = b""
        self.running: dict[int, _Worker] = {}
        self.ended: dict[int, int] = {}  # pids of them, and the status of each
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Answer requests until the other side closes the socket, then leave nothing."""
        reader, writer = os.pipe()
        for descriptor in (reader, writer):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.selector.register(self.control, selectors.EVENT_READ)
        self.selector.register(reader, selectors.EVENT_READ)
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
        now = time.monotonic()
        worker = _Worker(
            request=request,
            started=time.time(),
            deadline=now + request["limits"]["seconds"],
            looked_at=now + _CALM,
        )
        pid = os.fork()
        if pid == 0:
            _become_worker(self.run, request, *files)
        for file in files:
            os.close(file)
        self.running[pid] = worker

    def reap(self) -> None:
        """Answer for each worker that has ended, once nothing of it is left."""
        self.collect()
        while self.ended:
            pid, status = self.ended.popitem()
            worker = self.running.pop(pid)
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
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
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
                _signal(pid, signal.SIGUSR2)

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
                orphans = set(map(int, file.read().split())) - self.running.keys()
        except OSError:
            return False  # not Linux: a group of processes is all that can be ended
        for pid in orphans:
            _kill(pid)
        return bool(orphans)

    def end(self) -> None:
        """End every worker at once and remove their files: heraci has ended, or wants no more."""
        workers = list(self.running.values())
        for pid in self.running:
            _kill_group(pid)
            _kill(pid)
        self.running.clear()
        self.ended.clear()
        for worker in workers:
            self.end_leftovers(worker.uid)
            _sweep(worker)
        for folder in self.folders:
            remove_tree(folder)


# --- ending ---------------------------------------------------------------------------------------


def _kill(pid: int) -> None:
    _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


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


def remove_tree(path: str) -> None:
    """Remove a file, or a folder however deep it is; what cannot be removed stays.

    A folder in a folder is moved up before it is emptied, so neither recursion nor the length of a
    path ends this. Nothing may be writing there any more.
    """
    waiting = [path]
    number = 0
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        # Next to it no name can be taken on purpose by what lies inside.
        parent = os.path.dirname(path)
    while waiting:
        folder = waiting.pop()
        with contextlib.suppress(OSError):
            os.chmod(folder, 0o700)
            for entry in list(os.scandir(folder)):
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
                        continue
                    os.chmod(entry.path, 0o700)
                    number += 1
                    moved = f"{parent}/.gone-{os.getpid()}-{number}"
                    os.rename(entry.path, moved)
                    waiting.append(moved)
            os.rmdir(folder)


# --- becoming a worker ----------------------------------------------------------------------------


def _create(path: str, uid: int | None) -> int:
    """Make a new file, whatever an earlier worker did with the one of that name."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    # Appending, because standard output and standard error share it.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if uid is not None:
        os.fchown(file, uid, uid)
    return file


def _become_worker(run: Any, request: dict[str, Any], result: int, log: int) -> NoReturn:
    """Turn the forked process into a worker, and run the job."""
    # Taken now: the job may replace them.
    leave, own_pid, write = os._exit, os.getpid(), os.write
    code = 1
    try:
        _confine(request, result, log)
        if request["command"]:
            _execute(request)
        from heraci.compile_worker.run import send

        os.environ.clear()
        os.environ.update(request["environ"])
        outcome = run.result(request["job"])
        if os.getpid() == own_pid:  # what the script forked comes here too
            send(_RESULT, outcome)
        code = 0
    except BaseException as error:
        # The log is what heraci shows of a worker that gave no result.
        write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            leave(code)


def _confine(request: dict[str, Any], result: int, log: int) -> None:
    """Give up everything that a worker does not need."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    _keep_only(os.open(os.devnull, os.O_RDONLY), log, log, result)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory runs out, it is a worker that goes
    _limit(request["limits"])
    _drop_privileges(request["uid"])
    # Its own uid may look at it, so /proc/self and /dev/stdout are what they are elsewhere. What
    # is to become another program still knows its environ, an index's password perhaps.
    _prctl(_PR_SET_DUMPABLE, int(not request["command"]))
    os.umask(0o077)


def _keep_only(*files: int) -> None:
    """Make these files the descriptors from 0 on, and close all others."""
    first = len(files)
    for target, file in enumerate([_above(file, first) for file in files]):
        os.dup2(file, target)
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _above(file: int, least: int) -> int:
    """Give a copy of a descriptor that no number below `least` has."""
    import fcntl

    return fcntl.fcntl(file, fcntl.F_DUPFD, least)


def _execute(request: dict[str, Any]) -> NoReturn:
    """Become another program, which finds the job in one file and writes its result to another."""
    os.chdir(request["place"])
    with open("job.json", "x", encoding="utf-8") as file:
        json.dump(request["job"], file)
    os.dup2(_RESULT, _RESULT_OF_COMMAND)
    os.dup2(os.open("job.json", os.O_RDONLY), _JOB)
    os.execve(request["command"][0], request["command"], request["environ"])  # closes the rest


def _limit(limits: dict[str, Any]) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits["memory"],
        resource.RLIMIT_FSIZE: limits["file_size"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: limits["processes"],
        # Time is measured on the wall; this only ends a loop that outlives its watcher.
        resource.RLIMIT_CPU: int(limits["seconds"]) + 5,
    }
    for kind, value in wanted.items():
        if value is None:
            continue
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS knows, but refuses, some of them
            resource.setrlimit(kind, (value, value))


def _drop_privileges(uid: int | None) -> None:
    server = os.getppid()
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    # After the uid, whose change clears it.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)  # the server had ended before it could be noticed
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


# --- before the first worker ----------------------------------------------------------------------


def isolate(*, network: bool, needed: Sequence[str], uid: int | None) -> str | None:
    """Take away what no worker needs; give the reason where strangers' code must not run.

    Folders below one that only root may enter, a Python under root's home for one, are shown to
    the workers alone, in a mount namespace of our own.
    """
    if uid is None:
        return None
    with contextlib.suppress(OSError):  # an aid where the right to do so is there
        _libc("unshare", _CLONE_NEWIPC | (0 if network else _CLONE_NEWNET))
    reason = None
    try:
        show(needed)
    except OSError as error:
        reason = f"no mount namespace can be made here ({error.strerror}) to show it to them"
    for folder in needed:
        if not _is_reachable(folder):
            return (
                f"{folder} cannot be entered by the unprivileged users that experiments run as: "
                f"{reason or 'it is closed itself'}. Install heraci and its Python where all users "
                "may read them, or run heraci as an ordinary user."
            )
    return _why_not(uid)


def _why_not(uid: int) -> str | None:
    """Try to become an unprivileged user as workers do; give the reason where that fails."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            _drop_privileges(uid)
            if os.getresuid() != (uid, uid, uid) or os.getgroups():
                os.write(writer, b"the change had no effect")
        except OSError as error:
            os.write(writer, str(error.strerror).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.wait()
    with os.fdopen(reader, encoding="utf-8") as file:
        said = file.read()
    return said and (
        f"heraci runs as root, yet may not run experiments as an unprivileged user ({said}). "
        "Give it the capabilities that root has in a container (CHOWN, DAC_OVERRIDE, KILL, SETGID, "
        "SETUID), or run it as an ordinary user."
    )


def show(paths: Iterable[str]) -> None:
    """Lay an empty file system over each closed folder and bind into it what is needed alone."""
    # Under the name that is asked for as well as the real one: a link on the way is hidden, too.
    hidden = sorted(
        each
        for path in {path for path in paths if not _is_reachable(path)}
        for each in {os.path.abspath(path), os.path.realpath(path)}
    )
    if not hidden:
        return
    _libc("unshare", _CLONE_NEWNS)
    # First of all: what follows must never be seen outside.
    _libc("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    opened = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in hidden}
    for folder in {closed for path in hidden if (closed := _closed_part(path))}:
        _libc("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=0755,size=1m")
    for path, descriptor in opened.items():
        os.makedirs(path, mode=0o755, exist_ok=True)
        source = f"/proc/self/fd/{descriptor}".encode()
        _libc("mount", source, os.fsencode(path), None, _MS_BIND | _MS_REC, None)
        os.close(descriptor)


def _is_reachable(path: str) -> bool:
    """Tell whether any user may enter a folder, from the root down."""
    return _closed_part(os.path.realpath(path)) is None


def _closed_part(path: str) -> str | None:
    """Give the first folder on the way to a real path that not everybody may enter."""
    parts = path.split(os.sep)[1:]
    for depth in range(len(parts) + 1):
        folder = os.sep + os.sep.join(parts[:depth])
        try:
            if not os.stat(folder).st_mode & stat.S_IXOTH:
                return folder
        except FileNotFoundError:  # covered, and not laid open
            return folder
    return None


# --- the system -----------------------------------------------------------------------------------


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        _libc("prctl", option, value, 0, 0, 0)


_functions = ctypes.CDLL(None, use_errno=True)


def _libc(name: str, *arguments: Any) -> None:
    """Call a function of the C library; OSError where it says no."""
    if getattr(_functions, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def make_ready_to_fork(*, many: bool) -> None:
    """Lay our memory out so that a fork copies little of it.

    Nothing that is here now is ever collected, or the collector would write to all of it. Where
    `many` forks are to come, what can lie in huge pages does: a fork then copies a few entries
    instead of ten thousand.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    if not _LINUX or not many:
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
                    _libc("madvise", ctypes.c_void_p(first), ctypes.c_size_t(size), _MADV_COLLAPSE)


def main() -> None:
    """Serve the socket whose descriptor is the first argument, by the second one's JSON options."""
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # heraci gets them too, and closes the socket
    # By path and not by name, so that it works however heraci itself was found.
    sys.path.append(options["package_root"])
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    refused = isolate(network=options["network"], needed=options["needed"], uid=options["uid"])
    control.sendall(json.dumps({"refused": refused}).encode() + b"\n")
    from heraci.compile_worker.run import Run

    run = Run()
    if options["warm"]:
        run.install()
        run.warm_up()
    make_ready_to_fork(many=options["many"])
    Server(control, run, options["keeper"]).serve()


if __name__ == "__main__":
    main()
