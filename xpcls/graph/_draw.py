"""Graphs as pictures and as tables: values flow forward, gradients backward.

The picture is that of the lecture's slides: a circle for each operation, and on the wire that
leaves it the value above, green, and the gradient of the output with respect to it below, red.
"""

from __future__ import annotations

import os
from html import escape
from typing import Any

from xpcls_backends import Array, is_array, namespace_of, to_host, to_scalar

from ._backward import nodes_topologically_sorted
from ._computation import ComputationalGraph
from ._layout import HEIGHT, MARGIN, RADIUS, Layout, Node, Point, half_width, placed, stub
from ._variable import Variable

AT_MOST = 200  # nodes that a picture can be read with
SHOWN_ENTRIES = 4  # arrays of up to so many entries are shown entry by entry
SYMBOLS = {
    "add": "+",
    "subtract": "−",
    "negative": "−",
    "multiply": "×",
    "divide": "÷",
    "matmul": "@",
    "maximum": "max",
    "minimum": "min",
    "sigmoid": "σ",
    "sum": "Σ",
    "sqrt": "√",
    "power": "xʸ",
}
STYLE = """
text { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328 }
.paper { fill: #ffffff }
.wire { fill: none; stroke: #59636e; stroke-width: 1.3 }
.gate { fill: #f6f8fa; stroke: #1f2328; stroke-width: 1.3 }
.sign { text-anchor: middle; dominant-baseline: central }
.name { text-anchor: middle; fill: #6e7781 }
.leaf { text-anchor: end; dominant-baseline: central; font-weight: bold }
.value { fill: #116329 }
.gradient { fill: #b62324 }
.constant { fill: #6e7781; font-weight: normal }
"""


