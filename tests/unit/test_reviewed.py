"""What is submitted is held against what was reviewed, and what differs is said in plain words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heraci.bundle import Bundle, CompiledExperiment, Manifest, Severity, Status
from heraci.reviewed import Agreement, Verdict, compare

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def experiment(name: str, digest: str = A, status: Status = Status.CHANGED) -> CompiledExperiment:
    manifest = Manifest(kind="Workflow", name=f"{name}-", digest=digest, document={})
    return CompiledExperiment(
        name=name,
        path=f"experiments/{name}.py",
        status=status,
        manifests=(manifest,),
        python="3.12",
    )


def bundle(*experiments: CompiledExperiment) -> Bundle:
    return Bundle(
        target="lab", base="1" * 40, versions={"heraci": "1.0"}, experiments=tuple(experiments)
    )


def verdict(made: Bundle, *reviewed: Bundle, **more: object) -> Verdict:
    settings = {"on_mismatch": "stop", "on_not_reviewed": "warn"} | more
    return compare(made, reviewed, **settings)  # type: ignore[arg-type]


def test_equal_digests_are_the_same_whatever_else_changed():
    reviewed = replace(bundle(experiment("a")), base="2" * 40, versions={"heraci": "0.9"})
    assert verdict(bundle(experiment("a")), reviewed) == Verdict(agreement=Agreement.SAME)


def test_what_differs_is_said_with_all_that_could_be_the_cause():
    made = replace(bundle(experiment("a", B)), settings={"namespace": "x"})
    made = replace(made, base="2" * 40, versions={"heraci": "1.1"})
    before = replace(experiment("a", A), python="3.11", pins=("numpy==1",))

    found = verdict(made, bundle(before, experiment("b")))

    [finding] = found.findings
    assert (found.agreement, finding.severity) == (Agreement.DIFFERS, Severity.ERROR)
    assert finding.message == (
        f"this is not what was reviewed: Workflow a- has the digest {B[:19]}, not {A[:19]}; "
        "settings changed: namespace; heraci was 0.9 and is 1.1; Python was 3.11 and is 3.12; "
        "packages differ: numpy==1; the base moved from 1111111111 to 2222222222, so what was "
        "merged is more than what was reviewed. Review it anew in a pull request, or submit it on "
        "purpose with `on-mismatch: go-on`."
    ).replace("was 0.9", "was 1.0")
    assert found.reason == f"a: {finding.message}"


@pytest.mark.parametrize(
    ("decision", "severity"),
    [("stop", Severity.ERROR), ("warn", Severity.WARNING), ("go-on", Severity.NOTICE)],
)
def test_the_settings_decide_what_that_means(decision, severity):
    made = bundle(experiment("a", B), experiment("new"))
    found = verdict(made, bundle(experiment("a")), on_mismatch=decision, on_not_reviewed=decision)
    assert [(each.rule, each.severity) for each in found.findings] == [
        ("not-as-reviewed", severity),
        ("not-reviewed", severity),
    ]


def test_without_a_review_the_reason_is_told():
    found = verdict(bundle(experiment("a")), why_not="it was pushed directly")
    assert found.agreement is Agreement.NOT_REVIEWED
    assert found.reason == "a: nothing says that this was reviewed: it was pushed directly."


def test_an_experiment_that_the_review_did_not_hold_was_not_reviewed():
    found = verdict(bundle(experiment("a"), experiment("b")), bundle(experiment("a")))
    assert found.agreement is Agreement.NOT_REVIEWED
    assert [each.experiment for each in found.findings] == ["b"]


def test_what_is_not_submitted_is_not_asked_about():
    made = bundle(
        experiment("same", B, Status.UNCHANGED),
        experiment("gone", B, Status.REMOVED),
        experiment("broken", B, Status.FAILED),
    )
    assert verdict(made).agreement is Agreement.SAME
    assert verdict(made, unchanged=True).agreement is Agreement.NOT_REVIEWED


def test_of_several_reviews_the_newest_counts():
    found = verdict(bundle(experiment("a", B)), bundle(experiment("a")), bundle(experiment("a", B)))
    assert found.agreement is Agreement.SAME


def test_manifests_that_come_and_go_differ():
    extra = Manifest(kind="CronWorkflow", name="nightly", digest=A, document={})
    one = experiment("a")
    two = replace(one, manifests=(*one.manifests, extra))

    [more] = verdict(bundle(two), bundle(one)).findings
    [less] = verdict(bundle(one), bundle(two)).findings

    assert "CronWorkflow nightly was not in the review" in more.message
    assert "CronWorkflow nightly was reviewed and is gone" in less.message
