"""`make_shapes`: what a seed promises, what each dial does, and which features tell the classes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcls import KNeighborsClassifier, LinearClassifier, progress
from xpcls.data import Dataset, load, make_shapes
from xpcls.data import _shapes as shapes
from xpcls.data._canvas import rgb
from xpcls.data._figures import FIGURES

DIALS = ("occlusion", "illumination", "pose", "clutter", "variation", "noise")
OFF = dict.fromkeys(DIALS, 0.0)
PLAIN = make_shapes(20, **OFF)  # two of each class


def of_class(data: Dataset, name: str) -> Any:
    return data.images[data.labels == data.class_names.index(name)].astype(float)


# --- what a seed promises ---------------------------------------------------------------------


def test_the_shape_is_that_of_cifar() -> None:
    data = make_shapes(30)
    assert data.images.shape == (30, 32, 32, 3) and data.images.dtype == np.uint8
    assert data.images.flags.c_contiguous
    assert data.labels.dtype == np.int64 and len(data.class_names) == 10
    assert "make_shapes(30, occlusion=0.5" in data.source and "random_state=0" in data.source
    assert data.official_test == 0


@given(st.integers(1, 40), st.integers(0, 100))
def test_classes_are_of_one_size_but_for_one(n: int, seed: int) -> None:
    counts = np.bincount(make_shapes(n, random_state=seed, size=8).labels, minlength=10)
    assert counts.sum() == n and counts.max() - counts.min() <= 1


def test_classes_come_in_random_order() -> None:
    tens = make_shapes(2000, size=8, **OFF).labels.reshape(-1, 10)
    assert np.array_equal(np.sort(tens, axis=1), np.tile(np.arange(10), (200, 1)))
    # Each class stands in each place 20 times out of 200, give or take four deviations.
    where = np.argsort(tens, axis=1)
    counts = np.stack([np.bincount(place, minlength=10) for place in where.T])
    assert np.abs(counts - 20).max() < 4 * math.sqrt(200 * 0.1 * 0.9)


def test_one_seed_one_data_set_and_another_seed_another() -> None:
    first, again, other = (make_shapes(20, random_state=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.images, other.images)
    drawn = [make_shapes(20, random_state=np.random.default_rng(3)) for _ in range(2)]
    assert np.array_equal(drawn[0].images, first.images)
    assert np.array_equal(drawn[1].images, first.images)
    assert not np.array_equal(*(make_shapes(5, random_state=None).images for _ in range(2)))


def test_an_image_depends_on_the_seed_and_its_place_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    many = make_shapes(43)
    for n in (1, 7, 10, 42):
        few = make_shapes(n)
        assert np.array_equal(few.images, many.images[:n])
        assert np.array_equal(few.labels, many.labels[:n])
    monkeypatch.setattr(shapes, "BLOCK_BYTES", 3 * 12 * 32 * 32)
    assert np.array_equal(make_shapes(43).images, many.images)


def test_images_of_any_size_show_the_same() -> None:
    """Four pixels of the large image, averaged, are one of the small: so edges are smooth."""
    small, large = make_shapes(10, **OFF), make_shapes(10, size=64, **OFF)
    averaged = large.images.reshape(10, 32, 2, 32, 2, 3).mean((2, 4))
    difference = np.abs(averaged - small.images)
    assert np.array_equal(small.labels, large.labels)
    assert difference.mean() < 2 and np.percentile(difference, 99) < 25
    assert make_shapes(3, size=8).images.shape == (3, 8, 8, 3)


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "BLOCK_BYTES", 8 * 12 * 32 * 32)
    told = []
    with progress.listen(lambda *step: told.append(step)):
        make_shapes(20)
    assert told == [("drawing images", done, 20, {}) for done in (8, 16, 20)]


def test_load_knows_the_name() -> None:
    data = load("shapes")
    assert len(data) == 5000
    assert np.array_equal(data.images[:10], make_shapes(10).images)
    with pytest.raises(ValueError, match="grey=True: only for folders of images, shapes is read"):
        load("shapes", grey=True)
    with pytest.raises(FileNotFoundError, match="path of a data set, mnist5k or shapes"):
        load("no such place")


# --- what is drawn ----------------------------------------------------------------------------


def inside(name: str, x: float, y: float) -> bool:
    """Whether a point lies in a figure of radius 1, from the geometry of school."""
    corners = {"triangle": 3, "star": 5}.get(name)
    if corners is not None:
        tip, inner = (1.1, 0.55) if corners == 3 else (1.15, 0.5)
        points = [
            (r * math.sin(a), -r * math.cos(a))
            for i in range(2 * corners)
            for r, a in [((tip, inner)[i % 2], math.pi * i / corners)]
        ]
        crossed = False
        for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                crossed = not crossed
        return crossed
    return {
        "disc": x * x + y * y < 1,
        "ring": 0.6**2 < x * x + y * y < 1,
        "square": abs(x) < 0.88 and abs(y) < 0.88,
        "cross": (abs(x) < 1 and abs(y) < 0.3) or (abs(x) < 0.3 and abs(y) < 1),
    }[name]


@pytest.mark.parametrize("name", ["disc", "ring", "square", "triangle", "star", "cross"])
def test_the_outline_is_the_figure_of_its_name(name: str) -> None:
    """At 256 x 256 pixels with all dials off, but for the pixels on the edge."""
    size = 256
    data = make_shapes(10, size=size, **OFF)
    (image,) = of_class(data, name)
    painted = np.abs(image - np.rint(shapes.GREY * 255)).max(-1)
    middles = ((np.arange(size) + 0.5) * 2 / size - 1) / shapes.RADIUS
    expected = np.array([[inside(name, x, y) for x in middles] for y in middles])
    colour = painted.max()
    wrong = (painted > 0.5 * colour) != expected
    assert wrong.mean() < 0.001
    assert 0.05 < expected.mean() < 0.5


@pytest.mark.parametrize(
    ("name", "changing"),
    [("horizontal stripes", (1, 0)), ("vertical stripes", (0, 1)), ("checkerboard", (1, 1))],
)
def test_a_pattern_changes_along_its_axes(name: str, changing: tuple[int, int]) -> None:
    image = of_class(PLAIN, name)[0].sum(-1)[10:22, 10:22]
    for axis in (0, 1):
        assert (np.abs(np.diff(image, axis=axis)).max() > 50) == bool(changing[axis])


def test_diagonal_stripes_run_from_below_left_to_above_right() -> None:
    image = of_class(PLAIN, "diagonal stripes")[0].sum(-1)[8:24, 8:24]
    assert np.array_equal(image[1:, :-1], image[:-1, 1:])
    assert np.abs(np.diff(image, axis=0)).max() > 50


def test_hues_come_out_as_in_the_standard_library() -> None:
    import colorsys

    rng = np.random.default_rng(0)
    for hue, saturation, brightness in rng.uniform(0, 1, (50, 3)):
        one = [np.full((1, 1, 1), value) for value in (hue, saturation, brightness)]
        expected = colorsys.hsv_to_rgb(hue, saturation, brightness)
        assert np.allclose(rgb(*one)[0, :, 0, 0], expected)
        assert np.allclose(rgb(one[0] - 3, *one[1:])[0, :, 0, 0], expected)


def test_six_classes_share_three_hues() -> None:
    typical = [figure.hue for figure in FIGURES if not figure.any_hue]
    assert sorted(typical.count(hue) for hue in set(typical)) == [2, 2, 2]


# --- the dials --------------------------------------------------------------------------------


def test_with_all_dials_off_the_images_of_a_class_are_equal() -> None:
    for seed in (0, 1):
        data = make_shapes(40, random_state=seed, **OFF)
        for code in range(10):
            mine = data.images[data.labels == code]
            assert np.array_equal(mine, np.repeat(mine[:1], 4, axis=0))
            assert np.array_equal(mine[0], PLAIN.images[PLAIN.labels == code][0])
    assert len({image.tobytes() for image in PLAIN.images}) == 10


@pytest.mark.parametrize("dial", DIALS)
def test_each_dial_makes_images_of_a_class_differ(dial: str) -> None:
    data = make_shapes(40, **{**OFF, dial: 0.5})
    for code in range(10):
        mine = data.images[data.labels == code]
        assert len({image.tobytes() for image in mine}) == 4


def apart(dial: str, name: str = "square", level: float = 1.0) -> Any:
    """Images of one class with one dial up, less the image with none: float (20, 32, 32, 3)."""
    return of_class(make_shapes(200, **{**OFF, dial: level}), name) - of_class(PLAIN, name)[0]


def test_occlusion_covers_a_part_and_leaves_the_rest() -> None:
    changed = np.abs(apart("occlusion")).max(-1) > 0
    shares = changed.mean((1, 2))
    assert shares.max() < 0.7 and 0.1 < shares.mean() < 0.5
    assert changed[:, 10:22, 10:22].any((1, 2)).all()  # each bar lies over the figure


def test_illumination_multiplies_and_keeps_edges_where_they_are() -> None:
    plain = of_class(PLAIN, "disc")[0]
    lit = apart("illumination", "disc") + plain
    strength = lit.mean((1, 2, 3)) / plain.mean()
    assert strength.min() < 0.6 and strength.max() > 1.1
    dark = lit[lit.max((1, 2, 3)) < 200]  # none of their pixels saturates
    ratio = dark / plain  # smooth: a plane in each channel
    assert np.abs(np.diff(ratio, n=2, axis=1)).max() < 0.1
    assert np.abs(np.diff(ratio, n=2, axis=2)).max() < 0.1


def test_pose_moves_turns_and_scales_and_keeps_the_colours() -> None:
    plain, grey = of_class(PLAIN, "square")[0], np.rint(255 * shapes.GREY)
    moved = apart("pose") + plain
    inner = np.abs(plain - grey).max()
    areas = (np.abs(moved - grey).max(-1) > inner / 2).sum((1, 2))
    assert areas.min() < 0.5 * areas.max()
    colour = plain[16, 16]
    assert (np.abs(moved - colour).max(-1) < 1).any((1, 2)).all()
    between = np.minimum(colour, grey) - 1, np.maximum(colour, grey) + 1
    assert ((moved >= between[0]) & (moved <= between[1])).all()


def test_clutter_leaves_the_figure_alone() -> None:
    changed = np.abs(apart("clutter")).max(-1)
    assert changed[:, 10:22, 10:22].max() == 0
    assert (changed[:, :2, :] > 0).mean() > 0.9


def test_variation_leaves_the_background_alone() -> None:
    changed = np.abs(apart("variation")).max(-1)
    assert changed[:, :3, :].max() == 0
    assert (changed[:, 16, 16] > 0).all()


def test_noise_is_nearly_normal_and_of_the_deviation_named() -> None:
    grain = apart("noise", level=0.3)[:, :5] / 255  # over the grey background
    deviation = 0.3 * shapes.NOISE
    assert abs(grain.mean()) < 0.002
    assert grain.std() == pytest.approx(deviation, rel=0.03)
    within = (np.abs(grain) < deviation).mean()
    assert within == pytest.approx(0.683, abs=0.03)  # of a normal distribution
    neighbours = np.corrcoef(grain[:, :, :-1].ravel(), grain[:, :, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.03


@pytest.mark.parametrize("dial", DIALS)
def test_raising_a_dial_lowers_the_accuracy_of_the_nearest_neighbour(dial: str) -> None:
    def accuracy(level: float) -> float:
        data = make_shapes(800, **{**dict.fromkeys(DIALS, 0.4), dial: level})
        rows = features(data.images)
        knn = KNeighborsClassifier(1).fit(rows[:500], data.labels[:500])
        return knn.score(rows[500:], data.labels[500:])

    easy, middle, hard = (accuracy(level) for level in (0.0, 0.5, 1.0))
    assert easy > middle > hard > 0.1
    assert easy > hard + 0.1


def test_at_the_default_dials_pixels_know_half_and_hues_and_edges_more() -> None:
    data = make_shapes(1200)
    pixels = data.images.reshape(1200, -1).astype(np.float32) / 255
    scores = []
    for rows in (pixels, features(data.images)):
        model = LinearClassifier("softmax", random_state=0)
        model.fit(rows[:900] - rows[:900].mean(0), data.labels[:900])
        scores.append(model.score(rows[900:] - rows[:900].mean(0), data.labels[900:]))
    assert 0.3 < scores[0] < 0.6
    assert scores[1] > scores[0] + 0.15


def features(images: Any) -> Any:
    return np.concatenate([edges(images), 2 * hues(images)], axis=1)


def edges(images: Any) -> Any:
    """Of each cell of 8 x 8 pixels, gradients by their direction: a plain form of HOG."""
    grey = images.astype(np.float32).mean(-1)
    down, right = np.gradient(grey, axis=(1, 2))
    direction = np.floor(np.arctan2(down, right) / math.pi * 9).astype(int) % 9
    found = [(np.hypot(down, right) * (direction == k)) for k in range(9)]
    cells = np.stack(found, axis=-1).reshape(-1, 4, 8, 4, 8, 9).sum((2, 4))
    cells /= np.linalg.norm(cells, axis=-1, keepdims=True) + 1
    return cells.reshape(len(images), -1)


def hues(images: Any) -> Any:
    """How much colour an image has in each of twelve hues."""
    red, green, blue = np.moveaxis(images.astype(np.float32), -1, 0)
    along, across = red - (green + blue) / 2, (green - blue) * math.sqrt(0.75)
    hue = np.floor(np.arctan2(across, along) / (2 * math.pi) * 12).astype(int) % 12
    found = np.stack([(np.hypot(along, across) * (hue == k)).sum((1, 2)) for k in range(12)], 1)
    return found / (found.sum(1, keepdims=True) + 1)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("dial", DIALS)
@pytest.mark.parametrize("value", [-1, -0.001, 1.001, 2, float("nan"), float("inf")])
def test_a_dial_outside_0_to_1_is_named(dial: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{dial} is {value}, expected a number from 0 \(none\)"):
        make_shapes(3, **{dial: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pose": "x"}, "^pose is 'x', expected a number from 0 .none. to 1 .hard.$"),
        ({"noise": True}, "^noise is True, expected a number"),
        ({"clutter": None}, "^clutter is None, expected a number"),
        ({"n": 0}, "^n is 0, expected an integer of at least 1$"),
        ({"n": -3}, "^n is -3, expected"),
        ({"n": 2.5}, "^n is 2.5, expected an integer"),
        ({"n": True}, "^n is True, expected"),
        ({"size": 7}, "^size is 7, expected an integer of at least 8$"),
        ({"size": "32"}, "^size is '32', expected"),
        ({"random_state": "a"}, "^random_state is 'a', expected"),
        ({"random_state": -1}, "^random_state is -1, expected"),
    ],
)
def test_what_cannot_be_drawn_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make_shapes(**{"n": 3, **given})


def test_numbers_of_numpy_will_do() -> None:
    data = make_shapes(np.int64(3), pose=np.float32(0.5), noise=0, size=np.int32(32))
    assert np.array_equal(data.images, make_shapes(3, noise=0.0).images)
    assert replace(data, official_test=1).official_test == 1
