"""Many sources as one text, to find words in."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import accumulate

from heraci.tree import as_bytes

PLAIN = re.compile(rb"\w(?:[\w.-]*\w)?", re.ASCII)


class Texts:
    """Many sources as one text, to find a word in all of them at the speed of `bytes.find`."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._texts: list[bytes] = []

    def add(self, texts: Iterable[tuple[str, bytes]]) -> None:
        """Take in more files; one may come twice, with another text."""
        for path, text in texts:
            self.paths.append(path)
            self._texts.append(text)

    @cached_property
    def _all(self) -> tuple[bytes, list[int]]:
        ends = accumulate(len(text) + 1 for text in self._texts)
        return b"\n".join(self._texts), [0, *ends]

    def around(self, word: bytes) -> Iterator[tuple[str, bytes]]:
        """Files that hold a word, with their texts; an empty word is in all of them."""
        everything, starts = self._all
        found = everything.find(word)
        while 0 <= found < len(everything):
            number = bisect_right(starts, found) - 1
            yield self.paths[number], self._texts[number]
            found = everything.find(word, starts[number + 1])

    def holding(self, word: bytes) -> set[str]:
        """Paths of files that hold a word."""
        return {path for path, _ in self.around(word)}

    def matching(self, words: Iterable[bytes], wanted: Callable[[bytes], object]) -> set[str]:
        """Files that hold one of the words, and that are wanted by their text."""
        texts = {(path, text) for word in words for path, text in self.around(word)}
        return {path for path, text in texts if wanted(text)}


def words_of(text: bytes) -> frozenset[bytes]:
    """The words of a text, names of files among them whole and in parts."""
    words = set(re.findall(rb"\w(?:[\w.-]*\w)?", text))
    return frozenset(words.union(*(re.findall(rb"\w+", word) for word in words)))


def holds(text: bytes, words: frozenset[bytes], word: str) -> bool:
    name = as_bytes(word)
    return name in words if PLAIN.fullmatch(name) else name in text
