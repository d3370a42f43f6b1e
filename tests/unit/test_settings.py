"""Settings: each source, their order, what one experiment gets, and each mistake's sentence."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from heraci.errors import SettingsError
from heraci.settings import Kubeconfig, Settings
from heraci.settings.experiments import ExperimentTable
from heraci.settings.reference import reference

ROOT = Path(__file__).resolve().parents[2]

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {server: "https://lab.example.org"}
users:
- name: ci
  user:
    token: the-token-of-ci
    client-key-data: dGhlIHByaXZhdGUga2V5
- name: plugin
  user:
    exec:
      command: aws
      env:
      - {name: AWS_SECRET_ACCESS_KEY, value: the-key-of-aws}
      - {name: AWS_REGION, value: eu-west-3}
- name: old
  user: {username: admin, password: the-password-of-admin}
"""


def load(
    directory: Path,
    toml: str | None = None,
    flags: dict[str, Any] | None = None,
    **environ: str,
) -> Settings:
    """Load settings with exactly this environ, from a folder with exactly this heraci.toml."""
    if toml is not None:
        (directory / "heraci.toml").write_text(toml)
    return Settings.load(flags or {}, environ=environ, directory=directory)


def refusal(
    directory: Path, toml: str | None = None, flags: dict[str, Any] | None = None, **environ: str
) -> str:
    """Load what cannot be loaded, and give the message."""
    with pytest.raises(SettingsError) as caught:
        load(directory, toml, flags, **environ)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- each source, and which one wins


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.model_dump(exclude={"jobs", "cache_dir"}) == {
        "allow_network": False,
        "argo_server": None,
        "argo_token": None,
        "argo_token_file": None,
        "argo_ui": None,
        "arguments": {},
        "attempt": 1,
        "base": None,
        "bundle": None,
        "ca_certificate": None,
        "check_determinism": False,
        "check_images": True,
        "check_secret_keys": False,
        "comment": True,
        "commit": None,
        "compare": True,
        "compile_memory": 4 * 1024**3,
        "compile_open_files": 256,
        "compile_output": 16 * 1024**2,
        "compile_processes": 64,
        "compile_timeout": 60.0,
        "context": None,
        "dependencies_from": (),
        "dry_run": False,
        "environment": {},
        "experiments": {},
        "experiments_dir": Path("experiments"),
        "explain": False,
        "format": "text",
        "github_token": None,
        "head": None,
        "index_url": None,
        "insecure_skip_tls_verify": False,
        "kubeconfig": None,
        "max_concurrency": 8,
        "namespace": None,
        "no_cache": False,
        "offline": False,
        "on_mismatch": "stop",
        "on_not_reviewed": "warn",
        "output": Path("compiled"),
        "pass_environ": (),
        "pin_randomness": True,
        "prune": False,
        "python": None,
        "service_account": None,
        "since_last": False,
        "submit_through": "auto",
        "submit_unchanged": False,
        "target": None,
        "target_experiments": {},
        "template_only": False,
        "wait": False,
        "wait_timeout": None,
    }
    assert settings.jobs >= 1
    assert set(settings.origins.values()) == {"default"}
    assert set(settings.origins) == set(Settings.model_fields)


def test_the_cache_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/of/me")
    folder = Settings.load(environ={}).cache_dir
    assert folder.name == "heraci"
    if sys.platform == "linux":
        assert folder == Path("/var/cache/of/me/heraci")


EVERY_SOURCE = [
    ("flag", "--namespace"),
    ("HERACI_NAMESPACE", "HERACI_NAMESPACE"),
    ("target", "heraci.toml [targets.lab]"),
    ("ARGO_NAMESPACE", "ARGO_NAMESPACE"),
    ("general", "heraci.toml"),
    ("here", "hera.config (./hera.config)"),
    ("named", "hera.config (others/hera.config)"),
    ("home", "hera.config (~/hera.config)"),
    ("", "default"),
]


@pytest.mark.parametrize("first", range(len(EVERY_SOURCE)))
def test_the_order_of_sources(tmp_path: Path, first: int) -> None:
    """Take the sources away one after the other, the strongest first; the next one wins each time.

    The names of the values are the names of the sources, but for case and underscores.
    """
    left = {name for name, _ in EVERY_SOURCE[first:]}
    home, others = tmp_path / "home", tmp_path / "others"
    home.mkdir()
    others.mkdir()
    for name, folder in (("here", tmp_path), ("named", others), ("home", home)):
        text = f"argo_namespace = {name}\n" if name in left else "unrelated = 1\n"
        (folder / "hera.config").write_text(text)
    general = 'namespace = "general"\n' if "general" in left else ""
    chosen = 'namespace = "target"\n' if "target" in left else ""
    environ = {
        name: name.lower().replace("_", "-")
        for name in ("HERACI_NAMESPACE", "ARGO_NAMESPACE")
        if name in left
    }
    settings = load(
        tmp_path,
        f'{general}default-target = "lab"\n[targets.lab]\n{chosen}',
        {"namespace": "flag" if "flag" in left else None},
        HOME=str(home),
        ARGOCONFIG="others/hera.config",
        **environ,
    )
    name, origin = EVERY_SOURCE[first]
    assert (settings.namespace or "") == name.lower().replace("_", "-")
    assert settings.origins["namespace"] == origin


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("experiments_dir", "simulations", Path("simulations")),
        ("output", "-", Path("-")),
        ("bundle", "out", Path("out")),
        ("jobs", "3", 3),
        ("no_cache", "true", True),
        ("no_cache", "0", False),
        ("compile_timeout", "2.5", 2.5),
        ("compile_memory", "512MiB", 512 * 1024**2),
        ("compile_memory", "2Gi", 2 * 1024**3),
        ("compile_memory", "1G", 10**9),
        ("compile_memory", "4096", 4096),
        ("pass_environ", "REGION, SEED\nSIZE", ("REGION", "SEED", "SIZE")),
        ("dependencies_from", "a b.txt\n\n pyproject.toml ", ("a b.txt", "pyproject.toml")),
        ("arguments", "seed=3\nname = a = b", {"seed": "3", "name": " a = b"}),
        ("format", "json", "json"),
        ("on_mismatch", "go-on", "go-on"),
        ("submit_through", "argo-server", "argo-server"),
        ("service_account", "argo-user", "argo-user"),
        ("target", "anything", "anything"),
        ("compare", "off", False),
    ],
)
def test_a_variable_gives_a_setting(tmp_path: Path, field: str, text: str, value: object) -> None:
    variable = f"HERACI_{field.upper()}"
    settings = load(tmp_path, None, None, **{variable: f" {text}\n"})
    assert getattr(settings, field) == value
    assert settings.origins[field] == variable


