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
CORNERS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


@claim("unit-balls", "The L1 unit ball is a square on its tip, the L2 ball a circle")
def unit_balls(backend: Backend, generator: HostGenerator) -> Finding:
    """All points at distance 1 from the origin: two shapes for two distances.

        L1:  |x| + |y| = 1          four straight edges between (1, 0), (0, 1), (-1, 0), (0, -1)
        L2:  sqrt(x^2 + y^2) = 1    the circle

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
    shapes = {"l1": _square(), "l2": _circle()}
    origin, cells = floats([(0.0, 0.0)], backend), floats(raster, backend)
    rows, assertions = [], []
    for metric, outline in shapes.items():
        on = _flat(pairwise(origin, floats(outline, backend), metric))
        away = max(abs(distance - 1.0) for distance in on)
        found = [distance <= 1.0 for distance in _flat(pairwise(origin, cells, metric))]
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
            f"Of {side**2} points around the origin, L1 puts just those within distance 1 that lie "
            f"in the square on its tip (area {rows[0][3]:.3f}), L2 those in the circle (area "
            f"{rows[1][3]:.3f}).",
            "On the outlines themselves both distances are 1, to "
            f"{max(rows[0][1], rows[1][1]):.1g}.",
        ),
        headings=("metric", "largest |distance - 1|", "on the wrong side", "area", "true area"),
        rows=tuple(rows),
        assertions=tuple(assertions),
        draw=lambda: plane(
            outlines={"L1: |x| + |y| = 1": shapes["l1"], "L2: x² + y² = 1": shapes["l2"]},
            title="All points at distance 1 from the origin",
            x_label="x",
            y_label="y",
            width=440,
        ),
    )


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
    a random rotation, drawn as the Q of the QR decomposition of a normal matrix.
    """
    points = generator.standard_normal((300, TURNED))
    queries = generator.standard_normal((100, TURNED))
    host = namespace_of(points)
    turn, _ = host.linalg.qr(generator.standard_normal((TURNED, TURNED)))
    rows, assertions, seen = [], [], {}
    for metric in ("l1", "l2"):
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
    (_, l1_mean, _, l1_kept), (_, _, l2_most, l2_kept) = rows
    return Finding(
        sentences=(
            f"A random rotation in {TURNED} dimensions changes L1 distances by "
            f"{l1_mean:.1%} on average, and L2 distances by no more than {l2_most:.1g} of "
            "themselves, which is rounding.",
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

    r is the smallest |c - x| of the three, so that no pixel leaves its range. Measured with
    `pairwise`: that the three L2 distances are equal, while the L1 distances, the share of pixels
    that changed, and the distances of the three to each other say how different they are.
    """
    from xpcls.data import make_shapes

    drawn = make_shapes(
        10, occlusion=0.0, clutter=0.2, illumination=0.1, noise=0.0, random_state=generator
    )
    image = drawn.images[int(generator.integers(10))].astype("float64")
    host = namespace_of(image)
    changed = {
        "shifted": host.roll(image, (3, 4), axis=(0, 1)),
        "boxed": _boxed(image),
        "tinted": 0.0 * image + host.asarray([40.0, 90.0, 255.0], device="cpu"),
    }
    lengths = {name: math.sqrt(float(((c - image) ** 2).sum())) for name, c in changed.items()}
    radius = min(lengths.values())
    versions = {n: image + radius / lengths[n] * (c - image) for n, c in changed.items()}
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
            f"The shifted, the boxed and the tinted image are all at L2 distance {l2[0]:.1f} from "
            f"the original, and differ from that by {spread:.1g} of it at most.",
            f"Yet {min(shares):.0%} of the pixels changed visibly in one and {max(shares):.0%} in "
            f"another, L1 distances differ by a factor of {max(l1) / min(l1):.1f}, and any two of "
            f"the three are {closest / l2[0]:.2f} times as far apart as that, or more.",
        ),
        headings=("version", "L2 to the original", "L1 to the original", "pixels changed"),
        rows=rows,
        assertions=(
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


def _boxed(image: Any) -> Any:
    """The image with a dark box over its middle."""
    boxed = image + 0.0
    height, width, _ = image.shape
    boxed[height // 4 : -(height // 4), width // 4 : -(width // 4), :] = 15.0
    return boxed


def _side_by_side(image: Any, versions: dict[str, Any], l2: list[float]) -> Picture:
    host = namespace_of(image)
    shown = [host.round(version).astype("uint8") for version in (image, *versions.values())]
    captions = ["the original", *(f"{n}, L2 {d:.1f}" for n, d in zip(versions, l2, strict=True))]
    return images(shown, captions, title="Equally far from the original", size=160)


def _flat(x: Array) -> list[float]:
    """All numbers of an array on the host."""
    found: list[float] = to_host(x).reshape(-1).tolist()
    return found
