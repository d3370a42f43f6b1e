"""The review as GitHub-flavoured Markdown, for a comment and for a step summary.

Whatever comes from an experiment is written as code or in a fence, where Markdown, HTML and GitHub
(mentions, references, links) have no say. A text that is too long loses whole parts, so a fence, a
table or a folded part is never cut in two.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from heraci.bundle import Bundle, Finding, Severity, Status
from heraci.comparison import ChangeKind, ComparedExperiment, Graph, Review
from heraci.review import content
from heraci.review.budget import Budget, Piece, Worth, fit
from heraci.review.content import ExperimentPart, ManifestPart, Mark, Row, Table
from heraci.review.mermaid import drawn, mermaid
from heraci.review.text import Code, Line, Source, clean, clean_block, prose, spaced

# 65,536 is GitHub's limit; whether it counts characters or bytes is not documented.
COMMENT = Budget(characters=65_536, utf8_bytes=60_000)
# 1 MiB is the runner's limit for all that one step writes.
SUMMARY = Budget(utf8_bytes=1_000_000)

_BESIDE = Budget(utf8_bytes=15_000)

_MARKS = {Mark.GOOD: "✅", Mark.WARN: "⚠️", Mark.BAD: "❌", Mark.QUIET: "▫️"}
_NOTICE = "\N{INFORMATION SOURCE}\N{VARIATION SELECTOR-16}"
_SEVERITIES = {Severity.ERROR: "❌", Severity.WARNING: "⚠️", Severity.NOTICE: _NOTICE}

_CELL = 100
_NAME = 80
_PROSE = 600
_CELL_PROSE = 160
_FINDINGS = 10
_MORE = 200
_NOTES = 5
_ROWS = 60
_TASKS = 60
_YAML_LINES = 2_000
_LOG_LINES = 30
_LOG_WIDTH = 300
_NOTE = 900


def markdown(review: Review, budget: Budget = SUMMARY, marker: str = "") -> str:
    """Write the review within a budget; `marker` is our own first line, such as a hidden one."""
    return _Markdown(review, budget).written(f"{marker}\n" if marker else "")


def findings(found: Sequence[Finding]) -> str:
    """Write findings alone, in order of severity, as a list that fits below something else."""
    alone = _Markdown(Review(bundle=Bundle(), findings=tuple(found)), COMMENT)
    return fit(list(alone.findings()), _BESIDE).text


@dataclass(frozen=True, slots=True)
class _Markdown:
    review: Review
    budget: Budget

    def written(self, marker: str) -> str:
        pieces = [Piece(worth=Worth.ALWAYS, text=marker), *self.first_screen(), *self.sections()]
        whole = fit(pieces, self.budget)
        if not whole.left_out:
            return whole.text.rstrip("\n") + "\n"
        # What tells of the rest needs room of its own.
        room = Piece(worth=Worth.ALWAYS, text="x" * _NOTE)
        fitted = fit([*pieces, room], self.budget)
        return fitted.text[:-_NOTE].rstrip("\n") + "\n\n" + self.left_out(fitted.left_out)

    def left_out(self, what: Counter[str]) -> str:
        told = ", ".join(_plural(count, name) for name, count in sorted(what.items()) if name)
        return f"⚠️ GitHub limits the length. Left out here: {told}. See {self.elsewhere()}.\n"

    def elsewhere(self) -> str:
        where = self.review.elsewhere
        return f"[{where}]({self.review.elsewhere_url})" if self.review.elsewhere_url else where

    # The first screen

    def first_screen(self) -> Iterator[Piece]:
        verdict = content.verdict(self.review)
        lines = [f"## {_MARKS[verdict.mark]} {self.inline((verdict.title,))}", ""]
        for line in verdict.lines:
            lines += [self.inline(line), ""]
        yield Piece(worth=Worth.ALWAYS, text="\n".join(lines) + "\n")
        yield from self.findings()
        yield from self.overview()

    def findings(self) -> Iterator[Piece]:
        found = content.gathered_findings(self.review.findings)
        loud = [each for each in found if each[0].severity is not Severity.NOTICE]
        first = list(found) if len(found) <= _FINDINGS else loud[:_FINDINGS] or found[:_FINDINGS]
        rest = [each for each in found if each not in set(first)]
        if first:
            text = "".join(map(self.finding, first))
            yield Piece(worth=Worth.FINDINGS, text=f"{text}\n", what="list of findings")
        if rest:
            levels = Counter(each.severity for group in rest for each in group)
            told = ", ".join(_plural(count, str(level)) for level, count in levels.items())
            body = "".join(map(self.finding, rest[:_MORE]))
            yield self.folded(
                (f"More findings: {told}",), Worth.MORE_FINDINGS, body, what="list of more findings"
            )

    def finding(self, group: Sequence[Finding]) -> str:
        return f"- {_SEVERITIES[group[0].severity]} {self.inline(content.finding_line(group))}\n"

    def overview(self) -> Iterator[Piece]:
        shown = [
            content.overview_row(part, mark, self.review)
            for part, mark in content.ordered_experiments(self.review)
            if part.experiment.status is not Status.UNCHANGED
        ]
        if shown:
            table = self.table(Table(head=content.OVERVIEW, rows=tuple(shown[:_ROWS])), marks=True)
            yield Piece(worth=Worth.ROWS, text=table, what="table of experiments")
        for start in range(_ROWS, len(shown), _ROWS):
            rows = tuple(shown[start : start + _ROWS])
            table = self.table(Table(head=content.OVERVIEW, rows=rows), marks=True)
            title = f"Experiments {start + 1} to {start + len(rows)} of {len(shown)}"
            yield self.folded((title,), Worth.MORE_ROWS, table, what="table of more experiments")

    # The sections

    def sections(self) -> Iterator[Piece]:
        parts = [
            content.experiment_part(part, mark, self.review)
            for part, mark in content.ordered_experiments(self.review)
            if part.experiment.status is not Status.UNCHANGED
        ]
        alone = len(parts) == 1
        for part in parts:
            yield self.section(part, unfolded=alone)
        yield from self.unchanged()

    def section(self, part: ExperimentPart, *, unfolded: bool) -> Piece:
        title = f"{_MARKS[part.mark]} {self.html(part.title)}"
        text = f"<details{' open' if unfolded else ''}>\n<summary>{title}</summary>\n\n"
        if part.why:
            text += "Affected because:\n\n" + "".join(
                f"- {self.inline(line)}\n" for line in part.why
            )
            text += "\n"
        text += "".join(f"{self.inline(line)}\n\n" for line in part.notes)
        pieces = list(self.log(part))
        for each in part.manifests:
            pieces += self.manifest(each, titled=len(part.manifests) > 1)
        return Piece(
            worth=Worth.QUIET_SECTION if part.mark is Mark.QUIET else Worth.SECTION,
            text=text,
            what="experiment",
            pieces=tuple(pieces),
            tail="</details>\n\n",
        )

    def log(self, part: ExperimentPart) -> Iterator[Piece]:
        lines = part.log.splitlines()[-_LOG_LINES:]
        if lines:
            text = fence("\n".join(line[:_LOG_WIDTH] for line in lines), "text")
            title = ("The end of what it printed",)
            yield self.folded(title, Worth.LOG, text, what="log", unfolded=True)

    def manifest(self, part: ManifestPart, *, titled: bool) -> Iterator[Piece]:
        remark = f": {self.inline(part.remark)}" if part.remark else ""
        if titled or remark:
            yield Piece(worth=Worth.ALWAYS, text=f"#### {self.inline(part.title)}{remark}\n\n")
        if part.changes:
            table = self.table(part.changes, kinds=True)
            yield Piece(worth=Worth.CHANGES, text=table, what="table of changes")
        if part.plan:
            notes = "".join(f"- Not known: {self.inline(line)}\n" for line in part.notes[:_NOTES])
            text = self.table(part.plan) + (f"{notes}\n" if notes else "")
            yield Piece(worth=Worth.PLAN, text=text, what="table of what merging starts")
        yield from self.graphs(part.graphs)
        yield from self.yaml(part)
        if part.digest:
            yield Piece(worth=Worth.ALWAYS, text=f"{self.inline(part.digest)}\n\n")

    def graphs(self, graphs: Sequence[Graph]) -> Iterator[Piece]:
        pictures = drawn(graphs)
        if pictures:
            text = f"```mermaid\n{mermaid(pictures)}```\n\n"
            yield Piece(worth=Worth.GRAPH, text=text, what="diagram")
        tables = "".join(self.graph_table(each) for each in graphs if len(each.nodes) > 1)
        if tables:
            title = "The same as a table" if pictures else "Tasks, too many for a diagram"
            worth = Worth.GRAPH_TABLE if pictures else Worth.GRAPH
            yield self.folded((title,), worth, tables, what="table of tasks")

    def graph_table(self, graph: Graph) -> str:
        table = content.graph_table(graph)
        more = len(table.rows) - _TASKS
        if more > 0:
            table = Table(
                head=table.head, rows=table.rows[:_TASKS], more=f"and {_plural(more, 'more task')}"
            )
        return f"{self.inline(('Template ', Code(graph.template)))}\n\n" + self.table(
            table, kinds=True
        )

    def yaml(self, part: ManifestPart) -> Iterator[Piece]:
        if not part.yaml:
            return
        lines = part.yaml.splitlines()
        kept = _cut(lines, None if self.budget.utf8_bytes is None else self.budget.utf8_bytes // 5)
        text = fence("\n".join(kept), "diff" if part.yaml_is_diff else "yaml")
        if len(kept) < len(lines):
            text += (
                f"These are the first {len(kept):,} of {len(lines):,} lines. "
                f"All are in {self.elsewhere()}.\n\n"
            )
        name = "YAML diff" if part.yaml_is_diff else "YAML"
        worth = Worth.YAML_DIFF if part.yaml_is_diff else Worth.WHOLE_YAML
        title = f"{name}, {_plural(len(lines), 'line')}"
        instead = f"{title}: left out here.\n\n"
        yield self.folded((title,), worth, text, what=name, instead=instead)

    def unchanged(self) -> Iterator[Piece]:
        same = [
            part
            for part, _ in content.ordered_experiments(self.review)
            if part.experiment.status is Status.UNCHANGED
        ]
        if not same:
            return
        word = "submitted all the same" if self.review.submit_unchanged else "not submitted"
        title = f"{_plural(len(same), 'experiment')} affected, same manifest, {word}"
        lines = "".join(
            f"- {self.inline((Code(each.experiment.name), *self.because(each)))}\n"
            for each in same[:_MORE]
        )
        more = f"- and {len(same) - _MORE:,} more\n" if len(same) > _MORE else ""
        what = "list of unchanged experiments"
        yield self.folded((title,), Worth.QUIET_SECTION, lines + more, what=what)

    def because(self, part: ComparedExperiment) -> Line:
        reasons = part.experiment.reasons
        return (": ", reasons[0]) if reasons else ()

    # Markup

    def folded(
        self,
        title: Line,
        worth: Worth,
        body: str,
        *,
        what: str,
        instead: str = "",
        unfolded: bool = False,
    ) -> Piece:
        opening = f"<details{' open' if unfolded else ''}>"
        head = f"{opening}\n<summary>{self.html(title)}</summary>\n\n"
        text = f"{head}{body.rstrip()}\n\n</details>\n\n"
        return Piece(worth=worth, text=text, what=what, instead=instead)

    def table(self, table: Table, *, marks: bool = False, kinds: bool = False) -> str:
        used = [
            number
            for number in range(len(table.head))
            if any(row.cells[number] for row in table.rows)
        ]
        # Where all rows are of one kind, saying so in each of them is noise.
        first = marks or (kinds and len({row.kind for row in table.rows}) > 1)
        head = [*([""] if first else []), *(_capital(table.head[number]) for number in used)]
        lines = [_row(head), _row(["---"] * len(head))]
        for row in table.rows:
            sign = [_sign(row, marks=marks)] if first else []
            lines.append(_row([*sign, *(self.inline(row.cells[n], cell=True) for n in used)]))
        more = f"\n{self.inline((table.more,))}\n" if table.more else ""
        return "\n".join(lines) + "\n" + more + "\n"

    def inline(self, line: Line, *, cell: bool = False) -> str:
        """A line in Markdown, on one line whatever it holds."""
        written: list[str] = []
        for number, part in enumerate(line):
            if isinstance(part, str):
                cut = _cut_prose(part, _CELL_PROSE if cell else _PROSE)
                pieces: Iterable[str | Code | Source] = prose(cut, first=number == 0)
            else:
                pieces = (part,)
            for piece in pieces:
                text = piece if isinstance(piece, str) else self.data(piece, cell=cell)
                # Two code spans that touch would be one.
                touch = written and written[-1][-1:] == "`" == text[:1]
                written.append(f" {text}" if touch else text)
        # A list's dash with nothing behind it would underline the line above as a heading.
        return "".join(written).strip() or ("" if cell else "(empty)")

    def data(self, part: Code | Source, *, cell: bool) -> str:
        most = _CELL if cell else _NAME
        if isinstance(part, Code):
            return code(part.text, most, cell=cell)
        shown, url = (
            code(part.shown or part.place, most, cell=cell),
            content.source_link(self.review, part.place),
        )
        return f"[{shown}]({url})" if url else shown

    def html(self, line: Line) -> str:
        """A line inside of HTML, where Markdown does not reach but GitHub's mentions do."""
        written = []
        for part in line:
            pieces = prose(_cut_prose(part, _PROSE)) if isinstance(part, str) else (part,)
            for piece in pieces:
                if isinstance(piece, str):
                    written.append(html.escape(piece))
                else:
                    shown = piece.text if isinstance(piece, Code) else piece.shown or piece.place
                    written.append(f"<code>{html.escape(clean(shown, _NAME))}</code>")
        return "".join(written).strip()