def test_an_empty_variable_is_an_absent_one(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        'namespace = "argo"',
        HERACI_NAMESPACE="",
        HERACI_JOBS="  ",
        ARGO_NAMESPACE="",
        ARGO_TOKEN="",
        HERACI_NO_SUCH="",
    )
    assert (settings.namespace, settings.argo_token) == ("argo", None)
    assert settings.origins["jobs"] == "default"


def test_flags_that_were_not_given_are_absent(tmp_path: Path) -> None:
    settings = load(
        tmp_path, flags={"wait": None, "base": "", "pass_environ": [], "jobs": 2, "compare": False}
    )
    given = {name: origin for name, origin in settings.origins.items() if origin != "default"}
    assert given == {"jobs": "--jobs", "compare": "--no-compare"}
    assert (settings.jobs, settings.compare) == (2, False)


def test_a_flag_that_is_no_setting_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no setting is called colour"):
        Settings.load({"colour": "red"}, environ={})


def test_environ_and_folder_are_those_of_the_process_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heraci.toml").write_text("jobs = 7")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERACI_WAIT", "yes")
    settings = Settings.load()
    assert (settings.jobs, settings.wait) == (7, True)


def test_github_actions_gets_annotations_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    settings = load(tmp_path, GITHUB_ACTIONS="true")
    assert (settings.format, settings.origins["format"]) == ("github", "default in GitHub Actions")
    assert load(tmp_path, GITHUB_ACTIONS="false").format == "text"
    assert load(tmp_path, 'format = "json"', GITHUB_ACTIONS="true").format == "json"


# --- heraci.toml and its targets

TARGETS = """\
default-target = "lab"
argo-ui = "https://argo.example.org/ui/"
[targets.lab]
namespace = "argo-dev"
argo-server = "argowf.example.org:443"
[targets.lab.environment]
results = "vcity-pvc"
[targets.production]
namespace = "argo"
[targets.production.environment]
results = "ceph"
"""


def test_the_default_target(tmp_path: Path) -> None:
    settings = load(tmp_path, TARGETS)
    assert settings.target == "lab"
    assert settings.namespace == "argo-dev"
    assert settings.argo_server == "https://argowf.example.org"
    assert settings.argo_ui == "https://argo.example.org/ui"
    assert settings.environment == {"results": "vcity-pvc"}
    assert settings.origins["target"] == "heraci.toml default-target"
    assert settings.origins["environment.results"] == "heraci.toml [targets.lab]"


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_another_target(tmp_path: Path, how: str) -> None:
    if how == "flag":
        settings = load(tmp_path, TARGETS, {"target": "production"}, HERACI_TARGET="lab")
    else:
        settings = load(tmp_path, TARGETS, HERACI_TARGET="production")
    assert (settings.target, settings.namespace, settings.argo_server) == (
        "production",
        "argo",
        None,
    )
    assert settings.environment == {"results": "ceph"}


def test_without_a_default_no_target_is_chosen(tmp_path: Path) -> None:
    settings = load(tmp_path, '[targets.lab]\nnamespace = "argo"')
    assert (settings.target, settings.namespace) == (None, None)


def test_a_target_may_be_named_where_no_file_speaks_of_targets(tmp_path: Path) -> None:
    assert load(tmp_path, "jobs = 2", {"target": "lab"}).target == "lab"


def test_environment_is_merged_key_by_key(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """\
        default-target = "lab"
        [environment]
        results = "everywhere"
        proxy = "proxy-everywhere"
        [targets.lab.environment]
        results = "in-the-lab"
        """,
    )
    assert settings.environment == {"results": "in-the-lab", "proxy": "proxy-everywhere"}
    assert settings.origins["environment.results"] == "heraci.toml [targets.lab]"
    assert settings.origins["environment.proxy"] == "heraci.toml"


def test_pyproject_toml_does_as_well(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.heraci]\ndefault-target = "lab"\n'
        '[tool.heraci.targets.lab]\nnamespace = "argo"\n'
    )
    (tmp_path / "heraci.toml").write_text("# all is in pyproject.toml\n")
    settings = load(tmp_path)
    assert (settings.target, settings.namespace) == ("lab", "argo")
    assert settings.origins["namespace"] == "pyproject.toml [tool.heraci.targets.lab]"
    assert settings.origins["target"] == "pyproject.toml [tool.heraci] default-target"


def test_two_files_with_settings_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.heraci]\njobs = 2\n")
    assert refusal(tmp_path, "jobs = 1") == (
        "Both heraci.toml and [tool.heraci] in pyproject.toml hold settings, and only one may: "
        "move them into one of the two."
    )


@pytest.mark.parametrize("text", ["not toml at all", "[tool.ruff]\nline-length = 100\n"])
def test_a_pyproject_toml_without_heraci_is_not_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert load(tmp_path, "jobs = 1").jobs == 1


def test_a_trusted_file_replaces_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "heraci.toml").write_text('argo-server = "evil.example.org"\n')
    (tmp_path / "hera.config").write_text("argo_server = evil.example.org\nseed = 1\n")
    text = 'default-target = "lab"\n[targets.lab]\nnamespace = "argo"\n'
    settings = Settings.load(
        environ={}, directory=tmp_path, project_file=("heraci.toml at 1a2b3c4", text)
    )
    assert (settings.argo_server, settings.namespace) == (None, "argo")
    assert settings.hera_config_arguments == {}
    assert settings.origins["namespace"] == "heraci.toml at 1a2b3c4 [targets.lab]"


