"""The event that started this run, read once from the runner's variables and its payload."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from heraci.errors import GitHubError

_ZEROS = re.compile(r"0{40}(0{24})?")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What happened in which repository, who did it, and which run of CI looks at it.

    `sha` is the runner's GITHUB_SHA: on a pull request the merge commit that GitHub made for it.
    `head_sha` is the commit that people wrote, `base_sha` what it is compared with as the payload
    says (for a pull request that is often stale: ask `heraci.git.event_range`). `from_fork` is true
    where the head's repository is another one, or gone.
    """

    name: str
    action: str | None = None
    repository: str
    sha: str
    ref: str
    default_branch: str | None = None
    actor: str
    run_id: int
    run_attempt: int = 1
    workflow: str = ""
    server_url: str = "https://github.com"
    api_url: str = "https://api.github.com"
    pull_request: int | None = None
    head_sha: str | None = None
    base_sha: str | None = None
    base_ref: str | None = None
    from_fork: bool = False
    inputs: Mapping[str, str] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self | None:
        """Read the event; None where no runner of GitHub Actions started this process."""
        if environ.get("GITHUB_ACTIONS") != "true":
            return None
        payload = _payload(environ)
        number, head, base, base_ref, fork = _ends(environ.get("GITHUB_EVENT_NAME", ""), payload)
        return cls(
            name=environ.get("GITHUB_EVENT_NAME", ""),
            action=payload.get("action"),
            repository=_repository(environ),
            sha=environ.get("GITHUB_SHA", ""),
            ref=environ.get("GITHUB_REF", ""),
            default_branch=payload.get("repository", {}).get("default_branch"),
            # Who started a re-run answers for it, not who pushed first.
            actor=environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR", ""),
            run_id=_number(environ, "GITHUB_RUN_ID"),
            run_attempt=_number(environ, "GITHUB_RUN_ATTEMPT"),
            workflow=environ.get("GITHUB_WORKFLOW", ""),
            server_url=environ.get("GITHUB_SERVER_URL") or "https://github.com",
            api_url=environ.get("GITHUB_API_URL") or "https://api.github.com",
            pull_request=number,
            head_sha=head or environ.get("GITHUB_SHA"),
            base_sha=base,
            base_ref=base_ref,
            from_fork=fork,
            inputs={k: str(v) for k, v in (payload.get("inputs") or {}).items() if v is not None},
            payload=payload,
        )

    @property
    def run_url(self) -> str:
        """Where people read this run."""
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run_id}"

    @property
    def pull_request_url(self) -> str | None:
        """Where people read the pull request, if the event is about one."""
        if self.pull_request is None:
            return None
        return f"{self.server_url}/{self.repository}/pull/{self.pull_request}"

    @property
    def on_default_branch(self) -> bool:
        """Tell whether the commit is on the branch that pull requests are merged into."""
        return self.default_branch is not None and self.ref == f"refs/heads/{self.default_branch}"

    @property
    def deleted(self) -> bool:
        """Tell whether a push took a branch away, so that there is nothing to look at."""
        return bool(self.payload.get("deleted")) or bool(_ZEROS.fullmatch(self.head_sha or ""))


_Ends = tuple[int | None, str | None, str | None, str | None, bool]


def _ends(name: str, payload: Mapping[str, Any]) -> _Ends:
    """Give number, head, base and base branch, and whether the head is a stranger's."""
    if name.startswith("pull_request") and "pull_request" in payload:
        pull = payload["pull_request"]
        head, base = pull["head"], pull["base"]
        # A fork that was deleted has no repository any more, and is none the less a fork.
        theirs = (head.get("repo") or {}).get("id")
        return pull["number"], head["sha"], base["sha"], base["ref"], theirs != base["repo"]["id"]
    if name == "merge_group":
        group = payload["merge_group"]
        branch = str(group.get("base_ref", "")).removeprefix("refs/heads/")
        return None, group["head_sha"], group["base_sha"], branch, False
    if name == "push":
        branch = str(payload.get("ref", "")).removeprefix("refs/heads/")
        return None, payload.get("after"), payload.get("before"), branch, False
    return None, None, None, None, False


def _payload(environ: Mapping[str, str]) -> dict[str, Any]:
    path = environ.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    try:
        payload = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise GitHubError(f"the event's payload {path} cannot be read: {error}") from error
    return payload if isinstance(payload, dict) else {}


def _repository(environ: Mapping[str, str]) -> str:
    """Check the name that becomes part of addresses a token is sent to."""
    name = environ.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(name) or ".." in name:
        raise GitHubError(f"GITHUB_REPOSITORY must be OWNER/NAME, not {name!r}")
    return name


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name) or "1"
    if not text.isdecimal():
        raise GitHubError(f"{name} must be a number, not {text!r}")
    return int(text)
