"""Turns what was sent and what was left alive into documents, and looks at what will run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from heraci.compile_worker import (
    COMMIT,
    ENCODED_PLACEHOLDER,
    PLACEHOLDER,
    PLACEHOLDER_SERVER,
    ROOT_MARKER,
)
from heraci.compile_worker.clock import Clock
from heraci.compile_worker.hera_objects import Objects
from heraci.compile_worker.hera_service import Call, Service, as_json
from heraci.compile_worker.record import ARGO_KINDS, Place, Record
from heraci.compile_worker.scripts import line_of, unbound_names

_PYTHON = re.compile(r"(^|/)(python|pypy)[\d.]*$")
_PIECE = re.compile(r"heraci-(c(o(m(m(it?)?)?)?)?)?(?![a-z])")
_FIELD_WARNING = re.compile(r"field_name='(\w+)', input_value=(.*?), input_type=")


class Documents:
    """The documents of one run, in the order in which their workflows were made."""

    def __init__(self, record: Record, objects: Objects, service: Service, clock: Clock) -> None:
        self.record = record
        self.clock = clock
        self.objects = objects
        self.service = service
        self.found: list[dict[str, Any]] = []
        self.failure: tuple[BaseException, Place | None] | None = None  # an exception, and where

    def forget(self) -> None:
        """Begin anew, after what only warmed Hera up."""
        self.found.clear()
        self.failure = None

    def collect(self, reachable: set[int], others: list[str]) -> None:
        """Take what was sent, then the workflows of this experiment that were not."""
        sent = {id(each.owner) for each in self.service.calls}
        for call in self.service.calls:
            self._take_call(call)
        for order, workflow in enumerate(list(self.objects.workflows)):
            known = id(workflow) in sent or id(workflow) in self.service.consumed
            if not known and self._is_ours(workflow, reachable, others):
                self._take(order, workflow)
        self.found.sort(key=lambda each: each["order"])

    def collect_calls(self) -> None:
        """Take what was sent, alone."""
        for call in self.service.calls:
            self._take_call(call)
        self.found.sort(key=lambda each: each["order"])

    def _take_call(self, call: Call) -> None:
        sources = {"": self.record.shown(call.place) or ""}
        order = call.order
        if call.owner is not None:
            workflows = enumerate(self.objects.workflows)
            order = next((n for n, each in workflows if each is call.owner), order)
            sources = self.objects.sources(call.owner) or sources
        self._report_warnings(call.warned, call.owner)
        _name_kind(call.document, call.owner)
        self.found.append({"document": call.document, "sources": sources, "order": order})

    def _take(self, order: int, workflow: Any) -> None:
        self.record.warned.clear()
        try:
            document = workflow.to_dict()
        except Exception as error:  # another workflow of the script may be right
            self.failure = self.failure or (error, self.objects.place_of(workflow))
            return
        sources = self.objects.sources(workflow)
        self._report_warnings(self.record.warned, workflow)
        _name_kind(document, workflow)
        spec = document.get("spec") or {}
        content = spec.get("workflowSpec", spec)
        if "templates" in content or "workflowTemplateRef" in content:
            self.found.append({"document": document, "sources": sources, "order": order})
            return
        message = "a workflow without templates is left out"
        self.record.find("empty-workflow", "notice", message, self.objects.place_of(workflow))

    def _is_ours(self, workflow: Any, reachable: set[int], others: list[str]) -> bool:
        """Tell whether a live workflow belongs to this experiment.

        One that the author's code made while this file ran does; one that another experiment's
        file made belongs there; one that a library made counts if the author kept it.
        """
        origin = self.objects.origins.get(id(workflow))
        if origin is None:
            return id(workflow) in reachable
        if origin.module != self.record.entry:
            other = origin.module[len(self.record.prefix) :].replace(os.sep, "/")
            return other not in others and id(workflow) in reachable
        return origin.direct or id(workflow) in reachable

    def _report_warnings(self, warned: list[str], workflow: Any) -> None:
        """Report a wrong type, which pydantic only warns about."""
        for message in warned:
            for field, value in _FIELD_WARNING.findall(message):
                expected = re.search(r"[Ee]xpected `([^`]+)`", message)
                told = f"{field} is {value}" + (f", not {expected[1]}" if expected else "")
                place = self.objects.place_with(workflow, field, value)
                place = place or self.objects.place_of(workflow)
                self.record.find("wrong-type", "error", told, place)
            if "field_name=" not in message:
                last = message.strip().splitlines()[-1].strip()
                self.record.find("wrong-type", "error", last, self.objects.place_of(workflow))

    # --- what is sent to the parent -------------------------------------------------------------

    def finished(self, module: str) -> list[dict[str, Any]]:
        """Drop what is there twice, take out what heraci put in, and check what remains."""
        result: list[dict[str, Any]] = []
        for each in self.found:
            try:
                document, text = self._plain(each["document"], module)
                text.encode()
            except (TypeError, ValueError, RecursionError) as error:  # NaN, half a character
                told = ValueError(f"the manifest cannot be written: {error}")
                self.failure = self.failure or (told, self.record.unshown(each["sources"].get("")))
                continue
            if any(document == other["document"] for other in result):
                continue
            self._check_text(text, each["sources"].get(""))
            self._check_templates(document, each["sources"])
            result.append({**each, "document": document})
        return result

    def _plain(self, document: dict[str, Any], module: str) -> tuple[dict[str, Any], str]:
        """Give a document of plain data without what is heraci's own, and as a text."""
        odd: list[Any] = []

        def as_plain(value: Any) -> Any:
            odd.append(value)
            return as_json(value)

        written = json.dumps(document, default=as_plain, ensure_ascii=False, allow_nan=False)
        text = written.replace(self.record.root, ROOT_MARKER)
        # What runs in the pod is named as `python -m` would; Hera before 5.17 says __main__.
        text = text.replace('"__main__:', f'"{module}:')
        if odd or text != written or PLACEHOLDER in text:
            document = json.loads(text)
            _drop_unset(document)
            text = json.dumps(document, ensure_ascii=False)
        return document, text

    def _check_text(self, text: str, source: str | None) -> None:
        place = self.record.unshown(source)
        if ROOT_MARKER in text:
            message = (
                "the manifest holds a path of the machine that compiled it, shown as "
                f"{ROOT_MARKER}. Use a path of the pod."
            )
            self.record.find("path-of-this-machine", "warning", message, place)
        if PLACEHOLDER in text or ENCODED_PLACEHOLDER in text:
            message = (
                "a placeholder that heraci gave instead of a credential, of a setting that is not "
                "set, or of the cluster's answer stands in the manifest. Refer to a Secret or a "
                "ConfigMap instead, or set what the script reads."
            )
            self.record.find("placeholder-in-manifest", "error", message, place)
        if PLACEHOLDER_SERVER in text:
            message = f"the manifest holds {PLACEHOLDER_SERVER}: set argo-server for the target"
            self.record.find("placeholder-in-manifest", "warning", message, place)
        if "heraci-" in text and self.asked_commit and _PIECE.search(text.replace(COMMIT, "")):
            message = (
                "the manifest holds a piece of the commit. git answers with a marker while "
                "compiling, and heraci puts the whole SHA in its place: use it whole."
            )
            self.record.find("piece-of-the-commit", "error", message, place)
        self._check_time(text, source)

    @property
    def asked_commit(self) -> bool:
        """Tell whether the script was told the commit's marker instead of the commit."""
        return any(kind == "git" for kind, _ in self.record.children.told())

    def _check_time(self, text: str, source: str | None) -> None:
        """Warn of the time of day in a manifest: each compilation then gives another one."""
        found = self.clock.found_in(text)
        if found is None:
            return
        with open(self.record.entry, encoding="utf-8", errors="replace") as file:
            if found in file.read():
                return
        what = (
            "so that each compilation differs from the last"
            if not self.clock.is_pinned
            else "and the clock of a script is the same in each compilation, so it is not the day"
        )
        message = (
            f"the manifest holds the time at which it was compiled ({found}), {what}. heraci names "
            "what it submits by the commit; the time of the run is {{workflow.creationTimestamp}}."
        )
        self.record.find("time-in-manifest", "warning", message, self.record.unshown(source))

    def _check_templates(self, document: dict[str, Any], sources: dict[str, str]) -> None:
        seen = set()
        for template in _templates(document):
            name = template.get("name") or ""
            place = self.record.unshown(sources.get(name) or sources.get(""))
            if name in seen:
                message = f"two templates are named {name}"
                self.record.find("template-name-twice", "error", message, place)
            seen.add(name)
            script = template.get("script") or {}
            if not _PYTHON.search((script.get("command") or [""])[0] or ""):
                continue
            for unbound in unbound_names(script.get("source") or ""):
                message = (
                    f"the script {name} uses {unbound}, which will not exist in the pod: only the "
                    "function's body travels. Import or define it inside the function."
                )
                self.record.find("name-not-in-pod", "error", message, line_of(place, unbound))


def _name_kind(document: dict[str, Any], workflow: Any) -> None:
    """Name the kind as Argo does: Hera takes that of an author's subclass."""
    kinds = [each.__name__ for each in type(workflow).__mro__ if each.__name__ in ARGO_KINDS]
    if kinds and document.get("kind") not in ARGO_KINDS:
        document["kind"] = kinds[0]


def _drop_unset(document: dict[str, Any]) -> None:
    """Take out what stands for a setting that the target decides when heraci submits."""
    metadata, spec = document.get("metadata") or {}, document.get("spec") or {}
    if metadata.get("namespace") == PLACEHOLDER:
        del metadata["namespace"]
    for each in (spec, spec.get("workflowSpec") or {}):
        if each.get("serviceAccountName") == PLACEHOLDER:
            del each["serviceAccountName"]


def _templates(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = document.get("spec") or {}
    yield from (spec.get("workflowSpec") or spec).get("templates") or ()
