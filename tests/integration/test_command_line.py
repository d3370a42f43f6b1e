"""The command itself: help, start-up, exit codes, `list`, `init`, `doctor`, completion."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from heraci import __main__ as command_line
from heraci import __version__, commands
from tests.command import contents, heraci, on_a_terminal, workflow
from tests.repository import Repository

PARSERS: dict[str, argparse.ArgumentParser] = next(
    action.choices
    for action in command_line.parser()._actions
    if isinstance(action, argparse._SubParsersAction)
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
SECRET = "s3cr3t-9f1c7e55d2"


def imported_by(*arguments: str) -> set[str]:
    """Give the modules that a run of the command loads."""
    code = (
        "import sys; from heraci.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stderr.split()}


# --- start-up ------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["compile", "--help"]], ids=str)
def test_starting_is_light(arguments: list[str]):
    heavy = {"hera", "kubernetes", "pydantic", "pydantic_settings", "yaml", "requests", "typing"}
    heavy |= {"asyncio", "json", "tempfile", "subprocess", "platformdirs", "configargparse"}
    # What site-packages' own .pth files load is not ours.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    there = {name.partition(".")[0] for name in bare.stdout.split()}
    assert (imported_by(*arguments) & heavy) - there == set()


def test_version(tmp_path: Path):
    done = heraci("--version", cwd=tmp_path)
    assert (done.code, done.stdout, done.stderr) == (0, f"heraci {__version__}\n", "")


@pytest.mark.parametrize("command", PARSERS)
def test_each_command_explains_itself_with_examples(tmp_path: Path, command: str):
    done = heraci(command, "--help", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    examples = done.stdout.partition("\nexamples:\n")[2].splitlines()
    assert [line for line in examples if f"heraci {command}" in line]
    assert [line for line in done.stdout.splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("command", PARSERS)
def test_examples_are_commands_that_can_be_parsed(command: str):
    text = PARSERS[command].epilog or ""
    for line in text.splitlines():
        example = re.split(r" {2,}| > |\)", line.strip().removeprefix('eval "$('))[0]
        words = shlex.split(example)
        if words[:1] == ["heraci"]:
            command_line.parser().parse_args(words[1:])


def test_each_setting_flag_is_a_setting():
    from heraci.settings import Settings

    known = {*Settings.model_fields} | commands.NOT_SETTINGS
    for parser in PARSERS.values():
        assert {each.dest for each in parser._actions} - known - {"help"} == set()


# --- exit codes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["kompile"], "invalid choice: 'kompile'"),
        (["compile", "--outputt", "x"], "unrecognized arguments: --outputt"),
        (["list", "--format", "xml"], "invalid choice: 'xml'"),
        (["compile", "--jobs", "many"], "jobs"),
        (["compile", "--compile-timeout", "soon"], "compile-timeout"),
        (["compile", "--target", "nowhere"], "nowhere"),
        (["compile", "--experiments-dir", "../elsewhere"], "lies outside"),
        (["compile", "absent"], "no experiment is called 'absent'"),
        (["init", "-x"], ""),
        (["init", "../x"], "is no good name"),
    ],
    ids=str,
)
def test_usage_ends_in_2(repository: Repository, arguments: list[str], told: str):
    repository.commit(**{"heraci.toml": "[targets.lab]\n"})
    done = heraci(*arguments, cwd=repository.path)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_cannot_be_right_end_in_2(repository: Repository):
    repository.write("heraci.toml", "compile-timeuot = 3\n")
    done = heraci("compile", cwd=repository.path, HERACI_JOSB="2")
    assert (done.code, done.stdout) == (2, "")
    assert "compile-timeout" in done.stderr
    assert "HERACI_JOBS" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--base", "nowhere"], ["--head", "nowhere"], ["--base", "main", "--head", "nowhere"]],
    ids=str,
)
def test_what_git_cannot_answer_ends_in_3(repository: Repository, arguments: list[str]):
    repository.commit(**{"experiments/one.py": workflow("one")})
    done = heraci("compile", *arguments, cwd=repository.path)
    assert (done.code, done.stdout, "nowhere" in done.stderr) == (3, "", True)
    assert "Traceback" not in done.stderr


def test_a_broken_repository_ends_in_3(repository: Repository):
    repository.commit(**{"experiments/one.py": workflow("one")})
    tree = repository.git("rev-parse", "HEAD^{tree}")
    (repository.path / ".git/objects" / tree[:2] / tree[2:]).unlink()
    done = heraci("compile", cwd=repository.path)
    assert (done.code, done.stdout, "Traceback" in done.stderr) == (3, "", False)


def test_findings_end_in_1_and_warnings_in_0(repository: Repository):
    repository.write("experiments/lib.py", "import hera\n")  # no folder: it may be a library
    done = heraci("compile", "--all", "--format", "json", cwd=repository.path)
    assert (done.code, done.findings) == (0, [("no-workflow", "warning", "lib")])
    repository.write("experiments/empty/experiment.py", "import hera\n")
    done = heraci("compile", "--all", "--format", "json", cwd=repository.path)
    assert done.code == 1
    assert done.findings[0] == ("no-workflow", "error", "empty")


def test_a_reader_that_leaves_is_no_bug(repository: Repository):
    for number in range(300):
        repository.write(f"experiments/e{number}/experiment.py", "import hera\n")
    command = f"{sys.executable} -m heraci list --all --no-compare | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=repository.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split()[:2], done.stderr) == (["changed", "e0"], "")


# --- list ----------------------------------------------------------------------------------------


@pytest.fixture
def listed(repository: Repository) -> Repository:
    """Give a branch that changes one experiment through a module, and adds another."""
    repository.commit(
        **{
            "experiments/a/experiment.py": workflow("a", head="import sys\nfrom lib import mesh"),
            "experiments/b/experiment.py": workflow("b"),
            "lib/__init__.py": "",
            "lib/mesh.py": "X = 1\n",
        }
    )
    repository.branch("work")
    repository.commit(**{"lib/mesh.py": "X = 2\n", "experiments/c/experiment.py": workflow("c")})
    return repository


def test_list_tells_reasons(listed: Repository):
    done = heraci("list", "--no-compare", cwd=listed.path)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == dedent("""\
        changed    a
                      imports lib/mesh.py, which changed
        added      c
                      experiments/c/experiment.py was added

        3 experiments: 1 added, 1 changed, 1 unaffected
        """)


def test_list_in_json(listed: Repository):
    done = heraci("list", "--no-compare", "--format", "json", cwd=listed.path)
    main = listed.git("rev-parse", "main")
    assert done.json == {
        "target": None,
        "commit": listed.head,
        "base": main,
        "merge_base": main,
        "experiments": [
            {
                "name": "a",
                "path": "experiments/a/experiment.py",
                "status": "changed",
                "reasons": ["imports lib/mesh.py, which changed"],
            },
            {"name": "b", "path": "experiments/b/experiment.py", "status": "unaffected"},
            {
                "name": "c",
                "path": "experiments/c/experiment.py",
                "status": "added",
                "reasons": ["experiments/c/experiment.py was added"],
            },
        ],
        "findings": [],
    }


def test_list_compares_manifests_where_it_may(listed: Repository):
    done = heraci("list", "--format", "json", cwd=listed.path)
    assert done.statuses == {"a": "unchanged", "b": "unaffected", "c": "added"}


def test_list_for_github(listed: Repository):
    listed.write("experiments/d/experiment.py", "1 / 0\n")
    done = heraci("list", "--format", "github", cwd=listed.path)
    commands = [line for line in done.stdout.splitlines() if line.startswith("::")]
    told = "ZeroDivisionError: division by zero [compile-failed]"
    place = "file=experiments/d/experiment.py,line=1"
    assert (done.code, commands) == (1, [f"::error title=heraci%3A d,{place}::{told}"])


# --- init ----------------------------------------------------------------------------------------


def test_init_writes_an_experiment_that_compiles(tmp_path: Path):
    done = heraci("init", cwd=tmp_path)
    assert done.code == 0
    assert done.stdout == dedent("""\
        wrote experiments/hello/experiment.py
        wrote heraci.toml

        Now run: heraci compile hello
        """)
    done = heraci("compile", "hello", cwd=tmp_path)
    assert done.code == 0
    written = (tmp_path / "compiled/hello.yaml").read_text()
    assert "generateName: hello-\n" in written
    assert "hello {{inputs.parameters.name}}" in written


def test_init_in_a_repository_without_commits(repository: Repository):
    assert heraci("init", "heat-equation", cwd=repository.path).code == 0
    for arguments in (["heat-equation"], ["--all"], []):
        done = heraci("compile", *arguments, "--format", "json", cwd=repository.path)
        assert (done.code, [*done.statuses]) == (0, ["heat-equation"])
    repository.commit("First")
    assert heraci("compile", cwd=repository.path).code == 0


def test_init_from_a_subfolder_writes_there_and_settings_at_the_root(repository: Repository):
    repository.write("sub/x", "")
    done = heraci("init", cwd=repository.path / "sub")
    assert (done.code, done.stdout.splitlines()[:2]) == (
        0,
        ["wrote experiments/hello/experiment.py", "wrote ../heraci.toml"],
    )
    assert heraci("compile", "--all", cwd=repository.path / "sub").code == 0
    assert (repository.path / "sub/compiled/hello.yaml").exists()


@pytest.mark.parametrize("name", ["heraci.toml", "pyproject.toml"])
def test_init_leaves_settings_that_exist(repository: Repository, name: str):
    text = "[targets.x]\n" if name == "heraci.toml" else "[tool.heraci]\njobs = 2\n"
    repository.write(name, text)
    assert heraci("init", cwd=repository.path).code == 0
    assert contents(repository.path / "experiments").keys() == {"hello/experiment.py"}
    assert (repository.path / name).read_text() == text
    assert {"heraci.toml", "pyproject.toml"} & {
        each.name for each in repository.path.iterdir()
    } == {name}
    assert heraci("compile", "--all", cwd=repository.path).code == 0


def test_init_overwrites_nothing(repository: Repository):
    repository.write("experiments/hello/experiment.py", "mine")
    done = heraci("init", cwd=repository.path)
    assert (done.code, done.stdout, "exists already" in done.stderr) == (2, "", True)
    assert contents(repository.path / "experiments") == {"hello/experiment.py": b"mine"}


# --- doctor --------------------------------------------------------------------------------------


def test_doctor_shows_settings_with_their_origin_and_no_secret(repository: Repository):
    repository.commit(
        **{
            "heraci.toml": 'default-target = "lab"\n[targets.lab]\nnamespace = "argo"\n',
            "experiments/one.py": workflow("one"),
        }
    )
    secrets = {"HERACI_ARGO_TOKEN": SECRET, "GITHUB_TOKEN": SECRET + "-2", "HERACI_JOBS": "3"}
    text = heraci("doctor", cwd=repository.path, **secrets)
    data = heraci("doctor", "--format", "json", cwd=repository.path, **secrets)
    assert (text.code, data.code) == (0, 0)
    assert SECRET not in text.stdout + text.stderr + data.stdout + data.stderr
    rows = {row["name"]: (row["value"], row["origin"]) for row in data.json["settings"]}
    assert rows["namespace"] == ("argo", "heraci.toml [targets.lab]")
    assert rows["jobs"] == ("3", "HERACI_JOBS")
    assert rows["argo-token"][1] == "HERACI_ARGO_TOKEN"
    assert [each["name"] for each in data.json["checks"] if not each["fine"]] == []
    for name, (value, _) in rows.items():
        value = "text" if name == "format" else value
        assert re.search(rf"^{name} +{re.escape(value)}", text.stdout, re.MULTILINE)


def test_doctor_says_what_does_not_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    done = heraci(
        *("doctor", "--format", "json", "--cache-dir", str(tmp_path / "file/cache")), cwd=tmp_path
    )
    broken = {each["name"]: each["told"] for each in done.json["checks"] if not each["fine"]}
    assert (done.code, sorted(broken)) == (2, ["cache", "experiments"])
    assert "set HERACI_CACHE_DIR" in broken["cache"]
    assert "`heraci init` makes it" in broken["experiments"]


# --- completion ----------------------------------------------------------------------------------


def test_completion_for_bash_completes(tmp_path: Path):
    done = heraci("completion", "bash", cwd=tmp_path)
    assert done.code == 0
    script = tmp_path / "complete.bash"
    script.write_text(done.stdout)
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")
    ask = (
        f". {script}; COMP_WORDS=(heraci comp); COMP_CWORD=1; _shtab_heraci heraci comp heraci;"
        'echo "${COMPREPLY[@]}"'
    )
    shown = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False)
    assert sorted(shown.stdout.split()) == ["compile", "completion"]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_completion_for_other_shells_is_a_script(tmp_path: Path, shell: str):
    done = heraci("completion", shell, cwd=tmp_path)
    assert (done.code, "compile" in done.stdout) == (0, True)


# --- terminals -----------------------------------------------------------------------------------


def test_what_is_no_terminal_gets_no_control_character(repository: Repository):
    repository.write(
        "experiments/one\x1b[31m/experiment.py", workflow("one", head="print('\x1b[1m')")
    )
    repository.write("experiments/bad\n::error::x/experiment.py", "print('\\x1b[1m\\x07'); 1 / 0")
    for arguments in (["--format", "text"], ["--format", "github"], ["--format", "json"]):
        done = heraci("compile", "--all", *arguments, cwd=repository.path)
        assert done.code == 1
        assert CONTROL.findall(done.stdout + done.stderr) == []
        lines = [line for line in done.stdout.splitlines() if line.lstrip().startswith("::")]
        assert [line for line in lines if not line.startswith("::error title=heraci")] == []


def test_a_terminal_gets_colours_and_progress(repository: Repository):
    repository.write("experiments/one.py", workflow("one"))
    code, shown = on_a_terminal("compile", "--all", cwd=repository.path)
    assert code == 0
    assert "\x1b[32mcompiled  \x1b[0m one" in shown
    assert "\r\x1b[Kcompiling 1/1 one" in shown


def test_colours_can_be_refused(repository: Repository):
    repository.write("experiments/one.py", workflow("one"))
    _, shown = on_a_terminal("compile", "--all", cwd=repository.path, NO_COLOR="1")
    assert "\x1b[32m" not in shown
    _, shown = on_a_terminal("compile", "--all", "--format", "json", cwd=repository.path)
    assert json.loads(shown)["experiments"][0]["name"] == "one"


# --- names that are not text ---------------------------------------------------------------------


def test_names_that_are_no_utf_8_are_no_bug(repository: Repository):
    folder = Path(os.fsdecode(os.fsencode(repository.path) + b"/experiments/caf\xe9"))
    folder.mkdir(parents=True)
    (folder / "experiment.py").write_text(workflow("latin"))
    repository.write("experiments/one.py", workflow("one"))
    done = heraci("compile", "--all", "--format", "json", cwd=repository.path)
    assert done.statuses == {"caf\\xe9": "compiled", "one": "compiled"}
    assert sorted(contents(repository.path / "compiled")) == [
        *("bundle.json", "caf\\xe9.yaml", "one.yaml")
    ]
    for _ in range(2):
        repository.commit()
        again = heraci("compile", "--all", "--format", "json", cwd=repository.path)
        assert again.digests == done.digests
