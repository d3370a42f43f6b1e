"""Where heraci works: its repository or folder, both ends of a comparison, and what is chosen."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from heraci import changes, git, trust
from heraci.bundle import Finding, Severity
from heraci.changes import Affected, Change, Experiment
from heraci.errors import HeraciError, SettingsError
from heraci.settings import Settings

TOML, PYPROJECT, HERA_CONFIG = SETTINGS_FILES = trust.FILES


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which experiments a command is about: names or paths, all of them, or the affected ones."""

    names: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The two ends of a comparison, with the settings that hold at each of them.

    `committed` is the tree of `commit` where the head is not just that. `findings` name what a
    pull request changes of the settings.
    """

    head: changes.Tree
    settings: Settings
    range: git.Range
    commit: str | None
    committed: changes.Tree | None = None
    base: changes.Tree | None = None
    base_settings: Settings | None = None
    findings: tuple[Finding, ...] = ()

    def differs_from_commit(self, paths: Iterable[str]) -> bool:
        """Tell whether one of some files is not as the commit has it."""
        if self.committed is None:
            return False
        here, there = self.head.files, self.committed.files
        return any(here.get(path) != there.get(path) for path in paths)


class Workspace:
    """The folder that heraci works in: its repository, or just a folder; a context manager."""

    def __init__(
        self, directory: Path, environ: Mapping[str, str], flags: Mapping[str, Any]
    ) -> None:
        self.directory = directory
        self.environ = environ
        self.flags = flags
        self._stack = ExitStack()
        self.repository: git.Repository | None = None
        self._trusted: Settings | None = None
        self._of_base: tuple[Finding, ...] = ()

    def open(self) -> Self:
        """Find the repository, unless that was done already."""
        if self.repository is None:
            self.repository = git.Repository.open(self.directory)
            if self.repository is not None:
                self._stack.callback(self.repository.close)
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.repository = None

    @property
    def root(self) -> Path:
        """The folder that paths in findings and bundles are relative to."""
        return self.repository.root if self.repository else self.directory

    def inside(self, path: Path) -> str:
        """Give a folder's path relative to the root; it must lie inside."""
        full = Path(os.path.normpath(self.directory / path))
        for root in (self.root, self.root.resolve()):
            if full.is_relative_to(root):
                return full.relative_to(root).as_posix()
        resolved = full.resolve()
        if resolved.is_relative_to(self.root.resolve()):
            return resolved.relative_to(self.root.resolve()).as_posix()
        raise SettingsError(
            f"{path} lies outside {self.root}: experiments-dir names a folder inside the repository"
        )

    def commit(self, name: str | None) -> str:
        """Give the full id of a commit, of the one checked out where none is named."""
        if self.repository is None:
            raise SettingsError(f"{self.directory} is in no Git repository: name an experiment")
        if name is not None:
            return self.repository.resolve(name)
        head = self.repository.head_commit()
        if head is None:
            raise SettingsError("there is no commit yet, so nothing was submitted")
        return head

    def is_later_than(self, commit: str | None) -> Callable[[str], bool]:
        """Give a question: did another commit come after this one, as far as Git knows here."""

        def is_later(other: str) -> bool:
            with type(self)(self.directory, self.environ, self.flags) as again:
                repository = again.repository
                if repository is None or commit is None or other == commit:
                    return False
                known = repository.has(other) and repository.has(commit)
                return known and repository.common(commit, other) == commit

        return is_later

    @property
    def is_in_ci(self) -> bool:
        """Tell whether an event of CI says what this is about."""
        return bool(self.environ.get("GITHUB_EVENT_PATH"))

    def nearest_ancestor(self, commits: Iterable[str], of: str) -> str | None:
        """Give, of some commits, the one that is reached first when one walks back from another."""
        if self.repository is None:
            return None
        known = set(commits) - {of}
        return next((sha for sha in self.repository.history(of) if sha in known), None)

    def is_merged(self, name: str) -> bool:
        """Tell whether a commit is the one checked out, or one that led to it."""
        commit, here = self.commit(name), self.commit(None)
        assert self.repository is not None
        return commit == here or self.repository.common(commit, here) == commit

    def between(self, base: str | None, head: str | None) -> tuple[str, ...]:
        """List the commits of a branch after `base` up to `head`, the newest first.

        Empty where Git does not know them here: a job that reads a bundle needs no history.
        """
        repository = self.repository
        if repository is None or not (base and head and repository.has(base)):
            return ()
        return repository.history(head, since=base) if repository.has(head) else ()

    def compare(self, settings: Settings, selection: Selection) -> Compared:
        """Find out what is compared with what."""
        if self.repository is None:
            if settings.base or settings.head:
                raise SettingsError(
                    f"{self.directory} is in no Git repository: "
                    "--base and --head have no meaning here"
                )
            output = os.path.relpath(self.directory / settings.output, self.directory)
            folder = git.Folder(self.directory, output=output)
            whole = git.Range(kind="all")
            return Compared(head=folder, settings=settings, range=whole, commit=None)
        asked = self._range(settings, selection)
        compares = asked.kind not in ("all", "nothing")
        if compares:
            base, head = self.repository.trees(asked)
        else:
            base = None
            commit_only = asked.head is not None
            head = (
                self.repository.commit_tree(asked.head)
                if commit_only
                else self.repository.work_tree()
            )
        findings: tuple[Finding, ...] = ()
        if self._trusted is not None:
            proposed = self._proposed(head, settings)
            findings = (*self._of_base, *trust.changes(self._trusted, proposed))
            settings = proposed.within(self._trusted)
        elif asked.head is not None:
            # What is checked out may be another commit, with other inputs for the experiments.
            settings = self._settings_at(head, settings, head)
        return Compared(
            head=head,
            settings=settings,
            range=asked,
            commit=asked.head or self.repository.head_commit(),
            committed=self._committed(head),
            base=base,
            base_settings=self._settings_of(base, head, settings) if base is not None else None,
            findings=findings,
        )

    def _committed(
        self, head: git.CommitTree | git.EmptyTree | git.WorkTree
    ) -> changes.Tree | None:
        """Give the commit's own tree where the head holds what the commit does not."""
        if self.repository is None or not self.repository.is_dirty(head):
            return None
        return self.repository.commit_tree(self.repository.head_commit())

    def _range(self, settings: Settings, selection: Selection) -> git.Range:
        assert self.repository is not None
        named = settings.base or settings.head
        if (selection.every or selection.names) and not named:
            return git.Range(kind="all")
        if not named and self.environ.get("GITHUB_EVENT_PATH"):
            return git.event_range(self.environ, self._event(), self.repository)
        return git.range_between(self.repository, settings.base, settings.head)

    def _settings_of(self, base: changes.Tree, head: changes.Tree, settings: Settings) -> Settings:
        """Give the settings that held at the base: its files, this run's flags and target."""
        if all(base.files.get(name) == head.files.get(name) for name in SETTINGS_FILES):
            return settings
        try:
            return self._settings_at(base, settings, head)
        except SettingsError:
            return settings  # the target may be new, or its file was broken: take today's

    def _settings_at(self, tree: changes.Tree, settings: Settings, head: changes.Tree) -> Settings:
        """Give the settings by a tree's own files, for what reaches experiments."""
        flags = {**self.flags, "target": settings.target, "cache_dir": str(settings.cache_dir)}
        held = tree.read_many([name for name in SETTINGS_FILES if tree.locate(name)])
        own = self.root / HERA_CONFIG
        with tempfile.TemporaryDirectory(prefix="heraci-") as folder:
            place = Path(folder)
            for name, content in held.items():
                (place / name).write_bytes(content)
            if HERA_CONFIG not in head.files and HERA_CONFIG not in held and own.is_file():
                # A person's own, which no commit has: it holds at both ends.
                shutil.copyfile(own, place / HERA_CONFIG)
            return Settings.load(flags, environ=self.environ, directory=place)

    def settings(self) -> Settings:
        """Read the settings of this run: on a pull request those of its base.

        What a pull request says itself holds for compiling alone, see `Settings.within`.
        """
        base = self._trusted_commit()
        if base is None:
            return Settings.load(self.flags, environ=self.environ, directory=self.root)
        assert self.repository is not None
        tree = self.repository.commit_tree(base)
        # Kept as long as this: settings may name files beside theirs.
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="heraci-")))
        self._trusted, self._of_base = trust.of_commit(
            tree, folder, self.root, self.flags, self.environ
        )
        return self._trusted

    def _trusted_commit(self) -> str | None:
        """Give the commit whose settings hold in place of those that are checked out."""
        event = self.environ.get("GITHUB_EVENT_NAME", "")
        if self.repository is None or not event.startswith(("pull_request", "merge_group")):
            return None
        asked = trust.explicit(self.flags, self.environ)
        if asked.bundle is not None and not self._is_proposed():
            return None  # a job that compiles nothing, and checked out what it trusts
        pull = self._event().get("pull_request") or {}
        if pull.get("state") == "closed":
            # What was merged is trusted like a push; what was not, nobody agreed to.
            tip = f"refs/remotes/origin/{pull['base']['ref']}"
            return None if pull.get("merged") else self.repository.resolve(tip)
        return self._range(asked, Selection()).base

    def _event(self) -> dict[str, Any]:
        path = self.environ.get("GITHUB_EVENT_PATH")
        return _read_event(Path(path)) if path else {}

    def _is_proposed(self) -> bool:
        """Tell whether a pull request's commit is checked out: the one made of it, or its own."""
        payload = self._event()
        own = (payload.get("pull_request") or {}).get("head", {}).get("sha")
        queued = (payload.get("merge_group") or {}).get("head_sha")
        assert self.repository is not None
        return self.repository.head_commit() in {self.environ.get("GITHUB_SHA"), own, queued}

    def _proposed(self, head: changes.Tree, settings: Settings) -> Settings:
        """Give the settings of a pull request, for the target that the base chooses."""
        try:
            return self._settings_at(head, settings, head)
        except SettingsError as error:
            if "lacks" not in str(error):
                raise
            raise SettingsError(
                f"{error} Here the base chooses the target: keep its table until another target "
                "is the merged default."
            ) from error


