"""What this run of heraci was asked: one frozen value, with the place each part of it came from.

`Settings.load` reads flags, environ and files once, at the door; nothing else in heraci does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import ByteSize, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from heraci.errors import SettingsError
from heraci.settings import hera_config, layers, sources, values
from heraci.settings.credentials import environ_secrets, leaking, secrets_in
from heraci.settings.experiments import (
    ExperimentSettings,
    ExperimentTable,
    arguments_for,
    choose,
    overlaid,
)
from heraci.settings.mistakes import sentences, told
from heraci.settings.shown import parts_of, shown
from heraci.settings.values import Kubeconfig, is_credential

__all__ = ["ExperimentSettings", "Kubeconfig", "Settings"]

DEFAULT = "default"
NOTHING: Mapping[str, Any] = MappingProxyType({})


def _processors() -> int:
    """Count the processors that this process may use, which in a container are not all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cache_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("heraci", appauthor=False)


class Settings(BaseSettings):
    """The settings of one run. `load` makes them; the fields' order is that of docs/settings.md."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    experiments_dir: Path = Field(
        Path("experiments"), description="The folder that holds the experiments."
    )
    output: Path = Field(
        Path("compiled"),
        description="The folder that compiled YAML goes to; `-` writes it to standard output.",
    )
    bundle: values.UserPath | None = Field(
        None, description="A folder that `heraci compile` wrote, to be used instead of compiling."
    )
    target: values.Text | None = Field(
        None,
        description="The cluster that this run is for, one of the `[targets.NAME]` tables; "
        "`default-target` in heraci.toml names it where this does not.",
    )
    base: values.Text | None = Field(
        None,
        description="The commit to compare with. By default what the CI event says, on a laptop "
        "where the default branch was left.",
    )
    head: values.Text | None = Field(
        None,
        description="The commit to compile. By default what is checked out, with the changes not "
        "yet committed.",
    )
    format: Literal["text", "json", "github"] = Field(
        "text",
        description="How to print: for people, for programs, or with GitHub's annotations "
        "(the default in GitHub Actions).",
    )
    jobs: values.Count = Field(
        default_factory=_processors,
        description="How many experiments compile at the same time. By default one for each "
        "processor.",
    )
    cache_dir: values.UserPath = Field(
        default_factory=_cache_folder,
        description="The folder for what can be computed again. By default the user's cache "
        "folder, as the platform has it.",
    )
    no_cache: bool = Field(False, description="Neither read nor write the cache.")

    compile_timeout: values.Seconds = Field(
        60.0, description="How many seconds one experiment may take; then it is ended."
    )
    compile_memory: values.Size = Field(
        ByteSize(4 * 1024**3), description="How much memory one experiment may take."
    )
    compile_output: values.Size = Field(
        ByteSize(16 * 1024**2), description="How much one experiment may print and produce."
    )
    compile_open_files: values.Count = Field(
        256, description="How many files one experiment may hold open."
    )
    compile_processes: values.Count = Field(
        64, description="How many processes one experiment may run at the same time."
    )
    allow_network: bool = Field(
        False,
        description="Let experiments use the network while they compile. Refusing it helps "
        "determinism; it is no wall.",
    )
    pin_randomness: bool = Field(
        True,
        description="Make `random`, `uuid4`, the time of day and Hera's own random names the same "
        "in each run, so that the same commit gives the same manifests.",
    )
    pass_environ: values.PassedNames = Field(
        (),
        description="Names of variables that experiments may read while they compile. All others "
        "are taken away, and a credential is never passed on.",
    )
    check_determinism: bool = Field(
        False, description="Compile each experiment twice and report what differs."
    )
    compare: bool = Field(
        True,
        description="Compile base and head and compare the manifests; without it, each affected "
        "experiment counts as changed.",
    )
    arguments: values.Pairs = Field(
        {},
        description="`name=value` for the command line that experiments themselves parse; "
        "`EXPERIMENT:name=value` for one of them. May be repeated.",
    )
    dependencies_from: values.Lines = Field(
        (),
        description="Files that say what experiments depend on. By default the nearest of a PEP "
        "723 block, requirements.txt and pyproject.toml, up to the experiments folder.",
    )
    offline: bool = Field(
        False, description="Install experiments' dependencies from the cache alone."
    )
    index_url: values.IndexAddress | None = Field(
        None,
        description="The package index for experiments' dependencies. An address with a password "
        "is a secret.",
    )
    python: values.Text | None = Field(
        None,
        description="The interpreter for experiments that have dependencies of their own: a "
        "version (`3.12`) or a path.",
    )

    environment: dict[str, values.Text] = Field(
        {},
        description="Names in the cluster for the fields of the experiments' Environment.",
    )
    namespace: values.Namespace | None = Field(
        None, description="The namespace that workflows run in."
    )
    argo_server: values.Address | None = Field(
        None,
        description="The Argo Server's address, with or without `https://` and `:443`.",
    )
    argo_ui: values.Address | None = Field(
        None, description="Where people open Argo's pages, if not at the Argo Server's address."
    )
    argo_token: values.Token | None = Field(
        None, description="The Argo Server's token, with or without `Bearer`."
    )
    argo_token_file: values.UserPath | None = Field(
        None, description="A file that holds the Argo Server's token."
    )
    service_account: values.KubernetesName | None = Field(
        None, description="The service account that workflows run as, where they name none."
    )
    kubeconfig: values.KubeconfigSetting | None = Field(
        None,
        description="One or several kubeconfig files; or, in a variable, the content of one, plain "
        "or in base64. By default `~/.kube/config`, in a pod its own account.",
    )
    context: values.Text | None = Field(
        None, description="The context of the kubeconfig. By default its current one."
    )
    ca_certificate: values.UserPath | None = Field(
        None, description="A file with the certificates that the servers' own are checked against."
    )
    insecure_skip_tls_verify: bool = Field(
        False, description="Do not check the servers' certificates. Whoever sits between can read."
    )
    submit_through: Literal["auto", "kubernetes", "argo-server"] = Field(
        "auto",
        description="Which API takes the workflows: the Kubernetes API where a kubeconfig is, else "
        "the Argo Server; or the one named.",
    )
    template_only: bool = Field(
        False,
        description="Submit a template and a workflow that refers to it, for clusters that take "
        "nothing else (`templateReferencing: Strict` or `Secure`). The template goes when its "
        "workflow goes.",
    )

    check_secret_keys: bool = Field(
        False, description="Assert the keys of Secrets too, which takes the right to read Secrets."
    )
    check_images: bool = Field(
        True, description="Assert that the images can be found in their registries."
    )
    explain: bool = Field(False, description="Say for each requirement where it comes from.")

    attempt: values.Count = Field(
        1, description="Which run of the same commit this is; 2 submits it once more."
    )
    prune: bool = Field(
        False,
        description="Suspend crons and delete templates whose source is gone.",
    )
    submit_unchanged: bool = Field(
        False, description="Submit affected experiments whose manifests are the same, too."
    )
    wait: bool = Field(False, description="Follow what was submitted until it ends.")
    wait_timeout: values.Seconds | None = Field(
        None, description="How many seconds to wait at most. By default as long as it takes."
    )
    dry_run: bool = Field(
        False, description="Ask the server whether it would take all of it, and submit nothing."
    )
    since_last: bool = Field(
        False, description="Submit what changed since the commit that was submitted last."
    )
    commit: values.Text | None = Field(
        None, description="The commit to submit or to ask about. By default what is checked out."
    )
    on_mismatch: values.Decision = Field(
        "stop", description="What to do when a manifest is not the one that was reviewed."
    )
    on_not_reviewed: values.Decision = Field(
        "warn", description="What to do when nothing says that a manifest was reviewed."
    )
    max_concurrency: values.Count = Field(
        8, description="How many requests may be on their way to a server at the same time."
    )

    comment: bool = Field(True, description="Write the review into a comment on the pull request.")
    github_token: values.Token | None = Field(
        None, description="The token for GitHub's API: comments, statuses, artifacts."
    )

    experiments: dict[str, ExperimentTable] = Field(
        {}, description="What differs for single experiments, by name."
    )
    target_experiments: dict[str, ExperimentTable] = Field(
        {}, description="The same, where it holds for this target alone."
    )

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _explicit: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _hera_config: Mapping[str, tuple[Any, str]] = PrivateAttr(default_factory=dict)
    _environ: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _found_secrets: tuple[SecretStr | Kubeconfig, ...] = PrivateAttr(default=())
    _allowed_by: Settings | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take nothing but what `load` hands over: sources of pydantic's keep no origins."""
        return (init_settings,)

    @classmethod
    def load(
        cls,
        flags: Mapping[str, Any] = NOTHING,
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
        project_file: tuple[str, str] | None = None,
    ) -> Self:
        """Read all sources; what cannot be right is told all at once, in a SettingsError.

        `flags` maps fields to values, None where a flag was not given. `project_file` (the name
        for people, the text) replaces the files of `directory`, its hera.config among them:
        what steers a run that holds secrets comes from a trusted commit.
        """
        environ = os.environ if environ is None else environ
        mistakes: list[str] = []
        project = sources.read_project_file(directory, project_file, mistakes)
        explicit = [
            sources.flags_layer(flags, VARIABLES),
            sources.heraci_layer(environ, VARIABLES),
        ]
        explicit = [sources.with_token_from_file(layer, mistakes) for layer in explicit]
        target, default = sources.target_of(explicit, project, mistakes)
        chosen, general, others = sources.file_layers(project, target, KEYS, directory, mistakes)
        here = None if project_file else directory or Path()
        configs = hera_config.hera_configs(environ, here, mistakes)
        places = [*explicit, *default, chosen, sources.usual_layer(environ), general]
        places += [each.layer for each in configs] + [sources.circumstances(environ)]
        read = [(layer, _validated(cls, layer, mistakes)) for layer in places]
        for other in others:
            _validated(cls, other, mistakes)
        passed = {name for _, each in read for name in _passed_variables(each)}
        mistakes += sources.unknown_variables(environ, VARIABLES, passed)
        if mistakes:
            raise SettingsError(told(mistakes))
        settings = cls(**layers.merged(read))
        settings._remember(read, configs, environ, passed)
        settings._check_passed()
        return settings

    def _remember(
        self,
        read: layers.Read,
        configs: Sequence[hera_config.HeraConfig],
        environ: Mapping[str, str],
        passed: Iterable[str],
    ) -> None:
        """Keep beside the values what the questions below ask for."""
        self._origins = dict.fromkeys(type(self).model_fields, DEFAULT) | layers.origins(read)
        self._explicit = layers.merged([each for each in read if each[0].explicit])
        self._hera_config = {
            name: (value, config.origin)
            for config in reversed(configs)
            for name, value in (config.arguments | config.withheld).items()
        }
        self._environ = {name: environ[name] for name in sorted(passed) if name in environ}
        self._found_secrets = (
            *(found[name] for _, found in read for name in SECRETS if name in found),
            *(SecretStr(text) for config in configs for text in config.withheld.values()),
            *(SecretStr(text) for text in environ_secrets(environ)),
        )

    def _check_passed(self) -> None:
        """Refuse to hand a secret to experiments under a name that does not tell."""
        passed = {f"{name} (pass-environ)": value for name, value in self._environ.items()}
        passed |= {f"{name} (--set)": str(value) for name, value in self.arguments.items()}
        passed |= {
            f"{name} (hera.config)": str(v) for name, v in self.hera_config_arguments.items()
        }
        leaks = leaking(passed, self.secrets()) if passed else []
        if leaks:
            raise SettingsError(
                f"A secret is in {', '.join(leaks)}, and heraci hands none to an experiment: its "
                "manifests get published. Let the workflow take it from a Secret of the cluster."
            )

    def within(self, trusted: Self) -> Self:
        """Give what these settings come to where nobody has agreed to them yet.

        They are a pull request's: OWN and SEEN are as it has them, the rest is as the trusted
        settings have it, and a variable reaches an experiment only where both pass it on.
        """
        others = type(self).model_fields.keys() - OWN - SEEN - {"pass_environ"}
        agreed = {name: getattr(trusted, name) for name in others}
        # A base that knows no target leaves the choice to the first pull request that brings one.
        agreed["target"] = trusted.target or self.target
        made = self.model_copy(update=agreed)
        made._allowed_by = trusted
        return made

    @property
    def origins(self) -> Mapping[str, str]:
        """For each field, and each key of a table (`environment.results`), where it came from."""
        return self._origins

    @property
    def hera_config_arguments(self) -> Mapping[str, Any]:
        """What hera.config files say to the experiments' own parsers; no credentials."""
        said = sorted(self._hera_config.items())
        return {name: value for name, (value, _) in said if not is_credential(name)}

    @property
    def withheld_arguments(self) -> tuple[str, ...]:
        """The names in hera.config files that speak of a credential, so that nobody gets them."""
        return tuple(name for name in sorted(self._hera_config) if is_credential(name))

    def for_experiment(self, name: str) -> ExperimentSettings:
        """Merge what was asked of one experiment.

        A flag or variable of this run wins over tables of the experiment, those over what is for
        all; the target's own table of an experiment wins over the one for all targets.
        """
        tables = [
            each[name] for each in (self.target_experiments, self.experiments) if name in each
        ]
        path, _, function = (choose(tables, "path") or "").partition(":")
        general = {each: self._for_all(each, tables) for each in SHARED}
        general["pass_environ"] = self._allowed(name, general["pass_environ"])
        return ExperimentSettings(
            name=name,
            path=path or None,
            function=function or None,
            inputs=overlaid(table.inputs for table in tables),
            environment=overlaid([*(table.environment for table in tables), self.environment]),
            arguments=self._arguments(name, tables),
            hera_config_arguments=self.hera_config_arguments,
            data=choose(tables, "data") or (),
            environ={
                each: self._environ[each]
                for each in general["pass_environ"]
                if each in self._environ
            },
            **general,
        )

    def _allowed(self, name: str, passed: tuple[str, ...]) -> tuple[str, ...]:
        """Keep of the variables that one experiment asks for those that it may have."""
        if self._allowed_by is None:
            return passed
        allowed = self._allowed_by.for_experiment(name).pass_environ
        return tuple(each for each in passed if each in allowed)

    def _for_all(self, name: str, tables: Sequence[ExperimentTable]) -> Any:
        """Choose between what one experiment says and what is for all."""
        said = None if name in self._explicit else choose(tables, name)
        return getattr(self, name) if said is None else said

    def _arguments(self, name: str, tables: Sequence[ExperimentTable]) -> dict[str, Any]:
        """Merge arguments, the more particular over the more general, this run's over files'."""
        explicit = self._explicit.get("arguments", {})
        return overlaid(
            [
                arguments_for(name, explicit),
                *(table.arguments for table in tables),
                arguments_for(name, self.arguments),
            ]
        )

    def reaching(self, name: str) -> dict[str, Any]:
        """List, as plain JSON, each setting that can change this experiment's manifests.

        It is part of cache keys and of bundle.json, so no secret is in it.
        """
        of = self.for_experiment(name)
        return {
            "target": self.target,
            "namespace": self.namespace,
            "argo-server": self.argo_server,
            "service-account": self.service_account,
            "path": of.path,
            "function": of.function,
            "inputs": dict(of.inputs),
            "environment": dict(of.environment),
            "arguments": dict(of.arguments),
            "hera-config-arguments": dict(of.hera_config_arguments),
            "data": list(of.data),
            "pass-environ": {each: of.environ.get(each) for each in of.pass_environ},
            "allow-network": of.allow_network,
            "pin-randomness": of.pin_randomness,
            "dependencies-from": list(of.dependencies_from),
            "python": of.python,
        }

    def secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that is known, whole and in its parts, for searching what gets published.

        Also those that another source overrides, and what the environ holds under a name that
        speaks of a credential: they must not get out either.
        """
        own = (getattr(self, name) for name in sorted(SECRETS))
        found = (text for each in (*own, *self._found_secrets) for text in secrets_in(each))
        return tuple(SecretStr(text) for text in dict.fromkeys(found) if text)

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        """Show in a repr what somebody set, masked as in `rows`."""
        yield from ((name, value) for name, value, origin in self.rows() if origin != DEFAULT)

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value and origin of each setting, secrets masked: what `heraci doctor` shows."""
        rows = []
        for name in type(self).model_fields:
            for key, value in parts_of(getattr(self, name)):
                origin = self._origins.get(f"{name}{key}") or self._origins.get(name, DEFAULT)
                rows.append((f"{layers.kebab(name)}{key}", shown(f"{name}{key}", value), origin))
        for name, (value, origin) in sorted(self._hera_config.items()):
            rows.append((f"hera-config.{name}", shown(name, value), origin))
        return rows


