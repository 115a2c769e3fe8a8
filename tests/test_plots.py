"""Charts: the text is XML, and says what was given; images decode to the same pixels."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xpcls.plots import Picture, bars, grid, images, lines, plane
from xpcls.plots._axes import Axis, linear_ticks, log_ticks, make_axis
from xpcls.plots._marks import COLORS, INK, MUTED, extent, tint
from xpcls_backends import Backend

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "a <b> & \"c\" 'd' \x00\x1f\ud800 ]]> é"


def root(picture: Picture) -> ElementTree.Element:
    found = ElementTree.fromstring(picture.svg)
    assert found.tag == f"{SVG}svg"
    return found


def texts(picture: Picture) -> list[str]:
    return ["".join(element.itertext()) for element in root(picture).iter(f"{SVG}text")]


def circles(picture: Picture, color: str) -> list[tuple[float, float]]:
    return [
        (float(e.attrib["cx"]), float(e.attrib["cy"]))
        for e in root(picture).iter(f"{SVG}circle")
        if "cx" in e.attrib and e.attrib["fill"] == color
    ]


def pixels(picture: Picture) -> list[Any]:
    """The embedded images, as they are in the file."""
    found = []
    for element in root(picture).iter(f"{SVG}image"):
        kind, _, data = element.attrib["href"].partition(",")
        assert kind == "data:image/png;base64"
        assert "pixelated" in element.attrib["style"]
        found.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))))
    return found


Box = tuple[float, float, float, float]


def boxes(picture: Picture) -> list[tuple[str, str, Box]]:
    """What each text says, its colour, and its (left, right, top, bottom), by the same guess of
    the length of a text as the charts'."""
    found = []
    for e in root(picture).iter(f"{SVG}text"):
        text, size = e.text or "", float(e.attrib["font-size"])
        x, y, long = float(e.attrib["x"]), float(e.attrib["y"]), extent(text, 1) * size
        begin = {"start": 0.0, "middle": -long / 2, "end": -long}[e.attrib["text-anchor"]]
        along, above = (begin, begin + long), (-0.8 * size, 0.2 * size)
        if "transform" in e.attrib:  # turned by a quarter: it runs upwards
            box = (x + above[0], x + above[1], y - along[1], y - along[0])
        else:
            box = (x + along[0], x + along[1], y + above[0], y + above[1])
        found.append((text, e.attrib["fill"], box))
    return found


def apart(a: Box, b: Box) -> bool:
    return a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]


def stand_clear_inside(picture: Picture) -> None:
    """Every text lies in the picture, and ticks are apart."""
    for text, _, (left, right, top, bottom) in boxes(picture):
        assert left >= -0.1 and right <= picture.width + 0.1, f"{text}: {left:.0f} to {right:.0f}"
        assert top >= -0.1 and bottom <= picture.height + 0.1, f"{text}: {top:.0f} to {bottom:.0f}"
    some = [(text, box) for text, color, box in boxes(picture) if color == MUTED]
    for i, (text, box) in enumerate(some):
        for other, another in some[:i]:
            assert apart(box, another), f"{text} runs into {other}"


def every_chart() -> dict[str, Picture]:
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    points = {"near": rng.normal(size=(5, 2)), "far": rng.normal(size=(4, 2))}
    charts = {
        "lines": lines({"a": (None, [3.0, 2.0, 1.0])}, title="t", x_label="x", y_label="y"),
        "plane": plane(points, outlines={"hull": [[0, 0], [1, 0], [0, 1]]}, title="t"),
        "bars": bars(["cat", "dog"], {"one": [1.0, -2.0], "two": [0.5, 3.0]}, title="t"),
        "images": images(shown, ["a", "b", "c"], columns=2, title="t"),
    }
    return {**charts, "grid": grid(list(charts.values()), columns=2, title="all")}


@pytest.mark.parametrize("kind", ["lines", "plane", "bars", "images", "grid"])
def test_a_chart_is_xml_with_a_title_and_the_same_every_time(kind: str) -> None:
    picture = every_chart()[kind]
    found = root(picture)
    assert found.find(f"{SVG}title") is not None
    assert found.attrib["width"] == f"{picture.width:.0f}"
    assert picture.svg == every_chart()[kind].svg
    assert str(picture) == picture._repr_svg_() == picture.svg
    assert not re.search(r"nan|inf\b", picture.svg.lower().replace("info", ""))


