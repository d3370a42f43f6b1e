"""Deployments: how GitHub shows where a commit was submitted to, and how that went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from heraci.github.api import GitHub, UnansweredError

TASK = "heraci"
DESCRIPTION = 140


class DeploymentState(StrEnum):
    """How a submission stands, in GitHub's words."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """One commit on one target."""

    id: int
    sha: str
    environment: str
    payload: Mapping[str, Any]


def deploy(
    github: GitHub, sha: str, environment: str, *, description: str, payload: Mapping[str, Any]
) -> Deployment:
    """Make the deployment of a commit to a target, or find the one that an earlier run made."""
    asked = {"sha": sha, "task": TASK, "environment": environment}
    for each in _deployments(github, asked):
        return each
    body = {
        "ref": sha,
        "task": TASK,
        "environment": environment,
        # The defaults bite: they merge, and wait for every check of the commit.
        "auto_merge": False,
        "required_contexts": [],
        "payload": dict(payload),
        "description": description[:DESCRIPTION],
        "transient_environment": False,
        "production_environment": False,
    }
    try:
        return _deployment(github.post("deployments", body))
    except UnansweredError:
        for each in _deployments(github, asked):
            return each
        raise


def set_state(
    github: GitHub,
    deployment: Deployment,
    state: DeploymentState,
    *,
    description: str = "",
    log_url: str | None = None,
    environment_url: str | None = None,
) -> None:
    """Say how a deployment stands, with links to this run and to Argo's page."""
    body: dict[str, Any] = {
        "state": state.value,
        "description": description[:DESCRIPTION],
        # Otherwise the runs of the commit before would be marked as gone while they still run.
        "auto_inactive": False,
    }
    if log_url:
        body["log_url"] = log_url
    if environment_url:
        body["environment_url"] = environment_url
    github.post(f"deployments/{deployment.id}/statuses", body)


def last_deployed(github: GitHub, environment: str) -> str | None:
    """Give the commit that was last submitted to a target with success."""
    for each in _deployments(github, {"task": TASK, "environment": environment}):
        statuses = github.pages(f"deployments/{each.id}/statuses")
        if any(status["state"] == DeploymentState.SUCCESS for status in statuses):
            return each.sha
    return None


def _deployments(github: GitHub, asked: Mapping[str, str]) -> Iterator[Deployment]:
    """List deployments, the newest first."""
    return (_deployment(each) for each in github.pages("deployments", asked))


def _deployment(plain: Any) -> Deployment:
    payload = plain.get("payload")
    return Deployment(
        id=plain["id"],
        sha=plain["sha"],
        environment=plain["environment"],
        payload=payload if isinstance(payload, dict) else {},
    )
