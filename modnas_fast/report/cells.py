"""Architectures drawn as graphs, by search space; as plain text for a space that has no drawing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

OPERATIONS = ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect")


@dataclass(frozen=True)
class Mark:
    """How an operation is drawn. Width and dash tell operations apart where colour cannot."""

    label: str
    short: str
    colour: str
    width: float
    dash: tuple[float, ...] = ()


MARKS = {
    "nor_conv_3x3": Mark("convolution 3×3", "3×3", "#0072b2", 4.0),
    "nor_conv_1x1": Mark("convolution 1×1", "1×1", "#009e73", 2.5),
    "avg_pool_3x3": Mark("average pooling 3×3", "pool", "#d55e00", 2.5, (1.5, 4.0)),
    "skip_connect": Mark("skip connection", "skip", "#6b7280", 2.0, (7.0, 4.0)),
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


def draws(space: str) -> bool:
    """Whether architectures of this space are drawn as graphs."""
    return space == "nb201"


def draw_cell(space: str, architecture: str) -> str:
    """HTML of one architecture: an inline SVG graph with a title and labels, or its text in a box."""
    edges = cell_edges(architecture) if draws(space) else None
    if edges is None:
        return f'<p class="cell-text"><code>{escape(architecture)}</code></p>'
    strokes = "".join(_edge_svg(edge) for edge in sorted(edges, key=lambda edge: edge.live))
    nodes = "".join(_node_svg(index) for index in range(4))
    return (
        f'<svg class="cell" viewBox="0 0 {SIZE[0]:g} {SIZE[1]:g}" role="img" '
        f'aria-label="{escape(describe(edges))}">{strokes}{nodes}</svg>'
    )


def describe(edges: list[Edge]) -> str:
    """A sentence that says what the drawing shows.

    >>> describe([Edge(0, 3, "nor_conv_3x3", True), Edge(0, 1, "skip_connect", False)])
    'Cell: in to out convolution 3×3; without effect: in to 1 skip connection.'
    """
    live = ", ".join(_edge_words(edge) for edge in edges if edge.live)
    dead = ", ".join(_edge_words(edge) for edge in edges if not edge.live)
    return f"Cell: {live or 'no path from input to output'}{f'; without effect: {dead}' if dead else ''}."


def cell_legend(space: str) -> str:
    """HTML that explains the strokes of this space's drawings; nothing for a space without drawings."""
    if not draws(space):
        return ""
    items = "".join(f"<li>{_sample_svg(MARKS[op])}{MARKS[op].label}</li>" for op in OPERATIONS)
    faint = f"<li>{_sample_svg(MARKS['nor_conv_3x3'], dead=True)}faint: no effect on the output</li>"
    return f'<ul class="key">{items}{faint}</ul>'


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


def _edge_svg(edge: Edge) -> str:
    mark = MARKS[edge.operation]
    (x0, y0), (x1, y1), (x2, y2) = curve(edge)
    x, y = middle(edge)
    width = 5.5 * len(mark.short) + 5
    title = _edge_words(edge) + ("" if edge.live else ", no effect on the output")
    return (
        f'<g class="edge {"live" if edge.live else "dead"}" data-edge="{edge.source}-{edge.target}">'
        f"<title>{escape(title)}</title>"
        f'<path d="M{x0:.1f} {y0:.1f}Q{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f}" {_stroke(mark)}/>'
        f"{_arrow_svg(edge, mark.colour)}"
        f'<rect x="{x - width / 2:.1f}" y="{y - 6:.1f}" width="{width:g}" height="12"/>'
        f'<text x="{x:.1f}" y="{y:.1f}" dy=".34em">{mark.short}</text></g>'
    )


def _arrow_svg(edge: Edge, colour: str) -> str:
    _, control, end = curve(edge)
    tip = _towards(end, (2 * end[0] - control[0], 2 * end[1] - control[1]), 3.5)
    back = _towards(tip, control, 9.0)
    across = ((tip[1] - back[1]) / 2, (back[0] - tip[0]) / 2)
    corners = (tip, (back[0] + across[0], back[1] + across[1]), (back[0] - across[0], back[1] - across[1]))
    return f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}" fill="{colour}"/>'


def _node_svg(index: int) -> str:
    kind = "end" if index in (0, 3) else "inner"
    return (
        f'<g class="node {kind}"><circle cx="{NODES[index]:g}" cy="{BASELINE:g}" r="{RADIUS:g}"/>'
        f'<text x="{NODES[index]:g}" y="{BASELINE:g}" dy=".35em">{node_name(index)}</text></g>'
    )


def _sample_svg(mark: Mark, dead: bool = False) -> str:
    faint = ' opacity=".25"' if dead else ""
    line = f'<path d="M1 6H33" {_stroke(mark)}{faint}/>'
    return f'<svg class="sample" viewBox="0 0 34 12" aria-hidden="true">{line}</svg>'


def _stroke(mark: Mark) -> str:
    dash = f' stroke-dasharray="{" ".join(f"{d:g}" for d in mark.dash)}"' if mark.dash else ""
    return f'fill="none" stroke="{mark.colour}" stroke-width="{mark.width:g}"{dash}'


def _edge_words(edge: Edge) -> str:
    return f"{node_name(edge.source)} to {node_name(edge.target)} {MARKS[edge.operation].label}"


def node_name(index: int) -> str:
    """What a node is called: `in` is the cell's input, `out` its output."""
    return ("in", "1", "2", "out")[index]
