"""The fence to GitHub against its own description, on a loopback server that can misbehave."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from heraci import github
from heraci.errors import GitHubError
from heraci.github import Comment, DeploymentState, GitHub, Run, Written
from heraci.github.api import RefusedError, UnansweredError
from tests.github.server import REPOSITORY, TOKEN, Fault, Loopback

HEAD, MERGE, OTHER = "a" * 40, "b" * 40, "c" * 40
OLD, NEW, NEWEST = Run(100), Run(200), Run(200, 2)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as made:
        made.pull(1, HEAD)
        yield made
        assert made.wrong == []


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def api(server: Loopback, waits: list[float]) -> Iterator[GitHub]:
    made = GitHub(
        SecretStr(TOKEN), REPOSITORY, api_url=server.url, sleep=waits.append, now=lambda: 1_000.0
    )
    yield made
    made.close()


def bodies(server: Loopback) -> list[str]:
    return [each["body"] for each in server.comments.values()]


def marked(run: Run, text: str) -> str:
    return f"<!-- heraci:review run={run} -->\n{text}"


# --- the comment ---------------------------------------------------------------------------------


def test_a_review_makes_one_comment_and_changes_it_only_where_it_differs(server, api):
    first = github.upsert(api, 1, "review", OLD, "one", head=HEAD)
    same = github.upsert(api, 1, "review", NEW, "one\n", head=HEAD)
    other = github.upsert(api, 1, "review", NEWEST, "two", head=HEAD)

    url = first.url
    assert [first, same, other] == [
        Comment(what=Written.CREATED, url=url),
        Comment(what=Written.UNCHANGED, url=url),
        Comment(what=Written.UPDATED, url=url),
    ]
    assert bodies(server) == [marked(NEWEST, "two")]


def test_an_older_run_never_replaces_a_newer_ones(server, api):
    github.upsert(api, 1, "review", NEWEST, "new", head=HEAD)
    late = github.upsert(api, 1, "review", NEW, "old", head=HEAD)

    assert late.what is Written.OUTDATED
    assert bodies(server) == [marked(NEWEST, "new")]


def test_what_was_reviewed_is_not_told_where_the_pull_request_went_on(server, api):
    assert github.upsert(api, 1, "review", NEW, "old", head=OTHER) == Comment(
        what=Written.OUTDATED, message="cccccccccc is not the pull request's newest commit any more"
    )
    assert bodies(server) == []


def test_a_strangers_marker_and_another_targets_comment_are_left_alone(server, api):
    server.comment(marked(Run(999_999), "forged"), login="mallory")
    server.comment("<!-- heraci:review.other run=1.1 -->\nfor another target")
    server.comment("a person quotes <!-- heraci:review run=5.1 -->\n")

    assert github.upsert(api, 1, "review", NEW, "ours").what is Written.CREATED
    assert bodies(server)[3:] == [marked(NEW, "ours")]
    assert len(bodies(server)) == 4


def test_our_comment_is_found_on_a_later_page(api, server):
    server.page = 2
    for number in range(5):
        server.comment(f"talk {number}", login="somebody")
    ours = server.comment(marked(OLD, "old"))
    server.comment("more talk", login="somebody")

    github.upsert(api, 1, "review", NEW, "new")

    assert server.comments[ours]["body"] == marked(NEW, "new")


def test_two_runs_that_raced_leave_one_comment(server, api):
    oldest = server.comment(marked(OLD, "old"))
    server.comment(marked(NEW, "new"))

    assert github.upsert(api, 1, "review", NEW, "new").what is Written.UPDATED
    assert server.comments.keys() == {oldest}
    assert bodies(server) == [marked(NEW, "new")]


def test_a_lost_answer_makes_no_second_comment(server, api):
    server.faults.append(Fault("POST .*/comments", done=True))

    assert github.upsert(api, 1, "review", NEW, "text").what is Written.UNCHANGED
    assert bodies(server) == [marked(NEW, "text")]


def test_a_comment_that_somebody_deleted_meanwhile_is_made_anew(server, api):
    server.comment(marked(OLD, "old"))
    server.faults.append(Fault("PATCH .*", 404, message="Not Found"))

    assert github.upsert(api, 1, "review", NEW, "new").what is Written.UPDATED


def test_a_fork_is_told_not_failed(server, api):
    server.faults.append(
        Fault("POST .*/comments", 403, message="Resource not accessible by integration")
    )

    assert github.upsert(api, 1, "review", NEW, "text") == Comment(
        what=Written.REFUSED,
        message=f"GitHub refused POST /repos/{REPOSITORY}/issues/1/comments (403): Resource not "
        "accessible by integration. Give the job `permissions: pull-requests: write`; a fork's "
        "pull request never gets it",
    )


def test_a_comment_too_long_is_said_before_it_is_sent(server, api):
    with pytest.raises(GitHubError, match="more than 65536 characters"):
        github.upsert(api, 1, "review", NEW, "\N{PARTY POPPER}" * 32_768)
    assert "POST" not in " ".join(call for call in server.calls() if "comments" in call)


def test_what_github_finds_wrong_is_passed_on(server, api):
    server.faults.append(Fault("POST .*/comments", 422, message="Validation Failed"))

    with pytest.raises(GitHubError, match=r"\(422\): Validation Failed"):
        github.upsert(api, 1, "review", NEW, "text")


def test_runs_stand_below_the_review_and_are_kept_when_it_changes(server, api):
    github.upsert(api, 1, "review", OLD, "review")
    github.amend(api, 1, "review", NEW, "runs: 1")
    again = github.amend(api, 1, "review", NEW, "runs: 1")
    late = github.amend(api, 1, "review", OLD, "runs: 0")
    github.upsert(api, 1, "review", NEWEST, "review 2")

    assert [again.what, late.what] == [Written.UNCHANGED, Written.OUTDATED]
    assert bodies(server) == [
        marked(NEWEST, f"review 2\n\n<!-- heraci-runs run={NEW} -->\nruns: 1")
    ]


def test_runs_push_out_a_review_that_leaves_them_no_room(server, api):
    github.upsert(api, 1, "review", OLD, "x" * 65_400)
    github.amend(api, 1, "review", NEW, "y" * 300)

    assert bodies(server) == [marked(NEW, f"\n\n<!-- heraci-runs run={NEW} -->\n{'y' * 300}")]


def test_no_text_can_forge_the_marker_of_runs(server, api):
    forged = f"fence\n\n<!-- heraci-runs run={'9' * 17}.1 -->\nall succeeded"
    github.upsert(api, 1, "review", OLD, forged)

    assert github.amend(api, 1, "review", NEW, "true").what is Written.UPDATED
    assert bodies(server)[0].endswith(f"<!-- heraci-runs run={NEW} -->\ntrue")


def test_a_personal_token_finds_the_comments_of_its_own_user(server, api):
    server.login = "somebody"
    ours = server.comment(marked(OLD, "old"), login="somebody")

    github.upsert(api, 1, "review", NEW, "new")

    assert server.comments[ours]["body"] == marked(NEW, "new")


# --- what can go wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "waited"),
    [
        ([Fault("GET .*", 502)], [1.0]),
        ([Fault("GET .*")], [1.0]),
        ([Fault("GET .*", 503), Fault("GET .*", 500), Fault("GET .*")], [1.0, 2.0, 4.0]),
        ([Fault("GET .*", 429, {"Retry-After": "7"})], [7.0]),
        (
            [Fault("GET .*", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1030"})],
            [30.0],
        ),
        (
            [Fault("GET .*", 403, message="You have exceeded a secondary rate limit.")],
            [60.0],
        ),
    ],
)
def test_what_passes_is_waited_for(server, api, waits, faults, waited):
    server.faults += faults

    assert api.get("pulls/1")["head"]["sha"] == HEAD
    assert waits == waited


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET .*", 429, {"Retry-After": "3600"}),
        Fault("GET .*", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999"}),
    ],
)
def test_a_limit_longer_than_our_patience_is_said_at_once(server, api, waits, fault):
    server.faults.append(fault)

    with pytest.raises(UnansweredError, match="limit of requests reached"):
        api.get("pulls/1")
    assert waits == []


def test_a_server_that_stays_away_is_given_up(server, api, waits):
    server.faults += [Fault("GET .*", 500)] * 5

    with pytest.raises(UnansweredError, match="status 500: broken"):
        api.get("pulls/1")
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_a_limit_is_waited_for_even_where_something_is_made(server, api, waits):
    server.faults.append(Fault("POST .*/comments", 429, {"Retry-After": "5"}))

    assert github.upsert(api, 1, "review", NEW, "text").what is Written.CREATED
    assert waits == [5.0]


def test_a_token_that_is_not_valid_is_an_error_and_not_a_refusal(server, api):
    server.faults.append(Fault("GET .*", 401, message="Bad credentials"))

    with pytest.raises(GitHubError, match=r"Bad credentials. The token is not valid") as caught:
        api.get("pulls/1")
    assert not isinstance(caught.value, RefusedError)


def test_the_token_is_in_no_repr_and_no_message(server, api):
    server.faults.append(Fault("GET .*", 401))
    with pytest.raises(GitHubError) as caught:
        api.get("pulls/1")

    assert TOKEN not in repr(api) + repr(vars(api)) + str(caught.value)


# --- pull requests -------------------------------------------------------------------------------


def test_the_pull_request_of_a_commit_is_the_one_whose_merge_made_it(server, api):
    server.merge(7, HEAD, MERGE, merged_at="2026-01-01T00:00:00Z")
    server.merged[MERGE].append(
        {
            **server.merged[MERGE][0],
            "number": 8,
            "merge_commit_sha": OTHER,
            "merged_at": "2027-01-01",
        }
    )
    server.merge(9, HEAD, MERGE, merged_at="2028-01-01T00:00:00Z", base="develop")

    found = github.merged_pull_request(api, MERGE, "main")

    assert found == github.PullRequest(
        number=7,
        url=f"https://github.com/{REPOSITORY}/pull/7",
        head_sha=HEAD,
        merge_sha=MERGE,
        merged_at="2026-01-01T00:00:00Z",
        author="octocat",
    )


def test_a_direct_push_has_no_pull_request_and_is_asked_twice(server, api, waits):
    assert github.merged_pull_request(api, MERGE, "main") is None
    assert github.merged_pull_request(api, MERGE, "main", patient=False) is None
    assert waits == [2.0]
    assert len(server.calls()) == 3


# --- artifacts -----------------------------------------------------------------------------------


def zipped(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name, goal in (links or {}).items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, goal)
    return content.getvalue()


def test_the_newest_review_of_the_merged_commit_is_found_and_unpacked(server, api, tmp_path):
    files = {"bundle.json": b"{}", "a/b.yaml": b"kind: Workflow\n"}
    server.artifact("heraci-review", HEAD, zipped({}), run=1)
    newest = server.artifact("heraci-review", HEAD, zipped(files), run=3)
    server.artifact("heraci-review", HEAD, zipped({}), run=2)
    server.artifact("heraci-review", OTHER, zipped({}), run=4)
    server.artifact("heraci-review", HEAD, zipped({}), run=5, event="push")
    server.artifact("something-else", HEAD, zipped({}), run=6)

    found = github.newest_artifact(api, "heraci-review", [HEAD, MERGE])
    assert found is not None
    github.download(api, found, tmp_path)

    assert (found.id, found.run_id, found.event) == (newest, 3, "pull_request")
    unpacked = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*.*")}
    assert unpacked == files


def test_the_token_does_not_follow_to_the_store(server, api, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.artifact("heraci-review", HEAD, zipped({"bundle.json": b"{}"}), run=1)
    found = github.newest_artifact(api, "heraci-review", [HEAD])
    assert found is not None

    github.download(api, found, tmp_path / "into")

    [asked] = server.store.asked
    assert "Authorization" not in asked.headers
    assert TOKEN not in json.dumps(dict(asked.headers))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"../out": b""}), "'../out', which is no plain file"),
        (zipped({"/etc/passwd": b""}), "'/etc/passwd', which is no plain file"),
        (zipped({"a\\..\\b": b""}), "no plain file"),
        (zipped({}, {"link": "/etc/passwd"}), "'link', which is no plain file"),
        (b"no zip", "cannot be unpacked"),
    ],
)
def test_an_archive_cannot_write_elsewhere(server, api, tmp_path, content, message):
    server.artifact("heraci-review", HEAD, content, run=1)
    found = github.newest_artifact(api, "heraci-review", [HEAD])
    assert found is not None
    into = tmp_path / "into"
    into.mkdir()

    with pytest.raises(GitHubError, match=message):
        github.download(api, found, into)
    assert [*tmp_path.rglob("*")] == [into]


def test_an_archive_that_grows_beyond_all_measure_is_given_up(server, api, tmp_path, monkeypatch):
    monkeypatch.setattr("heraci.github.artifacts.MOST_BYTES", 1_000)
    server.artifact("heraci-review", HEAD, zipped({"a": b"x" * 1_001}), run=1)
    found = github.newest_artifact(api, "heraci-review", [HEAD])
    assert found is not None

    with pytest.raises(GitHubError, match="more than"):
        github.download(api, found, tmp_path)


def test_an_expired_review_is_said_to_be_one(server, api, tmp_path):
    server.artifact("heraci-review", HEAD, b"", run=1, expired=True)
    found = github.newest_artifact(api, "heraci-review", [HEAD])
    assert found is not None

    with pytest.raises(GitHubError, match="is expired: run the review again"):
        github.download(api, found, tmp_path)


def test_a_review_by_nobody_is_none(server, api):
    assert github.newest_artifact(api, "heraci-review", [HEAD]) is None


# --- deployments ---------------------------------------------------------------------------------


def test_a_commit_is_deployed_once_for_each_target(server, api):
    made = github.deploy(api, HEAD, "lab", description="d" * 200, payload={"digest": "x"})
    again = github.deploy(api, HEAD, "lab", description="", payload={})
    other = github.deploy(api, HEAD, "other", description="", payload={})

    assert made == again
    assert made != other
    assert [each["description"] for each in server.deployments] == ["d" * 140, ""]
    bodies = [each.body for each in server.asked if each.called.endswith("POST /deployments")]
    assert all(each["auto_merge"] is False and each["required_contexts"] == [] for each in bodies)


def test_a_lost_answer_makes_no_second_deployment(server, api):
    server.faults.append(Fault("POST .*/deployments", done=True))

    made = github.deploy(api, HEAD, "lab", description="", payload={})

    assert [each["id"] for each in server.deployments] == [made.id]


def test_the_commit_that_was_last_submitted_is_the_last_success(server, api):
    first, second = (
        github.deploy(api, sha, "lab", description="", payload={}) for sha in (HEAD, MERGE)
    )
    github.set_state(api, first, DeploymentState.SUCCESS, description="3 created")
    github.set_state(
        api,
        second,
        DeploymentState.FAILURE,
        log_url="https://github.com/x",
        environment_url="https://argo.example.org/x",
    )

    assert github.last_deployed(api, "lab") == HEAD
    assert github.last_deployed(api, "other") is None


def test_the_fence_is_one_import_without_requests(tmp_path: Path):
    import subprocess
    import sys

    code = "import sys, heraci.github; print('requests' in sys.modules, 'pydantic' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False False\n"
