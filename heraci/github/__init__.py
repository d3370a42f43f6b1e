"""THE fence to GitHub: the event that started a run, what its runner reads, and the REST API."""

from heraci.github.api import GitHub, RefusedError
from heraci.github.artifacts import Artifact, download, newest_artifact
from heraci.github.comments import Comment, Run, Written, amend, upsert
from heraci.github.deployments import (
    Deployment,
    DeploymentState,
    deploy,
    last_deployed,
    set_state,
)
from heraci.github.event import Event
from heraci.github.pulls import PullRequest, merged_pull_request
from heraci.github.runner import Runner, annotations, stopped_yaml

__all__ = [
    "Artifact",
    "Comment",
    "Deployment",
    "DeploymentState",
    "Event",
    "GitHub",
    "PullRequest",
    "RefusedError",
    "Run",
    "Runner",
    "Written",
    "amend",
    "annotations",
    "deploy",
    "download",
    "last_deployed",
    "merged_pull_request",
    "newest_artifact",
    "set_state",
    "stopped_yaml",
    "upsert",
]
