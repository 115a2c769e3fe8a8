"""Direct distances of candidates, without an array of their rows: direct.cu.

`settled` takes what a scan in float32 found. Of each query its m smallest keys are candidates, in
order, and a point with the key v has a direct distance of at least slope * v + offset. So has a
point that is no candidate, whose key is at least the largest of those.
"""

from __future__ import annotations

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import f64, i32, kernel, launch, on_its_card
from .smallest import smallest

THREADS = 256
PIXELS = {"float32": "float", "uint8": "unsigned char", "float64": "double"}
AT_FIRST = 4  # candidates beside k whose direct distances tell which of the others matter


def fits(queries: Array, points: Array) -> bool:
    """Whether there is a kernel for such rows."""
    known = points.dtype.name in PIXELS and points.flags.c_contiguous
    return known and bool(queries.dtype == points.dtype)


@on_its_card
def direct_keys(
    queries: Array, points: Array, candidates: Array, kind: str, factor: float
) -> Array:
    """Sums of |q - p| ("l1") or (q - p)^2 ("l2") of each query and its candidates: (n, m) float64.

    queries (n, D), points (N, D), candidates (n, m) int64. factor : by which rows are multiplied.
    """
    xp, device = namespace_of(queries, points, candidates), device_of(queries, points)
    keys = xp.empty(candidates.shape, dtype=xp.float64, device=device)
    rows = (xp.ascontiguousarray(queries), points, xp.ascontiguousarray(candidates))
    _fill(keys, rows, kind, factor, (0, candidates.shape[1]))
    return keys


@on_its_card
def settled(
    queries: Array,
    points: Array,
    scanned: tuple[Array, Array],
    k: int,
    kind: str,
    slope: float,
    offsets: Array,
) -> tuple[Array, Array, Array]:
    """Keys (n, k) float64 and rows of the k nearest candidates, ties to the lowest row, and
    whether no other point can be as near, (n,).

    scanned : float32 keys and rows (n, m), m >= k, of the candidates, as said above.
    offsets : (n,) float64.
    """
    xp, device = namespace_of(queries, points), device_of(queries, points)
    values, columns = scanned
    n, m = columns.shape
    head = min(m, k + AT_FIRST)
    keys = xp.full((n, m), xp.inf, dtype=xp.float64, device=device)
    rows = (queries, points, columns)
    _fill(keys, rows, kind, 1.0, (0, head))
    best, found = smallest(keys, k, names=columns)
    if head < m:
        limits = xp.ascontiguousarray(best[:, k - 1])
        _fill(keys, rows, kind, 1.0, (head, m), (values, offsets, limits, f64(slope)))
        best, found = smallest(keys, k, names=columns)
    least = slope * xp.astype(values[:, m - 1], xp.float64) + offsets  # of all that was left out
    return best, found, least > best[:, k - 1]


def _fill(
    keys: Array,
    rows: tuple[Array, Array, Array],
    kind: str,
    factor: float,
    columns: tuple[int, int],
    within: tuple[object, ...] = (None, None, None, f64(0.0)),
) -> None:
    """Keys of candidates in these columns, all or those within limits. rows : queries, points and
    candidates, each as it lies in memory."""
    (n, m), (first, last) = keys.shape, columns
    pairs = n * (last - first)
    if pairs == 0:
        return
    points = rows[1]
    function = kernel("direct", "direct_keys", (f"-DPIXEL={PIXELS[points.dtype.name]}",))
    sizes = (i32(n), i32(m), i32(first), i32(last), i32(points.shape[1]))
    numbers = (*sizes, f64(factor), i32(kind == "l2"))
    launch(function, (-(-pairs // (THREADS // 32)),), THREADS, (*rows, keys, *within, *numbers))
