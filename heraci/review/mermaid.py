"""Pictures in Mermaid's language, which GitHub draws in comments and summaries.

GitHub draws nothing, and shows an error box, above 50,000 characters or 500 edges; and nobody
reads a picture that comes near.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from heraci.comparison import ChangeKind, Graph, Node
from heraci.review.content import node_note
from heraci.review.drawing import ranks_of
from heraci.review.text import clean

_MOST_NODES = 60
_MOST_EDGES = 150
_LABEL = 40
_MOST_CHARACTERS = 20_000

# Readable on GitHub's light and on its dark background.
_STYLES = {
    ChangeKind.SAME: "fill:#f6f8fa,stroke:#8c959f,color:#1f2328",
    ChangeKind.ADDED: "fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
    ChangeKind.CHANGED: "fill:#fff8c5,stroke:#9a6700,color:#1f2328,stroke-width:2px",
    ChangeKind.REMOVED: "fill:#ffebe9,stroke:#cf222e,color:#1f2328,stroke-dasharray:4 3",
}


def drawn(graphs: Sequence[Graph]) -> tuple[Graph, ...]:
    """The pictures that are worth drawing and small enough for it."""
    found: list[Graph] = []
    nodes = edges = 0
    for graph in graphs:
        nodes, edges = nodes + len(graph.nodes), edges + len(graph.edges)
        if nodes > _MOST_NODES or edges > _MOST_EDGES:
            break
        found.append(graph)
    return () if sum(len(each.nodes) for each in found) < 2 else tuple(found)


def mermaid(graphs: Sequence[Graph]) -> str:
    """All pictures of a manifest as one flowchart, in boxes if there are several."""
    alone = len(graphs) == 1
    lines = [f"flowchart {_direction(graphs[0]) if alone else 'TD'}"]
    used = {node.state for graph in graphs for node in graph.nodes}
    lines += [f"classDef {state} {style}" for state, style in _STYLES.items() if state in used]
    for number, graph in enumerate(graphs):
        body = list(_lines(graph, f"g{number}n"))
        lines += body if alone else _boxed(graph, number, body)
    # Invisible, so that the boxes stand below each other in their order.
    lines += [f"g{number} ~~~ g{number + 1}" for number in range(len(graphs) - 1)]
    return "\n".join(lines) + "\n"


def _boxed(graph: Graph, number: int, body: Sequence[str]) -> Iterator[str]:
    yield f'subgraph g{number}["{_label(graph.template)}"]'
    yield f"  direction {_direction(graph)}"
    yield from (f"  {line}" for line in body)
    yield "end"
    yield f"style g{number} fill:none,stroke:#8c959f"


def _direction(graph: Graph) -> str:
    """From the top down, unless that gets wider than a comment is."""
    return "LR" if _width(graph) > 4 else "TD"


def _width(graph: Graph) -> int:
    ranks = ranks_of(len(graph.nodes), graph.edges)
    return max((ranks.count(each) for each in set(ranks)), default=0)


def _lines(graph: Graph, prefix: str) -> Iterator[str]:
    for number, node in enumerate(graph.nodes):
        left, right = ('{{"', '"}}') if node.conditional else ('["', '"]')
        if node.members > 1 or node.repeats:
            left, right = '[["', '"]]'
        yield f"{prefix}{number}{left}{_node_label(node)}{right}:::{node.state}"
    for start, end in graph.edges:
        yield f"{prefix}{start} --> {prefix}{end}"


def _node_label(node: Node) -> str:
    parts = [_label(node.name)]
    if node.runs and node.runs != node.name:
        parts.append(_label(node.runs))
    note = node_note(node)
    state = "" if node.state is ChangeKind.SAME else str(node.state)
    told = ", ".join(part for part in (note, state) if part)
    return "<br/>".join([*parts, *([f"({told})"] if told else [])])


def _label(text: str) -> str:
    """Data in a label: everything that could mean something to Mermaid or HTML as a number."""
    return re.sub(r"[^\w .,…-]|^[\W\d]|_", _numbered, clean(text, _LABEL) or "?")


def _numbered(match: re.Match[str]) -> str:
    return f"#{ord(match[0])};"
