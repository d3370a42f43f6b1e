"""A pull request changes settings, in every file that is read: what of it holds, and what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import Done, heraci
from tests.github.described import payload
from tests.repository import Repository

EXPERIMENT = """\
import os
from hera.workflows import Container, Workflow

with Workflow(generate_name="reads-", entrypoint="main") as w:
    seen = [f"{name}={os.environ.get(name)}" for name in ("FREE", "PASSED")]
    Container(name="main", image="alpine:3.20", args=seen)
"""
BASE = """\
pass-environ = ["PASSED"]
default-target = "lab"

[targets.lab]
namespace = "argo"
argo-server = "https://argo.example.org"
kubeconfig = "cluster/config"
"""
PULL = payload("pull_request")
# Whatever a process sees of where it is started, nothing of it is a setting's.
ENVIRON = {"FREE": "a-thing-of-the-job", "PASSED": "agreed-on"}

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what was compiled, as CI does from one pull request to the next."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(repository: Repository, tmp_path: Path, cache: Path) -> Run:
    """Run a command as a job does that checked out the merge commit of a pull request."""
    repository.commit(
        **{
            "heraci.toml": BASE,
            "experiments/reads.py": EXPERIMENT,
            "cluster/config": kubeconfig("true"),
            ".gitignore": "compiled/\n",
        }
    )

    def proposed(
        *command: str, environ: dict[str, str] | None = None, closed: bool = False, **files: str
    ) -> Done:
        repository.branch("topic")
        head = repository.commit(
            **{"experiments/reads.py": f"# changed\n{EXPERIMENT}", **files},
        )
        repository.checkout("main")
        merged = repository.merge("topic")
        told = json.loads(json.dumps(PULL))
        told["pull_request"]["head"]["sha"] = head
        if closed:
            told["action"] = told["pull_request"]["state"] = "closed"
            told["pull_request"]["base"]["ref"] = "main"
            repository.git("update-ref", "refs/remotes/origin/main", "HEAD~1")
        (tmp_path / "event.json").write_text(json.dumps(told))
        given = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_REPOSITORY": "octocat/hello-world",
            "GITHUB_SHA": merged,
            "HERACI_CHECK_IMAGES": "false",
        }
        if command[0] != "doctor":  # a test asks it where the cache is when nobody says so
            given["HERACI_CACHE_DIR"] = str(cache)
        return heraci(*command, cwd=repository.path, **given, **ENVIRON, **(environ or {}))

    return proposed


def kubeconfig(command: str, *arguments: str) -> str:
    """Write a kubeconfig whose credentials come from a program, which is whoever wrote it."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
    user = {"exec": {**plugin, "command": command, "args": list(arguments)}}
    # Nobody listens there.
    cluster = {"server": "https://127.0.0.1:9"}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
        }
    )


def settings(done: Done) -> dict[str, str]:
    return {each["name"]: each["value"] for each in done.json["settings"]}


def arguments(folder: Path) -> list[str]:
    made = yaml.safe_load((folder / "compiled" / "reads.yaml").read_text())
    found: list[str] = made["spec"]["templates"][0]["container"]["args"]
    return found


def said(done: Done) -> list[tuple[str, str]]:
    """Give severity and setting of what is said of settings that change."""
    index = [each for each in done.json["findings"] if each["rule"].endswith("-changed")]
    return sorted((each["severity"], each["message"].partition(" changes")[0]) for each in index)


STEERING = """\
output = "elsewhere"
base = "HEAD"
cache-dir = "cache"
on-mismatch = "go-on"
on-not-reviewed = "go-on"
check-images = false
insecure-skip-tls-verify = true
comment = false
prune = true
submit-unchanged = true
index-url = "https://packages.example.net/simple"
default-target = "other"

[targets.other]
namespace = "elsewhere"
argo-server = "https://evil.example.net"

[targets.lab]
namespace = "elsewhere"
argo-server = "https://evil.example.net"
ca-certificate = "evil.pem"
context = "evil"
service-account = "admin"
"""