def code(text: str, most: int, *, cell: bool = False) -> str:
    """Data as a code span, whose fence is longer than any run of backticks in it."""
    shown = clean(text, most)
    if not shown:
        return "(empty)"
    if cell:
        # Where a table's row ends is decided before code spans are read, and parsers do not agree
        # on how a backslash before a pipe is taken.
        shown = shown.replace("|", "\N{DIVIDES}")
    ticks = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def fence(text: str, language: str) -> str:
    """Data as a block, whose fence is longer than any run of backticks in it."""
    shown = clean_block(text.rstrip("\n"))
    ticks = "`" * max(3, max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{ticks}{language}\n{shown}\n{ticks}\n\n"


def _sign(row: Row, *, marks: bool) -> str:
    if marks:
        return _MARKS[row.mark] if row.mark else ""
    return str(row.kind) if row.kind and row.kind is not ChangeKind.SAME else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cut_prose(text: str, most: int) -> str:
    shown = spaced(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _plural(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    head, of, tail = noun.partition(" of ")
    return f"{count:,} {head}{'' if head.endswith('YAML') else 's'}{of}{tail}"


def _cut(lines: Sequence[str], most: int | None) -> Sequence[str]:
    """As many lines as are worth their room, of a diff whole hunks if more than one fits."""
    if most is None:
        return lines
    length = end = 0
    for number, line in enumerate(lines):
        length += len(line.encode("utf-8", "replace")) + 1
        if length > most or number >= _YAML_LINES:
            return lines[: end or number]
        if line.startswith("@@"):
            end = number
    return lines