CLASSES = ["disc", "ring", "square", "triangle", "star", "cross", "horizontal stripes"]
CLASSES += ["vertical stripes", "diagonal stripes", "checkerboard"]
CROWDED: list[tuple[str, Picture]] = [
    *list(every_chart().items())[:4],
    ("six digits", lines({"a": ([0, 5e4, 1e5], [1e6, 2e6, 3e6])}, x_label="x", y_label="loss")),
    ("tiny", lines({"a": ([1e-5, 2e-5], [1e-5, 1.4e-5])}, x_label="x", y_label="loss")),
    ("huge", lines({"a": ([1e8, 2e8], [-1e300, 9e299])}, y_label="loss")),
    ("small", lines({"a": ([0, 1e5], [1e6, 3e6])}, y_label="loss", width=200, height=150)),
    ("logarithms", lines({"a": ([1, 9], [1e-9, 1])}, log_x=True, log_y=True, width=200)),
    ("far away", plane({"a": [[1e6, 1e6], [2e6, 3e6]]}, x_label="x", y_label="y", width=160)),
    ("tiny bars", bars(["cat", "dog"], {"": [1e-5, 3e-5]}, y_label="rate")),
    ("long labels", bars(CLASSES, {"one": range(10), "two": range(10)}, y_label="accuracy")),
    ("longer labels", bars([10 * "so ", *CLASSES], {"": range(11)}, y_label="accuracy", width=300)),
    ("low", bars(CLASSES, {"one": range(10)}, title="t " * 40, width=300, height=150)),
    ("low lines", lines({w: (None, [1, 2]) for w in CLASSES}, title="t", width=200, height=150)),
    ("two rows", bars(["HOG and hue", "pixels"], {"": [1, 2]}, width=200)),
    ("images", images(np.zeros((3, 8, 8), np.uint8), CLASSES[6:9], size=88)),
]


@pytest.mark.parametrize(("kind", "picture"), CROWDED, ids=[kind for kind, _ in CROWDED])
def test_texts_lie_inside_the_picture_and_ticks_stand_clear(kind: str, picture: Picture) -> None:
    assert len(boxes(picture)) >= 3
    stand_clear_inside(picture)
    names = [(text, box) for text, color, box in boxes(picture) if color == INK]
    assert all(apart(a, b) for i, (_, a) in enumerate(names) for _, b in names[:i]), kind


def test_labels_of_bars_that_have_no_room_are_turned_and_none_is_lost() -> None:
    picture = bars(CLASSES, {"": range(10)})
    turned = [e.text for e in root(picture).iter(f"{SVG}text") if "transform" in e.attrib]
    assert " ".join(filter(None, turned)) == " ".join(CLASSES)
    narrow = bars([10 * "so ", *CLASSES], {"": range(11)}, width=300)
    assert {*CLASSES, "so so so so so so s…"} <= set(texts(narrow))
    wide = bars(CLASSES, {"": range(10)}, width=1200)
    assert not [e for e in root(wide).iter(f"{SVG}text") if "transform" in e.attrib]


def test_all_texts_are_escaped() -> None:
    wanted = HOSTILE
    for bad in "\x00\x1f\ud800":
        wanted = wanted.replace(bad, "\ufffd")
    charts = [
        lines({HOSTILE: (None, [1.0, 2.0])}, title=HOSTILE, x_label=HOSTILE, y_label=HOSTILE),
        plane({HOSTILE: [[0.0, 1.0]]}, title=HOSTILE),
        bars(["x"], {HOSTILE: [1.0]}, title=HOSTILE),
        images([np.zeros((2, 2), dtype=np.uint8)], ["c"], title=HOSTILE, size=400),
    ]
    for picture in charts:
        assert root(picture).findtext(f"{SVG}title", "").startswith(wanted)
        assert " ".join(texts(picture)).count("<b> & \"c\" 'd'") >= 1


def test_a_line_passes_where_its_numbers_are() -> None:
    picture = lines({"a": ([0, 1, 2], [0.0, 10.0, 5.0]), "b": ([0, 2], [10.0, 0.0])})
    assert {"a", "b"} <= set(texts(picture))
    (x0, y0), (x1, y1), (x2, y2) = circles(picture, COLORS[0])
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11) and x1 > x0
    assert y0 - y1 == pytest.approx(2 * (y0 - y2), abs=0.2) and y1 < y2 < y0  # y points down
    (u0, v0), (u2, v2) = circles(picture, COLORS[1])
    assert (u0, v0, u2, v2) == pytest.approx((x0, y1, x2, y0))


