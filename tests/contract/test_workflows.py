"""The workflows that ship: pinned, without rights by default, and adopted as the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGE = (ROOT / "docs" / "github-action.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
BASE = (
    "${{ github.event.pull_request.base.ref || github.event.merge_group.base_sha || github.sha }}"
)
REUSABLE = r"VCityTeam/heraci/\.github/workflows/(\w+\.yml)@COMMIT"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def uses_of(workflow: Any) -> list[str]:
    jobs = workflow["jobs"].values()
    steps = [step for job in jobs for step in job.get("steps", ())]
    return [each["uses"] for each in (*jobs, *steps) if "uses" in each]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_allowed_that_a_job_does_not_ask_for(path: Path):
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert all("permissions" in job for job in workflow["jobs"].values())
    assert "pull_request_target" not in path.read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_one_commit_with_its_version_beside_it(path: Path):
    text = path.read_text()
    for used in uses_of(read(path)):
        if not used.startswith("./"):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used), used
            assert re.search(rf"{re.escape(used)} # v\d+\.\d+\.\d+", text), used


def test_one_action_has_one_commit_everywhere():
    used = {each for path in WORKFLOWS for each in uses_of(read(path)) if "@" in each}
    names = [each.partition("@")[0] for each in used]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", ["review.yml", "submit.yml"])
def test_the_job_that_runs_authors_python_holds_no_secret(name: str):
    job = read(ROOT / ".github" / "workflows" / name)["jobs"]["compile"]
    assert job["permissions"] == {"contents": "read"}
    assert "environment" not in job
    assert not re.search(r"secrets\.|github\.token|docker\.sock", str(job))


@pytest.mark.parametrize("name", ["review.yml", "submit.yml"])
def test_the_job_that_holds_secrets_checks_out_nothing_of_a_pull_request(name: str):
    job = read(ROOT / ".github" / "workflows" / name)["jobs"][name.removesuffix(".yml")]
    [ref] = [
        step["with"]["ref"]
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert "pull_request.head" not in ref
    assert ref in (
        "${{ needs.compile.outputs.commit }}",
        BASE,
    )


def test_a_waiting_submission_is_never_dropped():
    job = read(ROOT / ".github" / "workflows" / "submit.yml")["jobs"]["submit"]
    assert job["concurrency"] == {
        "group": "heraci-submit-${{ inputs.target }}",
        "cancel-in-progress": False,
        "queue": "max",
    }


@pytest.mark.parametrize("name", ["review.yml", "submit.yml"])
def test_a_workflow_is_adopted_in_fifteen_lines(name: str):
    [example] = [each for each in EXAMPLES if f"/{name}@" in each]
    assert len(example.strip().splitlines()) <= 15

    # YAML 1.1 takes `on` for a truth value.
    called = read(ROOT / ".github" / "workflows" / name)[True]["workflow_call"]
    [job] = yaml.safe_load(example)["jobs"].values()
    assert re.fullmatch(REUSABLE, job["uses"])
    assert job["with"].keys() <= called["inputs"].keys()
    assert job["secrets"].keys() <= called["secrets"].keys()


@pytest.mark.parametrize("name", ["review.yml", "submit.yml"])
def test_the_adopter_grants_what_the_jobs_ask_for(name: str):
    [example] = [each for each in EXAMPLES if f"/{name}@" in each]
    [job] = yaml.safe_load(example)["jobs"].values()
    asked: dict[str, str] = {}
    for each in read(ROOT / ".github" / "workflows" / name)["jobs"].values():
        asked |= each["permissions"]
    assert job["permissions"] == asked


def test_the_steps_take_inputs_that_the_action_has():
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"].keys()
    examples = [yaml.safe_load(each) for each in EXAMPLES]
    workflows = [read(path) for path in WORKFLOWS]
    used = [
        step["with"].keys()
        for workflow in (*examples, *workflows)
        for job in workflow["jobs"].values()
        for step in job.get("steps", ())
        if re.fullmatch(r"\./|VCityTeam/heraci@\w+", step.get("uses", ""))
    ]
    assert used
    assert all(each <= inputs for each in used)


@pytest.mark.parametrize("name", ["review.yml", "submit.yml"])
def test_the_steps_set_variables_that_heraci_has(name: str):
    from heraci.action import COMMAND
    from heraci.settings import VARIABLES

    known = {f"HERACI_{each.upper()}" for each in VARIABLES} | {COMMAND}
    text = (ROOT / ".github" / "workflows" / name).read_text()
    assert set(re.findall(r"\bHERACI_[A-Z_]+[A-Z]\b", text)) <= known
