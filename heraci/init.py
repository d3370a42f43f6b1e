"""Write a first experiment, one that compiles at once."""

from __future__ import annotations

from pathlib import Path

from heraci.errors import SettingsError
from heraci.settings import Settings
from heraci.workspace import PYPROJECT, TOML, Workspace

_EXPERIMENT = '''\
"""Say hello, once for each name."""

from hera.workflows import DAG, Container, Parameter, Workflow

from heraci import Experiment, Inputs


class Names(Inputs):
    names: list[str] = ["world", "heraci"]


class {title}(Experiment):
    inputs: Names

    def workflow(self) -> Workflow:
        with Workflow(generate_name="{name}-", entrypoint="greet-all") as w:
            greet = Container(
                name="greet",
                image="alpine:3.20",
                command=["echo"],
                args=["hello {{{{inputs.parameters.name}}}}"],
                inputs=[Parameter(name="name")],
            )
            with DAG(name="greet-all"):
                for name in self.inputs.names:
                    greet(name=f"greet-{{name}}", arguments={{"name": name}})
        return w
'''
_SETTINGS = """\
# What heraci is to know about this repository; `heraci doctor` shows what holds, and why.
default-target = "lab"

[targets.lab]                      # one cluster; add a table for each
namespace = "argo"
# argo-server = "argo.example.org"

# [targets.lab.environment]        # what the resources of an Environment are called there
# results = "my-volume-claim"
"""


def write(settings: Settings, where: Workspace, name: str) -> list[Path]:
    """Write a first experiment, and heraci.toml where there is none; give what was written."""
    if not name.replace("-", "").replace("_", "").isalnum() or not name[0].isalpha():
        raise SettingsError(f"{name!r} is no good name: take letters, digits and dashes")
    folder = where.directory / settings.experiments_dir / name
    entry = folder / "experiment.py"
    if entry.exists():
        raise SettingsError(f"{entry} exists already; nothing was written. Choose another name")
    title = "".join(word.capitalize() for word in name.replace("_", "-").split("-"))
    folder.mkdir(parents=True, exist_ok=True)
    slug = name.lower().replace("_", "-")
    entry.write_text(_EXPERIMENT.format(title=title, name=slug))
    written = [entry]
    if not (where.root / TOML).exists() and not _has_table(where.root / PYPROJECT):
        (where.root / TOML).write_text(_SETTINGS)
        written.append(where.root / TOML)
    return written


def _has_table(path: Path) -> bool:
    try:
        return "[tool.heraci" in path.read_text()
    except OSError:
        return False
