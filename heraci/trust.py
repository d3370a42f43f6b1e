"""Which settings steer the side that holds secrets, and which of them a pull request changes."""

from __future__ import annotations

from collections.abc import Iterator

from heraci.bundle import Finding, Severity
from heraci.settings import Settings

# What reaches experiments alone, on the side that holds no secret; a review shows what came of it.
HARMLESS = frozenset(
    """
    arguments base bundle cache-dir check-determinism compare compile-memory compile-open-files
    compile-output compile-processes compile-timeout dependencies-from environment experiments
    experiments-dir explain format head jobs no-cache offline output pin-randomness python
    target-experiments
    """.split()
)


def steering_changes(
    base: Settings, head: Settings, file: str = "heraci.toml"
) -> tuple[Finding, ...]:
    """Name each setting that steers the secret side and that a pull request changes.

    It does not hold for this review, which is the base's; it does once it is merged.
    """
    return tuple(
        Finding(
            rule="steering-changed",
            severity=Severity.WARNING,
            message=f"{name} changes from {was} to {now}: it steers where and how credentials are "
            "used, and holds as soon as this is merged.",
            file=file,
        )
        for name, was, now in _changes(base, head)
    )


def _changes(base: Settings, head: Settings) -> Iterator[tuple[str, str, str]]:
    before = {name: value for name, value, _ in base.rows()}
    after = {name: value for name, value, _ in head.rows()}
    for name in sorted({*before, *after}):
        first = name.partition(".")[0]
        if first not in HARMLESS and before.get(name) != after.get(name):
            yield name, before.get(name) or "nothing", after.get(name) or "nothing"
