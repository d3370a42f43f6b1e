"""The fence to Git, asked about real repositories made by the real git."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from heraci import git
from heraci.errors import GitError, SettingsError
from heraci.git import Folder, Range, event_range, range_between
from tests.repository import Repository

NAMES = ("a b.py", "new\nline.txt", "é/ü.md", "quote'\"\\.txt", "-dash", "tab\t.txt")


@pytest.fixture
def opened(repository: Repository) -> Iterator[git.Repository]:
    """The same repository, as heraci sees it."""
    found = git.Repository.open(repository.path)
    assert found
    with found:
        yield found


def opens(path: Path) -> git.Repository:
    """Open what must be a repository; for questions that start no lasting process."""
    found = git.Repository.open(path)
    assert found
    return found


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


# Opening


def test_a_folder_outside_git_is_no_repository(tmp_path: Path):
    assert git.Repository.open(tmp_path) is None


def test_a_folder_below_belongs_to_its_repository(repository: Repository):
    (repository.path / "deep/er").mkdir(parents=True)

    assert opens(repository.path / "deep/er").root == repository.path.resolve()


def test_a_linked_worktree_is_a_repository_of_its_own(repository: Repository, tmp_path: Path):
    repository.commit(a="1")
    repository.git("worktree", "add", "--quiet", str(tmp_path / "other"), "-b", "other")
    found = opens(tmp_path / "other")

    assert (found.root, found.branch()) == ((tmp_path / "other").resolve(), "other")


def test_a_damaged_repository_is_an_error(tmp_path: Path):
    (tmp_path / ".git").write_text("gitdir: nowhere\n")

    with pytest.raises(GitError, match="does not read the repository"):
        git.Repository.open(tmp_path)


def test_variables_that_misdirect_git_are_not_passed_on(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sha = repository.commit(a="1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nothing"))
    monkeypatch.setenv("HERACI_TOKEN", "canary")
    found = opens(repository.path)

    assert found.head_commit() == sha
    assert dict(found.work_tree().files) == {"a": blob(b"1")}
    assert "canary" not in found._git.environ.values()


def owned_by_another(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        os.lchown(each, 1234, 1234)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_another_users_repository_is_read_in_ci_and_nowhere_else(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
):
    sha = repository.commit(a="1")
    owned_by_another(repository.path)

    with pytest.raises(GitError, match=r"git config --global --add safe\.directory"):
        git.Repository.open(repository.path)

    monkeypatch.setenv("CI", "true")
    found = opens(repository.path)
    assert found.head_commit() == sha
    assert list(found.work_tree().files) == ["a"]


def test_a_program_that_the_configuration_names_is_not_started(
    repository: Repository, tmp_path: Path
):
    repository.commit(a="1")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    program.chmod(0o755)
    repository.git("config", "core.fsmonitor", str(program))
    list(opens(repository.path).work_tree().files)

    assert not (tmp_path / "started").exists()


# Trees


def test_a_commit_tree_holds_what_was_committed(repository: Repository, opened: git.Repository):
    sha = repository.commit(**{name: name for name in NAMES})
    repository.write("a b.py", "changed since")
    repository.write("new.txt")
    tree = opened.commit_tree(sha)

    assert tree.label == f"commit {sha[:10]}"
    assert dict(tree.files) == {name: blob(name.encode()) for name in NAMES}
    assert tree.read_many(NAMES) == {name: name.encode() for name in NAMES}


def test_a_name_that_is_no_utf_8_survives(repository: Repository, opened: git.Repository):
    Path(os.fsdecode(os.fsencode(repository.path) + b"/caf\xe9.py")).write_text("x")
    before = opened.work_tree()
    sha = repository.commit()

    assert before.read_many(["caf\udce9.py"]) == {"caf\udce9.py": b"x"}
    assert dict(opened.commit_tree(sha).files) == dict(before.files) == {"caf\udce9.py": blob(b"x")}


def test_the_working_tree_is_what_lies_on_disk(repository: Repository, opened: git.Repository):
    repository.commit(
        **{"clean": "1", "edited": "1", "staged": "1", "removed": "1", ".gitignore": "*.log\n"}
    )
    repository.write("edited", "2")
    repository.write("staged", "2")
    repository.git("add", "staged")
    repository.write("staged", "3")
    repository.delete("removed")
    repository.write("new/é.py", "n")
    repository.write("ignored.log", "n")
    repository.write("staged and new", "n")
    repository.git("add", "staged and new")
    tree = opened.work_tree()

    assert tree.label == "working tree"
    assert dict(tree.files) == {
        ".gitignore": blob(b"*.log\n"),
        "clean": blob(b"1"),
        "edited": blob(b"2"),
        "staged": blob(b"3"),
        "new/é.py": blob(b"n"),
        "staged and new": blob(b"n"),
    }
    assert tree.read("staged") == b"3"


def test_a_file_that_was_only_touched_is_clean(repository: Repository, opened: git.Repository):
    sha = repository.commit(a="1")
    os.utime(repository.path / "a", (1, 1))

    assert opened.changed_files(sha, None) == ()


def test_changed_files_between_commits_and_on_disk(repository: Repository, opened: git.Repository):
    first = repository.commit(a="1", b="1")
    second = repository.commit(a="2", c="1")
    repository.delete("b")

    assert opened.changed_files(first, second) == ("a", "c")
    assert opened.changed_files(first, None) == ("a", "b", "c")
    assert opened.changed_files(None, first) == ("a", "b")
    assert opened.changed_files("0" * 40, first) == ("a", "b")


def test_a_conflict_is_one_file(repository: Repository, opened: git.Repository):
    repository.commit(a="1")
    repository.branch("other")
    repository.commit(a="2")
    repository.checkout("main")
    repository.commit(a="3")
    with pytest.raises(AssertionError):
        repository.merge("other")
    content = (repository.path / "a").read_bytes()

    assert dict(opened.work_tree().files) == {"a": blob(content)}


def test_links_are_followed_inside_and_never_out(repository: Repository, opened: git.Repository):
    repository.write("lib/mesh.py", "m")
    for name, target in {
        "file": "lib/mesh.py",
        "folder": "lib",
        "up": "../../etc/passwd",
        "absolute": "/etc/passwd",
        "loop": "loop",
    }.items():
        (repository.path / name).symlink_to(target)
    new = opened.work_tree()
    sha = repository.commit()

    for tree in (new, opened.work_tree(), opened.commit_tree(sha)):
        assert tree.files["file"] == f"link:{blob(b'lib/mesh.py')}"
        assert tree.links["folder"] == "lib"
        assert tree.read_many(["file", "folder/mesh.py"]) == {"file": b"m", "folder/mesh.py": b"m"}
        assert [tree.locate(path) for path in ("up", "absolute", "loop", "folder", "none")] == (
            [None] * 5
        )
        with pytest.raises(GitError, match=r"up is not a file of the .*, or leads out of it"):
            tree.read("up")


def test_a_file_that_became_a_link_is_not_read_through(
    repository: Repository, opened: git.Repository, tmp_path: Path
):
    secret = tmp_path / "secret"
    secret.write_text("canary")
    repository.commit(a="1")
    repository.delete("a")
    (repository.path / "a").symlink_to(secret)
    tree = opened.work_tree()

    assert tree.files["a"].startswith("link:")
    with pytest.raises(GitError):
        tree.read("a")


def test_a_submodule_is_its_commit(repository: Repository, opened: git.Repository, tmp_path: Path):
    inner = Repository.create(tmp_path / "inner")
    first = inner.commit(a="1")
    repository.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub"
    )
    sha = repository.commit()
    assert opened.commit_tree(sha).files["sub"] == f"submodule:{first}"
    assert opened.work_tree().files["sub"] == f"submodule:{first}"

    second = Repository(path=repository.path / "sub").commit(a="2")
    assert opened.work_tree().files["sub"] == f"submodule:{second}"
    assert opened.changed_files(sha, None) == ("sub",)


def test_a_sparse_checkout_lacks_nothing(repository: Repository, opened: git.Repository):
    sha = repository.commit(**{"in/a": "1", "out/b": "2", "top": "3"})
    repository.git("sparse-checkout", "set", "in")
    assert not (repository.path / "out").exists()
    tree = opened.work_tree()

    assert dict(tree.files) == dict(opened.commit_tree(sha).files)
    assert tree.read_many(["in/a", "out/b"]) == {"in/a": b"1", "out/b": b"2"}


def test_a_repository_inside_that_is_no_submodule_is_left_alone(
    repository: Repository, opened: git.Repository
):
    repository.commit(a="1")
    Repository.create(repository.path / "vendor/other").commit(b="1")

    assert list(opened.work_tree().files) == ["a"]


def test_many_files_are_read_at_once(repository: Repository, opened: git.Repository):
    contents = {f"f{n}": str(n) * n * 40 for n in range(700)}
    tree = opened.commit_tree(repository.commit(**contents))

    assert tree.read_many(contents) == {name: text.encode() for name, text in contents.items()}


def test_a_sha_256_repository_works(tmp_path: Path):
    (tmp_path / "r").mkdir()
    repository = Repository(path=tmp_path / "r")
    repository.git("init", "--quiet", "--object-format=sha256", "--initial-branch=main")
    sha = repository.commit(a="1")
    repository.write("b", "new")
    with opens(repository.path) as found:
        assert found.changed_files(sha, None) == ("b",)
        assert found.work_tree().files["b"] == hashlib.sha256(b"blob 3\0new").hexdigest()
        assert found.commit_tree(sha).read("a") == b"1"


def test_a_bare_repository_has_commits_and_no_working_tree(repository: Repository, tmp_path: Path):
    sha = repository.commit(a="1")
    repository.git("clone", "--quiet", "--bare", str(repository.path), str(tmp_path / "bare"))
    with opens(tmp_path / "bare") as found:
        assert found.commit_tree(sha).read("a") == b"1"
        with pytest.raises(GitError, match="bare repository, without files"):
            found.work_tree()


def test_a_folder_outside_git_is_a_tree_too(tmp_path: Path):
    for name in (
        *("experiments/a.py", "é b.py", ".hidden/x", "__pycache__/x", "node_modules/x"),
        *("env/pyvenv.cfg", "env/x.py", "compiled/x.yaml", "deep/compiled/x.yaml", ".file"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    tree = Folder(tmp_path, output="compiled")

    assert sorted(tree.files) == [".file", "deep/compiled/x.yaml", "experiments/a.py", "é b.py"]
    assert tree.files["experiments/a.py"] == blob(b"experiments/a.py")
    assert tree.read("é b.py") == "é b.py".encode()


def test_a_missing_object_says_so(repository: Repository, opened: git.Repository):
    sha = repository.commit(a="1")
    tree = opened.commit_tree(sha)
    identity = tree.files["a"]
    (repository.path / ".git/objects" / identity[:2] / identity[2:]).unlink()

    with pytest.raises(GitError, match=f"Git has no object {identity}"):
        tree.read("a")


# What to compare, on a laptop


def test_a_branch_is_compared_with_its_merge_base(repository: Repository):
    fork = repository.commit(a="1")
    repository.branch("work")
    repository.commit(a="2")
    repository.checkout("main")
    main = repository.commit(b="1")
    repository.checkout("work")

    assert range_between(opens(repository.path)) == Range(
        kind="working-tree", base=main, merge_base=fork
    )


def test_the_remotes_default_branch_comes_before_the_local_one(
    repository: Repository, tmp_path: Path
):
    first = repository.commit(a="1")
    clone = repository.clone(tmp_path / "clone")
    second = clone.commit(a="2")
    found = opens(clone.path)

    # Also on the default branch itself: what is not pushed is what changed.
    assert found.default_branch() == "refs/remotes/origin/main"
    assert range_between(found) == Range(kind="working-tree", base=first, merge_base=first)
    assert range_between(found, head="HEAD") == Range(
        kind="refs", base=first, merge_base=first, head=second
    )


def test_on_the_only_branch_uncommitted_work_is_what_changed(repository: Repository):
    sha = repository.commit(a="1")

    assert range_between(opens(repository.path)) == Range(
        kind="working-tree", base=sha, merge_base=sha, note="only what is not committed"
    )


def test_a_branch_of_another_name_without_a_default_is_compared_with_itself(tmp_path: Path):
    repository = Repository.create(tmp_path / "r", branch="trunk")
    sha = repository.commit(a="1")
    assert opens(repository.path).default_branch() is None
    assert range_between(opens(repository.path)).merge_base == sha


def test_a_detached_head_is_compared_like_a_branch(repository: Repository):
    first = repository.commit(a="1")
    repository.branch("work")
    sha = repository.commit(a="2")
    repository.checkout(sha)

    assert opens(repository.path).branch() is None
    assert range_between(opens(repository.path)).merge_base == first


def test_flags_name_refs(repository: Repository):
    first = repository.commit(a="1")
    repository.git("tag", "-a", "v1", "-m", "v1")
    second = repository.commit(a="2")
    found = opens(repository.path)

    assert range_between(found, "v1") == Range(kind="refs", base=first, merge_base=first)
    assert range_between(found, "v1", "HEAD") == Range(
        kind="refs", base=first, merge_base=first, head=second
    )
    assert range_between(found, "0" * 40, "main") == Range(
        kind="refs", head=second, note="compared with no files at all"
    )


def test_before_the_first_commit_everything_is_new(repository: Repository):
    found = opens(repository.path)

    assert found.head_commit() is None
    assert range_between(found) == Range(
        kind="working-tree", note="no commit yet: everything is new"
    )
    repository.write("a")
    base, head = found.trees(range_between(found))
    assert (dict(base.files), list(head.files)) == ({}, ["a"])


@pytest.mark.parametrize("ref", ["none", "--upload-pack=x", "-h", "", "a..b", "HEAD:a", "\0"])
def test_a_ref_that_is_none_is_one_clear_error(repository: Repository, ref: str):
    repository.commit(a="1")

    with pytest.raises(GitError, match=r"names no branch, tag or commit.*git fetch origin"):
        opens(repository.path).resolve(ref)


def test_an_unknown_commit_says_how_to_fetch_it(repository: Repository):
    repository.commit(a="1")
    sha = "1" * 40

    with pytest.raises(GitError, match=f"git fetch origin {sha}.*fetch-depth: 0"):
        range_between(opens(repository.path), sha)


def test_a_shallow_clone_without_the_merge_base_says_what_to_fetch(
    repository: Repository, tmp_path: Path
):
    repository.commit(a="1")
    repository.branch("work")
    repository.commit(a="2")
    repository.checkout("main")
    repository.commit(b="1")
    clone = repository.clone(tmp_path / "clone", depth=1, branch="work")
    clone.git("fetch", "--quiet", "--depth=1", "origin", "main:refs/remotes/origin/main")

    with pytest.raises(GitError, match=r"is shallow.*git fetch --unshallow.*fetch-depth: 0"):
        range_between(opens(clone.path))


def test_histories_without_a_common_commit_say_so(repository: Repository):
    repository.commit(a="1")
    repository.git("checkout", "--quiet", "--orphan", "work")
    repository.commit(a="2")

    with pytest.raises(GitError, match=r"have no common ancestor.*--base.*--all"):
        range_between(opens(repository.path))


# What to compare, for an event of GitHub: `test_events.py` asks that of whole repositories


PUSH = {"GITHUB_EVENT_NAME": "push"}


def test_pull_request_target_is_refused(repository: Repository):
    with pytest.raises(SettingsError, match="use `on: pull_request`"):
        event_range({"GITHUB_EVENT_NAME": "pull_request_target"}, {}, opens(repository.path))


def pushed(before: str, after: str, **more: object) -> dict[str, object]:
    return {
        "ref": "refs/heads/main",
        "before": before,
        "after": after,
        "repository": {"default_branch": "main"},
        **more,
    }


def test_a_force_push_is_compared_with_what_it_replaced(repository: Repository):
    first = repository.commit(a="1")
    before = repository.commit(a="2")
    repository.git("reset", "--quiet", "--hard", first)
    after = repository.commit(b="1")
    found = opens(repository.path)

    assert event_range(PUSH, pushed(before, after, forced=True), found) == Range(
        kind="push",
        base=before,
        head=after,
        merge_base=before,
        note="a force push: compared with what it replaced",
    )
    with pytest.raises(GitError, match=r"force push removed it for good.*--base"):
        event_range(PUSH, pushed("3" * 40, after, forced=True), found)


def test_first_pushes(repository: Repository, tmp_path: Path):
    first = repository.commit(a="1")
    repository.branch("work")
    second = repository.commit(a="2")
    found = opens(repository.clone(tmp_path / "clone", branch="work").path)

    assert event_range(PUSH, pushed("0" * 40, first), found) == Range(
        kind="new-branch", head=first, note="the first push: everything is new"
    )
    payload = pushed("0" * 40, second, ref="refs/heads/work")
    assert event_range(PUSH, payload, found) == Range(
        kind="new-branch", base=first, head=second, merge_base=first
    )


def test_events_without_a_base(repository: Repository):
    first = repository.commit(a="1")
    head = repository.commit(a="2")
    found = opens(repository.path)

    assert event_range(PUSH, pushed(head, "0" * 40, deleted=True), found) == Range(
        kind="nothing", note="refs/heads/main was deleted"
    )
    assert event_range(PUSH, pushed("0" * 40, head, ref="refs/tags/v1"), found) == Range(
        kind="all", head=head, note="the tag v1 has no base"
    )
    assert event_range({"GITHUB_EVENT_NAME": "schedule"}, {"schedule": "0 0 * * *"}, found) == (
        Range(kind="all", head=head, note="the event schedule names no base")
    )
    dispatch = {"GITHUB_EVENT_NAME": "workflow_dispatch"}
    assert event_range(dispatch, {"inputs": None}, found).kind == "all"
    assert event_range(dispatch, {"inputs": {"base": first}}, found) == Range(
        kind="workflow-dispatch", base=first, head=head, merge_base=first
    )