def test_a_trusted_commit_may_lack_the_file(tmp_path: Path) -> None:
    (tmp_path / "heraci.toml").write_text("jobs = 3\n")
    settings = Settings.load(
        {"target": "lab"}, environ={}, directory=tmp_path, project_file=("heraci.toml", "")
    )
    assert settings.origins["jobs"] == "default"


def test_a_trusted_pyproject_toml_is_known_by_its_name() -> None:
    settings = Settings.load(
        environ={}, project_file=("pyproject.toml at 1a2b3c4", "[tool.heraci]\njobs = 3\n")
    )
    assert settings.jobs == 3


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        f'kubeconfig = "lab.yaml:{tmp_path}/other.yaml"\nca-certificate = "ca.pem"\n'
        'cache-dir = "~/cache"\noutput = "out"\n',
    )
    assert settings.kubeconfig == Kubeconfig(paths=(tmp_path / "lab.yaml", tmp_path / "other.yaml"))
    assert settings.ca_certificate == tmp_path / "ca.pem"
    assert settings.cache_dir == Path.home() / "cache"
    assert settings.output == Path("out")


# --- what users have already


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("argowf.example.org:443", "https://argowf.example.org"),
        ("argowf.example.org", "https://argowf.example.org"),
        ("https://argowf.example.org:443/", "https://argowf.example.org"),
        ("https://ArgoWF.example.org/argo/", "https://argowf.example.org/argo"),
        ("localhost:2746", "https://localhost:2746"),
        ("http://localhost:2746", "http://localhost:2746"),
        ("http://localhost:80", "http://localhost"),
        ("[::1]:2746", "https://[::1]:2746"),
        ("10.0.0.1:443", "https://10.0.0.1"),
    ],
)
def test_an_argo_server_is_written_one_way(tmp_path: Path, given: str, normal: str) -> None:
    assert load(tmp_path, ARGO_SERVER=given).argo_server == normal
    # What was written once stays as it is.
    assert load(tmp_path, ARGO_SERVER=normal).argo_server == normal


@pytest.mark.parametrize(
    "given", ["grpc://x", "https://", "x:port", "x:99999999", "a b", "https://x/?a=b", "<server>"]
)
def test_an_address_that_is_none(tmp_path: Path, given: str) -> None:
    assert refusal(tmp_path, ARGO_SERVER=given) == (
        "ARGO_SERVER must be an address such as argo.example.org:2746 or "
        f"https://argo.example.org, not {json.dumps(given)}."
    )


def test_the_variables_of_argo(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        ARGO_SERVER="argo.example.org:2746",
        ARGO_SECURE="false",
        ARGO_INSECURE_SKIP_VERIFY="true",
        ARGO_TOKEN="Bearer v2:abcdef",
        ARGO_NAMESPACE="argo",
        ARGO_SERVICE_ACCOUNT="argo-user",
        KUBECONFIG="/etc/lab.yaml:/etc/more.yaml",
        GITHUB_TOKEN="ghs_123456",
    )
    assert settings.argo_server == "http://argo.example.org:2746"
    assert settings.insecure_skip_tls_verify
    assert settings.argo_token is not None
    assert settings.argo_token.get_secret_value() == "v2:abcdef"
    assert settings.namespace == "argo"
    assert settings.service_account == "argo-user"
    assert settings.kubeconfig == Kubeconfig(paths=(Path("/etc/lab.yaml"), Path("/etc/more.yaml")))
    assert settings.github_token is not None
    assert settings.github_token.get_secret_value() == "ghs_123456"
    assert settings.origins["argo_server"] == "ARGO_SERVER"


def test_a_scheme_wins_over_argo_secure(tmp_path: Path) -> None:
    settings = load(tmp_path, ARGO_SERVER="https://argo.example.org", ARGO_SECURE="false")
    assert settings.argo_server == "https://argo.example.org"


@pytest.mark.parametrize("how", ["plain", "base64", "wrapped", "json"])
def test_the_content_of_a_kubeconfig(tmp_path: Path, how: str) -> None:
    as_json = '{"apiVersion": "v1", "clusters": [{"name": "lab"}]}'
    encoded = base64.encodebytes(KUBECONFIG.encode()).decode()
    given, content = {
        "plain": (KUBECONFIG, KUBECONFIG.strip()),
        "base64": ("".join(encoded.split()), KUBECONFIG),
        "wrapped": (encoded, KUBECONFIG),
        "json": (as_json, as_json),
    }[how]
    kubeconfig = load(tmp_path, KUBECONFIG=given).kubeconfig
    assert kubeconfig is not None
    assert kubeconfig.content is not None
    assert kubeconfig.content.get_secret_value() == content
    assert kubeconfig.paths == ()
    assert str(kubeconfig) == "(content)"


BROKEN_KUBECONFIGS = {
    "cut": (
        base64.b64encode(KUBECONFIG.encode()).decode()[:401],
        "a path, or the whole content of a kubeconfig, plain or in base64",
    ),
    "no YAML": (
        "apiVersion: v1\nclusters: [\ntoken: the-token-of-ci\n",
        "the whole content of a kubeconfig: this one is no YAML that lists clusters",
    ),
    "no clusters": (
        "apiVersion: v1\nkind: Config\ntoken: the-token-of-ci\n",
        "the whole content of a kubeconfig: this one is no YAML that lists clusters",
    ),
    "something else": (
        "-----BEGIN CERTIFICATE-----\nthe-token-of-ci\n",
        "a path, or the whole content of a kubeconfig, plain or in base64",
    ),
}


@pytest.mark.parametrize("how", list(BROKEN_KUBECONFIGS))
def test_a_broken_kubeconfig_is_not_shown(tmp_path: Path, how: str) -> None:
    content, expected = BROKEN_KUBECONFIGS[how]
    assert refusal(tmp_path, KUBECONFIG=content) == f"KUBECONFIG must be {expected}."


def test_the_home_folder_in_a_path(tmp_path: Path) -> None:
    settings = load(tmp_path, KUBECONFIG="~/.kube/config")
    assert settings.kubeconfig == Kubeconfig(paths=(Path.home() / ".kube/config",))


