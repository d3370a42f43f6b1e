"""Pins what is drawn at random, so that each compilation draws the same."""

from __future__ import annotations

import functools
import os
import random
import uuid
from typing import Any


def pin(name: str) -> None:
    """Draw what is random in the same order and with the same outcome in each compilation."""
    generator = random.Random("heraci:" + name)

    def urandom(size: int) -> bytes:
        return generator.getrandbits(8 * size).to_bytes(size, "big") if size else b""

    def new_uuid(*args: Any, **options: Any) -> uuid.UUID:
        return uuid.UUID(bytes=urandom(16), version=4)

    seed = random.Random.seed

    @functools.wraps(seed)
    def seeded(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, generator.getrandbits(64) if a is None else a, version)

    random.seed("heraci:" + name)
    random.Random.seed = seeded  # type: ignore[method-assign]
    random.seed = random._inst.seed
    # `secrets`, SystemRandom and numpy draw from these.
    random._urandom = os.urandom = urandom  # type: ignore[attr-defined]
    uuid.uuid4 = uuid.uuid1 = new_uuid
