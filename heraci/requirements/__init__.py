"""Read from a manifest what it needs of the cluster, wherever that hides.

Most of it is found by the names that Kubernetes and Argo give to a reference (`secretKeyRef`,
`claimName`, `…Secret`), at any depth: artifacts, hooks, sidecars and pod spec patches then need no
code of their own, and neither does the place that Argo's next version adds. Names that hold
`{{…}}` are resolved by walking the workflow from its entrypoint, as its arguments flow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from heraci import document
from heraci.bundle import Finding, Manifest, Requirement, Severity
from heraci.needs import Action, At, Call, Claim, Container, Needs, Pod
from heraci.requirements.pods import expressions, patched, pod_spec, pod_specs
from heraci.requirements.scope import (
    PLACEHOLDER,
    Scope,
    fill,
    fill_in,
    loops,
    supplied,
    value_of,
    written,
)
from heraci.requirements.shapes import first, listed, record, records
from heraci.workflow import spec_of

ARGO = "argoproj.io/v1alpha1"
# How often one template is read with other arguments.
MOST_READINGS = 1000
# A reference to a Secret, wherever Kubernetes and Argo have one.
_SECRET = re.compile(r"Secret(?:Ref)?$|^secretRef$")
# What holds strangers' words, where a familiar key means nothing.
_OPAQUE = frozenset(
    "annotations labels matchLabels metadata nodeSelector plugin podMetadata "
    "workflowMetadata".split()
)
# What is read as a whole, and not once more key by key.
_WHOLE = frozenset({"memoize", "synchronization", "valueFrom"})
# What is walked by its own rules, with arguments.
_WALKED = frozenset({"templates", "steps", "dag", "hooks", "inline"})
_LEAVES = ("container", "script", "containerSet", "resource", "data", "http", "plugin")
# Where an artifact may lie, and where its content may come from instead.
_STORES = frozenset("artifactory azure gcs git hdfs http oss plugin raw s3".split())
_GROUPS = {
    "CSIDriver": "storage.k8s.io/v1",
    "ClusterWorkflowTemplate": ARGO,
    "PriorityClass": "scheduling.k8s.io/v1",
    "ResourceClaim": "resource.k8s.io/v1",
    "ResourceClaimTemplate": "resource.k8s.io/v1",
    "RuntimeClass": "node.k8s.io/v1",
    "SecretProviderClass": "secrets-store.csi.x-k8s.io/v1",
    "StorageClass": "storage.k8s.io/v1",
    "VolumeAttributesClass": "storage.k8s.io/v1",
    "VolumeSnapshot": "snapshot.storage.k8s.io/v1",
    "WorkflowTemplate": ARGO,
}
_CLUSTER_SCOPED = frozenset(
    "CSIDriver ClusterWorkflowTemplate Namespace PriorityClass RuntimeClass StorageClass "
    "VolumeAttributesClass".split()
)


def needs(
    manifest: Manifest,
    *,
    experiment: str | None = None,
    provided: Iterable[Manifest] = (),
    namespace: str | None = None,
    service_account: str | None = None,
) -> Needs:
    """Read what one manifest needs.

    `provided` are the manifests that the same bundle applies: what they bring is not asked of the
    cluster. `namespace` and `service_account` are the target's, for manifests that name none.
    """
    reader = _Reader(manifest, experiment, tuple(provided), namespace, service_account)
    reader.read()
    return reader.result()


def requirements(manifest: Manifest, **how: Any) -> tuple[Requirement, ...]:
    """Give the cluster's resources alone that one manifest needs; arguments as for `needs`."""
    return needs(manifest, **how).requirements


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something was read: the manifest, its template, its task, and what holds there.

    `namespace` is that of what a resource template makes, where it names one; `caller` is where
    a template that the repository does not hold is called.
    """

    manifest: Manifest
    template: str | None = None
    task: str | None = None
    scope: Scope = field(default_factory=dict)
    namespace: str | None = None
    caller: str | None = None

    @property
    def at(self) -> At:
        return At(self.source, self.template)

    @property
    def source(self) -> str | None:
        sources = self.manifest.sources
        if self.template and self.task and (found := sources.get(f"{self.template}/{self.task}")):
            return found
        own = sources.get(self.template) if self.template else None
        return own or sources.get("") or self.caller


class _Reader:
    """Walks one manifest and gathers what it finds."""

    def __init__(
        self,
        manifest: Manifest,
        experiment: str | None,
        provided: tuple[Manifest, ...],
        namespace: str | None,
        service_account: str | None,
    ) -> None:
        self.manifest = manifest
        self.experiment = experiment
        self.provided = {(each.kind, each.name): each for each in provided}
        self.spec = spec_of(manifest.document)
        self.inherited = self._inherited()
        self.namespace = manifest.namespace or namespace
        # Argo's order: the workflow, the template it refers to, then heraci's target.
        accounts = (each.get("serviceAccountName") for each in (self.spec, *self.inherited))
        named = (each for each in accounts if isinstance(each, str) and each)
        self.account: str | None = next(named, service_account)
        self.found: dict[tuple[Any, ...], Requirement] = {}
        self.pods: dict[tuple[str, str], Pod] = {}
        self.claims: dict[str, Claim] = {}
        self.actions: dict[Action, None] = {}
        self.calls: dict[Call, None] = {}
        self.accounts: dict[str, At] = {}
        self.tokens: dict[str, At] = {}
        self.collectors: dict[str, At] = {}
        self.agent = False
        self.typed: dict[str, str] = {}
        self.repositories: set[str] = set()
        self.stores: dict[At, None] = {}
        self.limits: set[tuple[str, str]] = set()
        self.databases: dict[At, None] = {}
        self.may_call_any = False  # a template's name is known at run time only
        self.told: dict[tuple[str | None, str], Finding] = {}
        self.readings: dict[str, int] = {}
        self.seen: set[tuple[Any, ...]] = set()

    def result(self) -> Needs:
        parallelism = first(each.get("parallelism") for each in (self.spec, *self.inherited))
        made = {(each.kind, each.name, each.namespace) for each in self.actions if each.makes}
        return Needs(
            requirements=tuple(
                each
                for each in self.found.values()
                if (each.kind, each.name, each.namespace) not in made
            ),
            pods=tuple(self.pods.values()),
            claims=tuple(self.claims.values()),
            actions=tuple(self.actions),
            calls=tuple(self.calls),
            accounts=self.accounts,
            tokens=self.tokens,
            collectors=self.collectors,
            agent=self.agent,
            typed=self.typed,
            repositories=frozenset(self.repositories),
            stores=() if self.repositories else tuple(self.stores),
            semaphores=frozenset(self.limits),
            databases=tuple(self.databases),
            parallelism=parallelism if isinstance(parallelism, int) else None,
            findings=tuple(self.told.values()),
        )

    # --- the walk ------------------------------------------------------------------------------

    def read(self) -> None:
        place = _Place(self.manifest, scope=self.workflow_scope())
        if self.manifest.namespace:
            self.require("Namespace", self.manifest.namespace, place)
        if self.account and self.account != self.spec.get("serviceAccountName"):
            self.require("ServiceAccount", self.account, place)
        for spec in (self.spec, *self.inherited):
            self.visit(spec, place)
            for claim in records(spec.get("volumeClaimTemplates")):
                self.claim(claim, place)
        self.whole_template(place)
        for call in self.first_calls(place):
            self.call(call, place)
        self.unreached(place)

    def first_calls(self, place: _Place) -> Iterator[Mapping[str, Any]]:
        """Give what the workflow itself starts: its entrypoint, its exit handler, its hooks."""
        prefix = "workflow.parameters."
        given = [(key.removeprefix(prefix), each) for key, each in place.scope.items()]
        known = [{"name": name, "value": each} for name, each in given if each is not None]
        for key in ("entrypoint", "onExit"):
            if started := first(each.get(key) for each in (self.spec, *self.inherited)):
                yield {"template": started, "arguments": {"parameters": known}}
        for spec in (self.spec, *self.inherited):
            yield from records(list(record(spec.get("hooks")).values()))

    def whole_template(self, place: _Place) -> None:
        """Note the template that the whole workflow is made from."""
        reference = record(self.spec.get("workflowTemplateRef"))
        if not reference:
            return
        kind, name = self.referred(reference, place)
        entrypoint = self.resolve(self.spec.get("entrypoint"), place)
        if name:
            given = record(self.spec.get("arguments"))
            self.note_call(Call(kind=kind, name=name, entrypoint=entrypoint), given, place)

    def note_call(self, call: Call, given: Mapping[str, Any], place: _Place) -> None:
        found = replace(
            call,
            parameters=frozenset(map(str, supplied(given.get("parameters")))),
            artifacts=frozenset(map(str, supplied(given.get("artifacts")))),
            caller=place.template,
            source=place.source,
        )
        self.calls[found] = None

    def unreached(self, place: _Place) -> None:
        """Read the templates that nothing here calls: others may, with arguments of their own.

        What a workflow never calls never runs, and so needs nothing.
        """
        runs = self.manifest.kind in {"CronWorkflow", "Workflow"}
        if runs and self.readings and not self.may_call_any:
            return
        for template in records(self.spec.get("templates")):
            if str(template.get("name") or "") not in self.readings:
                inputs = records(record(template.get("inputs")).get("parameters"))
                unknown = {str(each.get("name")): None for each in inputs}
                self.template(template, place, unknown, id(template))

    def call(self, call: Mapping[str, Any], place: _Place) -> None:
        """Follow one step, task, hook or entrypoint into the template that it runs."""
        for scope in loops(call, place.scope):
            inside = replace(place, scope=scope)
            self.visit({key: each for key, each in call.items() if key != "template"}, inside)
            found, owner = self.called(call, inside)
            if found is None or call.get("templateRef"):
                self.referring_call(call, inside)
            if found is None:
                continue
            given = self.arguments(call, inside)
            identity = id(call.get("inline") or found)
            self.template(
                found, replace(inside, manifest=owner, caller=inside.source), given, identity
            )

    def referring_call(self, call: Mapping[str, Any], place: _Place) -> None:
        """Note a call of another manifest's template, or of one that only the run will name."""
        reference = record(call.get("templateRef"))
        wanted = self.resolve(reference.get("template") or call.get("template"), place)
        kind, name = self.referred(reference, place)
        self.may_call_any = self.may_call_any or not wanted
        if wanted and name:
            given = record(call.get("arguments"))
            self.note_call(Call(kind=kind, name=name, template=wanted), given, place)

    def called(
        self, call: Mapping[str, Any], place: _Place
    ) -> tuple[Mapping[str, Any] | None, Manifest]:
        """Find a call's template, where this bundle has it, and the manifest that holds it."""
        if inline := call.get("inline"):
            name = call.get("name") or place.template or "inline"
            return {"name": name, **record(inline)}, place.manifest
        if reference := call.get("templateRef"):
            kind, name = self.referred(record(reference), place)
            owner = self.provided.get((kind, name or ""))
            wanted = self.resolve(record(reference).get("template"), place)
            return (_template(owner, wanted), owner) if owner else (None, place.manifest)
        wanted = self.resolve(call.get("template"), place)
        for owner in (place.manifest, self.manifest, *self.referred_manifests()):
            if found := _template(owner, wanted):
                return found, owner
        return None, place.manifest

    def template(
        self, template: Mapping[str, Any], place: _Place, given: Scope, identity: int
    ) -> None:
        """Read one template as one call runs it."""
        name = str(template.get("name") or "")
        scope = self.template_scope(template, place, given)
        # Inline templates may share a name; the object, which the manifest holds, is their own.
        key = (identity, *sorted(scope.items(), key=str))
        again = key in self.seen
        self.seen.add(key)
        self.readings[name] = self.readings.get(name, 0) + 1
        if self.readings[name] > MOST_READINGS:
            message = f"it runs more than {MOST_READINGS} times; the further ones were not read."
            self.tell("unread-loop", message, _Place(place.manifest, name))
            return
        inside = _Place(place.manifest, name, scope=scope, caller=place.caller)
        self.pod(template, inside)
        if again:
            return
        self.visit(template, inside)
        self.artifacts(template, inside)
        for plugin in record(template.get("plugin")):
            # It may live in the controller's namespace instead.
            self.require("ConfigMap", f"{plugin}-executor-plugin", inside, optional=True)
        for call, task in _calls(template):
            self.call(call, replace(inside, task=task))

    # --- what names mean -----------------------------------------------------------------------

    def workflow_scope(self) -> dict[str, str | None]:
        scope: dict[str, str | None] = {"workflow.namespace": self.namespace}
        scope["workflow.serviceAccountName"] = self.account or "default"
        for spec in reversed((self.spec, *self.inherited)):
            for parameter in records(record(spec.get("arguments")).get("parameters")):
                scope[f"workflow.parameters.{parameter.get('name')}"] = value_of(parameter)
        if self.manifest.kind.endswith("WorkflowTemplate"):
            # Whoever runs it may say otherwise; what it says itself still tells most.
            scope.pop("workflow.namespace")
        return scope

    def template_scope(
        self, template: Mapping[str, Any], place: _Place, given: Scope
    ) -> dict[str, str | None]:
        scope = {key: each for key, each in place.scope.items() if key.startswith("workflow.")}
        for parameter in records(record(template.get("inputs")).get("parameters")):
            name = str(parameter.get("name"))
            value = given[name] if name in given else value_of(parameter)
            scope[f"inputs.parameters.{name}"] = value and fill(value, scope)
        return scope

    def arguments(self, call: Mapping[str, Any], place: _Place) -> dict[str, str | None]:
        given: dict[str, str | None] = {}
        for parameter in records(record(call.get("arguments")).get("parameters")):
            value = value_of(parameter)
            given[str(parameter.get("name"))] = value and fill(value, place.scope)
        return given

    def resolve(self, text: Any, place: _Place) -> str | None:
        """Give a name as it will be at run time; where nobody knows, say so and give None."""
        if not text or not isinstance(text, str | int | float):
            return None
        filled = fill(str(text), place.scope)
        if filled is None:
            self.tell(
                "unresolved-name",
                f"{text!r} is known at run time only, so nothing on the cluster was looked up "
                "for it.",
                place,
            )
        return filled

    def tell(self, rule: str, message: str, place: _Place) -> None:
        file, _, line = (place.source or "").rpartition(":")
        where = f"template {place.template!r}: " if place.template else ""
        self.told.setdefault(
            (place.template, message),
            Finding(
                rule=rule,
                severity=Severity.NOTICE,
                message=where + message,
                experiment=self.experiment,
                file=file or None,
                line=int(line) if line.isdigit() else None,
            ),
        )

    # --- references ------------------------------------------------------------------------------

    def require(
        self,
        kind: str,
        name: Any,
        place: _Place,
        *,
        keys: Iterable[Any] = (),
        namespace: Any = None,
        optional: Any = False,
        access: Iterable[str] = (),
    ) -> None:
        resolved = self.resolve(name, place)
        if not resolved or (kind, resolved) in self.provided:
            return
        known = tuple(each for key in keys if (each := self.resolve(key, place)))
        of_manifest = None if kind in _CLUSTER_SCOPED else self.manifest.namespace
        of_manifest = of_manifest if kind in _CLUSTER_SCOPED else place.namespace or of_manifest
        where = (self.resolve(namespace, place) if namespace else None) or of_manifest
        key = (kind, resolved, where, place.template, bool(optional))
        before = self.found.get(key)
        if before:
            more = tuple(each for each in dict.fromkeys(known) if each not in before.keys)
            self.found[key] = replace(before, keys=before.keys + more)
            return
        self.found[key] = Requirement(
            kind=kind,
            name=resolved,
            api_version=_GROUPS.get(kind, "v1"),
            namespace=where,
            keys=tuple(dict.fromkeys(known)),
            access=tuple(access),
            template=place.template,
            source=place.source,
            optional=bool(optional),
        )

    def visit(self, node: Any, place: _Place) -> None:
        """Look at each key of a part of the manifest, at any depth."""
        if isinstance(node, list):
            for each in node:
                self.visit(each, place)
        if not isinstance(node, dict):
            return
        for key, value in node.items():
            if not value or key in _OPAQUE or key in _WALKED:
                continue
            if reader := _READERS.get(key):
                reader(self, value, place)
            elif isinstance(value, dict) and "name" in value and _SECRET.search(key):
                self.keyed("Secret", value, place)
            elif isinstance(value, dict) and "name" in value and key.endswith("ConfigMap"):
                self.keyed("ConfigMap", value, place)
            if isinstance(value, dict | list) and key not in _WHOLE:
                self.visit(value, place)

    def keyed(self, kind: str, reference: Any, place: _Place) -> None:
        reference = record(reference)
        self.require(
            kind,
            reference.get("name"),
            place,
            keys=[reference.get("key")],
            optional=reference.get("optional"),
        )

    def volumes(self, volumes: Any, place: _Place) -> None:
        for volume in records(volumes):
            self.volume_source(volume, place)
            for each in records(record(volume.get("projected")).get("sources")):
                self.volume_source(each, place)

    def volume_source(self, volume: Mapping[str, Any], place: _Place) -> None:
        for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            found = record(volume.get(key))
            keys = [item.get("key") for item in records(found.get("items"))]
            name = found.get("secretName") or found.get("name")
            self.require(kind, name, place, keys=keys, optional=found.get("optional"))
        claim = record(volume.get("persistentVolumeClaim"))
        self.require("PersistentVolumeClaim", claim.get("claimName"), place)
        azure = record(volume.get("azureFile"))
        self.require("Secret", azure.get("secretName"), place)
        csi = record(volume.get("csi"))
        self.require("CSIDriver", csi.get("driver"), place)
        if csi.get("driver") == "secrets-store.csi.k8s.io":
            provider = record(csi.get("volumeAttributes")).get("secretProviderClass")
            self.require("SecretProviderClass", provider, place)

    def pull_secrets(self, secrets: Any, place: _Place) -> None:
        for each in records(secrets):
            self.require("Secret", each.get("name"), place)

    def semaphores(self, synchronization: Any, place: _Place) -> None:
        found = record(synchronization)
        for each in records([*listed(found.get("semaphores")), found.get("semaphore")]):
            reference = record(each.get("configMapKeyRef"))
            self.require(
                "ConfigMap",
                reference.get("name"),
                place,
                keys=[reference.get("key")],
                namespace=each.get("namespace"),
                optional=reference.get("optional"),
            )
            name, key = (self.resolve(reference.get(part), place) for part in ("name", "key"))
            if name and key:
                self.limits.add((name, key))
            if each.get("database"):
                self.databases[place.at] = None

    def memoize(self, memoize: Any, place: _Place) -> None:
        """Ask for a cache, though without it nothing breaks: the controller then creates it."""
        cache = record(record(record(memoize).get("cache")).get("configMap"))
        self.require("ConfigMap", cache.get("name"), place, optional=True)
        self.mark(cache.get("name"), "Cache", place)

    def parameters(self, parameters: Any, place: _Place) -> None:
        """Note the ConfigMaps that values of parameters come from; Argo wants them labelled."""
        for each in records(parameters):
            reference = record(record(each.get("valueFrom")).get("configMapKeyRef"))
            self.mark(reference.get("name"), "Parameter", place)

    def value_from(self, source: Any, place: _Place) -> None:
        """Ask for what a variable or a parameter gets its value from."""
        found = record(source)
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            reference = record(found.get(key))
            # Where a parameter has a default, Argo takes that for what is missing.
            optional = reference.get("optional") or found.get("default") is not None
            self.keyed(kind, {**reference, "optional": optional}, place)

    def mark(self, name: Any, kind: str, place: _Place) -> None:
        if isinstance(name, str) and (filled := fill(name, place.scope)):
            self.typed[filled] = kind

    def repository(self, reference: Any, place: _Place) -> None:
        found = record(reference)
        name = found.get("configMap") or "artifact-repositories"
        self.require("ConfigMap", name, place, keys=[found.get("key")])
        self.repositories.add(fill(str(name), place.scope) or "")

    def referred(self, reference: Mapping[str, Any], place: _Place) -> tuple[str, str | None]:
        scoped = "Cluster" if reference.get("clusterScope") else ""
        return f"{scoped}WorkflowTemplate", self.resolve(reference.get("name"), place)

    def data_source(self, reference: Any, place: _Place) -> None:
        """Ask for what a volume claim is made from: another claim, or a snapshot."""
        found = record(reference)
        if found.get("kind") in {"PersistentVolumeClaim", "VolumeSnapshot"}:
            self.require(found["kind"], found.get("name"), place, namespace=found.get("namespace"))

    def template_ref(self, reference: Any, place: _Place) -> None:
        kind, name = self.referred(record(reference), place)
        self.require(kind, name, place, keys=[record(reference).get("template")])

    def pod_spec_patch(self, patch: Any, place: _Place) -> None:
        if (parsed := self.parsed(patch, place, "podSpecPatch")) is not None:
            self.visit(parsed[0] if parsed else {}, place)

    def resource(self, resource: Any, place: _Place) -> None:
        found = record(resource)
        if not found.get("manifest"):
            return
        for each in records(self.parsed(found["manifest"], place, "manifest") or []):
            meta = record(each.get("metadata"))
            namespace = meta.get("namespace") and self.resolve(meta["namespace"], place)
            if namespace and namespace != self.namespace:
                self.require("Namespace", namespace, place)
            if found.get("action", "create") in {"apply", "create", "replace"}:
                self.made(each, replace(place, namespace=namespace or place.namespace))
            template = _template(place.manifest, place.template) or {}
            outputs = records(record(template.get("outputs")).get("parameters"))
            action = Action(
                verb=str(found.get("action") or "create"),
                api_version=str(each.get("apiVersion") or "v1"),
                kind=str(each.get("kind") or ""),
                name=fill(str(meta.get("name") or ""), place.scope) or None,
                namespace=namespace or self.manifest.namespace,
                template=place.template,
                source=place.source,
                service_account=self.account_of(template, place),
                waits=bool(found.get("successCondition") or found.get("failureCondition"))
                or any(
                    {"jqFilter", "jsonPath"} & record(e.get("valueFrom")).keys() for e in outputs
                ),
            )
            self.actions[action] = None

    def made(self, made: Mapping[str, Any], place: _Place) -> None:
        """Read what a resource template makes: the pods of a job, or another workflow."""
        if str(made.get("apiVersion")).startswith("argoproj.io/"):
            inner = Manifest(
                kind=str(made.get("kind")),
                name=str(record(made.get("metadata")).get("name") or ""),
                namespace=place.namespace or self.manifest.namespace,
                digest="",
                document=made,
                sources={"": place.source or ""},
            )
            given = tuple(self.provided.values())
            found = needs(inner, provided=given, namespace=self.namespace)
            for each in found.requirements:
                own = replace(each, template=place.template, source=place.source)
                self.found.setdefault((own.kind, own.name, own.namespace, place.template), own)
            return
        for spec in pod_specs(made):
            self.visit(spec, place)

    def parsed(self, text: Any, place: _Place, what: str) -> list[Any] | None:
        """Read YAML or JSON that a manifest holds as text."""
        if not isinstance(text, str):
            return None
        filled = fill_in(text, place.scope)
        try:
            return document.load(filled)
        except (TypeError, ValueError):  # `{{x}}`: a mapping as a key
            held = PLACEHOLDER.search(filled)
            because = f": {held[0]} is known at run time only" if held else ""
            self.tell("unreadable-text", f"its {what} cannot be read as YAML{because}.", place)
            return None

    # --- pods ------------------------------------------------------------------------------------

    def account_of(self, template: Mapping[str, Any], place: _Place) -> str:
        """Give the service account that a template's pod runs as."""
        named = template.get("serviceAccountName") or self.account
        return fill(str(named), place.scope) or "" if named else "default"

    def executor_of(self, template: Mapping[str, Any], place: _Place) -> str:
        """Give the service account whose token Argo's executor uses in a template's pod."""
        named = self.named_executor(template)
        return fill(named, place.scope) or "" if named else self.account_of(template, place)

    def named_executor(self, template: Mapping[str, Any]) -> str:
        holders = (template, self.spec, *self.inherited)
        named = (record(each.get("executor")).get("serviceAccountName") for each in holders)
        return str(next(filter(None, named), ""))

    def artifacts(self, template: Mapping[str, Any], place: _Place) -> None:
        """Note whose artifacts go to the default repository, and who removes them one day."""
        inputs, outputs = (
            records(record(template.get(key)).get("artifacts")) for key in ("inputs", "outputs")
        )
        archive = record(template.get("archiveLocation"))
        logs = archive.get("archiveLogs", first(self.each_of("archiveLogs")))
        stored = [*outputs, *(each for each in inputs if _STORES & each.keys())]
        stores = any(key in template for key in _LEAVES) and not _is_located(archive)
        if stores and (logs or not all(map(_is_located, stored))):
            self.stores[place.at] = None
        usual = record(first(self.each_of("artifactGC")))
        for each in outputs:
            own = record(each.get("artifactGC"))
            if (own.get("strategy") or usual.get("strategy") or "Never") != "Never":
                named = own.get("serviceAccountName") or usual.get("serviceAccountName")
                account = fill(str(named or self.account or "default"), place.scope)
                self.collectors.setdefault(account or "default", place.at)

    def each_of(self, key: str) -> Iterator[Any]:
        """Give what the workflow, and then the template it is made from, say of something."""
        return (each.get(key) for each in (self.spec, *self.inherited))

    def pod(self, template: Mapping[str, Any], place: _Place) -> None:
        if not any(key in template for key in _LEAVES):
            return
        executor, account = self.executor_of(template, place), self.account_of(template, place)
        if executor:
            self.accounts.setdefault(executor, place.at)
        if "http" in template or "plugin" in template:
            self.agent = True  # one pod of the controller's making for all of them
            self.tokens.setdefault(self.account or "default", place.at)
            return
        if executor and self.named_executor(template):
            self.tokens.setdefault(executor, place.at)
        spec = self.merged_pod_spec(template, place)
        affinity = record(record(spec.get("affinity")).get("nodeAffinity"))
        required = record(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
        pod = Pod(
            template=str(place.template),
            source=place.source,
            containers=tuple(self.containers(spec, place)),
            node_selector=self.texts(spec.get("nodeSelector"), place),
            tolerations=tuple(records(spec.get("tolerations"))),
            affinity=tuple(map(expressions, records(required.get("nodeSelectorTerms")))),
            service_account=str(spec.get("serviceAccountName") or account),
            spec=spec,
        )
        key = (pod.template, repr(replace(pod, copies=1)))
        before = self.pods.get(key)
        self.pods[key] = replace(pod, copies=before.copies + 1) if before else pod

    def merged_pod_spec(self, template: Mapping[str, Any], place: _Place) -> dict[str, Any]:
        """Give the pod's spec as far as manifests decide it, pod spec patches laid over it."""
        defaults = record(self.spec.get("templateDefaults"))
        holders = (*reversed(self.inherited), self.spec, defaults, template)
        spec = pod_spec(holders, template)
        for holder in holders:
            patches = self.parsed(holder.get("podSpecPatch"), place, "podSpecPatch")
            for patch in records(patches or []):
                spec = patched(spec, patch)
        return spec

    def containers(self, spec: Mapping[str, Any], place: _Place) -> Iterator[Container]:
        for key in ("initContainers", "containers"):
            for each in records(spec.get(key)):
                resources = record(each.get("resources"))
                limits = self.texts(resources.get("limits"), place)
                requests = self.texts(resources.get("requests"), place)
                image = each.get("image")
                yield Container(
                    name=str(each.get("name") or "main"),
                    image=self.resolve(image, place),
                    # Kubernetes takes a limit without a request for both.
                    requests={**limits, **requests},
                    limits=limits,
                    init=key == "initContainers" and each.get("restartPolicy") != "Always",
                )

    def texts(self, table: Any, place: _Place) -> dict[str, str]:
        filled = {str(k): fill(written(v), place.scope) for k, v in record(table).items()}
        return {key: each for key, each in filled.items() if each is not None}

    def claim(self, claim: Mapping[str, Any], place: _Place) -> None:
        name = str(record(claim.get("metadata")).get("name") or "")
        requests = record(record(record(claim.get("spec")).get("resources")).get("requests"))
        spec = record(claim.get("spec"))
        storage_class = spec.get("storageClassName")
        self.claims[name] = Claim(
            name=name,
            storage=self.texts(requests, place).get("storage"),
            storage_class=None if storage_class is None else str(storage_class),
            access=tuple(map(str, listed(spec.get("accessModes")))),
            source=place.source,
        )

    # --- templates of the same bundle ---------------------------------------------------------

    def referred_manifests(self) -> tuple[Manifest, ...]:
        """Give the template that the whole workflow refers to, where this bundle has it."""
        reference = record(self.spec.get("workflowTemplateRef"))
        scoped = "Cluster" if reference.get("clusterScope") else ""
        found = self.provided.get((f"{scoped}WorkflowTemplate", str(reference.get("name"))))
        return (found,) if found and found is not self.manifest else ()

    def _inherited(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(spec_of(each.document) for each in self.referred_manifests())


_READERS: Mapping[str, Callable[[_Reader, Any, _Place], None]] = {
    "artifactRepositoryRef": _Reader.repository,
    "configMapRef": lambda self, value, place: self.keyed("ConfigMap", value, place),
    "dataSource": _Reader.data_source,
    "dataSourceRef": _Reader.data_source,
    "imagePullSecrets": _Reader.pull_secrets,
    "memoize": _Reader.memoize,
    "parameters": _Reader.parameters,
    "podPriorityClassName": lambda self, value, place: self.require("PriorityClass", value, place),
    "podSpecPatch": _Reader.pod_spec_patch,
    "priorityClassName": lambda self, value, place: self.require("PriorityClass", value, place),
    "resource": _Reader.resource,
    "resourceClaimName": lambda self, value, place: self.require("ResourceClaim", value, place),
    "resourceClaimTemplateName": lambda self, value, place: self.require(
        "ResourceClaimTemplate", value, place
    ),
    "runtimeClassName": lambda self, value, place: self.require("RuntimeClass", value, place),
    "serviceAccountName": lambda self, value, place: self.require("ServiceAccount", value, place),
    "storageClassName": lambda self, value, place: self.require("StorageClass", value, place),
    "synchronization": _Reader.semaphores,
    "templateRef": _Reader.template_ref,
    "volumeAttributesClassName": lambda self, value, place: self.require(
        "VolumeAttributesClass", value, place
    ),
    "valueFrom": _Reader.value_from,
    "volumes": _Reader.volumes,
    "workflowTemplateRef": _Reader.template_ref,
}


def _template(owner: Manifest | None, name: str | None) -> Mapping[str, Any] | None:
    templates = records(spec_of(owner.document).get("templates")) if owner else []
    return next((each for each in templates if each.get("name") == name), None)


def _calls(template: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Give each step or task of a template, and each of their hooks, with the task's name."""
    calls = records(record(template.get("dag")).get("tasks"))
    for step in listed(template.get("steps")):
        calls += records(step) or records(record(step).get("steps")) or records([step])
    for call in calls:
        task = str(call.get("name") or "") or None
        yield call, task
        for hook in records(list(record(call.get("hooks")).values())):
            yield hook, task
        if call.get("onExit"):
            yield {"template": call["onExit"]}, task


def _is_located(artifact: Mapping[str, Any]) -> bool:
    """Tell whether an artifact says itself where it lies; a key alone lies in a repository."""
    return any(set(record(artifact[key])) - {"key"} for key in _STORES & artifact.keys())
