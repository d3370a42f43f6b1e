"""`heraci compile` in real Git repositories: what it compares, writes, keeps, compiles again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest

from heraci import bundle
from tests.command import contents, heraci, started, workflow
from tests.repository import Repository

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/bundle.schema.json").read_text())
READS = 'from pathlib import Path\nread = Path("{path}").read_text().strip()'


def manifest(name: str, *, image: str = "alpine:3.20", args: str = "") -> str:
    """Write what `workflow()` compiles to."""
    return dedent(f"""\
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata:
          generateName: {name}-
        spec:
          entrypoint: main
          templates:
          - container:
              args:{args or " []"}
              image: {image}
            name: main
        """)


def image_of(path: Path) -> str:
    (line,) = (each for each in path.read_text().splitlines() if "image:" in each)
    return line.split()[-1].strip("'")


def all_of(repository: Repository) -> dict[str, list[str]]:
    """Compile everything anew and give the digests."""
    output = str(repository.path.parent / "all")
    done = heraci(
        *("compile", "--all", "--no-cache", "--format", "json", "--output", output),
        cwd=repository.path,
    )
    return done.digests


# --- what is written -----------------------------------------------------------------------------


def test_everything_is_compiled_into_a_bundle(repository: Repository):
    repository.commit(
        **{
            "experiments/one/experiment.py": workflow("one"),
            "experiments/one/README.md": "",
            "experiments/été 2/experiment.py": workflow("two", args='["a"]'),
            "experiments/three.py": workflow("three"),
            "experiments/deep/four/experiment.py": workflow("four"),
            "heraci.toml": '[targets.lab]\nnamespace = "argo"\n',
        }
    )
    done = heraci("compile", "--all", "--target", "lab", cwd=repository.path)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == dedent("""\
        compiled   deep/four  compiled/deep/four.yaml  Workflow four-
        compiled   one        compiled/one.yaml  Workflow one-
        compiled   three      compiled/three.yaml  Workflow three-
        compiled   été 2      compiled/été 2.yaml  Workflow two-

        4 experiments: 4 compiled
        """)
    written = contents(repository.path / "compiled")
    index = json.loads(written.pop("bundle.json"))
    assert {name: text.decode() for name, text in written.items()} == {
        "deep/four.yaml": manifest("four"),
        "one.yaml": manifest("one"),
        "three.yaml": manifest("three"),
        "été 2.yaml": manifest("two", args="\n              - a"),
    }
    jsonschema.validate(index, SCHEMA)
    read = bundle.load(repository.path / "compiled")
    assert (read.target, read.commit, read.settings) == (
        "lab",
        repository.head,
        {"namespace": "argo"},
    )
    assert read.experiments[1].manifests[0].sources == {
        "": "experiments/one/experiment.py:4",
        "main": "experiments/one/experiment.py:5",
    }


def test_standard_output_gets_the_yaml_and_nothing_else(repository: Repository):
    repository.write("experiments/one/experiment.py", workflow("one", head='print("::error::x")'))
    repository.write("experiments/three.py", workflow("three"))
    repository.write("experiments/bad/experiment.py", "print('told')\n1 / 0\n")
    done = heraci("compile", "--all", "--output", "-", cwd=repository.path)
    assert (done.code, done.stdout) == (1, manifest("one") + "---\n" + manifest("three"))
    assert done.stderr == dedent("""\
        failed     bad
        compiled   one    Workflow one-
        compiled   three  Workflow three-

        error: experiments/bad/experiment.py:2: ZeroDivisionError: division by zero [compile-failed]
            | It printed last:
            |   told

        3 experiments: 2 compiled, 1 failed; 1 error
        """)
    assert [each.name for each in repository.path.iterdir()] == [".git", "experiments"]


def test_outside_git_everything_is_compiled(tmp_path: Path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/one.py").write_text(workflow("one"))
    done = heraci("compile", cwd=tmp_path)
    assert done.code == 0
    assert (tmp_path / "compiled/one.yaml").read_text() == manifest("one")
    done = heraci("compile", "--base", "main", cwd=tmp_path)
    assert (done.code, "--base and --head have no meaning here" in done.stderr) == (2, True)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile two experiments, once: the folder holds their repository, and heraci's cache."""
    place = tmp_path_factory.mktemp("compiled")
    repository = Repository.create(place / "repository")
    repository.write("experiments/one/experiment.py", workflow("one"))
    repository.write("experiments/deep/two/experiment.py", workflow("two"))
    cache = str(place / "cache")
    assert heraci("compile", "--all", cwd=repository.path, HERACI_CACHE_DIR=cache).code == 0
    return place


