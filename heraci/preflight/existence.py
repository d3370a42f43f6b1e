"""Whether what is required is there, and is as it is wanted."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from heraci.bundle import Requirement, Severity
from heraci.looks import Answer, Look, name_of
from heraci.needs import Call, quantity
from heraci.preflight import advice
from heraci.preflight.cases import Case, Findings, Trouble, place_of
from heraci.preflight.claims import claim_troubles
from heraci.preflight.contents import config_map_troubles, key_troubles, template_troubles
from heraci.preflight.ground import ARGO, Ground, Stock

# Kinds that are looked at whole: few, small, and their names alone say too little.
WHOLE = frozenset({"PersistentVolumeClaim", "StorageClass"})
# Kinds that are looked at whole where something in them is asked for; they may be large.
KEYED = frozenset({"ClusterWorkflowTemplate", "ConfigMap", "WorkflowTemplate"})
# Objects looked at one by one, where a list is forbidden.
MOST_SINGLE_LOOKS = 20
Group = tuple[str, str, str | None]  # api version, kind, namespace


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """What was found out about one requirement."""

    requirement: Requirement
    experiment: str
    state: str


@dataclass(slots=True)
class Existence:
    """Looks requirements up, and remembers for `explain` what became of each."""

    ground: Ground
    findings: Findings
    check_secret_keys: bool = False
    looked_at: frozenset[str] = frozenset()  # namespaces that are somebody else's to look at
    whole_wants: dict[str, Requirement] = field(default_factory=dict)
    explained: list[Explained] = field(default_factory=list)
    stocks: dict[Group, Stock | None] = field(default_factory=dict)
    missing_accounts: set[tuple[str, str]] = field(default_factory=set)
    # Where else an artifact repository may be, and whether looking there was possible.
    elsewhere: Callable[[Requirement], tuple[Mapping[str, Any] | None, bool]] = field(
        default=lambda _: (None, True)
    )

    def looks(self, cases: Iterable[Case]) -> Iterator[Look]:
        """Give what has to be looked at first, so that it can be done at the same time."""
        groups = self.groups(cases)
        self.ground.kinds = len({kind for _, kind, _ in groups})
        for group, wanted in groups.items():
            yield from self.looks_of(group, [requirement for _, requirement in wanted])
            if group[1] == "Secret" and self.check_secret_keys:
                yield from self.key_looks(group, [requirement for _, requirement in wanted])

    def take_stock(self, cases: Iterable[Case]) -> None:
        """Sort what was looked at, so that nothing is asked for again."""
        for group, wanted in self.groups(cases).items():
            self.stock(group, [requirement for _, requirement in wanted])

    def check(self, cases: Sequence[Case]) -> None:
        """Say what is missing, and what is there but not right."""
        for group, wanted in self.groups(cases).items():
            stock = self.stock(group, [requirement for _, requirement in wanted])
            if stock is None:
                self.no_such_kind(group, wanted)
                continue
            unseen = set()
            self.whole_wants = _whole_wants(requirement for _, requirement in wanted)
            for case, requirement in wanted:
                if requirement.name in stock.unseen:
                    unseen.add(requirement.name)
                    self.explain(case, requirement, "not looked up: this account may not")
                else:
                    self.judge(case, requirement, stock, group[2])
            if unseen:
                self.not_allowed(group, unseen)

    def item(self, kind: str, name: str, namespace: str | None) -> Mapping[str, Any] | None:
        """Give an object of the core's or of Argo's that was looked at already, where it was."""
        api_version = ARGO if kind.endswith("WorkflowTemplate") else "v1"
        stock = self.stocks.get((api_version, kind, namespace))
        return stock.items.get(name) if stock else None

    def groups(self, cases: Iterable[Case]) -> dict[Group, list[tuple[Case, Requirement]]]:
        """Sort requirements by what one list of the API answers."""
        found: dict[Group, list[tuple[Case, Requirement]]] = {}
        for case in cases:
            for requirement in case.requirements:
                if not requirement.name:
                    continue
                kind = self.ground.kind(requirement.api_version, requirement.kind)
                within = requirement.namespace or self.ground.namespace
                if requirement.kind == "Namespace" and requirement.name in self.looked_at:
                    continue
                namespace = None if kind and not kind.namespaced else within
                group = (requirement.api_version, requirement.kind, namespace)
                found.setdefault(group, []).append((case, requirement))
        return found

    # --- looking -------------------------------------------------------------------------------

    def looks_of(self, group: Group, wanted: Sequence[Requirement]) -> list[Look]:
        """Give the one list that answers for a kind, or single looks where it is forbidden."""
        kind = self.ground.kind(*group[:2])
        if kind is None:
            return []
        names = sorted({each.name for each in wanted})
        whole = group[1] in WHOLE
        if group[1] == "Namespace":
            return [Look(path=kind.path(name=name)) for name in names[:MOST_SINGLE_LOOKS]]
        keyed = group[1].endswith("WorkflowTemplate") or (
            group[1] in KEYED and any(each.keys for each in wanted)
        )
        if self.ground.may_list(kind, group[2]):
            # One alone is asked for by name: the others' content may be large.
            only = (("fieldSelector", f"metadata.name={names[0]}"),) if keyed else ()
            return [
                Look(
                    path=kind.path(group[2]),
                    params=only if len(names) == 1 else (),
                    metadata_only=not (whole or keyed),
                )
            ]
        rights = self.ground.rights(group[2])
        single = [name for name in names if rights.may("get", kind, name)][:MOST_SINGLE_LOOKS]
        return [
            Look(path=kind.path(group[2], name), metadata_only=not (whole or keyed))
            for name in single
        ]

    def key_looks(self, group: Group, wanted: Sequence[Requirement]) -> list[Look]:
        kind = self.ground.kind(*group[:2])
        names = sorted({each.name for each in wanted if each.keys})
        rights = self.ground.rights(group[2])
        if kind is None:
            return []
        return [
            Look(path=kind.path(group[2], name), keys_only=True)
            for name in names
            if rights.may("get", kind, name)
        ]

    def stock(self, group: Group, wanted: Sequence[Requirement]) -> Stock | None:
        """Look a kind up, once; None where the cluster does not know it."""
        names = {each.name for each in wanted}
        known = self.stocks.get(group)
        if known is None or not (known.whole or names <= known.asked):
            self.stocks[group] = known = self.new_stock(group, wanted)
        return known

    def new_stock(self, group: Group, wanted: Sequence[Requirement]) -> Stock | None:
        kind = self.ground.kind(*group[:2])
        if kind is None:
            return None
        looks = self.looks_of(group, wanted)
        names = frozenset(each.name for each in wanted)
        items: dict[str, Mapping[str, Any]] = {}
        unseen, said, listed = set(names), "", False
        for look in looks:
            seen = self.ground.see(look)
            single = look.path != kind.path(group[2])
            if seen.answer is Answer.ABSENT and not single:
                return None
            if seen.answer in {Answer.SEEN, Answer.ABSENT}:
                items |= {name_of(each): each for each in seen.items}
                unseen -= {look.path.rpartition("/")[2]} if single else names
                listed = listed or not (single or look.params)
            said = said or seen.said
        return Stock(items=items, unseen=frozenset(unseen), asked=names, whole=listed, said=said)

    def knows_missing(self, account: str, namespace: str) -> bool:
        """Tell whether a service account was looked for and is not there."""
        stock = self.stocks.get(("v1", "ServiceAccount", namespace))
        if stock is None or account in stock.unseen or not (stock.whole or account in stock.asked):
            return False
        return account not in stock.items

    def could_see(self, requirement: Requirement) -> bool:
        """Tell whether it is known that something is there, or is not."""
        namespace = requirement.namespace or self.ground.namespace
        stock = self.stocks.get((requirement.api_version, requirement.kind, namespace))
        return stock is not None and requirement.name not in stock.unseen

    # --- judging -------------------------------------------------------------------------------

    def explain(self, case: Case, requirement: Requirement, state: str) -> None:
        self.explained.append(
            Explained(requirement=requirement, experiment=case.experiment, state=state)
        )

    def judge(
        self, case: Case, requirement: Requirement, stock: Stock, namespace: str | None
    ) -> None:
        item = stock.items.get(requirement.name)
        sure = True
        if item is None and requirement.name in case.needs.repositories:
            item, sure = self.elsewhere(requirement)
        if item is None:
            self.missing(case, requirement, stock, namespace, sure=sure)
            return
        troubles = list(self.troubles(case, requirement, item))
        places = [place_of(case, requirement)]
        subject = _subject(requirement, namespace)
        for rule, what, how, severity in troubles:
            self.findings.add(rule, f"{subject} {what}", how, places, severity)
        self.explain(case, requirement, "; ".join(each.what for each in troubles) or "is there")

    def missing(
        self,
        case: Case,
        requirement: Requirement,
        stock: Stock,
        namespace: str | None,
        *,
        sure: bool,
    ) -> None:
        into = namespace or self.ground.namespace
        if requirement.kind == "ServiceAccount":
            self.missing_accounts.add((into, requirement.name))
        near = _near(requirement.name, stock)
        meant = f" There is {near[0]!r}: was that meant?" if near else ""
        severity = Severity.ERROR if sure else Severity.WARNING
        what = f"{_subject(requirement, namespace)} is not there"
        if requirement.optional:
            severity, what = Severity.NOTICE, f"{what}, and it is optional"
        elif not sure:
            what += "; Argo's own namespace may have it, where this account may not look"
        self.findings.add(
            f"missing-{advice.kebab(requirement.kind)}",
            f"{what}.{meant}",
            advice.creating(self.whole_wants.get(requirement.name, requirement), into),
            [place_of(case, requirement)],
            severity,
        )
        self.explain(case, requirement, "is not there")

    def troubles(
        self, case: Case, requirement: Requirement, item: Mapping[str, Any]
    ) -> Iterator[Trouble]:
        """Say what is not right with an object that is there."""
        namespace = requirement.namespace or self.ground.namespace
        if (item.get("metadata") or {}).get("deletionTimestamp"):
            how = "Wait until it is gone, then create it again."
            yield Trouble("being-deleted", "is being deleted.", how)
        match requirement.kind:
            case "PersistentVolumeClaim":
                yield from claim_troubles(self.ground, requirement, item, namespace)
            case "ConfigMap":
                yield from config_map_troubles(case, requirement, item, namespace)
            case "Secret":
                yield from self.secret_troubles(requirement, namespace)
            case "WorkflowTemplate" | "ClusterWorkflowTemplate":
                calls = [each for each in case.needs.calls if _is_of(each, requirement)]
                yield from template_troubles(requirement, item, calls)
            case "Namespace" if (item.get("status") or {}).get("phase") == "Terminating":
                yield Trouble("being-deleted", "is being deleted.", "Choose another.")

    def secret_troubles(self, requirement: Requirement, namespace: str) -> Iterator[Trouble]:
        if not (self.check_secret_keys and requirement.keys):
            return
        looks = self.key_looks(("v1", "Secret", namespace), [requirement])
        seen = self.ground.see(looks[0]) if looks else None
        if seen is None or seen.answer is Answer.FORBIDDEN:
            keys = ", ".join(requirement.keys)
            how = "Give this account the right to get it, or leave check-secret-keys off."
            what = f"is there; whether it has {keys} may not be looked up."
            yield Trouble("unchecked-keys", what, how, Severity.NOTICE)
        elif seen.items:
            yield from key_troubles(requirement, seen.items[0].get("data") or {}, namespace)

    # --- what may not be seen, and what nobody knows ------------------------------------------

    def no_such_kind(self, group: Group, wanted: Sequence[tuple[Case, Requirement]]) -> None:
        """Say that a cluster does not know a kind; of Argo's own, that is said once elsewhere."""
        if group[0].startswith("argoproj.io/"):
            return
        served = self.ground.served(group[0])
        places = [place_of(case, requirement) for case, requirement in wanted]
        if served is None:
            what = f"{group[1]} ({group[0]}) could not be looked up."
            self.findings.add("not-checked", what, "", places, Severity.NOTICE)
            return
        what = f"The cluster knows no kind {group[1]} ({group[0]})."
        how = "Install the operator that brings it, or use another cluster."
        self.findings.add("missing-kind", what, how, places)

    def not_allowed(self, group: Group, unseen: Iterable[str]) -> None:
        kind = self.ground.kind(*group[:2])
        assert kind is not None
        self.findings.unseen(kind, group[2], ", ".join(sorted(unseen)))


def _near(name: str, stock: Stock) -> list[str]:
    """Find a name that was perhaps meant; that of a token follows from the account's."""
    if name.endswith(advice.TOKEN):
        return []
    return difflib.get_close_matches(name, sorted(stock.items), n=1)


def _subject(requirement: Requirement, namespace: str | None) -> str:
    where = f" in namespace {namespace}" if namespace else ""
    return f"{requirement.kind} {requirement.name!r}{where}"


def _is_of(call: Call, requirement: Requirement) -> bool:
    """Tell whether a call is what a requirement of a template stands for."""
    return (call.kind, call.name, call.caller) == (
        requirement.kind,
        requirement.name,
        requirement.template,
    )


def _whole_wants(requirements: Iterable[Requirement]) -> dict[str, Requirement]:
    """Give for each name all that anybody wants of it, so that it is created once and right."""
    wants: dict[str, Requirement] = {}
    for each in requirements:
        known = wants.setdefault(each.name, each)
        wants[each.name] = replace(
            known,
            keys=tuple(dict.fromkeys(known.keys + each.keys)),
            access=tuple(dict.fromkeys(known.access + each.access)),
            storage=max((known.storage, each.storage), key=lambda s: quantity(s) or 0),
        )
    return wants
