"""Wait for what a server does in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(read: Callable[[], T | None], seconds: float = 60) -> T:
    """Return what `read` gives as soon as that is something; fail where it takes too long."""
    end = time.monotonic() + seconds
    while (got := read()) is None:
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
    return got
