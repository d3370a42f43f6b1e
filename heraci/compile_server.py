"""The wall around strangers' code: starts each experiment in a process of its own, and ends it.

heraci starts this file as a fresh process with an allow-listed environ. It imports Hera once, then
forks for each job: a worker has limits, a result and a log file opened for it, no other descriptor,
and, where heraci runs as root, an unprivileged uid that no other running worker has. Jobs that need
another Python, and the installing of packages, are the same fork followed by an exec.

It speaks JSON lines over one socket with `heraci.compile`. A request holds `id`, `folder` (where
`result` and `log` are written; workers cannot enter it), `uid` (None: keep ours), `environ`,
`limits` (`seconds`, `memory`, `file_size`, `open_files`, `processes`), `job` (see `compile_worker`),
and `command` (run this instead of forking a warm worker) with `directory`. An answer holds `id`,
and either `code`, or `signal`, or `reason` = "timeout".
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
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18

_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if _LINUX else None


class Server:
    """Starts, watches and ends workers, as many at a time as it is asked for."""

    def __init__(self, control: socket.socket, prepare: Any) -> None:
        self.control = control
        self.run = prepare
        self.buffer = b""
        self.running: dict[int, dict[str, Any]] = {}  # pid of a worker -> its request
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Answer requests until the other side closes the socket."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.selector.register(self.control, selectors.EVENT_READ)
        self.selector.register(reader, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select(self.patience()):
                if key.fd == reader:
                    with contextlib.suppress(BlockingIOError):
                        os.read(reader, 65536)
                elif not self.receive():
                    return self.end()
            self.reap()
            self.end_late_workers()

    def patience(self) -> float | None:
        """Give the seconds until the next worker runs out of time."""
        if not self.running:
            return None
        return max(0.0, min(each["deadline"] for each in self.running.values()) - time.monotonic())

    def receive(self) -> bool:
        data = self.control.recv(1 << 20)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.start(json.loads(line))
        return bool(data)

    def answer(self, request: dict[str, Any], **outcome: Any) -> None:
        self.control.sendall(json.dumps({"id": request["id"], **outcome}).encode() + b"\n")

    def start(self, request: dict[str, Any]) -> None:
        files = [_create(os.path.join(request["folder"], name)) for name in ("result", "log")]
        pid = os.fork()
        if pid == 0:
            _become_worker(self.run, request, *files)
        for file in files:
            os.close(file)
        request["deadline"] = time.monotonic() + request["limits"]["seconds"]
        self.running[pid] = request

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            request = self.running.pop(pid, None)
            if request is None:
                continue  # something that a worker had left behind
            self.end_leftovers(pid, request)
            if request.get("late"):
                self.answer(request, reason="timeout")
            elif os.WIFSIGNALED(status):
                self.answer(request, signal=os.WTERMSIG(status))
            else:
                self.answer(request, code=os.WEXITSTATUS(status))

    def end_late_workers(self) -> None:
        now = time.monotonic()
        for pid, request in self.running.items():
            if request["deadline"] <= now and not request.get("late"):
                request["late"] = True
                _kill_group(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def end_leftovers(self, pid: int, request: dict[str, Any]) -> None:
        """End whatever a worker had started; as a subreaper its orphans have become ours."""
        _kill_group(pid)
        orphans = self.orphans()
        if not orphans:
            return
        if request["uid"] is not None:
            _kill_user(request["uid"])
            return
        # Without a uid of its own, a daemon cannot be told from another running worker's: those
        # that were born after every worker still running are surely of the one that has ended.
        while orphans:
            oldest = min((each["pid_time"] for each in self.running.values()), default=None)
            mine = [each for each in orphans if oldest is None or _session(each) == pid]
            for orphan in mine:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGKILL)
                    os.waitpid(orphan, 0)
            orphans = self.orphans() if mine else []

    def orphans(self) -> list[int]:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                return [pid for pid in map(int, file.read().split()) if pid not in self.running]
        except OSError:
            return []  # not Linux: a process group is all that can be ended

    def end(self) -> None:
        """End every worker at once: heraci itself has ended or was interrupted."""
        for pid, request in self.running.items():
            _kill_group(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if request["uid"] is not None:
                _kill_user(request["uid"])
        self.running.clear()
        for pid in self.orphans():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _create(path: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _kill_user(uid: int) -> None:
    """End all processes of a uid at one stroke, which no fork can outrun."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _become_worker(run: Any, request: dict[str, Any], result: int, log: int) -> None:
    """Turn the forked process into a worker, run the job, and never return."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        # 3 is where the result goes; nothing else of the server stays open.
        for target, source in enumerate((null, log, log, result)):
            os.dup2(os.dup(source), target) if source < 4 else os.dup2(source, target)
        os.closerange(4, 1024)
        _limit(request["limits"])
        _drop_privileges(request["uid"])
        os.umask(0o077)
        if request.get("command"):
            _execute(request)
        os.environ.clear()
        os.environ.update(request["environ"])
        from heraci.compile_worker import send

        send(3, run.result(request["job"]))
        code = 0
    except BaseException as error:
        # The log is what heraci shows of a worker that gave no result.
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _execute(request: dict[str, Any]) -> None:
    os.dup2(3, 4)
    reader, writer = os.pipe()
    if os.fork():
        # The new program keeps this process, its pid and its limits.
        os.close(writer)
        os.dup2(reader, 3)
        os.set_inheritable(3, True)
        os.closerange(5, 16)
        os.chdir(request["directory"])
        os.execve(request["command"][0], request["command"], request["environ"])
    with os.fdopen(writer, "w") as file:
        json.dump(request["job"], file)
    os._exit(0)


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
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if _libc is not None:
        # In this order: a change of uid clears the first.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def isolate(*, network: bool, needed: list[str]) -> list[str]:
    """Take away what no worker needs; give the folders that an unprivileged uid cannot reach.

    As root with the right to do so, workers get a network namespace without any network, and
    folders below one that only root may enter (a Python under root's home) are shown alone, in a
    mount namespace of our own. Elsewhere both stay as they are.
    """
    if _libc is None or os.geteuid() != 0:
        return []
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if not network:
        _libc.unshare(_CLONE_NEWNET)
    hidden = [each for each in needed if not _is_reachable(each)]
    if hidden and _libc.unshare(_CLONE_NEWNS) == 0:
        _libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        _show(hidden)
    return [each for each in needed if not _is_reachable(each)]


def _is_reachable(path: str) -> bool:
    """Tell whether any user may enter a folder, from the root down."""
    parts = os.path.realpath(path).split(os.sep)[1:]
    for depth in range(len(parts) + 1):
        mode = os.stat(os.sep + os.sep.join(parts[:depth])).st_mode
        if not mode & 0o001:
            return False
    return True


def _show(paths: list[str]) -> None:
    """Lay an empty file system over each closed folder and bind into it what is needed alone."""
    assert _libc is not None
    opened = {}
    covers = set()
    for path in map(os.path.realpath, paths):
        opened[path] = os.open(path, os.O_PATH | os.O_DIRECTORY)
        parts = path.split(os.sep)[1:]
        for depth in range(1, len(parts) + 1):
            folder = os.sep + os.sep.join(parts[:depth])
            if not os.stat(folder).st_mode & 0o001:
                covers.add(folder)
                break
    for folder in covers:
        _libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=0755,size=1m")
    for path, descriptor in sorted(opened.items()):
        if not os.path.isdir(path):
            os.makedirs(path, mode=0o755)
        source = f"/proc/self/fd/{descriptor}".encode()
        _libc.mount(source, os.fsencode(path), None, _MS_BIND | _MS_REC, None)
        os.close(descriptor)


def main() -> None:
    """Serve the socket whose descriptor is the first argument, by the second one's JSON options."""
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    # By path and not by name, so that it works however heraci itself was found.
    sys.path.append(options["package_root"])
    if _LINUX and _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    unreachable = isolate(network=options["network"], needed=options["needed"])
    control.sendall(json.dumps({"unreachable": unreachable}).encode() + b"\n")
    from heraci import compile_worker

    run = compile_worker.Run()
    if options["warm"]:
        run.install()
        run.warm_up()
    # Forked workers touch what they use only: nothing that is here now is ever collected.
    gc.collect()
    gc.freeze()
    Server(control, run).serve()


if __name__ == "__main__":
    main()
