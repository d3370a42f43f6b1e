"""A bundle is written and read whole, and what is not as it was written is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from heraci import bundle, bundle_folder, document
from heraci.bundle import (
    Bundle,
    CompiledExperiment,
    Finding,
    LazyDocument,
    Manifest,
    Origin,
    Requirement,
    Severity,
    Status,
)
from heraci.errors import BundleError

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs/bundle.schema.json"
FIRST = {"kind": "Workflow", "metadata": {"name": "été"}, "spec": {"x": "12e4567", "y": "a\n b\n"}}
SECOND = {"kind": "CronWorkflow", "metadata": {"name": "nightly"}, "spec": {"n": [1, 1.5, None]}}
BEFORE = {"kind": "Workflow", "metadata": {"name": "été"}, "spec": {}}


def manifest(content: dict[str, Any], **values: Any) -> Manifest:
    return Manifest(
        kind=content["kind"],
        name=content["metadata"]["name"],
        digest=document.digest(content),
        document=content,
        **values,
    )


REQUIREMENT = Requirement(
    kind="PersistentVolumeClaim",
    name="data",
    api_version="v1",
    namespace="argo",
    keys=("a", "b"),
    access=("ReadWriteMany",),
    storage="1Gi",
    origin=Origin.ENVIRONMENT,
    template="main",
    source="experiments/a/experiment.py:3",
    optional=True,
)
WHOLE = Bundle(
    target="lab",
    commit="c" * 40,
    dirty=True,
    base="b" * 40,
    merge_base="a" * 40,
    settings={"namespace": "argo", "environment": {"results": "pvc", "proxy": False}},
    versions={"heraci": "1", "python": "3.11.7"},
    experiments=(
        CompiledExperiment(
            name="a folder/été",
            path="experiments/a folder/été/experiment.py",
            status=Status.CHANGED,
            reasons=("été.py changed", "settings"),
            source_files=("lib/a.py",),
            python="3.11",
            hera="7.1.0",
            pins=("hera==7.1.0", "numpy==2.0"),
            manifests=(
                manifest(
                    FIRST,
                    namespace="argo",
                    file="a folder/été.yaml",
                    sources={"": "a.py:1", "main": "a.py:2", "main/task": "a.py:3"},
                    requirements=(REQUIREMENT,),
                ),
                manifest(SECOND, file="a folder/été.yaml", index=1),
            ),
            base_manifests=(manifest(BEFORE),),
            requirements=(REQUIREMENT,),
            text=document.dump([FIRST, SECOND]),
        ),
        CompiledExperiment(
            name="broken",
            path="experiments/broken.py",
            status=Status.FAILED,
            base_error="no module named x",
            log="::error::\x1b[31m\u2028",
        ),
        CompiledExperiment(name="gone", path="experiments/gone.py", status=Status.REMOVED),
    ),
    findings=(
        Finding(
            rule="compile-failed",
            severity=Severity.ERROR,
            message="NameError: x\nIt printed last",
            experiment="broken",
            file="experiments/broken.py",
            line=3,
        ),
        Finding(rule="note", severity=Severity.NOTICE, message=""),
    ),
    known=("kept.yaml",),
)
SMALL = Bundle(
    experiments=(
        CompiledExperiment(
            name="a",
            path="experiments/a.py",
            status=Status.COMPILED,
            manifests=(manifest(FIRST, file="a.yaml"),),
            base_manifests=(manifest(BEFORE),),
            text=document.dump([FIRST]),
        ),
    ),
)


def written(value: Bundle, folder: Path) -> Path:
    """Write a bundle, over an earlier one that had the files which it keeps."""
    (folder / "kept.yaml").parent.mkdir(parents=True, exist_ok=True)
    if value.known:
        (folder / "kept.yaml").write_text("{}")
        earlier = bundle.index(Bundle(known=value.known), [])
        (folder / "bundle.json").write_text(earlier)
    bundle_folder.write(value, folder)
    return folder


@dataclass(frozen=True)
class Edit:
    """One value of an index, put to something else or taken out."""

    path: tuple[str | int, ...]
    value: Any = ...

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))}={'' if self.value is ... else self.value!r}"

    def __call__(self, index: Any) -> None:
        *above, last = self.path
        for each in above:
            index = index[each]
        if self.value is ...:
            del index[last]
        else:
            index[last] = self.value


FIRST_EXPERIMENT = ("experiments", 0)
FIRST_MANIFEST = (*FIRST_EXPERIMENT, "manifests", 0)
FIRST_BASE = (*FIRST_EXPERIMENT, "base_manifests", 0)


def change(folder: Path, edit: Edit) -> Path:
    index = json.loads((folder / "bundle.json").read_text())
    edit(index)
    (folder / "bundle.json").write_text(json.dumps(index))
    return folder


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path):
    assert bundle.load(written(WHOLE, tmp_path)) == WHOLE
    assert bundle.load(written(Bundle(), tmp_path / "empty")) == Bundle()


def test_the_index_has_one_line_for_each_experiment_and_finding(tmp_path: Path):
    lines = (written(WHOLE, tmp_path) / "bundle.json").read_text().splitlines()
    assert [line[:30] for line in lines if line.startswith('{"name"')] == [
        '{"name": "a folder/été", "path',
        '{"name": "broken", "path": "ex',
        '{"name": "gone", "path": "expe',
    ]
    assert json.loads(lines[-3]) == {"rule": "note", "severity": "notice", "message": ""}
    assert not any("12e4567" in line for line in lines)


def test_a_document_that_was_not_looked_into_is_written_and_compared_as_another(tmp_path: Path):
    lazy = replace(manifest(FIRST, file="a.yaml"), document=LazyDocument(json.dumps(FIRST)))
    base = replace(manifest(BEFORE), document=LazyDocument(json.dumps(BEFORE)))
    experiment = replace(SMALL.experiments[0], manifests=(lazy,), base_manifests=(base,))
    folder = written(replace(SMALL, experiments=(experiment,)), tmp_path)
    assert bundle.load(folder) == SMALL


def test_the_published_schema_is_that_of_the_values(golden: Callable[[Path, str], None]):
    jsonschema.Draft202012Validator.check_schema(bundle.json_schema())
    golden(PUBLISHED, json.dumps(bundle.json_schema(), indent=2, ensure_ascii=False) + "\n")


def test_bundles_fit_the_published_schema(tmp_path: Path):
    schema = json.loads(PUBLISHED.read_text())
    for value in (WHOLE, SMALL, Bundle()):
        index = (written(value, tmp_path) / "bundle.json").read_text()
        jsonschema.validate(json.loads(index), schema)


@pytest.mark.parametrize(
    "edit",
    [
        Edit((*FIRST_MANIFEST, "kind")),
        Edit((*FIRST_MANIFEST, "digest")),
        Edit((*FIRST_MANIFEST, "file")),
        Edit((*FIRST_MANIFEST, "digest"), "sha256:1"),
        Edit((*FIRST_MANIFEST, "document"), {}),
        Edit((*FIRST_MANIFEST, "file"), "/etc/passwd"),
        Edit((*FIRST_MANIFEST, "file"), "../a.yaml"),
        Edit((*FIRST_MANIFEST, "file"), "a/../../b.yaml"),
        Edit((*FIRST_MANIFEST, "index"), "0"),
        Edit((*FIRST_MANIFEST, "sources"), {"": 1}),
        Edit((*FIRST_MANIFEST, "colour"), "blue"),
        Edit((*FIRST_EXPERIMENT, "status"), "splendid"),
        Edit((*FIRST_EXPERIMENT, "reasons"), "because"),
        Edit((*FIRST_EXPERIMENT, "text"), "a: 1"),
        Edit((*FIRST_BASE, "document"), None),
        Edit(("schema",), "heraci.bundle/v2"),
        Edit(("commit",), None),
        Edit(("findings",), [{"rule": "x", "severity": "fatal", "message": ""}]),
        Edit(("findings",), [{"rule": "x", "severity": "error"}]),
        Edit(("experiments",), {}),
        Edit(("expirements",), []),
        Edit(("schema",)),
        Edit(("experiments",)),
    ],
    ids=str,
)
def test_what_is_no_bundle_does_not_fit_the_published_schema(tmp_path: Path, edit: Edit):
    index = json.loads((written(SMALL, tmp_path) / "bundle.json").read_text())
    schema = json.loads(PUBLISHED.read_text())
    jsonschema.validate(index, schema)
    edit(index)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(index, schema)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (Edit((*FIRST_MANIFEST, "digest"), "sha256:" + "0" * 64), "changed after it was compiled"),
        (Edit((*FIRST_BASE, "digest"), "sha256:" + "0" * 64), "changed after it was compiled"),
        (Edit((*FIRST_BASE, "document"), {"kind": "Job"}), "changed after it was compiled"),
        (Edit((*FIRST_BASE, "document"), {"x": float("nan")}), "holds what no manifest can hold"),
        (Edit((*FIRST_BASE, "document"), []), "document"),
        (Edit((*FIRST_BASE, "document"), None), "document"),
        (Edit((*FIRST_MANIFEST, "digest")), "digest"),
        (Edit((*FIRST_MANIFEST, "file")), "a file outside the bundle: None"),
        (
            Edit((*FIRST_MANIFEST, "file"), "/etc/passwd"),
            "a file outside the bundle: '/etc/passwd'",
        ),
        (Edit((*FIRST_MANIFEST, "file"), "../bundle/a.yaml"), "a file outside the bundle"),
        (Edit((*FIRST_MANIFEST, "file"), "x/../../bundle/a.yaml"), "a file outside the bundle"),
        (Edit((*FIRST_MANIFEST, "file"), ""), "a file outside the bundle"),
        (Edit((*FIRST_MANIFEST, "file"), "."), "a file outside the bundle"),
        (Edit((*FIRST_MANIFEST, "file"), 5), "a file outside the bundle"),
        (Edit((*FIRST_MANIFEST, "file"), "a\x00.yaml"), "a.*yaml"),
        (
            Edit((*FIRST_MANIFEST, "file"), "absent.yaml"),
            "absent.yaml cannot be read: No such file",
        ),
        (Edit((*FIRST_MANIFEST, "index"), 1), "holds no document 1"),
        (Edit((*FIRST_MANIFEST, "index"), -1), "holds no document -1"),
        (Edit((*FIRST_MANIFEST, "index"), "0"), "holds no document 0"),
        (Edit((*FIRST_MANIFEST, "sources"), ["a"]), "sources"),
        (Edit((*FIRST_MANIFEST, "requirements"), [{"kind": "Secret"}]), "requirements.0.name"),
        (
            Edit((*FIRST_EXPERIMENT, "manifests"), {"kind": "x"}),
            "is not made as heraci.bundle/v1 says",
        ),
        (Edit((*FIRST_EXPERIMENT, "manifests"), 1), "is not made as heraci.bundle/v1 says"),
        (Edit((*FIRST_EXPERIMENT, "manifests"), ["x"]), "is not made as heraci.bundle/v1 says"),
        (Edit((*FIRST_EXPERIMENT, "status"), "splendid"), "experiments.0.status"),
        (Edit((*FIRST_EXPERIMENT, "reasons"), "because"), "experiments.0.reasons"),
        (Edit((*FIRST_EXPERIMENT, "name"), None), "experiments.0.name"),
        (Edit(("experiments",), 5), "is not made as heraci.bundle/v1 says"),
        (Edit(("experiments",), None), "is not made as heraci.bundle/v1 says"),
        (Edit(("experiments",), "abc"), "is not made as heraci.bundle/v1 says"),
        (Edit(("commit",), ["c"]), "commit"),
        (Edit(("findings",), [{"rule": "x", "severity": "fatal", "message": ""}]), "severity"),
        (Edit(("schema",), "heraci.bundle/v2"), "'heraci.bundle/v2', this heraci reads"),
        (Edit(("schema",)), "has the schema None"),
    ],
    ids=str,
)
def test_an_index_that_is_not_right_is_refused(tmp_path: Path, edit: Edit, told: str):
    folder = change(written(SMALL, tmp_path / "bundle"), edit)
    with pytest.raises(BundleError, match=told):
        bundle.load(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Workflow\n", "changed after it was compiled"),
        ("", "holds no document 0"),
        ("[]", "document"),
        ("null", "document"),
        ("a: [", "not YAML that heraci wrote"),
        ("a: &a [*a]", "not YAML that heraci wrote"),
        ("1: 2", "not YAML that heraci wrote"),
        ("a: !!python/object/apply:os.abort []", "not YAML that heraci wrote"),
        ("[" * 100_000, "not YAML that heraci wrote"),
        ("a: 2009-01-02", "holds what no manifest can hold"),
        ("a: .nan", "holds what no manifest can hold"),
        (b"\xff\xfe\xfd", "not YAML that heraci wrote"),
    ],
    ids=lambda text: str(text)[:20],
)
def test_yaml_that_heraci_did_not_write_is_refused(tmp_path: Path, text: str | bytes, told: str):
    folder = written(SMALL, tmp_path)
    (folder / "a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BundleError, match=told):
        bundle.load(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "has the schema None"),
        (b'"heraci.bundle/v1"', "has the schema None"),
    ],
    ids=lambda text: str(text)[:20],
)
def test_an_index_that_is_no_json_object_is_refused(tmp_path: Path, text: bytes, told: str):
    (tmp_path / "bundle.json").write_bytes(text)
    with pytest.raises(BundleError, match=told):
        bundle.load(tmp_path)


def test_a_folder_without_a_bundle_says_what_to_do(tmp_path: Path):
    with pytest.raises(BundleError, match="holds no bundle"):
        bundle.load(tmp_path)
    (tmp_path / "bundle.json").mkdir()
    with pytest.raises(BundleError, match="cannot be read: Is a directory"):
        bundle.load(tmp_path)


@pytest.mark.parametrize("name", ["a.yaml", "bundle.json"])
def test_links_are_refused(tmp_path: Path, name: str):
    folder = written(SMALL, tmp_path / "bundle")
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is a link, a bundle holds plain files only"):
        bundle.load(folder)


def test_a_linked_folder_is_refused(tmp_path: Path):
    folder = written(SMALL, tmp_path / "bundle")
    (tmp_path / "elsewhere").mkdir()
    (folder / "a.yaml").rename(tmp_path / "elsewhere/a.yaml")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    change(folder, Edit((*FIRST_MANIFEST, "file"), "linked/a.yaml"))
    with pytest.raises(BundleError, match="is a link, a bundle holds plain files only"):
        bundle.load(folder)


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("a.yaml", True),
        ("a/b.yaml", True),
        ("..a/b..yaml", True),
        ("", False),
        ("/a", False),
        ("..", False),
        ("a/..", False),
        ("../a", False),
        ("a/../../b", False),
    ],
)
def test_a_path_stays_inside(path: str, inside: bool):
    assert bundle.is_inside(path) is inside
