"""The review as one HTML file that needs no network and no JavaScript."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

from heraci.bundle import Status
from heraci.comparison import ChangeKind, Graph, Review
from heraci.review import content
from heraci.review.content import ExperimentPart, ManifestPart, Mark, Row, Table
from heraci.review.drawing import svg
from heraci.review.text import Code, Line, Source, clean, clean_block, prose, spaced

_MARKS = {Mark.GOOD: "good", Mark.WARN: "look", Mark.BAD: "stop", Mark.QUIET: "·"}
_MOST_DIFF_LINES = 50_000
_CODE = 400

_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--paper:#fff;--block:#f6f8fa;
--line:#d1d9e0;--link:#0969da;--good:#1a7f37;--warn:#9a6700;--bad:#cf222e;
--good-fill:#dafbe1;--warn-fill:#fff8c5;--bad-fill:#ffebe9}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;
--block:#161b22;--line:#3d444d;--link:#4493f8;--good:#3fb950;--warn:#d29922;--bad:#f85149;
--good-fill:#12361f;--warn-fill:#3a2d0a;--bad-fill:#44191b}}
*{box-sizing:border-box}
body{margin:0 auto;padding:24px 20px 80px;max-width:1100px;background:var(--paper);
color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;line-height:1.25;margin:0 0 12px;padding:10px 14px;border-left:6px solid;
background:var(--block);border-radius:4px}
h2{font-size:18px;margin:32px 0 8px}h3{font-size:15px;margin:20px 0 8px}
h4{font-size:13px;margin:14px 0 6px;color:var(--soft);font-weight:600}
p{margin:4px 0}a{color:var(--link)}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.quiet{color:var(--soft)}
h1 span,.plain{color:var(--ink)}
code,pre{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
code{background:var(--block);padding:1px 5px;border-radius:4px;overflow-wrap:anywhere}
pre{background:var(--block);padding:12px;overflow:auto;border-radius:6px;margin:8px 0;
max-height:70vh}
pre code{background:none;padding:0;display:block;width:max-content;min-width:100%}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:8px 0}
th,td{border:1px solid var(--line);padding:5px 10px;text-align:left;vertical-align:top}
th{background:var(--block);font-weight:600;white-space:nowrap}
tr.added td:first-child,ins{box-shadow:inset 3px 0 var(--good)}
tr.removed td:first-child{box-shadow:inset 3px 0 var(--bad)}
tr.changed td:first-child{box-shadow:inset 3px 0 var(--warn)}
ul{margin:6px 0;padding-left:22px}.findings{list-style:none;padding:0}
.findings li{padding:6px 10px;border-left:4px solid;margin:4px 0;background:var(--block)}
details{border:1px solid var(--line);border-radius:6px;margin:10px 0;padding:0 14px}
summary{cursor:pointer;padding:9px 0;font-weight:600}
details details{border:0;border-top:1px solid var(--line);border-radius:0;padding:0;margin:8px 0}
details[open]>summary{border-bottom:1px solid var(--line);margin-bottom:10px}
ins,del{text-decoration:none;display:block}
ins{background:var(--good-fill);box-shadow:none}del{background:var(--bad-fill)}
.hunk{color:var(--soft)}
svg{display:block;margin:6px 0}svg text{font:13px system-ui,sans-serif;fill:var(--ink)}
svg .small{font-size:11px;fill:var(--soft)}
.node rect{fill:var(--block);stroke:var(--soft)}
.node.added rect{fill:var(--good-fill);stroke:var(--good)}
.node.changed rect{fill:var(--warn-fill);stroke:var(--warn)}
.node.removed rect{fill:var(--bad-fill);stroke:var(--bad);stroke-dasharray:5 3}
.node.conditional rect{stroke-dasharray:2 3}
.edge{fill:none;stroke:var(--soft)}.tip{fill:var(--soft)}
.legend{color:var(--soft);font-size:13px}
footer{margin-top:40px;color:var(--soft);font-size:13px}
@media print{details{break-inside:avoid}pre{max-height:none}}
"""
# Nothing is fetched and nothing is run, whatever may have slipped in.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(review: Review) -> str:
    """Write the review as one HTML page."""
    return "".join(f"{each}\n" for each in _Page(review).lines())