def test_a_token_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Bearer v2:abc\n")
    settings = load(tmp_path, HERACI_ARGO_TOKEN_FILE=str(tmp_path / "token"), ARGO_TOKEN="other")
    assert settings.argo_token is not None
    assert settings.argo_token.get_secret_value() == "v2:abc"
    assert settings.origins["argo_token"] == "HERACI_ARGO_TOKEN_FILE"


def test_a_token_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path, flags={"argo_token_file": "nowhere"}) == (
        "--argo-token-file must name a file that can be read as text."
    )


# --- hera.config

HERA_CONFIG = """\
# Hera_utils configuration file
### Argo server and associated credentials
argo_server='argowf.my-domain.org:443'
argo_token='Bearer v2:xxxxxxxxxx'
argo-namespace = argo
--argo_service_account argo-user
k8s_config_file='/some/rke-file.yaml'

k8s_configmap_name='hera-utils-proxy-environment'
vintages=[2009, 2012]
verbose
db_password = the-password-of-the-database
empty =
"""


def test_hera_config(tmp_path: Path) -> None:
    (tmp_path / "hera.config").write_text(HERA_CONFIG)
    settings = load(tmp_path)
    assert settings.argo_server == "https://argowf.my-domain.org"
    assert settings.argo_token is not None
    assert settings.argo_token.get_secret_value() == "v2:xxxxxxxxxx"
    assert settings.namespace == "argo"
    assert settings.service_account == "argo-user"
    assert settings.kubeconfig == Kubeconfig(paths=(Path("/some/rke-file.yaml"),))
    assert settings.hera_config_arguments == {
        "empty": "",
        "k8s_configmap_name": "hera-utils-proxy-environment",
        "verbose": "true",
        "vintages": [2009, 2012],
    }
    assert settings.withheld_arguments == ("db_password",)
    rows = [row for row in settings.rows() if row[0] == "hera-config.db_password"]
    assert rows == [("hera-config.db_password", "***", "hera.config (./hera.config)")]
    secrets = [each.get_secret_value() for each in settings.secrets()]
    assert "the-password-of-the-database" in secrets


def test_arguments_of_several_hera_configs_are_merged(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "hera.config").write_text("seed = 1\nsize = 2\n")
    (tmp_path / "hera.config").write_text("seed = 3\n")
    settings = load(tmp_path, HOME=str(home))
    assert settings.hera_config_arguments == {"seed": "3", "size": "2"}
    rows = [row for row in settings.rows() if row[0].startswith("hera-config.")]
    assert rows == [
        ("hera-config.seed", "3", "hera.config (./hera.config)"),
        ("hera-config.size", "2", "hera.config (~/hera.config)"),
    ]


def test_one_file_under_two_names_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "hera.config").write_text("seed = 3\n")
    rows = load(tmp_path, ARGOCONFIG="hera.config", HOME=str(tmp_path)).rows()
    assert [row for row in rows if row[0] == "hera-config.seed"] == [
        ("hera-config.seed", "3", "hera.config (./hera.config)")
    ]


def test_a_hera_config_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "hera.config").write_text("argo_token = abcdefgh\n= the-token-of-ci\n")
    assert refusal(tmp_path) == (
        "hera.config (./hera.config) cannot be read; its lines must be name = value."
    )


def test_argoconfig_that_leads_nowhere(tmp_path: Path) -> None:
    assert refusal(tmp_path, ARGOCONFIG="gone/hera.config") == (
        "ARGOCONFIG must name a file; there is none at gone/hera.config."
    )


def test_a_mistake_in_a_hera_config_names_its_key(tmp_path: Path) -> None:
    (tmp_path / "hera.config").write_text("argo-namespace = My Namespace\n")
    assert refusal(tmp_path) == (
        "hera.config (./hera.config): argo-namespace must be a namespace's name (lower-case "
        'letters, digits and dashes, at most 63 characters), not "My Namespace".'
    )


# --- one experiment

EXPERIMENTS = """\
default-target = "lab"
compile-timeout = 30
pass-environ = ["REGION"]
[environment]
proxy = "proxy-everywhere"
[arguments]
verbose = true
seed = 1
[experiments.collect]
path = "scripts/collect.py:build"
data = ["data/*.csv", "data/grid.npz"]
compile-timeout = 120
allow-network = true
pass-environ = ["SEED"]
[experiments.collect.inputs]
vintages = [2009, 2012]
start = 2009-01-01
grid = {nested = [2012-05-27T07:32:00Z]}
[experiments.collect.environment]
results = "for-collect"
proxy = "proxy-for-collect"
[experiments.collect.arguments]
seed = 2
[targets.lab.environment]
results = "in-the-lab"
scratch = "scratch-in-the-lab"
[targets.lab.experiments.collect]
compile-memory = "8GiB"
[targets.lab.experiments.collect.inputs]
vintages = [2009]
[targets.lab.experiments.collect.environment]
results = "for-collect-in-the-lab"
[targets.other.experiments.collect.environment]
results = "for-collect-elsewhere"
"""


def test_one_experiment(tmp_path: Path) -> None:
    settings = load(tmp_path, EXPERIMENTS, SEED="7", REGION="eu")
    collect = settings.for_experiment("collect")
    assert (collect.path, collect.function) == ("scripts/collect.py", "build")
    assert collect.inputs == {
        "vintages": [2009],
        "start": "2009-01-01",
        "grid": {"nested": ["2012-05-27T07:32:00+00:00"]},
    }
    assert collect.environment == {
        "results": "for-collect-in-the-lab",
        "proxy": "proxy-for-collect",
        "scratch": "scratch-in-the-lab",
    }
    assert collect.arguments == {"verbose": True, "seed": 2}
    assert collect.data == ("data/*.csv", "data/grid.npz")
    assert collect.compile_timeout == 120
    assert collect.compile_memory == 8 * 1024**3
    assert collect.compile_processes == 64
    assert collect.allow_network
    assert (collect.pass_environ, collect.environ) == (("SEED",), {"SEED": "7"})


