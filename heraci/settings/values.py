"""What a single setting may hold, and how its text is read.

The message of a ValueError here ends the sentence "SETTING must be …".
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr
from pydantic_core import PydanticCustomError

# The type of a pydantic error whose value nobody may read, as it may hold a secret.
UNSHOWN = "unshown"

_CREDENTIAL = re.compile(
    r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?)$"
    r"|(^|_)(TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|SECRET_KEY|KEY_DATA)$"
)
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]{200,}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_credential(name: str) -> bool:
    """Say whether a variable or key of this name holds a password, a token or a key."""
    return bool(_CREDENTIAL.search(name.upper().replace("-", "_")))


def _number(value: object) -> object:
    """Refuse true and false, which pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "a number")
    return value


def _quantity(value: object) -> object:
    """Spell a Kubernetes quantity (4Gi) as pydantic does (4GiB)."""
    return f"{value}B" if isinstance(value, str) and value.endswith("i") else _number(value)


def split_names(value: object) -> object:
    """Split names at commas and white space, as one variable holds several."""
    return tuple(re.split(r"[,\s]+", value.strip(", \n\t"))) if isinstance(value, str) else value


def _no_credentials(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse to pass on what speaks of a credential: a manifest could hold it, and is published."""
    wrong = [name for name in names if is_credential(name) or name == "KUBECONFIG"]
    if wrong:
        raise PydanticCustomError(
            UNSHOWN,
            "without {names}: no experiment gets a credential, as its manifests are published. "
            "Let the workflow take it from a Secret of the cluster",
            {"names": ", ".join(wrong)},
        )
    return names


def _split_lines(value: object) -> object:
    """Split at line breaks, as one variable or input of an Action holds several."""
    if not isinstance(value, str):
        return value
    return tuple(line.strip() for line in value.splitlines() if line.strip())


def _kubernetes_name(value: str) -> str:
    """Check a name that becomes part of addresses of the Kubernetes API."""
    if len(value) > 253 or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", value):
        raise ValueError("a Kubernetes name (lower-case letters, digits, dashes and dots)")
    return value


def _namespace(value: str) -> str:
    """Check a namespace, which unlike other names has no dots."""
    if len(value) > 63 or not re.fullmatch(_LABEL, value):
        raise ValueError(
            "a namespace's name (lower-case letters, digits and dashes, at most 63 characters)"
        )
    return value


def server_address(value: str) -> str:
    """Write a server's address one way: with its scheme, without a port that goes without saying.

    The Argo UI hands out `argo.example.org:443`, Hera wants `https://argo.example.org`.
    """
    if "@" in value:
        raise PydanticCustomError(UNSHOWN, "an address without user and password")
    address = value if "://" in value else f"https://{value}"
    wrong = ValueError("an address such as argo.example.org:2746 or https://argo.example.org")
    if re.search(r"[\s?#<>]", address):
        raise wrong
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise wrong
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    explicit = f":{port}" if port and port != _DEFAULT_PORTS[parts.scheme] else ""
    return f"{parts.scheme}://{host}{explicit}{parts.path.rstrip('/')}"


def _token(value: object) -> object:
    """Take a token as people copy it: with `Bearer` before it, with a line break behind it."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        raise PydanticCustomError(UNSHOWN, "text")
    token = re.sub(r"^bearer\s+", "", text.strip(), flags=re.IGNORECASE)
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise PydanticCustomError(UNSHOWN, "one token, without white space or special characters")
    return token


def _pairs(value: object) -> object:
    """Read `name=value`, several of them, into a table; a table stays what it is."""
    if isinstance(value, Mapping):
        return plain_table(value)
    lines = _split_lines(value)
    if not isinstance(lines, list | tuple):
        raise PydanticCustomError("pairs", "a table, or name=value")
    pairs = {}
    for line in lines:
        name, equals, text = str(line).partition("=")
        if not equals or not name.strip():
            raise ValueError("name=value, or EXPERIMENT:name=value for one experiment")
        pairs[name.strip()] = text
    return pairs


def plain_table(value: object) -> object:
    """Turn what TOML knows and JSON does not (dates) into text, in a table and all below it."""
    if isinstance(value, Mapping):
        return {str(key): plain_table(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_table(each) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and value - value != 0:
        raise ValueError("made of finite numbers")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Kubeconfig:
    """How to reach a cluster: files in kubectl's order, or the content itself, as CI secrets hold.

    The content stays in memory.
    """

    paths: tuple[Path, ...] = ()
    content: SecretStr | None = None

    def __str__(self) -> str:
        """Name the files; a content shows only that it is there."""
        return os.pathsep.join(map(str, self.paths)) if self.content is None else "(content)"


def kubeconfig_content(text: str) -> str | None:
    """Find the content of a kubeconfig, plain or in base64; None where the text is none."""
    if _is_kubeconfig(text):
        return text
    try:
        decoded = b64decode("".join(text.split()), validate=True).decode()
    except ValueError:
        return None
    return decoded if _is_kubeconfig(decoded) else None


def _is_kubeconfig(text: str) -> bool:
    """Tell content from a path by the keys that each kubeconfig has."""
    return bool(re.search(r"(?m)^[\s{]*[\"']?(apiVersion|clusters|users|contexts)[\"']?\s*:", text))


def _kubeconfig(value: object) -> Kubeconfig:
    """Read a path list or a content; what is neither is not shown, it may be a broken secret."""
    if isinstance(value, Kubeconfig):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError(UNSHOWN, "a path, or the content of a kubeconfig")
    content = kubeconfig_content(value)
    if content is not None:
        _check_yaml(content)
        return Kubeconfig(content=SecretStr(content))
    if "\n" in value or _BASE64.fullmatch(value):
        raise PydanticCustomError(
            UNSHOWN, "a path, or the whole content of a kubeconfig, plain or in base64"
        )
    return Kubeconfig(
        paths=tuple(Path(part).expanduser() for part in value.split(os.pathsep) if part)
    )


def _check_yaml(content: str) -> None:
    """Refuse a content that was cut or badly indented on its way through a CI secret."""
    import yaml

    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError:
        document = None
    if not isinstance(document, dict) or not document.get("clusters"):
        raise PydanticCustomError(
            UNSHOWN, "the whole content of a kubeconfig: this one is no YAML that lists clusters"
        )


def _index(value: object) -> object:
    """Take the address of a package index, which may hold a password."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not re.match(r"(https?|file)://\S+$", text):
        raise PydanticCustomError(UNSHOWN, "an address such as https://pypi.example.org/simple")
    return text


def without_credentials(address: str) -> str:
    """Mask user and password of an address."""
    return re.sub(r"//[^/@]*@", "//***@", address)


Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_number), Field(gt=0)]
Size = Annotated[ByteSize, BeforeValidator(_quantity), Field(gt=0)]
Names = Annotated[tuple[Text, ...], BeforeValidator(split_names)]
PassedNames = Annotated[Names, AfterValidator(_no_credentials)]
Lines = Annotated[tuple[Text, ...], BeforeValidator(_split_lines)]
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
Namespace = Annotated[str, AfterValidator(_namespace)]
KubernetesName = Annotated[str, AfterValidator(_kubernetes_name)]
Address = Annotated[str, AfterValidator(server_address)]
Token = Annotated[SecretStr, BeforeValidator(_token)]
IndexAddress = Annotated[SecretStr, BeforeValidator(_index)]
KubeconfigSetting = Annotated[Kubeconfig, BeforeValidator(_kubeconfig)]
Table = Annotated[dict[str, Any], BeforeValidator(plain_table)]
Pairs = Annotated[dict[str, Any], BeforeValidator(_pairs)]
Decision = Literal["stop", "warn", "go-on"]
