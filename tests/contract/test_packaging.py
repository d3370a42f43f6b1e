"""What pyproject.toml asks for, constraints.txt pins: whole, by hash and without an address."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import heraci

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
# A requirement and its hashes stand in one logical line.
PINNED = [
    (Requirement(line.partition("--hash")[0].strip(" \\")), line.count("--hash=sha256:"))
    for line in CONSTRAINTS.replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def wanted() -> list[str]:
    groups = PROJECT["dependency-groups"].values()
    named = [each for group in groups for each in group if isinstance(each, str)]
    return [*PROJECT["project"]["dependencies"], *named]


@pytest.mark.parametrize("asked", wanted())
def test_each_requirement_is_pinned_within_its_range(asked: str) -> None:
    requirement = Requirement(asked)
    name = canonicalize_name(requirement.name)
    versions = [pin for pin, _ in PINNED if canonicalize_name(pin.name) == name]
    assert len(versions) == 1
    [only] = versions[0].specifier
    assert only.operator == "=="
    assert requirement.specifier.contains(only.version)


def test_what_the_pins_need_is_pinned_too() -> None:
    names = {canonicalize_name(pin.name) for pin, _ in PINNED}
    here = [pin for pin, _ in PINNED if pin.marker is None or pin.marker.evaluate()]
    missing = {
        f"{pin.name} needs {needed}"
        for pin in here
        for needed in map(Requirement, distribution(pin.name).requires or [])
        if needed.marker is None or needed.marker.evaluate()
        if canonicalize_name(needed.name) not in names
    }
    assert missing == set()


def test_every_pin_has_its_hashes() -> None:
    assert [pin.name for pin, hashes in PINNED if not hashes] == []


def test_no_pin_says_where_to_get_it() -> None:
    """No index, no link, no path: pip asks the one that its user has set."""
    options = re.findall(r"^-.*|\S*://\S*| @ .*", CONSTRAINTS, re.MULTILINE)
    assert options == []


def test_the_installed_version_is_that_of_the_source() -> None:
    assert distribution("heraci").version == heraci.__version__
