"""Watches a script's way outside: files, credentials among them, and the network."""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import os
import pathlib
import posix
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from heraci.compile_worker import PLACEHOLDER_TOKEN
from heraci.compile_worker.after_import import AfterImport
from heraci.compile_worker.children import Children
from heraci.compile_worker.record import Record

_FOLDERS = ("os.listdir", "os.scandir")
_REACHING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
NETWORK_RULE = "network-refused"
OF_THE_NETWORK = (
    "Read what it needs from a file of the repository, or set allow-network = true for this "
    "experiment in heraci.toml."
)
_CREDENTIAL = re.compile(r"token|secret|passw|credential|kubeconfig|^config$", re.IGNORECASE)


class Files:
    """Notes each path of the repository that is opened, listed or looked for."""

    def __init__(self, record: Record, children: Children) -> None:
        self.record, self.children = record, children
        self.touched: set[str] = set()

    def watch(self) -> None:
        """Look at what is asked of the file system."""
        accessor: Any = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10 and before
        for name in ("stat", "lstat", "access"):
            watched = self._watched(getattr(os, name))
            setattr(os, name, watched)
            if accessor is not None and name != "access":
                setattr(accessor, name, staticmethod(watched))
        sys.meta_path.append(_Nowhere(self.note))

    def _watched(self, original: Any) -> Any:
        note = self.note

        @functools.wraps(original)
        def ask(path: Any, *args: Any, **options: Any) -> Any:
            if not isinstance(path, int):
                note(os.fspath(path))
            return original(path, *args, **options)

        return ask

    def note(self, path: Any) -> None:
        """Note a path, relative ones as the script sees them."""
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str):
            return
        try:
            full = os.path.normpath(path if path[:1] == "/" else os.path.join(os.getcwd(), path))
        except OSError:  # the script has gone where nobody can say where that is
            return
        if full.startswith(self.record.prefix):
            self._touch(full[len(self.record.prefix) :])
        elif full == self.record.root:
            self._touch("")

    def _touch(self, path: str) -> None:
        if path not in self.touched:
            self.touched.add(path)
            self.children.tell("touched", path)

    def told(self) -> None:
        """Take what the children have touched."""
        told = [what for kind, what in self.children.told() if kind == "touched"]
        self.touched.update(each for each in told if isinstance(each, str))


class Credentials:
    """Puts a placeholder where a script reads a token or a kubeconfig that is not there."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def supply(self, path: Any, mode: Any, flags: Any) -> None:
        """Write what is about to be read, if it is called like a credential and is not there."""
        if not isinstance(path, str) or not _CREDENTIAL.search(os.path.basename(path)):
            return
        reads = mode[:1] == "r" and "+" not in mode if isinstance(mode, str) else not flags & 3
        full, home = os.path.abspath(path), os.path.join(os.path.expanduser("~"), "")
        if not reads or not full.startswith((home, self.record.prefix)) or os.path.lexists(full):
            return
        if full.startswith(self.record.prefix) and not _is_text(full):
            return
        text = PLACEHOLDER_TOKEN + "\n"
        if full.endswith(("kubeconfig", os.path.join(".kube", "config"))):
            with contextlib.suppress(OSError), open(os.environ.get("KUBECONFIG", "")) as file:
                text = file.read()
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "x", encoding="utf-8") as file:
                file.write(text)
            shown = full.replace(home, "~/").replace(self.record.prefix, "")
            message = f"reads {shown}, which is not there while compiling: it gets a placeholder"
            self.record.find("placeholder", "notice", message, self.record.caller())


def _is_text(path: str) -> bool:
    """Tell whether a name may be that of a file with a token: neither code nor a configuration."""
    return os.path.splitext(path)[1] in ("", ".txt", ".token", ".secret")


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
        self.is_refused = False
        self.refused = ""  # what was tried last

    def install(self, after_import: AfterImport) -> None:
        """Look at addresses before they are: a name that leads nowhere is no event of Python's."""
        after_import.watch("socket", self._watch)

    def _watch(self, module: Any) -> None:
        for name in ("connect", "connect_ex"):
            original = getattr(module.socket, name)

            @functools.wraps(original)
            def connect(made: Any, address: Any, original: Any = original) -> Any:
                self.refuse("socket.connect", (made, address))
                return original(made, address)

            setattr(module.socket, name, connect)

    def refuse(self, event: str, args: tuple[Any, ...]) -> None:
        """Note who tried to reach what, and stop that."""
        if not self.is_refused:
            return
        address = args[1] if event in ("socket.connect", "socket.sendto") else args[0]
        if isinstance(address, tuple):
            address = ":".join(str(each) for each in address[:2])
        elif event == "socket.connect":
            return  # a path: what the processes of a pool talk over
        self.refused = f"tried to reach {address} while compiling"
        self.record.find(
            NETWORK_RULE, "error", f"{self.refused}. {OF_THE_NETWORK}", self.record.caller()
        )
        raise PermissionError(f"heraci: network use is refused while compiling ({address})")


def _is_there(path: Any) -> bool:
    try:
        posix.stat(path)  # the real one: ours notes what it is asked
    except (OSError, TypeError, ValueError):
        return False
    return True


def watch_events(
    files: Files, credentials: Credentials, network: Network, hear: Callable[..., None]
) -> None:
    """Hear of what Python's own audit events tell, for as long as this process lives.

    `hear` is told of all that is neither of files nor of the network.
    """

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            files.note(args[0])
            credentials.supply(*args)
        elif event == "os.chdir":
            # Where it is there, nothing is lacking; asking where we are takes long far down.
            if not _is_there(args[0]):
                files.note(args[0])
        elif event in _FOLDERS:
            if sys._getframe(1).f_code.co_filename[:1] != "<":
                files.note(args[0] if args[0] is not None else os.curdir)
        elif event in _REACHING:
            network.refuse(event, args)
        elif event[:3] == "os.":
            hear(event, args)

    sys.addaudithook(hook)


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
