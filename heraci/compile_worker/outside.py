"""Watches a script's way outside: files, the network, the clock, the terminal, other programs."""

from __future__ import annotations

import builtins
import functools
import importlib.abc
import os
import pathlib
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from heraci.compile_worker import PLACEHOLDER, PLACEHOLDER_TOKEN
from heraci.compile_worker.after_import import AfterImport
from heraci.compile_worker.record import Record

_REACHING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_CLUSTER_PROGRAMS = ("argo", "kubectl", "oc", "helm", "argocd")


class Files:
    """Notes each path of the repository that is opened, listed or looked for."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.touched: set[str] = set()

    def watch(self) -> None:
        """Look at what is asked of the file system."""
        original = os.stat
        note = self.note

        @functools.wraps(original)
        def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
            if not isinstance(path, int):
                note(os.fspath(path))
            return original(path, *args, **options)

        os.stat = stat
        accessor: Any = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10 and before
        if accessor is not None:
            accessor.stat = staticmethod(stat)
        sys.meta_path.append(_Nowhere(note))

    def note(self, path: Any) -> None:
        """Note a path, relative ones as the script sees them."""
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str):
            return
        full = os.path.normpath(path if path[:1] == "/" else os.path.join(os.getcwd(), path))
        if full.startswith(self.record.prefix):
            self.touched.add(full[len(self.record.prefix) :])
        elif full == self.record.root:
            self.touched.add("")


class _Nowhere(importlib.abc.MetaPathFinder):
    """Comes last and finds nothing: notes where a module that is nowhere was looked for."""

    def __init__(self, note: Callable[[Any], None]) -> None:
        self.note = note

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        last = name.rpartition(".")[2]
        for folder in sys.path if path is None else path:
            self.note(os.path.join(folder, last + ".py"))
            self.note(os.path.join(folder, last))


class Network:
    """Refuses the use of the network, with the line that tried it: an aid, not a wall."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def refuse(self, event: str, args: tuple[Any, ...]) -> None:
        """Note who tried to reach what, and stop that."""
        address = args[1] if event in ("socket.connect", "socket.sendto") else args[0]
        if isinstance(address, tuple):
            address = ":".join(str(each) for each in address[:2])
        elif event == "socket.connect":
            return  # a path: what the processes of a pool talk over
        message = (
            f"tried to reach {address} while compiling. Read what it needs from a file of the "
            "repository, or set allow-network = true for this experiment in heraci.toml."
        )
        self.record.find("network-refused", "error", message, self.record.caller())
        raise PermissionError(f"heraci: network use is refused while compiling ({address})")


def watch_events(files: Files, network: Network | None) -> None:
    """Hear of what Python's own audit events tell, for as long as this process lives."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir"):
            if event == "open" or sys._getframe(1).f_code.co_filename[:1] != "<":
                files.note(args[0] if args[0] is not None else os.curdir)
        elif network is not None and event in _REACHING:
            network.refuse(event, args)

    sys.addaudithook(hook)


class Clock:
    """Lets the time that a script sleeps pass at once: what it waits for was never started."""

    def __init__(self) -> None:
        self.slept = 0.0
        self.is_running = False  # the process that workers are forked from sleeps in earnest

    def install(self, after_import: AfterImport) -> None:
        """Replace sleeping, and the clocks by which a loop would see that no time has passed."""
        doze = time.sleep

        @functools.wraps(doze)
        def sleep(seconds: float) -> None:
            if self.is_running:
                self.slept += max(0.0, seconds)
            doze(0 if self.is_running else seconds)

        time.sleep = sleep  # type: ignore[assignment]
        for name in ("time", "monotonic", "perf_counter"):
            self._watch_clock(name)
        after_import.watch("asyncio", self._watch_asyncio)

    def _watch_asyncio(self, module: Any) -> None:
        relax = module.sleep

        @functools.wraps(relax)
        async def sleep(delay: float, result: Any = None) -> Any:
            self.slept += max(0.0, delay)
            return await relax(0, result)

        module.sleep = module.tasks.sleep = sleep

    def _watch_clock(self, name: str) -> None:
        read, read_ns = getattr(time, name), getattr(time, name + "_ns")
        later = functools.wraps(read)(lambda: read() + self.slept)
        later_ns = functools.wraps(read_ns)(lambda: read_ns() + int(self.slept * 1e9))
        setattr(time, name, later)
        setattr(time, name + "_ns", later_ns)


class Terminal:
    """Answers what a script asks of the person who started it."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def install(self, after_import: AfterImport) -> None:
        """Stand where a person would type."""
        after_import.watch("getpass", self._watch_passwords)
        builtins.input = self.answer

    def answer(self, prompt: object = "") -> str:
        """Confirm what is to be confirmed, and take the default of everything else."""
        text = str(prompt)
        sys.stdout.write(text + "\n")
        confirms = re.search(r"\by(es)?\s*[/|,]\s*no?\b", text, re.IGNORECASE)
        answer = "y" if confirms else ""
        message = f"asks {text!r} on the terminal; while compiling, the answer is {answer!r}"
        self.record.find("input", "notice", message, self.record.caller())
        return answer

    def _watch_passwords(self, module: Any) -> None:
        def getpass(*args: Any, **options: Any) -> str:
            return PLACEHOLDER

        module.getpass = getpass


class Programs:
    """Starts no program that talks to a cluster; a harmless one stands in for it."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def install(self, after_import: AfterImport) -> None:
        """Look at each program that a script starts."""
        after_import.watch("subprocess", self._watch)

    def _watch(self, module: ModuleType) -> None:
        popen: Any = module.Popen
        original = popen.__init__

        @functools.wraps(original)
        def start(process: Any, args: Any, *rest: Any, **options: Any) -> None:
            original(process, self.stand_in(args) or args, *rest, **options)

        popen.__init__ = start

    def stand_in(self, args: Any) -> Any:
        """Give what is started instead, in the form of the command; None to leave it as it is."""
        words = list(_words(args))
        if not words or os.path.basename(words[0]) not in _CLUSTER_PROGRAMS:
            return None
        message = f"{' '.join(words)} is not started while compiling"
        self.record.find("not-sent", "notice", message, self.record.caller())
        harmless = ["echo", PLACEHOLDER_TOKEN] if "token" in words else ["true"]
        return " ".join(harmless) if isinstance(args, (str, bytes)) else harmless


def _words(args: Any) -> Iterator[str]:
    if isinstance(args, (str, bytes)):
        try:
            args = shlex.split(os.fsdecode(args))
        except ValueError:
            args = ()
    for each in args if isinstance(args, (list, tuple)) else (args,):
        yield os.fsdecode(each)


def sort_listings() -> None:
    """List folders in one order everywhere; file systems have orders of their own."""
    listdir, scandir = os.listdir, os.scandir

    @functools.wraps(listdir)
    def sorted_listdir(*args: Any, **options: Any) -> list[Any]:
        return sorted(listdir(*args, **options))

    class Scan:
        """What os.scandir gives: an iterator that can be closed."""

        def __init__(self, *args: Any, **options: Any) -> None:
            with scandir(*args, **options) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: entry.name))

        def __iter__(self) -> Iterator[Any]:
            return self.entries

        def __next__(self) -> Any:
            return next(self.entries)

        def __enter__(self) -> Scan:  # noqa: PYI034 - Self is newer than 3.9
            return self

        def __exit__(self, *raised: object) -> None:
            return None

        def close(self) -> None:
            """Hold nothing open: all entries were read."""

    os.listdir, os.scandir = sorted_listdir, Scan  # type: ignore[assignment]
