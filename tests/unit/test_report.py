"""What commands print, and that nothing in it came from an experiment unescaped."""

from __future__ import annotations

import json
import re
from textwrap import dedent
from typing import Any

import pytest

from heraci import report
from heraci.bundle import (
    Bundle,
    CompiledExperiment,
    Finding,
    Manifest,
    Requirement,
    Severity,
    Status,
)


def manifest(kind: str, name: str) -> Manifest:
    return Manifest(kind=kind, name=name, digest="sha256:0", document={"a": 1}, file="x.yaml")


BUNDLE = Bundle(
    target="lab",
    commit="c" * 40,
    base="b" * 40,
    merge_base="a" * 40,
    experiments=(
        CompiledExperiment(
            name="added",
            path="experiments/added.py",
            status=Status.ADDED,
            reasons=("it is new",),
            manifests=(manifest("Workflow", "added-"),),
            text="a: 1\n",
        ),
        CompiledExperiment(
            name="deep",
            path="experiments/deep.py",
            status=Status.CHANGED,
            reasons=("a.py changed", "b.py changed", "c.py changed", "d.py changed"),
            manifests=tuple(manifest("Workflow", f"n{number}") for number in range(5)),
            base_manifests=(manifest("Workflow", "before"),),
            base_error="NameError: x\nsecond line",
        ),
        CompiledExperiment(
            name="named",
            path="experiments/named.py",
            status=Status.FAILED,
            reasons=("named",),
            log="what it printed",
        ),
        CompiledExperiment(
            name="still", path="experiments/still.py", status=Status.UNAFFECTED, reasons=()
        ),
    ),
    findings=(
        Finding(
            rule="compile-failed",
            severity=Severity.ERROR,
            message="NameError: x\nIt printed last:\n  100% of a, b: c",
            experiment="named",
            file="experiments/named.py",
            line=3,
        ),
        Finding(rule="thought", severity=Severity.NOTICE, message="all is well"),
    ),
)


def test_text():
    assert report.text(BUNDLE, "compiled") == dedent(
        """\
        added      added  compiled/added.yaml  Workflow added-
                          it is new
        changed    deep   compiled/deep.yaml  Workflow n0, Workflow n1, Workflow n2 and 2 more
                          a.py changed
                          b.py changed
                          c.py changed
                          and 1 more reasons
                          the base does not compile: NameError: x
        failed     named

        error: experiments/named.py:3: NameError: x [compile-failed]
            | It printed last:
            |   100% of a, b: c
        notice: all is well [thought]

        4 experiments: 1 added, 1 changed, 1 unaffected, 1 failed; 1 error, 1 notice"""
    )


def test_text_without_an_output_folder_names_none():
    assert report.text(BUNDLE, None).splitlines()[0] == "added      added  Workflow added-"


def test_colours_are_added_and_nothing_else():
    coloured = report.text(BUNDLE, "compiled", colour=True)
    assert "\x1b[31merror\x1b[0m: experiments/named.py:3" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == report.text(BUNDLE, "compiled")


@pytest.mark.parametrize(
    ("bundle", "told"),
    [
        (Bundle(), "There are no experiments."),
        (Bundle(merge_base="a" * 40), "No experiment is affected."),
        (Bundle(findings=BUNDLE.findings[:1]), "0 experiments; 1 error"),
        (Bundle(experiments=BUNDLE.experiments[:1]), "1 experiment: 1 added"),
        (Bundle(experiments=BUNDLE.experiments[:1] * 2), "2 experiments: 2 added"),
    ],
)
def test_summary(bundle: Bundle, told: str):
    assert report.summary(bundle) == told


def test_json_is_the_index_without_documents_and_logs():
    def shown(kind: str, name: str) -> dict[str, Any]:
        return {"kind": kind, "name": name, "digest": "sha256:0", "file": "x.yaml"}

    assert json.loads(report.as_json(BUNDLE)) == {
        "target": "lab",
        "commit": "c" * 40,
        "base": "b" * 40,
        "merge_base": "a" * 40,
        "experiments": [
            {
                "name": "added",
                "path": "experiments/added.py",
                "status": "added",
                "reasons": ["it is new"],
                "manifests": [shown("Workflow", "added-")],
            },
            {
                "name": "deep",
                "path": "experiments/deep.py",
                "status": "changed",
                "reasons": ["a.py changed", "b.py changed", "c.py changed", "d.py changed"],
                "manifests": [shown("Workflow", f"n{number}") for number in range(5)],
                "base_error": "NameError: x\nsecond line",
            },
            {
                "name": "named",
                "path": "experiments/named.py",
                "status": "failed",
                "reasons": ["named"],
            },
            {"name": "still", "path": "experiments/still.py", "status": "unaffected"},
        ],
        "findings": [
            {
                "rule": "compile-failed",
                "severity": "error",
                "message": "NameError: x\nIt printed last:\n  100% of a, b: c",
                "experiment": "named",
                "file": "experiments/named.py",
                "line": 3,
            },
            {"rule": "thought", "severity": "notice", "message": "all is well"},
        ],
    }


