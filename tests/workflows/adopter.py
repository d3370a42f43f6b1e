"""A repository that adopted heraci's workflows, where act stands for GitHub's runners.

Jobs run on this host, as an ordinary user where that is possible: a runner's image cannot be had.
What lies in `actions/` and `bin/` are doubles, and each says why.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from tests.github.project import Event, Project
from tests.github.server import REPOSITORY, TOKEN, Loopback
from tests.image import engine
from tests.workflows import act
from tests.workflows.act import Ran

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WORKFLOWS = ROOT / ".github" / "workflows"
PAGE = ROOT / "docs" / "github-action.md"
SOCKET = Path("/var/run/docker.sock")
# The user of GitHub's own runners, who owns the workspace and may speak to the engine.
RUNNER = 1001 if os.geteuid() == 0 else None


def documented(uses: str) -> str:
    """Give the workflow of the page for users that uses this."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [found] = [each for each in blocks if f"uses: {uses}" in each]
    return str(found)


def doubled(*workflows: str) -> dict[str, Path]:
    """Find the double of each action that workflows use; an input that it lacks is an error."""
    found = {}
    for step in _steps(*workflows):
        name, _, _ = step["uses"].removeprefix("actions/").partition("@")
        double = HERE / "actions" / name
        if not step["uses"].startswith("actions/") or not double.exists():
            continue
        known = yaml.safe_load((double / "action.yml").read_text())["inputs"]
        unknown = step.get("with", {}).keys() - known.keys()
        if unknown:
            raise ValueError(f"the double of {step['uses']} has no {', '.join(sorted(unknown))}")
        found[step["uses"]] = double
    return found


def _steps(*workflows: str) -> Iterator[dict[str, Any]]:
    for workflow in workflows:
        for job in yaml.safe_load(workflow)["jobs"].values():
            yield from (each for each in job.get("steps", ()) if "uses" in each)


def _hand_over(path: Path) -> None:
    if RUNNER is not None:
        os.chown(path, RUNNER, RUNNER)


