"""What GitHub's runner reads of a step: outputs, the summary, and commands in its log.

Names are ours, values may be strangers': each is escaped as the runner unescapes it, and what is
shown as it is stands between two halves of a stop-commands pair.
"""

import os
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from heraci.bundle import Finding
from heraci.errors import GitHubError

SUMMARY_BYTES = 1_000_000  # the runner takes 1 MiB, and nothing at all of what is longer
MESSAGE = 4096
TITLE = 255

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_CUT = "\n… (cut)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """The files that the runner reads when the step has ended; None where it gave none."""

    output: Path | None = None
    summary: Path | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Take them from the variables that the runner sets."""
        return cls(
            output=_path(environ, "GITHUB_OUTPUT"),
            summary=_path(environ, "GITHUB_STEP_SUMMARY"),
        )

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """Add outputs; a value is kept whatever it holds, and never becomes another output."""
        _append(self.output, "".join(output(name, value) for name, value in values.items()))

    def write_summary(self, markdown: str) -> None:
        """Add to the step's summary, which must be within SUMMARY_BYTES as a whole."""
        if self.summary is None:
            return
        before = self.summary.stat().st_size if self.summary.exists() else 0
        text = markdown if markdown.endswith("\n") else f"{markdown}\n"
        if before + len(text.encode()) > SUMMARY_BYTES:
            # Whoever renders cuts at good places; this is for the day that it does not.
            raise GitHubError(
                f"the summary would have {before + len(text.encode())} bytes, GitHub shows none "
                f"above {SUMMARY_BYTES}"
            )
        _append(self.summary, text)


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    return Path(environ[name]) if environ.get(name) else None


def _append(path: Path | None, text: str) -> None:
    if path is None or not text:
        return
    try:
        # Never created: the runner made the file, and a path that is wrong must be noticed.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
            file.write(text.encode())
    except OSError as error:
        raise GitHubError(
            f"{path} cannot be written ({error.strerror}): the image must run as root, as GitHub's "
            "runner starts it"
        ) from error


def output(name: str, value: str) -> str:
    """Write one output with a delimiter that nobody can have guessed."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an output")
    delimiter = f"ghadelimiter_{uuid.uuid4()}"
    if delimiter in value:
        raise ValueError("a value holds the delimiter that was drawn for it")
    return f"{name}<<{delimiter}\n{plain(value)}\n{delimiter}\n"


def plain(text: str) -> str:
    """Write a text that can be encoded, whatever file names or logs had in them."""
    return text.encode("utf-8", "backslashreplace").decode()


# --- commands ------------------------------------------------------------------------------------


def command(name: str, message: str = "", **properties: str | int | None) -> str:
    """Write one command; properties that are None are left out."""
    told = ",".join(
        f"{key}={_property(str(value))}" for key, value in properties.items() if value is not None
    )
    return f"::{name}{' ' if told else ''}{told}::{_data(message)}"


def _data(value: str) -> str:
    return plain(value).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def annotations(findings: Sequence[Finding]) -> list[str]:
    """Write findings as commands that show them beside the author's lines.

    The runner shows ten of each level; which ones are worth it is chosen elsewhere.
    """
    return [_annotation(each) for each in findings]


def _annotation(each: Finding) -> str:
    message = visible(f"{each.message} [{each.rule}]")
    title = visible(f"heraci: {each.experiment or each.rule}")
    return command(
        each.severity.value,
        message if len(message) <= MESSAGE else message[: MESSAGE - len(_CUT)] + _CUT,
        title=title[:TITLE],
        file=visible(each.file) if each.file else None,
        line=each.line if each.file else None,
    )


def visible(text: str) -> str:
    """Show control characters and those that turn the reading direction as what they are."""
    shown = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return shown.replace("##[", "## [")  # a command of the older form, wherever it stands


def stopped_yaml(text: str) -> str:
    """Wrap YAML so that the runner takes nothing in it for a command; it stays the same YAML.

    What wraps it are comments: commands of the older form are heeded anywhere in a line.
    """
    token = secrets.token_hex(16)
    return f"# ##[stop-commands]{token}\n{plain(text)}# ##[{token}]\n"
