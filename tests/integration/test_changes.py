"""Affected experiments between two ends of a real repository."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from heraci import git
from heraci.changes import (
    Affected,
    Change,
    Experiment,
    Sources,
    affected_experiments,
    find_experiments,
)
from tests.repository import Repository

HERA = "from hera.workflows import Workflow\n"

FILES = {
    "experiments/collect/experiment.py": HERA + "from lib import mesh\n",
    "experiments/collect/tools.py": "",
    "experiments/été 1/experiment.py": HERA + "import tools\n",
    "experiments/été 1/tools.py": "",
    "experiments/new\nline.py": HERA,
    "lib/mesh.py": "import lib.grid\n",
    "lib/grid.py": "",
    "data/points.csv": "",
}


@pytest.fixture
def work(repository: Repository) -> Repository:
    """A branch that has not changed anything yet."""
    repository.commit(**FILES)
    repository.branch("work")
    return repository


def affected(
    repository: Repository, base: str | None = None, head: str | None = None
) -> tuple[Affected, ...]:
    found = git.Repository.open(repository.path)
    assert found
    with found:
        before, after = found.trees(git.range_between(found, base, head))
        sources = Sources(after, "experiments")
        return affected_experiments(sources.beside(before), sources, find_experiments(sources))


def reasons(repository: Repository) -> Mapping[str, tuple[str, ...]]:
    return {each.experiment.name: each.reasons for each in affected(repository)}


def test_discovery_is_the_same_on_disk_and_in_a_commit(work: Repository):
    found = git.Repository.open(work.path)
    assert found
    with found:
        trees = (found.work_tree(), found.commit_tree(work.head), git.Folder(work.path))
        for tree in trees:
            assert find_experiments(Sources(tree, "experiments")) == (
                Experiment(
                    name="collect",
                    path="experiments/collect/experiment.py",
                    folder="experiments/collect",
                ),
                Experiment(name="new\nline", path="experiments/new\nline.py"),
                Experiment(
                    name="été 1",
                    path="experiments/été 1/experiment.py",
                    folder="experiments/été 1",
                ),
            )


def test_nothing_changed(work: Repository):
    assert affected(work) == ()


def test_committed_staged_edited_and_new_files_all_count(work: Repository):
    work.commit(**{"lib/grid.py": "x"})
    work.write("experiments/été 1/tools.py", "x")
    work.git("add", ".")
    work.write("experiments/new\nline.py", HERA + "\n")
    work.write("experiments/collect/new.txt")

    assert reasons(work) == {
        "collect": (
            "experiments/collect/new.txt was added",
            "imports lib/grid.py, which changed (via lib/mesh.py)",
        ),
        "new\nline": ("experiments/new\nline.py changed",),
        "été 1": ("experiments/été 1/tools.py changed",),
    }


def test_only_what_the_branch_did_counts_not_what_its_base_did_since(work: Repository):
    work.checkout("main")
    work.commit(**{"experiments/collect/tools.py": "main"})
    work.checkout("work")
    work.commit(**{"experiments/été 1/tools.py": "x"})

    assert list(reasons(work)) == ["été 1"]


def test_between_two_commits_the_working_tree_is_not_looked_at(work: Repository):
    first = work.head
    second = work.commit(**{"lib/mesh.py": ""})
    work.write("experiments/été 1/tools.py", "x")

    assert [each.experiment.name for each in affected(work, first, second)] == ["collect"]


def test_renamed_added_and_removed(work: Repository):
    work.rename("experiments/collect", "experiments/city/collect")
    work.git("rm", "-q", "experiments/new\nline.py")
    work.write("experiments/fresh.py", "import heraci\n")
    collect = Experiment(
        name="collect", path="experiments/collect/experiment.py", folder="experiments/collect"
    )
    line = Experiment(name="new\nline", path="experiments/new\nline.py")

    assert affected(work) == (
        Affected(
            experiment=Experiment(
                name="city/collect",
                path="experiments/city/collect/experiment.py",
                folder="experiments/city/collect",
            ),
            status=Change.RENAMED,
            reasons=("renamed from experiments/collect/experiment.py",),
            base=collect,
        ),
        Affected(
            experiment=Experiment(name="fresh", path="experiments/fresh.py"),
            status=Change.ADDED,
            reasons=("experiments/fresh.py was added",),
        ),
        Affected(
            experiment=line,
            status=Change.REMOVED,
            reasons=("experiments/new\nline.py was removed",),
            base=line,
        ),
    )


def test_before_the_first_commit_all_are_added(repository: Repository):
    for name, content in FILES.items():
        repository.write(name, content)

    assert {each.experiment.name: each.status for each in affected(repository)} == dict.fromkeys(
        ("collect", "new\nline", "été 1"), Change.ADDED
    )


def test_a_module_reached_by_a_link_counts(work: Repository):
    (work.path / "experiments/été 1/shared").symlink_to("../../lib")
    work.write("experiments/été 1/experiment.py", HERA + "from shared import grid\n")
    work.commit()
    work.git("branch", "--force", "main", "HEAD")
    work.write("lib/grid.py", "x")

    assert reasons(work) == {
        "collect": ("imports lib/grid.py, which changed (via lib/mesh.py)",),
        "été 1": ("imports lib/grid.py, which changed (via experiments/été 1/shared/grid.py)",),
    }


def test_a_file_that_was_only_touched_affects_nothing(work: Repository):
    (work.path / "lib/grid.py").touch()

    assert affected(work) == ()
