"""The review for a terminal: plain text, coloured only where that was asked for.

Control characters of the data are written as escapes, so no name and no log can move the cursor,
set a title or hide a line.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from heraci.bundle import Status
from heraci.comparison import ChangeKind, Graph, Review
from heraci.review import content
from heraci.review.content import ExperimentPart, ManifestPart, Mark, Row, Table
from heraci.review.text import Code, Line, clean_block, spaced

_RESET = "\x1b[0m"
_COLOURS = {
    "bold": "\x1b[1m",
    "dim": "\x1b[2m",
    "red": "\x1b[31m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
    "cyan": "\x1b[36m",
}
_MARKS = {Mark.GOOD: "✓", Mark.WARN: "!", Mark.BAD: "✗", Mark.QUIET: "·"}
_MARK_COLOURS = {Mark.GOOD: "green", Mark.WARN: "yellow", Mark.BAD: "red", Mark.QUIET: "dim"}
_SEVERITY_COLOURS = {"error": "red", "warning": "yellow", "notice": "cyan"}
_KINDS = {ChangeKind.ADDED: "+", ChangeKind.REMOVED: "-", ChangeKind.CHANGED: "~"}
_KIND_COLOURS = {
    ChangeKind.ADDED: "green",
    ChangeKind.REMOVED: "red",
    ChangeKind.CHANGED: "yellow",
}
_NARROWEST = 60
_CELL = 60
_LOG_LINES = 40


def terminal(review: Review, *, colour: bool = False, width: int = 100, yaml: bool = False) -> str:
    """Write the review in lines of at most `width` columns; `yaml` adds the YAML diffs.

    Only YAML, logs and tables whose words cannot be shortened may be wider.
    """
    written = _Terminal(review, colour, max(width, _NARROWEST), yaml)
    return "\n".join(each.rstrip() for each in written.lines()) + "\n"


@dataclass(frozen=True, slots=True)
class _Terminal:
    review: Review
    colour: bool
    width: int
    with_yaml: bool

    def lines(self) -> Iterator[str]:
        verdict = content.verdict(self.review)
        title = f"{_MARKS[verdict.mark]} {_plain((verdict.title,))}"
        yield self.paint(title, "bold", _MARK_COLOURS[verdict.mark])
        yield ""
        for line in verdict.lines:
            yield from self.wrapped(_plain(line))
        yield from self.findings()
        yield from self.overview()
        for part, mark in content.ordered_experiments(self.review):
            if part.experiment.status is not Status.UNCHANGED:
                yield from self.section(content.experiment_part(part, mark, self.review))
        yield from self.unchanged()

    def findings(self) -> Iterator[str]:
        found = content.gathered_findings(self.review.findings)
        if found:
            yield ""
        for each in found:
            severity = str(each[0].severity)
            text = _plain(content.finding_line(each))
            first, *rest = self.folded(text, indent="        ", first=f"{severity:<8}")
            painted = self.paint(first[:8], _SEVERITY_COLOURS[severity])
            yield painted + first[8:]
            yield from rest

    def overview(self) -> Iterator[str]:
        rows = tuple(
            content.overview_row(part, mark, self.review)
            for part, mark in content.ordered_experiments(self.review)
        )
        if rows:
            yield ""
            yield from self.table(Table(head=content.OVERVIEW, rows=rows), marks=True)

    def section(self, part: ExperimentPart) -> Iterator[str]:
        yield ""
        yield self.paint("─" * self.width, "dim")
        first, *rest = self.folded(_plain(part.title), first=f"{_MARKS[part.mark]} ", indent="  ")
        yield self.paint(first, _MARK_COLOURS[part.mark])
        yield from rest
        for number, line in enumerate(part.why):
            yield from self.folded(
                _plain(line), first="  why: " if not number else " " * 7, indent=" " * 9
            )
        for line in part.notes:
            yield from self.folded(_plain(line), first="  ", indent="  ")
        if part.log:
            yield from self.log(part.log)
        for each in part.manifests:
            yield from self.manifest(each, titled=len(part.manifests) > 1)

    def log(self, log: str) -> Iterator[str]:
        lines = clean_block(log).splitlines()
        yield ""
        if len(lines) > _LOG_LINES:
            yield self.paint(f"  the last {_LOG_LINES} of {len(lines):,} lines", "dim")
        yield from (f"  │ {line}" for line in lines[-_LOG_LINES:])

    def manifest(self, part: ManifestPart, *, titled: bool) -> Iterator[str]:
        remark = f": {_plain(part.remark)}" if part.remark else ""
        if titled or remark:
            yield ""
            yield "  " + self.paint(f"{_plain(part.title)}{remark}", "bold")
        for table, kinds in ((part.changes, True), (part.plan, False)):
            if table:
                yield ""
                yield from self.table(table, kinds=kinds, indent="  ")
        for line in part.notes:
            yield from self.folded(_plain(line), first="  not known: ", indent="    ")
        for graph in part.graphs:
            yield from self.graph(graph)
        if part.yaml and self.with_yaml:
            yield ""
            yield from map(self.diff_line, clean_block(part.yaml).splitlines())
        if part.digest:
            yield ""
            yield "  " + self.paint(_plain(part.digest), "dim")

    def graph(self, graph: Graph) -> Iterator[str]:
        if len(graph.nodes) > 1:
            yield ""
            yield self.paint(f"  tasks of {_plain((Code(graph.template),))}", "bold")
            yield from self.table(content.graph_table(graph), kinds=True, indent="  ")

    def unchanged(self) -> Iterator[str]:
        same = [
            part.experiment
            for part in self.review.experiments
            if part.experiment.status is Status.UNCHANGED
        ]
        if same:
            yield ""
            yield self.paint("─" * self.width, "dim")
            word = "submitted all the same" if self.review.submit_unchanged else "not submitted"
            yield f"Affected, same manifest, {word}:"
        for each in same:
            reason = f": {each.reasons[0]}" if each.reasons else ""
            yield from self.folded(_plain((Code(each.name), reason)), first="  ", indent="    ")

    # Layout

    def paint(self, text: str, *colours: str) -> str:
        if not self.colour:
            return text
        return "".join(_COLOURS[each] for each in colours) + text + _RESET

    def wrapped(self, text: str) -> Iterator[str]:
        yield from self.folded(text, first="", indent="")

    def folded(self, text: str, *, first: str, indent: str) -> list[str]:
        return textwrap.wrap(
            text,
            width=self.width,
            initial_indent=first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [first]

    def diff_line(self, line: str) -> str:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        return f"  {self.paint(line, colour) if colour else line}"

    def table(
        self, table: Table, *, marks: bool = False, kinds: bool = False, indent: str = ""
    ) -> Iterator[str]:
        used = [
            number
            for number in range(len(table.head))
            if any(row.cells[number] for row in table.rows)
        ]
        signs = [_sign(row, marks=marks, kinds=kinds) for row in table.rows]
        rows = [[_plain(row.cells[number]) for number in used] for row in table.rows]
        head = [table.head[number] for number in used]
        widths = self.widths([head, *rows], len(indent) + 2)
        yield indent + self.paint(f"  {_aligned(head, widths)}", "dim")
        for row, sign, cells in zip(table.rows, signs, rows, strict=True):
            for number, line in enumerate(_folded_row(cells, widths)):
                start = self.paint(sign, _colour(row)) if sign.strip() and not number else " "
                yield f"{indent}{start} {line}"
        if table.more:
            yield f"{indent}  {table.more}"

    def widths(self, rows: Sequence[Sequence[str]], taken: int) -> list[int]:
        """The width of each column; the widest give way until all of them fit."""
        widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
        room = self.width - taken - 2 * (len(widths) - 1)
        while sum(widths) > room and max(widths) > 12:
            widths[widths.index(max(widths))] -= 1
        return widths


def _plain(line: Line) -> str:
    parts = []
    for part in line:
        if isinstance(part, str):
            parts.append(spaced(part).replace("`", ""))
        elif isinstance(part, Code):
            parts.append(spaced(part.text).strip() or "(empty)")
        else:
            parts.append(spaced(part.shown or part.place).strip())
    return "".join(parts).strip()


def _sign(row: Row, *, marks: bool, kinds: bool) -> str:
    if marks:
        return _MARKS[row.mark] if row.mark else " "
    return _KINDS.get(row.kind, " ") if kinds and row.kind else " "


def _colour(row: Row) -> str:
    if row.mark:
        return _MARK_COLOURS[row.mark]
    return _KIND_COLOURS.get(row.kind, "dim") if row.kind else "dim"


def _columns(text: str) -> int:
    """How wide a text is on the screen."""
    if text.isascii():
        return len(text)
    return sum(_character_width(each) for each in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell + " " * (width - _columns(cell)) for cell, width in zip(cells, widths, strict=True)
    )


def _folded_row(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """A row over as many lines as its longest cell needs."""
    columns = [_folded_cell(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, columns))):
        line = [column[number] if number < len(column) else "" for column in columns]
        yield _aligned(line, widths)


def _folded_cell(cell: str, width: int) -> list[str]:
    if _columns(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, max_lines=4, placeholder=" …") or [""]
