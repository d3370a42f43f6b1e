"""The last look before anything is published: does a secret stand in it, in any usual writing?

It names the experiment, never the secret, as what it says is published in place of the rest.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from heraci.bundle import Bundle, CompiledExperiment, Finding, LazyDocument, Severity

SHORTEST = 8  # a shorter one would be found everywhere, and is hardly a secret
RULE = "secret-in-publication"
# A key of several lines is indented, folded or joined on its way; each of its lines gives it away.
_KEY_LINE = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")
_SPACE = re.compile(r"(?:\s|\\[nrt])+")


def search(bundle: Bundle, secrets: Iterable[str], *texts: str) -> tuple[Finding, ...]:
    """Give an error for each experiment that a secret stands in, or one for the texts as a whole.

    `texts` is what will be published besides: the comment, the summary, the page.
    """
    sought = Sought(secrets)
    found = [
        _finding(each.name, each.path)
        for each in bundle.experiments
        if sought.stands_in("\n".join(_strings_of(each, bundle)))
    ]
    if not found and any(sought.stands_in(text) for text in (*texts, *_strings(bundle.settings))):
        found = [_finding(None, None)]
    return tuple(found)


def _finding(experiment: str | None, path: str | None) -> Finding:
    where = "what this experiment makes" if experiment else "what would be published"
    return Finding(
        rule=RULE,
        severity=Severity.ERROR,
        message=f"A secret that heraci was given stands in {where}, so nothing was published. "
        "Let the workflow take it from a Secret of the cluster, and renew it: whoever saw the "
        "code or the log has it.",
        experiment=experiment,
        file=path,
    )


class Sought:
    """Secrets, in each writing in which they could stand in a text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        whole = {each.strip() for each in secrets}
        parts = {line for each in whole for line in _key_lines(each)}
        known = {each for each in whole | parts if len(each) >= SHORTEST}
        self._writings = tuple(sorted({each for one in known for each in writings(one)}))

    def __repr__(self) -> str:
        return f"Sought({len(self._writings)} writings)"

    def stands_in(self, text: str) -> bool:
        """Tell whether one of them stands in a text, also where the text was folded."""
        return self._in(text) or self._in(_SPACE.sub("", text))

    def _in(self, text: str) -> bool:
        return any(each in text for each in self._writings)


def _key_lines(secret: str) -> Iterator[str]:
    lines = [each.strip() for each in secret.splitlines()]
    if len(lines) > 1:
        yield from (each for each in lines if _KEY_LINE.fullmatch(each))


def writings(secret: str) -> Iterator[str]:
    """Write a secret raw, folded, URL-escaped, and in base64 wherever in a longer text it stood."""
    yield secret
    yield _SPACE.sub("", secret)
    for escaped in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield escaped
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), escaped)
    for each in _base64(secret.encode("utf-8", "surrogateescape")):
        yield each
        yield each.translate(_URL_SAFE)
        yield quote(each, safe="")


_URL_SAFE = str.maketrans("+/", "-_")


def _base64(secret: bytes) -> Iterator[str]:
    """Give what stays the same in base64, whatever stands before and behind.

    Three bytes make four characters, so there are three ways to begin; the characters at both ends
    are shared with the neighbours.
    """
    for before in range(3):
        text = b64encode(b"\0" * before + secret).decode().rstrip("=")
        first = (0, 2, 3)[before]
        last = len(text) if (before + len(secret)) % 3 == 0 else len(text) - 1
        yield text[first:last]


def _strings_of(experiment: CompiledExperiment, bundle: Bundle) -> Iterator[str]:
    """Give every text that an experiment brings into what is published."""
    for name in CompiledExperiment.__dataclass_fields__:
        yield from _strings(getattr(experiment, name))
    for each in bundle.findings:
        if each.experiment == experiment.name:
            yield each.message


def _strings(value: Any) -> Iterator[str]:
    """Walk values of a bundle, and the documents below them, for text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, LazyDocument):
        yield value.text
        yield from _strings(dict(value))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _strings(key)
            yield from _strings(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _strings(each)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _strings(getattr(value, name))
