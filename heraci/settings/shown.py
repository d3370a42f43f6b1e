"""How settings are shown to people: masked, in the units they are written in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ByteSize, SecretStr

from heraci.settings.layers import kebab
from heraci.settings.values import is_credential, without_credentials

MASK = "***"


def parts_of(value: object) -> Iterator[tuple[str, object]]:
    """Take a table apart, so that each of its keys is shown with its own origin."""
    if not isinstance(value, dict):
        yield "", value
        return
    for key, each in value.items():
        if isinstance(each, BaseModel):
            said = [name for name in type(each).model_fields if name in each.model_fields_set]
            yield from ((f".{key}.{kebab(name)}", getattr(each, name)) for name in said)
        else:
            yield f".{key}", each


def shown(name: str, value: Any) -> str:
    """Write one value for people; what is a secret, by type or by name, is masked."""
    if value is None:
        return "not set"
    if isinstance(value, SecretStr):
        return _masked(value.get_secret_value())
    if is_credential(name.rpartition(".")[2]):
        return MASK
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, ByteSize):
        return size_text(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _masked(secret: str) -> str:
    """Hide a secret; of an address that holds one, only that part."""
    return without_credentials(secret) if "://" in secret else MASK


def size_text(size: int) -> str:
    """Write a size in the largest unit that it is a whole number of."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return f"{size}B"
