"""Workers from the outside: staged copies, uids, and the server process that forks them.

As root, a task's files are copied to a folder that belongs to the uid of its slot and to no other;
without root everything runs as ourselves and the copy only keeps scripts from changing the
repository by accident.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from heraci.compile.removal import remove_tree
from heraci.errors import CompileError, HeraciError

# Below the range that systemd hands out, above what distributions give to people and services.
_FIRST_UID = 60_600
_UID_BLOCKS = 8
_UIDS_IN_BLOCK = 64
_LOG_KEPT = 32_768
_LARGEST_RESULT = 256 << 20
_ROOMY = 256 << 20
_MANY = 50
# By its place and not by its name, so that it is this heraci however it was found; what else lies
# there is not for scripts to import.
_START = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
from heraci.compile import server
del sys.path[0]
server.main()
"""
_FIRST = json.JSONDecoder()
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


_ENVIRON = {
    "PATH": _PATH,
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONNOUSERSITE": "1",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one worker may use: wall seconds, bytes of memory, of a file and of all, and counts."""

    seconds: float = 60.0
    memory: int | None = 4 << 30
    file_size: int | None = 16 << 20
    folder_size: int | None = 512 << 20
    open_files: int | None = 256
    processes: int | None = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One thing to run behind the wall.

    `files` and empty `folders` are staged under `repository/` of the task's folder, `extra_files`
    in the folder itself.
    `python` is the command of the Python that runs the job, None for a fork of our own; `command`
    is a program to run instead of a worker. `{folder}` in it and in `environ` stands for the task's
    folder. `keep` moves this subfolder of it to another place when it ended well.
    """

    label: str
    job: Mapping[str, Any] = field(default_factory=dict)
    files: Callable[[], Mapping[str, bytes]] = dict
    folders: Sequence[str] = ()
    extra_files: Mapping[str, bytes] = field(default_factory=dict)
    python: Sequence[str] | None = None
    command: Sequence[str] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    network: bool = False
    keep: tuple[str, Path] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a task ended: its result, None where it gave none; what it printed; what went wrong.

    `has_surrogates` says that there may be lone ones in the result, which no file takes.
    """

    result: dict[str, Any] | None
    log: str
    failure: str | None
    has_surrogates: bool = False


class Workers:
    """Runs tasks, as many at a time as there are slots; a context manager that leaves nothing."""

    def __init__(self, *, jobs: int, needed: Sequence[Path] = ()) -> None:
        self.expected = 0  # how many tasks are to come, as far as that is known
        self._number = 0  # of the task, over all calls of run(): no two stage in one place
        self._slots = min(jobs, _UIDS_IN_BLOCK - 1)
        self._needed = list(needed)
        self._folder: Path | None = None
        self._beside: Path | None = None  # like `_folder`, for tasks whose work is kept
        self._servers: dict[bool, _Server] = {}
        self._uids: _Uids | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.stop()
        for folder in (self._folder, self._beside):
            if folder:
                remove_tree(str(folder))
        if self._uids:
            self._uids.release()

    @property
    def isolated(self) -> bool:
        """Tell whether each worker has a uid of its own."""
        return os.geteuid() == 0

    def warm_up(self) -> None:
        """Start the server now, so that it imports Hera while something else is done."""
        self._server(network=False)

    def run(self, next_task: Callable[[], Task | None]) -> Iterator[tuple[Task, Ended]]:
        """Run tasks and give each as it ends; a task is asked for whenever a slot is free."""
        free = deque(range(self._slots))
        running: dict[int, tuple[Task, Path]] = {}
        selector = selectors.DefaultSelector()
        while True:
            while free and (task := next_task()) is not None:
                slot = free.popleft()
                server = self._server(network=task.network)
                if server.socket not in {key.fileobj for key in selector.get_map().values()}:
                    selector.register(server.socket, selectors.EVENT_READ, server)
                self._number += 1
                try:
                    folder, size = self._stage(task, slot, self._number)
                except OSError as error:  # a path too long for here, a full disk
                    yield task, Ended(result=None, log="", failure=f"cannot be staged: {error}")
                    free.append(slot)
                    continue
                running[slot] = (task, folder)
                server.send(self._request(task, slot, folder, size))
            if not running:
                return
            for key, _ in selector.select():
                for answer in key.data.receive():
                    slot = answer["id"]
                    task, folder = running.pop(slot)
                    yield task, self._finish(task, folder, answer)
                    free.append(slot)

    def _server(self, *, network: bool) -> _Server:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="heraci-", dir=_memory()))
            self._folder.chmod(0o711)
            if self.isolated:
                self._uids = _Uids()
        if network not in self._servers:
            needed = [*map(str, self._needed), str(self._folder)]
            self._servers[network] = _Server(
                self._folder,
                network=network,
                many=self.expected >= _MANY,
                needed=needed,
                uids=self._uids,
            )
        return self._servers[network]

    def _uid(self, slot: int) -> int | None:
        return self._uids.of(slot) if self._uids else None

    def _stage(self, task: Task, slot: int, number: int) -> tuple[Path, int]:
        """Write a task's files; give their folder and what they take."""
        uid = self._uid(slot)
        folder = self._place(task) / f"{slot}"
        folder.mkdir(mode=0o711, exist_ok=True)
        place = folder / f"t{number}"
        writer = _Writer(str(place), uid)
        for name in ("home", "tmp"):
            writer.folder(name)
        for path in task.folders:
            writer.folder(f"repository/{path}")
        for path, content in task.files().items():
            writer.file(f"repository/{path}", content)
        for path, content in task.extra_files.items():
            writer.file(path, content)
        return place, writer.size

    def _place(self, task: Task) -> Path:
        """Give the folder that a task is staged in."""
        assert self._folder is not None
        if task.keep is None:
            return self._folder
        if self._beside is None:
            # What is kept may be gigabytes: on the disk it is moved to, and not in memory.
            self._beside = Path(tempfile.mkdtemp(prefix=".heraci-", dir=task.keep[1].parent))
            self._beside.chmod(0o711)
        return self._beside

    def _request(self, task: Task, slot: int, place: Path, size: int) -> dict[str, Any]:
        def filled(text: str) -> str:
            return text.replace("{folder}", str(place))

        environ = {**_ENVIRON, "HOME": "{folder}/home", "TMPDIR": "{folder}/tmp", **task.environ}
        limits = task.limits
        return {
            "id": slot,
            "folder": str(place.parent),
            "place": str(place),
            "uid": self._uid(slot),
            "environ": {name: filled(value) for name, value in environ.items()},
            "limits": {
                "seconds": limits.seconds,
                "memory": limits.memory,
                "file_size": limits.file_size,
                "folder_size": limits.folder_size and limits.folder_size + size,
                "open_files": limits.open_files,
                "processes": _process_limit(limits.processes, self._uid(slot)),
            },
            "job": {**task.job, "root": str(place / "repository")},
            "python": task.python and {"command": [*task.python], "environ": _ENVIRON},
            "command": task.command and [filled(each) for each in task.command],
        }

    def _finish(self, task: Task, place: Path, answer: dict[str, Any]) -> Ended:
        folder = place.parent
        # The same each time, wherever it ran.
        log = _read_log(folder / "log").replace(f"{place}/repository/", "")
        failure = _failure(answer, task.limits, log)
        result = None
        text = b""
        try:
            with _open_file(folder / "result") as file:
                text = file.read((task.limits.file_size or _LARGEST_RESULT) + 1)
            # What a script left running may write behind it until it is ended.
            result = _FIRST.raw_decode(text.decode(errors="replace"))[0] if text else None
        except (OSError, ValueError, RecursionError) as error:
            failure = failure or f"its result cannot be read: {error}"
        if not isinstance(result, dict) or answer.get("reason"):
            result = None  # asked for its line, it may have gone on
        if task.keep and failure is None:
            failure = _keep(place / task.keep[0], task.keep[1])
        remove_tree(str(place))
        escaped = b"\\ud" in text or b"\\uD" in text
        return Ended(result=result, log=log, failure=failure, has_surrogates=escaped)


