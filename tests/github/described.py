"""GitHub's own description of its API and events, as this folder's slices hold it."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

DATA = Path(__file__).parent / "data"


@cache
def _read(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def cases() -> Any:
    """Give the cases that GitHub's toolkit was asked, and what it printed."""
    return {"asked": _read("cases.json"), "printed": _read("core.json")}


def payload(event: str) -> Any:
    """Give an event's payload, to be changed at will."""
    return copy.deepcopy(_read("payloads.json")[event])


def wrong_with_event(definition: str, event: Any) -> list[str]:
    """Say what GitHub's schema finds wrong with a payload."""
    schema = {"$ref": f"#/definitions/{definition}", **_read("events.json")}
    return _errors(schema, event)


class Operation:
    """One operation of the API: what may be asked, and what is answered."""

    def __init__(self, method: str, path: str) -> None:
        for template, methods in _read("openapi.json")["paths"].items():
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, path) and method.lower() in methods:
                self._described = methods[method.lower()]
                return
        raise LookupError(f"GitHub has no {method} {path}")

    def wrong_with_request(self, query: dict[str, str], body: Any) -> list[str]:
        """Say what is wrong with a request; a parameter that GitHub does not know counts."""
        known = self._described["query"]
        wrong = [f"no parameter {name}" for name in query if name not in known]
        for name, text in query.items():
            typed = int(text) if text.isdecimal() and name in ("per_page", "page") else text
            wrong += [] if name not in known else _errors(known[name], typed)
        if (self._described["body"] is None) != (body is None):
            return [*wrong, "a body is missing, or too much"]
        return wrong + (_errors(self._described["body"], body) if body is not None else [])

    def wrong_with_answer(self, status: int, body: Any) -> list[str]:
        """Say what is wrong with an answer: our double must speak as GitHub does."""
        described = self._described["answers"].get(str(status))
        if described is None:
            return [] if status >= 500 or status in (401, 403, 404, 429) else [f"never {status}"]
        return _errors(described["schema"], body) if described["schema"] else []

    def example(self, status: int) -> Any:
        """Give GitHub's own example of an answer."""
        return copy.deepcopy(self._described["answers"][str(status)]["example"])


def _errors(schema: Any, value: Any) -> list[str]:
    whole = {**schema, "components": _read("openapi.json")["components"]}
    found = Draft7Validator(whole).iter_errors(value)
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:200]}" for each in found]
