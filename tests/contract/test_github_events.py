"""The event that started a run, read from payloads that GitHub's own schema calls right."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from heraci.action import command
from heraci.errors import GitHubError, SettingsError
from heraci.github import Event
from tests.github.described import payload, wrong_with_event


def pull_request(**changes: Any) -> Any:
    made = payload("pull_request")
    made["pull_request"] |= changes
    return made


def fork() -> Any:
    made = payload("pull_request")
    made["pull_request"]["head"]["repo"] |= {"id": 999, "fork": True, "full_name": "mallory/x"}
    return made


def deleted_fork() -> Any:
    made = payload("pull_request")
    made["pull_request"]["head"]["repo"] = None
    return made


def closed() -> Any:
    made = pull_request(merged=True, merge_commit_sha="a" * 40, state="closed", merged_by=None)
    made["pull_request"] |= {
        "closed_at": "2026-01-01T00:00:00Z",
        "merged_at": "2026-01-01T00:00:00Z",
    }
    # What only `synchronize` has.
    del made["before"], made["after"]
    return made | {"action": "closed"}


def push(**changes: Any) -> Any:
    return payload("push") | {"ref": "refs/heads/main"} | changes


CASES = {
    "pull_request": ("pull_request$synchronize", pull_request()),
    "fork": ("pull_request$synchronize", fork()),
    "deleted fork": ("pull_request$synchronize", deleted_fork()),
    "merged": ("pull_request$closed", closed()),
    "push": ("push$event", push(before="b" * 40, after="c" * 40, created=False)),
    "first push": ("push$event", push(before="0" * 40, created=True)),
    "force push": ("push$event", push(before="b" * 40, created=False, forced=True)),
    "deleted branch": (
        "push$event",
        push(after="0" * 40, created=False, deleted=True, head_commit=None),
    ),
    "merge_group": ("merge_group$checks_requested", payload("merge_group")),
    "bare dispatch": ("workflow_dispatch$event", payload("workflow_dispatch") | {"inputs": None}),
    "workflow_dispatch": (
        "workflow_dispatch$event",
        payload("workflow_dispatch") | {"inputs": {"commit": "abc", "attempt": None}},
    ),
}


@pytest.fixture
def event(tmp_path):
    def read(case: str, **environ: str) -> Event:
        name, told = CASES[case]
        path = tmp_path / "event.json"
        path.write_text(json.dumps(told))
        given = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": name.partition("$")[0],
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_RUN_ID": "12345678901",
            "GITHUB_RUN_ATTEMPT": "2",
            "GITHUB_SHA": "d" * 40,
            "GITHUB_REF": told.get("ref") or "refs/pull/2/merge",
            "GITHUB_ACTOR": "octocat",
            "GITHUB_TRIGGERING_ACTOR": "hubot",
        }
        made = Event.of(given | environ)
        assert made is not None
        return made

    return read


@pytest.mark.parametrize("case", CASES)
def test_these_are_payloads_of_github(case):
    definition, told = CASES[case]
    assert wrong_with_event(definition, told) == []


def test_a_payload_of_somebody_else_is_noticed():
    assert wrong_with_event("push$event", push(deleted="x")) == [
        "deleted: 'x' is not of type 'boolean'"
    ]


def test_a_pull_request_is_told_by_its_own_commit_and_not_by_the_merge(event):
    told = CASES["pull_request"][1]["pull_request"]
    found = event("pull_request")

    assert found == Event(
        name="pull_request",
        action="synchronize",
        repository="o/r",
        sha="d" * 40,
        ref="refs/pull/2/merge",
        default_branch="master",
        actor="hubot",
        run_id=12345678901,
        run_attempt=2,
        pull_request=told["number"],
        head_sha=told["head"]["sha"],
        base_sha=told["base"]["sha"],
        base_ref="master",
    )
    assert found.run_url == "https://github.com/o/r/actions/runs/12345678901"
    assert found.pull_request_url == f"https://github.com/o/r/pull/{told['number']}"


@pytest.mark.parametrize(
    ("case", "stranger"),
    [("pull_request", False), ("fork", True), ("deleted fork", True), ("push", False)],
)
def test_a_fork_is_one_also_when_it_is_gone(event, case, stranger):
    assert event(case).from_fork is stranger


def test_a_merge_group_names_both_ends(event):
    group = CASES["merge_group"][1]["merge_group"]
    found = event("merge_group")
    assert (found.base_sha, found.head_sha) == (group["base_sha"], group["head_sha"])
    assert found.base_ref == group["base_ref"].removeprefix("refs/heads/")


def test_inputs_of_a_dispatch_are_texts(event):
    assert event("workflow_dispatch").inputs == {"commit": "abc"}


@pytest.mark.parametrize(
    ("case", "asked", "words"),
    [
        ("pull_request", "", ["review"]),
        ("fork", "", ["review"]),
        ("merge_group", "", ["review"]),
        ("merged", "", None),
        ("deleted branch", "", None),
        ("pull_request", "compile --all", ["compile", "--all"]),
        ("workflow_dispatch", "submit -- 'a b' --c", ["submit", "--", "a b", "--c"]),
        ("merged", " list ", ["list"]),
    ],
)
def test_the_event_says_what_to_do_and_the_input_says_it_louder(event, case, asked, words):
    assert command(asked, event(case)) == words


@pytest.mark.parametrize(("ref", "words"), [("master", ["submit"]), ("topic", ["compile"])])
def test_only_a_push_to_the_default_branch_submits(event, ref, words):
    assert command("", event("push", GITHUB_REF=f"refs/heads/{ref}")) == words


@pytest.mark.parametrize(
    ("case", "asked", "message"),
    [
        ("bare dispatch", "", "the event workflow_dispatch does not say what to do"),
        ("push", "rm -rf /", "must begin with one of assert, compile"),
        ("push", "submit 'a", "cannot be read: No closing quotation"),
    ],
)
def test_what_cannot_be_known_is_asked_for(event, case, asked, message):
    with pytest.raises(SettingsError, match=message):
        command(asked, event(case))


def test_secrets_beside_strangers_are_refused_by_name(event):
    found = event("pull_request", GITHUB_EVENT_NAME="pull_request_target")
    for asked in ("", "review", "compile --all"):
        with pytest.raises(SettingsError, match="use `on: pull_request`"):
            command(asked, found)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (
            {"commit": "", "experiments": "", "attempt": ""},
            ["submit", f"--commit={'d' * 40}", "--"],
        ),
        ({"commit": "abc", "attempt": None}, ["submit", "--commit=abc", "--"]),
        (
            {"commit": "--evil", "experiments": "a, b --c", "attempt": "2"},
            ["submit", "--commit=--evil", "--attempt=2", "--", "a", "b", "--c"],
        ),
    ],
)
def test_a_dispatch_repeats_the_submission_that_its_inputs_name(event, inputs, words):
    told = {name: value for name, value in inputs.items() if value is not None}
    assert command("", replace(event("workflow_dispatch"), inputs=told)) == words


def test_outside_the_runner_there_is_no_event():
    assert Event.of({"CI": "true"}) is None


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"GITHUB_REPOSITORY": "../../evil"}, "GITHUB_REPOSITORY must be OWNER/NAME"),
        ({"GITHUB_REPOSITORY": "o/.."}, "GITHUB_REPOSITORY must be OWNER/NAME"),
        ({"GITHUB_RUN_ID": "1; rm"}, "GITHUB_RUN_ID must be a number"),
        ({"GITHUB_EVENT_PATH": "/nowhere"}, "cannot be read"),
    ],
)
def test_what_becomes_part_of_an_address_is_checked(event, environ, message):
    with pytest.raises(GitHubError, match=message):
        event("push", **environ)
