"""What a script reads: which of its reads name no file that could be looked for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

# What gives a file's content, its size, or the names in a folder.
_READING = re.compile(
    r"open\w*|read|read_\w+|load\w*(?<!loads)|safe_load\w*|genfromtxt|fromfile|from_file\w*|parse|File"
    r"|FileInput|getlines?|files|contents|get_data|\w+Loader|ZipFile|TarFile|is_zipfile|is_tarfile"
    r"|stat|getsize"
)
_LISTING = re.compile(r"r?glob|iglob|listdir|iterdir|scandir|walk|iter_modules|walk_packages")
# What says only whether a file is there.
_ASKING = re.compile(r"l?exists|is_?file|is_?dir|access")
_PASSED_ON = re.compile(r"open|read_\w+|load|safe_load|loadtxt|listdir|iterdir|scandir|r?glob")
# These read only as what a module of that name gives; a child process reads what it likes.
_READING_FROM = {
    "fileinput": frozenset({"input"}),
    "os": frozenset({"system", "popen"}),
    "subprocess": frozenset({"run", "call", "check_call", "check_output", "getoutput", "Popen"}),
}
# These take an open file or its content as well as a name; whatever opened it is asked itself.
_PARSING = re.compile(r"load\w*|safe_load\w*|parse|genfromtxt|fromfile|read|read_(?!text|bytes)\w+")
_OPENING = re.compile(r"open\w*|read|read_text|read_bytes")
_FILE_NAMES = frozenset({"file", "files", "path", "filename", "name", "pathname", "fname"})
# Calls whose result still bears the names that they were given; others may give any name.
_NAMING = re.compile(
    r"(?:Pure)?(?:Posix)?Path|str|fspath|fsdecode|join(?:path)?|abspath|absolute|realpath|resolve"
    r"|expanduser|expandvars|normpath|relpath|relative_to|dirname|parent|with_\w+|format|strip|[lr]strip"
    r"|replace|sorted|list|tuple|set|iter|reversed|enumerate|zip|items|keys|values|as_posix|files|as_file"
    rf"|{_LISTING.pattern}"
)
# Any of these, as far as bytes tell; and the words to look for first, far quicker.
READS = re.compile(
    rf"\b(?:{_READING.pattern}|{_LISTING.pattern}|{_ASKING.pattern}"
    r"|fileinput|subprocess|system|popen)\b".encode()
)
READ_WORDS = (
    *(b"open", b"read", b"load", b"Load", b"genfromtxt", b"file", b"File", b"parse", b"getline"),
    *(b"contents", b"get_data", b"stat", b"getsize", b"glob", b"dir", b"walk", b"iter_modules"),
    *(b"exists", b"access", b"subprocess", b"system", b"popen"),
)
LIST_WORDS = (b"glob", b"listdir", b"iterdir", b"scandir", b"walk", b"iter_modules")
_OUTWARD = re.compile(rb"\.\.|parents\s*\[|parent\s*\.\s*parent|dirname\s*\(.*dirname")


@dataclass(frozen=True, kw_only=True, slots=True)
class Untold:
    """The lines where a source reads, looks for or lists files that none of its texts names.

    Each is the first of its kind, None where there is none. `lists` counts only where the source
    goes up from its own folder.
    """

    reads: int | None = None
    asks: int | None = None
    lists: int | None = None


@lru_cache(maxsize=1 << 14)
def untold(source: bytes) -> Untold:
    """What a source reads without saying so; in doubt, anything."""
    if not READS.search(source):
        return Untold()
    outward = _OUTWARD.search(source) is not None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return Untold(reads=1, asks=1, lists=1 if outward else None)
    values, found = _assigned(tree), dict[str, int]()
    for node, name in _readers(tree):
        told = isinstance(node, ast.Call) and _told(
            _what(node, name), values, opened=_PARSING.fullmatch(name) is not None
        )
        for kind in () if told else _kinds(name):
            found.setdefault(kind, node.lineno)
    return Untold(
        reads=found.get("reads"),
        asks=found.get("asks"),
        lists=found.get("lists") if outward else None,
    )


def lists_outward(source: bytes) -> bool:
    """Whether a source lists files, and goes up from its own folder."""
    return _OUTWARD.search(source) is not None and _LISTS.search(source) is not None


_LISTS = re.compile(_LISTING.pattern.encode())


def words_in_texts(source: bytes) -> frozenset[str]:
    """The words in a source's texts, names of files among them in parts."""
    try:
        nodes = ast.walk(ast.parse(source))
        texts = [
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    except (SyntaxError, ValueError, RecursionError):
        texts = [source.decode("utf-8", "replace")]
    return frozenset(word for text in texts for word in re.findall(r"\w+", text))


def _readers(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Calls that read, and readers that are handed on for others to call, each with its name."""
    imported = _imported(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _name(node.func, imported)
        if any(_kinds(name)) and not _writes(node) and (name != "read" or node.args):
            yield node, name
        for given in node.args:
            if isinstance(given, (ast.Name, ast.Attribute)):
                name = _name(given, imported)
                if _PASSED_ON.fullmatch(name):
                    yield given, name


def _kinds(name: str) -> Iterator[str]:
    if _LISTING.fullmatch(name):
        yield from ("reads", "lists")
    elif _READING.fullmatch(name) or "." in name:
        yield "reads"
    elif _ASKING.fullmatch(name):
        yield "asks"


def _writes(call: ast.Call) -> bool:
    modes = [*call.args[:2], *(each.value for each in call.keywords if each.arg == "mode")]
    return _name(call.func) == "open" and any(
        isinstance(mode, ast.Constant) and re.fullmatch(r"[wax]b?t?", str(mode.value))
        for mode in modes
    )


def _imported(tree: ast.AST) -> Mapping[str, tuple[str, str]]:
    """What names stand for, as module and name: `from os import listdir as names`."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {
                each.asname or each.name: (node.module or "", each.name) for each in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {each.asname: (each.name, "") for each in node.names if each.asname}
    return found


def _name(called: ast.expr, imported: Mapping[str, tuple[str, str]] = {}) -> str:
    """What a function is called, with its module where that decides whether it reads."""
    module, name = "", ""
    if isinstance(called, ast.Attribute):
        name = called.attr
        if isinstance(called.value, ast.Name):
            module = imported.get(called.value.id, (called.value.id, ""))[0]
    elif isinstance(called, ast.Name):
        module, name = imported.get(called.id, ("", called.id))
    return f"{module}.{name}" if name in _READING_FROM.get(module, ()) else name


def _what(call: ast.Call, name: str) -> list[ast.expr]:
    """The expressions that may name the file: the first argument, and whose method it is."""
    if name.startswith(("os.", "subprocess.")):
        return []
    found = [*call.args[:1], *(each.value for each in call.keywords if each.arg in _FILE_NAMES)]
    if name == "read":
        return found
    return [*found, call.func.value] if isinstance(call.func, ast.Attribute) else found


_Values = Mapping[str, list[tuple[ast.expr, bool]]]


def _assigned(tree: ast.AST) -> _Values:
    """Every value that a name or an attribute is given, and whether by going through it."""
    values: dict[str, list[tuple[ast.expr, bool]]] = {}
    for node in ast.walk(tree):
        for target, value, through in _bindings(node):
            for each in ast.walk(target):
                if isinstance(each, (ast.Name, ast.Attribute)):
                    name = each.id if isinstance(each, ast.Name) else each.attr
                    values.setdefault(name, []).append((value, through))
    return values


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr, bool]]:
    match node:
        case ast.Assign():
            yield from ((target, node.value, False) for target in node.targets)
        case ast.AnnAssign(value=ast.expr() as value) | ast.AugAssign(value=value):
            yield node.target, value, False
        case ast.NamedExpr():
            yield node.target, node.value, False
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            yield node.target, node.iter, True
        case ast.withitem(optional_vars=ast.expr() as target):
            yield target, node.context_expr, False
        case _:
            pass


