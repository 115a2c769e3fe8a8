"""The rectified sum with a bias, and its gradients, in one pass each."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcls_backends._rectified import in_memory_order, like_memory

from ._compile import compiled

HostArray = np.ndarray[Any, Any]

ADDED_ROWS = 128


def rectified(x: HostArray, b: HostArray) -> HostArray:
    """See `rectified` of _rectified.py; likewise below."""
    z: HostArray = like_memory(np, x)
    _forward(_rows(x, x), np.ascontiguousarray(b), _rows(z, x))
    return z


def rectified_backward(z: HostArray, g: HostArray) -> tuple[HostArray, HostArray]:
    dx, db = like_memory(np, z), np.zeros(z.shape[-1], z.dtype)
    _backward(_rows(z, z), _rows(g, z), _rows(dx, z), db)
    return dx, db


def _rows(images: HostArray, x: HostArray) -> HostArray:
    """(..., C), in the order in which x lies in memory, as (rows, C)."""
    if in_memory_order(np, x) is not x:
        images = images.transpose(1, 2, 0, 3)
    return np.ascontiguousarray(images).reshape(-1, x.shape[-1])


@compiled()
def _forward(x: HostArray, b: HostArray, z: HostArray) -> None:
    rows, channels = x.shape
    nothing = b.dtype.type(0)
    for i in range(rows):
        given, found = x[i], z[i]
        for c in range(channels):
            total = given[c] + b[c]
            found[c] = total if (total > nothing) | (total != total) else nothing


@compiled()
def _backward(z: HostArray, g: HostArray, dx: HostArray, db: HostArray) -> None:
    rows, channels = z.shape
    one, nothing = db.dtype.type(1), db.dtype.type(0)
    part = np.zeros_like(db)  # of some rows: fewer numbers are added to a large one
    for first in range(0, rows, ADDED_ROWS):
        part[:] = nothing
        for i in range(first, min(first + ADDED_ROWS, rows)):
            value, given, found = z[i], g[i], dx[i]
            for c in range(channels):
                found[c] = given[c] * (one if value[c] > nothing else value[c])  # 0 or NaN
                part[c] += found[c]
        for c in range(channels):
            db[c] += part[c]
