"""What authors import from heraci, and how little importing it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import heraci

ROOT = Path(heraci.__file__).parents[1]

PUBLIC = [
    "COMMIT",
    "ConfigMap",
    "Environment",
    "Experiment",
    "ExperimentError",
    "ImagePullSecret",
    "Inputs",
    "Layout",
    "Secret",
    "ServiceAccount",
    "StorageClass",
    "VolumeClaim",
    "configure_hera",
]

HEAVY = {"git", "hera", "kubernetes", "pydantic", "pydantic_settings", "requests", "yaml"}


def run(code: str, *, path: Path = ROOT) -> str:
    """What a fresh interpreter prints, with `path` first on its module path."""
    script = f"import sys; sys.path.insert(0, {str(path)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a statement leaves in sys.modules."""
    printed = run(f"{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})")
    return set(printed.split())


def test_all_names_what_authors_import() -> None:
    assert heraci.__all__ == PUBLIC


def test_star_import_brings_every_public_name() -> None:
    printed = run("from heraci import *\nprint(*sorted(n for n in globals() if n[:1] != '_'))")
    assert printed.split() == sorted([*PUBLIC, "sys"])


def test_dir_shows_the_lazy_names() -> None:
    assert set(PUBLIC) <= set(dir(heraci))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'heraci' has no attribute 'Experimant'"):
        heraci.Experimant  # noqa: B018 - the access is the test


def test_importing_heraci_loads_nothing_heavy() -> None:
    assert loaded_by("import heraci; heraci.__version__") & HEAVY == set()


def test_author_classes_load_pydantic_alone() -> None:
    assert loaded_by("from heraci import Experiment") & HEAVY == {"pydantic"}


def test_two_files_alone_are_enough(tmp_path: Path) -> None:
    package = tmp_path / "heraci"
    package.mkdir()
    for name in ("__init__.py", "experiment.py"):
        (package / name).write_bytes((ROOT / "heraci" / name).read_bytes())
    code = "import heraci.experiment\nheraci.Experiment\nprint(heraci.__file__)\n"
    code += "print(*sorted(name for name in sys.modules if name.startswith('heraci')))"
    assert run(code, path=tmp_path).splitlines() == [
        str(package / "__init__.py"),
        "heraci heraci.experiment",
    ]