@dataclass(kw_only=True)
class Adopter(Project):
    """The repository, the image in its registry, and what its runs left.

    `environ` is for the doubles, and `images` are names that the workflows give by themselves.
    """

    folder: Path
    image: str
    secrets: dict[str, str] = field(default_factory=lambda: {"GITHUB_TOKEN": TOKEN}, repr=False)
    environ: dict[str, str] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    number: int = 100

    @classmethod
    def create(cls, folder: Path, github: Loopback, *, command: Path, image: str) -> Self:
        """Lay out what act needs, where any user may read it."""
        folder.chmod(0o755)
        shutil.copy(command, folder / "act")
        for name in ("actions", "bin"):
            shutil.copytree(HERE / name, folder / name)
        shipped = folder / "shipped" / ".github" / "workflows"
        shipped.mkdir(parents=True)
        for path in WORKFLOWS.glob("*.yml"):
            # What is newer than act, which refuses a workflow for it.
            (shipped / path.name).write_text(re.sub(r"(?m)^ +queue: max\n", "", path.read_text()))
        shutil.copy(ROOT / "action.yml", folder / "shipped")
        # Where an action is built from the Dockerfile beside it: what was built from ours.
        (folder / "shipped" / "Dockerfile").write_text(f"FROM {image}\n")
        origin, people = cls.clone(folder)
        for name in ("home", "registry"):
            (folder / name).mkdir()
            _hand_over(folder / name)
        if RUNNER is not None:
            # Git does not serve the repository of another user.
            config = f"[safe]\n\tdirectory = {origin}\n"
            (folder / "home" / ".gitconfig").write_text(config)
        made = cls(origin=origin, people=people, github=github, folder=folder, image=image)
        made.offer(image)
        return made

    def offer(self, *images: str) -> None:
        """Let the registry have these, one for each pull that comes; the last one stays."""
        (self.folder / "registry" / "images").write_text("".join(f"{each}\n" for each in images))

    @property
    def pulled(self) -> str:
        """The image's name as the workflows pull it: no other test's."""
        return f"heraci-test/workflows:{self.folder.name}"

    def adopted(self, name: str, **inputs: str) -> str:
        """Give the page's workflow that calls a shipped one, with the image that is tested."""
        block = documented(f"VCityTeam/heraci/.github/workflows/{name}@")
        given = "".join(f"      {key}: {text}\n" for key, text in inputs.items())
        return block.replace("    with:\n", f"    with:\n      image: {self.pulled}\n{given}")

    def run(self, workflow: str, event: Event) -> Ran:
        """Run a workflow; GitHub then has its artifacts, and none of its secrets was published."""
        self.number += 1
        place = self.folder / f"run-{self.number}"
        artifacts = place / "artifacts"
        artifacts.mkdir(parents=True)
        (place / "workflow.yml").write_text(workflow)
        for each in (place, artifacts):
            _hand_over(each)
        shipped = [path.read_text() for path in sorted(WORKFLOWS.glob("*.yml"))]
        repositories = {
            used: self.folder / "actions" / double.name
            for used, double in doubled(workflow, *shipped).items()
        }
        repositories["VCityTeam/heraci@COMMIT"] = self.folder / "shipped"
        ran = act.run(
            event,
            place / "workflow.yml",
            folder=self.folder,
            environ=self._environ(artifacts) | self.environ,
            variables={
                "GITHUB_API_URL": self.github.url,
                "GITHUB_REPOSITORY": REPOSITORY,
                "GITHUB_RUN_ID": str(self.number),
            },
            secrets=self.secrets,
            repositories=repositories,
            runner=RUNNER,
            groups=[SOCKET.stat().st_gid] if SOCKET.exists() else [],
        )
        # What a container wrote as root, later steps could not replace.
        owners = {each.lstat().st_uid for each in (place / "jobs").rglob("*")}
        assert owners <= {os.geteuid() if RUNNER is None else RUNNER}
        published = ran.log.encode() + json.dumps([*self.github.comments.values()]).encode()
        for each in artifacts.iterdir():
            published += self._keep(each, event)
        assert [name for name, text in self.canaries.items() if text.encode() in published] == []
        return ran

    @property
    def canaries(self) -> dict[str, str]:
        """What must never be published: the secrets, and each token within them."""
        within = {
            name: str(yaml.safe_load(text)["users"][0]["user"]["token"])
            for name, text in self.secrets.items()
            if name.startswith("KUBECONFIG")
        }
        return self.secrets | within

    def _environ(self, artifacts: Path) -> dict[str, str]:
        docker = shutil.which("docker")
        assert docker is not None
        kept = {name: text for name, text in os.environ.items() if name.startswith("DOCKER_")}
        return kept | {
            "ARTIFACTS": str(artifacts),
            "DOCKER": docker,
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": str(self.folder / "home"),
            "ORIGIN": self.origin.as_uri(),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "REGISTRY": str(self.folder / "registry" / "images"),
        }

    def _keep(self, artifact: Path, event: Event) -> bytes:
        """Hand an artifact to GitHub's double; give what it holds."""
        content = io.BytesIO()
        # Nobody asks GitHub for an image; it is large.
        files = [each for each in artifact.rglob("*") if each.is_file() and each.suffix != ".tar"]
        with zipfile.ZipFile(content, "w") as archive:
            for path in files:
                archive.write(path, path.relative_to(artifact))
        head = event.payload.get("pull_request", {}).get("head", {}).get("sha", event.sha)
        self.github.artifact(
            artifact.name, head, content.getvalue(), run=self.number, event=event.name
        )
        return b"".join(each.read_bytes() for each in files)

    def artifact(self, name: str) -> list[str]:
        """List the files of an artifact that the last run left, if it did."""
        kept = self.folder / f"run-{self.number}" / "artifacts" / name
        return sorted(str(each.relative_to(kept)) for each in kept.rglob("*") if each.is_file())

    def forget(self) -> None:
        """Take the names away that runs gave to images."""
        engine.docker("image", "rm", self.pulled, *self.images, check=False)
