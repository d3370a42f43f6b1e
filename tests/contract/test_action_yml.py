"""action.yml against the settings: each has one input, mapped once, and nothing else is passed on.

`pytest --rewrite-golden` writes the two lists of action.yml anew from the settings.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill, indent

import pytest
import yaml

from heraci.settings import VARIABLES, Settings
from heraci.settings.layers import kebab
from heraci.settings.sources import PREFIX

ACTION = Path(__file__).parents[2] / "action.yml"
# Read by the command line alone, so no setting.
COMMAND = (
    "What to do, as on the command line: `review`, `submit`, `compile --all`, `submit -- collect`. "
    "By default pull_request and merge_group review, a push to the default branch submits, and a "
    "dispatch with commit, experiments or attempt submits that once more."
)
RENAMED = {
    "format": "How to print into the log; annotations are part of it only where it is github."
}


def inputs() -> str:
    """Write the inputs as action.yml has them: every default empty, as an empty one is absent."""
    told = {"command": COMMAND} | {
        kebab(name): RENAMED.get(name) or str(Settings.model_fields[name].description)
        for name in VARIABLES
    }
    return "".join(
        f"  {name}:\n    description: >-\n{indent(fill(text, 92), ' ' * 6)}\n    default: ''\n"
        for name, text in told.items()
    )


def environ() -> str:
    """Write the variables as action.yml has them."""
    names = ["command", *(kebab(name) for name in VARIABLES)]
    return "".join(
        f"    {PREFIX}{name.upper().replace('-', '_')}: ${{{{ inputs.{name} }}}}\n"
        for name in names
    )


def with_lists(text: str) -> str:
    """Put both lists into action.yml's text."""
    text = re.sub(r"(?m)^inputs:\n(?:(?:  .*)?\n)*", lambda _: f"inputs:\n{inputs()}\n", text)
    return re.sub(r"(?m)^  env:\n(?:    .*\n)*", lambda _: f"  env:\n{environ()}", text)


def test_each_setting_has_one_input_that_is_mapped_once(request: pytest.FixtureRequest):
    if request.config.getoption("rewrite_golden"):
        ACTION.write_text(with_lists(ACTION.read_text()))
    text = ACTION.read_text()
    assert text == with_lists(text)


def test_the_lists_are_the_whole_of_what_the_runner_reads():
    action = yaml.safe_load(ACTION.read_text())

    assert list(action["inputs"]) == ["command", *map(kebab, VARIABLES)]
    assert {each["default"] for each in action["inputs"].values()} == {""}
    assert action["runs"] == {
        "using": "docker",
        "image": action["runs"]["image"],
        "args": ["action"],
        "env": {
            PREFIX + name.upper().replace("-", "_"): f"${{{{ inputs.{name} }}}}"
            for name in action["inputs"]
        },
    }
    assert re.fullmatch(r"Dockerfile|docker://\S+@sha256:[0-9a-f]{64}", action["runs"]["image"])
