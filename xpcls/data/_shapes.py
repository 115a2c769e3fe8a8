"""Colour images of ten shapes and textures, drawn from a seed, with a dial for each difficulty."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt

from xpcls.progress import advance
from xpcls_backends import Seed, counter_bits, host_generator, namespace_of, row_blocks, rows_within

from ._canvas import Canvas, Floats, Place, rgb
from ._dataset import Dataset, Images, Indices
from ._figures import FIGURES, WHIMS, Figure, Outline, Whims, disc, patch, square, triangle

BLOCK_BYTES = 2**20  # of the images drawn at a time, as float32: what a core's cache holds
SMALLEST = 8  # pixels a side, below which no figure can be told
GREY = 0.85  # of a background without clutter
RADIUS = 0.65  # of a figure that no pose changes; half the image is 1
NOISE = 0.12  # its largest deviation, of the full scale
DISTRACTORS = (disc, square, triangle, patch)  # what clutter puts behind the figure


@dataclass(frozen=True)
class Dials:
    """How hard the images are."""

    occlusion: float
    illumination: float
    pose: float
    clutter: float
    variation: float
    noise: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            problem = f"{field.name} is {value!r}, expected a number from 0 (none) to 1 (hard)"
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(problem)
            if not 0 <= float(value) <= 1:  # NaN is refused too
                raise ValueError(problem)


def make_shapes(
    n: int,
    *,
    occlusion: float = 0.5,
    illumination: float = 0.5,
    pose: float = 0.5,
    clutter: float = 0.5,
    variation: float = 0.5,
    noise: float = 0.5,
    random_state: Seed = 0,
    size: int = 32,
) -> Dataset:
    """Draw `n` colour images of ten shapes and textures, as large as those of CIFAR-10.

    Parameters
    ----------
    n : how many images, at least 1.
    occlusion, illumination, pose, clutter, variation, noise : dials from 0, off, to 1, hard: one
        for each difficulty of images that CS231n's lectures name, and the noise of a camera.
        occlusion     a bar in front of the figure, up to 1.2 times as wide as its radius
        illumination  the strength of the light, from 1/3 to 3/2; its side; its tint
        pose          the figure's place, by up to a quarter of the image each way; its radius, by
                      up to 45 percent less or 20 more; its turn, by up to 20 degrees
        clutter       the background: its colour, waves in it, and four other things behind
        variation     the figure's hue, saturation and brightness, proportions, line and pattern
        noise         normal noise of standard deviation up to 0.12 of the full scale
        With all of them at 0 the images of a class are equal.
    random_state : an int, None or a numpy.random.Generator; the same int draws the same images.
    size : height and width in pixels, at least 8.

    Returns
    -------
    Dataset : `images` uint8 (n, size, size, 3), `labels` int64 (n,), ten `class_names`: disc,
        ring, square, triangle, star, cross, horizontal, vertical and diagonal stripes,
        checkerboard.

    Image i and its label depend on the seed and on i alone: `make_shapes(100)` begins with the
    images of `make_shapes(10)`. From the first on, every ten images hold each class once, in
    random order, so the sizes of the classes differ by 1 at most.

    Six classes have a typical hue, shared by two of them, which their outlines tell apart; the
    patterns have any. So histograms of gradients and hues know more than pixels do.

    Raises TypeError or ValueError for what is no such number. 10,000 images take a few seconds.
    """
    for name, value, least in (("n", n, 1), ("size", size, SMALLEST)):
        problem = f"{name} is {value!r}, expected an integer of at least {least}"
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(problem)
        if value < least:
            raise ValueError(problem)
    n, size = int(n), int(size)
    dials = Dials(occlusion, illumination, pose, clutter, variation, noise)
    key = int(host_generator(random_state).integers(2**63))
    labels = _labels(key, n)
    images: Images = np.empty((n, size, size, 3), dtype=np.uint8)
    for rows in row_blocks(n, rows_within(BLOCK_BYTES, 12 * size * size)):
        images[rows] = _drawn(labels[rows], Numbers(key, rows), dials, size)
        advance("drawing images", rows.stop, n)
    settings = "".join(f"{name}={value:g}, " for name, value in asdict(dials).items())
    return Dataset(
        images=images,
        labels=labels,
        class_names=tuple(figure.name for figure in FIGURES),
        source=f"xpcls.data.make_shapes({n}, {settings}random_state={random_state}, size={size})",
        license="no terms: drawn by a program",
    )


class Numbers:
    """Random numbers of some images; each depends on key, name and place in the data set alone."""

    def __init__(self, key: int, rows: slice) -> None:
        self._key, self._rows = key, rows

    def bits(self, name: str, each: int = 1) -> npt.NDArray[np.uint32]:
        """Random bits, (n, each)."""
        n, first = self._rows.stop - self._rows.start, self._rows.start
        xp, key = namespace_of(np.empty(0)), self._key + zlib.crc32(name.encode())
        drawn: npt.NDArray[np.uint32] = counter_bits(xp, "cpu", key, first * each, n * each)
        return drawn.reshape(n, each)

    def between(self, low: float, high: float, name: str) -> Floats:
        """Uniform numbers, (n, 1, 1)."""
        share = self.bits(name).astype(np.float32) / 2.0**32
        return (low + (high - low) * share)[:, :, np.newaxis]

    def normal(self, name: str, each: int) -> Floats:
        """Nearly normal numbers of mean 0 and deviation 1, (n, each): sums of four random bytes."""
        total = self.bits(name, each).view(np.uint8).reshape(-1, each, 4).sum(-1, dtype=np.int16)
        return (total.astype(np.float32) - 510) / math.sqrt((256**2 - 1) / 3)


def _labels(key: int, n: int) -> Indices:
    """Ten at a time, in the order of ten random numbers."""
    tens = Numbers(key, slice(0, -(-n // len(FIGURES)))).bits("label", len(FIGURES))
    return np.argsort(tens, axis=1, kind="stable").reshape(-1)[:n].astype(np.int64)


def _drawn(labels: Indices, numbers: Numbers, dials: Dials, size: int) -> Images:
    """Images (n, size, size, 3) of these classes: what lies behind is painted first."""
    canvas, draw = Canvas(len(labels), size), numbers.between
    whims = {name: dials.variation * draw(-1, 1, name) for name in WHIMS}
    colours = _figure_colours(labels, whims)
    canvas.image[...] = GREY
    if dials.clutter:
        _clutter(canvas, colours, numbers, dials.clutter)
    place = Place(
        dials.pose * draw(-0.5, 0.5, "x"),
        dials.pose * draw(-0.5, 0.5, "y"),
        RADIUS * (1 + dials.pose * draw(-0.45, 0.2, "radius")),
        dials.pose * draw(-1, 1, "turn") * math.radians(20),
    )
    for code, figure in enumerate(FIGURES):
        rows = np.flatnonzero(labels == code)
        mine = {name: whim[rows] for name, whim in whims.items()}
        _paint_figure(canvas, figure, place.of(rows), mine, colours[rows], rows)
    if dials.occlusion:
        _cover(canvas, place, numbers, dials.occlusion)
    if dials.illumination:
        canvas.image *= _light(canvas, numbers, dials.illumination)
    canvas.image *= 255
    if dials.noise:
        grain = numbers.normal("noise", 3 * size * size).reshape(canvas.image.shape)
        canvas.image += grain * (NOISE * 255 * dials.noise)
    pixels = np.rint(np.minimum(np.maximum(canvas.image, 0), 255)).astype(np.uint8)
    return np.moveaxis(pixels, 1, 3)


def _figure_colours(labels: Indices, whims: Mapping[str, Floats]) -> Floats:
    """The colour of each figure, (n, 3, 1, 1)."""
    hues = np.asarray([figure.hue for figure in FIGURES], dtype=np.float32)
    spreads = np.asarray([0.5 if figure.any_hue else 0.07 for figure in FIGURES], dtype=np.float32)
    hue, spread = (table[labels][:, np.newaxis, np.newaxis] for table in (hues, spreads))
    return rgb(
        hue + spread * whims["hue"],
        0.75 + 0.25 * whims["saturation"],
        0.75 + 0.25 * whims["brightness"],
    )


def _lightness(colours: Floats) -> Floats:
    """How bright colours look, (n, 1, 1), as ITU-R 601 weighs them."""
    red, green, blue = (colours[:, i] for i in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _clutter(canvas: Canvas, figure_colours: Floats, numbers: Numbers, clutter: float) -> None:
    """A background of another colour, waves in it, and things that are not the figure."""
    draw = numbers.between
    # Darker or brighter than the figure, the more so the more of it there is: a figure of the
    # same brightness would be lost.
    light = np.mod(_lightness(figure_colours) + draw(0.35, 0.65, "back light"), 1)
    tint = rgb(draw(0, 1, "back hue"), draw(0, 0.5, "back saturation"), np.ones_like(light))
    turn = draw(0, 2 * math.pi, "wave turn")
    along = np.cos(turn) * canvas.x + np.sin(turn) * canvas.y
    wave = np.sin(along * draw(2, 8, "wave number") + draw(0, 2 * math.pi, "wave phase"))
    background = tint * (light / _lightness(tint))[:, np.newaxis] + (0.2 * wave)[:, np.newaxis]
    canvas.image += clutter * (background - canvas.image)
    for i, outline in enumerate(DISTRACTORS):
        _paint_distractor(canvas, outline, numbers, f"distractor {i}", clutter)


def _paint_distractor(
    canvas: Canvas, outline: Outline, numbers: Numbers, name: str, clutter: float
) -> None:
    draw = numbers.between
    place = Place(
        draw(-1.1, 1.1, f"{name} x"),
        draw(-1.1, 1.1, f"{name} y"),
        clutter * draw(0.25, 0.6, f"{name} radius"),
        draw(-math.pi, math.pi, f"{name} turn"),
    )
    colours = rgb(
        draw(0, 1, f"{name} hue"),
        draw(0, 0.7, f"{name} saturation"),
        draw(0.1, 0.9, f"{name} brightness"),
    )
    canvas.paint(lambda x, y: outline(x, y, {}), place, colours)


def _paint_figure(
    canvas: Canvas, figure: Figure, place: Place, whims: Whims, colours: Floats, rows: Indices
) -> None:
    """One figure in each of the images `rows`, and the dark parts of its pattern on it."""
    stretch, pattern = 1 + 0.25 * whims["stretch"], figure.pattern

    def outline(x: Floats, y: Floats) -> Floats:
        return figure.outline(x * stretch, y / stretch, whims)

    large = replace(place, radius=place.radius * figure.reach)
    canvas.paint(outline, large, colours, rows)
    if pattern is not None:
        dark = colours * (0.3 + 0.2 * whims["contrast"])[:, np.newaxis]
        canvas.paint(
            lambda x, y: np.maximum(pattern(x, y, whims), outline(x, y)), large, dark, rows
        )


def _cover(canvas: Canvas, figure: Place, numbers: Numbers, occlusion: float) -> None:
    """A bar across the figure, from one edge of the image to another."""
    draw = numbers.between
    place = Place(
        figure.x + figure.radius * draw(-0.6, 0.6, "cover x"),
        figure.y + figure.radius * draw(-0.6, 0.6, "cover y"),
        figure.radius,
        draw(-math.pi, math.pi, "cover turn"),
    )
    half_width = occlusion * draw(0.3, 0.6, "cover width")
    colours = rgb(
        draw(0, 1, "cover hue"),
        draw(0, 0.5, "cover saturation"),
        draw(0, 1, "cover brightness"),
    )
    canvas.paint(lambda x, y: np.abs(x) - half_width, place, colours)


def _light(canvas: Canvas, numbers: Numbers, illumination: float) -> Floats:
    """What each pixel is multiplied by, (n, 3, size, size)."""
    draw = numbers.between
    turn = draw(0, 2 * math.pi, "light turn")
    along = np.cos(turn) * canvas.x + np.sin(turn) * canvas.y
    strength = np.exp(illumination * draw(-1.1, 0.4, "light strength"))
    shade = strength * (1 + 0.5 * illumination * along)
    tint = [1 + illumination * draw(-0.2, 0.2, f"light {i}") for i in range(3)]
    return shade[:, np.newaxis] * np.stack(tint, axis=1)
