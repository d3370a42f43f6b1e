"""Whatever way a script depends on a file: a change of what it builds is never ruled out.

heraci's first look, which runs nothing, is held against plain Hera in a checkout of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from heraci import git
from heraci.changes import Sources, affected_experiments, find_experiments
from tests import dependents
from tests.plain_hera import PlainHera
from tests.repository import Repository

FILES = dependents.repository()
ROUNDS = 3  # a change of a third of all files each time: few runs, and each file has its turn


def counted_up(path: str, text: str) -> Mapping[str, str | None]:
    return {path: re.sub(r"\d+", lambda found: str(int(found[0]) + 100), text)}


def removed(path: str, text: str) -> Mapping[str, str | None]:
    return {path: None}


def joined_by_another(path: str, text: str) -> Mapping[str, str | None]:
    folder, _, name = path.rpartition("/")
    return {f"{folder}/new{Path(name).suffix}".lstrip("/"): text}


def hidden_by_another(path: str, text: str) -> Mapping[str, str | None]:
    """A module of the same name stands in each experiment's folder, where Python looks first."""
    (changed,) = counted_up(path, text).values()
    where = path.removeprefix("experiments/").removeprefix("tools/").removeprefix("group/")
    if not path.endswith(".py"):
        return {}
    return {f"experiments/{name}/{where}": changed for name in dependents.WAYS}


@pytest.fixture(scope="module")
def plain() -> Iterator[PlainHera]:
    with PlainHera() as process:
        yield process


@pytest.fixture(scope="module")
def built(plain: PlainHera, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Give what each script builds before anything changed: no error among it."""
    start = tmp_path_factory.mktemp("start")
    for path, text in FILES.items():
        (start / path).parent.mkdir(parents=True, exist_ok=True)
        (start / path).write_text(text)
    found = plain.build(start, [path for path in FILES if _is_experiment(path)])
    assert [path for path, what in found.items() if isinstance(what, str)] == []
    return found


@pytest.mark.parametrize("change", [counted_up, removed, joined_by_another, hidden_by_another])
def test_no_change_of_what_a_script_builds_is_ruled_out(
    repository: Repository,
    plain: PlainHera,
    built: Mapping[str, Any],
    change: Callable[[str, str], Mapping[str, str | None]],
):
    start = repository.commit("Start", **FILES)
    shared = [path for path in FILES if not _is_experiment(path)]
    missed, reached = [], set()
    for number in range(ROUNDS):
        for path in shared[number::ROUNDS]:
            for place, text in change(path, FILES[path]).items():
                if text is None:
                    repository.delete(place)
                else:
                    repository.write(place, text)
        repository.commit(f"{change.__name__} {number}")
        after = plain.build(repository.path, list(built))
        changed = {path for path in built if after[path] != built[path]}
        missed += sorted(changed - affected(repository, start))
        reached |= changed
        repository.git("reset", "--quiet", "--hard", start)
    assert missed == []
    assert reached


def _is_experiment(path: str) -> bool:
    return path.endswith(("experiment.py", "-run.py", "experiments/template.py"))


def affected(repository: Repository, base: str) -> set[str]:
    """Give the entries that the first look leaves in."""
    found = git.Repository.open(repository.path)
    assert found
    with found:
        before, after = found.trees(git.range_between(found, base, "HEAD"))
        head = Sources(after, "experiments")
        everything = find_experiments(head)
        told = affected_experiments(head.beside(before), head, everything)
    return {each.experiment.path for each in told}
