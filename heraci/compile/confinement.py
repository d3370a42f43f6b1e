"""What a process gives up before strangers' code runs in it, and what is hidden from all of them.

Linux does all of it. Elsewhere what the system does not know is left out; the limits are then best
effort, and `heraci doctor` says so.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from heraci.compile_worker.process import (
    adopt_orphans,
    be_open_to_own_user,
    end_with,
    gain_nothing,
    keep_only,
    libc,
    limit,
    limit_processor_time,
)

_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18


def confine(request: dict[str, Any], result: int, log: int) -> None:
    """Give up everything that a worker does not need; `request` is one of `server`'s.

    What is not kept: the session, descriptors other than standard ones and the result's, the uid
    and all rights, the right to gain any. What it starts ends with it.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    keep_only(os.open(os.devnull, os.O_RDONLY), log, log, result)
    with contextlib.suppress(OSError):  # where memory runs out, it is a worker that goes
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(file, b"1000")
        os.close(file)
    _limit(request["limits"])
    _drop_privileges(request["uid"])
    # Its own uid may look at it, so /proc/self and /dev/stdout are what they are elsewhere. What
    # is to become another program still knows its environ, an index's password perhaps.
    be_open_to_own_user(not request["command"])
    os.umask(0o077)


def become_program(request: dict[str, Any], result: int, log: int) -> NoReturn:
    """Turn a process that was forked for it into a request's program, behind the wall."""
    try:
        confine(request, result, log)
        os.chdir(request["place"])
        os.execve(request["command"][0], request["command"], request["environ"])  # closes the rest
    except BaseException as error:
        # The log is what heraci shows of a worker that gave no result.
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(1)


def _limit(limits: dict[str, Any]) -> None:
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_AS, limits["memory"])
    limit(resource.RLIMIT_FSIZE, limits["file_size"])
    limit(resource.RLIMIT_NOFILE, limits["open_files"])
    limit(resource.RLIMIT_NPROC, limits["processes"])
    if limits["seconds"]:
        limit_processor_time(limits["seconds"])


def _drop_privileges(uid: int | None) -> None:
    parent = os.getppid()
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    # After the uid, whose change clears it.
    end_with(parent)
    gain_nothing()
    adopt_orphans()


# --- before the first worker ----------------------------------------------------------------------


def isolate(*, network: bool, needed: Sequence[str], uid: int | None) -> str | None:
    """Take away what no worker needs; give the reason where strangers' code must not run.

    Folders below one that only root may enter, a Python under root's home for one, are shown to
    the workers alone, in a mount namespace of our own.
    """
    if uid is None:
        return None
    with contextlib.suppress(OSError):  # an aid where the right to do so is there
        libc("unshare", _CLONE_NEWIPC | (0 if network else _CLONE_NEWNET))
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
    libc("unshare", _CLONE_NEWNS)
    # First of all: what follows must never be seen outside.
    libc("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    opened = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in hidden}
    for folder in {closed for path in hidden if (closed := _closed_part(path))}:
        libc("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=0755,size=1m")
    for path, descriptor in opened.items():
        os.makedirs(path, mode=0o755, exist_ok=True)
        source = f"/proc/self/fd/{descriptor}".encode()
        libc("mount", source, os.fsencode(path), None, _MS_BIND | _MS_REC, None)
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