@pytest.fixture
def output(
    repository: Repository, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Give a folder that holds the bundle of two experiments, and files of a person's."""
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("HERACI_CACHE_DIR", str(tmp_path / "cache"))
    (repository.path / "compiled/mine.yaml").write_text("mine")
    (repository.path / "compiled/deep/mine.txt").write_text("mine")
    return repository.path / "compiled"


def test_files_of_experiments_that_are_gone_are_removed(repository: Repository, output: Path):
    shutil.rmtree(repository.path / "experiments/deep")
    assert heraci("compile", "--all", cwd=repository.path).code == 0
    assert sorted(contents(output)) == ["bundle.json", "deep/mine.txt", "mine.yaml", "one.yaml"]
    (output / "deep/mine.txt").unlink()
    (output / "deep").rmdir()
    repository.write("experiments/deep/two/experiment.py", workflow("two"))
    heraci("compile", "--all", cwd=repository.path)
    shutil.rmtree(repository.path / "experiments/deep")
    heraci("compile", "--all", cwd=repository.path)
    assert sorted(contents(output)) == ["bundle.json", "mine.yaml", "one.yaml"]
    assert not (output / "deep").exists()


def test_files_of_experiments_that_were_not_compiled_are_kept(repository: Repository, output: Path):
    before = contents(output)
    repository.write("experiments/one/experiment.py", workflow("one", image="alpine:3.21"))
    assert heraci("compile", "one", cwd=repository.path).code == 0
    after = contents(output)
    assert (after["one.yaml"].decode(), after["deep/two.yaml"]) == (
        manifest("one", image="alpine:3.21"),
        before["deep/two.yaml"],
    )
    read = bundle.load(output)
    assert ([each.name for each in read.experiments], read.known) == (["one"], ("deep/two.yaml",))
    # They are still heraci's own: gone when their experiment is.
    shutil.rmtree(repository.path / "experiments/deep")
    heraci("compile", "one", cwd=repository.path)
    assert sorted(contents(output)) == ["bundle.json", "deep/mine.txt", "mine.yaml", "one.yaml"]


def test_what_no_longer_compiles_leaves_no_file(repository: Repository, output: Path):
    repository.write("experiments/one/experiment.py", "raise ValueError('broken')\n")
    assert heraci("compile", "one", cwd=repository.path).code == 1
    left = ["bundle.json", "deep/mine.txt", "deep/two.yaml", "mine.yaml"]
    assert sorted(contents(output)) == left
    repository.write("experiments/one/experiment.py", workflow("one"))
    assert heraci("compile", "one", cwd=repository.path).code == 0
    assert sorted(contents(output)) == [*left, "one.yaml"]


def test_a_file_that_is_not_heracis_is_left_alone(repository: Repository, output: Path):
    index = json.loads((output / "bundle.json").read_text())
    (output.parent / "precious.yaml").write_text("precious")
    index["known"] = ["../precious.yaml", "/etc/hostname", "mine.txt", 5]
    (output / "bundle.json").write_text(json.dumps(index))
    (output / "mine.txt").write_text("mine")
    assert heraci("compile", "--all", cwd=repository.path).code == 0
    assert (output.parent / "precious.yaml").read_text() == "precious"
    assert {"mine.txt", "mine.yaml", "deep/mine.txt"} < set(contents(output))


def test_what_has_not_changed_is_not_written_again(repository: Repository, output: Path):
    def written() -> dict[str, tuple[int, int]]:
        found = {name: (output / name).stat() for name in contents(output)}
        return {name: (each.st_ino, each.st_mtime_ns) for name, each in found.items()}

    before = written()
    assert heraci("compile", "--all", cwd=repository.path).code == 0
    assert written() == before
    repository.write("experiments/one/experiment.py", workflow("one", image="alpine:3.21"))
    assert heraci("compile", "--all", cwd=repository.path).code == 0
    changed = {name for name, each in written().items() if each != before[name]}
    assert changed == {"one.yaml", "bundle.json"}


@pytest.mark.parametrize("name", ["one.yaml", "bundle.json"])
def test_a_link_is_replaced_and_what_it_leads_to_is_left(
    repository: Repository, output: Path, name: str
):
    (repository.path / "elsewhere").write_text("precious")
    (output / name).unlink()
    (output / name).symlink_to(repository.path / "elsewhere")
    assert heraci("compile", "--all", cwd=repository.path).code == 0
    assert (repository.path / "elsewhere").read_text() == "precious"
    assert not (output / name).is_symlink()
    bundle.load(output)


def test_a_linked_folder_is_refused(repository: Repository, output: Path):
    shutil.rmtree(output / "deep")
    (repository.path / "elsewhere").mkdir()
    (output / "deep").symlink_to(repository.path / "elsewhere")
    done = heraci("compile", "--all", cwd=repository.path)
    assert (done.code, "compiled/deep is a link: remove it" in done.stderr) == (2, True)
    assert contents(repository.path / "elsewhere") == {}


def test_an_output_that_cannot_be_written_is_said(repository: Repository):
    repository.write("experiments/one.py", workflow("one"))
    repository.write("file", "")
    done = heraci("compile", "--all", "--output", "file/x", cwd=repository.path)
    assert (done.code, done.stderr) == (2, "heraci: file/x cannot be written: Not a directory\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_writes_nothing(
    repository: Repository, output: Path, number: signal.Signals, code: int
):
    before = contents(output)
    repository.write("experiments/one/experiment.py", workflow("one", image="alpine:3.21"))
    repository.write("experiments/slow.py", workflow("slow", head="import time\ntime.sleep(600)"))
    process = started("compile", "--all", cwd=repository.path)
    cache = Path(os.environ["HERACI_CACHE_DIR"])
    workers = Path("/proc") / str(process.pid) / "task" / str(process.pid) / "children"
    deadline = time.monotonic() + 60
    while workers.exists() and not workers.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (code, "")
    assert stderr in ("heraci: interrupted\n", "heraci: ended from outside\n")
    assert contents(output) == before
    assert list(cache.rglob(".heraci-*")) == []


# --- base and head -------------------------------------------------------------------------------

BEFORE = {
    "experiments/broken/experiment.py": "import absent\n",
    "experiments/changed/experiment.py": workflow("changed"),
    "experiments/commented/experiment.py": workflow("commented"),
    "experiments/failing/experiment.py": workflow("failing"),
    "experiments/removed/experiment.py": workflow("removed"),
    "experiments/untouched/experiment.py": workflow("untouched"),
}


@pytest.fixture
def work(repository: Repository) -> Repository:
    """Give a branch where each experiment met another fate."""
    repository.commit(**BEFORE)
    repository.branch("work")
    repository.commit(
        **{
            "experiments/added/experiment.py": workflow("added"),
            "experiments/broken/experiment.py": workflow("broken"),
            "experiments/changed/experiment.py": workflow("changed", image="alpine:3.21"),
            "experiments/commented/experiment.py": workflow("commented", head="# why"),
            "experiments/failing/experiment.py": workflow("failing", head="1 / 0"),
        }
    )
    repository.delete("experiments/removed/experiment.py")
    repository.commit("Remove")
    return repository


def test_each_fate_has_its_own_word(work: Repository):
    done = heraci("compile", "--format", "json", cwd=work.path)
    assert done.code == 1
    assert done.statuses == {
        "added": "added",
        "broken": "changed",
        "changed": "changed",
        "commented": "unchanged",
        "failing": "failed",
        "removed": "removed",
    }
    assert done.findings == [("compile-failed", "error", "failing")]
    read = bundle.load(work.path / "compiled")
    jsonschema.validate(json.loads((work.path / "compiled/bundle.json").read_text()), SCHEMA)
    assert (read.commit, read.base, read.merge_base) == (
        work.head,
        work.git("rev-parse", "main"),
        work.git("rev-parse", "main"),
    )
    found = {each.name: each for each in read.experiments}
    assert {
        name: (len(each.base_manifests), len(each.manifests)) for name, each in found.items()
    } == {
        "added": (0, 1),
        "broken": (0, 1),
        "changed": (1, 1),
        "commented": (1, 1),
        "failing": (1, 0),
        "removed": (1, 0),
    }
    before, after = found["commented"].base_manifests[0], found["commented"].manifests[0]
    assert (before.digest, before.document) == (after.digest, after.document)
    assert "no module named absent" in (found["broken"].base_error or "")
    assert sorted(contents(work.path / "compiled")) == [
        *("added.yaml", "broken.yaml", "bundle.json", "changed.yaml", "commented.yaml"),
    ]


def test_without_comparing_the_base_is_not_compiled(work: Repository):
    done = heraci("compile", "--no-compare", "--format", "json", cwd=work.path)
    assert done.statuses == {
        "added": "added",
        "broken": "changed",
        "changed": "changed",
        "commented": "changed",
        "failing": "failed",
        "removed": "removed",
    }
    read = bundle.load(work.path / "compiled")
    assert [each.name for each in read.experiments if each.base_manifests or each.base_error] == []


def test_listing_compiles_where_it_compares_and_writes_nothing(work: Repository):
    done = heraci("list", "--format", "json", cwd=work.path)
    assert done.statuses == {
        "added": "added",
        "broken": "changed",
        "changed": "changed",
        "commented": "unchanged",
        "failing": "failed",
        "removed": "removed",
        "untouched": "unaffected",
    }
    assert not (work.path / "compiled").exists()


def test_a_head_that_is_not_checked_out_is_read_from_git(work: Repository):
    work.checkout("main")
    shutil.rmtree(work.path / "experiments")
    done = heraci("compile", "--base", "main", "--head", "work", "--format", "json", cwd=work.path)
    assert done.statuses["changed"] == "changed"
    assert image_of(work.path / "compiled/changed.yaml") == "alpine:3.21"


def test_files_of_the_base_come_from_git_alone(repository: Repository):
    """Base's files are read although the work tree has lost, renamed or changed them."""
    module = 'from lib.images import IMAGE\nfrom pathlib import Path\nn = Path("n.txt").read_text()'
    code = workflow("one", head=module, args="[n, IMAGE]")
    repository.commit(
        **{
            "experiments/one/experiment.py": code,
            "experiments/one/n.txt": "1",
            "lib/images.py": "from lib.version import VERSION\nIMAGE = f'i:{VERSION}'\n",
            "lib/version.py": "VERSION = 1\n",
        }
    )
    repository.delete("lib/version.py")
    repository.delete("experiments/one/n.txt")
    repository.write("lib/images.py", "IMAGE = 'i:2'\n")
    repository.write(
        "experiments/one/experiment.py", workflow("one", head=module.partition("\nn =")[0])
    )
    done = heraci("compile", "--format", "json", cwd=repository.path)
    assert done.statuses == {"one": "changed"}
    [experiment] = bundle.load(repository.path / "compiled").experiments
    assert experiment.base_error is None
    [template] = experiment.base_manifests[0].document["spec"]["templates"]
    assert template["container"]["args"] == ["1", "i:1"]


NUMBER = """
from heraci import Experiment, Inputs
from hera.workflows import Container, Workflow

class Numbers(Inputs):
    number: int = 0

class One(Experiment):
    inputs: Numbers

    def workflow(self) -> Workflow:
        with Workflow(generate_name="one-", entrypoint="main") as w:
            Container(name="main", image="i", args=[str(self.inputs.number)])
        return w
"""


@pytest.mark.parametrize("checked_out", ["head", "another"])
@pytest.mark.parametrize("name", ["heraci.toml", "pyproject.toml"])
def test_each_end_is_compiled_with_its_own_settings(
    repository: Repository, name: str, checked_out: str
):
    table = "experiments" if name == "heraci.toml" else "tool.heraci.experiments"
    toml = f"[{table}.one.inputs]\nnumber = {{}}\n"
    repository.commit(**{"experiments/one/experiment.py": NUMBER, name: toml.format(1)})
    other = {"experiments/other/experiment.py": workflow("other")}
    head = repository.commit(**other, **{name: toml.format(2)})
    arguments = ["--base", "HEAD~1"]
    if checked_out == "another":
        repository.commit(**{name: toml.format(3)})
        arguments = ["--base", f"{head}~1", "--head", head]
    done = heraci("compile", *arguments, "--format", "json", cwd=repository.path)
    assert done.statuses == {"one": "changed", "other": "added"}
    one, _ = bundle.load(repository.path / "compiled").experiments
    args = [
        manifest.document["spec"]["templates"][0]["container"]["args"]
        for manifest in (*one.base_manifests, *one.manifests)
    ]
    assert args == [["1"], ["2"]]


def test_arguments_of_hera_config_hold_at_both_ends(repository: Repository):
    parser = (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--pvc', required=True)"
    )
    repository.commit(
        **{
            "experiments/one.py": workflow(
                "one", head=f"{parser}\na = p.parse_args()", args="[a.pvc]"
            ),
            "hera.config": "pvc = data\n",
            "heraci.toml": "compile-timeout = 50\n",
        }
    )
    repository.write("heraci.toml", "compile-timeout = 55\n")
    repository.write(
        "experiments/one.py",
        workflow("one", head=f"# why\n{parser}\na = p.parse_args()", args="[a.pvc]"),
    )
    done = heraci("compile", "--format", "json", cwd=repository.path)
    assert (done.statuses, done.findings) == ({"one": "unchanged"}, [])


def test_what_an_experiment_imports_of_another_one_is_the_others_at_both_ends(
    repository: Repository,
):
    importing = workflow("two", head="import sys\nfrom one import w as of_one")
    repository.commit(**{"experiments/one.py": workflow("one"), "experiments/two.py": importing})
    repository.write("experiments/two.py", "# why\n" + importing)
    done = heraci("compile", "--format", "json", cwd=repository.path)
    assert done.statuses == {"two": "unchanged"}
    assert len(done.digests["two"]) == 1


def test_a_renamed_experiment_is_compared_with_what_it_was(repository: Repository):
    repository.commit(
        **{"experiments/old/experiment.py": workflow("same") + "# long enough\n" * 20}
    )
    repository.rename("experiments/old", "experiments/new")
    done = heraci("compile", "--format", "json", cwd=repository.path)
    assert done.statuses == {"new": "unchanged"}


# --- which experiments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "within", "chosen"),
    [
        (["one"], ".", ["one"]),
        (["one", "three"], ".", ["one", "three"]),
        (["deep/two"], ".", ["deep/two"]),
        (["experiments/one"], ".", ["one"]),
        (["experiments/one/"], ".", ["one"]),
        (["experiments/one/experiment.py"], ".", ["one"]),
        (["experiments/one/data"], ".", ["one"]),
        (["experiments/deep"], ".", ["deep/two"]),
        (["experiments"], ".", ["deep/two", "one", "three"]),
        (["."], ".", ["deep/two", "one", "three"]),
        (["experiments/three.py"], ".", ["three"]),
        (["--all"], ".", ["deep/two", "one", "three"]),
    ],
    ids=str,
)
def test_names_and_paths_choose(
    repository: Repository, named: list[str], within: str, chosen: list[str]
):
    repository.commit(
        **{
            "experiments/one/experiment.py": workflow("one"),
            "experiments/one/data/x.csv": "",
            "experiments/deep/two/experiment.py": workflow("two"),
            "experiments/three.py": workflow("three"),
        }
    )
    done = heraci("list", *named, "--format", "json", cwd=repository.path / within)
    assert [name for name, status in done.statuses.items() if status != "unaffected"] == chosen


