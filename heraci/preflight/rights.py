"""Whether this account may create what will be created, and the workflow's own do its work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heraci.bundle import Severity
from heraci.looks import Answer, Look
from heraci.needs import Action
from heraci.preflight import advice
from heraci.preflight.argo import Controller
from heraci.preflight.cases import Case, Findings, Place
from heraci.preflight.ground import (
    ARGO_GROUP,
    KINDS,
    REVIEWS,
    Ground,
    Kind,
    access_look,
)

# What heraci does with each kind: a workflow is created, the others are applied.
SUBMITTING: Mapping[str, tuple[str, ...]] = {
    "Workflow": ("create",),
    "WorkflowTemplate": ("create", "patch"),
    "ClusterWorkflowTemplate": ("create", "patch"),
    "CronWorkflow": ("create", "patch"),
}
# What Argo's executor, and its agent, do with the workflow's own account.
TASK_RESULTS = Kind(group=ARGO_GROUP, version="v1alpha1", plural="workflowtaskresults")
TASK_SETS = Kind(group=ARGO_GROUP, version="v1alpha1", plural="workflowtasksets")
EXECUTOR = (("create", TASK_RESULTS, ""), ("patch", TASK_RESULTS, ""))
AGENT = (("list", TASK_SETS, ""), ("watch", TASK_SETS, ""), ("patch", TASK_SETS, "status"))
# What the pod that removes artifacts does, with the account that is named for it.
GC_TASKS = Kind(group=ARGO_GROUP, version="v1alpha1", plural="workflowartifactgctasks")
COLLECTOR = (("list", GC_TASKS, ""), ("watch", GC_TASKS, ""), ("patch", GC_TASKS, "status"))
# What kubectl, which Argo runs for a resource template, does for each action.
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "create": ("create",),
    "get": ("get",),
    "delete": ("delete",),
    "patch": ("get", "patch"),
    "apply": ("get", "create", "patch"),
    "replace": ("get", "update"),
}

Asked = tuple[str, str, str, Kind, str]  # namespace, account, verb, kind, subresource


def check_own_rights(ground: Ground, cases: Iterable[Case], findings: Findings) -> None:
    """Say which right to create what will be created is missing."""
    lacking: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    places: dict[str, list[Place]] = defaultdict(list)
    for case in cases:
        namespace = case.namespace(ground.namespace)
        verbs = missing_verbs(ground, case.kind, namespace)
        if verbs:
            lacking[namespace][case.kind] = verbs
            places[namespace].append(case.place())
    for namespace, kinds in lacking.items():
        rules = [(KINDS[kind], verbs) for kind, verbs in kinds.items()]
        told = ", ".join(f"{' and '.join(verbs)} {kind.plural}" for kind, verbs in rules)
        # An account that has nothing to do with Argo was made for looking; another one submits.
        looks_only = not ground.rights(namespace).touches(ARGO_GROUP)
        findings.add(
            "missing-right",
            f"This account may not {told} in namespace {namespace}, so it cannot submit, and no "
            "dry run was made.",
            "The smallest Role that allows it (bind it to the account):\n"
            + advice.role(namespace, "heraci-submit", rules),
            places[namespace],
            Severity.WARNING if looks_only else Severity.ERROR,
            once=True,
        )


def missing_verbs(ground: Ground, kind: str, namespace: str) -> tuple[str, ...]:
    """Give what this account may not do that submitting an object of a kind takes."""
    rights = ground.rights(namespace)
    return tuple(verb for verb in SUBMITTING.get(kind, ()) if not rights.may(verb, KINDS[kind]))


@dataclass(slots=True)
class Accounts:
    """Asks what the workflows' service accounts may do."""

    ground: Ground
    findings: Findings
    default: str = "default"  # the account of workflows that name none
    sure: bool = True  # that it is this one

    def take_defaults(self, controller: Controller) -> None:
        """Take the account that the controller gives to workflows that name none."""
        named = controller.configured("workflowDefaults", "spec", "serviceAccountName")
        self.default = str(named or "default")
        self.sure = controller.configuration is not None or controller.absent

    def named(self, account: str) -> str:
        """Give the account that is meant by a name."""
        return self.default if account == "default" else account

    def looks(self, cases: Iterable[Case]) -> Iterator[Look]:
        """Give the reviews that have to be asked for."""
        for asked in self.asked(cases):
            if self.may_ask(asked[0]):
                yield access_look(*asked)

    def may_ask(self, namespace: str) -> bool:
        return self.ground.rights(namespace).may("create", REVIEWS)

    def asked(self, cases: Iterable[Case]) -> dict[Asked, list[Place]]:
        """Give each question with those who need its answer."""
        found: dict[Asked, list[Place]] = defaultdict(list)
        for case in cases:
            namespace = case.namespace(self.ground.namespace)
            rights = EXECUTOR + (AGENT if case.needs.agent else ())
            for account, at in case.needs.accounts.items():
                for right in rights:
                    found[namespace, self.named(account), *right].append(case.at(at))
            for account, at in case.needs.collectors.items():
                for right in COLLECTOR:
                    found[namespace, self.named(account), *right].append(case.at(at))
            for action in case.needs.actions:
                for asked in self.of_action(action, namespace):
                    found[asked].append(case.place(action.source, action.template))
        return found

    def of_action(self, action: Action, namespace: str) -> Iterator[Asked]:
        kind = self.ground.kind(action.api_version, action.kind)
        if kind is None or (action.namespace or namespace) != namespace:
            return
        account = self.named(action.service_account or "default")
        verbs = ACTIONS.get(action.verb, ())
        for verb in dict.fromkeys((*verbs, "get") if action.waits else verbs):
            yield namespace, account, verb, kind, ""

    def check(self, cases: Sequence[Case], missing: Container[tuple[str, str]]) -> None:
        """Say what the workflows' accounts, but for the missing ones, may not do and have to."""
        lacking: dict[tuple[str, str], list[tuple[Asked, list[Place]]]] = defaultdict(list)
        for asked, places in self.asked(cases).items():
            namespace, account = asked[:2]
            if (namespace, account) in missing:
                continue
            may = self.answer(asked)
            if may is None:
                what = f"whether the service account {account!r} may do what Argo's executor needs"
                self.findings.unseen(REVIEWS, namespace, what)
            elif not may:
                lacking[namespace, account].append((asked, places))
        for (namespace, account), found in lacking.items():
            self.tell(namespace, account, found)

    def answer(self, asked: Asked) -> bool | None:
        if not self.may_ask(asked[0]):
            return None
        seen = self.ground.see(access_look(*asked))
        if seen.answer is not Answer.SEEN:
            return None
        status: Mapping[str, Any] = seen.items[0].get("status") or {}
        return bool(status.get("allowed"))

    def tell(
        self, namespace: str, account: str, found: Sequence[tuple[Asked, list[Place]]]
    ) -> None:
        verbs: dict[str, list[str]] = defaultdict(list)
        for (_, _, verb, kind, subresource), _ in found:
            plural = f"{kind.plural}/{subresource}" if subresource else kind.plural
            verbs[f"{kind.group}|{plural}"].append(verb)
        rules = list(verbs.items())
        told = ", ".join(f"{' and '.join(each)} {named.partition('|')[2]}" for named, each in rules)
        doubtful = account == "default" and not self.sure
        self.findings.add(
            "missing-account-right",
            f"The service account {account!r} in namespace {namespace}, which the workflow runs "
            f"as, may not {told}; without that its steps end in errors."
            + (" Argo's controller may give it another one by default." if doubtful else ""),
            "The smallest Role that allows it:\n"
            + advice.role(namespace, "heraci-executor", rules)
            + f"Bind it: kubectl -n {namespace} create rolebinding heraci-executor-{account} "
            f"--role=heraci-executor --serviceaccount={namespace}:{account}",
            [place for _, places in found for place in places],
            Severity.WARNING if doubtful else Severity.ERROR,
            once=True,
        )
