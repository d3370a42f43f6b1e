"""The clock that a script reads: sleeping takes no time, and each compilation begins at one time.

A loop that waits for something ends, for nothing was started that could be waited for. What is
named by the time is named alike at review and at submission.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import functools
import gc
import re
import time
from typing import Any

from heraci.compile_worker.after_import import AfterImport

# 2001-02-03 04:05:06 UTC: no experiment's own date, and plain to see that it is made up.
BEGINNING = 981_173_106.0
# Of each reading, so that none is the same as the last and a loop without a sleep ends, too.
_TICK = 0.001
_MANY, _BUSY = 1000, 0.5
_NEAR_THE_BEGINNING = re.compile(r"\b(2000-?1[12]|2001-?0[1-4])-?[0-3]\d|\b9(79|8[0-3])\d{6}(?!\d)")


class Clock:
    """The time of day, and how much of it a script slept away."""

    def __init__(self) -> None:
        self.slept = 0.0
        self.is_running = False  # the process that workers are forked from has the real time
        self.is_pinned = False
        self.readings = 0
        self.read = time.time

    def install(self, after_import: AfterImport) -> None:
        """Replace sleeping, and the clocks by which a loop would see that no time has passed."""
        doze = time.sleep

        @functools.wraps(doze)
        def sleep(seconds: float) -> None:
            if self.is_running:
                self.slept += max(0.0, seconds)
            doze(0 if self.is_running else seconds)

        time.sleep = sleep  # type: ignore[assignment]
        for name in ("monotonic", "perf_counter"):
            self._watch_stopwatch(name)
        self._watch_time_of_day()
        after_import.watch("asyncio", self._watch_asyncio)

    def start(self, *, pinned: bool) -> None:
        """Let the time of the script begin."""
        self.is_running, self.is_pinned = True, pinned

    def now(self) -> float:
        """Give the script's time of day, in seconds since 1970."""
        if not self.is_running:
            return self.read()
        self.readings += 1
        if self.readings >= _MANY:
            self.slept += _BUSY
        elif self.is_pinned:
            self.slept += _TICK
        return (BEGINNING if self.is_pinned else self.read()) + self.slept

    def found_in(self, text: str) -> str | None:
        """Give the time of day that stands in a text, if the script asked for it."""
        if not self.readings:
            return None
        if self.is_pinned:
            found = _NEAR_THE_BEGINNING.search(text)
            return found and found[0]
        now = dt.datetime.now()  # noqa: DTZ005 - it is what the script would have asked for
        dates = (now.strftime(each) for each in ("%Y%m%d", "%Y-%m-%d"))
        seconds = re.search(rf"\b{int(now.timestamp() // 10000)}\d{{4}}\b", text)
        return next((each for each in dates if each in text), seconds and seconds[0])

    def _watch_asyncio(self, module: Any) -> None:
        relax = module.sleep

        @functools.wraps(relax)
        async def sleep(delay: float, result: Any = None) -> Any:
            self.slept += max(0.0, delay)
            return await relax(0, result)

        module.sleep = module.tasks.sleep = sleep

    def _watch_stopwatch(self, name: str) -> None:
        read, read_ns = getattr(time, name), getattr(time, name + "_ns")
        later = functools.wraps(read)(lambda: read() + self.slept)
        later_ns = functools.wraps(read_ns)(lambda: read_ns() + int(self.slept * 1e9))
        setattr(time, name, later)
        setattr(time, name + "_ns", later_ns)

    def _watch_time_of_day(self) -> None:
        now = self.now
        real: Any = time
        local, utc, shown, strftime = real.localtime, real.gmtime, real.ctime, real.strftime
        asctime = real.asctime

        def told(original: Any, seconds: float | None) -> Any:
            return original(now() if seconds is None else seconds)

        real.time = functools.wraps(time.time)(lambda: float(now()))
        real.time_ns = functools.wraps(time.time_ns)(lambda: int(now() * 1e6) * 1000)
        real.localtime = functools.wraps(local)(lambda seconds=None, /: told(local, seconds))
        real.gmtime = functools.wraps(utc)(lambda seconds=None, /: told(utc, seconds))
        real.ctime = functools.wraps(shown)(lambda seconds=None, /: told(shown, seconds))

        @functools.wraps(strftime)
        def write(pattern: str, *moment: Any) -> str:
            return str(strftime(pattern, *(moment or (local(now()),))))

        @functools.wraps(asctime)
        def write_plainly(*moment: Any) -> str:
            return str(asctime(*(moment or (local(now()),))))

        real.strftime, real.asctime = write, write_plainly
        # date.today() asks time.time(); these two ask the system.
        _replace(dt.datetime, "now", lambda kind, tz=None: kind.fromtimestamp(now(), tz))
        _replace(
            dt.datetime,
            "utcnow",
            lambda kind: kind.fromtimestamp(now(), dt.timezone.utc).replace(tzinfo=None),
        )


def _replace(kind: type, name: str, method: Any) -> None:
    """Replace a class method of a type written in C, which Python itself does not let us do.

    A subclass in its place would be another type for all that was imported before, pydantic's
    fields and isinstance() among them.
    """
    names = next(each for each in gc.get_referents(vars(kind)) if isinstance(each, dict))
    names[name] = classmethod(method)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))
