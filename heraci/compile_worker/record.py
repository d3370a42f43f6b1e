"""What a run finds out: findings and requirements, each with the author's line it comes from."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

from heraci.compile_worker import PLACEHOLDER
from heraci.compile_worker.children import Children

# A file, by its full path, and a line of it.
Place = tuple[str, int]

# What heraci submits, and what scripts may look for on the cluster.
ARGO_KINDS = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow")
_WITHOUT_NAMESPACE = (
    *("Namespace", "Node", "PersistentVolume", "StorageClass"),
    "ClusterWorkflowTemplate",
)


class Record:
    """Findings and requirements of one experiment, and where in its files they belong."""

    def __init__(self, children: Children) -> None:
        self.children = children
        self.path = ""
        self.root = self.entry = os.sep + "nowhere"
        self.prefix = self.root + os.sep
        self.findings: list[dict[str, Any]] = []
        self.requirements: list[dict[str, Any]] = []
        self.warned: list[str] = []  # what pydantic said of the document that is being written

    def locate(self, root: str, path: str) -> None:
        """Say where the staged repository and the entry in it are."""
        self.path = path
        self.root = os.path.realpath(root)
        self.prefix = self.root + os.sep
        self.entry = os.path.join(self.root, *path.split("/"))

    def caller(self) -> Place | None:
        """Give the author's line that is being run."""
        frame: FrameType | None = sys._getframe(1)
        while frame:
            if frame.f_code.co_filename.startswith(self.prefix):
                return (frame.f_code.co_filename, frame.f_lineno)
            frame = frame.f_back
        return None

    def shown(self, place: Place | None) -> str | None:
        """Write a place as it is told: `path:line`, the path as the repository has it."""
        if not place:
            return None
        path, line = place
        if not path.startswith(self.prefix):
            return None
        return f"{path[len(self.prefix) :].replace(os.sep, '/')}:{line}"

    def unshown(self, source: str | None) -> Place | None:
        """Read what `shown` wrote."""
        if not source:
            return None
        path, _, line = source.rpartition(":")
        return (os.path.join(self.root, *path.split("/")), int(line))

    def finding(
        self, rule: str, severity: str, message: str, place: Place | None = None
    ) -> dict[str, Any]:
        """Make a finding at a place of the repository, or at the entry."""
        source = self.shown(place)
        path, _, line = source.rpartition(":") if source else ("", "", "")
        return {
            "rule": rule,
            "severity": severity,
            "message": message,
            "file": path or self.path,
            "line": int(line) if line else None,
        }

    def find(self, rule: str, severity: str, message: str, place: Place | None = None) -> None:
        """Note a finding, once."""
        finding = self.finding(rule, severity, message, place)
        if finding not in self.findings:
            self.findings.append(finding)
            self.children.tell("finding", finding)

    def told(self) -> None:
        """Take what the children have found out."""
        for kind, what in self.children.told():
            if kind == "finding" and what not in self.findings:
                self.findings.append(what)
            elif kind == "requirement" and what not in self.requirements:
                self.requirements.append(what)

    def require(
        self, kind: str | None, name: Any, namespace: Any, place: Place | None, key: Any = None
    ) -> None:
        """Note a resource that the script asked the cluster for, and a key that it wants of it."""
        if not kind or not isinstance(name, str) or PLACEHOLDER in name:
            return
        name = str(name)
        namespace = None if namespace is None else str(namespace)
        if namespace is not None and (PLACEHOLDER in namespace or kind in _WITHOUT_NAMESPACE):
            namespace = None
        for each in self.requirements:
            if (each["kind"], each["name"], each["namespace"]) == (kind, name, namespace):
                break
        else:
            each = {"kind": kind, "name": name, "namespace": namespace, "keys": []}
            each["source"] = self.shown(place)
            if kind in ARGO_KINDS:
                each["api_version"] = "argoproj.io/v1alpha1"
            self.requirements.append(each)
        if key is not None and str(key) not in each["keys"]:
            each["keys"].append(str(key))
        self.children.tell("requirement", each)