def _read_event(path: Path) -> dict[str, Any]:
    try:
        payload = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HeraciError(f"the event's payload {path} cannot be read: {error}") from error
    return payload if isinstance(payload, dict) else {}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is to be compiled, with why; and what is known of all the others.

    `sources` are the head's, as far as they were looked through.
    """

    sources: changes.Sources
    affected: tuple[Affected, ...]
    untouched: tuple[Experiment, ...] = ()
    everything: tuple[Experiment, ...] = ()
    findings: tuple[Finding, ...] = ()
    compared: bool = False


def select(compared: Compared, selection: Selection, where: Workspace) -> Chosen:
    """Choose the experiments that a command is about."""
    folder = where.inside(compared.settings.experiments_dir)
    entries = _entries(compared.settings)
    sources = changes.Sources(compared.head, folder)
    everything = changes.find_experiments(sources, entries)
    findings = compared.findings + _unknown_tables(compared.settings, everything)
    findings += tuple(
        Finding(
            rule="entry-missing",
            severity=Severity.ERROR,
            message=f"heraci.toml names {entries[name]}, which does not exist",
            experiment=name,
            file=TOML,
        )
        for name in changes.missing_entries(compared.head, entries)
    )
    if compared.base is None or compared.base_settings is None:
        reason = ("named",) if selection.names else ()
        affected = tuple(
            Affected(experiment=each, status=Change.MODIFIED, reasons=reason)
            for each in _named(everything, selection.names, where)
        )
        if compared.range.kind == "nothing":
            affected = ()
        return Chosen(sources=sources, affected=affected, everything=everything, findings=findings)
    found = changes.affected_experiments(
        sources.beside(compared.base),
        sources,
        everything,
        entries=entries,
        base_entries=_entries(compared.base_settings),
        known=_known(compared, where),
    )
    if selection.names or selection.every:
        found = _with_unaffected(found, everything, selection, where)
    taken = {each.experiment.name for each in found}
    untouched = tuple(each for each in everything if each.name not in taken)
    return Chosen(
        sources=sources,
        affected=found,
        untouched=untouched,
        everything=everything,
        findings=findings,
        compared=True,
    )


def _unknown_tables(settings: Settings, everything: Iterable[Experiment]) -> tuple[Finding, ...]:
    """Report tables of heraci.toml for experiments that do not exist, most often misspelt."""
    names = [each.name for each in everything]
    tables = {**settings.experiments, **settings.target_experiments}
    unknown = [name for name, table in tables.items() if name not in names and not table.path]
    findings = []
    for name in sorted(unknown):
        near = difflib.get_close_matches(name, names, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        findings.append(
            Finding(
                rule="unknown-experiment",
                severity=Severity.WARNING,
                message=f"[experiments.{name}] is for no experiment there is.{hint}",
                file=TOML,
            )
        )
    return tuple(findings)


def _entries(settings: Settings) -> dict[str, str]:
    tables = {**settings.experiments, **settings.target_experiments}
    return {name: table.path for name, table in tables.items() if table.path}


def _named(
    everything: Sequence[Experiment], names: Sequence[str], where: Workspace
) -> Iterator[Experiment]:
    """Give the experiments that names or paths mean, all of them where none is given."""
    if not names:
        yield from everything
        return
    chosen: dict[str, Experiment] = {}
    for name in names:
        found = [each for each in everything if _is_meant(each, name, where)]
        if not found:
            raise SettingsError(_unknown(name, everything))
        chosen |= {each.name: each for each in found}
    yield from chosen.values()


def _is_meant(experiment: Experiment, name: str, where: Workspace) -> bool:
    """Tell whether a word of the command line is an experiment's name, its path, or above it."""
    if experiment.name == name.strip("/"):
        return True
    try:
        path = where.inside(Path(name))
    except SettingsError:
        return False
    if not (where.directory / name).exists():
        return False
    inside = path == "." or f"{experiment.path}/".startswith(f"{path}/")
    folder = experiment.folder
    return inside or (folder is not None and f"{path}/".startswith(f"{folder}/"))


