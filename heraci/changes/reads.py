"""What a script reads: which of its reads name no file that could be looked for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

READS = re.compile(
    rb"\bopen\s*\(|\.read\w*\s*\(|\bread_\w+|\bload\w*\s*\(|glob|listdir|iterdir|scandir"
    rb"|\bwalk\s*\(|\bgenfromtxt|Loader|get_data|\bfrom_file\w*|importlib.resources|pkgutil|subprocess|system"
)
_READING = re.compile(
    r"open|read_\w+|r?glob|listdir|iterdir|scandir|walk|load\w*(?<!loads)|genfromtxt|from_file\w*"
    r"|FileSystemLoader|PackageLoader|files|contents|get_data|run|call|check_\w+|Popen|system"
)
_CHILDREN = frozenset({"run", "call", "check_call", "check_output", "Popen", "system"})
_FILE_NAMES = frozenset({"file", "path", "filename", "name", "pathname", "fname"})


@lru_cache(maxsize=1 << 14)
def reads_untold(source: bytes) -> int | None:
    """The line of the first read whose file no text in the source names; in doubt, any read."""
    if not READS.search(source):
        return None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return 1
    values = _assigned(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_read(node) and not _told(_what(node), values, 4):
            return node.lineno
    return None


def _is_read(call: ast.Call) -> bool:
    name = _called(call)
    if name in _CHILDREN:  # a child process reads what it likes
        owner = call.func.value if isinstance(call.func, ast.Attribute) else call.func
        return isinstance(owner, ast.Name) and owner.id in {"subprocess", "os", name}
    return _READING.fullmatch(name) is not None


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _what(call: ast.Call) -> list[ast.expr]:
    """The expressions that may name the file: the first argument, and whose method it is."""
    if _called(call) in _CHILDREN:
        return []
    found = [*call.args[:1], *(each.value for each in call.keywords if each.arg in _FILE_NAMES)]
    return [*found, call.func.value] if isinstance(call.func, ast.Attribute) else found


def _assigned(tree: ast.AST) -> Mapping[str, list[ast.expr]]:
    """Every value that a name or an attribute is given anywhere."""
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        for target, value in _bindings(node):
            for each in ast.walk(target):
                if isinstance(each, (ast.Name, ast.Attribute)):
                    name = each.id if isinstance(each, ast.Name) else each.attr
                    values.setdefault(name, []).append(value)
    return values


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    match node:
        case ast.Assign():
            yield from ((target, node.value) for target in node.targets)
        case ast.AnnAssign(value=ast.expr() as value) | ast.AugAssign(value=value):
            yield node.target, value
        case ast.NamedExpr():
            yield node.target, node.value
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            yield node.target, node.iter
        case ast.withitem(optional_vars=ast.expr() as target):
            yield target, node.context_expr
        case _:
            pass


def _told(what: Iterable[ast.expr], values: Mapping[str, list[ast.expr]], depth: int) -> bool:
    """Whether an expression holds the name of a file or folder, directly or by a variable."""
    if depth == 0:
        return False
    for expression in what:
        for node in ast.walk(expression):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if _names_a_file(node.value, whole=not _pieced(expression, node)):
                    return True
            elif isinstance(node, (ast.Name, ast.Attribute)):
                name = node.id if isinstance(node, ast.Name) else node.attr
                if _told(values.get(name, ()), values, depth - 1):
                    return True
    return False


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
