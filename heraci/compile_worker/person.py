"""Answers for the person who would have started the script, and for the machine of theirs.

Nobody sits there, and a manifest must not differ from one machine to the next.
"""

from __future__ import annotations

import builtins
import os
import re
import sys
from typing import Any

from heraci.compile_worker import PLACEHOLDER
from heraci.compile_worker.after_import import AfterImport
from heraci.compile_worker.record import Record

NAME = "heraci"


class Person:
    """Confirms, takes the default of everything else, and is called heraci as the machine is."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.wanted: dict[str, None] = {}  # variables that the script looked for in vain

    def install(self, after_import: AfterImport) -> None:
        """Stand where a person would type, and where one is asked for."""
        after_import.watch("getpass", _watch_getpass)
        after_import.watch("pwd", _watch_users)
        after_import.watch("socket", _watch_hosts)
        builtins.input = self.answer
        os.getlogin = lambda: NAME
        uname = os.uname

        def named_uname() -> os.uname_result:
            known = list(uname())
            return os.uname_result((known[0], NAME, *known[2:]))

        os.uname = named_uname  # what platform.node() asks, too

    def start(self) -> None:
        """Give the names that the environ holds, and note what else is looked for in it."""
        for name in ("USER", "LOGNAME"):
            os.environ.setdefault(name, NAME)
        if "platform" in sys.modules:
            vars(sys.modules["platform"])["_uname_cache"] = None  # asked before anybody was named
        kind: Any = type(os.environ)
        original = kind.__getitem__

        def look_up(environ: Any, name: Any) -> Any:
            try:
                return original(environ, name)
            except KeyError:
                frame = sys._getframe(1)
                while frame.f_back and frame.f_code.co_filename.endswith(_OF_THE_ENVIRON):
                    frame = frame.f_back
                if frame.f_code.co_filename.startswith(self.record.prefix):
                    self.wanted[str(name)] = None
                raise

        kind.__getitem__ = look_up

    def answer(self, prompt: object = "") -> str:
        """Confirm what is to be confirmed, and take the default of everything else."""
        text = str(prompt)
        sys.stdout.write(text + "\n")
        confirms = re.search(r"\by(es)?\s*[/|,]\s*no?\b", text, re.IGNORECASE)
        answer = "y" if confirms else ""
        message = f"asks {text!r} on the terminal; while compiling, the answer is {answer!r}"
        self.record.find("input", "notice", message, self.record.caller())
        return answer


_OF_THE_ENVIRON = ("os.py", "<frozen os>", "_collections_abc.py", "<frozen _collections_abc>")


def _watch_getpass(module: Any) -> None:
    module.getpass = lambda *args, **options: PLACEHOLDER
    module.getuser = lambda: NAME


def _watch_users(module: Any) -> None:
    """Name the user that a worker runs as, who is in no list."""
    original = module.getpwuid

    def look_up(uid: int) -> Any:
        if uid != os.getuid():
            return original(uid)
        home = os.environ.get("HOME", os.sep)
        return module.struct_passwd((NAME, "x", uid, os.getgid(), NAME, home, "/bin/sh"))

    module.getpwuid = look_up


def _watch_hosts(module: Any) -> None:
    module.gethostname = lambda: NAME
    module.getfqdn = lambda name="": name or NAME
