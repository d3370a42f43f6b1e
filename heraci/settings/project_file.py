"""`heraci.toml` (or `[tool.heraci]` in pyproject.toml): its tables, and the line of each key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heraci.errors import SettingsError

HERACI_TOML = "heraci.toml"
PYPROJECT = "pyproject.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectFile:
    """What a project's own file says.

    `name` is what a person calls the file, `prefix` the table of it that is heraci's.
    """

    name: str
    text: str = field(repr=False, default="")
    table: Mapping[str, Any] = field(repr=False, default_factory=dict)
    prefix: tuple[str, ...] = ()

    def subject(self, path: Sequence[str | int]) -> str:
        """Name a key the way a message begins: file, line where it can be found, key."""
        keys = [str(each) for each in path if isinstance(each, str)]
        line = _line_of(self.text, (*self.prefix, *keys))
        return f"{self.name}{f', line {line}' if line else ''}: {'.'.join(keys)}"

    def origin(self, table: Sequence[str] = ()) -> str:
        """Name one of the tables, the way doctor shows where a value came from."""
        keys = ".".join((*self.prefix, *table))
        return f"{self.name} [{keys}]" if keys else self.name


def find_project_file(directory: Path) -> ProjectFile:
    """Read the one file of a folder that holds heraci's settings; an empty one if none does."""
    found = [
        parse_project_file(name, _read(directory / name))
        for name in (HERACI_TOML, PYPROJECT)
        if (directory / name).is_file()
    ]
    filled = [each for each in found if each.table]
    if len(filled) > 1:
        raise SettingsError(
            f"Both {HERACI_TOML} and [tool.heraci] in {PYPROJECT} hold settings, and only one may: "
            "move them into one of the two."
        )
    return (filled or [ProjectFile(name=HERACI_TOML)])[0]


def parse_project_file(name: str, text: str) -> ProjectFile:
    """Parse a text as the file of that name; `name` may say more, such as the commit it is of."""
    prefix = ("tool", "heraci") if PYPROJECT in name else ()
    # A pyproject.toml that does not speak of heraci may be as broken as it likes.
    if prefix and "heraci" not in text:
        return ProjectFile(name=name, prefix=prefix)
    try:
        table: Any = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name} is not valid TOML: {error}.") from None
    for key in prefix:
        table = table.get(key, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(f"{name}: {'.'.join(prefix)} must be a table.")
    return ProjectFile(name=name, text=text, table=table, prefix=prefix)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path.name} is not UTF-8, which TOML has to be.") from None


def _line_of(text: str, path: Sequence[str]) -> int | None:
    """Find the line that writes a key, or the nearest table around it.

    tomllib keeps no positions, so headers and assignments are read again, line by line. A text in
    several lines that looks like TOML can mislead this; then a message names the wrong line.
    """
    wanted = tuple(path)
    table: tuple[str, ...] = ()
    best: tuple[int, int] = (0, 0)
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+(.+?)\]+\s*(#.*)?$", line)
        assignment = re.match(r"\s*([^\s#=][^=]*?)\s*=", line)
        if header:
            table = keys = _keys(header[1])
        elif assignment:
            keys = (*table, *_keys(assignment[1]))
        else:
            continue
        if keys == wanted[: len(keys)] and len(keys) > best[0]:
            best = (len(keys), number)
        elif header and wanted == keys[: len(wanted)] and len(wanted) > best[0]:
            # The header of a table below it, as `[targets.lab.environment]` also writes `lab`.
            best = (len(wanted), number)
    return best[1] or None


def _keys(text: str) -> tuple[str, ...]:
    """Split a dotted key, its quoted parts too, as TOML does."""
    try:
        table: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    keys = []
    while isinstance(table, dict):
        [(key, table)] = table.items()
        keys.append(key)
    return tuple(keys)