def test_a_name_that_does_not_exist_is_not_guessed(repository: Repository):
    repository.commit(**{"experiments/solve/experiment.py": workflow("solve")})
    done = heraci("compile", "slove", cwd=repository.path)
    assert (done.code, done.stdout, done.stderr) == (
        2,
        "",
        "heraci: no experiment is called 'slove'. Did you mean 'solve'?\n",
    )


def test_nothing_changed(repository: Repository):
    repository.commit(**{"experiments/one.py": workflow("one")})
    done = heraci("compile", cwd=repository.path)
    assert (done.code, done.stdout) == (0, "No experiment is affected.\n")


# --- the same bytes ------------------------------------------------------------------------------

RANDOM = """\
import random, uuid
from hera.workflows import Container, Volume, Workflow
with Workflow(generate_name="random-", entrypoint="main") as w:
    Container(
        name="main",
        image="i",
        args=[str(random.random()), str(uuid.uuid4()), str({"a", "b", "c", "d"})],
        volumes=[Volume(size="1Gi", mount_path="/data")],
    )
"""


def many(folder: Path, order: int) -> None:
    """Write the same files, the last first or the first first."""
    files = {f"experiments/e{n}/experiment.py": workflow(f"e{n}") for n in range(6)}
    files |= {"experiments/random/experiment.py": RANDOM, "experiments/bad.py": "import hera\n1/0"}
    for name in sorted(files, reverse=bool(order)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(files[name])


@pytest.mark.parametrize("marker", [".git", "pyproject.toml"])
def test_a_script_that_looks_for_the_root_finds_it(repository: Repository, marker: str):
    looking = f"""\
        import os
        root = os.path.dirname(os.path.abspath(__file__))
        while not os.path.exists(os.path.join(root, {marker!r})):
            root = os.path.dirname(root)
        image = open(os.path.join(root, "image.txt")).read()
    """
    repository.write("pyproject.toml", "[project]\nname = 'lab'\nversion = '1'\n")
    repository.write("image.txt", "python:3.12")
    script = workflow("climber", head=dedent(looking), args="[image]")
    repository.write("experiments/climber/experiment.py", script)
    done = heraci(
        *("compile", "--all", "--compile-timeout", "20", "--format", "json"), cwd=repository.path
    )
    assert (done.code, done.findings) == (0, [])
    assert "- python:3.12\n" in (repository.path / "compiled/climber.yaml").read_text()


def test_folder_order_and_number_of_workers_change_no_byte(tmp_path: Path):
    found = []
    for number, jobs in enumerate(["1", "4"]):
        folder = tmp_path / ("a" * 20 * number + "x") / "y"
        folder.mkdir(parents=True)
        many(folder, number)
        done = heraci("compile", "--jobs", jobs, "--no-cache", cwd=folder)
        found.append((done.code, done.stdout, contents(folder / "compiled")))
    assert found[0] == found[1]
    assert found[0][0] == 1
    assert len(found[0][2]) == 8


def test_what_differs_from_time_to_time_is_found(repository: Repository):
    repository.write("experiments/good/experiment.py", RANDOM)
    repository.write(
        "experiments/ever-new/experiment.py",
        workflow("ever-new", head="import os", args="['a', str(os.getpid())]"),
    )
    done = heraci(
        "compile", "--all", "--check-determinism", "--format", "json", cwd=repository.path
    )
    assert (done.code, done.findings) == (1, [("not-deterministic", "error", "ever-new")])
    assert "spec.templates[0].container.args[1]" in done.json["findings"][0]["message"]


def test_randomness_that_is_not_pinned_is_found(repository: Repository):
    repository.write("experiments/random/experiment.py", RANDOM)
    done = heraci(
        *("compile", "--all", "--check-determinism", "--no-pin-randomness", "--format", "json"),
        cwd=repository.path,
    )
    assert done.findings == [("not-deterministic", "error", "random")]


# --- the cache -----------------------------------------------------------------------------------


def test_what_was_compiled_is_not_compiled_again(repository: Repository):
    """That an experiment ran is seen by what it alone can know: its process."""
    ever_new = workflow("ever-new", head="import os", args="[str(os.getpid())]")
    repository.commit(**{"experiments/ever-new/experiment.py": ever_new})

    def digest(*arguments: str, **environ: str) -> str:
        done = heraci(
            "compile", "--all", "--format", "json", *arguments, cwd=repository.path, **environ
        )
        return done.digests["ever-new"][0]

    first = digest()
    assert digest() == first
    assert digest("--no-cache") != first
    assert digest() == first
    repository.write("elsewhere.txt", "x")
    repository.write("experiments/other/experiment.py", workflow("other"))
    assert digest() == first
    second = digest(HERACI_NAMESPACE="x")
    assert second != first
    repository.write("experiments/ever-new/experiment.py", ever_new + "# why\n")
    third = digest()
    assert third not in {first, second}
    repository.write("experiments/ever-new/experiment.py", ever_new)
    assert digest() == first


def test_what_a_pull_request_compiled_is_read_by_pull_requests_only(repository: Repository):
    ever_new = workflow("ever-new", head="import os", args="[str(os.getpid())]")
    repository.commit(**{"experiments/ever-new/experiment.py": ever_new})

    def digest(event: str) -> str:
        done = heraci(
            *("compile", "--all", "--format", "json"),
            cwd=repository.path,
            GITHUB_EVENT_NAME=event,
        )
        return done.digests["ever-new"][0]

    pull_request = digest("pull_request")
    assert digest("pull_request_target") == pull_request
    pushed = digest("push")
    assert pushed != pull_request
    assert digest("workflow_dispatch") == pushed
    assert digest("pull_request") == pull_request


def test_a_cache_that_cannot_be_used_is_an_empty_one(repository: Repository):
    repository.write("experiments/one.py", workflow("one"))
    cache = repository.path.parent / "cache"
    arguments = ("compile", "--all", "--cache-dir", str(cache))
    assert heraci(*arguments, cwd=repository.path).code == 0
    for path in cache.glob("*.sqlite*"):
        path.write_bytes(b"this is no database")
    assert heraci(*arguments, cwd=repository.path).code == 0
    cache.joinpath("compiled-trusted.sqlite").unlink()
    with sqlite3.connect(cache / "compiled-trusted.sqlite") as connection:
        connection.execute("CREATE TABLE outcome (something TEXT)")
    assert heraci(*arguments, cwd=repository.path).code == 0
    assert (repository.path / "compiled/one.yaml").read_text() == manifest("one")


BY_NAME = """\
import importlib, sys
sys.path.append("../../{place}")
try:
    read = importlib.import_module("lib." + "values").VALUE
except ImportError:
    read = "none"
"""
TRIED = """\
try:
    read = open("../../{place}/data/x.csv").read()
except OSError:
    read = "none"
"""
FROM_HERE = """\
from pathlib import Path
read = (Path(__file__).parents[2] / "{place}/data/x.csv").read_text()
"""
CHILD = """\
import subprocess
read = subprocess.run(["cat", "data/x.csv"], capture_output=True, text=True).stdout
"""
RUN = "import runpy\nread = runpy.run_path('../../{place}/lib/values.py')['VALUE']"
EXISTS = "import os\nread = str(os.path.exists('../../{place}/data/x.csv'))"
LISTED = "import os\nread = ','.join(os.listdir('../../{place}/data'))"
LISTED_ROOT = "import os\nread = ','.join(os.listdir('../..'))"
WALKED = "import os\nread = str([each for each in os.walk('../../{place}/data')])"
GLOBBED = (
    "from pathlib import Path\nread = str(sorted(Path('../..').glob('{place}/data/**/*.csv')))"
)
GLOBBED_ROOT = "from pathlib import Path\nread = str(sorted(Path('../..').glob('*/*.csv')))"
IS_FOLDER = "import os\nread = str(os.path.isdir('../../{place}/later'))"
ANOTHER = READS.format(path="../../{place}/data/x.csv")
OWN = READS.format(path="data/x.csv")
# What an experiment does, a path, and what stands there before and after; None is nothing. Each has
# a folder of its own, `{place}`, beside the experiments, and `{own}` is that of its experiment.
TOUCHING: dict[str, tuple[str, str, str | None, str | None]] = {
    "a-file-of-its-folder": (OWN, "{own}/data/x.csv", "a", "b"),
    "a-file-of-another-folder": (ANOTHER, "{place}/data/x.csv", "a", "b"),
    "a-file-found-from-its-own-place": (FROM_HERE, "{place}/data/x.csv", "a", "b"),
    "a-file-that-was-not-there": (EXISTS, "{place}/data/x.csv", None, "b"),
    "a-file-that-was-tried-for": (TRIED, "{place}/data/x.csv", None, "b"),
    "a-file-that-went-away": (EXISTS, "{place}/data/x.csv", "a", None),
    "a-folder-that-was-listed": (LISTED, "{place}/data/y.csv", None, ""),
    "a-folder-that-was-walked": (WALKED, "{place}/data/deep/y.csv", None, ""),
    "a-folder-that-was-globbed": (GLOBBED, "{place}/data/deep/y.csv", None, ""),
    "a-folder-that-was-not-there": (IS_FOLDER, "{place}/later/y.csv", None, ""),
    "a-module-by-its-name": (BY_NAME, "{place}/lib/values.py", "VALUE = 'a'\n", "VALUE = 'b'\n"),
    "a-module-that-was-not-there": (BY_NAME, "{place}/lib/values.py", None, "VALUE = 'b'\n"),
    "a-module-that-runs-another-file": (
        *(RUN, "{place}/lib/values.py"),
        *("VALUE = 'a'\n", "VALUE = 'b'\n"),
    ),
    "what-a-child-process-read": (CHILD, "{own}/data/x.csv", "a", "b"),
}
# These see whatever comes or goes beside the experiments: each gets a repository to itself.
TOUCHING_ROOT: dict[str, tuple[str, str, str | None, str | None]] = {
    "the-root": (LISTED_ROOT, "y.csv", None, ""),
    "the-root-by-a-pattern": (GLOBBED_ROOT, "later/y.csv", None, ""),
}


@pytest.mark.parametrize(
    "names", [[*TOUCHING], *([each] for each in TOUCHING_ROOT)], ids=["its own", *TOUCHING_ROOT]
)
def test_what_an_experiment_touched_is_compared_again(repository: Repository, names: list[str]):
    """The second run compiles anew, from the cache or not, and the affected ones include it."""
    later: dict[str, str | None] = {}
    for name in names:
        head, path, before, after = (TOUCHING | TOUCHING_ROOT)[name]
        place, own = f"of-{name}", f"experiments/{name}"
        head, path = (text.replace("{place}", place).replace("{own}", own) for text in (head, path))
        repository.write(f"{own}/experiment.py", workflow(name, head=head, args="[read]"))
        repository.write(f"{place}/data/deep/other.txt", "")
        repository.write(f"{place}/lib/__init__.py", "")
        if before is not None:
            repository.write(path, before)
        later[path] = after
    # One that touches nothing, and is not compiled again: only its process can know.
    alone = workflow("alone", head="import os", args="[str(os.getpid())]")
    repository.write("experiments/alone/experiment.py", alone)
    repository.commit(**{".gitignore": "compiled/\n"})
    command = ("compile", "--all", "--format", "json")
    first = heraci(*command, cwd=repository.path)
    assert first.findings == []
    assert heraci(*command, cwd=repository.path).digests == first.digests
    for path, text in later.items():
        if text is None:
            repository.delete(path)
        else:
            repository.write(path, text)
    second = heraci(*command, cwd=repository.path)
    anew = all_of(repository)
    assert [name for name in names if second.digests[name] != anew[name]] == []
    as_before = [name for name in second.digests if second.digests[name] == first.digests[name]]
    assert as_before == ["alone"]
    affected = heraci("compile", "--format", "json", cwd=repository.path)
    assert affected.statuses == dict.fromkeys(sorted(names), "changed")


def test_what_is_read_is_named_as_a_source(repository: Repository):
    repository.commit(
        **{
            "experiments/one/experiment.py": workflow(
                "one", head=READS.format(path="../../data/x.csv") + "\nimport lib.a", args="[read]"
            ),
            "experiments/one/notes.txt": "",
            "lib/a.py": "",
            "lib/b.py": "",
            "data/x.csv": "1",
            "data/y.csv": "",
        }
    )
    heraci("compile", "--all", cwd=repository.path)
    [experiment] = bundle.load(repository.path / "compiled").experiments
    assert experiment.source_files == ("data/x.csv", "experiments/one/experiment.py", "lib/a.py")


# --- an experiment's own Python ------------------------------------------------------------------

VERSIONS = """
from importlib.metadata import version
import sys
told = [version("hera"), version("tomli")]
"""


def test_contradicting_dependencies_compile_side_by_side(repository: Repository):
    """Also the pins of the base: they are its own, and the same environments serve again."""

    def block(hera: str, tomli: str) -> str:
        lines = ["# /// script", f'# dependencies = ["hera=={hera}", "tomli=={tomli}"]', "# ///"]
        return "\n".join(lines) + VERSIONS

    def experiment(name: str, head: str) -> str:
        return workflow(name, head=head, args="told")

    repository.commit(
        **{
            "experiments/old/experiment.py": experiment("old", VERSIONS),
            "experiments/old/requirements.txt": "hera==5.26.0\ntomli==2.0.1\n",
            "experiments/new/experiment.py": experiment("new", block("6.0.0", "2.0.2")),
            "experiments/own/experiment.py": workflow("own"),
        }
    )
    repository.write("experiments/old/requirements.txt", "hera==5.26.0\ntomli==2.0.2\n")
    repository.write("experiments/new/experiment.py", experiment("new", block("7.0.0", "2.0.2")))
    repository.write("experiments/own/experiment.py", workflow("own", image="i"))
    command = ("compile", "--format", "json")
    done = heraci(*command, cwd=repository.path)
    assert (done.code, done.findings) == (0, [])
    assert done.statuses == {"new": "changed", "old": "changed", "own": "changed"}
    found = {each.name: each for each in bundle.load(repository.path / "compiled").experiments}
    told = {
        name: [
            manifest.document["spec"]["templates"][0]["container"]["args"]
            for manifest in (*each.base_manifests, *each.manifests)
        ]
        for name, each in found.items()
    }
    assert told == {
        "old": [["5.26.0", "2.0.1"], ["5.26.0", "2.0.2"]],
        "new": [["6.0.0", "2.0.2"], ["7.0.0", "2.0.2"]],
        "own": [[], []],
    }
    assert found["old"].hera == "5.26.0"
    assert {"hera==5.26.0", "tomli==2.0.2"} < set(found["old"].pins)
    assert found["own"].pins == ()
    again = heraci(*command, "--no-cache", "--offline", cwd=repository.path)
    assert again.digests == done.digests


def test_packages_that_cannot_be_had_are_one_finding(repository: Repository):
    repository.write("experiments/bad/experiment.py", workflow("bad"))
    repository.write("experiments/bad/requirements.txt", "tomli==0.0.0.1\n")
    repository.write("experiments/worse/experiment.py", workflow("worse"))
    repository.write("experiments/worse/requirements.txt", "-r ../absent.txt\n")
    repository.write("experiments/good/experiment.py", workflow("good"))
    done = heraci("compile", "--all", "--offline", "--format", "json", cwd=repository.path)
    assert done.statuses == {"bad": "failed", "good": "compiled", "worse": "failed"}
    assert done.findings == [("dependencies", "error", "bad"), ("dependencies", "error", "worse")]
