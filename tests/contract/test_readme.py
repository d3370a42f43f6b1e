"""What the README shows works: its experiment builds, its settings are read, its links lead on."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from heraci import experiment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def test_the_experiment_takes_its_values_from_the_settings_beside_it(tmp_path: Path) -> None:
    (tmp_path / "experiment.py").write_text(block("python"))
    settings = tomllib.loads(block("toml"))
    made = runpy.run_path(str(tmp_path / "experiment.py"), run_name="__main__")
    experiment.configure(
        inputs=settings["experiments"]["collect"]["inputs"],
        environment=settings["targets"]["lab"]["environment"],
    )
    try:
        [workflow] = experiment.build(made["Collect"])
    finally:
        experiment.configure()
    collect, everything = workflow.to_dict()["spec"]["templates"]
    assert [task["name"] for task in everything["dag"]["tasks"]] == [
        f"collect-{vintage}-{number}" for vintage in (2009, 2012, 2015) for number in (0, 1)
    ]
    assert collect["volumes"] == [
        {"name": "results", "persistentVolumeClaim": {"claimName": "city-models"}}
    ]
    assert collect["container"]["envFrom"] == [{"configMapRef": {"name": "proxy-environment"}}]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_what_is_there(page: str) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
