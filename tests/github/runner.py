"""How GitHub's runner reads files and logs, written anew from reading actions/runner 2.336.0.

The runner itself is C# and cannot be had in a test; this says the same of what it takes for an
output, and of what it takes for a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

KNOWN = frozenset(
    """
    stop-commands set-env set-output save-state add-mask add-path add-matcher remove-matcher debug
    warning error notice group endgroup echo
    """.split()
)
Command = tuple[str, dict[str, str], str]


def file_pairs(text: str) -> list[tuple[str, str]]:
    """Read what a step appended to GITHUB_OUTPUT; ValueError is a step that fails."""
    found = []
    lines = text.split("\n")
    if lines.pop():
        raise ValueError("the last line has no end")
    while lines:
        line = lines.pop(0)
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if equals >= 0 and (heredoc < 0 or equals < heredoc):
            found.append((line[:equals], line[equals + 1 :]))
            continue
        if heredoc < 0:
            raise ValueError(f"invalid format {line!r}")
        name, delimiter = line.split("<<", 1)
        if not name or not delimiter or delimiter not in lines:
            raise ValueError(f"no name or no end: {line!r}")
        end = lines.index(delimiter)
        found.append((name, "\n".join(lines[:end])))
        del lines[: end + 1]
    return found


def commands(log: str) -> Iterator[Command]:
    """Read a log as the runner does: by line, heeding `stop-commands`."""
    stopped = None
    # .NET's ReadLine also ends a line at a carriage return.
    for line in re.split(r"\r\n|\r|\n", log):
        if stopped is not None:
            resumed = command(line, frozenset({stopped.lower()}))
            stopped = None if resumed else stopped
            continue
        found = command(line)
        if found is not None:
            stopped = found[2] if found[0] == "stop-commands" else None
            yield found


def command(line: str, known: frozenset[str] = KNOWN) -> Command | None:
    """Read one line; `known` are the commands that it may hold."""
    found = re.match(r"\s*::(.*?)::(.*)", line, re.DOTALL)
    if found:
        name, _, told = found[1].partition(" ")
        if name.lower() in known:
            pairs = (each.partition("=") for each in told.strip().split(","))
            properties = {
                key.lower(): _property(value) for key, equals, value in pairs if equals and value
            }
            return name.lower(), properties, _data(found[2])
    older = re.search(r"##\[(\S*?)(?: .*?)?\](.*)", line, re.DOTALL)
    if older and older[1].lower() in known:
        return older[1].lower(), {}, older[2]
    return None


def _data(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def _property(text: str) -> str:
    text = text.replace("%0D", "\r").replace("%0A", "\n")
    return text.replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
