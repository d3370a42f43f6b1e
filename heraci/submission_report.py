"""What a submission prints: each object's fate as it is known, runs as they go on, and the end."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
        self._table = _LiveTable() if form == "text" and sys.stdout.isatty() else None

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
        if self._json:
            return
        if self._table is None:
            print(self._line(run), flush=True)
        elif run.phase.ended:
            self._table.end(run, self._line(run))
        else:
            self._table.show(run)

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
        if self._table:
            self._table.clear()
            for run in result.runs:
                if not run.phase.ended:
                    print(self._line(run))
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


class _LiveTable:
    """What is on its way, in place at a terminal's end; what has ended stays above it."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], Run] = {}
        self._ended: Counter[Phase] = Counter()
        self._height = 0

    def show(self, run: Run) -> None:
        self._runs[run.namespace, run.name] = run
        self._draw()

    def end(self, run: Run, line: str) -> None:
        self._runs.pop((run.namespace, run.name), None)
        self._ended[run.phase] += 1
        self._draw(f"{line}\n")

    def clear(self) -> None:
        """Leave nothing behind but what has ended."""
        self._runs.clear()
        self._draw()

    def _draw(self, above: str = "") -> None:
        width, height = shutil.get_terminal_size()
        room = max(1, height - 3)
        rows = [_row(each) for each in self._runs.values()]
        if len(rows) > room:
            rows[room - 1 :] = [f"… and {len(rows) - room + 1} more"]
        if rows:
            rows.append(_counted(self._runs.values(), self._ended))
        back = f"\x1b[{self._height}F\x1b[J" if self._height else ""
        shown = "".join(f"{each[: width - 1]}\n" for each in rows)
        self._height = len(rows)
        print(back + above + shown, end="", flush=True)


def _row(run: Run) -> str:
    place = report.safe(f"{run.namespace}/{run.name}")
    return f"{run.phase.value:9}  {run.progress:7}  {place}  {report.safe(run.message)}".rstrip()


def _going_on() -> Iterable[Phase]:
    return (each for each in Phase if not each.ended)


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


def _counted(runs: Iterable[Run], more: Mapping[Phase, int] | None = None) -> str:
    counts = Counter(each.phase for each in runs) + Counter(more or {})
    return ", ".join(f"{counts[each]} {each.value.lower()}" for each in Phase if counts[each])
