"""What commands print: a bundle and its findings as text for people, JSON, or GitHub's commands.

Everything that came from an experiment is shown without control characters, and never at the
beginning of a line, where GitHub's runner would take it for a command.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable

from heraci.bundle import Bundle, CompiledExperiment, Finding, Severity, Status, plain

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
# The runner takes `::` at the beginning of a line, and `##[` anywhere, for a command. What has no
# width counts as nothing to some ways of comparing texts.
_COMMAND = re.compile(r"^[\s\u00ad\u200b-\u200f\u2060-\u2064]*:(?=:)|##(?=\[)")
_COLOURS = {
    Severity.ERROR: "31",
    Severity.WARNING: "33",
    Severity.NOTICE: "36",
    Status.ADDED: "32",
    Status.CHANGED: "33",
    Status.FAILED: "31",
    Status.REMOVED: "35",
    Status.UNCHANGED: "2",
    Status.UNAFFECTED: "2",
    Status.COMPILED: "32",
}


def safe(text: str) -> str:
    """Make a stranger's text one line that is harmless on a terminal and in a CI log."""
    text = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    text = _COMMAND.sub(r"\g<0> ", text)
    return text.encode("utf-8", "backslashreplace").decode()


def paint(text: str, style: Severity | Status, *, colour: bool) -> str:
    """Colour a word, where colours are wanted."""
    return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if colour else text


def text(bundle: Bundle, output: str | None, *, colour: bool = False) -> str:
    """Show what became of each experiment, then the findings, then a summary."""
    shown = [each for each in bundle.experiments if each.status is not Status.UNAFFECTED]
    width = min(40, max((len(each.name) for each in shown), default=0))
    lines = [line for each in shown for line in _experiment(each, width, output, colour=colour)]
    if bundle.findings and lines:
        lines.append("")
    lines += [line for each in bundle.findings for line in finding(each, colour=colour)]
    if lines:
        lines.append("")
    return "\n".join([*lines, summary(bundle)])


def _experiment(
    experiment: CompiledExperiment, width: int, output: str | None, *, colour: bool
) -> Iterable[str]:
    status = paint(f"{experiment.status.value:10}", experiment.status, colour=colour)
    name = safe(experiment.name).ljust(width)
    made = ", ".join(safe(f"{each.kind} {each.name}") for each in experiment.manifests[:3])
    more = f" and {len(experiment.manifests) - 3} more" if len(experiment.manifests) > 3 else ""
    where = f"  {output}/{safe(experiment.name)}.yaml" if output and experiment.manifests else ""
    yield f"{status} {name}{where}  {made}{more}".rstrip()
    reasons = [each for each in experiment.reasons if each != "named"]
    for reason in reasons[:3]:
        yield f"{'':11}{'':{width}}  {safe(reason)}"
    if len(reasons) > 3:
        yield f"{'':11}{'':{width}}  and {len(reasons) - 3} more reasons"
    if experiment.base_error:
        told = _first_line(experiment.base_error)
        yield f"{'':11}{'':{width}}  the base does not compile: {told}"


def _first_line(message: str) -> str:
    return safe(message.splitlines()[0]) if message else ""


def finding(each: Finding, *, colour: bool = False) -> list[str]:
    """Show one finding: severity, place, message, and its rule."""
    place = safe(each.file or "")
    if each.line:
        place += f":{each.line}"
    first, *rest = each.message.splitlines() or [""]
    head = paint(each.severity.value, each.severity, colour=colour)
    where = f"{place}: " if place else ""
    lines = [f"{head}: {where}{safe(first)} [{safe(each.rule)}]"]
    return lines + [f"    | {safe(line)}" for line in rest]


def summary(bundle: Bundle) -> str:
    """Count experiments and findings in one line."""
    statuses = Counter(each.status.value for each in bundle.experiments)
    total = len(bundle.experiments)
    if not total and not bundle.findings:
        return "No experiment is affected." if bundle.merge_base else "There are no experiments."
    counts = ", ".join(f"{statuses[each.value]} {each.value}" for each in Status if statuses[each])
    line = f"{total} experiment{'s' if total != 1 else ''}" + (f": {counts}" if counts else "")
    found = counted(bundle.findings)
    return line + (f"; {found}" if found else "")


def counted(findings: Iterable[Finding]) -> str:
    """Count findings by severity: `2 errors, 1 notice`; empty where there are none."""
    severities = Counter(each.severity for each in findings)
    parts = [(severities[each], each.value) for each in Severity if severities[each]]
    return ", ".join(f"{number} {word}{'s' if number != 1 else ''}" for number, word in parts)


def as_json(bundle: Bundle) -> str:
    """Give programs what the text says: the bundle's index, without documents and logs."""
    experiments = []
    for each in bundle.experiments:
        record = plain(each)
        for name in ("log", "text", "base_manifests"):
            record.pop(name, None)
        for manifest in record.get("manifests", ()):
            del manifest["document"]
        experiments.append(record)
    data = {
        "target": bundle.target,
        "commit": bundle.commit,
        "base": bundle.base,
        "merge_base": bundle.merge_base,
        "experiments": experiments,
        "findings": [plain(each) for each in bundle.findings],
    }
    return data_text(data)


def data_text(data: object) -> str:
    """Write data as JSON that a CI log may show: ASCII alone, and nothing that is a command."""
    # The runner looks for `##[` even inside a line.
    return json.dumps(data, indent=2).replace("##[", "#\\u0023[")


def commands(findings: Iterable[Finding]) -> list[str]:
    """Write findings as the runner's commands, so that GitHub shows them beside the lines.

    It shows few of each step: in turn from each experiment, the gravest first.
    """
    # Loaded where they are needed: what a laptop prints has none.
    from heraci import github, review

    return github.annotations(review.annotated(findings).shown)
