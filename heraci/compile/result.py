"""What a worker sent, which is untrusted, as manifests and findings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from heraci import document
from heraci.bundle import Finding, Manifest, Origin, Requirement, Severity
from heraci.compile.values import Outcome, Request, failed, problem
from heraci.compile.workers import Ended

KINDS = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow")
_LONGEST_MESSAGE = 20_000
# What faulthandler writes.
_STACK = re.compile(r"^(?:Stack|Current thread) .*\n(?:  File .*\n?)+", re.MULTILINE)
_STACK_LINE = re.compile(r'^  File "(.*)", line (\d{1,6}) in ', re.MULTILINE)
_SECRET_NAME = re.compile(
    r"token|secret|passw|credential|(api|private|access)_?key|auth|kubeconfig", re.IGNORECASE
)
# What well-known credentials look like; the key is looked for first, which costs next to nothing.
_SECRET_VALUES = {
    "eyJ": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\."),
    "ghp_": re.compile(r"\bghp_\w{20,}"),
    "gho_": re.compile(r"\bgho_\w{20,}"),
    "ghs_": re.compile(r"\bghs_\w{20,}"),
    "github_pat_": re.compile(r"\bgithub_pat_\w{20,}"),
    "glpat-": re.compile(r"\bglpat-[\w-]{20,}"),
    "AKIA": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "PRIVATE KEY-----": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}


def read(request: Request, ended: Ended, secrets: Sequence[str]) -> Outcome:
    """Read how a worker ended; `secrets` are looked for in what it made."""
    if ended.result is None:
        message = ended.failure or "ended without a result: the script ended its own process"
        place, log = _stopped_at(ended.log, request.tree.files)
        finding = problem(request, "compile-failed", _with_log(message, log))
        if place:
            finding = replace(finding, file=place[0], line=place[1])
        return replace(failed(request, finding), log=log)
    try:
        return _Reader(request, secrets).read(ended.result, ended.log)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        finding = problem(request, "compile-failed", f"sent what is no result: {error!r:.300}")
        return replace(failed(request, finding), log=ended.log)


class _Reader:
    """Reads one result."""

    def __init__(self, request: Request, secrets: Sequence[str]) -> None:
        self.request = request
        self.secrets = secrets
        self.findings: list[Finding] = []

    def read(self, result: Mapping[str, Any], log: str) -> Outcome:
        request = self.request
        self.findings = [self.finding(each) for each in result["findings"]]
        failed = bool(result["error"])
        if failed:
            error = self.finding(result["error"])
            self.findings.append(replace(error, message=_with_log(error.message, log)))
        manifests = tuple(self.manifest(each, n) for n, each in enumerate(result["documents"]))
        requirements = tuple(self.requirement(each) for each in result["requirements"])
        if not manifests and not failed:
            self.nothing_built(log)
        failed = failed or (not manifests and request.strict)
        return Outcome(
            name=request.name,
            path=request.path,
            manifests=manifests,
            text=document.dump(each.document for each in manifests),
            requirements=requirements,
            findings=tuple(self.findings),
            failed=failed,
            empty=not manifests and not failed,
            log=log,
            python=str(result["python"]),
            hera=result["hera"] and str(result["hera"]),
        )

    def nothing_built(self, log: str) -> None:
        message = (
            "built no workflow. Define one at module level, call create() under "
            '`if __name__ == "__main__":`, or derive a class from heraci.Experiment; a function '
            "that makes it is named as `path:function` in heraci.toml."
        )
        severity = Severity.ERROR if self.request.strict else Severity.WARNING
        finding = problem(self.request, "no-workflow", _with_log(message, log))
        self.findings.append(replace(finding, severity=severity))

    def finding(self, data: Mapping[str, Any]) -> Finding:
        line = data["line"]
        return Finding(
            rule=str(data["rule"]),
            severity=Severity(data["severity"]),
            message=str(data["message"])[:_LONGEST_MESSAGE],
            experiment=self.request.name,
            file=str(data["file"] or self.request.path),
            line=line if isinstance(line, int) and line > 0 else None,
        )

    def manifest(self, data: Mapping[str, Any], index: int) -> Manifest:
        content = data["document"]
        sources = {str(key): str(value) for key, value in data["sources"].items() if value}
        kind, meta = _text(content.get("kind")), content.get("metadata") or {}
        name = meta.get("name") or meta.get("generateName") or ""
        if kind not in KINDS:
            self.find("unknown-kind", f"is of kind {kind}, which Argo does not know", sources)
        canonical = document.canonical(content)
        self.check_secrets(canonical.decode(), sources)
        return Manifest(
            kind=str(kind),
            name=_text(name) or "",
            namespace=_text(meta.get("namespace")),
            digest=document.digest_of(canonical),
            document=content,
            file=f"{self.request.name}.yaml",
            index=index,
            sources=sources,
        )

    def check_secrets(self, text: str, sources: Mapping[str, str]) -> None:
        environ = self.request.environ.items()
        told = {value for name, value in environ if _SECRET_NAME.search(name) and len(value) >= 8}
        if any(json.dumps(each)[1:-1] in text for each in {*told, *self.secrets}):
            self.find(
                "credential-in-manifest",
                "holds the value of a variable of the environ that looks like a credential. "
                "Put it in a Secret on the cluster and refer to that.",
                sources,
            )
        elif found := next(
            (k for k, e in _SECRET_VALUES.items() if k in text and e.search(text)), ""
        ):
            self.find(
                "credential-in-manifest",
                f"holds what looks like a credential ({found}…). "
                "Put it in a Secret on the cluster and refer to that.",
                sources,
            )

    def find(self, rule: str, message: str, sources: Mapping[str, str]) -> None:
        file, _, line = sources.get("", "").rpartition(":")
        self.findings.append(
            Finding(
                rule=rule,
                severity=Severity.ERROR,
                message=f"the manifest {message}",
                experiment=self.request.name,
                file=file or self.request.path,
                line=int(line) if line.isdigit() else None,
            )
        )

    def requirement(self, data: Mapping[str, Any]) -> Requirement:
        return Requirement(
            kind=str(data["kind"]),
            name=str(data["name"]),
            api_version=str(data.get("api_version") or "v1"),
            namespace=_text(data.get("namespace")),
            keys=tuple(map(str, data.get("keys") or ())),
            access=tuple(map(str, data.get("access") or ())),
            storage=_text(data.get("storage")),
            origin=Origin(data.get("origin") or "compiling"),
            source=_text(data.get("source")),
            optional=bool(data.get("optional")),
        )


_RESULT: Mapping[str, type | tuple[type, ...]] = {
    "documents": list,
    "requirements": list,
    "findings": list,
    "touched": list,
    "error": (dict, type(None)),
    "hera": (str, type(None)),
    "python": str,
}


def checked(ended: Ended) -> Ended:
    """Let only a result pass that has the shape of one: a script can write there itself."""
    result = ended.result
    if result is None:
        return ended
    wrong = [name for name, kind in _RESULT.items() if not isinstance(result.get(name), kind)]
    if not wrong and not all(isinstance(path, str) for path in result["touched"]):
        wrong = ["touched"]
    if not wrong:
        return replace(ended, result=_printable(result)) if ended.has_surrogates else ended
    kind = type(result.get(wrong[0])).__name__
    failure = ended.failure or f"sent what is no result: {wrong[0]} of type {kind}"
    return replace(ended, result=None, failure=failure)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{value!r:.60} where a text is wanted")


def _printable(result: dict[str, Any]) -> dict[str, Any]:
    """Replace lone surrogates, which no file and no terminal takes; paths need theirs."""
    try:
        json.dumps(result, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        rest = json.dumps({**result, "touched": []}, ensure_ascii=False)
        cleaned: dict[str, Any] = json.loads(rest.encode("utf-8", "replace"))
        return {**cleaned, "touched": result["touched"]}
    return result


def _with_log(message: str, log: str) -> str:
    """Add the last lines that a script printed, which most often say why."""
    lines = [line for line in log.splitlines() if line.strip()][-8:]
    if not lines:
        return message
    return message + "\nIt printed last:\n" + "\n".join(f"  {line[:300]}" for line in lines)


def _stopped_at(log: str, files: Mapping[str, str]) -> tuple[tuple[str, int] | None, str]:
    """Find the author's line in the stack that a worker writes before it is ended; cut it out."""
    stack = _STACK.search(log)
    if stack is None:
        return None, log
    lines = ((found[1], int(found[2])) for found in _STACK_LINE.finditer(stack[0]))
    place = next((each for each in lines if each[0] in files), None)
    return place, log.replace(stack[0], "")
