"""What one source imports, found by reading its lines and without running it."""

from __future__ import annotations

import re
import tokenize
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

HERA = frozenset({"hera", "heraci", "hera_utils", "hera_k8s_utils"})
DYNAMIC = re.compile(
    rb"\b(import_module|__import__|spec_from_file_location|SourceFileLoader|load_source"
    rb"|runpy|execfile|find_spec|exec(?=\s*\())"
)
EDITS_PATH = re.compile(
    rb"\bsys\s*\.\s*path\b|\bfrom\s+sys\s+import\b|\bsys\s+as\b|addsitedir|PYTHONPATH"
)
# One of these stands in whatever the two expressions find, and is looked for thirty times faster.
DYNAMIC_WORDS = (
    b"import_",
    b"spec_from",
    b"SourceFile",
    b"load_source",
    b"runpy",
    b"exec",
    b"find_spec",
)
PATH_WORDS = (b"sys", b"addsitedir", b"PYTHONPATH")
_IMPORT = re.compile(r"import\b(.*)", re.DOTALL)
_FROM = re.compile(r"from\b\s*([.\s]*)([\w.\s]*?)\s*\bimport\b(.*)", re.DOTALL)
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: `from ..a import b` has level 2, module `a`, names `("b",)`."""

    module: str
    names: tuple[str, ...] = ()
    level: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Imports:
    """What a source says of the modules it uses; rather too much than too little.

    `dynamic` holds line and word of what can import any module; `unparsable` says that the text
    cannot be read at all. Broken syntax does not hide an import from the scan.
    """

    imports: tuple[Import, ...] = ()
    dynamic: tuple[tuple[int, str], ...] = ()
    edits_path: bool = False
    unparsable: bool = False

    @property
    def uses_hera(self) -> bool:
        """Whether it imports Hera, heraci or the two libraries that heraci carries on."""
        return any(
            each.level == 0 and each.module.partition(".")[0] in HERA for each in self.imports
        )


def imports_of(source: bytes) -> Imports:
    """Scan one source, line by line: statements inside strings count too."""
    text = _newlines(source)
    if text is None:
        return Imports(unparsable=True)
    imports = dict.fromkeys(_statements(text))
    if b"\\\n" in text:
        imports |= dict.fromkeys(_statements(text.replace(b"\\\n", b" ")))
    return Imports(
        imports=tuple(imports),
        dynamic=tuple(
            (text.count(b"\n", 0, found.start()) + 1, found[1].decode())
            for found in DYNAMIC.finditer(text)
        )
        if any(word in text for word in DYNAMIC_WORDS)
        else (),
        edits_path=any(word in text for word in PATH_WORDS) and EDITS_PATH.search(text) is not None,
    )


def _newlines(source: bytes) -> bytes | None:
    """The text as UTF-8 with newlines only; None where Python would not read it either."""
    if b"coding" in source[:400] or source.startswith(b"\xef\xbb\xbf"):
        try:
            encoding, _ = tokenize.detect_encoding(BytesIO(source).readline)
            source = source.decode(encoding, "replace").encode()
        except (SyntaxError, LookupError):
            return None
    if b"\0" in source:
        return None
    if b"\r" in source:
        source = source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return source


def _statements(text: bytes) -> Iterator[Import]:
    if b"import" not in text:
        return
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        if b"import" in line:
            found = _line(line)
            yield from (_line(_until_closed(lines, number)) or ()) if found is None else found


def _until_closed(lines: list[bytes], number: int) -> bytes:
    """`from a import (` with the lines up to its closing bracket, comments left out."""
    parts = []
    for line in lines[number:]:
        part = line.partition(b"#")[0]
        parts.append(part)
        if b")" in part and (len(parts) > 1 or part.rfind(b")") > part.rfind(b"(")):
            return b" ".join(parts)
    return b" ".join(parts) + b")"


@lru_cache(maxsize=1 << 16)
def _line(line: bytes) -> tuple[Import, ...] | None:
    """The imports of one line, which is the same in many files; None where it goes on below."""
    text = line.decode("utf-8", "replace").strip().lstrip("\ufeff")
    if text.startswith("#"):
        return ()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    found: list[Import] = []
    # A statement begins the line, or follows a semicolon or the colon of `if`, `try`, …
    for piece in re.split(r"[;:]", text):
        parsed = _statement(piece.strip())
        if parsed is None:
            return None
        found += parsed
    return tuple(found)


def _statement(piece: str) -> list[Import] | None:
    plain = _IMPORT.match(piece)
    if plain:
        names = _names(plain[1])
        return [Import(name) for name in names]
    found = _FROM.match(piece)
    if not found:
        return []
    level = found[1].count(".")
    module = "".join(found[2].split())
    tail = found[3].partition("#")[0] if "\n" not in found[3] else found[3]
    if "(" in tail and ")" not in tail:
        return [Import(module)] if not level and is_of_hera(module) else None
    return [Import(module, tuple(_names(tail)), level)]


def _names(tail: str) -> list[str]:
    """`a.b as c, d` -> a.b, d; what is no name is prose in a string, and left out."""
    names = []
    for each in tail.partition("#")[0].replace("(", " ").replace(")", " ").split(","):
        name = re.sub(r"\s*\.\s*", ".", each.strip()).partition(" ")[0].partition("\t")[0]
        if name == "*" or _DOTTED.fullmatch(name):
            names.append(name)
    return names


def is_of_hera(module: str) -> bool:
    """Whether a module cannot be the repository's: its names need not be known then."""
    return module.partition(".")[0] in HERA
