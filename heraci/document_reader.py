"""Reads a YAML text as plain data, and refuses what heraci never writes."""

from __future__ import annotations

from typing import Any

import yaml

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C where PyYAML was built with it


def read(text: str | bytes) -> list[Any]:
    """Read all documents; see `document.load`."""
    try:
        return [_built(node, set()) for node in yaml.compose_all(text, Loader=_Loader)]
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {error}") from error


class _Loader(_Parser):  # type: ignore[misc]  # PyYAML's own class, whichever it is
    """Reads as PyYAML's safe loader does, but finds out what a scalar means once for each text."""

    depth = 0

    def descend_resolver(self, *_: Any) -> None:
        """Count the depth, which libyaml's composer follows until the stack is full."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError("the YAML is nested too deeply")

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            return str(super().resolve(kind, value, implicit))
        key = (value, implicit)
        tag = _tags.get(key)
        if tag is None:
            if len(_tags) > 65536:
                _tags.clear()
            tag = _tags[key] = str(super().resolve(kind, value, implicit))
        return tag


_tags: dict[Any, str] = {}
_STRING = "tag:yaml.org,2002:str"
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_DEEPEST = 200
_constructor = yaml.constructor.SafeConstructor()


def _built(node: yaml.Node, seen: set[int]) -> Any:
    if isinstance(node, yaml.ScalarNode):
        if node.tag == _STRING:
            return node.value
        return _constructor.construct_object(node)
    if id(node) in seen:
        raise ValueError("the YAML has an alias, which no bundle of heraci's has")
    seen.add(id(node))
    if node.tag not in _COLLECTIONS:
        raise ValueError(f"the YAML has the tag {node.tag}")
    if isinstance(node, yaml.SequenceNode):
        return [_built(each, seen) for each in node.value]
    return {_key(key): _built(value, seen) for key, value in node.value}


def _key(node: yaml.Node) -> str:
    if node.tag != _STRING or not isinstance(node.value, str):
        raise ValueError("the YAML has a key that is no string")
    return node.value