def test_an_experiment_that_no_table_names(tmp_path: Path) -> None:
    other = load(tmp_path, EXPERIMENTS, REGION="eu").for_experiment("other")
    assert (other.path, other.function, other.inputs, other.data) == (None, None, {}, ())
    assert other.environment == {
        "results": "in-the-lab",
        "proxy": "proxy-everywhere",
        "scratch": "scratch-in-the-lab",
    }
    assert other.arguments == {"verbose": True, "seed": 1}
    assert other.compile_timeout == 30
    assert not other.allow_network
    assert (other.pass_environ, other.environ) == (("REGION",), {"REGION": "eu"})


def test_flags_and_variables_win_over_tables_of_an_experiment(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        EXPERIMENTS,
        {"arguments": ["seed=5", "collect:size=big", "other:size=small"]},
        HERACI_COMPILE_TIMEOUT="10",
        HERACI_ARGUMENTS="seed=4\ncollect:verbose=no",
    )
    collect = settings.for_experiment("collect")
    assert collect.compile_timeout == 10
    assert collect.arguments == {"seed": "5", "size": "big", "verbose": "no"}
    other = settings.for_experiment("other")
    assert other.arguments == {"seed": "5", "size": "small", "verbose": True}


def test_the_particular_argument_wins_over_the_general(tmp_path: Path) -> None:
    settings = load(tmp_path, flags={"arguments": ["collect:seed=1", "seed=2"]})
    assert settings.for_experiment("collect").arguments == {"seed": "1"}
    assert settings.for_experiment("other").arguments == {"seed": "2"}


def test_every_switch_of_an_experiment_has_a_general_one() -> None:
    own = {"path", "inputs", "data"}
    assert set(ExperimentTable.model_fields) - own <= set(Settings.model_fields)


def test_what_reaches_an_experiment_is_plain_json(tmp_path: Path) -> None:
    (tmp_path / "hera.config").write_text("size = 3\nargo_token = the-token-of-argo\n")
    settings = load(
        tmp_path,
        EXPERIMENTS + '[targets.lab]\nnamespace = "argo"\n',
        SEED="7",
        ARGO_SERVICE_ACCOUNT="argo-user",
        ARGO_SERVER="argo.example.org",
        KUBECONFIG=KUBECONFIG,
    )
    reaching = settings.reaching("collect")
    assert json.loads(json.dumps(reaching, allow_nan=False)) == reaching
    assert reaching == {
        "target": "lab",
        "namespace": "argo",
        "argo-server": "https://argo.example.org",
        "service-account": "argo-user",
        "path": "scripts/collect.py",
        "function": "build",
        "inputs": {
            "vintages": [2009],
            "start": "2009-01-01",
            "grid": {"nested": ["2012-05-27T07:32:00+00:00"]},
        },
        "environment": {
            "results": "for-collect-in-the-lab",
            "proxy": "proxy-for-collect",
            "scratch": "scratch-in-the-lab",
        },
        "arguments": {"verbose": True, "seed": 2},
        "hera-config-arguments": {"size": "3"},
        "data": ["data/*.csv", "data/grid.npz"],
        "pass-environ": {"SEED": "7"},
        "allow-network": True,
        "pin-randomness": True,
        "dependencies-from": [],
        "python": None,
    }


def test_a_variable_that_is_passed_on_but_absent(tmp_path: Path) -> None:
    settings = load(tmp_path, flags={"pass_environ": ["SEED", "SIZE"]}, SIZE="")
    assert settings.for_experiment("x").environ == {"SIZE": ""}
    assert settings.reaching("x")["pass-environ"] == {"SEED": None, "SIZE": ""}


# --- mistakes


