"""Whether the Secrets are there from which Argo mounts a service account's token.

Kubernetes makes none any more (since 1.24), and Argo's executor with an account of its own, and its
agent, take the token from one: where it is missing their pods wait for it for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

from heraci.bundle import Requirement
from heraci.needs import Needs
from heraci.preflight.advice import TOKEN
from heraci.preflight.cases import Case
from heraci.preflight.existence import Existence
from heraci.preflight.rights import Accounts

# The annotation of a service account that names another Secret.
NAMED = "workflows.argoproj.io/service-account-token.name"


def accounts(cases: Iterable[Case]) -> list[Case]:
    """Give the accounts whose annotations have to be looked at."""
    return [
        Case(
            experiment=case.experiment,
            declared=tuple(
                Requirement(kind="ServiceAccount", name=name, namespace=_own(case))
                for name in case.needs.tokens
            ),
        )
        for case in cases
        if case.needs.tokens
    ]


def secrets(cases: Iterable[Case], existence: Existence, roles: Accounts) -> list[Case]:
    """Give the Secrets with tokens, as further requirements."""
    found = []
    for case in cases:
        wanted = []
        for name, at in case.needs.tokens.items():
            account = roles.named(name)
            namespace = case.namespace(existence.ground.namespace)
            if existence.knows_missing(account, namespace):
                continue  # and the Secret with it
            item = existence.item("ServiceAccount", account, namespace) or {}
            noted = (item.get("metadata") or {}).get("annotations") or {}
            wanted.append(
                Requirement(
                    kind="Secret",
                    name=str(noted.get(NAMED) or account + TOKEN),
                    namespace=_own(case),
                    template=at.template,
                    source=at.source,
                )
            )
        needs = Needs(requirements=tuple(wanted))
        found.append(Case(experiment=case.experiment, manifest=case.manifest, needs=needs))
    return found


def _own(case: Case) -> str | None:
    return case.manifest.namespace if case.manifest else None
