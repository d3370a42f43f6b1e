"""A snapshot of the repository's files, and what is asked of their paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from posixpath import basename, dirname
from typing import Protocol


class Tree(Protocol):
    """A snapshot of the repository's files, at one end of the comparison.

    `files` maps each path to an identity that is equal where the content is; `locate` follows
    symbolic links to the file that a path leads to, None where that is outside or nowhere.
    """

    @property
    def label(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...
    @property
    def links(self) -> Mapping[str, str]: ...
    def locate(self, path: str) -> str | None: ...
    def read_many(self, paths: Iterable[str]) -> Mapping[str, bytes]: ...


def as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def stem(path: str) -> str:
    """The last part of a module's name."""
    name = basename(path)
    return basename(dirname(path)) if name == "__init__.py" else name.removesuffix(".py")
