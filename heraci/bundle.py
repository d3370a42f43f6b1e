"""The bundle: what compiling found, as frozen values, and as `bundle.json` beside the YAML.

A bundle is data, and untrusted data: it is made where strangers' code may run and read where
secrets are. So nothing of it is trusted that can be computed anew (digests are), and reading it
checks every type and refuses a path that leaves the bundle's folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from heraci import document
from heraci.errors import BundleError

SCHEMA = "heraci.bundle/v1"
INDEX = "bundle.json"


class Severity(StrEnum):
    """How much a finding weighs; GitHub's three levels, the gravest first."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


class Status(StrEnum):
    """What became of one experiment between base and head."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"  # affected by the change, yet its manifests are the same
    REMOVED = "removed"
    UNAFFECTED = "unaffected"  # nothing that it is made of has changed; not compiled
    COMPILED = "compiled"  # nothing was compared: no base, or comparing was switched off
    FAILED = "failed"


class Origin(StrEnum):
    """Who says that a resource is required."""

    MANIFEST = "manifest"
    ENVIRONMENT = "environment"
    COMPILING = "compiling"  # the experiment asked the Kubernetes API for it while compiling


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a person should know about the work at hand.

    `rule` is a stable kebab-case id; `file` is relative to the repository's root, in POSIX form;
    `line` counts from 1.
    """

    rule: str
    severity: Severity
    message: str
    experiment: str | None = None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """One cluster resource that a manifest, an Environment or a script asks for.

    `namespace` is None where the target's own is meant. `access` holds PVC access modes and
    `storage` a Kubernetes quantity; both only where something declares them. `source` is the
    `file:line` that needs it, `template` the Argo template.
    """

    kind: str
    name: str
    api_version: str = "v1"
    namespace: str | None = None
    keys: tuple[str, ...] = ()
    access: tuple[str, ...] = ()
    storage: str | None = None
    origin: Origin = Origin.MANIFEST
    template: str | None = None
    source: str | None = None
    optional: bool = False

    def __str__(self) -> str:
        """Kind, namespace where one is given, and name: `PersistentVolumeClaim/argo/data`."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One Kubernetes document, and where it comes from.

    `name` is the document's name, else its generateName. `file` is relative to the bundle's
    folder, `index` counts the documents of that file from 0. `sources` maps `""` (the workflow),
    `TEMPLATE` and `TEMPLATE/TASK` to `file:line`.
    """

    kind: str
    name: str
    namespace: str | None = None
    digest: str
    document: Mapping[str, Any] = field(repr=False)
    file: str | None = None
    index: int = 0
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledExperiment:
    """One experiment at head, and its manifests at base beside it.

    `path` is the entry file, `source_files` all files of the repository that decided the result.
    `base_error` says why there is nothing to compare with. `pins` are the resolved versions of its
    own environment, empty where heraci's was used. `log` is what it printed, raw and cut to size:
    escape it before it is shown.
    """

    name: str
    path: str
    status: Status
    reasons: tuple[str, ...] = ()
    source_files: tuple[str, ...] = ()
    python: str | None = None
    hera: str | None = None
    pins: tuple[str, ...] = ()
    manifests: tuple[Manifest, ...] = ()
    base_manifests: tuple[Manifest, ...] = ()
    base_error: str | None = None
    requirements: tuple[Requirement, ...] = ()
    log: str = ""
    text: str = field(default="", repr=False, compare=False)


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Give the findings that make the work at hand not right."""
    return tuple(each for each in findings if each.severity is Severity.ERROR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """All that a review, an assertion or a submission needs to know of one compilation.

    `settings` are those that reached the experiments, never a secret; `versions` name heraci and
    its Python. `dirty` says that the files it was made from are not those of `commit`. `known` are
    files of the folder that belong to experiments which exist and were not compiled this time.
    """

    target: str | None = None
    commit: str | None = None
    dirty: bool = False
    base: str | None = None
    merge_base: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    experiments: tuple[CompiledExperiment, ...] = ()
    findings: tuple[Finding, ...] = ()
    known: tuple[str, ...] = ()

    @property
    def manifests(self) -> Iterable[tuple[CompiledExperiment, Manifest]]:
        """Each manifest of the head with the experiment that made it."""
        return ((each, manifest) for each in self.experiments for manifest in each.manifests)

    def error_findings(self) -> tuple[Finding, ...]:
        """The findings that make the work at hand not right."""
        return errors_of(self.findings)


def plain(value: Any) -> Any:
    """Turn a value of this module into JSON's types, leaving out what stands at its default."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, LazyDocument):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _record(value)
    return value


def _record(value: Any, without: Collection[str] = ()) -> dict[str, Any]:
    kind: Any = type(value)
    return {
        name: plain(item)
        for name, default in _defaults(kind)
        if name not in without and (item := getattr(value, name)) != default
    }


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Give the fields of a value with their defaults, MISSING where there is none."""
    return tuple(
        (each.name, each.default if each.default_factory is MISSING else each.default_factory())
        for each in fields(kind)
    )


class LazyDocument(Mapping[str, Any]):
    """A document that is still JSON text, and is read when somebody looks into it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _content(self) -> dict[str, Any]:
        return dict(json.loads(self.text))

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


def index_line(experiment: CompiledExperiment) -> str:
    """Write one experiment as the one line that it has in `bundle.json`.

    The head's documents are left to their YAML files; the base's are held here.
    """
    record = {}
    for name, default in _defaults(CompiledExperiment):
        item = getattr(experiment, name)
        if name == "text" or item == default:
            continue
        if name == "manifests":
            record[name] = [_record(each, without=["document"]) for each in item]
        else:
            record[name] = plain(item)
    return _json(record)


