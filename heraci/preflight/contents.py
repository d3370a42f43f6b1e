"""Whether what is there holds what is wanted of it: keys, limits, labels, templates, arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from heraci.bundle import Requirement, Severity
from heraci.needs import Call
from heraci.preflight import advice
from heraci.preflight.cases import Case, Trouble

CONFIGMAP_TYPE = "workflows.argoproj.io/configmap-type"
# What an artifact can be given by, beside a value.
_GIVEN = frozenset(
    "artifactory azure from fromExpression gcs git hdfs http oss plugin raw s3".split()
)


def config_map_troubles(
    case: Case, requirement: Requirement, item: Mapping[str, Any], namespace: str
) -> Iterator[Trouble]:
    """Say which keys a ConfigMap lacks, and what Argo would not take from it."""
    data = item.get("data") or {}
    there = {**data, **(item.get("binaryData") or {})}
    yield from key_troubles(requirement, there, namespace)
    for key in requirement.keys:
        if (requirement.name, key) in case.needs.semaphores and key in data:
            yield from _limit_troubles(requirement, key, str(data[key]), namespace)
    wanted = case.needs.typed.get(requirement.name)
    labels = (item.get("metadata") or {}).get("labels") or {}
    if wanted and labels.get(CONFIGMAP_TYPE) != wanted:
        yield Trouble(
            "unlabelled-config-map",
            f"lacks the label {CONFIGMAP_TYPE}: {wanted}, without which Argo does not use it.",
            advice.labelling(requirement.name, namespace, CONFIGMAP_TYPE, wanted),
            # A cache is always optional, and of no use without its label.
            Severity.NOTICE if requirement.optional and wanted == "Parameter" else Severity.ERROR,
        )


def _limit_troubles(
    requirement: Requirement, key: str, text: str, namespace: str
) -> Iterator[Trouble]:
    if text.strip().isdigit() and int(text) > 0:
        return
    what = f"says {text!r} under {key!r}, and a semaphore's limit is a number of at least 1."
    how = advice.setting(requirement, key, "1", namespace)
    yield Trouble("semaphore-limit", what, how)


def key_troubles(
    requirement: Requirement, keys: Iterable[str], namespace: str
) -> Iterator[Trouble]:
    """Say which keys are lacking."""
    there = sorted(keys)
    absent = [key for key in requirement.keys if key not in there]
    if not absent:
        return
    has = f"it has {', '.join(there)}" if there else "it has none"
    noun = "key" if len(absent) == 1 else "keys"
    yield Trouble(
        "missing-key",
        f"lacks the {noun} {', '.join(map(repr, absent))} ({has}).",
        advice.adding_keys(requirement, absent, namespace),
        Severity.NOTICE if requirement.optional else Severity.ERROR,
    )


def template_troubles(
    requirement: Requirement, item: Mapping[str, Any], calls: Iterable[Call]
) -> Iterator[Trouble]:
    """Say which template a WorkflowTemplate does not hold, and which argument a call leaves out."""
    spec = item.get("spec") or {}
    templates = {str(each.get("name")): each for each in spec.get("templates") or ()}
    absent = [each for each in requirement.keys if each not in templates]
    if absent:
        holds = ", ".join(templates) or "none"
        what = f"holds no template {', '.join(map(repr, absent))}; it holds {holds}."
        how = "Correct the name, or apply a version that has it."
        yield Trouble("missing-template", what, how)
    for call in calls:
        if call.template is None:
            yield from _whole_troubles(call, spec, templates)
        elif call.template in templates:
            inputs = templates[call.template].get("inputs") or {}
            where = f"for its template {call.template!r}, and this call does"
            yield from _argument_troubles(call, inputs, where)


def _whole_troubles(
    call: Call, spec: Mapping[str, Any], templates: Mapping[str, Any]
) -> Iterator[Trouble]:
    entrypoint = call.entrypoint or spec.get("entrypoint")
    if entrypoint not in templates:
        has = f"holds no template {entrypoint!r}" if entrypoint else "names no entrypoint"
        holds = ", ".join(templates) or "none"
        what = f"{has}, and the workflow that is made from it starts there; it holds {holds}."
        yield Trouble("missing-template", what, "Name one of them as the workflow's entrypoint.")
    where = "from a workflow that is made from it, and this one does"
    yield from _argument_troubles(call, spec.get("arguments") or {}, where)


def _argument_troubles(call: Call, asked: Mapping[str, Any], where: str) -> Iterator[Trouble]:
    lacking = [
        str(each.get("name"))
        for each in asked.get("parameters") or ()
        if each.get("name") not in call.parameters
        and all(each.get(key) is None for key in ("value", "default", "valueFrom"))
    ]
    lacking += [
        str(each.get("name"))
        for each in asked.get("artifacts") or ()
        if each.get("name") not in call.artifacts
        and not each.get("optional")
        and not _GIVEN & each.keys()
    ]
    if lacking:
        what = f"wants {', '.join(map(repr, lacking))} {where} not give it."
        yield Trouble("missing-argument", what, "Give it under arguments.")
