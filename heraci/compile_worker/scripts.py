"""Finds the names that an inline script uses and that will not exist in its pod."""

from __future__ import annotations

import builtins
import re
import symtable

from heraci.compile_worker.record import Place

_STILL_THE_FUNCTION = (")", "#", "def ", "@", "async ")
_ALWAYS_BOUND = {*dir(builtins), "__name__", "__file__", "__doc__", "__builtins__", "__spec__"}


def unbound_names(source: str) -> list[str]:
    """Give the names that a script uses and nothing in it binds; [] where that is unclear."""
    text = re.sub(r"\{\{.*?\}\}", "0", source, flags=re.DOTALL)
    if re.search(r"^\s*from\s+\S+\s+import\s+\*", text, re.MULTILINE):
        return []
    try:
        table = symtable.symtable(text, "script", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    bound = {each.get_name() for each in table.get_symbols() if _binds(each)}
    used = [each.get_name() for each in table.get_symbols() if each.is_referenced()]
    scopes = list(table.get_children())
    while scopes:
        scope = scopes.pop(0)
        scopes.extend(scope.get_children())
        for each in scope.get_symbols():
            if each.is_global():
                if each.is_assigned() or each.is_imported():
                    bound.add(each.get_name())
                if each.is_referenced():
                    used.append(each.get_name())
    bound |= _ALWAYS_BOUND
    return [name for name in dict.fromkeys(used) if name not in bound]


def line_of(place: Place | None, name: str) -> Place | None:
    """Find the line of a function, which begins at `place`, on which a name is first used."""
    if not place:
        return place
    try:
        with open(place[0], encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return place
    word = re.compile(rf"(?<![\w.]){re.escape(name)}\b")
    for number in range(place[1], min(len(lines), place[1] + 400)):
        text = lines[number]
        if text and not text[0].isspace() and not text.startswith(_STILL_THE_FUNCTION):
            break
        if word.search(text):
            return (place[0], number + 1)
    return place


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
