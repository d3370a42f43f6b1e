"""What a submission prints: each object's fate as it is known, runs as they go on, and the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from heraci import report
from heraci.bundle import Severity, Status, errors_of, plain
from heraci.submit import Fate, Phase, Run, What

if TYPE_CHECKING:
    from heraci.pipeline import Submitted

_LOOKS: dict[What, Severity | Status] = {
    What.CREATED: Status.ADDED,
    What.APPLIED: Status.ADDED,
    What.FAILED: Severity.ERROR,
    What.ORPHANED: Severity.WARNING,
    What.SUSPENDED: Severity.WARNING,
    What.DELETED: Severity.WARNING,
}
_PHASES: dict[Phase, Severity | Status] = {
    Phase.SUCCEEDED: Status.ADDED,
    Phase.FAILED: Severity.ERROR,
    Phase.ERROR: Severity.ERROR,
    Phase.DELETED: Severity.WARNING,
}


class Told:
    """Tells people or programs; for programs everything comes at the end, as one JSON object."""

    def __init__(
        self,
        form: str,
        colour: bool,
        link: Callable[[Run], str | None],
        *,
        dry_run: bool = False,
    ) -> None:
        self._json = form == "json"
        self._commands = form == "github"
        self._colour = colour
        self._link = link
        self._dry_run = dry_run

    def fate(self, fate: Fate) -> None:
        """Tell what became of one object."""
        if self._json:
            return
        what = f"{self._what(fate.what):13}"
        if fate.what in _LOOKS:
            what = report.paint(what, _LOOKS[fate.what], colour=self._colour)
        told = report.safe(fate.message.replace("\n", " "))
        print(f"{what} {report.safe(str(fate.submission))}  {told}".rstrip(), flush=True)

    def _what(self, what: What) -> str:
        done = what not in (What.ALREADY_THERE, What.UNCHANGED, What.ORPHANED)
        would = self._dry_run and done and what is not What.FAILED
        return f"would be {what.value}" if would else what.value

    def run(self, run: Run) -> None:
        """Tell how one run fares now."""
        if not self._json:
            print(self._line(run), flush=True)

    def _line(self, run: Run) -> str:
        phase = f"{run.phase.value:9}"
        if run.phase in _PHASES:
            phase = report.paint(phase, _PHASES[run.phase], colour=self._colour)
        parts = [phase, f"{run.progress:7}", report.safe(f"{run.namespace}/{run.name}")]
        parts += [report.safe(run.message.replace("\n", " "))] if run.message else []
        address = self._link(run)
        return "  ".join([*parts, *([address] if address else [])]).rstrip()

    def table(self, runs: Sequence[Run]) -> None:
        """Tell of runs that were asked for."""
        if self._json:
            print(report.data_text([self._data(each) for each in runs]))
            return
        for each in runs:
            print(f"{each.created:20}  {each.commit[:10]}  {self._line(each)}")
        print(_counted(runs) if runs else "No run is known.")

    def end(self, result: Submitted) -> None:
        """Tell what it came to."""
        if self._json:
            data = {
                "submitted": [_fate_data(each) for each in result.fates],
                "findings": [plain(each) for each in result.findings],
                "runs": [self._data(each) for each in result.runs],
            }
            print(report.data_text(data))
            return
        for each in result.findings:
            print("\n".join(report.finding(each, colour=self._colour)))
        if self._commands and result.findings:
            print("\n".join(report.commands(result.findings)))
        if errors_of(result.findings):
            print("Nothing was submitted.")
            return
        counts = Counter(each.what for each in result.fates)
        told = ", ".join(f"{counts[each]} {self._what(each)}" for each in What if counts[each])
        print(told or "There is nothing to submit.")
        if result.failed:
            print("The same command submits the rest, and nothing twice.")
        if result.runs:
            print(_counted(result.runs))

    def _data(self, run: Run) -> dict[str, object]:
        return {**asdict(run), "phase": run.phase.value, "link": self._link(run)}


def _fate_data(fate: Fate) -> dict[str, object]:
    one = fate.submission
    return {
        "experiment": one.experiment,
        "kind": one.kind,
        "namespace": one.namespace,
        "name": one.name,
        "digest": one.digest,
        "what": fate.what.value,
        "message": fate.message,
    }


def _counted(runs: Iterable[Run]) -> str:
    counts = Counter(each.phase.value for each in runs)
    return ", ".join(f"{counts[each.value]} {each.value.lower()}" for each in Phase if counts[each])
