"""Which secrets there are: for masking what is shown and for searching what gets published."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from heraci.settings.values import Kubeconfig, is_credential

# A shorter one would be found everywhere, and is hardly a secret.
_SHORTEST = 8


def secrets_in(value: object) -> Iterator[str]:
    """List the secrets that one setting holds, whole and in the parts that matter by themselves."""
    if isinstance(value, Kubeconfig):
        yield from _kubeconfig_secrets(value)
    elif isinstance(value, SecretStr):
        text = value.get_secret_value()
        if "://" not in text:
            yield text
        elif password := urlsplit(text).password:
            yield from (text, password, unquote(password))


def _kubeconfig_secrets(kubeconfig: Kubeconfig) -> Iterator[str]:
    """List the tokens, passwords and keys of a kubeconfig; files that cannot be read have none."""
    import yaml

    texts = [path.read_bytes() for path in kubeconfig.paths if path.is_file()]
    if kubeconfig.content is not None:
        yield kubeconfig.content.get_secret_value()
        texts.append(kubeconfig.content.get_secret_value().encode())
    for text in texts:
        try:
            yield from _credentials_below(yaml.safe_load(text))
        except yaml.YAMLError:
            continue


def _credentials_below(node: Any) -> Iterator[str]:
    """Walk a kubeconfig for values whose key speaks of a credential."""
    if isinstance(node, list):
        for each in node:
            yield from _credentials_below(each)
    elif isinstance(node, dict):
        # An exec plugin's environ is a list of name and value.
        if is_credential(str(node.get("name", ""))) and isinstance(node.get("value"), str):
            yield node["value"]
        for key, value in node.items():
            if isinstance(value, str) and is_credential(str(key)):
                yield from _with_decoded(str(key), value)
            else:
                yield from _credentials_below(value)


def _with_decoded(key: str, value: str) -> Iterator[str]:
    """Add to a key in base64 the key itself."""
    yield value
    if key.endswith("-data"):
        try:
            yield b64decode(value, validate=True).decode()
        except ValueError:
            return


def environ_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """List what the environ holds under names that speak of credentials."""
    for name, value in environ.items():
        if is_credential(name) and len(value.strip()) >= _SHORTEST:
            yield value.strip()


def leaking(environ: Mapping[str, str], secrets: Iterable[SecretStr]) -> list[str]:
    """Name the variables whose value holds a secret."""
    texts = [each.get_secret_value() for each in secrets]
    return [
        name
        for name, value in environ.items()
        if any(text in value for text in texts if len(text) >= _SHORTEST)
    ]