class _Page:
    def __init__(self, review: Review) -> None:
        self._review = review

    def lines(self) -> Iterator[str]:
        verdict = content.verdict(self._review)
        yield "<!doctype html>"
        yield '<html lang="en"><head><meta charset="utf-8">'
        yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        yield '<meta name="referrer" content="no-referrer">'
        yield '<meta name="viewport" content="width=device-width">'
        yield f"<title>heraci: {html.escape(clean(verdict.title))}</title>"
        yield f"<style>{_STYLE}</style></head><body>"
        yield f'<h1 class="{verdict.mark}"><span>{self.inline((verdict.title,))}</span></h1>'
        yield from (f"<p>{self.inline(line)}</p>" for line in verdict.lines)
        yield from self.findings()
        yield from self.overview()
        yield from self.sections()
        yield from self.versions()
        yield "</body></html>"

    def findings(self) -> Iterator[str]:
        found = content.gathered_findings(self._review.findings)
        if not found:
            return
        yield '<h2>Findings</h2><ul class="findings">'
        colours = {"error": "bad", "warning": "warn", "notice": "quiet"}
        for each in found:
            line = self.inline(content.finding_line(each))
            severity = str(each[0].severity)
            yield (
                f'<li class="{colours[severity]}"><strong>{severity}</strong> '
                f'<span class="plain">{line}</span></li>'
            )
        yield "</ul>"

    def overview(self) -> Iterator[str]:
        shown = [
            content.overview_row(part, mark, self._review)
            for part, mark in content.ordered_experiments(self._review)
        ]
        if shown:
            yield "<h2>Experiments</h2>"
            yield from self.table(Table(head=content.OVERVIEW, rows=tuple(shown)), marks=True)

    def sections(self) -> Iterator[str]:
        ordered = content.ordered_experiments(self._review)
        alone = sum(part.experiment.status is not Status.UNCHANGED for part, _ in ordered) == 1
        for part, mark in ordered:
            told = content.experiment_part(part, mark, self._review)
            unfolded = alone and part.experiment.status is not Status.UNCHANGED
            yield from self.section(told, unfolded=unfolded)

    def section(self, part: ExperimentPart, *, unfolded: bool) -> Iterator[str]:
        yield (
            f'<details{" open" if unfolded else ""}><summary><span class="{part.mark}">'
            f"{_MARKS[part.mark]}</span> {self.inline(part.title)}</summary>"
        )
        if part.why:
            yield "<h4>Affected because</h4><ul>"
            yield from (f"<li>{self.inline(line)}</li>" for line in part.why)
            yield "</ul>"
        yield from (f"<p>{self.inline(line)}</p>" for line in part.notes)
        if part.log:
            yield f"<h4>What it printed</h4><pre><code>{_block(part.log)}</code></pre>"
        for each in part.manifests:
            yield from self.manifest(each)
        yield "</details>"

    def manifest(self, part: ManifestPart) -> Iterator[str]:
        remark = f": {self.inline(part.remark)}" if part.remark else ""
        yield f"<h3>{self.inline(part.title)}{remark}</h3>"
        if part.changes:
            yield from self.table(part.changes, kinds=True)
        if part.plan:
            yield from self.table(part.plan)
        if part.notes:
            yield "<ul>"
            yield from (f"<li>Not known: {self.inline(line)}</li>" for line in part.notes)
            yield "</ul>"
        for graph in part.graphs:
            yield from self.graph(graph)
        yield from self.yaml(part)
        if part.digest:
            yield f"<p>{self.inline(part.digest)}</p>"

    def graph(self, graph: Graph) -> Iterator[str]:
        if len(graph.nodes) < 2:
            return
        yield f"<h4>Tasks of {self.inline((Code(graph.template),))}</h4>"
        if picture := svg(graph):
            yield f'<div class="scroll">{picture}</div>'
        yield f"<details><summary>{'The same as a table' if picture else 'As a table'}</summary>"
        yield from self.table(content.graph_table(graph), kinds=True)
        yield "</details>"

    def yaml(self, part: ManifestPart) -> Iterator[str]:
        if not part.yaml:
            return
        lines = part.yaml.splitlines()
        name = "YAML diff" if part.yaml_is_diff else "YAML"
        count = content.counted(len(lines), "line")
        shown = lines[:_MOST_DIFF_LINES]
        yield f"<details><summary>{name}, {count}</summary>"
        body = "".join(map(_diff_line, shown)) if part.yaml_is_diff else _block("\n".join(shown))
        yield f"<pre><code>{body}</code></pre>"
        if len(shown) < len(lines):
            yield f"<p>These are the first {len(shown):,} lines; all are in the bundle.</p>"
        yield "</details>"

    def versions(self) -> Iterator[str]:
        versions = self._review.bundle.versions
        if versions:
            told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
            yield f"<footer>{html.escape(clean(told, 300))}</footer>"

    # Markup

    def table(self, table: Table, *, marks: bool = False, kinds: bool = False) -> Iterator[str]:
        used = [
            number
            for number in range(len(table.head))
            if any(row.cells[number] for row in table.rows)
        ]
        first = marks or (kinds and len({row.kind for row in table.rows}) > 1)
        head = [*([""] if first else []), *(table.head[number] for number in used)]
        yield '<div class="scroll"><table><tr>'
        yield "".join(f"<th>{html.escape(each)}</th>" for each in head) + "</tr>"
        for row in table.rows:
            sign = [_sign(row, marks=marks)] if first else []
            cells = [*sign, *(self.inline(row.cells[number]) for number in used)]
            kind = f' class="{row.kind}"' if row.kind else ""
            yield f"<tr{kind}>" + "".join(f"<td>{each}</td>" for each in cells) + "</tr>"
        yield "</table></div>"
        if table.more:
            yield f"<p>{html.escape(table.more)}</p>"

    def inline(self, line: Line) -> str:
        return "".join(self._parts(line)).strip()

    def _parts(self, line: Line) -> Iterable[str]:
        for part in line:
            pieces = prose(spaced(part)) if isinstance(part, str) else (part,)
            for piece in pieces:
                if isinstance(piece, str):
                    yield html.escape(piece)
                elif isinstance(piece, Code):
                    yield _code(piece.text)
                else:
                    yield self._source(piece)

    def _source(self, source: Source) -> str:
        shown = _code(source.shown or source.place)
        url = content.source_link(self._review, source.place)
        return f'<a href="{html.escape(url)}">{shown}</a>' if url else shown


def _code(text: str) -> str:
    return f"<code>{html.escape(clean(text, _CODE)) or '(empty)'}</code>"


def _block(text: str) -> str:
    return html.escape(clean_block(text))


def _diff_line(line: str) -> str:
    shown = _block(line) or " "
    tag = {"+": "ins", "-": "del"}.get(line[:1])
    if tag:
        return f"<{tag}>{shown}</{tag}>"
    return f'<span class="hunk">{shown}</span>\n' if line.startswith("@@") else f"{shown}\n"


def _sign(row: Row, *, marks: bool) -> str:
    if marks and row.mark:
        return f'<span class="{row.mark}">{_MARKS[row.mark]}</span>'
    return str(row.kind) if row.kind and row.kind is not ChangeKind.SAME else ""
