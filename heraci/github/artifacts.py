"""What a run of CI left behind, as GitHub keeps it: the truth about what was reviewed."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heraci.bundle import is_inside
from heraci.errors import GitHubError
from heraci.github.api import GitHub

MOST_BYTES = 256 * 1024**2
MOST_FILES = 20_000
_EVENTS = frozenset({"pull_request", "merge_group"})
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One artifact, and the run that made it.

    `workflow` is the file that the run is of, `called` the reusable workflows that it used, each as
    `OWNER/REPOSITORY/PATH@COMMIT`. `expired` ones can be named, but not read any more.
    """

    id: int
    name: str
    size: int
    expired: bool
    run_id: int
    run_attempt: int
    run_url: str
    head_sha: str
    event: str
    workflow: str
    called: tuple[str, ...] = ()


def newest_artifact(github: GitHub, name: str, heads: Iterable[str]) -> Artifact | None:
    """Find the newest artifact of this name that a review of one of these commits made.

    Give the merged pull request's last commit, and the merged commit itself for a merge queue.
    Only runs for pull requests and merge queues count: a push can upload anything under any name.
    """
    wanted = set(heads)
    found = [
        each
        for each in github.pages("actions/artifacts", {"name": name}, key="artifacts")
        if (each.get("workflow_run") or {}).get("head_sha") in wanted
    ]
    found.sort(key=lambda each: (each["workflow_run"]["id"], each["created_at"]), reverse=True)
    for each in found:
        run = github.get(f"actions/runs/{each['workflow_run']['id']}")
        if run["event"] in _EVENTS:
            return _artifact(each, run)
    return None


def _artifact(plain: Any, run: Any) -> Artifact:
    return Artifact(
        id=plain["id"],
        name=plain["name"],
        size=plain["size_in_bytes"],
        expired=plain["expired"],
        run_id=run["id"],
        run_attempt=run.get("run_attempt", 1),
        run_url=run["html_url"],
        head_sha=plain["workflow_run"]["head_sha"],
        event=run["event"],
        workflow=run["path"],
        called=tuple(
            f"{each['path'].partition('@')[0]}@{each['sha']}"
            for each in run.get("referenced_workflows") or ()
        ),
    )


def download(github: GitHub, artifact: Artifact, folder: Path) -> None:
    """Unpack an artifact into an empty folder: plain files inside it, and nothing else."""
    if artifact.expired:
        raise GitHubError(
            f"the artifact {artifact.name} of {artifact.run_url} is expired: run the review again "
            "on the pull request, or keep artifacts for longer (`retention-days`)"
        )
    content = github.download(f"actions/artifacts/{artifact.id}/zip", MOST_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _unpack(archive, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise GitHubError(f"the artifact {artifact.name} cannot be unpacked: {error}") from error


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    members = [each for each in archive.infolist() if not each.is_dir()]
    if len(members) > MOST_FILES or sum(each.file_size for each in members) > MOST_BYTES:
        raise GitHubError(f"the artifact has more than {MOST_FILES} files or {MOST_BYTES} bytes")
    left = MOST_BYTES
    for each in members:
        kind = stat.S_IFMT(each.external_attr >> 16)
        if not is_inside(each.filename) or "\\" in each.filename or kind not in (0, stat.S_IFREG):
            raise GitHubError(f"the artifact holds {each.filename!r}, which is no plain file in it")
        target = folder / each.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        left = _copy(archive, each, target, left)


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Copy one file, never more than is left: an archive may lie about its sizes."""
    with archive.open(member) as source, target.open("xb") as file:
        while part := source.read(_CHUNK):
            left -= len(part)
            if left < 0:
                raise GitHubError(f"the artifact has more than {MOST_BYTES} bytes")
            file.write(part)
    return left
