"""Write a bundle's folder: each file whole or not at all, and nothing that is not heraci's own."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from heraci import bundle
from heraci.bundle import Bundle
from heraci.errors import HeraciError, SettingsError


def write(result: Bundle, folder: Path) -> None:
    """Write a bundle's folder: each file whole or not at all, its index last.

    Files of experiments that are gone or no longer compile are removed, those of experiments that
    this run was not asked to compile are kept, and nothing else in the folder is touched.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _files_of(folder)
        written = {}
        for experiment in result.experiments:
            if experiment.manifests:
                written[f"{experiment.name}.yaml"] = experiment.text
        for name, text in written.items():
            _replace(folder, name, text)
        kept = sorted((before & set(result.known)) - set(written))
        for name in before - set(written) - set(kept):
            _remove(folder, name)
        lines = [bundle.index_line(each) for each in result.experiments]
        _replace(folder, bundle.INDEX, bundle.index(replace(result, known=tuple(kept)), lines))
    except OSError as error:
        where = error.filename or folder
        raise SettingsError(f"{where} cannot be written: {error.strerror}") from error


def write_beside(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts beside a bundle, in the same careful way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            _replace(folder, name, text)
    except OSError as error:
        where = error.filename or folder
        raise SettingsError(f"{where} cannot be written: {error.strerror}") from error


def _files_of(folder: Path) -> set[str]:
    """Give the files that the bundle now in a folder says are heraci's."""
    try:
        index = bundle.read_index((folder / bundle.INDEX).read_bytes(), bundle.INDEX)
        listed = {
            manifest["file"]
            for experiment in index["experiments"]
            for manifest in experiment.get("manifests", ())
        } | set(index.get("known", ()))
    except (OSError, HeraciError, KeyError, TypeError, AttributeError):
        return set()
    return {
        name
        for name in listed
        if isinstance(name, str) and name.endswith(".yaml") and bundle.is_inside(name)
    }


def _replace(folder: Path, name: str, text: str) -> None:
    """Put a text into place, if it is not there already; a link on the way is an error."""
    target = folder / name
    content = text.encode()
    if _holds(target, content):
        return
    parent = folder
    for part in name.split("/")[:-1]:
        parent = parent / part
        if parent.is_symlink():
            raise SettingsError(f"{parent} is a link: remove it, heraci writes into folders only")
        parent.mkdir(exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=parent, prefix=".heraci-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink()
        raise


def _holds(target: Path, content: bytes) -> bool:
    """Tell whether a plain file has this content already; one that a link leads to does not."""
    try:
        about = target.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size != len(content):
            return False
        return target.read_bytes() == content
    except OSError:
        return False


def _remove(folder: Path, name: str) -> None:
    target = folder / name
    if any((folder / each).is_symlink() for each in Path(name).parents if each != Path()):
        return
    target.unlink(missing_ok=True)
    for parent in Path(name).parents:
        try:
            (folder / parent).rmdir()
        except OSError:
            return