def test_commands_put_findings_beside_their_lines():
    assert report.commands(BUNDLE.findings) == [
        (
            "::error title=heraci%3A named,file=experiments/named.py,line=3"
            "::NameError: x%0AIt printed last:%0A  100%25 of a, b: c [compile-failed]"
        ),
        "::notice title=heraci%3A thought::all is well [thought]",
    ]


def test_a_step_shows_ten_of_each_level_the_gravest_first():
    def findings(severity: Severity) -> list[Finding]:
        return [Finding(rule=f"r{n:02}", severity=severity, message="m") for n in range(12)]

    commands = report.commands([*findings(Severity.NOTICE), *findings(Severity.ERROR)])
    assert commands == [
        *(f"::error title=heraci%3A r{n:02}::m [r{n:02}]" for n in range(10)),
        *(f"::notice title=heraci%3A r{n:02}::m [r{n:02}]" for n in range(10)),
    ]


HOSTILE = [
    "\n::error::x",
    "::error::x",
    "  ::add-mask::x",
    "\r::error::x",
    "a\r\n ::stop-commands::x",
    "a\n\n\t::error::x",
    "a##[error]x",
    "###[group]##[x",
    "a\x0b::error::x",
    "a\x85::error::x",
    "a\u2028::error::x",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "a\x08\x08b\x7f",
    "\x9b31m",
    "\u202eabc\u2066\ufeff",
    "a\x00b",
    "lone \ud800 surrogate, undecodable \udcff byte",
    "%0A::error::x,line=3::y",
]


def hostile(text: str) -> Bundle:
    finding = Finding(
        rule=text, severity=Severity.ERROR, message=text, experiment=text, file=text, line=1
    )
    return Bundle(
        target=text,
        commit=text,
        merge_base="a",
        experiments=(
            CompiledExperiment(
                name=text,
                path=text,
                status=Status.CHANGED,
                reasons=(text, f"{text} changed"),
                manifests=(manifest(text, text),),
                requirements=(Requirement(kind=text, name=text),),
                base_error=text,
                log=text,
                pins=(text,),
            ),
        ),
        findings=(finding, Finding(rule="r", severity=Severity.NOTICE, message=text)),
    )


def as_the_runner_reads(text: str) -> list[str]:
    """Give the lines that GitHub's runner takes for commands."""
    return [line for line in re.split(r"\r\n|\r|\n", text) if is_command(line)]


def is_command(line: str) -> bool:
    return line.strip().startswith("::") or "##[" in line


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_hostile_is_shown_as_it_is(text: str):
    bundle = hostile(text)
    shown = "\n".join([report.text(bundle, "compiled"), report.as_json(bundle)])
    assert as_the_runner_reads(shown) == []
    assert [each for each in shown if not each.isprintable() and each not in "\t\n"] == []
    shown.encode()


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_what_json_shows_is_what_was_there(text: str):
    found = json.loads(report.as_json(hostile(text)))
    assert (found["experiments"][0]["name"], found["findings"][1]["message"]) == (text, text)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_finding_is_one_command_of_ours(text: str):
    commands = report.commands(hostile(text).findings)
    whole = re.compile(
        r"::(error|notice) title=heraci%3A [^:,\n]*(,file=[^:,\n]*,line=1)?::[^\n]*\[.*\]"
    )
    assert [each for each in commands if not whole.fullmatch(each)] == []
    assert as_the_runner_reads("\n".join(commands)) == commands
    assert [each for each in "".join(commands) if not each.isprintable() and each != "\t"] == []
    assert "##[" not in "".join(commands)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_safe_makes_one_harmless_line(text: str):
    made = report.safe(text)
    assert made.isprintable() or "\t" in made
    assert not is_command(made)


def test_safe_leaves_what_is_harmless():
    for text in ("", "été 日本語 🧪", "a::b", "# [x]", "a: b", "100%"):
        assert report.safe(text) == text