def test_logarithmic_axes_space_factors_evenly() -> None:
    picture = lines({"a": ([1, 10, 100], [0.01, 1.0, 100.0])}, log_x=True, log_y=True)
    (x0, y0), (x1, y1), (x2, y2) = circles(picture, COLORS[0])
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert {"0.01", "0.1", "1", "10", "100"} <= set(texts(picture))


def test_no_x_counts_from_one_and_gaps_are_left() -> None:
    picture = lines({"a": (None, [1.0, math.nan, 2.0, math.inf, 3.0])})
    assert len(circles(picture, COLORS[0])) == 3
    (path,) = (
        e.attrib["d"] for e in root(picture).iter(f"{SVG}path") if "stroke-linejoin" in e.attrib
    )
    assert path.count("M") == 3 and "L" not in path


def test_many_points_have_no_markers_and_dashed_series_none() -> None:
    many = list(range(1, 100))
    picture = lines({"many": (many, many), "limit": ([1, 99], [50, 50])}, dashed=["limit"])
    assert not circles(picture, COLORS[0]) and not circles(picture, COLORS[1])
    dashes = [e for e in root(picture).iter(f"{SVG}path") if "stroke-dasharray" in e.attrib]
    assert len(dashes) == 2  # the line and its sign in the legend


def test_series_beyond_the_colours_are_told_apart() -> None:
    picture = lines({str(i): (None, [i, i + 1.0]) for i in range(2 * len(COLORS))})
    styles = [
        (e.attrib["stroke"], e.attrib.get("stroke-dasharray"))
        for e in root(picture).iter(f"{SVG}path")
        if "stroke-linejoin" in e.attrib
    ]
    assert len(set(styles)) == 2 * len(COLORS)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 10))
def test_linear_ticks_are_round_and_cover_the_data(low: float, span: float, about: int) -> None:
    high = low + span
    ticks = linear_ticks(low, high, about)
    step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    assert np.diff(ticks) == pytest.approx(step, rel=1e-3)
    assert ticks[0] <= low + 1e-6 * step and ticks[-1] >= high - 1e-6 * step
    assert ticks[1] > low - step * 1e-6 and ticks[-2] < high + step * 1e-6  # and no more than that
    mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-6)
    assert any(mantissa == pytest.approx(m, rel=1e-3) for m in (1, 2, 5, 10))
    assert 2 <= len(ticks) <= about + 3


@given(st.floats(-250, 250), st.floats(0.01, 40), st.integers(2, 10))
def test_logarithmic_ticks_are_round_and_cover_the_data(
    exponent: float, decades: float, about: int
) -> None:
    low, high = 10.0**exponent, 10.0 ** (exponent + decades)
    ticks = log_ticks(low, high, about)
    assert ticks[0] <= low * (1 + 1e-6) and ticks[-1] >= high * (1 - 1e-6)
    assert 2 <= len(ticks) <= max(10, about + 2)
    for tick in ticks:
        mantissa = tick / 10.0 ** math.floor(math.log10(tick) + 1e-6)
        assert any(mantissa == pytest.approx(m) for m in (1, 2, 5))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=6))
def test_every_finite_number_has_a_place_on_its_axis(values: list[float]) -> None:
    known = [v for v in values if abs(v) < 1e300]
    if not known:
        with pytest.raises(ValueError, match="holds no finite number"):
            make_axis(values, "values")
        return
    axis = make_axis(values, "values")
    assert len(axis.ticks) >= 2
    for value in known:
        assert -1e-6 <= axis.share(value) <= 1 + 1e-6
    picture = lines({"a": (None, values)})
    assert len(circles(picture, COLORS[0])) == len(known)
    stand_clear_inside(picture)


