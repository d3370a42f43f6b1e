"""Words and data on one line, and how data is made harmless before any reader sees it.

A line is made of words, which are prose, and of `Code` and `Source`, which are data shown as they
are. Prose may hold data too (messages, reasons): whatever in it could mean something to Markdown
or to GitHub becomes code, where nothing means anything. That keeps it readable and copyable, which
zero-width characters between `@` and a name would not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """Data that is shown as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A place in the repository, `FILE` or `FILE:LINE`, and what is shown for it if not that."""

    place: str
    shown: str = ""


Part = str | Code | Source
Line = tuple[Part, ...]


def clean(text: str, most: int | None = None) -> str:
    """Text on one line without invisible characters, cut to a length that says so."""
    words = " ".join(_visible(text).split())
    return words if most is None or len(words) <= most else words[: most - 1].rstrip() + "…"


def spaced(text: str) -> str:
    """The same for a part of a line: a blank at either end is kept as one."""
    return re.sub(r"\s+", " ", _visible(text))


def clean_block(text: str) -> str:
    """Text of several lines whose invisible characters are written as escapes."""
    return "\n".join(_visible(line, tabs=True) for line in text.split("\n"))


# Control and format characters (among them those that turn the direction of writing), lone
# surrogates, private and unassigned ones, and the separators that are line breaks to some.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _visible(text: str, *, tabs: bool = False) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(each, tabs=tabs) for each in text)


def _seen(character: str, *, tabs: bool) -> str:
    if character in "\n\r\t" and not tabs:
        return " "
    if character == "\t" or unicodedata.category(character) not in _HIDDEN:
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


# In words of these characters nothing is markup, mention, reference or link, except as below.
_PLAIN = re.compile(r"""(?:[^\W_]|[^\x00-\x7f]|[,;.!?'"()%/+=:-])+""")
_TELLING = re.compile(
    r"""
    [^\W\d_]-\d                  # GH-12 and what else a repository links
    | ^[-+=]{2,}$                # a rule, or the underline of a heading
    | :(?=[^\s"')])              # URL, emoji, file:line
    | [^\W\d]{2}\.\w            # www.example.org, file.py
    | (?<![^\W])[0-9a-fA-F]{7,40}(?![^\W])  # a commit
    """,
    re.VERBOSE,
)
# What begins a list, a heading or a quotation at the start of a line.
_OPENS = re.compile(r"[-+]|\d{1,9}[.)]|[=-]+")
_AROUND = re.compile(r"([(\"']*)(.*?)([ ,;.:!?\"']*)", re.DOTALL)
# What a message quotes, and what it shows of YAML.
_QUOTED = re.compile(r"`([^`\n]+)`|(\{+[^{}`\n]+\}+)")


def prose(text: str, *, first: bool = True) -> Iterator[str | Code]:
    """Split prose into words that are safe in Markdown and code for all that might not be.

    `first` tells that a line begins here.
    """
    at = 0
    for match in _QUOTED.finditer(text):
        yield from _words(text[at : match.start()], first=first and at == 0)
        yield Code(match[1] or match[2])
        at = match.end()
    yield from _words(text[at:], first=first and at == 0)


def _words(text: str, *, first: bool) -> Iterator[str | Code]:
    plain: list[str] = []
    suspect: list[str] = []
    for number, word in enumerate(re.split(r"(\s+)", text)):
        if word.isspace():
            (suspect or plain).append(" ")
        elif _is_safe(word, first=first and number == 0):
            yield from _code(suspect, plain)
            plain.append(word)
        elif word:
            if plain:
                yield "".join(plain)
                plain.clear()
            suspect.append(word)
            if word[-1] in ",;:.)":
                yield from _code(suspect, plain)
    yield from _code(suspect, plain)
    if plain:
        yield "".join(plain)


def _code(suspect: list[str], plain: list[str]) -> Iterator[str | Code]:
    """Give the suspect words together; the marks around them belong to the sentence."""
    if suspect:
        match = _AROUND.fullmatch("".join(suspect))
        assert match is not None, "it matches any text"
        before, inside, after = match.groups()
        if not inside:
            before, inside, after = "", match[0].rstrip(), ""
        if "(" not in inside and inside.endswith(")"):
            inside, after = inside[:-1], f"){after}"
        if before:
            yield before
        yield Code(inside)
        plain.extend(after)
        suspect.clear()


def _is_safe(word: str, *, first: bool) -> bool:
    if first and _OPENS.fullmatch(word):
        return False
    return bool(_PLAIN.fullmatch(word)) and not _TELLING.search(word)
