"""The kernel that searches nearest rows, where there is one, and what to do when memory is out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import array_api_compat

from ._place import Array, Namespace, namespace_of
from ._threads import thread_count
from .kernels import has_cuda_kernels, has_kernels

WORTH = 2**26  # products; for fewer, plain NumPy takes some milliseconds
LEAST_BUDGET = 2**16
# Where codes of the points are made for one search, it takes so many queries to gain by them.
FEWEST_QUERIES = {"uint8": 16, "float32": 128}


class RowSearch(Protocol):
    """Points made ready for one metric; see kernels/cpu/neighbors.py, kernels/cuda/neighbors.py."""

    def search(
        self,
        queries: Array,
        k: int,
        budget: int,
        found: tuple[Array, Array],
        tell: Callable[[float], None],
        *,
        root: bool,
    ) -> Array:
        """Fill distances and indices (n, k); the positions (some,) of queries left out.

        root : distances are square roots of what L2 sums.
        """

    def plan(self, n_queries: int, k: int, budget: int, dtype: object) -> dict[str, Any] | None:
        """How a search would be cut, in words and numbers; None where it would not be done."""


def row_search(
    queries: Array, points: Array, kind: str, keep: bool, made: RowSearch | None
) -> RowSearch | None:
    """A kernel's search in `points`; None where there is none, or plain operations are as fast.

    queries (n, D), points (N, D). kind : "l1" or "l2". keep : codes of the points are kept for
    more searches. made : what this gave for an earlier search in the same points, if anything.
    """
    xp = namespace_of(queries, points)
    dtypes = {x.dtype: name for name in FEWEST_QUERIES for x in (queries, points) if _is(x, name)}
    n, products = queries.shape[0], math.prod((queries.shape[0], *points.shape))
    if any(x.dtype not in dtypes for x in (queries, points)) or products == 0:
        return None
    if has_cuda_kernels(xp):
        from .kernels.cuda import neighbors

        if not neighbors.fits(queries, points, kind):
            return None
        return made or neighbors.RowSearch(points, kind == "l1", keep)
    enough = keep or n >= FEWEST_QUERIES[dtypes[points.dtype]]
    if not has_kernels(xp, worth=enough and products >= WORTH):
        return None
    if made is not None:
        return made
    from .kernels.cpu.neighbors import RowSearch as Kernel

    return Kernel(points, kind == "l1", keep, thread_count(xp))


def candidate_keys(
    queries: Array, points: Array, candidates: Array, kind: str, factor: float
) -> Array | None:
    """Direct sums of |q - p| ("l1") or (q - p)^2 ("l2"), (n, m) float64, of each query and its
    candidates; None where no kernel does it.

    queries (n, D), points (N, D), rows as they are, which are multiplied by `factor`;
    candidates (n, m) int64.
    """
    if not has_cuda_kernels(namespace_of(queries, points)):
        return None
    from .kernels.cuda import direct

    if not direct.fits(queries, points):
        return None
    return direct.direct_keys(queries, points, candidates, kind, factor)


def halved_budget(budget: int, xp: Namespace) -> int:
    """Half as many bytes, after a MemoryError; what the library holds back is freed.

    Raises MemoryError where that is hardly anything.
    """
    if budget < 2 * LEAST_BUDGET:
        raise MemoryError(
            f"memory ran out, and the search was down to {budget} bytes of scratch; close other "
            "programs, or search in fewer rows"
        )
    if array_api_compat.is_cupy_namespace(xp):
        xp.get_default_memory_pool().free_all_blocks()
    return budget // 2


def _is(x: Array, name: str) -> bool:
    same: bool = x.dtype == getattr(namespace_of(x), name)
    return same
