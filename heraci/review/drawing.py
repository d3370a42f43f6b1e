"""Draw a graph as SVG: in columns, each task right of what it waits for.

The common way in four steps: ranks by the longest path, a bend in every column that a long edge
crosses, an order within each column that crosses little, and curves between.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from heraci.comparison import ChangeKind, Graph, Node
from heraci.review.content import node_note
from heraci.review.text import clean

_WIDTH, _HEIGHT = 190, 50
_GAP_X, _GAP_Y = 56, 14
_BEND = 10
_MARGIN = 8
_LABEL = 26
_MOST_NODES = 400
_SWEEPS = 8
# Centred columns would leave the first screen of a taller picture empty.
_TALL = 900


@dataclass(frozen=True, slots=True)
class _Spot:
    x: float
    y: float
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def svg(graph: Graph) -> str:
    """The picture, or nothing where it would be no help."""
    if not 1 < len(graph.nodes) <= _MOST_NODES:
        return ""
    layout = _Layout(graph)
    width, height = layout.size
    name = html.escape(clean(graph.template, 60))
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    boxes = (_box(node, layout.spots[number]) for number, node in enumerate(graph.nodes))
    lines = [f'<svg {size} role="img" aria-label="Tasks of {name}">', *layout.edges(), *boxes]
    return "\n".join([*lines, "</svg>"])


def ranks_of(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The column of each node: one right of the rightmost that it waits for."""
    ranks = [0] * count
    # Edges that go round in a circle would move for ever; a column for each node is enough.
    for _ in range(count):
        moved = False
        for start, end in edges:
            if ranks[end] <= ranks[start] < count - 1:
                ranks[end], moved = ranks[start] + 1, True
        if not moved:
            break
    return ranks


class _Layout:
    """Where each node stands, and through which bends each edge goes."""

    def __init__(self, graph: Graph) -> None:
        ranks = ranks_of(len(graph.nodes), graph.edges)
        self._columns: list[list[int]] = [[] for _ in range(max(ranks) + 1)]
        for number, rank in enumerate(ranks):
            self._columns[rank].append(number)
        self._real = len(graph.nodes)
        self._routes = [self._route(start, end, ranks) for start, end in graph.edges]
        self._order()
        self.spots = self._placed()

    def _route(self, start: int, end: int, ranks: list[int]) -> list[int]:
        """The edge as a chain of neighbours, with a bend in each column between."""
        route = [start]
        for rank in range(ranks[start] + 1, ranks[end]):
            bend = len(ranks)
            ranks.append(rank)
            self._columns[rank].append(bend)
            route.append(bend)
        return [*route, end]

    def _order(self) -> None:
        """Sort each column by the average place of its neighbours, there and back."""
        before: dict[int, list[int]] = {}
        after: dict[int, list[int]] = {}
        for route in self._routes:
            for start, end in pairwise(route):
                after.setdefault(start, []).append(end)
                before.setdefault(end, []).append(start)
        for sweep in range(_SWEEPS):
            backwards = sweep % 2 == 1
            columns = self._columns[::-1] if backwards else self._columns
            neighbours = after if backwards else before
            for known, column in pairwise(columns):
                _sort(column, known, neighbours)

    def _placed(self) -> dict[int, _Spot]:
        heights = [sum(map(self._height, column)) for column in self._columns]
        tallest = max(
            height + _GAP_Y * (len(column) - 1)
            for height, column in zip(heights, self._columns, strict=True)
        )
        spots: dict[int, _Spot] = {}
        for number, column in enumerate(self._columns):
            own = heights[number] + _GAP_Y * (len(column) - 1)
            y = _MARGIN + ((tallest - own) / 2 if tallest < _TALL else 0)
            for each in column:
                height = self._height(each)
                spots[each] = _Spot(_MARGIN + number * (_WIDTH + _GAP_X), y, height)
                y += height + _GAP_Y
        return spots

    def _height(self, number: int) -> float:
        return _HEIGHT if number < self._real else _BEND

    @property
    def size(self) -> tuple[float, float]:
        right = max(spot.x for spot in self.spots.values()) + _WIDTH
        bottom = max(spot.y + spot.height for spot in self.spots.values())
        return right + _MARGIN, bottom + _MARGIN

    def edges(self) -> Iterator[str]:
        for route in self._routes:
            spots = [self.spots[each] for each in route]
            path = f"M{spots[0].x + _WIDTH:.0f} {spots[0].middle:.0f}"
            for start, end in pairwise(spots):
                path += _curve(start, end)
                if end is not spots[-1]:
                    path += f"H{end.x + _WIDTH:.0f}"
            yield f'<path class="edge" d="{path}"/>{_tip(spots[-1])}'


def _sort(column: list[int], known: Sequence[int], neighbours: Mapping[int, Sequence[int]]) -> None:
    place = {each: index for index, each in enumerate(known)}
    here = {each: index for index, each in enumerate(column)}

    def wanted(each: int) -> tuple[float, int]:
        places = [place[other] for other in neighbours.get(each, ()) if other in place]
        return (sum(places) / len(places) if places else here[each], here[each])

    column.sort(key=wanted)


def _curve(start: _Spot, end: _Spot) -> str:
    x1, x2 = start.x + _WIDTH, end.x
    bend = (x1 + x2) / 2
    return f"C{bend:.0f} {start.middle:.0f} {bend:.0f} {end.middle:.0f} {x2:.0f} {end.middle:.0f}"


def _tip(spot: _Spot) -> str:
    x, y = spot.x, spot.middle
    return f'<path class="tip" d="M{x:.0f} {y:.0f}l-7 -4v8z"/>'


def _box(node: Node, spot: _Spot) -> str:
    whole = html.escape(clean(f"{node.name} · {node.runs}", 300))
    note = node_note(node)
    second = " · ".join(
        part
        for part in (
            note,
            node.runs if node.runs != node.name else "",
            "" if node.state is ChangeKind.SAME else str(node.state),
        )
        if part
    )
    shape = "conditional " if node.conditional else ""
    shadow = ""
    if node.members > 1 or node.repeats:
        shadow = _rectangle(spot.x + 4, spot.y + 4)
    return (
        f'<g class="node {shape}{node.state}"><title>{whole}</title>{shadow}'
        f"{_rectangle(spot.x, spot.y)}"
        f'<text x="{spot.x + 10:.0f}" y="{spot.y + 21:.0f}">'
        f"{html.escape(clean(node.name, _LABEL))}</text>"
        f'<text class="small" x="{spot.x + 10:.0f}" y="{spot.y + 39:.0f}">'
        f"{html.escape(clean(second, _LABEL + 6))}</text></g>"
    )


def _rectangle(x: float, y: float) -> str:
    return f'<rect x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
