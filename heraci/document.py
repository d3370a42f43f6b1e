"""One Kubernetes document: its canonical form, its digest, and its YAML text.

The YAML is heraci's own and not PyYAML's, for three measured reasons. Hera's `to_yaml()` can break
strings that hold braces; PyYAML leaves strings such as `12e4567` plain, which Go's reader takes for
a number; and its dumper in Python is ten times slower than this one, while its dumper in C has no
block scalars, without which a script cannot be reviewed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

# Starts with a letter, `_` or `/`, so no number, date, tag, anchor or flow collection begins here;
# a colon is plain only inside a word, a space only between two.
_PLAIN = re.compile(r"[A-Za-z_/](?:[\w./@+=%~-]|:(?=[\w./-])| (?=[\w./@+=%~-]))*", re.ASCII)
# Every word that YAML 1.1, YAML 1.2 or go-yaml takes for null, a boolean or a number.
_WORDS = frozenset("null true false yes no on off y n nan inf infinity".split())
# What a block scalar cannot hold as it is: control characters and the line breaks of YAML 1.1.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
)


def canonical(document: Mapping[str, Any]) -> bytes:
    """Give the one JSON text of a document: keys sorted, no blanks, UTF-8.

    Raises ValueError for what JSON cannot hold (NaN, infinities, lone surrogates).
    """
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(document: Mapping[str, Any]) -> str:
    """Give `sha256:` and 64 hex digits of the canonical form."""
    return digest_of(canonical(document))


def digest_of(canonical: bytes) -> str:
    """Give the digest of a document whose canonical form is at hand."""
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def dump(documents: Iterable[Mapping[str, Any]]) -> str:
    """Write documents as one YAML text and prove that it reads back as the same data.

    Raises ValueError if it does not: a key of more than a thousand characters, NaN, endless depth.
    """
    writer = _Writer()
    for number, each in enumerate(documents):
        if number:
            writer.lines.append("---")
        writer.document(each)
    writer.prove()
    return "".join(f"{line}\n" for line in writer.lines)


def load(text: str | bytes) -> list[Any]:
    """Read all documents of a YAML text.

    Raises ValueError for what is no YAML, and for what heraci never writes: aliases, which a few
    bytes could make into gigabytes, tags, keys that are no strings, and endless depth.
    """
    from heraci import document_reader  # PyYAML takes longer to load than what most runs do

    return document_reader.read(text)


# What was read back already, as a key and as a value.
_proven_keys: set[str] = set()
_proven: set[Any] = set()
_MOST_PROVEN = 200_000
_DEEPEST = 200  # levels, as `document_reader` has it
_LONG = 1000  # characters: a longer text hardly comes twice


class _Writer:
    """Writes documents line by line, and notes what was never read back before.

    Lines are put together in four ways only, and a scalar reads the same wherever it stands. So it
    is each scalar that is read back, once for this process: a fifth of the time that reading all of
    the text takes. That the lines hold together is what the tests show, on whole documents.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.keys: dict[str, None] = {}
        self.values: dict[Any, None] = {}

    def document(self, node: Mapping[str, Any]) -> None:
        if node:
            self.mapping(node, 0)
        else:
            self.lines.append("{}")

    def mapping(self, node: Mapping[str, Any], indent: int) -> None:
        pad = _pad(indent)
        for key, value in node.items():
            if key not in _proven_keys:
                self.keys[key] = None
            self.entry(f"{pad}{_scalar(key)}:", value, indent)

    def sequence(self, node: list[Any], indent: int) -> None:
        dash = _pad(indent) + "-"
        for value in node:
            if value and isinstance(value, dict | list):
                # The first line of the item stands behind its dash: `- name: x`.
                first = len(self.lines)
                if isinstance(value, dict):
                    self.mapping(value, indent + 2)
                else:
                    self.sequence(value, indent + 2)
                self.lines[first] = f"{dash} {self.lines[first][indent + 2 :]}"
            else:
                self.entry(dash, value, indent)

    def entry(self, head: str, value: Any, indent: int) -> None:
        if isinstance(value, str):
            if value not in _proven:
                self.values[value] = None
            self.lines.append(f"{head} {_text(value, indent)}")
        elif isinstance(value, dict):
            if value:
                self.lines.append(head)
                self.mapping(value, indent + 2)
            else:
                self.lines.append(f"{head} {{}}")
        elif isinstance(value, list):
            if value:
                self.lines.append(head)
                # As kubectl writes them: the dashes stand below the key.
                self.sequence(value, indent)
            else:
                self.lines.append(f"{head} []")
        else:
            if isinstance(value, float) and value not in _proven:
                self.values[value] = None
            self.lines.append(f"{head} {_atom(value)}")

    def prove(self) -> None:
        """Read back each new scalar: a key as a key, many lines wherever they may stand."""
        wanted: list[Any] = [{key: None} for key in self.keys]
        for value in self.values:
            many = isinstance(value, str) and "\n" in value
            wanted.append({"a": [value], "b": value} if many else value)
        if not wanted:
            return
        trial = _Writer()
        trial.sequence(wanted, 0)
        try:
            same = load("\n".join([*trial.lines, ""])) == [wanted]
        except ValueError:
            same = False
        if not same:
            raise ValueError("the YAML text does not read back as the document it was written from")
        if len(_proven) > _MOST_PROVEN:
            _proven.clear()
        _proven_keys.update(self.keys)
        _proven.update(each for each in self.values if len(str(each)) < _LONG)


def _pad(indent: int) -> str:
    if indent > 2 * _DEEPEST:
        raise ValueError("it is nested too deeply for YAML")
    return " " * indent


def _text(text: str, indent: int) -> str:
    return ("\n" in text and _block(text, indent)) or _scalar(text)


def _atom(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        # YAML 1.1 knows an exponent only behind a fraction and with a sign.
        mantissa, e, exponent = text.partition("e")
        if not e:
            return text
        fraction = mantissa if "." in mantissa else mantissa + ".0"
        return f"{fraction}e{exponent if exponent[0] in '+-' else '+' + exponent}"
    return str(value)


@lru_cache(maxsize=65536)
def _scalar(text: str) -> str:
    """Write a string on one line, plain where no reader could take it for something else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if "\n" in text or _UNPRINTABLE.search(text):
        quoted = json.dumps(text, ensure_ascii=False)
        return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
    return "'" + text.replace("'", "''") + "'"


def _block(text: str, indent: int) -> str | None:
    """Write a text of several lines as a literal block scalar; None where that cannot be."""
    body = text.rstrip("\n")
    if not body or _UNPRINTABLE.search(text):
        return None
    trailing = len(text) - len(body)
    chomping = ("-", "", "+")[min(trailing, 2)]
    # A first line that begins with a blank would be taken for deeper indentation.
    blank_first = body.lstrip("\n")[0] in " \t"
    pad = " " * (indent + 2)
    lines = [pad + line if line else "" for line in body.split("\n")]
    lines += [""] * (trailing - 1)
    return "\n".join([f"|{2 if blank_first else ''}{chomping}", *lines])
