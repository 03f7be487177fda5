"""Cells drawn as graphs, for the report: nodes in a row, an operation's curve between two of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modnas_fast.report.drawings import Circle, Curve, Drawing, Label, Piece, Polygon, Sample, Stroke


@dataclass(frozen=True)
class Mark:
    """How an operation is drawn."""

    label: str
    short: str
    stroke: Stroke


MARKS = {
    "nor_conv_3x3": Mark("convolution 3×3", "3×3", Stroke(colour="#0072b2", width=4.0)),
    "nor_conv_1x1": Mark("convolution 1×1", "1×1", Stroke(colour="#009e73", width=2.5)),
    "avg_pool_3x3": Mark("average pooling 3×3", "pool", Stroke(colour="#d55e00", width=2.5, dash=(1.5, 4.0))),
    "skip_connect": Mark("skip connection", "skip", Stroke(colour="#6b7280", width=2.0, dash=(7.0, 4.0))),
}

NODES = (26.0, 110.0, 194.0, 278.0)
"""Horizontal places of the four nodes; 304 × 112 is the whole drawing."""
BASELINE = 72.0
SIZE = (304.0, 112.0)
RADIUS = 11.0
_HEIGHTS = {(0, 1): 0.0, (1, 2): 0.0, (2, 3): 0.0, (0, 2): 52.0, (1, 3): -52.0, (0, 3): 112.0}
"""How far above the baseline (below where negative) the control point of each edge lies."""

_NB201 = re.compile(r"\|([^|+]+)\|\+\|([^|+]+)\|([^|+]+)\|\+\|([^|+]+)\|([^|+]+)\|([^|+]+)\|")


@dataclass(frozen=True)
class Edge:
    """An operation from one node to a later one; not live where it cannot change the cell's output."""

    source: int
    target: int
    operation: str
    live: bool


def cell_edges(architecture: str) -> list[Edge] | None:
    """The edges of a NAS-Bench-201 cell without its `none` edges, or None for any other text.

    An edge is live when its source is reachable from the input (node 0) and the output (node 3) from its
    target.

    >>> text = "|skip_connect~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|avg_pool_3x3~2|"
    >>> [(e.source, e.target, e.operation, e.live) for e in cell_edges(text)]
    [(0, 1, 'skip_connect', False), (0, 3, 'nor_conv_3x3', True), (2, 3, 'avg_pool_3x3', False)]
    """
    triples = _parse(architecture)
    if triples is None:
        return None
    pairs = [(source, target) for source, target, _ in triples]
    forward = _reachable(0, pairs)
    backward = _reachable(3, [(target, source) for source, target in pairs])
    return [Edge(s, t, op, s in forward and t in backward) for s, t, op in triples]


def curve(edge: Edge) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Start, control point and end of an edge's quadratic curve, from rim to rim of its nodes, y downward."""
    height = _HEIGHTS[edge.source, edge.target]
    start, end = (NODES[edge.source], BASELINE), (NODES[edge.target], BASELINE)
    control = ((start[0] + end[0]) / 2, BASELINE - height)
    return _towards(start, control, RADIUS), control, _towards(end, control, RADIUS + 4)


def middle(edge: Edge) -> tuple[float, float]:
    """The point halfway along an edge's curve, where its label is put."""
    (x0, y0), (x1, y1), (x2, y2) = curve(edge)
    return (x0 + 2 * x1 + x2) / 4, (y0 + 2 * y1 + y2) / 4


def arrow(edge: Edge) -> tuple[float, ...]:
    """The three corners of the arrow at the end of an edge's curve: x and y of each."""
    _, control, end = curve(edge)
    tip = _towards(end, (2 * end[0] - control[0], 2 * end[1] - control[1]), 3.5)
    back = _towards(tip, control, 9.0)
    across = ((tip[1] - back[1]) / 2, (back[0] - tip[0]) / 2)
    return (*tip, back[0] + across[0], back[1] + across[1], back[0] - across[0], back[1] - across[1])


def draw_cell(architecture: str) -> Drawing | None:
    """The drawing of a cell; None for any other text. What has no effect lies behind."""
    edges = cell_edges(architecture)
    if edges is None:
        return None
    pieces = [_piece(edge) for edge in sorted(edges, key=lambda edge: edge.live)]
    last = len(NODES) - 1
    for index, x in enumerate(NODES):
        end = index in (0, last)
        circle = Circle(at=(x, BASELINE), radius=RADIUS, filled=end)
        label = Label(at=(x, BASELINE), text=node_name(index), look="light" if end else "plain")
        pieces.append(Piece(shapes=(circle, label)))
    return Drawing(size=SIZE, words=describe(edges), pieces=tuple(pieces))


def legend() -> tuple[Sample, ...]:
    """What the strokes of the drawings mean."""
    marks = list(MARKS.values())
    faint = Sample(label="faint: no effect on the output", stroke=marks[0].stroke, faint=True)
    return (*(Sample(label=mark.label, stroke=mark.stroke) for mark in marks), faint)


def _piece(edge: Edge) -> Piece:
    mark, corners = MARKS[edge.operation], arrow(edge)
    return Piece(
        shapes=(
            Curve(points=curve(edge), stroke=mark.stroke),
            Polygon(points=tuple(zip(corners[::2], corners[1::2], strict=True)), colour=mark.stroke.colour),
            Label(at=middle(edge), text=mark.short, look="boxed"),
        ),
        words=edge_words(edge) + ("" if edge.live else ", no effect on the output"),
        live=edge.live,
    )


def describe(edges: list[Edge]) -> str:
    """A sentence that says what the drawing shows.

    >>> describe([Edge(0, 3, "nor_conv_3x3", True), Edge(0, 1, "skip_connect", False)])
    'Cell: in to out convolution 3×3; without effect: in to 1 skip connection.'
    """
    live = ", ".join(edge_words(edge) for edge in edges if edge.live)
    dead = ", ".join(edge_words(edge) for edge in edges if not edge.live)
    return f"Cell: {live or 'no path from input to output'}{f'; without effect: {dead}' if dead else ''}."


def _parse(architecture: str) -> list[tuple[int, int, str]] | None:
    match = _NB201.fullmatch(architecture)
    if match is None:
        return None
    triples = []
    places = [(target, source) for target in (1, 2, 3) for source in range(target)]
    for (target, source), text in zip(places, match.groups(), strict=True):
        operation, _, node = text.partition("~")
        if node != str(source) or operation not in (*MARKS, "none"):
            return None
        if operation != "none":
            triples.append((source, target, operation))
    return triples


def _reachable(start: int, pairs: list[tuple[int, int]]) -> set[int]:
    found = {start}
    while grown := {target for source, target in pairs if source in found} - found:
        found |= grown
    return found


def _towards(point: tuple[float, float], aim: tuple[float, float], distance: float) -> tuple[float, float]:
    dx, dy = aim[0] - point[0], aim[1] - point[1]
    scale = distance / (dx * dx + dy * dy) ** 0.5
    return point[0] + dx * scale, point[1] + dy * scale


def edge_words(edge: Edge) -> str:
    """What an edge does, from where to where."""
    return f"{node_name(edge.source)} to {node_name(edge.target)} {MARKS[edge.operation].label}"


def node_name(index: int) -> str:
    """What a node is called: `in` is the cell's input, `out` its output."""
    return ("in", "1", "2", "out")[index]
