"""Small data sets in the plane, and what a classifier makes of the plane."""

from __future__ import annotations

import math
from typing import Any

from xpcls_backends import Backend, HostGenerator, namespace_of, to_host

from ._claim import floats

Limits = tuple[float, float, float, float]
CELLS = 72  # along each side of a picture of regions


def moons(n: int, noise: float, generator: HostGenerator) -> tuple[Any, Any]:
    """Two half circles, one in the hollow of the other: points (n, 2) and classes (n,), host."""
    labels = generator.integers(0, 2, n)
    angles = generator.uniform(0.0, math.pi, n)
    host = namespace_of(angles)
    x = host.where(labels == 0, host.cos(angles), 1.0 - host.cos(angles))
    y = host.where(labels == 0, host.sin(angles), 0.5 - host.sin(angles))
    return host.stack([x, y], axis=1) + noise * generator.standard_normal((n, 2)), labels


def regions(model: Any, limits: Limits, backend: Backend) -> Any:
    """What a classifier says of each cell of the plane: (CELLS, CELLS) host, bottom row first."""
    left, right, bottom, top = limits
    host = namespace_of(to_host([]))
    shares = (host.arange(CELLS, device="cpu") + 0.5) / CELLS
    x, y = host.meshgrid(left + (right - left) * shares, bottom + (top - bottom) * shares)
    points = host.stack([host.reshape(x, (-1,)), host.reshape(y, (-1,))], axis=1)
    return to_host(model.predict(floats(points, backend))).reshape(CELLS, CELLS)


def of_classes(points: Any, labels: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The points of each class, by its name, as `xpcls.plots.plane` takes them."""
    return {name: points[labels == code] for code, name in enumerate(names)}