# Tables, which neither a flag nor a variable can write.
FILE_ONLY = frozenset({"environment", "experiments", "target_experiments"})
# A flag can be read by every user of the machine.
NO_FLAG = frozenset({"argo_token", "github_token"})
SECRETS = frozenset({"argo_token", "github_token", "index_url", "kubeconfig"})
# What belongs to one run has no place in a file that holds for all.
RUN_ONLY = frozenset(
    {"argo_token_file", "attempt", "bundle", "commit", "dry_run", "head", "since_last", "target"}
)
# What a pull request says of itself: what is compiled and how, in a room that holds no secret.
OWN = frozenset(
    {
        *("experiments_dir", "compare", "experiments", "target_experiments", "environment"),
        *("arguments", "dependencies_from", "python", "pin_randomness", "offline", "no_cache"),
        *("allow_network", "compile_timeout", "compile_memory", "compile_output"),
        *("compile_open_files", "compile_processes"),
    }
)
# What its experiments see as it has them, while credentials go where the base says.
SEEN = frozenset({"namespace", "argo_server", "service_account"})
SHARED = tuple(
    sorted(
        set(ExperimentTable.model_fields)
        & set(Settings.model_fields) - {"environment", "arguments"}
    )
)
VARIABLES = tuple(name for name in Settings.model_fields if name not in FILE_ONLY)
_REFUSED = {
    "argo_token": "is a secret and does not belong in the repository: "
    "set HERACI_ARGO_TOKEN or ARGO_TOKEN.",
    "github_token": "is a secret and does not belong in the repository: "
    "set HERACI_GITHUB_TOKEN or GITHUB_TOKEN.",
    **{
        name: f"is for one run, not for a file: use {layers.flag_of(name)} "
        f"or {sources.PREFIX}{name.upper()}."
        for name in RUN_ONLY - {"target"}
    },
    "target": "is for one run, not for a file: did you mean default-target?",
}
KEYS = sources.Keys(
    general=frozenset(Settings.model_fields)
    - set(_REFUSED)
    - {"experiments", "target_experiments"},
    experiment=frozenset(ExperimentTable.model_fields),
    refused=_REFUSED,
)


def _validated(
    settings: type[Settings], layer: layers.Layer, mistakes: list[str]
) -> dict[str, Any]:
    """Turn a layer's raw values into what they mean, and leave out what is told as a mistake.

    Each layer is checked by itself: so a message knows where the value is from.
    """
    if not layer.values:
        return {}
    try:
        read = settings(**layer.values)
    except ValidationError as error:
        mistakes.extend(sentences(error, layer, SECRETS))
        wrong = {detail["loc"][0] for detail in error.errors()}
        right = {name: value for name, value in layer.values.items() if name not in wrong}
        read = settings(**right)
        return {name: getattr(read, name) for name in right}
    return {name: getattr(read, name) for name in layer.values}


def _passed_variables(found: Mapping[str, Any]) -> Iterator[str]:
    """List the variables that settings pass on, for all experiments or for one."""
    yield from found.get("pass_environ", ())
    for name in ("experiments", "target_experiments"):
        for table in found.get(name, {}).values():
            yield from table.pass_environ or ()
