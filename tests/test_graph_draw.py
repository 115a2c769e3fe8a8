"""Drawings: well-formed, inside their frame, with every value and gradient where it belongs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcls import graph
from xpcls.graph import ComputationalGraph, Drawing, MaxGate, MultiplyGate, Variable, draw
from xpcls.graph._layout import Node, placed, stub
from xpcls_backends import Backend

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing: str, kind: str) -> list[str]:
    return [t.text or "" for t in ET.fromstring(drawing).iter(f"{SVG}text") if kind in _kinds(t)]


def _kinds(element: Any) -> list[str]:
    return str(element.get("class")).split()


def neuron() -> Variable:
    w, x, b = (Variable(v, name=n) for v, n in ((2.0, "w"), (-1.0, "x"), (-3.0, "b")))
    f: Variable = graph.sigmoid(w * x + b)
    return f


def test_values_stand_above_the_wire_and_gradients_below() -> None:
    f = neuron()
    assert texts(draw(f), "gradient") == []
    f.backward()
    drawing = draw(f)
    assert texts(drawing, "leaf") == ["w", "x", "b"]
    assert texts(drawing, "sign") == ["×", "+", "σ"]
    assert texts(drawing, "value") == ["2", "-1", "-3", "-2", "-5", "0.006693"]
    assert texts(drawing, "gradient")[-1] == "1"
    places = {}
    for element in ET.fromstring(drawing).iter(f"{SVG}text"):
        for kind in ("value", "gradient"):
            if kind in _kinds(element):
                places.setdefault(kind, []).append((element.get("x"), float(element.get("y", 0))))
    assert len(places["value"]) == len(places["gradient"]) == 6
    for (x, above), (same, below) in zip(places["value"], places["gradient"], strict=True):
        assert x == same and 10 < below - above < 30


def test_the_table_says_the_same() -> None:
    f = neuron()
    f.backward()
    lines = draw(f).table.splitlines()
    assert lines[0].split() == ["node", "from", "value", "gradient"]
    assert lines[1].split() == ["0", "w", "2", "-0.006648"]
    assert lines[4].split() == ["3", "×", "0", "1", "-2", "0.006648"]
    assert len(lines) == 7 and not any(line.endswith(" ") for line in lines)


def test_a_computational_graph_shows_its_names() -> None:
    f = ComputationalGraph({"p": (MultiplyGate(), "x", "y"), "f": (MaxGate(), "p", "x")})
    assert texts(draw(f), "value") == []
    f.forward({"x": 3.0, "y": -4.0})
    f.backward()
    assert texts(draw(f), "name") == ["p", "f"]
    assert texts(draw(f), "sign") == ["×", "max"]
    assert texts(draw(f), "value") == ["3", "-4", "-12", "3"]
    assert texts(draw(f), "gradient") == ["1", "0", "0", "1"]
    assert "p = ×" in draw(f).table


def test_arrays_are_written_out_or_summed_up(backend: Backend) -> None:
    W = Variable(backend.asarray(np.asarray([[3.0, 0.0, 4.0]] * 2, "f4")), name="W")
    v = backend.asarray(np.asarray([1.0, 0.5, 0.0], "f4"))
    f = graph.sum(graph.matmul(W, v))
    f.backward()
    assert texts(draw(f), "value") == ["2×3, norm 7.07", "[1 0.5 0]", "[3 3]", "6"]
    assert texts(draw(f), "constant") == ["[1 0.5 0]"]
    assert texts(draw(f), "gradient") == ["2×3, norm 1.58", "[1 1]", "1"]
    labels = backend.asarray(np.asarray([0, 2]))
    assert "[0 2]" in draw(graph.pick(W, labels)).table
    assert "0×2" in draw(Variable(backend.asarray(np.ones((0, 2), "f4")))).table


def test_names_are_escaped() -> None:
    drawing = draw(Variable(1.0, name='<b>&"') * 2)
    assert texts(drawing, "leaf") == ['<b>&"'] and "<b>" not in drawing


def test_notebooks_and_files_get_the_same_text(tmp_path: Path) -> None:
    f = neuron()
    drawing = draw(f)
    assert isinstance(drawing, Drawing) and isinstance(drawing, str)
    assert drawing._repr_svg_() == f._repr_svg_() == drawing
    assert ComputationalGraph({"f": (MaxGate(), "x", "y")})._repr_svg_().startswith("<svg")
    drawing.save(tmp_path / "f.svg")
    assert (tmp_path / "f.svg").read_text("utf-8") == drawing
    assert ET.fromstring(drawing).get("role") == "img"


def test_what_cannot_be_drawn_is_named() -> None:
    x = y = Variable(1.0)
    for _ in range(200):
        y = y + x
    with pytest.raises(ValueError, match="the graph has 201 nodes, expected 200 at most: draw a"):
        draw(y)
    with pytest.raises(TypeError, match="node is a float, expected a Variable or a Comput"):
        draw(1.0)  # type: ignore[arg-type]


@given(st.data())
def test_nothing_leaves_the_frame_and_no_two_nodes_meet(data: st.DataObject) -> None:
    nodes = []
    for i in range(data.draw(st.integers(1, 25))):
        few = data.draw(st.integers(0, min(3, i)))
        inputs = [data.draw(st.integers(0, i - 1)) for _ in range(few)]
        label = "x" * data.draw(st.integers(1, 12))
        nodes.append(Node(label, "1.5", "-2" * i, inputs, operation=bool(inputs)))
    layout = placed(nodes)
    assert len(layout.wires) == sum(len(node.inputs) for node in nodes)
    for x, y in [point for wire in layout.wires for point in wire]:
        assert 0 <= x <= layout.width and 0 <= y <= layout.height
    boxes = []
    for node, (x, y) in zip(layout.nodes, layout.places, strict=True):
        assert 17 <= y <= layout.height - 17 and x + stub(node) <= layout.width
        assert x >= 7.3 * len(node.label) / 2
        boxes.append((x, y, x + stub(node)))
    for i, (x, y, end) in enumerate(boxes):
        for other_x, other_y, other_end in boxes[:i]:
            assert abs(y - other_y) > 40 or end < other_x or other_end < x
    for wire in layout.wires:  # from left to right, without turning back
        assert all(a[0] <= b[0] for a, b in pairwise(wire))
