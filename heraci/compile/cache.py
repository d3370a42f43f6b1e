"""What was compiled before, by content: one SQLite file in the user's cache folder.

A key stands for everything that is known before an experiment runs. What it touched beyond that
while running is kept beside the outcome and compared again. What a pull request compiled is kept
apart (`scope`) and never read for a base, a push or a submission.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from heraci.bundle import Finding, LazyDocument, Manifest, Origin, Requirement, Severity, plain
from heraci.compile.values import Outcome, Request

_AT_ONCE = 500
_KEPT = 50_000  # rows; an outcome is a few kilobytes


class Cache:
    """Outcomes by key; a cache that cannot be read or written is an empty one."""

    def __init__(self, folder: Path, scope: str) -> None:
        self._connection: sqlite3.Connection | None = None
        with contextlib.suppress(OSError, sqlite3.Error):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"compiled-{scope}.sqlite"
            # The folder is passed through by workers' users, its files are ours alone.
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, timeout=5, isolation_level=None)
            self._connection.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
                "CREATE TABLE IF NOT EXISTS outcome (key TEXT, extra TEXT, value TEXT,"
                " PRIMARY KEY (key, extra));"
            )

    def find(
        self, keys: Iterable[str], holds: Callable[[str, Mapping[str, str]], bool]
    ) -> dict[str, dict[str, Any]]:
        """Give the outcome of each key whose extra files `holds` says are as they were."""
        found: dict[str, dict[str, Any]] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _AT_ONCE):
            for key, extra, value in self._rows(wanted[start : start + _AT_ONCE]):
                if key not in found and (extra == "{}" or holds(key, json.loads(extra))):
                    found[key] = json.loads(value)
        return found

    def _rows(self, keys: Sequence[str]) -> list[tuple[str, str, str]]:
        if self._connection is None:
            return []
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, extra, value FROM outcome WHERE key IN ({marks})"  # noqa: S608
        try:
            return self._connection.execute(query, keys).fetchall()
        except sqlite3.Error:
            return []

    def keep(self, rows: Iterable[tuple[str, Mapping[str, str], str]]) -> None:
        """Keep outcomes: key, identities of the extra files, JSON text."""
        if self._connection is None:
            return
        values = [(key, json.dumps(extra, sort_keys=True), text) for key, extra, text in rows]
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR REPLACE INTO outcome VALUES (?,?,?)", values)
            self._connection.execute(
                "DELETE FROM outcome WHERE rowid <= (SELECT max(rowid) FROM outcome) - ?", (_KEPT,)
            )
            self._connection.execute("COMMIT")

    def is_empty(self) -> bool:
        """Tell whether nothing was kept yet, so that nothing will be found."""
        if self._connection is None:
            return True
        try:
            return self._connection.execute("SELECT 1 FROM outcome LIMIT 1").fetchone() is None
        except sqlite3.Error:
            return True

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()


def preserve(outcome: Outcome) -> str:
    """Write an outcome for the cache."""
    manifests = [plain(each) for each in outcome.manifests]
    for each in manifests:
        # As text in the text: most of the time only its digest is asked for.
        each["document"] = json.dumps(each["document"], ensure_ascii=False, separators=(",", ":"))
    data = {
        "manifests": manifests,
        "text": outcome.text,
        "requirements": [plain(each) for each in outcome.requirements],
        "findings": [plain(each) for each in outcome.findings],
        "source_files": outcome.source_files,
        "failed": outcome.failed,
        "empty": outcome.empty,
        "log": outcome.log,
        "python": outcome.python,
        "hera": outcome.hera,
        "pins": outcome.pins,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # A path need not be text; as JSON's own escape it survives.
    return text.encode("utf-8", "backslashreplace").decode()


def revive(request: Request, data: dict[str, Any]) -> Outcome:
    """Read an outcome of the cache; our own data, not checked again."""
    data = dict(data)  # base and head may share it
    return Outcome(
        name=request.name,
        path=request.path,
        manifests=tuple(_read_manifest(each) for each in data.pop("manifests")),
        requirements=tuple(_read_requirement(each) for each in data.pop("requirements")),
        findings=tuple(_read_finding(each) for each in data.pop("findings")),
        source_files=tuple(data.pop("source_files")),
        pins=tuple(data.pop("pins")),
        cached=True,
        **data,
    )


def _read_manifest(data: dict[str, Any]) -> Manifest:
    return Manifest(**{**data, "document": LazyDocument(data["document"])})


def _read_requirement(data: dict[str, Any]) -> Requirement:
    lists: dict[str, Any] = {name: tuple(data[name]) for name in ("keys", "access") if name in data}
    origin = Origin(data.get("origin", Origin.MANIFEST))
    return Requirement(**{**data, **lists, "origin": origin})


def _read_finding(data: dict[str, Any]) -> Finding:
    return Finding(**{**data, "severity": Severity(data["severity"])})
