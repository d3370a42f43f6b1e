"""Which of the changed files a source names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from posixpath import basename

from heraci.changes.difference import SETTINGS, Difference
from heraci.changes.reads import READS, lists_outward, words_in_texts
from heraci.changes.texts import PLAIN, Texts, holds, words_of
from heraci.tree import as_bytes, parents, stem

MANY_WORDS = 64


class Mentions:
    """The words that name changed files, looked for in all sources at once."""

    def __init__(self, difference: Difference) -> None:
        self.difference = difference
        self._mentioned: dict[bytes, Mapping[str, str]] = {}

    @cached_property
    def telling(self) -> Mapping[bytes, list[str]]:
        """Words that may name a changed file; an empty one for names that are no plain words."""
        words: dict[bytes, list[str]] = {}
        for path in self.difference.changed:
            for word in (basename(path), *self._loose_words(path)):
                plain = as_bytes(word) if PLAIN.fullmatch(as_bytes(word)) else b""
                words.setdefault(plain, []).append(path)
        return words

    @cached_property
    def quoted(self) -> Mapping[str, list[str]]:
        """Words that may name a changed module where a source that reads has them in a text."""
        words: dict[str, list[str]] = {}
        for path in self.difference.python:
            if self.difference.owner(path) is None:
                for part in (stem(path), *map(basename, parents(path))):
                    for word in re.findall(r"\w+", part):
                        words.setdefault(word, []).append(path)
        return words

    @cached_property
    def texts(self) -> Texts:
        """Each Python file with its text at head, and at base where that is another."""
        base, head = self.difference.base, self.difference.head
        before = [path for path in self.difference.python if path in base.tree.files]
        texts = Texts()
        for sources, paths in ((head, head.python), (base, before)):
            sources.load(paths)
            texts.add((path, sources.text(path)) for path in paths)
        return texts

    @cached_property
    def hints(self) -> frozenset[str] | None:
        """Files that hold a telling word somewhere; None where these are too many to look for."""
        if self.many or self.difference.linked:
            return None
        named = (self.texts.holding(word) for word in self.telling)
        quoted = (self.texts.holding(as_bytes(word)) for word in self.quoted)
        return frozenset().union(*named, *quoted)

    @property
    def many(self) -> bool:
        """Whether looking at everything costs less than looking for each word."""
        return len(self.telling) + len(self.quoted) > MANY_WORDS

    def of(self, text: bytes) -> Mapping[str, str]:
        """The changed files that a source names, each with how."""
        found = self._mentioned.get(text)
        if found is None:
            words = words_of(text)
            hits = {path for word in words & self.telling.keys() for path in self.telling[word]}
            hits.update(self.telling.get(b"", ()))
            verbs = {path: self._mention(path, text, words) for path in hits}
            found = {path: verb for path, verb in verbs.items() if verb}
            if self.quoted and READS.search(text):
                for word in words_in_texts(text) & self.quoted.keys():
                    found = dict.fromkeys(self.quoted[word], "may read") | found
            self._mentioned[text] = found
        return found

    def _mention(self, path: str, text: bytes, words: frozenset[bytes]) -> str:
        """Whether a source names a file: by its name, or loosely by its stem or a folder."""
        owner = self.difference.owner(path)
        if owner and as_bytes(basename(owner)) not in text:
            # In another experiment's folder, which is not named, but may be listed.
            listed = holds(text, words, basename(path)) and lists_outward(text)
            return "may read" if listed else ""
        if holds(text, words, basename(path)):
            return "reads"
        loosely = any(holds(text, words, word) for word in self._loose_words(path))
        return "may read" if loosely else ""

    def _loose_words(self, path: str) -> set[str]:
        name = basename(path)
        if path.endswith(".py") or name in SETTINGS or self.difference.owner(path):
            return set()
        return {name.partition(".")[0], *map(basename, parents(path))} - {""}
