"""The settings that hold where a pull request is looked at: its base's, and what it may say itself.

`Settings.within` says which are whose. Here they are read from the base's commit, and what the
pull request changes of them is named, so that a reviewer sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from heraci.bundle import Finding, Severity
from heraci.errors import SettingsError
from heraci.settings import OWN, VARIABLES, Kubeconfig, Settings
from heraci.settings.layers import kebab
from heraci.settings.sources import PREFIX

FILES = ("heraci.toml", "pyproject.toml", "hera.config")

_OWN = frozenset(map(kebab, OWN))
# Of the pull request's own: what its experiments are made of. A review shows what came of it.
_CONTENT = frozenset(
    {
        *("arguments", "data", "dependencies-from", "environment", "experiments-dir", "inputs"),
        *("no-cache", "offline", "path", "python"),
    }
)
_TABLES = frozenset({"experiments", "target-experiments"})
_PASSED = "pass-environ"
# Where a commit's files are read from: of a path that lies there, what the commit calls it counts.
_FOLDER = re.compile(r"[^\s:]*/heraci-\w{8}/")


class Tree(Protocol):
    """The files of a commit."""

    @property
    def files(self) -> Mapping[str, str]: ...
    def locate(self, path: str) -> str | None: ...
    def read_many(self, paths: Iterable[str]) -> Mapping[str, bytes]: ...


def explicit(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Give what flags and variables say, which no commit of the repository can change."""
    # One that is no setting may be an experiment's: which ones are, a commit says.
    known = {f"{PREFIX}{name.upper()}" for name in VARIABLES}
    alone = {
        name: value
        for name, value in environ.items()
        if name != "ARGOCONFIG" and (name in known or not name.startswith(PREFIX))
    }
    return Settings.load(flags, environ=alone, project_file=("heraci.toml", ""))


def of_commit(
    tree: Tree, folder: Path, root: Path, flags: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[Settings, tuple[Finding, ...]]:
    """Read the settings of a commit, with the files that they name, into an empty folder.

    Where they cannot be read none of them holds, and a warning says so: otherwise no pull request
    could put them right.
    """
    _copy(tree, [*FILES, environ.get("ARGOCONFIG", "")], folder)
    chosen = environ.get("ARGOCONFIG", "").strip()
    if chosen and not (folder / chosen).is_file():
        environ = {**environ, "ARGOCONFIG": str(root / chosen)}
    try:
        settings = Settings.load(flags, environ=environ, directory=folder)
    except SettingsError as error:
        finding = Finding(
            rule="base-settings",
            severity=Severity.WARNING,
            message=f"The settings of the base cannot be read, and none of them holds: {error}",
            file=FILES[0],
        )
        return explicit(flags, environ), (finding,)
    return _with_files(settings, tree, folder, root), ()


def _with_files(settings: Settings, tree: Tree, folder: Path, root: Path) -> Settings:
    """Let a file of the repository that settings name be the commit's, not the one checked out."""

    def kept(path: Path) -> Path:
        for place in (folder, root):
            if path.absolute().is_relative_to(place):
                name = path.absolute().relative_to(place).as_posix()
                # A kubeconfig names others beside it.
                beside = [each for each in tree.files if Path(each).parent == Path(name).parent]
                _copy(tree, [name, *beside] if tree.locate(name) else [], folder)
                return folder / name if tree.locate(name) or place == folder else path
        return path

    changed: dict[str, Any] = {}
    if settings.cache_dir.is_relative_to(folder):
        changed["cache_dir"] = root / settings.cache_dir.relative_to(folder)
    if settings.ca_certificate is not None:
        changed["ca_certificate"] = kept(settings.ca_certificate)
    if settings.kubeconfig is not None and settings.kubeconfig.paths:
        paths = tuple(map(kept, settings.kubeconfig.paths))
        changed["kubeconfig"] = Kubeconfig(paths=paths)
    return settings.model_copy(update=changed) if changed else settings


def _copy(tree: Tree, names: Iterable[str], folder: Path) -> None:
    held = tree.read_many([name for name in dict.fromkeys(names) if tree.locate(name)])
    for name, content in held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def changes(trusted: Settings, proposed: Settings, file: str = "heraci.toml") -> list[Finding]:
    """Name each setting that a pull request changes and that its experiments do not show."""
    before, after = (
        {name: _FOLDER.sub("", value) for name, value, _ in each.rows()}
        for each in (trusted, proposed)
    )
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name) or "nothing", after.get(name) or "nothing"
        if was != now and (told := _told(name)):
            rule, severity, why = told
            message = f"{name} changes from {was} to {now}: {why}."
            found.append(Finding(rule=rule, severity=severity, message=message, file=file))
    return found


def _told(name: str) -> tuple[str, Severity, str] | None:
    """Say what a change of one setting means; None where the experiments show it."""
    first, _, rest = name.partition(".")
    key = rest.rpartition(".")[2] if first in _TABLES else first
    if key == _PASSED:
        why = "what it adds reaches no experiment before this is merged"
        return "steering-changed", Severity.WARNING, why
    if key in _CONTENT or first == "hera-config":
        return None
    if first in _OWN:
        why = "it says how experiments are compiled, where no secret is, and holds for this review"
        return "limit-changed", Severity.NOTICE, why
    why = "it steers how credentials are used, or what is allowed, and holds once this is merged"
    return "steering-changed", Severity.WARNING, why
