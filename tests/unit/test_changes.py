"""Which experiments a tree has, and which of them a change affects.

The trees here are plain mappings: a snapshot of files is all that this stage is handed. The same
questions are asked of real repositories in `tests/integration/test_changes.py`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from posixpath import dirname, join, normpath

import pytest

from heraci.changes import (
    Affected,
    Change,
    Experiment,
    Import,
    Imports,
    Known,
    Sources,
    affected_experiments,
    find_experiments,
    imports_of,
    missing_entries,
)

HERA = "from hera.workflows import Workflow\n"


class Files:
    """A tree held in memory; a value that begins with `-> ` is a symbolic link."""

    label = "files"

    def __init__(self, contents: Mapping[str, str]) -> None:
        self.contents = {path: text.encode() for path, text in contents.items()}
        self.links = {p: t[3:] for p, t in contents.items() if t.startswith("-> ")}
        self.files = {
            path: ("link:" if path in self.links else "") + hashlib.sha1(content).hexdigest()
            for path, content in self.contents.items()
        }

    def locate(self, path: str) -> str | None:
        for _ in range(9):
            parts = path.split("/")
            ups = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
            link = next((up for up in ups if up in self.links), None)
            if link is None:
                return path if path in self.contents else None
            path = normpath(join(dirname(link), self.links[link] + path[len(link) :]))
        return None

    def read_many(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        return {path: self.contents[self.locate(path) or ""] for path in paths}


def folder_of(name: str) -> Experiment:
    """The experiment of a folder below `experiments`."""
    folder = f"experiments/{name}"
    return Experiment(name=name, path=f"{folder}/experiment.py", folder=folder)


def found(
    tree: Files, entries: Mapping[str, str] | None = None, folder: str = "experiments"
) -> tuple[Experiment, ...]:
    """The experiments of a tree."""
    return find_experiments(Sources(tree, folder), entries)


def affected(before: Files, after: Files, known: Known | None = None) -> tuple[Affected, ...]:
    """The experiments that differ between two trees, or may."""
    head = Sources(after, "experiments")
    return affected_experiments(head.beside(before), head, find_experiments(head), known=known)


def compared(
    before: Mapping[str, str], change: Mapping[str, str | None], known: Known | None = None
) -> dict[str, tuple[str, ...]]:
    """Reasons by experiment, for a change to some files (None removes one)."""
    after = {**before, **change}
    head = {path: text for path, text in after.items() if text is not None}
    told = affected(Files(before), Files(head), known=known)
    return {each.experiment.name: each.reasons for each in told}


# Discovery


def test_a_folder_with_an_entry_is_one_experiment_at_any_depth():
    tree = Files(
        {
            "experiments/city/collect/experiment.py": "",
            "experiments/city/collect/steps.py": HERA,
            "experiments/city/collect/more/steps.py": HERA,
            "experiments/hello world-1/experiment.py": "",
            "elsewhere/experiment.py": HERA,
        }
    )

    assert found(tree) == (
        folder_of("city/collect"),
        folder_of("hello world-1"),
    )


def test_single_files_are_experiments_where_they_use_hera():
    tree = Files(
        {
            "experiments/plain.py": "import numpy\n",
            "experiments/a/hera.py": "import hera\n",
            "experiments/a/heraci-one.py": "from heraci import Experiment\n",
            "experiments/a/utils_only.py": "def f():\n    from hera_utils import Struct\n",
            "experiments/a/__init__.py": HERA,
            "experiments/a/__main__.py": HERA,
            "experiments/a/test_it.py": "import hera_k8s_utils as k\n",
            "experiments/conftest.py": HERA,
            "experiments/.hidden/x.py": HERA,
            "experiments/a/__pycache__/x.py": HERA,
            "experiments/env/pyvenv.cfg": "",
            "experiments/env/lib/x.py": HERA,
            "experiments/mentions.py": "# import hera\nx = 'hera'\n",
            "experiments/shows.py": '"""Try this:\n\n    from hera import x\n"""\nimport y\n',
            "experiments/a/z.py": '"""Try this:\n\n    import x\n"""\nimport y, hera\n',
        }
    )

    assert [each.name for each in found(tree)] == [
        "a/__main__",
        "a/hera",
        "a/heraci-one",
        "a/test_it",
        "a/utils_only",
        "a/z",
    ]


def test_a_file_that_another_imports_is_marked():
    tree = Files(
        {
            "experiments/run.py": HERA + "import steps\n",
            "experiments/steps.py": HERA,
            "experiments/alone.py": HERA,
        }
    )

    assert found(tree) == (
        Experiment(name="alone", path="experiments/alone.py"),
        Experiment(name="run", path="experiments/run.py"),
        Experiment(name="steps", path="experiments/steps.py", imported=True),
    )


def test_no_two_experiments_get_one_name():
    tree = Files({"experiments/a/experiment.py": HERA, "experiments/a.py": HERA})

    assert found(tree) == (
        folder_of("a"),
        Experiment(name="a.py", path="experiments/a.py"),
    )


def test_the_experiments_folder_can_be_the_root_or_hold_an_entry_itself():
    tree = Files({"experiment.py": HERA, "b/experiment.py": HERA, "c.py": HERA})

    assert found(tree, folder=".") == (
        Experiment(name="b", path="b/experiment.py", folder="b"),
        Experiment(name="c", path="c.py"),
        Experiment(name="experiment", path="experiment.py"),
    )


def test_entries_of_heraci_toml_add_and_name():
    tree = Files(
        {
            "experiments/a/experiment.py": HERA,
            "experiments/b.py": HERA,
            "flows/nightly.py": "",
            "flows/sweep/experiment.py": "",
        }
    )
    entries = {
        "first": "experiments/a/experiment.py",
        "b": "./experiments/b.py",
        "night": "flows/nightly.py:build",
        "day": "flows/nightly.py:build_day",
        "sweep": "flows/sweep",
        "lost": "flows/lost.py",
    }

    assert found(tree, entries) == (
        Experiment(name="b", path="experiments/b.py", named=True),
        Experiment(name="day", path="flows/nightly.py", function="build_day", named=True),
        Experiment(
            name="first",
            path="experiments/a/experiment.py",
            folder="experiments/a",
            named=True,
        ),
        Experiment(name="night", path="flows/nightly.py", function="build", named=True),
        Experiment(
            name="sweep", path="flows/sweep/experiment.py", folder="flows/sweep", named=True
        ),
    )
    assert missing_entries(tree, entries) == ("lost",)


def test_a_name_that_is_no_text_can_still_be_shown():
    tree = Files({"experiments/caf\udce9.py": HERA})

    assert [each.name for each in found(tree)] == ["caf\\xe9"]


# What a source imports


@pytest.mark.parametrize(
    ("source", "imports"),
    [
        ("import a", [Import("a")]),
        ("import a.b as c, d  # e", [Import("a.b"), Import("d")]),
        ("import a ; import b", [Import("a"), Import("b")]),
        ("if x: import a", [Import("a")]),
        ("try: from a import b", [Import("a", ("b",))]),
        ("from a.b import c as d, e", [Import("a.b", ("c", "e"))]),
        ("from a import (b, c)  # d", [Import("a", ("b", "c"))]),
        ("from a import (\n    b,  # not )\n    c as d,\n)\n", [Import("a", ("b", "c"))]),
        ("from a import (  # why (\n    b)\n", [Import("a", ("b",))]),
        ("from . import a", [Import("", ("a",), 1)]),
        ("from .a import b", [Import("a", ("b",), 1)]),
        ("from ... a . b import c", [Import("a.b", ("c",), 3)]),
        ("from.a import(b)", [Import("a", ("b",), 1)]),
        ("from a import*", [Import("a", ("*",))]),
        ("from a \\\n  import b", [Import("b"), Import("a", ("b",))]),
        ("import a, \\\n  b", [Import("a"), Import("b")]),
        ("import a\r\nimport b\rimport c", [Import("a"), Import("b"), Import("c")]),
        ("\ufeffimport a", [Import("a")]),
        ("import mödul", [Import("mödul")]),
        ("# import a\n", []),
        ("important = reimport = 1\n", []),
        ("x = 'I would import a'\n", []),
        ("def broken(:\n    import a\n", [Import("a")]),
    ],
)
def test_imports_are_found_line_by_line(source: str, imports: list[Import]):
    assert imports_of(source.encode()).imports == tuple(imports)


def test_what_can_import_anything_is_marked_with_its_line():
    source = b"import sys\nimport importlib\nsys.path.insert(0, '..')\nimportlib.import_module(x)\n"

    assert imports_of(source) == Imports(
        imports=(Import("sys"), Import("importlib")),
        dynamic=((4, "import_module"),),
        edits_path=True,
    )


@pytest.mark.parametrize(
    ("source", "dynamic"),
    [
        (b"__import__('a')", True),
        (b"exec (code)", True),
        (b"runpy.run_path('a.py')", True),
        (b"importlib.util.find_spec('a')", True),
        (b"from importlib.util import spec_from_file_location", True),
        (b"from importlib import metadata, resources", False),
        (b"execution = 1; importlib.reload(a)", False),
    ],
)
def test_only_what_can_import_any_module_is_dynamic(source: bytes, dynamic: bool):
    assert bool(imports_of(source).dynamic) is dynamic


@pytest.mark.parametrize(
    "source", [b"\0", "import a".encode("utf-16"), b"# coding: no-such-thing\nimport a\n"]
)
def test_what_is_no_text_is_unparsable(source: bytes):
    assert imports_of(source) == Imports(unparsable=True)


def test_an_encoding_of_its_own_is_read():
    source = "# coding: latin-1\nimport é\n".encode("latin-1")

    assert imports_of(source).imports == (Import("é"),)


STDLIB = sorted(Path(ast.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("start", range(6))
def test_no_import_of_the_standard_library_is_missed(start: int):
    """The scan takes too much rather than too little: all that `ast` sees must be in it."""
    for path in STDLIB[start::6]:
        source = path.read_bytes()
        found = imports_of(source).imports
        plain = {each.module for each in found if not each.level}
        named = {(each.level, each.module, name) for each in found for name in each.names}
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                assert {each.name for each in node.names} <= plain, path
            elif isinstance(node, ast.ImportFrom):
                names = {(node.level, node.module or "", each.name) for each in node.names}
                assert names <= named, path


# Closures


def closure(contents: Mapping[str, str], path: str = "experiments/a/experiment.py") -> list[str]:
    return sorted(Sources(Files(contents), "experiments").closure(path).files)


@pytest.mark.parametrize(
    ("source", "others", "found"),
    [
        ("import tools", {"experiments/a/tools.py": ""}, ["experiments/a/tools.py"]),
        ("from . import tools", {"experiments/a/tools.py": ""}, ["experiments/a/tools.py"]),
        ("from ..lib.x import y", {"experiments/lib/x.py": ""}, ["experiments/lib/x.py"]),
        ("from lib import mesh", {"lib/mesh.py": ""}, ["lib/mesh.py"]),
        (
            "import lib.deep.mesh",
            {"lib/__init__.py": "", "lib/deep/mesh.py": "", "lib/deep/other.py": ""},
            ["lib/__init__.py", "lib/deep/mesh.py"],
        ),
        (
            "from lib import *",
            {"lib/__init__.py": "__all__ = ['a']", "lib/a.py": "", "lib/b/c.py": ""},
            ["lib/__init__.py", "lib/a.py"],
        ),
        ("from lib import *", {"lib/__init__.py": "", "lib/a.py": ""}, ["lib/__init__.py"]),
        (
            "from lib import *",
            {"lib/__init__.py": "__all__ = [f.stem for f in HERE.glob('*.py')]", "lib/a.py": ""},
            ["lib/__init__.py", "lib/a.py"],
        ),
        (
            "import lib.a",
            {"lib/a.py": "from . import b", "lib/b.py": "import lib.a", "lib/c.py": ""},
            ["lib/a.py", "lib/b.py"],
        ),
        ("import experiments.shared", {"experiments/shared.py": ""}, ["experiments/shared.py"]),
        ("import shared", {"experiments/shared.py": ""}, ["experiments/shared.py"]),
        ("import lib", {"else/where/lib.py": ""}, []),
        ("import sys; sys.path.append(x)\nimport lib", {"else/lib.py": ""}, ["else/lib.py"]),
        (
            "from ..deep import x",
            {
                "experiments/__init__.py": "",
                "experiments/a/__init__.py": "",
                "experiments/deep/x.py": "",
            },
            ["experiments/__init__.py", "experiments/a/__init__.py", "experiments/deep/x.py"],
        ),
        ("", {"experiments/__init__.py": ""}, ["experiments/__init__.py"]),
    ],
)
def test_a_closure_holds_the_modules_of_the_repository(
    source: str, others: dict[str, str], found: list[str]
):
    entry = "experiments/a/experiment.py"

    assert closure({entry: source, **others}) == sorted([entry, *found])


def test_an_edit_of_the_search_path_counts_wherever_it_is():
    contents = {
        "experiments/a/experiment.py": "import late\nimport setup_path\n",
        "experiments/a/setup_path.py": "import sys\nsys.path.append('../shared')\n",
        "shared/late.py": "",
    }

    assert "shared/late.py" in closure(contents)


def test_links_are_followed_inside_the_tree():
    contents = {
        "experiments/a/experiment.py": "from shared import mesh\nimport alias\n",
        "experiments/a/shared": "-> ../../lib",
        "experiments/a/alias.py": "-> ../../lib/real.py",
        "lib/mesh.py": "",
        "lib/real.py": "",
    }

    assert closure(contents) == [
        "experiments/a/alias.py",
        "experiments/a/experiment.py",
        "experiments/a/shared",
        "experiments/a/shared/mesh.py",
        "lib/mesh.py",
        "lib/real.py",
    ]


# Whom a change affects

TWO = {
    "experiments/a/experiment.py": HERA + "import tools\nfrom lib import mesh\n",
    "experiments/a/tools.py": "from lib.grid import points\n",
    "experiments/a/notes.md": "",
    "experiments/b/experiment.py": HERA + "import math\n",
    "experiments/b/tools.py": "",
    "lib/__init__.py": "",
    "lib/mesh.py": "",
    "lib/grid.py": "",
    "README.md": "",
}


def test_nothing_changed_affects_nothing():
    assert compared(TWO, {}) == {}


@pytest.mark.parametrize(
    ("change", "affected"),
    [
        ({"README.md": "more"}, {}),
        (
            {"experiments/b/experiment.py": "x"},
            {"b": ("experiments/b/experiment.py changed",)},
        ),
        ({"experiments/a/notes.md": None}, {"a": ("experiments/a/notes.md was removed",)}),
        ({"experiments/a/new/é b.txt": ""}, {"a": ("experiments/a/new/é b.txt was added",)}),
        ({"lib/mesh.py": "x"}, {"a": ("imports lib/mesh.py, which changed",)}),
        (
            {"lib/grid.py": "x"},
            {"a": ("imports lib/grid.py, which changed (via experiments/a/tools.py)",)},
        ),
        (
            {"lib/__init__.py": "x"},
            {"a": ("imports lib/__init__.py, which changed",)},
        ),
        ({"lib/unused.py": ""}, {}),
        # A module that comes to stand in front of another.
        (
            {"experiments/b/math.py": ""},
            {"b": ("experiments/b/math.py was added",)},
        ),
        ({"math.py": ""}, {"b": ("imports math.py, which was added",)}),
        (
            {"lib/mesh.py": None},
            {"a": ("imported lib/mesh.py, which was removed",)},
        ),
        (
            {"lib/mesh.py": None, "lib/mesh/__init__.py": ""},
            {
                "a": (
                    "imports lib/mesh/__init__.py, which was added",
                    "imported lib/mesh.py, which was removed",
                )
            },
        ),
    ],
)
def test_a_change_affects_whoever_holds_or_imports_it(
    change: dict[str, str | None], affected: dict[str, tuple[str, ...]]
):
    assert compared(TWO, change) == affected


def test_an_import_that_is_gone_at_head_still_counts():
    change = {"experiments/a/tools.py": "", "lib/grid.py": "x"}

    assert compared(TWO, change) == {
        "a": (
            "experiments/a/tools.py changed",
            "imported lib/grid.py, which changed (via experiments/a/tools.py)",
        )
    }


def test_another_experiments_module_counts_where_it_is_imported():
    files = {**TWO, "experiments/c/experiment.py": "from experiments.b import tools\n"}

    assert compared(files, {"experiments/b/tools.py": "x"}) == {
        "b": ("experiments/b/tools.py changed",),
        "c": ("imports experiments/b/tools.py, which changed",),
    }


def test_an_experiment_inside_another_reaches_up():
    files = {
        "experiments/b/experiment.py": "",
        "experiments/b/tools.py": "",
        "experiments/b/inner/experiment.py": "from ..tools import x\n",
    }

    assert compared(files, {"experiments/b/tools.py": "x"}) == {
        "b": ("experiments/b/tools.py changed",),
        "b/inner": ("imports experiments/b/tools.py, which changed",),
    }


def test_an_edited_search_path_reaches_what_it_names():
    files = {
        "experiments/a/experiment.py": "import sys\nsys.path.append(x)\nimport helper\n",
        "experiments/a/helper.py": "import far\n",
        "else/where/far.py": "",
        "experiments/b/experiment.py": "import far\n",
    }

    assert compared(files, {"else/where/far.py": "x"}) == {
        "a": ("imports else/where/far.py, which changed (via experiments/a/helper.py)",)
    }


def test_a_dynamic_import_may_be_of_any_module():
    source = "import importlib\n\nimportlib.import_module(name)\n"
    b = "experiments/b/experiment.py"
    files = {**TWO, b: source, "lib/other.py": ""}

    assert compared(files, {"lib/other.py": "x", "lib/mesh.py": "x"}) == {
        "a": ("imports lib/mesh.py, which changed",),
        "b": (f"may import any module (import_module at {b}:3); lib/mesh.py changed (and 1 more)",),
    }
    assert compared(files, {"README.md": "x"}) == {}


def test_a_source_that_is_no_text_stays_in():
    b = "experiments/b/experiment.py"
    files = {**TWO, b: "\0"}

    assert compared(files, {"lib/unused.py": "x"}) == {
        "b": (
            f"may import any module ({b} is not text that Python reads); lib/unused.py was added",
        )
    }


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("open('data/grid.yaml')", "reads data/grid.yaml, which changed"),
        ("Path('data').glob('*.yaml')", "may read data/grid.yaml, which changed"),
        ("open('deep/grid' + suffix)", "may read data/grid.yaml, which changed"),
        ("grids = 'gridlock'", None),
        ("open('other.txt')", None),
        ("FILE = 'other.txt'\nopen(FILE)", None),
        ("HERE = Path(__file__)\n(HERE / 'x' / 'other.txt').read_text()", None),
        ("for p in Path('other').iterdir(): p.read_text()", None),
        ("import sys\nopen(sys.argv[1])", 2),
        ("def f(path):\n    return path.read_text()\n", 2),
        ("for p in here.rglob('*.yaml'):\n    p", 1),
        ("open(f'run_{i}.yaml')", 1),
        ("subprocess.run(['cat', 'x'])", 1),
        ("import json; json.loads('other')", None),
        ("open(config['file'])", 1),
        ("open(found('other'))", 1),
        ("index = json.load(open('other.txt'))\nopen(index)", 2),
        ("for line in open('other.txt'):\n    open(line)", 2),
        ("known = ArgumentParser('other words').parse_args()\nopen(known.path)", 2),
        ("for line in open('other.txt'):\n    load(line)", 2),
        ("with open('other.txt') as file:\n    x = json.load(file)", None),
        ("yaml.safe_load(Path('other.txt').read_text())", None),
        ("known = ConfigParser()\nknown.read(name)", 2),
        ("list(map(open, files))", 1),
        ("from os import listdir as names\nnames(folder)", 2),
        ("import subprocess as s\ns.run('x')", 2),
        ("class Run:\n    def run(self): ...\nRun().run()", None),
        ("open(out, 'w').write(text)", None),
        ("os.path.exists(name)", None),
    ],
)
def test_data_counts_where_a_source_may_read_it(source: str, reason: str | int | None):
    files = {"experiments/a/experiment.py": source, "data/grid.yaml": ""}
    if isinstance(reason, int):
        reason = (
            f"may read any file (at experiments/a/experiment.py:{reason}); data/grid.yaml changed"
        )

    assert compared(files, {"data/grid.yaml": "x"}) == ({"a": (reason,)} if reason else {})


@pytest.mark.parametrize("source", ["os.path.exists(name)", "Path(name).is_file()"])
def test_looking_for_a_file_counts_where_one_came_or_went(source: str):
    path = "experiments/a/experiment.py"
    files = {path: source, "data/grid.yaml": ""}

    assert compared(files, {"data/grid.yaml": None}) == {
        "a": (f"may look for any file (at {path}:1); data/grid.yaml was removed",)
    }


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("open('steps/train.py')", "reads steps/train.py, which changed"),
        ("Path('steps').glob('*.py')", "may read steps/train.py, which changed"),
        ("open(f'{step}.py')", "may read any file (at experiments/a/experiment.py:1)"),
        ("from steps import test\nopen('other.txt')", None),
    ],
)
def test_a_module_counts_where_a_source_may_read_it_as_text(source: str, reason: str | None):
    files = {"experiments/a/experiment.py": source, "steps/train.py": "", "steps/test.py": ""}
    if reason and "any" in reason:
        reason += "; steps/train.py changed"

    assert compared(files, {"steps/train.py": "x"}) == ({"a": (reason,)} if reason else {})


def test_data_in_another_experiment_must_be_named_with_its_folder():
    e = "experiments/e/experiment.py"
    files = {
        "experiments/a/experiment.py": "open(path); open('config.yaml')",
        "experiments/beta/experiment.py": "",
        "experiments/beta/config.yaml": "",
        "experiments/c/experiment.py": "open('../beta/config.yaml')",
        "experiments/d/experiment.py": "for each in Path('..').glob('*/config.yaml'): ...",
        e: "[each.name for each in HERE.parent.parent.iterdir()]",
        "experiments/f/experiment.py": "[each.name for each in HERE.parent.iterdir()]",
    }

    assert compared(files, {"experiments/beta/config.yaml": "x"}) == {
        "beta": ("experiments/beta/config.yaml changed",),
        "c": ("reads experiments/beta/config.yaml, which changed",),
        "d": ("may read experiments/beta/config.yaml, which changed",),
        "e": (f"may read any file (at {e}:1); experiments/beta/config.yaml changed",),
    }


@pytest.mark.parametrize(
    ("pattern", "hit"),
    [
        ("data/*.yaml", True),
        ("data", True),
        ("**/x.yaml", True),
        ("d?ta/x.yaml", True),
        ("*.yaml", False),
        ("data/*.json", False),
    ],
)
def test_declared_data_counts(pattern: str, hit: bool):
    files = {"experiments/a/experiment.py": "", "data/x.yaml": ""}
    reasons = {"a": ("declares data/x.yaml as data, which changed",)} if hit else {}

    assert compared(files, {"data/x.yaml": "x"}, Known(data={"a": [pattern]})) == reasons


def test_pins_count_from_the_folder_to_the_experiments_folder():
    files = {
        "experiments/group/a/experiment.py": "",
        "experiments/b/experiment.py": "",
        "experiments/group/requirements.txt": "",
        "experiments/pyproject.toml": "",
        "requirements.txt": "",
    }
    reason = "depends on experiments/group/requirements.txt, which changed"

    assert compared(files, {"experiments/group/requirements.txt": "x"}) == {"group/a": (reason,)}
    assert list(compared(files, {"experiments/pyproject.toml": "x"})) == ["b", "group/a"]
    assert compared(files, {"requirements.txt": "x"}) == {}
    for place in (".", "requirements.txt"):
        known = Known(dependencies_from=place)
        assert compared(files, {"requirements.txt": "x"}, known) == dict.fromkeys(
            ("b", "group/a"), ("depends on requirements.txt, which changed",)
        )


@pytest.mark.parametrize(
    ("pins", "changed"),
    [
        ("-r ../deps/common.txt\n", "deps/common.txt"),
        ("--requirement=../deps/first.txt\n", "deps/common.txt"),
        ("numpy\n-e ../own-lib[extra]\n", "own-lib/src/own/x.py"),
        ("own @ file:../own-lib\n", "own-lib/pyproject.toml"),
    ],
)
def test_what_pins_refer_to_counts(pins: str, changed: str):
    files = {
        "experiments/a/experiment.py": "",
        "experiments/requirements.txt": pins,
        "deps/first.txt": "-r common.txt\n",
        "deps/common.txt": "",
        "own-lib/pyproject.toml": "",
        "own-lib/src/own/x.py": "",
    }

    assert compared(files, {changed: "x"}) == {
        "a": (f"depends on {changed}, which changed (via experiments/requirements.txt)",)
    }


def test_settings_count_only_where_they_differ():
    known = Known(
        settings=lambda name: (
            {"inputs": {"n": 1}, "image": "x"},
            {"inputs": {"n": 2 if name == "b" else 1}, "image": "x"},
        )
    )

    assert compared({**TWO, "heraci.toml": ""}, {"heraci.toml": "x"}, known) == {
        "b": ("settings that reach it differ: inputs.n",)
    }


def test_what_heraci_writes_is_no_change():
    files = {"experiments/a/experiment.py": "open(any)"}

    assert compared(files, {"compiled/a.yaml": ""}, Known(output="compiled")) == {}


def test_a_hera_config_beside_a_script_counts():
    files = {"experiments/a.py": HERA, "experiments/b/experiment.py": ""}

    assert compared(files, {"experiments/hera.config": ""}) == {
        "a": ("experiments/hera.config was added",)
    }


def test_added_removed_and_renamed():
    before = {
        "experiments/a/experiment.py": HERA,
        "experiments/a/tools.py": "1",
        "experiments/b/experiment.py": "b",
        "experiments/c.py": HERA,
    }
    after = {
        "experiments/x/experiment.py": HERA,
        "experiments/x/tools.py": "2",
        "experiments/d/experiment.py": "d",
        "experiments/c.py": "",
    }

    assert affected(Files(before), Files(after)) == (
        Affected(
            experiment=folder_of("b"),
            status=Change.REMOVED,
            reasons=("experiments/b/experiment.py was removed",),
            base=folder_of("b"),
        ),
        Affected(
            experiment=Experiment(name="c", path="experiments/c.py"),
            status=Change.REMOVED,
            reasons=("experiments/c.py is no experiment any more",),
            base=Experiment(name="c", path="experiments/c.py"),
        ),
        Affected(
            experiment=folder_of("d"),
            status=Change.ADDED,
            reasons=("experiments/d/experiment.py was added",),
        ),
        Affected(
            experiment=folder_of("x"),
            status=Change.RENAMED,
            reasons=(
                "renamed from experiments/a/experiment.py",
                "experiments/x/tools.py changed",
            ),
            base=folder_of("a"),
        ),
    )


def test_of_two_equal_entries_the_likelier_one_was_moved():
    before = {
        f"experiments/{n}/{f}": t for n in "ab" for f, t in (("experiment.py", HERA), ("n", n))
    }
    after = {
        f"experiments/{n}2/{f}": t for n in "ba" for f, t in (("experiment.py", HERA), ("n", n))
    }

    told = affected(Files(before), Files(after))

    assert {each.experiment.name: each.base and each.base.name for each in told} == {
        "a2": "a",
        "b2": "b",
    }


def test_an_experiment_keeps_its_name_when_a_file_becomes_a_folder():
    before = {"experiments/a.py": HERA}
    after = {"experiments/a/experiment.py": HERA + "# more\n"}

    assert affected(Files(before), Files(after)) == (
        Affected(
            experiment=folder_of("a"),
            status=Change.RENAMED,
            reasons=(
                "renamed from experiments/a.py",
                "experiments/a.py was removed",
                "experiments/a/experiment.py was added",
            ),
            base=Experiment(name="a", path="experiments/a.py"),
        ),
    )


def test_an_entry_with_another_function_is_a_change_of_one_experiment():
    files = Files({"flows/n.py": HERA, "heraci.toml": ""})
    head = Sources(files, "experiments")
    entries, base_entries = {"n": "flows/n.py:late"}, {"n": "flows/n.py"}

    told = affected_experiments(
        head.beside(files),
        head,
        find_experiments(head, entries),
        entries=entries,
        base_entries=base_entries,
    )

    assert [(each.experiment.name, each.status, each.reasons) for each in told] == [
        (
            "n",
            Change.MODIFIED,
            ("heraci.toml names flows/n.py:late, where it named flows/n.py",),
        )
    ]


def test_an_experiment_added_beside_a_file_of_its_name_renames_neither_by_mistake():
    before = {"experiments/a.py": HERA}
    after = {"experiments/a.py": HERA, "experiments/a/experiment.py": HERA}

    told = affected(Files(before), Files(after))

    assert [(each.experiment.name, each.status, each.reasons) for each in told] == [
        ("a", Change.ADDED, ("experiments/a/experiment.py was added",)),
        ("a.py", Change.RENAMED, ("renamed from a",)),
    ]


def test_a_changed_submodule_stays_in():
    class WithSubmodule(Files):
        def __init__(self, commit: str) -> None:
            super().__init__({"experiments/a/experiment.py": "import vendored\n"})
            self.files["third_party/x"] = f"submodule:{commit}"

    told = affected(WithSubmodule("1"), WithSubmodule("2"))

    assert [each.reasons for each in told] == [
        ("may import from the submodule third_party/x, which changed (vendored)",)
    ]


def test_many_changes_look_at_everything():
    files = {**TWO, **{f"many/m{n}.py": "" for n in range(40)}}
    change = {f"many/m{n}.py": "x" for n in range(40)}

    assert compared(files, {**change, "lib/grid.py": "x"}) == {
        "a": ("imports lib/grid.py, which changed (via experiments/a/tools.py)",)
    }


def test_looking_closer_only_where_words_are_loses_nothing():
    """Each single change affects the same experiments as when every source is resolved."""
    files = {
        **TWO,
        "experiments/c.py": HERA + "from lib import *\n",
        "experiments/d/experiment.py": "import pkg.sub\n",
        "experiments/d/pkg/__init__.py": "from .sub import deep\n",
        "experiments/d/pkg/sub/__init__.py": "",
        "experiments/d/pkg/sub/deep.py": "from lib.mesh import x\n",
        "experiments/e/experiment.py": "from experiments.d.pkg.sub import deep\n",
        "experiments/f/experiment.py": "from plugins import *\n",
        "plugins/__init__.py": "__all__ = [f.stem for f in HERE.glob('*.py')]\n",
        "plugins/one.py": "",
    }
    for path, text in files.items():
        after = {**files, path: text + "# more\n"}
        narrow = affected(Files(files), Files(after))
        link = {"link": "-> nowhere"}  # a link anywhere switches the short cut off
        wide = affected(Files({**files, **link}), Files({**after, **link}))
        assert narrow == wide, path
