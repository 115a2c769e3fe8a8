"""Direct distances of candidates, without an array of their rows: direct.cu."""

from __future__ import annotations

import numpy as np

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import i32, i64, kernel, launch, on_its_card

THREADS = 256
PIXELS = {"float32": "float", "uint8": "unsigned char", "float64": "double"}


def fits(queries: Array, points: Array) -> bool:
    """Whether there is a kernel for such rows."""
    xp = namespace_of(queries, points)
    known = [getattr(xp, name) for name in PIXELS]
    return queries.dtype == points.dtype and points.dtype in known and points.flags.c_contiguous


@on_its_card
def direct_keys(
    queries: Array, points: Array, candidates: Array, kind: str, factor: float
) -> Array:
    """Sums of |q - p| ("l1") or (q - p)^2 ("l2") of each query and its candidates: (n, m) float64.

    queries (n, D), points (N, D), candidates (n, m) int64. factor : by which rows are multiplied.
    """
    xp, device = namespace_of(queries, points, candidates), device_of(queries, points)
    n, m = candidates.shape
    keys = xp.empty((n, m), dtype=xp.float64, device=device)
    if n * m == 0:
        return keys
    name = next(name for name in PIXELS if points.dtype == getattr(xp, name))
    function = kernel("direct", "direct_keys", (f"-DPIXEL={PIXELS[name]}",))
    args = (xp.ascontiguousarray(queries), points, xp.ascontiguousarray(candidates), keys)
    numbers = (i64(n * m), i32(m), i32(points.shape[1]), np.float64(factor), i32(kind == "l2"))
    launch(function, (-(-n * m // (THREADS // 32)),), THREADS, (*args, *numbers))
    return keys