@pytest.mark.parametrize(
    ("values", "log", "labels"),
    [
        ([0, 1000], False, ["0", "200", "400", "600", "800", "1,000"]),
        ([-0.3, 0.3], False, ["−0.3", "−0.2", "−0.1", "0.0", "0.1", "0.2", "0.3"]),
        ([5, 5], False, ["2", "3", "4", "5", "6", "7", "8"]),
        ([1e-5, 1.4e-5], False, ["1.0·10⁻⁵", "1.1·10⁻⁵", "1.2·10⁻⁵", "1.3·10⁻⁵", "1.4·10⁻⁵"]),
        ([1, 8], True, ["1", "2", "5", "10"]),
        ([1e-6, 1e-4], True, ["10⁻⁶", "2·10⁻⁶", "5·10⁻⁶", "10⁻⁵", "2·10⁻⁵", "5·10⁻⁵", "10⁻⁴"]),
        ([1e3, 1e8], True, ["1,000", "10,000", "10⁵", "10⁶", "10⁷", "10⁸"]),
    ],
)
def test_ticks_are_written_as_people_write_them(
    values: list[float], log: bool, labels: list[str]
) -> None:
    axis: Axis = make_axis(values, "values", log=log)
    assert [text for _, text in axis.ticks] == labels


def test_a_circle_is_round_and_an_outline_closed() -> None:
    corners = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 60)]
    picture = plane({"a": corners}, outlines={"circle": [*corners, (3.0, 0.0)]})
    xs, ys = zip(*circles(picture, COLORS[0]), strict=True)
    assert max(xs) - min(xs) == pytest.approx(max(ys) - min(ys), rel=0.01)
    outline = [e for e in root(picture).iter(f"{SVG}path") if e.attrib["d"].endswith("Z")]
    assert len(outline) == 1 and outline[0].attrib["stroke"] == COLORS[1]
    assert {"a", "circle"} <= set(texts(picture))


def test_cells_are_coloured_as_the_points_of_their_class_bottom_row_first() -> None:
    cells = [[0, 0, 1], [2, 1, 1]]
    picture = plane({"a": [[0, 0]]}, cells=cells, limits=(0, 3, 0, 2))
    (found,) = pixels(picture)
    times = found.shape[1] // 3
    assert found.shape == (2 * times, 3 * times, 3)
    for i, row in enumerate(reversed(cells)):
        for j, code in enumerate(row):
            block = found[i * times : (i + 1) * times, j * times : (j + 1) * times]
            assert (block == tint(code)).all()
    assert len({tint(i) for i in range(len(COLORS))}) == len(COLORS)


def test_bars_are_as_long_as_their_numbers() -> None:
    picture = bars(["cat", "dog", "frog"], {"one": [1.0, 2.0, -1.0], "two": [0.0, math.nan, 2.0]})
    assert {"cat", "dog", "frog", "one", "two", "−1", "2"} <= set(texts(picture))
    rows = [e.attrib for e in root(picture).iter(f"{SVG}rect") if "fill" in e.attrib]
    one = [a for a in rows if a["fill"] == COLORS[0] and float(a["x"]) > 0]
    first, second, third = (float(a["height"]) for a in one)
    assert second == pytest.approx(2 * first, abs=0.2) and third == pytest.approx(first, abs=0.2)
    assert float(one[2]["y"]) == pytest.approx(float(one[0]["y"]) + first, abs=0.2)  # hangs down
    two = [a for a in rows if a["fill"] == COLORS[1] and float(a["x"]) > 0]
    assert len(two) == 2  # NaN has no bar


@pytest.mark.parametrize("shape", [(6, 4, 3), (6, 4, 1), (5, 9), (1, 1, 3)])
@pytest.mark.parametrize("size", [8, 100])
def test_images_decode_to_the_pixels_given(shape: tuple[int, ...], size: int) -> None:
    given = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    picture = images(given, ["first", "second"], size=size)
    assert texts(picture) == ["first", "second"]
    for image, found in zip(given, pixels(picture), strict=True):
        times = found.shape[0] // image.shape[0]
        grey = image[..., 0] if image.shape[-1] == 1 and image.ndim == 3 else image
        assert np.array_equal(found, np.repeat(np.repeat(grey, times, 0), times, 1))
        assert max(found.shape[:2]) >= size


def test_images_keep_their_proportions_and_stand_in_rows() -> None:
    picture = images([np.zeros((10, 20), np.uint8)] * 3, columns=2, size=100)
    boxes = [
        tuple(float(e.attrib[name]) for name in ("x", "y", "width", "height"))
        for e in root(picture).iter(f"{SVG}image")
    ]
    assert all(box[2:] == (100.0, 50.0) for box in boxes)
    assert boxes[0][1] == boxes[1][1] < boxes[2][1] and boxes[0][0] == boxes[2][0] < boxes[1][0]