class _Server:
    """One `server` process and the socket to it."""

    def __init__(
        self, folder: Path, *, network: bool, many: bool, needed: list[str], uids: _Uids | None
    ) -> None:
        package = Path(__file__).parent.parent
        self.socket, theirs = socket.socketpair()
        prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(package), *needed}
        # Where folders outside the prefixes hold packages, an editable install's own tree aside.
        prefixes |= {each for each in sys.path if each.endswith(("site-packages", "dist-packages"))}
        options = {
            "network": network,
            "warm": not network,
            "many": many,
            "uid": uids and uids.of(0),
            "keeper": uids and uids.keeper,
            "needed": sorted(each for each in prefixes if Path(each).is_dir()),
        }
        arguments = (str(package.parent), str(theirs.fileno()), json.dumps(options))
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-c", _START, *arguments],
            cwd=folder,
            env=_server_environ(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._buffer = b""
        self._checked = False

    def send(self, request: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # receive() tells why
            self.socket.sendall(json.dumps(request).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]]:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise self._lost()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        answers = [json.loads(line) for line in lines]
        if not self._checked and answers:
            self._checked = True
            if refused := answers.pop(0)["refused"]:
                raise CompileError(refused)
        return answers

    def _lost(self) -> HeraciError:
        self.process.kill()
        _, error = self.process.communicate()
        text = error.decode(errors="replace").strip()
        return CompileError(
            f"the compile server ended before its work was done:\n{text[-2000:]}\n"
            "If this repeats, please report it with the output of `heraci doctor`."
        )

    def stop(self) -> None:
        # It ends its workers when the socket closes, and is not waited for longer than they take.
        self.socket.close()
        try:
            self.process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def _memory() -> str | None:
    """Give a folder in memory for what lives for milliseconds; None where there is no roomy one."""
    if os.environ.get("TMPDIR"):
        return None  # somebody has said where
    folder = "/dev/shm"  # noqa: S108 - a folder of our own is made in it
    try:
        about = os.statvfs(folder)
    except OSError:
        return None
    free = about.f_bavail * about.f_frsize
    return folder if os.access(folder, os.W_OK) and free >= _ROOMY else None


def _server_environ(folder: Path) -> dict[str, str]:
    """Give the server an environ made anew: nothing of heraci's own gets there."""
    return {
        "PATH": _PATH,
        "HOME": str(folder / "nobody"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class _Writer:
    """Writes a task's files for a uid, each folder once."""

    def __init__(self, root: str, uid: int | None) -> None:
        self.root, self.uid = root, uid
        self.known: set[str] = set()
        self.size = 0
        self.folder("")
        self.folder("repository")

    def folder(self, path: str) -> None:
        if path in self.known:
            return
        parent = path.rpartition("/")[0]
        if path and parent not in self.known:
            self.folder(parent)
        self.known.add(path)
        full = f"{self.root}/{path}" if path else self.root
        os.mkdir(full, 0o700)
        if self.uid is not None:
            os.chown(full, self.uid, self.uid)

    def file(self, path: str, content: bytes) -> None:
        self.folder(path.rpartition("/")[0])
        self.size += max(4096, len(content))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(f"{self.root}/{path}", flags, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            if self.uid is not None:
                os.fchown(descriptor, self.uid, self.uid)
        finally:
            os.close(descriptor)


class _Uids:
    """A block of uids that no other heraci on this machine uses at the same time."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise CompileError(
                "as root, experiments are kept apart on Linux only: run heraci as an ordinary user."
            )
        for block in range(_UID_BLOCKS):
            # An abstract socket's name is free again when its process ends, however it ends.
            lock = socket.socket(socket.AF_UNIX)
            try:
                lock.bind(f"\0heraci-uids-{block}")
            except OSError:
                lock.close()
                continue
            self._lock = lock
            self._first = _FIRST_UID + block * _UIDS_IN_BLOCK
            return
        raise CompileError(
            f"{_UID_BLOCKS} other runs of heraci compile on this machine at this moment. "
            "Try again when one of them has ended."
        )

    @property
    def keeper(self) -> int:
        """A uid that no process ever has; see `server.end_user`."""
        return self._first

    def of(self, slot: int) -> int:
        return self._first + 1 + slot

    def release(self) -> None:
        self._lock.close()


def _process_limit(wanted: int | None, uid: int | None) -> int | None:
    """Add what a uid runs already to what a worker may start: the kernel counts per uid."""
    if wanted is None or uid is not None:
        return wanted
    return wanted + _own_tasks()


def _own_tasks() -> int:
    mine = os.getuid()
    count = 0
    try:
        with os.scandir("/proc") as entries:
            for entry in entries:
                if entry.name.isdigit() and entry.stat().st_uid == mine:
                    count += len(os.listdir(f"/proc/{entry.name}/task"))
    except OSError:
        return max(count, 1024)
    return count


def _keep(made: Path, target: Path) -> str | None:
    """Move what a worker made to its place; give the reason where it made no folder."""
    try:
        if not stat.S_ISDIR(os.lstat(made).st_mode):
            return f"left something else in the place of {made.name}"
        os.replace(made, target)
    except OSError as error:
        return f"left nothing that can be kept: {error.strerror}"
    return None


def _open_file(path: Path) -> IO[bytes]:
    """Open what a worker wrote; without root it may have put a link or a pipe in its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no file")
    return os.fdopen(descriptor, "rb")


def _read_log(path: Path) -> str:
    """Read what a worker printed: all of it, or its beginning and its end."""
    try:
        with _open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= 2 * _LOG_KEPT:
                return file.read().decode(errors="replace")
            start = file.read(_LOG_KEPT)
            file.seek(-_LOG_KEPT, os.SEEK_END)
            end = file.read()
    except OSError:
        return ""
    left_out = f"\n[… {size - 2 * _LOG_KEPT} bytes left out …]\n"
    return start.decode(errors="replace") + left_out + end.decode(errors="replace")


def _failure(answer: dict[str, Any], limits: Limits, log: str) -> str | None:
    if answer.get("reason") == "timeout":
        return f"took longer than {limits.seconds:g} s (compile-timeout)"
    if answer.get("reason") == "folder_size":
        return f"wrote more than {(limits.folder_size or 0) >> 20} MiB"
    number = answer.get("signal")
    if number == signal.SIGSEGV:
        return "crashed (SIGSEGV): most often a recursion without end, or a broken extension module"
    if number == signal.SIGXCPU:
        return f"took longer than {limits.seconds:g} s (compile-timeout)"
    if number is not None:
        return f"was ended by {signal.Signals(number).name}"
    code = answer.get("code", 0)
    if code and "MemoryError" in log[-500:]:
        return "ran out of memory (compile-memory)"
    return f"ended with exit code {code}" if code else None
