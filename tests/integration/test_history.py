"""A replayed history: for each commit exactly what compiling everything at both ends finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.command import Done, heraci, workflow
from tests.repository import Repository

IMPORT = "from {} import {}"
DATA = 'from pathlib import Path\nread = Path("{}").read_text().split()'
START = {
    ".gitignore": "compiled/\n__pycache__/\n",
    "heraci.toml": "[experiments.inputs.inputs]\nnumber = 1\n",
    "lib/__init__.py": "",
    "lib/images.py": "from lib.versions import SOLVER\nIMAGE = f'solver:{SOLVER}'\nOTHER = 'x:1'\n",
    "lib/versions.py": "SOLVER = '1.0'\n",
    "lib/mesh.py": "def size(n):\n    return n * 2\n",
    "lib/unused.py": "X = 1\n",
    "data/shared.txt": "a b\n",
    "experiments/solve/experiment.py": (
        IMPORT.format("lib.images", "IMAGE") + "\n" + workflow("solve", args="[IMAGE]")
    ),
    "experiments/sweep/experiment.py": (
        IMPORT.format("lib.mesh", "size") + "\n" + workflow("sweep", args="[str(size(3))]")
    ),
    "experiments/both/experiment.py": (
        IMPORT.format("lib", "images, mesh")
        + "\n"
        + workflow("both", args="[images.OTHER, str(mesh.size(1))]")
    ),
    "experiments/reads/experiment.py": workflow(
        "reads", head=DATA.format("../../data/shared.txt"), args="read"
    ),
    "experiments/own/experiment.py": workflow("own", head=DATA.format("own.txt"), args="read"),
    "experiments/own/own.txt": "1 2\n",
    "experiments/dynamic/experiment.py": workflow(
        "dynamic",
        head="import importlib\nm = importlib.import_module('lib.' + 'mesh')",
        args="[str(m.size(7))]",
    ),
    "experiments/alone.py": workflow("alone"),
    "experiments/loose.py": workflow("loose"),
    "experiments/inputs/experiment.py": """
from heraci import Experiment, Inputs
from hera.workflows import Container, Workflow

class Numbers(Inputs):
    number: int = 0

class One(Experiment):
    inputs: Numbers

    def workflow(self) -> Workflow:
        with Workflow(generate_name="inputs-", entrypoint="main") as w:
            Container(name="main", image="i", args=[str(self.inputs.number)])
        return w
""",
    "experiments/pinned/experiment.py": workflow(
        "pinned",
        head="from importlib.metadata import version",
        args='[version("tomli")]',
    ),
    "experiments/pinned/requirements.txt": "tomli==2.0.1\n",
}


Do = Callable[[Repository], object]


@dataclass(frozen=True)
class Step:
    """One commit: what it does, and the experiments whose manifests it changes."""

    what: str
    do: Do
    changed: frozenset[str] = frozenset()


def write(path: str, content: str) -> Do:
    return lambda repository: repository.write(path, content)


def edit(path: str, old: str, new: str) -> Do:
    def do(repository: Repository) -> None:
        text = (repository.path / path).read_text()
        assert old in text
        repository.write(path, text.replace(old, new))

    return do


def move(old: str, new: str) -> Do:
    return lambda repository: repository.rename(old, new)


def both(*steps: Do) -> Do:
    def do(repository: Repository) -> None:
        for step in steps:
            step(repository)

    return do


HISTORY = [
    Step(
        "a comment in a shared module, one that nobody imports, another setting",
        both(
            edit("lib/mesh.py", "def size", "# twice\ndef size"),
            edit("lib/unused.py", "1", "2"),
            edit("heraci.toml", "[exp", "compile-timeout = 59\n[exp"),
            write("data/shared.txt", "a  b\n"),
        ),
    ),
    Step(
        "an image in a shared module's module, data of its own folder, an input",
        both(
            edit("lib/versions.py", "1.0", "1.1"),
            write("experiments/own/own.txt", "1\n"),
            edit("heraci.toml", "number = 1", "number = 2"),
        ),
        frozenset({"solve", "own", "inputs"}),
    ),
    Step(
        "a shared function, also one imported by a computed name, and a pin",
        both(
            edit("lib/mesh.py", "* 2", "* 3"),
            write("experiments/pinned/requirements.txt", "tomli==2.0.2\n"),
        ),
        frozenset({"sweep", "both", "dynamic", "pinned"}),
    ),
    Step(
        "data of another folder, and an experiment renamed",
        both(
            write("data/shared.txt", "a b c\n"),
            move("experiments/alone.py", "experiments/moved.py"),
        ),
        frozenset({"reads"}),
    ),
    Step(
        "a module renamed, its importer with it; a folder that is no package shadows none",
        both(
            move("lib/versions.py", "lib/pins.py"),
            edit("lib/images.py", "lib.versions", "lib.pins"),
            write("experiments/solve/lib/images.py", "IMAGE = 'own'\n"),
        ),
    ),
    Step(
        "an experiment added and one removed, a file that became a folder, a package that shadows",
        both(
            write("experiments/new/experiment.py", workflow("new")),
            lambda repository: repository.delete("experiments/sweep/experiment.py"),
            move("experiments/loose.py", "experiments/loose/experiment.py"),
            edit("experiments/loose/experiment.py", "alpine", "debian"),
            write("experiments/solve/lib/__init__.py", ""),
        ),
        frozenset({"new", "sweep", "loose", "solve"}),
    ),
]
RENAMED = {"moved": "alone"}


def everything(repository: Repository, commit: str) -> Mapping[str, list[str]]:
    """Compile all of a commit, in a clone of its own and with nothing of a cache but Pythons."""
    place = repository.path.parent / f"at-{commit[:10]}"
    clone = repository.clone(place)
    clone.checkout(commit)
    done = heraci("compile", "--all", "--no-cache", "--format", "json", cwd=place)
    assert done.findings == []
    return done.digests


def differing(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> frozenset[str]:
    """Give what differs between two ends, an experiment that moved by its new name."""
    old = {**before, **{new: before[name] for new, name in RENAMED.items() if name in before}}
    gone = {name for name in before if name not in after and name not in RENAMED.values()}
    return frozenset(name for name in after if old.get(name) != after[name]) | gone


def told(done: Done) -> frozenset[str]:
    assert done.findings == []
    return frozenset(
        name for name, status in done.statuses.items() if status in ("added", "changed", "removed")
    )


def test_each_commit_changes_what_compiling_everything_says(repository: Repository):
    repository.commit("Start", **START)
    first = before = everything(repository, repository.head)
    wrong = {}
    for step in HISTORY:
        step.do(repository)
        repository.commit(step.what)
        after = everything(repository, repository.head)
        exact = differing(before, after)
        assert exact == step.changed, step.what
        done = heraci(
            "list", "--base", "HEAD~1", "--head", "HEAD", "--format", "json", cwd=repository.path
        )
        if told(done) != exact:
            wrong[step.what] = (sorted(told(done)), sorted(exact))
        before = after
    assert wrong == {}
    whole = heraci(
        "list", "--base", f"HEAD~{len(HISTORY)}", "--format", "json", cwd=repository.path
    )
    assert told(whole) == differing(first, before)