def _unknown(name: str, everything: Sequence[Experiment]) -> str:
    names = [each.name for each in everything]
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"no experiment is called {name!r}. Did you mean {near[0]!r}?"
    if not names:
        return f"no experiment is called {name!r}, there are none: `heraci init` writes a first one"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"no experiment is called {name!r}. There are: {shown}"


def _with_unaffected(
    found: Iterable[Affected],
    everything: Sequence[Experiment],
    selection: Selection,
    where: Workspace,
) -> tuple[Affected, ...]:
    """Give what was asked for by name, affected or not."""
    by_name = {each.experiment.name: each for each in found}
    wanted = _named(everything, selection.names, where)
    return tuple(
        by_name.get(each.name)
        or Affected(experiment=each, status=Change.MODIFIED, reasons=("named",), base=each)
        for each in wanted
    )


def _known(compared: Compared, where: Workspace) -> changes.Known:
    base_settings = compared.base_settings

    def reaching(name: str) -> tuple[Any, Any]:
        assert base_settings is not None
        return base_settings.reaching(name), compared.settings.reaching(name)

    tables = {**compared.settings.experiments, **compared.settings.target_experiments}
    sources = compared.settings.dependencies_from
    try:
        output = where.inside(compared.settings.output)
    except SettingsError:
        output = None
    return changes.Known(
        # Asked once for each experiment: not at all where the files are the same.
        settings=reaching if base_settings is not compared.settings else None,
        data={name: table.data for name, table in tables.items() if table.data},
        dependencies_from=sources[0] if sources else None,
        output=output,
    )
