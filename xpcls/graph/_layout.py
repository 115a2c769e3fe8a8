"""Where the nodes of a drawing stand: in columns, from the inputs on the left to the output.

Each node stands one column to the right of its last input. A wire that passes a column keeps a
place of its own in it. In a column, what is wired to the same neighbours is moved together:
Sugiyama, Tagawa and Toda, Methods for Visual Understanding of Hierarchical System Structures, 1981.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]

RADIUS = 17.0  # of a circle, wider for a long sign; lengths are in pixels
MARGIN = 10.0
ROW = 54.0  # from one place in a column to the next
HEIGHT = 14.0  # of a line of text
CHARACTER = 7.3  # its width, of fonts that are not too wide
FAN = 36.0  # between columns, for wires to turn
SWEEPS = 8


@dataclass
class Node:
    """What is drawn: a circle with its sign, or the name of an input.

    inputs : the numbers of the nodes that it gets its inputs from.
    """

    label: str
    value: str
    gradient: str
    inputs: list[int]
    operation: bool = False
    constant: bool = False
    name: str = ""


@dataclass
class Layout:
    """places : the middle of each circle, or where the wire of an input begins."""

    nodes: list[Node]
    places: list[Point]
    wires: list[list[Point]]
    width: float
    height: float


def half_width(node: Node) -> float:
    """From the middle of an operation to its edge."""
    return max(RADIUS, text_width(node.label) / 2 + 6.0)


def stub(node: Node) -> float:
    """The length of the wire that carries a node's value and gradient, from the node's place."""
    text = max(text_width(node.value), text_width(node.gradient))
    return (half_width(node) if node.operation else 0.0) + text + MARGIN


def text_width(text: str) -> float:
    """About how wide a text is."""
    return CHARACTER * len(text)


def placed(nodes: list[Node]) -> Layout:
    """The nodes, each after its inputs, in their places."""
    columns, routes = _columns(nodes)
    _untangle(columns, routes)
    rows = _rows(columns, routes)
    lefts, ends = [], []  # of each column: where circles stand, and where wires leave it
    x = MARGIN
    for column in columns:
        inside = [nodes[i] for i in column if i < len(nodes)]
        x += max((_before(node) for node in inside), default=0.0)
        lefts.append(x)
        x += max((stub(node) for node in inside), default=0.0)
        ends.append(x)
        x += FAN
    place_of = {i: c for c, column in enumerate(columns) for i in column}
    top = MARGIN + ROW / 2
    places = [(lefts[place_of[i]], top + ROW * rows[i]) for i in range(len(nodes))]
    wires = []
    for start, stop, slot, between in routes:
        sx, sy = places[start]
        points = [(sx + stub(nodes[start]), sy)]
        if ends[place_of[start]] > points[0][0]:
            points.append((ends[place_of[start]], sy))
        for passing in between:
            y = top + ROW * rows[passing]
            points += [(lefts[place_of[passing]], y), (ends[place_of[passing]], y)]
        x, y = places[stop]
        spread = 12.0 * (slot - (len(nodes[stop].inputs) - 1) / 2)
        spread = max(4.0 - RADIUS, min(RADIUS - 4.0, spread))
        points.append((x - half_width(nodes[stop]) + abs(spread) / 4, y + spread))
        wires.append(points)
    height = 2 * top + ROW * max(rows.values())
    return Layout(nodes, places, wires, ends[-1] + MARGIN, height)


# From a node to a node, as which of its inputs, by places in the columns between.
Route = tuple[int, int, int, list[int]]


def _columns(nodes: list[Node]) -> tuple[list[list[int]], list[Route]]:
    """What stands in each column: nodes, and above their numbers, places where wires pass."""
    depth = [0] * len(nodes)
    for i, node in enumerate(nodes):
        depth[i] = max((depth[j] + 1 for j in node.inputs), default=0)
    users: dict[int, list[int]] = {}
    for i, node in enumerate(nodes):
        for j in node.inputs:
            users.setdefault(j, []).append(i)
    for i, node in enumerate(nodes):  # inputs stand right before who uses them first
        if not node.inputs and i in users:
            depth[i] = min(depth[user] for user in users[i]) - 1
    columns: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for i, d in enumerate(depth):
        columns[d].append(i)
    routes: list[Route] = []
    number = len(nodes)
    for i, node in enumerate(nodes):
        for slot, j in enumerate(node.inputs):
            between = []
            for d in range(depth[j] + 1, depth[i]):
                columns[d].append(number)
                between.append(number)
                number += 1
            routes.append((j, i, slot, between))
    return columns, routes


def _neighbours(routes: list[Route]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """What stands directly before, and directly after, each place."""
    before: dict[int, list[int]] = {}
    after: dict[int, list[int]] = {}
    for start, stop, _, between in routes:
        chain = [start, *between, stop]
        for one, other in pairwise(chain):
            after.setdefault(one, []).append(other)
            before.setdefault(other, []).append(one)
    return before, after


def _untangle(columns: list[list[int]], routes: list[Route]) -> None:
    """Sort each column by the mean place of its neighbours, to and fro, so that few wires cross."""
    before, after = _neighbours(routes)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        towards = before if forward else after
        order = range(1, len(columns)) if forward else range(len(columns) - 2, -1, -1)
        for c in order:
            near = {i: k for k, i in enumerate(columns[c - 1 if forward else c + 1])}
            here = {i: float(k) for k, i in enumerate(columns[c])}
            for i in columns[c]:
                found = [near[j] for j in towards.get(i, ()) if j in near]
                if found:
                    here[i] = sum(found) / len(found)
            columns[c].sort(key=here.__getitem__)


def _rows(columns: list[list[int]], routes: list[Route]) -> dict[int, float]:
    """The row of each place: as near to its neighbours as those beside it allow."""
    before, after = _neighbours(routes)
    rows = {i: float(k) for column in columns for k, i in enumerate(column)}
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wished = []
            for i in column:
                near = [rows[j] for j in (*before.get(i, ()), *after.get(i, ()))]
                wished.append(sum(near) / len(near) if near else rows[i])
            for i, row in zip(column, _apart(wished), strict=True):
                rows[i] = row
    least = min(rows.values())
    return {i: row - least for i, row in rows.items()}


def _apart(wished: list[float]) -> list[float]:
    """Rows in this order, at least 1 apart, near to what is wished: blocks of equal shifts."""
    blocks: list[tuple[float, int]] = []  # mean of wish - place, and how many
    for k, wish in enumerate(wished):
        mean, count = wish - k, 1
        while blocks and blocks[-1][0] > mean:
            other, size = blocks.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        blocks.append((mean, count))
    shifts = [mean for mean, count in blocks for _ in range(count)]
    return [shift + k for k, shift in enumerate(shifts)]


def _before(node: Node) -> float:
    """What a node needs to the left of its place."""
    return half_width(node) if node.operation else 1.2 * text_width(node.label) + MARGIN / 2
