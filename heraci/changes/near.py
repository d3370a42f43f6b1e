"""Which experiments are worth a closer look, found by the words in their sources alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from posixpath import basename, dirname

from heraci.changes.difference import Difference
from heraci.changes.imports import DYNAMIC, DYNAMIC_WORDS, EDITS_PATH, PATH_WORDS
from heraci.changes.mentions import MANY_WORDS, Mentions
from heraci.changes.reads import LIST_WORDS, READ_WORDS, READS, lists_outward
from heraci.changes.sources import LISTS_ITSELF
from heraci.tree import as_bytes, stem

_NO_TEXT = re.compile(rb"\0|coding[:=]")
_ANY_MODULE = (*DYNAMIC_WORDS, *PATH_WORDS, b"\0", b"coding", b"__all__")


def within_reach(difference: Difference, mentions: Mentions) -> Collection[str]:
    """The Python files that a change can reach, or more.

    A module can only be imported by a file that names it. So words are looked for in the texts,
    and again those of what was found; only what remains is scanned and resolved.
    """
    texts = mentions.texts
    if difference.linked or difference.submodules or mentions.many:
        return frozenset(texts.paths)
    near = fresh = _starts(difference, mentions)
    while fresh:
        words = {_importing_word(path, difference.owner(path)) for path in fresh}
        if len(words) > MANY_WORDS:
            return frozenset(texts.paths)
        beside = {f"{each}/" for path in fresh for each in _beside(path, difference.owner(path))}
        starts = tuple(beside)
        fresh = {path for path in texts.paths if starts and path.startswith(starts)}
        fresh = fresh.union(*(texts.holding(word) for word in words)) - near
        near = near | fresh
    return near


def _starts(difference: Difference, mentions: Mentions) -> set[str]:
    """Files that changed, that name a changed file, or that may use any."""
    texts = mentions.texts
    found = set(difference.python)
    for word in mentions.telling:
        for path, text in texts.around(word):
            if path not in found and mentions.of(text):
                found.add(path)
    if difference.python:
        found |= texts.matching(_ANY_MODULE, _any_module)
    for quoted in mentions.quoted:
        for path, text in texts.around(as_bytes(quoted)):
            if path not in found and READS.search(text) and mentions.of(text):
                found.add(path)
    if difference.readable:
        found |= texts.matching(READ_WORDS, READS.search)
    elif difference.owned:
        found |= texts.matching(LIST_WORDS, lists_outward)
    return found


def _any_module(text: bytes) -> bool:
    patterns = (DYNAMIC, EDITS_PATH, _NO_TEXT, LISTS_ITSELF)
    return any(each.search(text) for each in patterns)


def _importing_word(path: str, owner: str | None) -> bytes:
    """What the text of any file says that imports this one, from outside its folder."""
    return as_bytes(basename(owner) if owner else stem(path))


def _beside(path: str, owner: str | None) -> Iterator[str]:
    """Folders whose files may load this one without a word."""
    if owner:
        yield owner
    if basename(path) == "__init__.py":
        yield dirname(path)
