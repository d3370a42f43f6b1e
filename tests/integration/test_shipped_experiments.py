"""The experiments that ship compile, through the command, to the YAML committed beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from heraci import bundle
from tests.command import heraci

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "experiments"
NAMES = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir() and path.name[0] != "_")


def test_they_compile_to_what_is_committed(tmp_path: Path, golden: Callable[[Path, str], None]):
    """In a copy: the checkout is not ours to write to."""
    shutil.copytree(SHIPPED, tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "heraci.toml", tmp_path / "heraci.toml")
    done = heraci("compile", "--all", "--format", "json", cwd=tmp_path)
    assert (done.code, done.findings) == (0, []), done.stdout + done.stderr
    assert done.statuses == dict.fromkeys(NAMES, "compiled")
    for name in NAMES:
        text = (tmp_path / f"compiled/{name}.yaml").read_text()
        golden(SHIPPED / name / "expected.yaml", text)
    read = bundle.load(tmp_path / "compiled")
    kinds = {manifest.kind for _, manifest in read.manifests}
    assert kinds == {"Workflow", "WorkflowTemplate", "CronWorkflow"}


def test_each_is_explained():
    assert [name for name in NAMES if not (SHIPPED / name / "README.md").read_text()] == []
