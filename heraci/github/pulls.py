"""Which pull request brought a commit into the branch that it was merged into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from heraci.github.api import GitHub, MissingError

LAG = 2.0  # seconds until GitHub knows what was merged; nearly always


@dataclass(frozen=True, kw_only=True, slots=True)
class PullRequest:
    """A merged pull request; `head_sha` is its last commit, the one that was reviewed."""

    number: int
    url: str
    head_sha: str
    merge_sha: str | None
    merged_at: str
    author: str


def merged_pull_request(
    github: GitHub, sha: str, branch: str, *, patient: bool = True
) -> PullRequest | None:
    """Find the pull request whose merge made a commit; None after a direct push.

    Right after a merge GitHub may not know yet, so `patient` asks once more where none is known.
    """
    for last in (False, True) if patient else (True,):
        try:
            found = [
                _pull_request(each)
                for each in github.pages(f"commits/{sha}/pulls")
                if each.get("merged_at") and each["base"]["ref"] == branch
            ]
        except MissingError:  # a commit that GitHub does not know: pushed nowhere
            return None
        if found:
            # That its merge made the commit says more than that it contains it.
            return max(found, key=lambda each: (each.merge_sha == sha, each.merged_at))
        if not last:
            github.wait(LAG)
    return None


def _pull_request(plain: Any) -> PullRequest:
    return PullRequest(
        number=plain["number"],
        url=plain["html_url"],
        head_sha=plain["head"]["sha"],
        merge_sha=plain.get("merge_commit_sha"),
        merged_at=plain["merged_at"],
        author=(plain.get("user") or {}).get("login", ""),
    )
