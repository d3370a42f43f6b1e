"""Fit a document into a size by leaving out whole parts of it, the least worth first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long a text may be; None where it does not matter."""

    characters: int | None = None
    utf8_bytes: int | None = None

    def holds(self, size: Size) -> bool:
        """Whether a text of this size fits."""
        return (self.characters is None or size.characters <= self.characters) and (
            self.utf8_bytes is None or size.utf8_bytes <= self.utf8_bytes
        )


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a text in both measures. GitHub counts characters as UTF-16 does."""

    characters: int
    utf8_bytes: int

    def __add__(self, other: Size) -> Size:
        return Size(self.characters + other.characters, self.utf8_bytes + other.utf8_bytes)

    def __sub__(self, other: Size) -> Size:
        return Size(self.characters - other.characters, self.utf8_bytes - other.utf8_bytes)


def size_of(text: str) -> Size:
    """Measure a text."""
    return Size(len(text.encode("utf-16-le")) // 2, len(text.encode()))


class Worth(IntEnum):
    """What a part is worth to a reviewer, the least first."""

    WHOLE_YAML = 1
    GRAPH_TABLE = 2
    LOG = 3
    YAML_DIFF = 4
    GRAPH = 5
    QUIET_SECTION = 6
    SECTION = 7
    PLAN = 8
    CHANGES = 9
    MORE_ROWS = 10
    MORE_FINDINGS = 11
    ROWS = 12
    FINDINGS = 13
    ALWAYS = 99


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part that is shown or left out as a whole.

    With `pieces` it is a section: its `text`, then them, then its `tail`. `instead` stands where
    it was left out; `what` names it in the note on what was left out.
    """

    worth: Worth
    text: str
    what: str = ""
    instead: str = ""
    pieces: tuple[Piece, ...] = ()
    tail: str = ""

    @property
    def own(self) -> str:
        return self.text + self.tail


@dataclass(frozen=True, slots=True)
class Fitted:
    """What became of a document: its text, and how many parts of which name were left out."""

    text: str
    left_out: Counter[str]


Address = tuple[int, ...]


def fit(pieces: Sequence[Piece], budget: Budget) -> Fitted:
    """Leave out parts until the rest fits: of equal worth the longest, of sections the last."""
    document = _Document(pieces)
    left_out: Counter[str] = Counter()
    for address in document.by_worth():
        if budget.holds(document.total):
            break
        if document.is_shown(address):
            document.leave_out(address)
            left_out[document.pieces[address].what] += 1
    return Fitted("".join(document.written(pieces, ())), left_out)


class _Document:
    """Pieces by their address, and the running total of what is still shown."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = dict(_addressed(pieces, ()))
        self._gone: set[Address] = set()
        self._own = {address: size_of(each.own) for address, each in self.pieces.items()}
        self.total = sum(self._own.values(), Size(0, 0))

    def by_worth(self) -> list[Address]:
        droppable = (each for each, piece in self.pieces.items() if piece.worth < Worth.ALWAYS)
        return sorted(
            droppable,
            # Of two alike, the later one goes first.
            key=lambda each: (
                self.pieces[each].worth,
                0 if self.pieces[each].pieces else -self._own[each].utf8_bytes,
                *(-part for part in each),
            ),
        )

    def is_shown(self, address: Address) -> bool:
        return not any(address[:length] in self._gone for length in range(1, len(address) + 1))

    def leave_out(self, address: Address) -> None:
        self.total = self.total - self._size(address) + size_of(self.pieces[address].instead)
        self._gone.add(address)

    def _size(self, address: Address) -> Size:
        piece = self.pieces[address]
        if address in self._gone:
            return size_of(piece.instead)
        inside = (self._size((*address, number)) for number in range(len(piece.pieces)))
        return sum(inside, self._own[address])

    def written(self, pieces: Sequence[Piece], above: Address) -> Iterator[str]:
        for number, piece in enumerate(pieces):
            address = (*above, number)
            if address in self._gone:
                yield piece.instead
            else:
                yield piece.text
                yield from self.written(piece.pieces, address)
                yield piece.tail


def _addressed(pieces: Iterable[Piece], above: Address) -> Iterator[tuple[Address, Piece]]:
    for number, piece in enumerate(pieces):
        yield (*above, number), piece
        yield from _addressed(piece.pieces, (*above, number))
