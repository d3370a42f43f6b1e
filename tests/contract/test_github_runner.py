"""Outputs, commands and summary by the runner's rules, and byte for byte as GitHub's toolkit."""

from __future__ import annotations

from pathlib import Path

import pytest

from heraci import document, github
from heraci.bundle import Finding, Severity
from heraci.errors import GitHubError
from heraci.github import Runner, runner
from tests.github.described import cases
from tests.github.runner import command, commands, file_pairs

ASKED, PRINTED = cases()["asked"], cases()["printed"]
HOSTILE = (
    "::error::x",
    "##[add-mask]a",
    "a\r::set-output name=x::y",
    "\n::warning::no",
    "ghadelimiter_1\nevil=1",
    "name<<EOF\nevil=1\nEOF",
    "%0A::error::x",
    "\udcff surrogate",
    "",
)


@pytest.mark.parametrize(
    ("asked", "printed"), [*zip(ASKED["commands"], PRINTED["commands"], strict=True)]
)
def test_commands_are_those_of_githubs_toolkit(asked, printed):
    made = runner.command(
        asked["level"],
        asked["message"],
        title=asked["title"],
        file=asked.get("file"),
        line=asked.get("line"),
    )
    assert made == printed


@pytest.mark.parametrize(
    ("value", "printed"), [*zip(ASKED["outputs"], PRINTED["outputs"], strict=True)]
)
def test_outputs_are_those_of_githubs_toolkit(value, printed):
    made = runner.output("name", value)
    delimiter = made.split("<<", 1)[1].split("\n", 1)[0]
    assert made.replace(delimiter, "DELIMITER") == printed


def test_no_value_becomes_another_output(tmp_path):
    output = tmp_path / "output"
    output.write_text("before=1\n")
    names = [f"name-{number}" for number in range(len(HOSTILE))]

    Runner(output=output).set_outputs(dict(zip(names, HOSTILE, strict=True)))

    values = [each.replace("\udcff", "\\udcff") for each in HOSTILE]
    read = file_pairs(output.read_bytes().decode())
    assert read == [("before", "1"), *zip(names, values, strict=True)]


def test_an_output_has_a_name_of_ours():
    with pytest.raises(ValueError, match="no name of an output"):
        runner.output("a=b", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_finding_is_a_command_of_its_own(text):
    finding = Finding(
        rule="rule",
        severity=Severity.ERROR,
        message=text,
        experiment=text or None,
        file=text or None,
        line=3,
    )
    [line] = github.annotations([finding])

    assert [each[0] for each in commands(line)] == ["error"]
    name, properties, _ = command(line) or ("", {}, "")
    assert (name, properties.keys() <= {"title", "file", "line"}) == ("error", True)


def test_an_annotation_says_what_where_and_by_which_rule():
    finding = Finding(
        rule="no-image", severity=Severity.WARNING, message="a: b, 50%\nmore", file="e/x.py", line=7
    )
    [line] = github.annotations([finding])

    expected = {"title": "heraci: no-image", "file": "e/x.py", "line": "7"}
    assert command(line) == ("warning", expected, "a: b, 50%\nmore [no-image]")


def test_a_message_is_cut_where_the_runner_would_cut_it():
    finding = Finding(rule="r", severity=Severity.NOTICE, message="x" * 5_000)
    _, _, message = command(github.annotations([finding])[0]) or ("", {}, "")

    assert len(message) == 4_096
    assert message.endswith("… (cut)")


@pytest.mark.parametrize("text", [each for each in HOSTILE if each.isprintable()])
def test_nothing_in_yaml_is_a_command_and_yaml_it_stays(text):
    written = document.dump([{"source": f"first\n{text}\nlast\n"}, {"end": "x"}])
    shown = github.stopped_yaml(written)

    assert [name for name, *_ in commands(f"{shown}::notice::after\n")] == [
        "stop-commands",
        "notice",
    ]
    assert [*document.load(shown)] == [*document.load(written)]


def test_a_script_cannot_know_the_token():
    tokens = {github.stopped_yaml("a: b\n").splitlines()[0] for _ in range(3)}
    assert len(tokens) == 3


def test_the_summary_is_added_to_and_never_too_long(tmp_path):
    summary = tmp_path / "summary"
    summary.write_text("before\n")
    written = Runner(summary=summary)

    written.write_summary("text")
    with pytest.raises(GitHubError, match="GitHub shows none above 1000000"):
        written.write_summary("ü" * 500_000)

    assert summary.read_text() == "before\ntext\n"


def test_a_file_that_the_runner_did_not_make_is_not_made(tmp_path):
    with pytest.raises(GitHubError, match="cannot be written"):
        Runner(output=tmp_path / "nothing").set_outputs({"a": "b"})
    assert [*tmp_path.iterdir()] == []


def test_without_a_runner_nothing_is_written():
    made = Runner.of({})
    made.set_outputs({"a": "b"})
    made.write_summary("text")
    assert made == Runner(output=None, summary=None)


def test_the_files_are_those_that_the_runner_names():
    environ = {"GITHUB_OUTPUT": "/o", "GITHUB_STEP_SUMMARY": "/s"}
    assert Runner.of(environ) == Runner(output=Path("/o"), summary=Path("/s"))
