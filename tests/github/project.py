"""A repository with its pull request, and the events that GitHub would tell of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.github.described import payload
from tests.github.server import Loopback
from tests.repository import Repository

PULL = 7


@dataclass(frozen=True)
class Event:
    """What starts a run: its payload, and what the runner says of it in variables."""

    name: str
    payload: Any
    ref: str
    sha: str


@dataclass(kw_only=True)
class Project:
    """The bare repository on GitHub, and its people at work on one pull request."""

    origin: Path
    people: Repository
    github: Loopback
    heads: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def clone(folder: Path) -> tuple[Path, Repository]:
        """Make an empty bare repository, and the clone that people work in."""
        origin, people = folder / "origin.git", Repository.create(folder / "people")
        people.git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
        people.git("remote", "add", "origin", origin.as_uri())
        return origin, people

    def push(self, *refs: str) -> None:
        self.people.git("push", "--quiet", "origin", *refs)

    def propose(self, **files: str) -> str:
        """Open the pull request: its branch, and the merge commit that GitHub makes of it."""
        self.people.branch("topic", "main")
        head = self.people.commit("Propose", **files)
        self.people.branch("preview", "main")
        self.people.merge("topic")
        self.push("topic", f"preview:refs/pull/{PULL}/merge")
        self.people.checkout("main")
        self.github.pull(PULL, head)
        self.heads["topic"] = head
        return head

    def merge(self) -> str:
        """Merge the pull request, and push what came of it."""
        merged = self.people.merge("topic", f"Merge pull request #{PULL}")
        self.push("main")
        at = f"2026-01-0{1 + len(self.github.merged)}T00:00:00Z"
        self.github.merge(PULL, self.heads["topic"], merged, merged_at=at)
        return merged

    # Events

    def pull_request(self) -> Event:
        told = payload("pull_request") | {"number": PULL}
        told["pull_request"]["number"] = PULL
        told["pull_request"]["head"]["sha"] = self.heads["topic"]
        told["pull_request"]["base"]["ref"] = "main"
        sha = self.people.git("rev-parse", "preview")
        return Event("pull_request", told, f"refs/pull/{PULL}/merge", sha)

    def pushed(self, before: str, after: str) -> Event:
        listed = self.people.git("rev-list", "--reverse", f"{before}..{after}").split()
        [like] = payload("push")["commits"][:1] or [{}]
        told = payload("push") | {
            "ref": "refs/heads/main",
            "before": before,
            "after": after,
            "created": False,
            "commits": [{**like, "id": each} for each in listed],
        }
        told["repository"]["default_branch"] = "main"
        return Event("push", told, "refs/heads/main", after)

    def dispatched(self, **inputs: str) -> Event:
        told = payload("workflow_dispatch") | {"inputs": inputs, "ref": "refs/heads/main"}
        sha = self.people.git("rev-parse", "main")
        return Event("workflow_dispatch", told, "refs/heads/main", sha)

    # What is on GitHub

    def comment(self) -> str:
        [comment] = self.github.comments.values()
        return str(comment["body"])

    def states(self) -> dict[str, list[str]]:
        """Give the states that each commit's deployment went through."""
        return {
            each["sha"]: [status["state"] for status in self.github.statuses[each["id"]]]
            for each in self.github.deployments
        }
