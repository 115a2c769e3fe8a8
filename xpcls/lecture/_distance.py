"""Claims about the two distances."""

from __future__ import annotations

import math
from typing import Any

from xpcls.distances import nearest, pairwise
from xpcls.plots import Picture, images, plane
from xpcls_backends import Array, Backend, HostGenerator, namespace_of, to_host, to_scalar

from ._claim import Finding, at_least, at_most, claim, floats, wide_name, within

AREAS = {"l1": 2.0, "l2": math.pi}  # of the unit balls in the plane
TURNED = 8  # dimensions in which points are rotated
FARTHEST = 6  # pixels, down and across, that an image is shifted by
CENTRE = (0.25, -0.5)  # of the balls; float32 holds it, and the raster around it, exactly
CORNERS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


@claim("unit-balls", "The L1 unit ball is a square on its tip, the L2 ball a circle")
def unit_balls(backend: Backend, generator: HostGenerator) -> Finding:
    """All points at distance 1 from a centre: two shapes for two distances.

        L1:  |x| + |y| = 1          four straight edges between (1, 0), (0, 1), (-1, 0), (0, -1)
        L2:  sqrt(x^2 + y^2) = 1    the circle

    with x and y counted from the centre, (0.25, -0.5), so that signs and differences count.
    Measured: the distance of points on each outline, drawn as a geometer would, by edges and
    angles; and, over a fine raster of the plane, whether distance <= 1 holds for just the points
    inside the outline. No point of the raster lies on an outline. Nothing is random.
    """
    side = 64
    places = [(i + 0.5) * 3.0 / side - 1.5 for i in range(side)]
    raster = [(x, y) for y in places for x in places]
    inside = {
        "l1": [x + y <= 1 and x - y <= 1 and y - x <= 1 and -x - y <= 1 for x, y in raster],
        "l2": [math.hypot(x, y) <= 1 for x, y in raster],
    }
    shapes = {"l1": _moved(_square()), "l2": _moved(_circle())}
    centre, cells = floats([CENTRE], backend), floats(_moved(raster), backend)
    rows, assertions = [], []
    for metric, outline in shapes.items():
        on = _flat(pairwise(centre, floats(outline, backend), metric))
        away = max(abs(distance - 1.0) for distance in on)
        found = [distance <= 1.0 for distance in _flat(pairwise(centre, cells, metric))]
        wrong = sum(a != b for a, b in zip(found, inside[metric], strict=True))
        area = sum(found) * 9.0 / side**2
        rows.append((metric, away, wrong, area, AREAS[metric]))
        assertions += [
            at_most(f"{metric}: the largest |distance - 1| on the outline", away, 1e-6),
            at_most(f"{metric}: points on the wrong side of the outline", wrong, 0),
            within(
                f"{metric}: area of the ball / {AREAS[metric]:.4g}",
                area / AREAS[metric],
                0.98,
                1.02,
            ),
        ]
    return Finding(
        sentences=(
            f"Of {side**2} points around {CENTRE}, those within L1 distance 1 are those in the "
            f"square on its tip, with {rows[0][2]} exceptions (area {rows[0][3]:.3f}), those "
            f"within L2 distance 1 those in the circle, with {rows[1][2]} exceptions (area "
            f"{rows[1][3]:.3f}).",
            "On the outlines themselves both distances are 1, to "
            f"{max(rows[0][1], rows[1][1]):.1g}.",
        ),
        headings=("metric", "largest |distance - 1|", "on the wrong side", "area", "true area"),
        rows=tuple(rows),
        assertions=tuple(assertions),
        draw=lambda: plane(
            {"the centre": [CENTRE]},
            outlines={"L1, a square on its tip": shapes["l1"], "L2, a circle": shapes["l2"]},
            title="All points at distance 1 from the centre",
            x_label="x",
            y_label="y",
            width=440,
        ),
    )


