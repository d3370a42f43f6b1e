"""docs/settings.md, written from the settings themselves.

`python -m heraci.settings.reference > docs/settings.md` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from heraci.settings import FILE_ONLY, KEYS, NO_FLAG, OWN, Settings
from heraci.settings.experiments import ExperimentTable
from heraci.settings.hera_config import KEYS as HERA_CONFIG_KEYS
from heraci.settings.layers import flag_of, kebab
from heraci.settings.shown import shown
from heraci.settings.sources import PREFIX, USUAL_VARIABLES

INTRODUCTION = """\
# Settings

<!-- Written by `python -m heraci.settings.reference`; change heraci/settings/ instead. -->

Each setting is one name. `compile-timeout` is the flag `--compile-timeout`, the variable
`HERACI_COMPILE_TIMEOUT` and the key `compile-timeout` in heraci.toml. `heraci doctor` prints every
setting with its value, or a mask, and the place it came from.

## Which one wins

1. The flag.
2. The variable `HERACI_*`. One that is empty counts as absent.
3. The table `[targets.NAME]` of the target of this run.
4. The variables that other tools have already: `ARGO_SERVER`, `ARGO_TOKEN`, `ARGO_NAMESPACE`,
   `ARGO_SERVICE_ACCOUNT`, `ARGO_SECURE`, `ARGO_INSECURE_SKIP_VERIFY`, `KUBECONFIG`, `GITHUB_TOKEN`.
5. The rest of heraci.toml, or of `[tool.heraci]` in pyproject.toml (not both).
6. `hera.config`, first `./`, then the file that `ARGOCONFIG` names, then `~/`.
7. The default.

For one experiment, `[experiments.NAME]` wins over what heraci.toml says for all, and
`[targets.NAME.experiments.NAME]` over that; a flag or a `HERACI_*` variable wins over both. Tables
(`environment`, `inputs`, `arguments`) are merged key by key.

A key of heraci.toml or a variable `HERACI_*` that is no setting is an error. Left alone are
variables that `pass-environ` lists and those that Kubernetes makes for a service called heraci.

## On a pull request

In CI the settings of a pull request or of a merge queue are those of its base, whose heraci.toml,
pyproject.toml and hera.config are read from Git, and with them the files of the repository that
they name (a kubeconfig, a certificate). What the pull request's own files say holds for compiling
alone, and of these settings alone:

{own}.

Its experiments see `namespace`, `argo-server` and `service-account` as it has them; credentials go
where the base says. A variable of `pass-environ` reaches an experiment where base and pull request
pass it on. The review names every setting that changes and does not hold yet. A flag and a
`HERACI_*` variable hold in any case: they come from the workflow.

## heraci.toml

```toml
default-target = "lab"

[targets.lab]                       # any setting below that may be in a file
namespace = "argo-dev"
argo-server = "argowf.example.org:443"

[targets.lab.environment]           # names in this cluster for the fields of an Environment
results = "vcity-pvc"

[targets.lab.experiments.collect.inputs]   # one experiment on this target
vintages = [2009]

[experiments.collect]               # one experiment on every target
compile-timeout = 120

[arguments]                         # for every experiment that parses a command line
verbose = true
```

Secrets have no place in a file of the repository: heraci.toml refuses tokens, the content of a
kubeconfig and an index address with a password, and names the variable to use.

## hera.config

The files of hera_utils and hera_k8s_utils are read as they are. These keys are settings:
{known}.
Every other key is an argument for the command line that experiments parse themselves, except one
that is named like a credential (`db_password`): no experiment gets to see that.
"""

TABLES = frozenset({"experiments", "target_experiments"})

# The field that opens each part of the list.
SECTIONS = {
    "experiments_dir": "What to work on",
    "compile_timeout": "Compiling",
    "environment": "The target",
    "check_secret_keys": "Asserting",
    "attempt": "Submitting",
    "comment": "Reviewing",
}


def reference() -> str:
    """Write the page."""
    known = ", ".join(f"`{key}` (`{kebab(name)}`)" for key, name in HERA_CONFIG_KEYS.items())
    own = ", ".join(f"`{kebab(name)}`" for name in Settings.model_fields if name in OWN - TABLES)
    own = own.replace("`environment`", "`environment`, `[experiments]`")
    return INTRODUCTION.format(known=known, own=own) + "\n".join(
        [*_settings(), *_experiment_keys(), ""]
    )


def _settings() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            yield f"\n## {SECTIONS[name]}\n"
        if name not in TABLES:
            yield f"- **{kebab(name)}**{_default(name, field)}: {field.description}"
            yield f"  ({_ways(name)})"


def _default(name: str, field: FieldInfo) -> str:
    """Write the default, unless the description has to explain it."""
    if field.default in (None, PydanticUndefined, (), {}):
        return ""
    return f" = `{shown(name, field.default)}`"


def _ways(name: str) -> str:
    """List the ways in which this one can be given."""
    usual = [variable for variable, field in USUAL_VARIABLES.items() if field == name]
    # A switch that is on has a flag that turns it off.
    turned = False if Settings.model_fields[name].default is True else None
    ways = [] if name in FILE_ONLY | NO_FLAG else [f"`{flag_of(name, turned)}`"]
    ways += [] if name in FILE_ONLY else [f"`{PREFIX}{name.upper()}`"]
    ways += [f"`{variable}`" for variable in usual]
    ways += ["heraci.toml"] if name in KEYS.general else []
    return ", ".join(ways)


def _experiment_keys() -> Iterator[str]:
    """List what a table of one experiment may say."""
    yield "\n## One experiment: `[experiments.NAME]`\n"
    shared = []
    for name, field in ExperimentTable.model_fields.items():
        if field.description:
            yield f"- **{kebab(name)}**: {field.description}"
        else:
            shared.append(f"`{kebab(name)}`")
    yield f"\nAnd for this experiment alone: {', '.join(shared)}."


if __name__ == "__main__":
    print(reference(), end="")
