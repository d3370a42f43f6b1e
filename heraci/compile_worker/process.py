"""What a process says to the system about itself: which files it keeps, whose end is its own."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

LINUX = sys.platform == "linux"
RESULT = 3  # the descriptor that a worker writes its result to


def keep_only(*files: int) -> None:
    """Make these files the descriptors from 0 on, and close all others."""
    first = len(files)
    # Copies first: none of them may lie where another one goes.
    for target, file in enumerate([fcntl.fcntl(file, fcntl.F_DUPFD, first) for file in files]):
        os.dup2(file, target)
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def end_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however that ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it had ended before it could be noticed


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def woken_by_children() -> int:
    """Have the end of a child wake who waits for a descriptor to be readable; give that one."""
    woken, waker = os.pipe()
    for descriptor in (woken, waker):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    return woken


def gain_nothing() -> None:
    """Give up for good the chance to gain rights by starting another program."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def be_open_to_own_user(is_open: bool) -> None:
    """Let other processes of the same user look into this one, and change it, or not."""
    _prctl(_PR_SET_DUMPABLE, int(is_open))


def limit(kind: int, value: int | None) -> None:
    """Set one of the system's limits for good, as far as that is possible here."""
    if value is None:
        return
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows, but refuses, some of them
        resource.setrlimit(kind, (value, value))


def limit_processor_time(seconds: float) -> None:
    """End a loop that outlives its watcher, who measures time on the wall."""
    limit(resource.RLIMIT_CPU, int(seconds) + 5)


def _prctl(option: int, value: int) -> None:
    if LINUX:
        libc("prctl", option, value, 0, 0, 0)


_functions = ctypes.CDLL(None, use_errno=True)


def libc(name: str, *arguments: Any) -> None:
    """Call a function of the C library; OSError where it says no."""
    if getattr(_functions, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
