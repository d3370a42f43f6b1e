"""Where settings come from: flags, the environ and the tables of heraci.toml, each a layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heraci.errors import SettingsError
from heraci.settings.layers import Layer, flag_of, kebab, nearest, plain_layer
from heraci.settings.project_file import (
    HERACI_TOML,
    ProjectFile,
    find_project_file,
    parse_project_file,
)
from heraci.settings.values import kubeconfig_content, without_credentials

PREFIX = "HERACI_"

USUAL_VARIABLES = {
    "ARGO_SERVER": "argo_server",
    "ARGO_TOKEN": "argo_token",
    "ARGO_NAMESPACE": "namespace",
    "ARGO_SERVICE_ACCOUNT": "service_account",
    "ARGO_INSECURE_SKIP_VERIFY": "insecure_skip_tls_verify",
    "KUBECONFIG": "kubeconfig",
    "GITHUB_TOKEN": "github_token",
}
# Kubernetes puts these into each pod of a namespace that has a service called heraci or heraci-….
_SERVICE_VARIABLE = re.compile(
    r"HERACI_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
# As many names as a sentence can list.
_FEW = 20
# Relative to the file that names them, wherever heraci was started.
_FILE_RELATIVE = ("ca_certificate", "cache_dir")


def flags_layer(flags: Mapping[str, Any], fields: Iterable[str]) -> Layer:
    """Take what the command line gave; what is None or empty was not given."""
    strangers = set(flags) - set(fields)
    if strangers:
        raise TypeError(f"no setting is called {', '.join(sorted(strangers))}")
    values = {name: value for name, value in flags.items() if value not in (None, "", [], ())}
    return plain_layer(
        values, {name: flag_of(name, value) for name, value in values.items()}, explicit=True
    )


def heraci_layer(environ: Mapping[str, str], fields: Iterable[str]) -> Layer:
    """Take the `HERACI_*` variables."""
    names = {f"{PREFIX}{name.upper()}": name for name in fields}
    return _environ_layer(environ, names, explicit=True)


def usual_layer(environ: Mapping[str, str]) -> Layer:
    """Take the variables that Argo's, Kubernetes' and GitHub's own tools read."""
    layer = _environ_layer(environ, USUAL_VARIABLES)
    server = str(layer.values.get("argo_server", "https://"))
    # Argo's own tools speak HTTP where ARGO_SECURE says so.
    if "://" not in server and environ.get("ARGO_SECURE", "").strip().lower() == "false":
        return plain_layer({**layer.values, "argo_server": f"http://{server}"}, layer.origins)
    return layer


def _environ_layer(
    environ: Mapping[str, str], names: Mapping[str, str], *, explicit: bool = False
) -> Layer:
    """Take some variables; an empty one is an absent one."""
    given = {name: environ[name].strip() for name in names if environ.get(name, "").strip()}
    return plain_layer(
        {names[name]: value for name, value in given.items()},
        {names[name]: name for name in given},
        explicit=explicit,
    )


def with_token_from_file(layer: Layer, mistakes: list[str]) -> Layer:
    """Read the token out of the file that `argo-token-file` names, as runners mount secrets."""
    file = layer.values.get("argo_token_file")
    if file is None or "argo_token" in layer.values:
        return layer
    origin = layer.origins["argo_token_file"]
    try:
        token = Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        mistakes.append(f"{origin} must name a file that can be read as text.")
        return layer
    return plain_layer(
        {**layer.values, "argo_token": token},
        {**layer.origins, "argo_token": origin},
        explicit=layer.explicit,
    )


def unknown_variables(
    environ: Mapping[str, str], fields: Iterable[str], passed: Iterable[str]
) -> Iterator[str]:
    """Name each `HERACI_*` variable that is no setting, and what was probably meant."""
    known = {name.upper(): name for name in fields}
    for variable in sorted(set(environ) - set(passed)):
        name = variable.removeprefix(PREFIX)
        value = environ[variable].strip()
        if variable == name or name in known or not value or _is_of_service(variable, value):
            continue
        meant = nearest(name, known)
        advice = (
            f"did you mean {PREFIX}{meant}?"
            if meant
            else "unset it, or list it in pass-environ if an experiment reads it."
        )
        yield f"{variable} is not a setting of heraci: {advice}"


