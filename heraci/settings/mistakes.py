"""What is wrong with settings, in one sentence each; a secret's value is in none."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import SecretStr, ValidationError

from heraci.settings.layers import Layer
from heraci.settings.values import UNSHOWN, is_credential

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "byte_size": "a size such as 512MiB or 4GiB",
    "byte_size_unit": "a size such as 512MiB or 4GiB",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_type": "a whole number",
    "model_type": "a table",
    "path_type": "a path",
    "string_too_short": "a text that is not empty",
    "string_type": "a text",
    "tuple_type": "a list",
}
_LONGEST = 60


def sentences(error: ValidationError, layer: Layer, secret: Collection[str]) -> Iterator[str]:
    """Say what pydantic found: where, what is expected, and what is there if it may be shown."""
    for detail in error.errors(include_url=False):
        # pydantic adds places that no person wrote, such as the key itself.
        path = [each for each in detail["loc"] if each != "[key]"]
        hidden = (
            detail["type"] == UNSHOWN
            or path[0] in secret
            or any(is_credential(str(each)) for each in path)
        )
        found = "" if hidden else f", not {_short(detail['input'])}"
        yield f"{layer.subject(path)} must be {_expected(detail)}{found}."


def _expected(detail: ErrorDetails) -> str:
    """Say what a value should have been, to follow "must be"."""
    context = detail.get("ctx", {})
    if "error" in context:
        return str(context["error"])
    if detail["type"] == "greater_than":
        return f"greater than {context['gt']:g}"
    if detail["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    return _EXPECTED.get(detail["type"], detail["msg"])


def _short(value: object) -> str:
    """Show a value as TOML and JSON write it, cut to a length that fits a sentence."""
    if isinstance(value, SecretStr):
        return "that"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def told(mistakes: Sequence[str]) -> str:
    """Join what is wrong into one message, each once."""
    once = list(dict.fromkeys(mistakes))
    if len(once) == 1:
        return once[0]
    return "\n".join([f"{len(once)} settings cannot be right:", *(f"- {each}" for each in once)])