def test_a_grid_holds_its_pictures_side_by_side() -> None:
    parts = list(every_chart().values())[:4]
    picture = grid(parts, columns=2, title="all of them")
    inner = [e for e in root(picture) if e.tag == f"{SVG}svg"]
    assert len(inner) == 4
    places = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in inner]
    assert places[0][1] == places[1][1] < places[2][1] and places[0][0] == places[2][0]
    assert picture.width >= parts[0].width + parts[1].width
    assert "all of them" in texts(picture) and "cat" in texts(picture)


def test_arrays_of_every_backend_are_taken(backend: Backend) -> None:
    y = backend.asarray([1.0, 3.0, 2.0], "float32")
    points = backend.asarray([[0.0, 1.0], [2.0, 3.0]], "float32")
    codes = backend.asarray([[0, 1], [1, 0]])
    shown = backend.asarray(np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3))
    limits = (0.0, 1.0, 0.0, 1.0)
    assert lines({"a": (None, y)}).svg == lines({"a": (None, [1.0, 3.0, 2.0])}).svg
    assert plane({"a": points}).svg == plane({"a": [[0.0, 1.0], [2.0, 3.0]]}).svg
    assert plane(cells=codes, limits=limits).svg == plane(cells=[[0, 1], [1, 0]], limits=limits).svg
    assert bars("abc", {"": y}).svg == bars("abc", {"": [1.0, 3.0, 2.0]}).svg
    assert len(pixels(images(shown))) == 2


def test_saving_writes_the_text_and_refuses_other_formats(tmp_path: Path) -> None:
    picture = every_chart()["lines"]
    picture.save(tmp_path / "chart.SVG")
    assert (tmp_path / "chart.SVG").read_text("utf-8") == picture.svg
    with pytest.raises(ValueError, match=r"chart\.png', but pictures are SVG: give a name that"):
        picture.save(tmp_path / "chart.png")
    assert not (tmp_path / "chart.png").exists()
    assert repr(picture) == "<Picture 't', 560 x 380>"


WHOLE = np.zeros((2, 2), dtype=np.uint8)
WRONG: list[tuple[Any, str]] = [
    (lambda: lines({}), "series is empty"),
    (lambda: lines({"a": (None, [])}), "x of the series holds no finite number"),
    (lambda: lines({"a": ([1, 2], [1])}), "series 'a' has 2 x and 1 y"),
    (lambda: lines({"a": (None, [[1.0]])}), r"y of 'a' has shape \(1, 1\), expected 1 dimension"),
    (lambda: lines({"a": (None, ["x"])}), "y of 'a' has dtype .*, expected real numbers"),
    (lambda: lines({"a": (None, [math.nan])}), "y of the series holds no finite number"),
    (lambda: lines({"a": (None, [0.0, 1.0])}, log_y=True), "holds 0, but a logarithmic axis"),
    (lambda: lines({"a": (None, [1.0])}, dashed=["b"]), "a name in dashed is 'b'"),
    (lambda: lines({"a": (None, [1.0])}, width=10), "width is 10"),
    (lambda: plane(), "there is nothing to draw"),
    (lambda: plane({"a": [1.0, 2.0]}), r"'a' has shape \(2,\), expected points \(n, 2\)"),
    (lambda: plane(cells=[[0]]), "limits is None, but cells need limits"),
    (lambda: plane(cells=[[0.5]], limits=(0, 1, 0, 1)), "cells has shape .* expected integers"),
    (lambda: plane({"a": [[0, 0]]}, limits=(1, 0, 0, 1)), "limits is .* expected"),
    (lambda: plane({"a": [[0, 0]]}, limits=(0, 1, 0, 99)), "over 1 across and 99 up, but one side"),
    (lambda: bars([], {}), "labels has 0 entries and series 0"),
    (lambda: bars(["a"], {"s": [1.0, 2.0]}), "series 's' has 2 numbers for 1 labels"),
    (lambda: images([]), "images is empty"),
    (lambda: images([WHOLE.astype(float)]), r"images\[0\] has dtype float64, expected uint8"),
    (lambda: images([WHOLE[None, None]]), r"images\[0\] has shape \(1, 1, 2, 2\)"),
    (lambda: images([WHOLE[:, :0]]), r"images\[0\] has shape \(2, 0\)"),
    (lambda: images([WHOLE], ["a", "b"]), "captions has 2 entries for 1 images"),
    (lambda: images([WHOLE], columns=0), "columns is 0"),
    (lambda: grid([]), "pictures is empty"),
]


@pytest.mark.parametrize(("call", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_what_cannot_be_drawn_is_said_in_one_line(call: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