def _is_of_service(variable: str, value: str) -> bool:
    """Tell the variables that Kubernetes makes for services from ours."""
    if variable.endswith("_PORT") and _SERVICE_ADDRESS.match(value):
        return True
    return bool(_SERVICE_VARIABLE.fullmatch(variable))


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Which fields a heraci.toml may hold, general ones and those of one experiment.

    `refused` says for the others what to do instead.
    """

    general: frozenset[str]
    experiment: frozenset[str]
    refused: Mapping[str, str]


def file_layers(
    project: ProjectFile,
    target: str | None,
    keys: Keys,
    directory: Path | None,
    mistakes: list[str],
) -> tuple[Layer, Layer, list[Layer]]:
    """Split a project's file: the chosen target's table, what is for all, the other targets."""
    tables = _tables(project, ("targets",), mistakes)
    layers = {
        name: _file_layer(project, ("targets", name), keys, directory, mistakes) for name in tables
    }
    general = _file_layer(project, (), keys, directory, mistakes)
    chosen = layers.pop(target, None) if target else None
    return chosen or plain_layer({}, {}), general, list(layers.values())


def _file_layer(
    project: ProjectFile,
    path: tuple[str, ...],
    keys: Keys,
    directory: Path | None,
    mistakes: list[str],
) -> Layer:
    """Read one table that holds general settings: the file's own, or one target's."""
    known = {kebab(name) for name in keys.general} | {"experiments"}
    extra = set() if path else {"targets", "default-target"}
    table = _known(project, path, known | extra, keys.refused, mistakes)
    values = {
        name.replace("-", "_"): value
        for name, value in table.items()
        if name not in extra | {"experiments"}
    }
    for name in list(values):
        refusal = _refuse_value(name, values[name], directory, values)
        if refusal:
            mistakes.append(f"{project.subject((*path, kebab(name)))} {refusal}")
            del values[name]
    experiments = _experiments(project, (*path, "experiments"), keys, mistakes)
    field_of_experiments = "target_experiments" if path else "experiments"
    if experiments:
        values[field_of_experiments] = experiments

    def subject(location: Sequence[str | int]) -> str:
        first, *rest = location
        name = "experiments" if first == field_of_experiments else kebab(str(first))
        # Below experiments lies the experiment's own name, then a field again.
        if name == "experiments":
            rest[1:2] = [kebab(str(each)) for each in rest[1:2]]
        return project.subject((*path, name, *rest))

    return Layer(
        values=values, origins=dict.fromkeys(values, project.origin(path)), subject=subject
    )


def _refuse_value(
    name: str, value: object, directory: Path | None, values: dict[str, Any]
) -> str | None:
    """Say why a value has no place in a file of the repository; make its paths the file's own."""
    if value == "":
        return "must not be empty; leave it out instead."
    if not isinstance(value, str):
        return None
    if name == "kubeconfig":
        if kubeconfig_content(value) is not None:
            return (
                "must be a path: a kubeconfig's content is a secret and does not belong in the "
                f"repository. Set {PREFIX}KUBECONFIG or KUBECONFIG to it."
            )
        values[name] = ":".join(_beside(directory, part) for part in value.split(":") if part)
    elif name == "index_url" and without_credentials(value) != value:
        return (
            "must not hold a user or a password, which do not belong in the repository. "
            f"Set {PREFIX}INDEX_URL to the whole address."
        )
    elif name in _FILE_RELATIVE:
        values[name] = _beside(directory, value)
    return None


def _beside(directory: Path | None, path: str) -> str:
    """Make a path that a file names relative to the file's folder."""
    return path if directory is None or path.startswith("~") else str(directory / path)