# Blocks of TOML, each followed by what is said about it; a message that ends in … goes on.
MISTAKES_IN_TOML = """\
compile-timout = 3
> line 1: compile-timout is not a setting: did you mean compile-timeout?

compile_timeout = 3
> line 1: compile_timeout is not a setting: did you mean compile-timeout?

# a typing error in a table's name
[target.lab]
namespace = "x"
> line 2: target is for one run, not for a file: did you mean default-target?

[targets.lab]
# one line more
namespcae = "x"
> line 3: targets.lab.namespcae is not a setting: did you mean namespace?

targets.lab.namespcae = "x"
> line 1: targets.lab.namespcae is not a setting: did you mean namespace?

[targets]
lab = {namespcae = "x"}
> line 2: targets.lab.namespcae is not a setting: did you mean namespace?

[experiments."a.b"]
paht = "x"
> line 2: experiments.a.b.paht is not a setting: did you mean path?

[targets.lab.experiments.x.enviroment]
a = "b"
> line 1: targets.lab.experiments.x.enviroment is not a setting: did you mean environment?

data = []
> line 1: data is not a setting: see docs/settings.md.

[experiments.x]
qqq = 1
> line 2: experiments.x.qqq is not a setting: known here: allow-network, arguments, …

dry-run = true
> line 1: dry-run is for one run, not for a file: use --dry-run or HERACI_DRY_RUN.

argo-token = "the-token-of-argo"
> line 1: argo-token is a secret and does not belong in the repository:
> set HERACI_ARGO_TOKEN or ARGO_TOKEN.

[targets.lab]
github-token = "ghs_1"
> line 2: targets.lab.github-token is a secret and does not belong in the repository:
> set HERACI_GITHUB_TOKEN or GITHUB_TOKEN.

index-url = "https://me:hunter2@pypi.example.org/simple"
> line 1: index-url must not hold a user or a password, which do not belong in the repository.
> Set HERACI_INDEX_URL to the whole address.

kubeconfig = '{"apiVersion": "v1", "users": [{"user": {"token": "the-token-of-ci"}}]}'
> line 1: kubeconfig must be a path: a kubeconfig's content is a secret and does not belong in
> the repository. Set HERACI_KUBECONFIG or KUBECONFIG to it.

namespace = ""
> line 1: namespace must not be empty; leave it out instead.

namespace = 3
> line 1: namespace must be a text, not 3.

jobs = 1.5
> line 1: jobs must be a whole number, not 1.5.

jobs = 0
> line 1: jobs must be greater than 0, not 0.

compile-timeout = true
> line 1: compile-timeout must be a number, not true.

compile-timeout = inf
> line 1: compile-timeout must be a finite number, not Infinity.

compile-memory = "lots"
> line 1: compile-memory must be a size such as 512MiB or 4GiB, not "lots".

compile-memory = "3 parsecs"
> line 1: compile-memory must be a size such as 512MiB or 4GiB, not "3 parsecs".

wait = "perhaps"
> line 1: wait must be true or false, not "perhaps".

wait = [1]
> line 1: wait must be true or false, not [1].

on-mismatch = "ask"
> line 1: on-mismatch must be stop, warn or go-on, not "ask".

output = 3
> line 1: output must be a path, not 3.

pass-environ = 3
> line 1: pass-environ must be a list, not 3.

pass-environ = ["A", 3]
> line 1: pass-environ must be a text, not 3.

pass-environ = ["REGION", "DB_PASSWORD"]
> line 1: pass-environ must be without DB_PASSWORD: no experiment gets a credential, as its
> manifests are published. Let the workflow take it from a Secret of the cluster.

environment = 3
> line 1: environment must be a table, not 3.

[environment]
results = 3
> line 2: environment.results must be a text, not 3.

[environment]
results = ""
> line 2: environment.results must be a text that is not empty, not "".

arguments = 3
> line 1: arguments must be a table, or name=value, not 3.

[experiments.x]
compile-processes = "many"
> line 2: experiments.x.compile-processes must be a whole number, not "many".

[experiments.x.inputs]
ratio = inf
> line 1: experiments.x.inputs must be made of finite numbers, not {"ratio": Infinity}.

targets = 3
> line 1: targets must be a table.

[targets]
lab = 3
> line 2: targets.lab must be a table.

experiments = "x"
> line 1: experiments must be a table.

[experiments]
x = 3
> line 2: experiments.x must be a table.

# a target that this run does not choose
[targets.lab]
compile-timeout = "x"
> line 3: targets.lab.compile-timeout must be a number, not "x".

[targets.lab.experiments.x]
pin-randomness = 3
> line 2: targets.lab.experiments.x.pin-randomness must be true or false, not 3.

default-target = "lba"
[targets.lab]
> line 1: default-target names lba, a target that heraci.toml lacks: did you mean lab?

default-target = "lab"
> line 1: default-target names lab, a target that heraci.toml lacks: add [targets.lab].

default-target = 3
> line 1: default-target must be a text, not 3.

service-account = "Argo User"
> line 1: service-account must be a Kubernetes name (lower-case letters, digits, dashes and
> dots), not "Argo User".
"""


def blocks(table: str) -> list[tuple[str, str]]:
    """Split a table into what is written and what is said about it."""
    pairs = []
    for block in table.strip().split("\n\n"):
        written = [line for line in block.splitlines() if not line.startswith("> ")]
        said = [line[2:] for line in block.splitlines() if line.startswith("> ")]
        pairs.append(("\n".join(written), " ".join(said)))
    return pairs


@pytest.mark.parametrize(("toml", "message"), blocks(MISTAKES_IN_TOML))
def test_a_mistake_in_heraci_toml(tmp_path: Path, toml: str, message: str) -> None:
    told = refusal(tmp_path, toml)
    if message.endswith("…"):
        told = f"{told[: len('heraci.toml, ') + len(message) - 1]}…"
    assert told == f"heraci.toml, {message}"


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    assert refusal(tmp_path, "jobs = \nwait = true") == (
        "heraci.toml is not valid TOML: Invalid value (at line 1, column 8)."
    )


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "heraci.toml").write_bytes(b"# \xe9\n")
    assert refusal(tmp_path) == "heraci.toml is not UTF-8, which TOML has to be."