def _told(what: Iterable[ast.expr], values: _Values, *, opened: bool, depth: int = 4) -> bool:
    """Whether an expression holds the name of a file or folder, directly or by a variable.

    With `opened` what an `open` gives will do.
    """
    for expression in what if depth else ():
        for node in _naming(expression):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if _names_a_file(node.value, whole=not _pieced(expression, node)):
                    return True
            elif isinstance(node, (ast.Name, ast.Attribute)):
                for value, through in values.get(_name(node), ()):
                    if _told([value], values, opened=opened and not through, depth=depth - 1):
                        return True
            elif opened and isinstance(node, ast.Call) and _OPENING.fullmatch(_name(node.func)):
                return True
    return False


def _naming(expression: ast.expr) -> Iterator[ast.AST]:
    """The parts of an expression that its value bears in its name."""
    waiting: list[ast.AST] = [expression]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.Subscript):
            waiting.append(node.value)  # the key names an entry, and no file
        elif isinstance(node, ast.Call) and not _NAMING.fullmatch(_name(node.func)):
            continue
        else:
            waiting += ast.iter_child_nodes(node)


def _names_a_file(text: str, *, whole: bool) -> bool:
    parts = text.split("/")
    if not whole:  # the last part goes on in another piece
        parts.pop()
    return any(re.fullmatch(r"[^*?\[{}%]*\w\w[^*?\[{}%]*", part.strip()) for part in parts)


def _pieced(expression: ast.expr, constant: ast.Constant) -> bool:
    """Whether a text is one piece of an f-string or of a sum."""
    joins = (ast.JoinedStr, ast.BinOp)
    return any(
        isinstance(node, joins)
        and not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
        and any(each is constant for each in ast.walk(node))
        for node in ast.walk(expression)
    )
