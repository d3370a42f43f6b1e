"""`hera.config`: the files of hera_utils and hera_k8s_utils, in ConfigArgParse's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heraci.errors import SettingsError
from heraci.settings.layers import Layer
from heraci.settings.values import is_credential

# How hera_utils and hera_k8s_utils call them in a hera.config.
KEYS = {
    "argo_server": "argo_server",
    "argo_token": "argo_token",
    "argo_namespace": "namespace",
    "argo_service_account": "service_account",
    "service_account": "service_account",
    "k8s_config_file": "kubeconfig",
}


@dataclass(frozen=True, kw_only=True)
class HeraConfig:
    """What one `hera.config` says: settings that heraci knows, and arguments that it does not.

    `withheld` are arguments whose names speak of a credential: no experiment gets to see one.
    """

    layer: Layer
    origin: str
    arguments: dict[str, Any] = field(repr=False)
    withheld: dict[str, str] = field(repr=False)


def hera_configs(
    environ: Mapping[str, str], directory: Path | None, mistakes: list[str]
) -> list[HeraConfig]:
    """Read the `hera.config` files there are, the first to be asked first.

    Without a directory the one beside the experiments is left alone: it is not of the commit that
    may steer.
    """
    places = [
        (directory / "hera.config", "./hera.config") if directory else None,
        _named_config(environ, directory, mistakes),
        (Path(environ["HOME"]) / "hera.config", "~/hera.config") if environ.get("HOME") else None,
    ]
    configs: dict[Path, HeraConfig] = {}
    for path, name in filter(None, places):
        if path.is_file() and path.resolve() not in configs:
            try:
                configs[path.resolve()] = _hera_config(path, f"hera.config ({name})")
            except SettingsError as error:
                mistakes.append(str(error))
    return list(configs.values())


def _named_config(
    environ: Mapping[str, str], directory: Path | None, mistakes: list[str]
) -> tuple[Path, str] | None:
    name = environ.get("ARGOCONFIG", "").strip()
    if not name:
        return None
    path = (directory or Path()) / Path(name).expanduser()
    if not path.is_file():
        mistakes.append(f"ARGOCONFIG must name a file; there is none at {name}.")
    return path, name


def _hera_config(path: Path, origin: str) -> HeraConfig:
    from configargparse import ConfigFileParserException, DefaultConfigFileParser

    try:
        with path.open(encoding="utf-8") as stream:
            items: Mapping[str, Any] = DefaultConfigFileParser().parse(stream)
    except (OSError, UnicodeDecodeError, ConfigFileParserException):
        # The parser's own message holds the line it stumbled over, and that may hold a token.
        raise SettingsError(f"{origin} cannot be read; its lines must be name = value.") from None
    names = {key: key.lstrip("-").replace("-", "_") for key in items}
    known = {key: KEYS[name] for key, name in names.items() if name in KEYS}
    values = {name: items[key] for key, name in known.items() if items[key] not in ("", [])}
    others = {names[key]: value for key, value in items.items() if key not in known}
    layer = Layer(
        values=values,
        origins=dict.fromkeys(values, origin),
        subject=lambda location: (
            f"{origin}: {next(key for key, name in known.items() if name == location[0])}"
        ),
    )
    return HeraConfig(
        layer=layer,
        origin=origin,
        arguments={name: value for name, value in others.items() if not is_credential(name)},
        withheld={name: str(value) for name, value in others.items() if is_credential(name)},
    )
