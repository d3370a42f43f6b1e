"""No secret leaves, in whatever writing it stands in what would be published."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest

from heraci.bundle import (
    Bundle,
    CompiledExperiment,
    Finding,
    LazyDocument,
    Manifest,
    Severity,
    Status,
)
from heraci.publication import RULE, Sought, search

SECRET = "s3cr+t/va :lüe?>"
KEY = """\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj
MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu
-----END PRIVATE KEY-----"""


def encoded(text: str, before: str = "", behind: str = "") -> str:
    return b64encode(f"{before}{text}{behind}".encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"https://user:{SECRET}@host",
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower(),
        *(
            encoded(SECRET, "u" * before, "v" * behind)
            for before in range(4)
            for behind in range(4)
        ),
        urlsafe_b64encode(f"x{SECRET}>>".encode()).decode(),
        quote(encoded(SECRET), safe=""),
        encoded(SECRET)[:9] + "\n    " + encoded(SECRET)[9:],
        json.dumps({"a": encoded(SECRET)[:9] + "\n" + encoded(SECRET)[9:]}),
    ],
)
def test_a_secret_is_found_in_each_usual_writing(text):
    assert Sought([SECRET]).stands_in(f"before {text} behind")


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        KEY.replace("\n", "\n      "),
        KEY.replace("\n", "\\n"),
        KEY.replace("\n", ""),
        KEY.splitlines()[1],
        encoded(KEY),
    ],
)
def test_a_key_of_several_lines_is_found_however_it_is_laid_out(text):
    assert Sought([KEY]).stands_in(f"before {text} behind")


@pytest.mark.parametrize(
    "text", ["", "harmless", "-----BEGIN PRIVATE KEY-----", "secret", SECRET[:-1]]
)
def test_what_is_no_secret_is_not_found(text):
    assert not Sought([SECRET, KEY, "", "short"]).stands_in(f"before {text} short behind")


def test_no_secret_is_in_a_repr():
    assert repr(Sought([SECRET])).startswith("Sought(")
    assert SECRET not in repr(Sought([SECRET]))


def made(name: str, **more: object) -> CompiledExperiment:
    path = f"experiments/{name}/experiment.py"
    return CompiledExperiment(name=name, path=path, status=Status.CHANGED, **more)  # type: ignore[arg-type]


def manifest(document: object) -> Manifest:
    return Manifest(kind="Workflow", name="w", digest="sha256:0", document=document)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "experiment",
    [
        made("leaky", log=f"token {SECRET}"),
        made("leaky", text=f"args: [{SECRET}]"),
        made("leaky", reasons=(SECRET,)),
        made("leaky", base_error=SECRET),
        made("leaky", manifests=(manifest({"spec": {"args": [{"a": SECRET}]}}),)),
        made("leaky", manifests=(manifest({encoded(SECRET): 1}),)),
        made("leaky", base_manifests=(manifest(LazyDocument(json.dumps({"a": SECRET}))),)),
    ],
)
def test_the_experiment_is_named_and_the_secret_is_not(experiment):
    bundle = Bundle(experiments=(made("fine"), experiment))

    [found] = search(bundle, [SECRET], f"all of it: {SECRET}")

    assert (found.rule, found.severity, found.experiment, found.file) == (
        RULE,
        Severity.ERROR,
        "leaky",
        "experiments/leaky/experiment.py",
    )
    assert SECRET not in found.message


def test_a_finding_of_an_experiment_is_its_own():
    finding = Finding(rule="r", severity=Severity.ERROR, message=SECRET, experiment="leaky")
    bundle = Bundle(experiments=(made("fine"), made("leaky")), findings=(finding,))
    assert [each.experiment for each in search(bundle, [SECRET])] == ["leaky"]


def test_what_belongs_to_no_experiment_is_found_too():
    assert [each.experiment for each in search(Bundle(), [SECRET], "a", SECRET)] == [None]
    assert [each.experiment for each in search(Bundle(settings={"a": SECRET}), [SECRET])] == [None]
    assert search(Bundle(experiments=(made("fine"),)), [SECRET], "nothing") == ()