def test_lines_are_told_of_pyproject_toml_too(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\njobs = 1\n[tool.heraci]\njobs = 'x'\n")
    assert refusal(tmp_path) == 'pyproject.toml, line 4: jobs must be a whole number, not "x".'


MISTAKES_IN_ENVIRON = f"""\
HERACI_TIMEOUT=3
> HERACI_TIMEOUT is not a setting of heraci: did you mean HERACI_WAIT_TIMEOUT?

HERACI_TARGETS=lab
> HERACI_TARGETS is not a setting of heraci: did you mean HERACI_TARGET?

HERACI_QQQ=3
> HERACI_QQQ is not a setting of heraci: unset it, or list it in pass-environ if an experiment
> reads it.

HERACI_ENVIRONMENT=results=x
> HERACI_ENVIRONMENT is not a setting of heraci: …

HERACI_JOBS=many
> HERACI_JOBS must be a whole number, not "many".

HERACI_ARGUMENTS=seed
> HERACI_ARGUMENTS must be name=value, or EXPERIMENT:name=value for one experiment, not "seed".

ARGO_TOKEN=two words-of-a-token
> ARGO_TOKEN must be one token, without white space or special characters.

HERACI_INDEX_URL=me:hunter2@pypi
> HERACI_INDEX_URL must be an address such as https://pypi.example.org/simple.

HERACI_PASS_ENVIRON=KUBECONFIG
> HERACI_PASS_ENVIRON must be without KUBECONFIG: no experiment gets a credential, …

ARGO_NAMESPACE={"a" * 64}
> ARGO_NAMESPACE must be a namespace's name (lower-case letters, digits and dashes, at most 63
> characters), not "{"a" * 59}….

HERACI_ARGO_SERVER=https://me:hunter2@argo.example.org
> HERACI_ARGO_SERVER must be an address without user and password.
"""


@pytest.mark.parametrize(("written", "message"), blocks(MISTAKES_IN_ENVIRON))
def test_a_mistake_in_the_environ(tmp_path: Path, written: str, message: str) -> None:
    name, _, value = written.partition("=")
    told = refusal(tmp_path, None, None, **{name: value})
    if message.endswith("…"):
        told = f"{told[: len(message) - 1]}…"
    assert told == message


def test_a_target_that_the_file_lacks(tmp_path: Path) -> None:
    assert refusal(tmp_path, TARGETS, {"target": "prodution"}) == (
        "--target names prodution, a target that heraci.toml lacks: did you mean production?"
    )
    assert refusal(tmp_path, TARGETS, HERACI_TARGET="x") == (
        "HERACI_TARGET names x, a target that heraci.toml lacks: add [targets.x]."
    )


def test_variables_of_kubernetes_services_are_left_alone(tmp_path: Path) -> None:
    load(
        tmp_path,
        HERACI_SERVICE_HOST="10.0.0.1",
        HERACI_SERVICE_PORT="80",
        HERACI_SERVICE_PORT_HTTP="80",
        HERACI_PORT="tcp://10.0.0.1:80",
        HERACI_PORT_80_TCP="tcp://10.0.0.1:80",
        HERACI_PORT_80_TCP_PROTO="tcp",
        HERACI_PORT_80_TCP_PORT="80",
        HERACI_PORT_80_TCP_ADDR="10.0.0.1",
        HERACI_DEMO_SERVICE_HOST="10.0.0.1",
        HERACI_DEMO_PORT="tcp://10.0.0.1:80",
    )
    assert refusal(tmp_path, HERACI_PORT="80").startswith("HERACI_PORT is not a setting of heraci")


@pytest.mark.parametrize(
    "toml",
    [
        'pass-environ = ["HERACI_DEMO"]',
        '[experiments.x]\npass-environ = ["HERACI_DEMO"]',
        'default-target = "lab"\n[targets.lab.experiments.x]\npass-environ = ["HERACI_DEMO"]',
    ],
)
def test_variables_that_are_passed_on_are_left_alone(tmp_path: Path, toml: str) -> None:
    settings = load(tmp_path, toml, HERACI_DEMO="1")
    assert settings.for_experiment("x").environ == {"HERACI_DEMO": "1"}


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "hera.config").write_text("argo_server = a b\n")
    told = refusal(
        tmp_path,
        'jobs = "x"\nwiat = true\n[targets.lab]\nnamespace = 3\ncontext = 4\n',
        {"wait_timeout": "soon", "target": "lba"},
        HERACI_WAIT="perhaps",
        HERACI_TIMEOUT="3",
        ARGO_TOKEN="two words",
    )
    assert told.splitlines() == [
        "10 settings cannot be right:",
        "- --target names lba, a target that heraci.toml lacks: did you mean lab?",
        "- heraci.toml, line 2: wiat is not a setting: did you mean wait?",
        '- --wait-timeout must be a number, not "soon".',
        '- HERACI_WAIT must be true or false, not "perhaps".',
        "- ARGO_TOKEN must be one token, without white space or special characters.",
        '- heraci.toml, line 1: jobs must be a whole number, not "x".',
        (
            "- hera.config (./hera.config): argo_server must be an address such as "
            'argo.example.org:2746 or https://argo.example.org, not "a b".'
        ),
        "- heraci.toml, line 4: targets.lab.namespace must be a text, not 3.",
        "- heraci.toml, line 5: targets.lab.context must be a text, not 4.",
        "- HERACI_TIMEOUT is not a setting of heraci: did you mean HERACI_WAIT_TIMEOUT?",
    ]


def test_a_mistake_that_another_source_overrides_is_told_too(tmp_path: Path) -> None:
    assert refusal(tmp_path, "jobs = 0", {"jobs": 2}) == (
        "heraci.toml, line 1: jobs must be greater than 0, not 0."
    )


# --- secrets


def test_nothing_shows_a_secret(tmp_path: Path) -> None:
    (tmp_path / "hera.config").write_text("argo_token = token-of-hera-config\ndb_secret = hush1\n")
    settings = load(
        tmp_path,
        flags={"arguments": ["api_token=hush2"]},
        HERACI_ARGO_TOKEN="token-of-heraci",
        ARGO_TOKEN="token-of-argo",
        GITHUB_TOKEN="token-of-github",
        KUBECONFIG=KUBECONFIG,
        HERACI_INDEX_URL="https://me:p%40ssw0rd@pypi.example.org/simple",
    )
    shown = f"{settings!r} {settings} {settings.rows()} {settings.model_dump()} {settings.origins}"
    for secret in [
        "token-of-hera-config",
        "hush1",
        "token-of-heraci",
        "token-of-argo",
        "token-of-github",
        "the-token-of-ci",
        "p%40ssw0rd",
    ]:
        assert secret not in shown
    assert "hush2" not in f"{settings!r} {settings} {settings.rows()}"
    rows = {name: (value, origin) for name, value, origin in settings.rows()}
    assert rows["argo-token"] == ("***", "HERACI_ARGO_TOKEN")
    assert rows["github-token"] == ("***", "GITHUB_TOKEN")
    assert rows["kubeconfig"] == ("(content)", "KUBECONFIG")
    assert rows["index-url"] == ("https://***@pypi.example.org/simple", "HERACI_INDEX_URL")
    assert rows["arguments.api_token"] == ("***", "--set")


def test_every_secret_is_known(tmp_path: Path) -> None:
    """Also those that were overridden, the parts of a kubeconfig, and others of the environ."""
    (tmp_path / "hera.config").write_text("argo_token = token-of-hera-config\ndb_secret = hush\n")
    settings = load(
        tmp_path,
        HERACI_ARGO_TOKEN="Bearer token-of-heraci",
        ARGO_TOKEN="token-of-argo",
        KUBECONFIG=KUBECONFIG,
        HERACI_INDEX_URL="https://me:p%40ssw0rd@pypi.example.org/simple",
        POSTGRES_PASSWORD="password-of-postgres",
        SHORT_PASSWORD="x",
        REGION="eu-west-3-and-longer",
    )
    assert sorted(each.get_secret_value() for each in settings.secrets()) == sorted(
        [
            "Bearer token-of-heraci",
            "token-of-heraci",
            "token-of-argo",
            "token-of-hera-config",
            "hush",
            "https://me:p%40ssw0rd@pypi.example.org/simple",
            "p%40ssw0rd",
            "p@ssw0rd",
            "password-of-postgres",
            KUBECONFIG.strip(),
            "the-token-of-ci",
            "dGhlIHByaXZhdGUga2V5",
            "the private key",
            "the-key-of-aws",
            "the-password-of-admin",
        ]
    )


