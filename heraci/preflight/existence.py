"""Whether what is required is there, with its keys, its access and its size."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from heraci import document
from heraci.bundle import Requirement, Severity
from heraci.looks import Answer, Look, name_of
from heraci.needs import quantity
from heraci.preflight import advice
from heraci.preflight.cases import Case, Findings, Place, place_of
from heraci.preflight.ground import KINDS, Ground, Stock

CONFIGMAP_TYPE = "workflows.argoproj.io/configmap-type"
# Kinds that are looked at whole: few, small, and their names alone say too little.
WHOLE = frozenset({"PersistentVolumeClaim", "StorageClass"})
# Kinds whose keys, or whose templates, can be seen in a list.
KEYED = frozenset({"ClusterWorkflowTemplate", "ConfigMap", "WorkflowTemplate"})
# Objects looked at one by one, where a list is forbidden.
MOST_SINGLE_LOOKS = 20
# What each access mode of a claim is good for.
OFFERS = {
    "ReadWriteOnce": {"ReadWriteOnce"},
    "ReadOnlyMany": {"ReadOnlyMany"},
    "ReadWriteMany": {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce"},
    "ReadWriteOncePod": {"ReadWriteOnce", "ReadWriteOncePod"},
}

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

    def looks(self, cases: Iterable[Case]) -> Iterator[Look]:
        """Give what has to be looked at first, so that it can be done at the same time."""
        for group, wanted in self.groups(cases).items():
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
            unseen: dict[str, list[Place]] = defaultdict(list)
            self.whole_wants = _whole_wants(requirement for _, requirement in wanted)
            for case, requirement in wanted:
                if requirement.name in stock.unseen:
                    unseen[requirement.name].append(place_of(case, requirement))
                    self.explain(case, requirement, "not looked up: this account may not")
                else:
                    self.judge(case, requirement, stock, group[2])
            if unseen:
                self.not_allowed(group, unseen)

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
        keyed = group[1] in KEYED and any(each.keys for each in wanted)
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
            item, sure = self.of_controller(requirement)
        if item is None:
            self.missing(case, requirement, stock, namespace, sure=sure)
            return
        troubles = list(self.troubles(case, requirement, item))
        places = [place_of(case, requirement)]
        subject = self.subject(requirement, namespace)
        for rule, severity, what, how in troubles:
            self.findings.add(rule, f"{subject} {what}", how, places, severity)
        state = "; ".join(what for _, _, what, _ in troubles) or "is there"
        self.explain(case, requirement, state)

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
        near = difflib.get_close_matches(requirement.name, sorted(stock.items), n=1)
        meant = f" There is {near[0]!r}: was that meant?" if near else ""
        severity = Severity.ERROR if sure else Severity.WARNING
        what = f"{self.subject(requirement, namespace)} is not there"
        if requirement.optional:
            severity, what = Severity.NOTICE, f"{what}, and it is optional"
        elif not sure:
            what += "; Argo's own namespace may have it, where this account may not look"
        what += "."
        self.findings.add(
            f"missing-{advice.kebab(requirement.kind)}",
            what + meant,
            advice.creating(self.whole_wants.get(requirement.name, requirement), into),
            [place_of(case, requirement)],
            severity,
        )
        self.explain(case, requirement, "is not there")

    def subject(self, requirement: Requirement, namespace: str | None) -> str:
        where = f" in namespace {namespace}" if namespace else ""
        return f"{requirement.kind} {requirement.name!r}{where}"

    def troubles(
        self, case: Case, requirement: Requirement, item: Mapping[str, Any]
    ) -> Iterator[tuple[str, Severity, str, str]]:
        """Say what is not right with an object that is there: rule, severity, what, how."""
        if (item.get("metadata") or {}).get("deletionTimestamp"):
            how = "Wait until it is gone, then create it again."
            yield "being-deleted", Severity.ERROR, "is being deleted.", how
        match requirement.kind:
            case "PersistentVolumeClaim":
                yield from self.claim_troubles(requirement, item)
            case "ConfigMap":
                yield from self.config_map_troubles(case, requirement, item)
            case "Secret":
                yield from self.secret_troubles(requirement)
            case "WorkflowTemplate" | "ClusterWorkflowTemplate":
                yield from self.template_troubles(requirement, item)
            case "Namespace" if (item.get("status") or {}).get("phase") == "Terminating":
                yield "being-deleted", Severity.ERROR, "is being deleted.", "Choose another."

    def config_map_troubles(
        self, case: Case, requirement: Requirement, item: Mapping[str, Any]
    ) -> Iterator[tuple[str, Severity, str, str]]:
        keys = self.keys_of(requirement, item)
        yield from self.key_troubles(requirement, keys)
        wanted = case.needs.typed.get(requirement.name)
        labels = (item.get("metadata") or {}).get("labels") or {}
        if wanted and labels.get(CONFIGMAP_TYPE) != wanted:
            where = requirement.namespace or self.ground.namespace
            yield (
                "unlabelled-config-map",
                Severity.ERROR,
                f"lacks the label {CONFIGMAP_TYPE}: {wanted}, without which Argo does not use it.",
                advice.labelling(requirement.name, where, CONFIGMAP_TYPE, wanted),
            )

    def keys_of(self, requirement: Requirement, item: Mapping[str, Any]) -> frozenset[str] | None:
        if not requirement.keys:
            return frozenset()
        return frozenset({**(item.get("data") or {}), **(item.get("binaryData") or {})})

    def secret_troubles(self, requirement: Requirement) -> Iterator[tuple[str, Severity, str, str]]:
        if not (self.check_secret_keys and requirement.keys):
            return
        namespace = requirement.namespace or self.ground.namespace
        looks = self.key_looks(("v1", "Secret", namespace), [requirement])
        seen = self.ground.see(looks[0]) if looks else None
        if seen is None or seen.answer is Answer.FORBIDDEN:
            keys = ", ".join(requirement.keys)
            how = "Give this account the right to get it, or leave check-secret-keys off."
            what = f"is there; whether it has {keys} may not be looked up."
            yield "unchecked-keys", Severity.NOTICE, what, how
        elif seen.items:
            data = frozenset(seen.items[0].get("data") or {})
            yield from self.key_troubles(requirement, data)

    def key_troubles(
        self, requirement: Requirement, keys: Iterable[str] | None
    ) -> Iterator[tuple[str, Severity, str, str]]:
        there = sorted(keys or ())
        absent = [key for key in requirement.keys if key not in there]
        if not absent:
            return
        namespace = requirement.namespace or self.ground.namespace
        has = f"it has {', '.join(there)}" if there else "it has none"
        severity = Severity.NOTICE if requirement.optional else Severity.ERROR
        noun = "key" if len(absent) == 1 else "keys"
        what = f"lacks the {noun} {', '.join(map(repr, absent))} ({has})."
        yield "missing-key", severity, what, advice.adding_keys(requirement, absent, namespace)

    def template_troubles(
        self, requirement: Requirement, item: Mapping[str, Any]
    ) -> Iterator[tuple[str, Severity, str, str]]:
        there = [str(each.get("name")) for each in (item.get("spec") or {}).get("templates") or ()]
        absent = [each for each in requirement.keys if each not in there]
        if requirement.keys and absent:
            what = f"holds no template {', '.join(map(repr, absent))}; it holds {', '.join(there)}."
            how = "Correct the name, or apply a version that has it."
            yield "missing-template", Severity.ERROR, what, how

    # --- claims --------------------------------------------------------------------------------

    def claim_troubles(
        self, requirement: Requirement, item: Mapping[str, Any]
    ) -> Iterator[tuple[str, Severity, str, str]]:
        spec, status = item.get("spec") or {}, item.get("status") or {}
        phase = status.get("phase") or "Pending"
        namespace = requirement.namespace or self.ground.namespace
        if phase == "Lost":
            how = "Its volume is gone: restore the volume, or create the claim anew."
            yield "claim-lost", Severity.ERROR, "has lost its volume.", how
        if phase == "Pending":
            yield from self.pending(requirement, spec, namespace)
        modes = set(status.get("accessModes") or spec.get("accessModes") or ())
        offered = set().union(*(OFFERS.get(mode, {mode}) for mode in modes))
        lacking = [mode for mode in requirement.access if mode not in offered]
        if lacking:
            what = f"offers {', '.join(sorted(modes)) or 'nothing'}, not {', '.join(lacking)}."
            how = "A claim's access mode cannot change: use another claim, or make one:\n"
            yield (
                "claim-access",
                Severity.ERROR,
                what,
                how + advice.creating(replace(requirement, name="NAME"), namespace),
            )
        yield from self.size_troubles(requirement, spec, status)

    def size_troubles(
        self, requirement: Requirement, spec: Mapping[str, Any], status: Mapping[str, Any]
    ) -> Iterator[tuple[str, Severity, str, str]]:
        asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
        has = (status.get("capacity") or {}).get("storage") or asked
        size, needed = quantity(has), quantity(requirement.storage)
        if needed is None or size is None or size >= needed:
            return
        namespace = requirement.namespace or self.ground.namespace
        what = f"has {has}, and {requirement.storage} are needed."
        yield "claim-size", Severity.ERROR, what, advice.growing(requirement, namespace)

    def pending(
        self, requirement: Requirement, spec: Mapping[str, Any], namespace: str
    ) -> Iterator[tuple[str, Severity, str, str]]:
        """Tell a claim that waits for its first pod from one that nothing will ever bind."""
        name = spec.get("storageClassName")
        kind = self.ground.kind("storage.k8s.io/v1", "StorageClass")
        assert kind is not None
        see = f"See why: kubectl -n {namespace} describe pvc {requirement.name}"
        if not self.ground.may_list(kind, None):
            what = "is not bound yet, and this account may not look up its storage class."
            yield "claim-pending", Severity.WARNING, what, see
            return
        seen = self.ground.see(Look(path=kind.path()))
        if seen.answer is not Answer.SEEN:
            what = "is not bound yet, and this account may not look up its storage class."
            yield "claim-pending", Severity.WARNING, what, see
            return
        classes = {name_of(each): each for each in seen.items}
        if name is None:
            name = next((key for key, each in classes.items() if _is_default(each)), None)
        found = classes.get(name or "")
        if found and found.get("volumeBindingMode") == "WaitForFirstConsumer":
            return
        why = (
            f"its storage class {name!r} does not exist"
            if name and not found
            else f"nothing has bound it, though {name!r} binds at once"
            if name
            else "it has no storage class and no volume fits it"
        )
        yield "claim-pending", Severity.ERROR, f"is Pending: {why}.", see

    # --- what may be elsewhere, what may not be seen -----------------------------------------

    def of_controller(self, requirement: Requirement) -> tuple[Mapping[str, Any] | None, bool]:
        """Find an artifact repository where Argo looks next: in its controller's namespace.

        Gives what was found, and whether looking was possible.
        """
        kind, sure = KINDS["ConfigMap"], True
        if not self.ground.rights().may("get", kind, requirement.name):
            return None, False
        for namespace in self.ground.controller_namespaces():
            seen = self.ground.see(Look(path=kind.path(namespace, requirement.name)))
            if seen.items:
                return seen.items[0], True
            sure = sure and seen.answer is Answer.ABSENT
        return None, sure

    def repository_cases(self, cases: Iterable[Case]) -> list[Case]:
        """Give the Secrets that artifact repositories name, as further requirements."""
        found = []
        for case in cases:
            for requirement in case.needs.requirements:
                if requirement.kind != "ConfigMap" or requirement.name not in (
                    case.needs.repositories
                ):
                    continue
                secrets = tuple(self.secrets_behind(requirement))
                found.append(
                    replace(case, needs=replace(case.needs, requirements=secrets), declared=())
                )
        return found

    def secrets_behind(self, requirement: Requirement) -> Iterator[Requirement]:
        group = ("v1", "ConfigMap", requirement.namespace or self.ground.namespace)
        stock = self.stock(group, [requirement])
        item = stock.items.get(requirement.name) if stock else None
        data = (item or {}).get("data") or {}
        default = "workflows.argoproj.io/default-artifact-repository"
        noted = ((item or {}).get("metadata") or {}).get("annotations") or {}
        for key in requirement.keys or (noted.get(default),):
            try:
                read = document.load(data.get(key) or "")
            except (document.YAMLError, ValueError, TypeError):
                continue
            for name, of_secret in _secrets(read):
                keys = (of_secret,) if of_secret else ()
                yield replace(requirement, kind="Secret", name=name, keys=keys)

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

    def not_allowed(self, group: Group, unseen: Mapping[str, Sequence[Place]]) -> None:
        kind = self.ground.kind(*group[:2])
        assert kind is not None
        where = f" in namespace {group[2]}" if group[2] else ""
        names = ", ".join(sorted(unseen))
        scope = "a ClusterRole" if group[2] is None else "a Role"
        rule = f'{{apiGroups: ["{kind.group}"], resources: [{kind.plural}], verbs: [list]}}'
        # One notice for all of a kind: it is about the account, not about an experiment.
        first = next(iter(unseen.values()))[0]
        self.findings.add(
            "not-checked",
            f"This account may not look up {kind.plural}{where}, so nothing was asserted of: "
            f"{names}.",
            f"To have it asserted, add to {scope}: {rule}",
            [first],
            Severity.NOTICE,
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


def _is_default(storage_class: Mapping[str, Any]) -> bool:
    noted = (storage_class.get("metadata") or {}).get("annotations") or {}
    return noted.get("storageclass.kubernetes.io/is-default-class") == "true"


def _secrets(node: Any) -> Iterator[tuple[str, str | None]]:
    """Find references to Secrets at any depth of an artifact repository."""
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, each in children:
        if isinstance(each, dict) and str(key).endswith("Secret") and each.get("name"):
            yield str(each["name"]), str(each["key"]) if each.get("key") else None
        else:
            yield from _secrets(each)