def _experiments(
    project: ProjectFile, path: tuple[str, ...], keys: Keys, mistakes: list[str]
) -> dict[str, Any]:
    """Read the tables of single experiments, for all targets or for one."""
    known = {kebab(name) for name in keys.experiment}
    return {
        name: {
            key.replace("-", "_"): value
            for key, value in _known(project, (*path, name), known, {}, mistakes).items()
        }
        for name in _tables(project, path, mistakes)
    }


def _tables(project: ProjectFile, path: tuple[str, ...], mistakes: list[str]) -> list[str]:
    """List the tables below a path, and refuse there what is none."""
    table = _at(project, path)
    if not isinstance(table, dict):
        mistakes.append(f"{project.subject(path)} must be a table.")
        return []
    wrong = [name for name, value in table.items() if not isinstance(value, dict)]
    mistakes += [f"{project.subject((*path, name))} must be a table." for name in wrong]
    return [name for name in table if name not in wrong]


def _at(project: ProjectFile, path: Iterable[str]) -> Any:
    table: Any = project.table
    for key in path:
        table = table.get(key, {}) if isinstance(table, dict) else {}
    return table


def _known(
    project: ProjectFile,
    path: tuple[str, ...],
    known: set[str],
    refused: Mapping[str, str],
    mistakes: list[str],
) -> dict[str, Any]:
    """Take the keys of one table that are settings, and name for each other what was meant."""
    table: dict[str, Any] = _at(project, path)
    for key in [each for each in table if each not in known]:
        meant = nearest(key.replace("_", "-"), known)
        some = len(known) <= _FEW
        others = f"known here: {', '.join(sorted(known))}." if some else "see docs/settings.md."
        advice = f"did you mean {meant}?" if meant else others
        reason = refused.get(key.replace("-", "_"), f"is not a setting: {advice}")
        mistakes.append(f"{project.subject((*path, key))} {reason}")
    return {key: value for key, value in table.items() if key in known}


def read_project_file(
    directory: Path | None, given: tuple[str, str] | None, mistakes: list[str]
) -> ProjectFile:
    """Read the project's settings; what cannot be parsed counts as empty, so the rest is told."""
    try:
        return parse_project_file(*given) if given else find_project_file(directory or Path())
    except SettingsError as error:
        mistakes.append(str(error))
        return ProjectFile(name=HERACI_TOML)


def target_of(
    explicit: Sequence[Layer], project: ProjectFile, mistakes: list[str]
) -> tuple[str | None, list[Layer]]:
    """Find the target of this run, and make a layer of the file's default.

    A file without any target may still serve a run that names one: the first pull request that
    brings a heraci.toml is judged by a base that has none.
    """
    tables = project.table.get("targets", {})
    # What is no table at all is told elsewhere.
    tables = tables if isinstance(tables, dict) else {}
    given = [layer for layer in explicit if "target" in layer.values]
    default = _default_target(project, mistakes)
    for layer in given[:1] if tables else []:
        mistakes += _lacking(str(layer.values["target"]), layer.origins["target"], project, tables)
    if default and default not in tables:
        mistakes += _lacking(default, project.subject(["default-target"]), project, tables)
    if given:
        return str(given[0].values["target"]), []
    return default, [_default_target_layer(project, default)] if default else []


def _lacking(
    name: str, subject: str, project: ProjectFile, tables: Mapping[str, Any]
) -> Iterator[str]:
    if name not in tables:
        meant = nearest(name, tables)
        advice = f"did you mean {meant}?" if meant else f"add [targets.{name}]."
        yield f"{subject} names {name}, a target that {project.name} lacks: {advice}"


def _default_target(project: ProjectFile, mistakes: list[str]) -> str | None:
    default = project.table.get("default-target")
    if default is None or (isinstance(default, str) and default):
        return default
    mistakes.append(f"{project.subject(['default-target'])} must be a text, not {default!r}.")
    return None


def _default_target_layer(project: ProjectFile, name: str) -> Layer:
    origin = f"{project.origin()} default-target"
    return plain_layer({"target": name}, {"target": origin})


def circumstances(environ: Mapping[str, str]) -> Layer:
    """Choose defaults by where heraci runs."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return plain_layer({}, {})
    return plain_layer({"format": "github"}, {"format": "default in GitHub Actions"})