@pytest.mark.parametrize(
    "files",
    [
        {"heraci.toml": STEERING},
        {
            "heraci.toml": "",
            "pyproject.toml": "[tool.heraci]\n"
            + STEERING.replace("[targets", "[tool.heraci.targets"),
        },
        {
            "hera.config": "argo_server = https://evil.example.net\nargo_namespace = elsewhere\n"
            "k8s_config_file = evil\nservice_account = admin\n"
        },
        {
            ".env": "HERACI_ARGO_SERVER=https://evil.example.net\nHERACI_NAMESPACE=elsewhere\n",
            "experiments/.env": "HERACI_ON_MISMATCH=go-on\n",
        },
    ],
    ids=["heraci.toml", "pyproject.toml", "hera.config", ".env"],
)
def test_no_file_of_a_pull_request_steers_what_holds_secrets(
    run: Run, repository: Repository, files: dict[str, str]
) -> None:
    found = settings(run("doctor", "--format", "json", **files))

    base = found.pop("kubeconfig")
    assert Path(base).name == "config"
    assert not Path(base).is_relative_to(repository.path)
    wanted = {
        "target": "lab",
        "namespace": "argo",
        "argo-server": "https://argo.example.org",
        "output": "compiled",
        "base": "not set",
        "on-mismatch": "stop",
        "on-not-reviewed": "warn",
        "insecure-skip-tls-verify": "false",
        "comment": "true",
        "prune": "false",
        "submit-unchanged": "false",
        "index-url": "not set",
        "ca-certificate": "not set",
        "context": "not set",
        "service-account": "not set",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert not found["cache-dir"].startswith(str(repository.path))


def test_a_pull_request_that_names_its_own_base_is_compared_with_the_real_one(run: Run) -> None:
    done = run("compile", "--format", "json", **{"heraci.toml": f'base = "HEAD"\n{BASE}'})
    assert done.statuses == {"reads": "unchanged"}
    assert said(done) == [("warning", "base")]


def test_a_variable_reaches_an_experiment_where_base_and_head_pass_it(
    run: Run, repository: Repository
) -> None:
    more = BASE.replace('["PASSED"]', '["PASSED", "FREE"]')

    done = run("compile", "--format", "json", **{"heraci.toml": more})

    assert arguments(repository.path) == ["FREE=None", "PASSED=agreed-on"]
    assert said(done) == [("warning", "pass-environ")]


def test_no_experiments_own_table_passes_more(run: Run, repository: Repository) -> None:
    table = '[experiments.reads]\npass-environ = ["FREE"]\nallow-network = true\n'

    done = run("compile", "--format", "json", **{"heraci.toml": f"{BASE}\n{table}"})

    assert arguments(repository.path) == ["FREE=None", "PASSED=None"]
    assert said(done) == [
        ("notice", "experiments.reads.allow-network"),
        ("warning", "experiments.reads.pass-environ"),
    ]


def test_what_a_pull_request_says_of_its_experiments_holds(
    run: Run, repository: Repository
) -> None:
    table = '[experiments.added]\npath = "study/run.py"\ncompile-timeout = 7\n'
    study = EXPERIMENT.replace("reads-", "added-")

    done = run(
        "compile", "--format", "json", **{"heraci.toml": f"{BASE}\n{table}", "study/run.py": study}
    )

    assert done.statuses == {"added": "added", "reads": "unchanged"}
    assert said(done) == [("notice", "experiments.added.compile-timeout")]


@pytest.mark.parametrize(
    "files",
    [
        {"cluster/config": "EVIL"},
        {"heraci.toml": BASE.replace("cluster/config", "evil"), "evil": "EVIL"},
        {"hera.config": "k8s_config_file = evil", "evil": "EVIL"},
        {"heraci.toml": "", "hera.config": "k8s_config_file = evil", "evil": "EVIL"},
    ],
    ids=["another content", "another file", "hera.config", "hera.config alone"],
)
@pytest.mark.parametrize("command", ["assert", "review", "submit"])
def test_no_program_of_a_pull_request_is_asked_for_credentials(
    run: Run, tmp_path: Path, command: str, files: dict[str, str]
) -> None:
    trace = tmp_path / "started"
    evil = kubeconfig("touch", str(trace))

    done = run(command, **{name: text.replace("EVIL", evil) for name, text in files.items()})

    assert done.code in (1, 3), done.stderr  # the base's cluster does not answer
    assert not trace.exists()


def test_a_kubeconfig_that_the_workflow_names_is_the_bases_too(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "started"

    done = run(
        "assert",
        environ={"HERACI_KUBECONFIG": "cluster/config"},
        **{"cluster/config": kubeconfig("touch", str(trace))},
    )

    assert done.code == 3, done.stderr
    assert not trace.exists()


def test_a_pull_request_may_put_right_what_the_base_has_wrong(
    run: Run, repository: Repository
) -> None:
    repository.commit(**{"heraci.toml": "no-such-key = 1\n"})

    done = run("compile", "--format", "json", **{"heraci.toml": BASE})

    rules = {each["rule"]: each["message"] for each in done.json["findings"]}
    assert done.code == 0
    assert "no-such-key is not a setting" in rules["base-settings"]
    assert arguments(repository.path) == ["FREE=None", "PASSED=None"]


def test_the_first_pull_request_brings_the_target(run: Run, repository: Repository) -> None:
    repository.commit(**{"heraci.toml": ""})

    done = run("compile", "--format", "json", **{"heraci.toml": BASE})

    assert (done.code, done.json["target"]) == (0, "lab")


def test_the_base_chooses_the_target_as_long_as_it_is_there(run: Run) -> None:
    done = run("compile", **{"heraci.toml": BASE.replace("lab", "other")})
    assert done.code == 2
    assert "keep its table until another target is the merged default" in done.stderr


def test_a_review_names_what_would_hold_once_merged(run: Run) -> None:
    changed: dict[str, Any] = {"heraci.toml": BASE.replace("argo.example", "evil.example")}

    done = run("compile", "--format", "json", **changed)

    [finding] = [each for each in done.json["findings"] if each["rule"] == "steering-changed"]
    assert finding["message"] == (
        "argo-server changes from https://argo.example.org to https://evil.example.org: it steers "
        "how credentials are used, or what is allowed, and holds once this is merged."
    )
    assert finding["file"] == "heraci.toml"


def test_what_was_closed_without_a_merge_steers_nothing(run: Run) -> None:
    found = settings(run("doctor", "--format", "json", closed=True, **{"heraci.toml": STEERING}))
    assert (found["target"], found["on-mismatch"]) == ("lab", "stop")