def index(bundle: Bundle, lines: Iterable[str]) -> str:
    """Write `bundle.json`: a line for each experiment, so that two of them can be compared."""
    head = plain(replace(bundle, experiments=(), findings=()))
    findings = [_json(plain(each)) for each in bundle.findings]
    parts = [f"{_json(key)}: {_json(value)}" for key, value in ({"schema": SCHEMA} | head).items()]
    parts.append(f'"experiments": {_lines(lines)}')
    parts.append(f'"findings": {_lines(findings)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(items: Iterable[str]) -> str:
    text = ",\n".join(items)
    return f"[\n{text}\n]" if text else "[]"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    # A file's name that is no UTF-8 has lone surrogates in Python, which UTF-8 cannot hold.
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def read_index(text: str | bytes, origin: str) -> dict[str, Any]:
    """Parse `bundle.json` and check that it is one; BundleError names `origin`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{origin} is not JSON: {error}. Compile again to renew it.") from error
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        raise BundleError(
            f"{origin} has the schema {found!r}, this heraci reads {SCHEMA!r}. "
            "Compile again with this version."
        )
    return dict(data)


def load(folder: Path) -> Bundle:
    """Read a bundle back, its YAML with it, and take each digest anew.

    Raises BundleError for what is missing, malformed, outside the folder, or not what the index
    says of it.
    """
    from pydantic import TypeAdapter, ValidationError  # not at import: `--help` must stay light

    path = folder / INDEX
    data = _read(path)
    data.pop("schema")
    files: dict[str, list[Any]] = {}
    try:
        for experiment in data.get("experiments", ()):
            for manifest in experiment.get("manifests", ()):
                manifest["document"] = _document(folder, manifest, files)
        bundle = TypeAdapter(Bundle).validate_python(data)
    except (AttributeError, TypeError) as error:
        raise BundleError(f"{path} is not made as {SCHEMA} says: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(each) for each in first["loc"])
        raise BundleError(f"{path}: {where}: {first['msg']}") from None
    for experiment in bundle.experiments:
        for manifest in (*experiment.manifests, *experiment.base_manifests):
            _check_digest(path, manifest)
    return bundle


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.is_symlink():
            raise BundleError(f"{path} is a link, a bundle holds plain files only")
        return read_index(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise BundleError(
            f"{path} does not exist: {path.parent} holds no bundle. Run `heraci compile` first."
        ) from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _document(folder: Path, manifest: Any, files: dict[str, list[Any]]) -> Any:
    name = manifest.get("file")
    if not isinstance(name, str) or not is_inside(name):
        raise BundleError(f"{folder / INDEX} names a file outside the bundle: {name!r}")
    if name not in files:
        path = folder / name
        try:
            if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
                raise BundleError(f"{path} is a link, a bundle holds plain files only")
            files[name] = document.load(path.read_bytes())
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise BundleError(f"{path} is not YAML that heraci wrote: {error}") from error
    documents, number = files[name], manifest.get("index", 0)
    if not isinstance(number, int) or not 0 <= number < len(documents):
        raise BundleError(f"{folder / name} holds no document {number}")
    return documents[number]


def _check_digest(path: Path, manifest: Manifest) -> None:
    try:
        found = document.digest(manifest.document)
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: {manifest.kind}/{manifest.name} holds what no manifest can hold: {error}"
        ) from error
    if found != manifest.digest:
        raise BundleError(
            f"{path}: {manifest.kind}/{manifest.name} has the digest {found}, "
            f"the index says {manifest.digest}: the bundle was changed after it was compiled."
        )


def is_inside(path: str) -> bool:
    """Tell whether a POSIX path, taken literally, stays inside the folder it is relative to."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema of `bundle.json`, which `docs/bundle.schema.json` publishes."""
    from pydantic import TypeAdapter

    schema = _without_null(TypeAdapter(Bundle).json_schema())
    kinds = schema.pop("$defs")
    for each in (schema, *kinds.values()):
        if each["type"] == "object":
            each["additionalProperties"] = False
    experiment = kinds["CompiledExperiment"]["properties"]
    experiment.pop("text")
    base = kinds.pop("Manifest")
    base["properties"]["digest"] = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
    base["properties"]["file"] = {"type": "string", "pattern": _INSIDE}
    # The head's documents are in the YAML files, the base's are here.
    head = {**base, "properties": {**base["properties"]}, "required": ["kind", "name", "digest"]}
    head["required"].append("file")
    del head["properties"]["document"]
    experiment["manifests"]["items"] = {"$ref": "#/$defs/Manifest"}
    experiment["base_manifests"]["items"] = {"$ref": "#/$defs/BaseManifest"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        **schema,
        "properties": {"schema": {"const": SCHEMA}, **schema["properties"]},
        "required": ["schema", "experiments", "findings"],
        "$defs": {**kinds, "Manifest": head, "BaseManifest": base},
    }


_INSIDE = r"^(?!/)(?!(.*/)?\.\.(/|$))"


def _without_null(node: Any) -> Any:
    """Take out what `bundle.json` never holds: a null is left out, like every default."""
    if isinstance(node, list):
        return [_without_null(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "anyOf" in node:
        (node,) = (each for each in node["anyOf"] if each != {"type": "null"})
    kept = {key: each for key, each in node.items() if key not in ("title", "default")}
    return {key: _without_null(each) for key, each in kept.items()}