class Drawing(str):
    """The picture, as the text of an SVG file; notebooks show it.

    table : the same as a table, for a terminal.
    """

    table: str

    def _repr_svg_(self) -> str:
        return str(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, such as graph.svg."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self)


def draw(node: Variable | ComputationalGraph) -> Drawing:
    """The graph up to a variable, or a ComputationalGraph, with what is known of it.

    Above each wire stands the value that it carries, below it the gradient, once `backward` has
    run. Arrays of up to 4 entries are written out; of others the shape and the norm are given.
    Constants are grey, and have no gradient.

    Returns a `Drawing`: the text of an SVG file, which needs no package. `draw(f).save("f.svg")`
    writes it, `print(draw(f).table)` shows a table instead. Reads all numbers shown on the host.

    Raises ValueError for more than 200 nodes.
    """
    if isinstance(node, ComputationalGraph):
        nodes = _of_graph(node)
    elif isinstance(node, Variable):
        nodes = _of_variable(node)
    else:
        raise TypeError(
            f"node is a {type(node).__name__}, expected a Variable or a ComputationalGraph"
        )
    _check_count(len(nodes))
    drawing = Drawing(_svg(placed(nodes)))
    drawing.table = _table(nodes)
    return drawing


def _check_count(count: int) -> None:
    if count > AT_MOST:
        raise ValueError(
            f"the graph has {count} nodes, expected {AT_MOST} at most: draw a variable nearer to "
            "its inputs"
        )


def _of_variable(output: Variable) -> list[Node]:
    order = nodes_topologically_sorted(output)
    _check_count(len(order))  # before any value is read
    nodes: list[Node] = []
    places: dict[int, int] = {}
    for variable in order:
        inputs = []
        for given in variable.inputs:
            if isinstance(given, Variable):
                inputs.append(places[id(given)])
            elif is_array(given) or isinstance(given, int | float):
                inputs.append(len(nodes))
                nodes.append(Node("", _written(given), "", [], constant=True))
        places[id(variable)] = len(nodes)
        label = SYMBOLS.get(variable.operation or "", variable.operation or "")
        nodes.append(
            Node(
                label or variable.name or "",
                _written(variable.value),
                "" if variable.grad is None else _written(variable.grad),
                inputs,
                operation=bool(label),
                name=variable.name or "",
            )
        )
    return nodes


def _of_graph(graph: ComputationalGraph) -> list[Node]:
    names = [*graph.input_names, *graph.nodes_topologically_sorted()]
    _check_count(len(names))
    nodes = []
    for name in names:
        gate = graph.gates.get(name)
        label = name if gate is None else SYMBOLS.get(gate.operation, gate.operation)
        nodes.append(
            Node(
                label,
                _written(graph.values[name]) if name in graph.values else "",
                _written(graph.gradients[name]) if name in graph.gradients else "",
                [names.index(given) for given in graph.inputs_of.get(name, ())],
                operation=gate is not None,
                name=name,
            )
        )
    return nodes


def _written(value: Any) -> str:
    """A number, some numbers, or shape and norm of many."""
    if not is_array(value):
        return f"{value:.4g}"
    if value.ndim == 0:
        return f"{float(to_scalar(value)):.4g}"
    if 0 < value.size <= SHOWN_ENTRIES:
        return _nested(to_host(value).tolist())
    shape = "×".join(map(str, value.shape))
    return f"{shape}, norm {_norm(value):.3g}" if value.size else shape


def _nested(entries: Any) -> str:
    if isinstance(entries, list):
        return f"[{' '.join(map(_nested, entries))}]"
    return f"{entries:.4g}"


def _norm(value: Array) -> float:
    xp = namespace_of(value)
    if not xp.isdtype(value.dtype, "real floating"):
        value = xp.astype(value, xp.float32)
    return float(to_scalar(xp.sqrt(xp.sum(value * value))))


def _table(nodes: list[Node]) -> str:
    """One line a node, inputs by their numbers."""
    rows = [("", "node", "from", "value", "gradient")]
    for number, node in enumerate(nodes):
        what = "constant" if node.constant else node.label
        if node.operation and node.name:
            what = f"{node.name} = {node.label}"
        rows.append((str(number), what, " ".join(map(str, node.inputs)), node.value, node.gradient))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _svg(layout: Layout) -> str:
    """The text of the picture, wires first, so that circles lie on them."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{layout.width:.0f}" '
        f'height="{layout.height:.0f}" viewBox="0 0 {layout.width:.0f} {layout.height:.0f}" '
        'role="img">',
        "<title>A computational graph: values above the wires, gradients below</title>",
        f"<style>{STYLE}</style>",
        '<rect class="paper" width="100%" height="100%" rx="6"/>',
    ]
    parts += [_curve(points) for points in layout.wires]
    for node, (x, y) in zip(layout.nodes, layout.places, strict=True):
        parts += _drawn(node, x, y)
    return "\n".join([*parts, "</svg>", ""])


def _drawn(node: Node, x: float, y: float) -> list[str]:
    """A node, and the wire that leaves it with its value and its gradient."""
    parts = [f'<path class="wire" d="M{x:.1f} {y:.1f}h{stub(node):.1f}"/>']
    start = x + MARGIN / 2
    if node.operation:
        half = half_width(node)
        start += half
        parts += [
            f'<rect class="gate" x="{x - half:.1f}" y="{y - RADIUS:.1f}" width="{2 * half:.1f}" '
            f'height="{2 * RADIUS:.1f}" rx="{RADIUS}"/>',
            _text("sign", x, y, node.label),
            _text("name", x, y - RADIUS - 4, node.name),
        ]
    else:
        parts.append(_text("leaf", x - MARGIN / 2, y, node.label))
    parts += [
        _text("value constant" if node.constant else "value", start, y - 5, node.value),
        _text("gradient", start, y + HEIGHT, node.gradient),
    ]
    return [part for part in parts if part]


def _text(kind: str, x: float, y: float, text: str) -> str:
    if not text:
        return ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _curve(points: list[Point]) -> str:
    """A smooth path through points, level at each of them."""
    (x, y), *rest = points
    path = f"M{x:.1f} {y:.1f}"
    for to_x, to_y in rest:
        middle = (x + to_x) / 2
        path += f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    return f'<path class="wire" d="{path}"/>'