def test_secrets_of_kubeconfig_files(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(KUBECONFIG)
    (tmp_path / "broken.yaml").write_text("[")
    settings = load(tmp_path, 'kubeconfig = "lab.yaml:gone.yaml:broken.yaml"')
    assert {each.get_secret_value() for each in settings.secrets()} == {
        "the-token-of-ci",
        "dGhlIHByaXZhdGUga2V5",
        "the private key",
        "the-key-of-aws",
        "the-password-of-admin",
    }


def test_an_index_without_a_password_is_no_secret(tmp_path: Path) -> None:
    settings = load(tmp_path, 'index-url = "https://pypi.example.org/simple"')
    assert settings.secrets() == ()
    rows = {name: value for name, value, _ in settings.rows()}
    assert rows["index-url"] == "https://pypi.example.org/simple"


def test_a_secret_is_not_passed_on_under_an_innocent_name(tmp_path: Path) -> None:
    told = refusal(
        tmp_path,
        flags={"pass_environ": ["CONNECTION", "REGION"]},
        ARGO_TOKEN="token-of-argo",
        CONNECTION="argo.example.org?auth=token-of-argo",
        REGION="eu",
    )
    assert told == (
        "A secret is in CONNECTION (pass-environ), and heraci hands none to an experiment: its "
        "manifests get published. Let the workflow take it from a Secret of the cluster."
    )


def test_a_secret_too_short_to_be_one_is_not_looked_for(tmp_path: Path) -> None:
    """A token such as `eu` would be found in half of all values."""
    settings = load(tmp_path, flags={"pass_environ": ["REGION"]}, ARGO_TOKEN="eu", REGION="eu-1")
    assert settings.for_experiment("x").environ == {"REGION": "eu-1"}


def test_a_secret_is_no_argument(tmp_path: Path) -> None:
    (tmp_path / "hera.config").write_text("auth = Bearer the-token-of-ci\nseed = 1\n")
    told = refusal(
        tmp_path,
        flags={"arguments": ["x:login=token-of-argo", "seed=2"]},
        ARGO_TOKEN="token-of-argo",
        KUBECONFIG=KUBECONFIG,
    )
    assert told.startswith("A secret is in x:login (--set), auth (hera.config), and heraci")


# --- the value itself


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        settings.jobs = 3  # type: ignore[misc]


def test_nothing_but_load_reads_the_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HERACI_NAMESPACE", "NAMESPACE", "namespace"):
        monkeypatch.setenv(name, "argo")
    settings = Settings(jobs=2)
    assert (settings.namespace, settings.jobs) == (None, 2)
    assert settings.origins == {}
    assert ("jobs", "2", "default") in settings.rows()
    assert settings.for_experiment("x").compile_timeout == 60


def test_rows_show_every_setting_with_its_origin(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        EXPERIMENTS,
        {"jobs": 2, "bundle": "out", "compile_output": "1000", "pass_environ": ["A", "B"]},
        HERACI_WAIT="true",
    )
    rows = settings.rows()
    given = {row for row in rows if row[2] != "default" and not row[0].startswith("experiments.")}
    lab = "heraci.toml [targets.lab]"
    assert given == {
        ("arguments.seed", "1", "heraci.toml"),
        ("arguments.verbose", "true", "heraci.toml"),
        ("bundle", "out", "--bundle"),
        ("compile-output", "1000B", "--compile-output"),
        ("compile-timeout", "30", "heraci.toml"),
        ("environment.proxy", "proxy-everywhere", "heraci.toml"),
        ("environment.results", "in-the-lab", lab),
        ("environment.scratch", "scratch-in-the-lab", lab),
        ("jobs", "2", "--jobs"),
        ("pass-environ", "A, B", "--pass-environ"),
        ("target", "lab", "heraci.toml default-target"),
        ("target-experiments.collect.compile-memory", "8GiB", lab),
        ("target-experiments.collect.environment", '{"results": "for-collect-in-the-lab"}', lab),
        ("target-experiments.collect.inputs", '{"vintages": [2009]}', lab),
        ("wait", "true", "HERACI_WAIT"),
    }
    assert [row for row in rows if row[0].startswith("experiments.")] == [
        ("experiments.collect.path", "scripts/collect.py:build", "heraci.toml"),
        (
            "experiments.collect.inputs",
            (
                '{"vintages": [2009, 2012], "start": "2009-01-01", '
                '"grid": {"nested": ["2012-05-27T07:32:00+00:00"]}}'
            ),
            "heraci.toml",
        ),
        (
            "experiments.collect.environment",
            '{"results": "for-collect", "proxy": "proxy-for-collect"}',
            "heraci.toml",
        ),
        ("experiments.collect.arguments", '{"seed": 2}', "heraci.toml"),
        ("experiments.collect.data", "data/*.csv, data/grid.npz", "heraci.toml"),
        ("experiments.collect.allow-network", "true", "heraci.toml"),
        ("experiments.collect.pass-environ", "SEED", "heraci.toml"),
        ("experiments.collect.compile-timeout", "120", "heraci.toml"),
    ]
    names = {name.partition(".")[0].replace("-", "_") for name, _, _ in rows}
    assert names == set(Settings.model_fields)


def test_loading_settings_imports_only_what_it_needs(tmp_path: Path) -> None:
    """Each of these costs time that the commonest run need not spend."""
    heavy = ["configargparse", "yaml", "hera", "kubernetes", "git", "requests"]
    code = (
        "import sys; from heraci.settings import Settings; Settings.load(environ={}); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_every_setting_is_described() -> None:
    assert [name for name, each in Settings.model_fields.items() if not each.description] == []


def test_the_page_about_settings_is_up_to_date() -> None:
    page = ROOT / "docs" / "settings.md"
    if os.environ.get("REGENERATE"):
        page.write_text(reference())
    assert page.read_text() == reference()
