"""Which experiments a run of CI is about, for each event: a bare origin, a checkout, a payload.

Every case is told from outside: what the remote repository holds, what actions/checkout fetches of
it, and the payload, which GitHub's own schema must call right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from heraci.errors import HeraciError
from heraci.settings import Settings
from heraci.workspace import Selection, Workspace, select
from tests.github.described import payload, wrong_with_event
from tests.repository import Repository

ZEROS = "0" * 40
MERGE = "refs/pull/7/merge"


def source(text: str) -> str:
    return f"from hera.workflows import Workflow\nw = Workflow(name='{text}')\n"


class Origin:
    """A bare repository that serves refs and commits as GitHub does, and a person's clone of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bare = Repository(path=folder / "origin.git")
        self.bare.path.mkdir(parents=True)
        self.bare.git("init", "--quiet", "--bare", "--initial-branch=main")
        self.bare.git("config", "uploadpack.allowAnySHA1InWant", "true")
        self.work = Repository.create(folder / "work")
        self.work.git("remote", "add", "origin", self.bare.path.as_uri())
        # A pull request that changes a and adds c, and a branch that moved on after it was opened.
        self.opened = self.commit(README="1", a="1", b="1")
        self.push("main")
        self.work.branch("pr")
        self.first = self.commit(a="2")
        self.head = self.commit(c="1")
        self.push("pr", "refs/pull/7/head")
        self.work.checkout("main")
        self.main = self.commit(README="2", b="2")
        self.push("main")
        self.merge = self.merged("pr")
        self.push(MERGE)
        self.work.checkout("main")

    def commit(self, **experiments: str) -> str:
        """Commit experiments by name, each with a text; README is no experiment."""
        files = {
            name if name == "README" else f"experiments/{name}/experiment.py": source(text)
            for name, text in experiments.items()
        }
        return self.work.commit(**files)

    def merged(self, branch: str) -> str:
        """Merge a branch into what is checked out, and move no branch."""
        self.work.git("checkout", "--quiet", "--detach")
        return self.work.merge(branch)

    def push(self, *refs: str) -> None:
        """Push the commit that is checked out."""
        full = [ref if ref.startswith("refs/") else f"refs/heads/{ref}" for ref in refs]
        self.work.git("push", "--quiet", "--force", "origin", *(f"HEAD:{ref}" for ref in full))

    def checkout(self, sha: str, ref: str, depth: int) -> Path:
        """Do what actions/checkout does for a commit that a ref of the event names."""
        clone = Repository.create(self.folder / "checkout", branch="none")
        clone.git("remote", "add", "origin", self.bare.path.as_uri())
        name = ref.removeprefix("refs/").removeprefix("heads/")
        here = f"refs/tags/{name[5:]}" if name.startswith("tags/") else f"refs/remotes/{name}"
        if ref.startswith("refs/heads/"):
            here = f"refs/remotes/origin/{name}"
        options = ["--quiet", "--no-tags", "--prune", *([f"--depth={depth}"] if depth else [])]
        if not depth:
            clone.git("fetch", *options, "origin", "+refs/heads/*:refs/remotes/origin/*")
        clone.git("fetch", *options, "origin", f"+{sha}:{here}")
        if ref.startswith("refs/heads/"):
            clone.git("checkout", "--quiet", "--force", "-B", name, here)
        else:
            clone.git("checkout", "--quiet", "--force", here)
        return clone.path


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def about(tmp_path: Path):
    """Tell which experiments a run is about, each with what became of it."""

    def ask(
        checkout: Path,
        event: str = "",
        told: Any = None,
        flags: Mapping[str, str] = {},
        **more: str,
    ) -> dict[str, str]:
        environ = {"HOME": str(tmp_path)}
        if event:
            name, _, action = event.partition("$")
            assert wrong_with_event(f"{name}${action or 'event'}", told) == []
            path = tmp_path / "event.json"
            path.write_text(json.dumps(told))
            environ |= {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": name}
            environ |= {"GITHUB_EVENT_PATH": str(path), **more}
        settings = Settings.load(flags, environ=environ, directory=checkout)
        with Workspace(checkout, environ, flags) as where:
            compared = where.compare(settings, Selection())
            chosen = select(compared, Selection(), where)
        assert chosen.findings == ()
        status = {each.experiment.name: str(each.status) for each in chosen.affected}
        return status if chosen.compared else dict.fromkeys(status, "all")

    return ask


CHANGED = {"a": "modified", "c": "added"}
PULL = "pull_request$synchronize"


def pull(origin: Origin, **changes: Any) -> Any:
    """The payload of the pull request: its base.sha is the branch as it was when it was opened."""
    made = payload("pull_request")
    made["pull_request"]["head"]["sha"] = changes.pop("head", origin.head)
    made["pull_request"]["base"] |= {"sha": origin.opened, "ref": "main"}
    made["pull_request"] |= changes
    return made


def pushed(before: str, after: str, ref: str = "refs/heads/main", **changes: Any) -> Any:
    made = payload("push") | {"ref": ref, "before": before, "after": after}
    made["repository"]["default_branch"] = "main"
    made |= {"created": before == ZEROS, "deleted": after == ZEROS}
    return made | changes


# Pull requests


@pytest.mark.parametrize("depth", [2, 0])
def test_a_pull_request_is_compared_with_what_it_was_merged_with(origin, about, depth):
    assert about(origin.checkout(origin.merge, MERGE, depth), PULL, pull(origin)) == CHANGED


def test_a_forks_pull_request_is_compared_alike(origin, about):
    made = pull(origin)
    made["pull_request"]["head"]["repo"] |= {"id": 999, "fork": True, "full_name": "mallory/x"}
    assert about(origin.checkout(origin.merge, MERGE, 2), PULL, made) == CHANGED


def test_a_pull_request_at_depth_one_says_what_to_fetch_and_then_goes_on(origin, about):
    checkout = origin.checkout(origin.merge, MERGE, 1)

    with pytest.raises(HeraciError, match=rf"{origin.main}.*`fetch-depth: 2`.*git fetch --depth=1"):
        about(checkout, PULL, pull(origin))
    Repository(path=checkout).git("fetch", "--quiet", "--depth=1", "origin", origin.main)
    assert about(checkout, PULL, pull(origin)) == CHANGED


def test_a_merge_commit_of_an_earlier_push_is_noticed(origin, about):
    origin.work.checkout("pr")
    newer = origin.commit(a="3")
    checkout = origin.checkout(origin.merge, MERGE, 2)

    with pytest.raises(HeraciError, match=f"made for {origin.head[:10]}.*head is {newer[:10]}"):
        about(checkout, PULL, pull(origin, head=newer))


def test_an_old_run_that_is_run_again_is_about_its_own_commits(origin, about):
    old = pull(origin)
    origin.work.checkout("pr")
    origin.commit(e="5")
    origin.push("pr", "refs/pull/7/head")
    origin.work.checkout("main")
    origin.merged("pr")
    origin.push(MERGE)

    assert about(origin.checkout(origin.merge, MERGE, 2), PULL, old) == CHANGED


def test_a_retargeted_pull_request_is_compared_with_its_new_base(origin, about):
    origin.work.git("checkout", "--quiet", "-b", "release", origin.first)
    origin.push("release")
    origin.merge = origin.merged("pr")
    origin.push(MERGE)
    made = pull(origin)
    made["pull_request"]["base"]["ref"] = "release"

    assert about(origin.checkout(origin.merge, MERGE, 2), PULL, made) == {"c": "added"}


def test_the_pull_requests_own_commit_is_compared_with_where_it_parted(origin, about):
    checkout = origin.checkout(origin.head, "refs/heads/pr", 0)
    assert about(checkout, PULL, pull(origin)) == CHANGED


def test_the_pull_requests_own_commit_may_be_a_merge(origin, about):
    origin.work.checkout("pr")
    origin.head = origin.work.merge("main")
    origin.push("pr")
    checkout = origin.checkout(origin.head, "refs/heads/pr", 0)

    assert about(checkout, PULL, pull(origin)) == CHANGED


def test_the_pull_requests_own_commit_at_depth_one_says_what_to_fetch(origin, about):
    checkout = origin.checkout(origin.head, "refs/heads/pr", 1)
    with pytest.raises(HeraciError, match=r"git fetch origin.*fetch-depth: 0"):
        about(checkout, PULL, pull(origin))


def test_another_commit_than_the_pull_requests_is_not_guessed_at(origin, about):
    checkout = origin.checkout(origin.first, "refs/heads/pr", 0)
    with pytest.raises(HeraciError, match=f"{origin.first[:10]} is checked out.*default ref"):
        about(checkout, PULL, pull(origin))


def test_a_closed_pull_request_is_about_nothing(origin, about):
    made = pull(origin, merged=True, state="closed", merge_commit_sha=origin.merge, merged_by=None)
    made["pull_request"] |= dict.fromkeys(("closed_at", "merged_at"), "2026-01-01T00:00:00Z")
    del made["before"], made["after"]
    checkout = origin.checkout(origin.main, "refs/heads/main", 1)

    assert about(checkout, "pull_request$closed", made | {"action": "closed"}) == {}


@pytest.mark.parametrize("depth", [2, 0])
def test_a_merge_group_is_about_its_own_pull_request(origin, about, depth):
    """Another pull request waits before it in the queue: what that one changes is not its."""
    origin.work.git("checkout", "--quiet", "-b", "other", "main")
    origin.commit(b="3")
    origin.work.checkout("main")
    before = origin.merged("other")
    after = origin.merged("pr")
    ref = f"refs/heads/gh-readonly-queue/main/pr-7-{before}"
    origin.push(ref)
    made = payload("merge_group")
    made["merge_group"] |= {"head_sha": after, "base_sha": before, "base_ref": "refs/heads/main"}
    made["merge_group"]["head_ref"] = ref
    checkout = origin.checkout(after, ref, depth)

    assert about(checkout, "merge_group$checks_requested", made) == CHANGED


# Pushes


def merge_commit(origin: Origin) -> str:
    return origin.work.merge("pr")


def squash(origin: Origin) -> str:
    origin.work.git("merge", "--quiet", "--squash", "pr")
    return origin.work.commit("PR (#7)")


def rebase(origin: Origin) -> str:
    origin.work.git("cherry-pick", "main..pr")
    return origin.work.head


@pytest.mark.parametrize("merge", [merge_commit, squash, rebase])
def test_a_push_is_about_all_that_was_merged(origin, about, merge):
    after = merge(origin)
    origin.push("main")
    checkout = origin.checkout(after, "refs/heads/main", 0)

    assert about(checkout, "push", pushed(origin.main, after)) == CHANGED


@pytest.mark.parametrize("merge", [merge_commit, squash])
def test_one_commit_on_the_branch_needs_a_depth_of_two(origin, about, merge):
    after = merge(origin)
    origin.push("main")
    checkout = origin.checkout(after, "refs/heads/main", 2)

    assert about(checkout, "push", pushed(origin.main, after)) == CHANGED


@pytest.mark.parametrize(("merge", "depth"), [(merge_commit, 1), (rebase, 1), (rebase, 2)])
def test_a_push_whose_before_is_not_here_says_what_to_fetch(origin, about, merge, depth):
    after = merge(origin)
    origin.push("main")
    checkout = origin.checkout(after, "refs/heads/main", depth)

    with pytest.raises(HeraciError, match=rf"{origin.main}.*`fetch-depth: 0`.*git fetch --depth=1"):
        about(checkout, "push", pushed(origin.main, after))
    Repository(path=checkout).git("fetch", "--quiet", "--depth=1", "origin", origin.main)
    assert about(checkout, "push", pushed(origin.main, after)) == CHANGED


def test_a_push_of_several_commits_and_pull_requests_is_about_them_all(origin, about):
    origin.work.merge("pr")
    origin.commit(d="1")
    after = origin.commit(b="3")
    origin.push("main")
    checkout = origin.checkout(after, "refs/heads/main", 0)

    assert about(checkout, "push", pushed(origin.main, after)) == {
        "a": "modified",
        "b": "modified",
        "c": "added",
        "d": "added",
    }


def test_an_old_push_that_is_run_again_is_about_its_own_commits(origin, about):
    after = squash(origin)
    origin.push("main")
    origin.commit(b="4", d="1")
    origin.push("main")
    checkout = origin.checkout(after, "refs/heads/main", 0)

    assert about(checkout, "push", pushed(origin.main, after)) == CHANGED


def test_a_force_push_is_compared_with_what_it_replaced(origin, about):
    before = squash(origin)
    origin.push("main")
    origin.work.git("reset", "--quiet", "--hard", origin.main)
    after = origin.commit(d="4")
    origin.push("main")
    checkout = origin.checkout(after, "refs/heads/main", 0)
    made = pushed(before, after, forced=True)

    with pytest.raises(HeraciError, match=f"{before}.*if a force push removed it.*`--base`"):
        about(checkout, "push", made)
    # GitHub serves it for a while.
    Repository(path=checkout).git("fetch", "--quiet", "--depth=1", "origin", before)
    assert about(checkout, "push", made) == {"a": "modified", "c": "removed", "d": "added"}


@pytest.mark.parametrize("depth", [1, 0])
def test_the_first_push_of_all_adds_everything(origin, about, depth):
    checkout = origin.checkout(origin.main, "refs/heads/main", depth)
    made = pushed(ZEROS, origin.main)

    assert about(checkout, "push", made) == {"a": "added", "b": "added"}


def test_a_new_branch_is_compared_with_where_it_parted(origin, about):
    checkout = origin.checkout(origin.head, "refs/heads/pr", 0)
    assert about(checkout, "push", pushed(ZEROS, origin.head, "refs/heads/pr")) == CHANGED


def test_a_new_branch_without_a_commit_of_its_own_changes_nothing(origin, about):
    origin.push("copy")
    checkout = origin.checkout(origin.main, "refs/heads/copy", 0)

    assert about(checkout, "push", pushed(ZEROS, origin.main, "refs/heads/copy")) == {}


@pytest.mark.parametrize("depth", [1, 2])
def test_a_new_branch_without_its_history_says_what_to_fetch(origin, about, depth):
    checkout = origin.checkout(origin.head, "refs/heads/pr", depth)
    with pytest.raises(HeraciError, match=r"git fetch origin.*fetch-depth: 0"):
        about(checkout, "push", pushed(ZEROS, origin.head, "refs/heads/pr"))


def test_a_deleted_branch_is_about_nothing(origin, about):
    checkout = origin.checkout(origin.main, "refs/heads/main", 1)
    made = pushed(origin.head, ZEROS, "refs/heads/pr", head_commit=None)

    assert about(checkout, "push", made) == {}


# What names no base


def test_a_tag_is_about_everything(origin, about):
    origin.push("refs/tags/v1")
    checkout = origin.checkout(origin.main, "refs/tags/v1", 1)
    made = pushed(ZEROS, origin.main, "refs/tags/v1", base_ref="refs/heads/main")

    assert about(checkout, "push", made) == {"a": "all", "b": "all"}


def test_a_dispatch_is_about_everything_unless_it_names_a_base(origin, about):
    after = squash(origin)
    origin.push("main")
    checkout = origin.checkout(after, "refs/heads/main", 0)
    made = payload("workflow_dispatch")

    assert about(checkout, "workflow_dispatch", made | {"inputs": None}) == dict.fromkeys(
        "abc", "all"
    )
    assert about(checkout, "workflow_dispatch", made | {"inputs": {"base": origin.main}}) == CHANGED
    with pytest.raises(HeraciError, match=r"'lost' names no branch.*git fetch origin"):
        about(checkout, "workflow_dispatch", made | {"inputs": {"base": "lost"}})


def test_a_schedule_is_about_everything(origin, about, tmp_path):
    checkout = origin.checkout(origin.main, "refs/heads/main", 1)
    path = tmp_path / "schedule.json"
    path.write_text('{"schedule": "0 4 * * 1"}')
    environ = {"GITHUB_EVENT_NAME": "schedule", "GITHUB_EVENT_PATH": str(path), "HOME": "/nowhere"}
    with Workspace(checkout, environ, {}) as where:
        compared = where.compare(
            Settings.load({}, environ=environ, directory=checkout), Selection()
        )

    assert (compared.range.kind, compared.range.head) == ("all", origin.main)
    assert compared.range.note == "the event schedule names no base"


@pytest.mark.parametrize(
    ("event", "told", "missing"),
    [
        ("push", {}, "before"),
        ("push", {"before": ZEROS, "after": "a" * 40}, "repository.default_branch"),
        ("pull_request", {"action": "opened"}, "pull_request.head.sha"),
        ("merge_group", {"merge_group": {"head_sha": "a" * 40}}, "merge_group.base_sha"),
    ],
)
def test_a_payload_that_lacks_what_is_asked_is_one_clear_error(
    origin, tmp_path, event, told, missing
):
    checkout = origin.checkout(origin.merge, MERGE, 1)
    path = tmp_path / "event.json"
    path.write_text(json.dumps(told))
    environ = {"GITHUB_EVENT_NAME": event, "GITHUB_EVENT_PATH": str(path), "HOME": str(tmp_path)}
    settings = Settings.load({}, environ=environ, directory=checkout)

    with (
        pytest.raises(HeraciError, match=rf"does not say {missing}, .*`--base`.*`--all`"),
        Workspace(checkout, environ, {}) as where,
    ):
        where.compare(settings, Selection())


# On a laptop


def test_a_detached_head_and_a_linked_worktree_are_compared_with_the_default_branch(
    origin, about, tmp_path
):
    laptop = origin.bare.clone(tmp_path / "laptop")
    laptop.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"), origin.head)
    laptop.checkout(origin.head)

    for place in (laptop.path, tmp_path / "tree"):
        assert about(place) == CHANGED
    (tmp_path / "tree/experiments/b/experiment.py").write_text(source("uncommitted"))
    assert about(tmp_path / "tree") == {**CHANGED, "b": "modified"}


def test_a_bare_repository_is_asked_about_two_commits(origin, about):
    flags = {"base": "main", "head": "pr"}
    assert about(origin.bare.path, flags=flags) == CHANGED


def test_a_shallow_clone_that_does_not_reach_back_says_what_to_fetch(origin, about, tmp_path):
    laptop = origin.bare.clone(tmp_path / "laptop", depth=1, branch="pr")
    laptop.git("fetch", "--quiet", "--depth=1", "origin", "main:refs/remotes/origin/main")

    with pytest.raises(HeraciError, match=r"is shallow.*`git fetch --unshallow`"):
        about(laptop.path)
    laptop.git("fetch", "--quiet", "--unshallow", "origin")
    assert about(laptop.path) == CHANGED
