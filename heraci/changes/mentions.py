"""Which of the changed files a source names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from posixpath import basename

from heraci.changes.difference import SETTINGS, Difference
from heraci.changes.texts import PLAIN, Texts, holds, words_of
from heraci.changes.tree import as_bytes, parents

MANY_WORDS = 64  # beyond these, looking at everything costs less than looking for each


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
        if len(self.telling) > MANY_WORDS or self.difference.linked:
            return None
        return frozenset().union(*(self.texts.holding(word) for word in self.telling))

    def of(self, text: bytes) -> Mapping[str, str]:
        """The changed files that a source names, each with how."""
        found = self._mentioned.get(text)
        if found is None:
            words = words_of(text)
            hits = {path for word in words & self.telling.keys() for path in self.telling[word]}
            hits.update(self.telling.get(b"", ()))
            verbs = {path: self._mention(path, text, words) for path in hits}
            found = {path: verb for path, verb in verbs.items() if verb}
            self._mentioned[text] = found
        return found

    def _mention(self, path: str, text: bytes, words: frozenset[bytes]) -> str:
        """Whether a source names a file: by its name, or loosely by its stem or a folder."""
        owner = self.difference.owner(path)
        if owner and as_bytes(basename(owner)) not in text:
            return ""  # in another experiment's folder, and that is not named
        if holds(text, words, basename(path)):
            return "reads"
        loosely = any(holds(text, words, word) for word in self._loose_words(path))
        return "may read" if loosely else ""

    def _loose_words(self, path: str) -> set[str]:
        name = basename(path)
        if path.endswith(".py") or name in SETTINGS or self.difference.owner(path):
            return set()
        return {name.partition(".")[0], *map(basename, parents(path))} - {""}