def _moved(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points around the origin, moved to lie around the centre."""
    return [(CENTRE[0] + x, CENTRE[1] + y) for x, y in points]


def _square() -> list[tuple[float, float]]:
    """Points along the four edges between the corners."""
    points = []
    for (x, y), (to_x, to_y) in zip(CORNERS, (*CORNERS[1:], CORNERS[0]), strict=True):
        steps = [i / 32 for i in range(32)]
        points += [(x + t * (to_x - x), y + t * (to_y - y)) for t in steps]
    return points


def _circle() -> list[tuple[float, float]]:
    angles = [2.0 * math.pi * i / 128 for i in range(128)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


@claim("rotation", "L1 depends on the axes, L2 does not")
def rotation(backend: Backend, generator: HostGenerator) -> Finding:
    """Turning all points about the origin changes L1 distances and neighbours, not those of L2.

        |Q a - Q b|_2 = |a - b|_2    for every orthogonal Q; not so for |.|_1

    Measured: all distances from 100 points to 300 others, and the five nearest, before and after
    a random rotation, drawn as the Q of the QR decomposition of a normal matrix; that distances
    are those of the formulas, by differences in float64; and that the five nearest are those with
    the five smallest distances.
    """
    points = generator.standard_normal((300, TURNED))
    queries = generator.standard_normal((100, TURNED))
    host = namespace_of(points)
    turn, _ = host.linalg.qr(generator.standard_normal((TURNED, TURNED)))
    gaps = queries[:, None, :] - points[None, :, :]
    formulas = {"l1": abs(gaps).sum(axis=2), "l2": host.sqrt((gaps**2).sum(axis=2))}
    rows, assertions, seen = [], [], {}
    for metric, formula in formulas.items():
        before, after = (
            (pairwise(q, p, metric), nearest(q, p, 5, metric)[1])
            for q, p in (
                (floats(queries, backend), floats(points, backend)),
                (floats(queries @ turn, backend), floats(points @ turn, backend)),
            )
        )
        xp = backend.xp
        change = xp.abs(after[0] - before[0]) / before[0]
        mean, most = float(to_scalar(xp.mean(change))), float(to_scalar(xp.max(change)))
        kept = _same_sets(before[1], after[1])
        known = to_host(before[0]).astype("float64")
        away, least = float(abs(known / formula - 1.0).max()), _least(known, before[1])
        rows.append((metric, mean, most, kept))
        seen[metric] = to_host(xp.stack([before[0][:, 0], after[0][:, 0]], axis=1))
        if metric == "l2":
            assertions += [
                at_most("l2: the largest relative change of a distance", most, 1e-5),
                at_least("l2: share of points with the same five neighbours", kept, 0.99),
            ]
        else:
            assertions += [
                at_least("l1: the mean relative change of a distance", mean, 0.03),
                at_most("l1: share of points with the same five neighbours", kept, 0.5),
            ]
        assertions += [
            at_most(f"{metric}: the largest |distance / the formula's - 1|", away, 1e-5),
            at_most(f"{metric}: the five nearest / the five smallest distances - 1", least, 1e-5),
        ]
    (_, l1_mean, _, l1_kept), (_, _, l2_most, l2_kept) = rows
    return Finding(
        sentences=(
            f"A random rotation in {TURNED} dimensions changes L1 distances by "
            f"{l1_mean:.1%} on average, and L2 distances by no more than {l2_most:.1g} of "
            "themselves.",
            f"Of 100 points {l2_kept:.0%} keep their five nearest neighbours under L2, and "
            f"{l1_kept:.0%} under L1.",
        ),
        headings=("metric", "mean change", "largest change", "same five neighbours"),
        rows=tuple(rows),
        assertions=tuple(assertions),
        draw=lambda: plane(
            {"L1": seen["l1"], "L2": seen["l2"]},
            title="Distances before and after a rotation",
            x_label="before",
            y_label="after",
            width=440,
        ),
    )


def _least(distances: Any, chosen: Array) -> float:
    """The largest |distance of a chosen point / the smallest of its row in its place - 1|."""
    pairs = [
        (sorted(row[i] for i in indices), sorted(row)[: len(indices)])
        for row, indices in zip(distances.tolist(), to_host(chosen).tolist(), strict=True)
    ]
    away: list[float] = [abs(a / b - 1.0) for p in pairs for a, b in zip(*p, strict=True)]
    return max(away)


def _same_sets(before: Array, after: Array) -> float:
    """The share of rows that hold the same indices, in any order."""
    pairs = zip(to_host(before).tolist(), to_host(after).tolist(), strict=True)
    same = [set(a) == set(b) for a, b in pairs]
    return sum(same) / len(same)


@claim("equal-distance", "Images that look nothing alike can be equally far from one image")
def equal_distance(backend: Backend, generator: HostGenerator) -> Finding:
    """A shifted, a boxed and a tinted version of an image, all at one L2 distance from it.

    Each change leads from the image x to another one, c; mixed in with the amplitude a the
    distance grows in proportion,

        |x + a (c - x) - x| = a |c - x|,    so a = r / |c - x| puts it at distance r

    Half a shift would be two images in one, so the shift is whole, a = 1, and r is its |c - x|;
    box and tint are solved for. Of the shifts by up to 6 pixels each way, around the edges, it is
    the farthest whose r is no more than |c - x| of box and tint, so that no pixel leaves its
    range. Measured with `pairwise`: that the three L2 distances are equal, while the L1 distances,
    the share of pixels that changed, and the distances of the three to each other say how
    different they are.
    """
    from xpcls.data import make_shapes

    drawn = make_shapes(
        10, occlusion=0.0, clutter=0.2, illumination=0.1, noise=0.0, random_state=generator
    )
    image = drawn.images[int(generator.integers(10))].astype("float64")
    host = namespace_of(image)
    solved = {
        "boxed": _boxed(image),
        "tinted": 0.0 * image + host.asarray([40.0, 90.0, 255.0], device="cpu"),
    }
    lengths = {name: _apart(c, image) for name, c in solved.items()}
    shift, shifted = _farthest_shift(image, min(lengths.values()))
    radius = _apart(shifted, image)
    versions = {"shifted": shifted}
    versions |= {n: image + radius / lengths[n] * (c - image) for n, c in solved.items()}
    rows_of = floats([v.reshape(-1) for v in (image, *versions.values())], backend, wide=True)
    to_image = {
        metric: _flat(pairwise(rows_of[:1, :], rows_of[1:, :], metric)) for metric in ("l1", "l2")
    }
    among = to_host(pairwise(rows_of[1:, :], rows_of[1:, :])).tolist()
    closest = min(among[i][j] for i in range(3) for j in range(i))
    shares = [float((abs(v - image).max(axis=2) > 12).mean()) for v in versions.values()]
    l2, l1 = to_image["l2"], to_image["l1"]
    spread = max(l2) / min(l2) - 1.0
    exact = 1e-6 if wide_name(backend) == "float64" else 1e-5
    rows = tuple((name, l2[i], l1[i], shares[i]) for i, name in enumerate(versions))
    return Finding(
        sentences=(
            f"The image shifted by {shift[0]} and {shift[1]} pixels, the boxed and the tinted one "
            f"are at L2 distance {l2[0]:.1f} from the original, and differ from that by "
            f"{spread:.1g} of it at most.",
            f"Yet {min(shares):.0%} of the pixels changed visibly in one and {max(shares):.0%} in "
            f"another, L1 distances differ by a factor of {max(l1) / min(l1):.1f}, and any two of "
            f"the three are {closest / l2[0]:.2f} times as far apart as that, or more.",
        ),
        headings=("version", "L2 to the original", "L1 to the original", "pixels changed"),
        rows=rows,
        assertions=(
            at_least("the pixels that the image is shifted by", math.hypot(*shift), 2),
            at_most("the relative difference of the L2 distances", spread, exact),
            at_most("|L2 distance / the distance aimed at - 1|", abs(l2[0] / radius - 1.0), exact),
            at_least("the largest L1 distance / the smallest", max(l1) / min(l1), 1.3),
            at_least(
                "the share of changed pixels: the largest - the smallest",
                max(shares) - min(shares),
                0.3,
            ),
            at_least(
                "the least distance between two versions / that to the original",
                closest / l2[0],
                0.7,
            ),
        ),
        draw=lambda: _side_by_side(image, versions, l2),
    )


def _apart(a: Any, b: Any) -> float:
    """The L2 distance of two images on the host, by differences."""
    return math.sqrt(float(((a - b) ** 2).sum()))


def _farthest_shift(image: Any, most: float) -> tuple[tuple[int, int], Any]:
    """The farthest shift, down and across, that leads no farther than `most`, and its image."""
    host = namespace_of(image)
    steps = range(FARTHEST + 1)
    shifts = [(down, across) for down in steps for across in steps]
    for shift in sorted(shifts, key=lambda shift: -math.hypot(*shift)):
        shifted = host.roll(image, shift, axis=(0, 1))
        if _apart(shifted, image) <= most:
            break
    return shift, shifted  # the last of them is none at all


def _boxed(image: Any) -> Any:
    """The image with a box over its middle, dark or light: whichever leads farther."""
    height, width, _ = image.shape
    boxes = [image + 0.0, image + 0.0]
    for boxed, shade in zip(boxes, (15.0, 240.0), strict=True):
        boxed[height // 4 : -(height // 4), width // 4 : -(width // 4), :] = shade
    return max(boxes, key=lambda boxed: _apart(boxed, image))


def _side_by_side(image: Any, versions: dict[str, Any], l2: list[float]) -> Picture:
    host = namespace_of(image)
    shown = [host.round(version).astype("uint8") for version in (image, *versions.values())]
    captions = ["the original", *(f"{n}, L2 {d:.1f}" for n, d in zip(versions, l2, strict=True))]
    return images(shown, captions, title="Equally far from the original", size=160)


def _flat(x: Array) -> list[float]:
    """All numbers of an array on the host."""
    found: list[float] = to_host(x).reshape(-1).tolist()
    return found
