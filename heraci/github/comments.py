"""One comment on a pull request: the newest review, and below it what the merge submitted."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from heraci.errors import GitHubError
from heraci.github.api import GitHub, MissingError, RefusedError, UnansweredError

MOST_CHARACTERS = 65_536
_KEY = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MARKER = re.compile(r"<!-- heraci:(?P<key>\S+) run=(?P<id>\d{1,18})\.(?P<attempt>\d{1,6}) -->\n")
_RUNS = re.compile(r"\n\n<!-- heraci-runs run=(?P<id>\d{1,18})\.(?P<attempt>\d{1,6}) -->\n")


class Written(StrEnum):
    """What became of a comment."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    OUTDATED = "outdated"  # a newer run wrote it, or the pull request has newer commits
    REFUSED = "refused"  # the token may not


@dataclass(frozen=True, kw_only=True, slots=True)
class Comment:
    """What became of it, where it is, and for REFUSED and OUTDATED why."""

    what: Written
    url: str = ""
    message: str = ""


@dataclass(frozen=True, order=True, slots=True)
class Run:
    """The run that writes: a later one has a greater id, a re-run a greater attempt."""

    id: int
    attempt: int = 1

    def __str__(self) -> str:
        return f"{self.id}.{self.attempt}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    run: Run
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Body:
    """A comment's text, taken apart."""

    key: str
    review: _Part
    runs: _Part | None = None

    def __str__(self) -> str:
        text = f"<!-- heraci:{self.key} run={self.review.run} -->\n{self.review.text}"
        if self.runs is None:
            return text
        return f"{text}\n\n<!-- heraci-runs run={self.runs.run} -->\n{self.runs.text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    id: int
    url: str
    body: _Body


def upsert(
    github: GitHub, number: int, key: str, run: Run, text: str, *, head: str | None = None
) -> Comment:
    """Write the review into its comment; what an older run says never replaces a newer one's.

    `key` tells apart the comments of several targets. `head` is the commit that was reviewed:
    where the pull request has another one by now, nothing is written. Where the token may not
    write, that is told as REFUSED, not raised: a fork's pull request has the summary.
    """
    review = _Part(run=run, text=_own(text))

    def make(before: _Body | None) -> _Body | None:
        if before is None:
            return _Body(key=key, review=review)
        if run < before.review.run:
            return None
        same = before.review.text == review.text
        return before if same else _Body(key=key, review=review, runs=before.runs)

    try:
        if head is not None and github.get(f"pulls/{number}")["head"]["sha"] != head:
            told = f"{head[:10]} is not the pull request's newest commit any more"
            return Comment(what=Written.OUTDATED, message=told)
        return _keep(github, number, key, make)
    except RefusedError as error:
        return Comment(what=Written.REFUSED, message=str(error))


def amend(github: GitHub, number: int, key: str, run: Run, text: str) -> Comment:
    """Write below the review what was submitted after the merge, and how it fares."""
    runs = _Part(run=run, text=_own(text))

    def make(before: _Body | None) -> _Body | None:
        nothing = _Part(run=run, text="")
        if before is None:
            return _Body(key=key, review=nothing, runs=runs)
        if before.runs is not None and run < before.runs.run:
            return None
        if before.runs is not None and before.runs.text == runs.text:
            return before
        after = _Body(key=key, review=before.review, runs=runs)
        if characters(str(after)) <= MOST_CHARACTERS:
            return after
        # The review was cut to fit alone, and what runs now matters more than what was proposed.
        return _Body(key=key, review=nothing, runs=runs)

    try:
        return _keep(github, number, key, make)
    except RefusedError as error:
        return Comment(what=Written.REFUSED, message=str(error))


def characters(text: str) -> int:
    """Count as GitHub does."""
    return len(text.encode("utf-16-le")) // 2


def _own(text: str) -> str:
    """Leave in a text no marker that somebody else wrote."""
    return text.strip().replace("<!-- heraci", "<!-- \N{WORD JOINER}heraci")


def _keep(
    github: GitHub, number: int, key: str, make: Callable[[_Body | None], _Body | None]
) -> Comment:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} cannot be in a comment's marker")
    login = github.login()
    try:
        return _write(github, number, _ours(github, number, key, login), make)
    except (UnansweredError, MissingError):
        # A lost answer may hide a comment that was made, and one that was found may be gone: look
        # again before a second one is made.
        return _write(github, number, _ours(github, number, key, login), make)


def _ours(github: GitHub, number: int, key: str, login: str) -> list[_Found]:
    """Find our comments, the oldest first; anybody can write the marker, but not as this author."""
    found = (_read(each, login) for each in github.pages(f"issues/{number}/comments"))
    return sorted(
        (each for each in found if each is not None and each.body.key == key),
        key=lambda each: each.id,
    )


def _read(comment: Any, login: str) -> _Found | None:
    text = (comment.get("body") or "").replace("\r\n", "\n")
    marker = _MARKER.match(text)
    if marker is None or (comment.get("user") or {}).get("login") != login:
        return None
    rest = text[marker.end() :]
    split = _RUNS.search(rest)
    review = rest if split is None else rest[: split.start()]
    runs = None if split is None else _Part(run=_run(split), text=rest[split.end() :].strip())
    body = _Body(key=marker["key"], review=_Part(run=_run(marker), text=review.strip()), runs=runs)
    return _Found(id=comment["id"], url=comment["html_url"], body=body)


def _run(marker: re.Match[str]) -> Run:
    return Run(int(marker["id"]), int(marker["attempt"]))


def _write(
    github: GitHub,
    number: int,
    ours: list[_Found],
    make: Callable[[_Body | None], _Body | None],
) -> Comment:
    newest = max(ours, key=lambda each: each.body.review.run, default=None)
    body = make(newest.body if newest else None)
    if body is None:
        assert newest is not None
        told = "a newer run wrote the comment"
        return Comment(what=Written.OUTDATED, url=newest.url, message=told)
    text = str(body)
    if characters(text) > MOST_CHARACTERS:
        raise GitHubError(f"the comment would have more than {MOST_CHARACTERS} characters")
    if not ours:
        made = github.post(f"issues/{number}/comments", {"body": text})
        return Comment(what=Written.CREATED, url=made["html_url"])
    oldest, *others = ours
    if str(oldest.body) != text:
        github.patch(f"issues/comments/{oldest.id}", {"body": text})
    # Two runs that raced made two: whoever followed the oldest goes on reading that one.
    for each in others:
        with suppress(MissingError):
            github.delete(f"issues/comments/{each.id}")
    changed = others or str(oldest.body) != text
    return Comment(what=Written.UPDATED if changed else Written.UNCHANGED, url=oldest.url)
