"""How many kernels an operation of CuPy launches, and whether it waits for the device.

One, where nothing else is said here. Sources are files of CuPy 14; where those hand over to a
library (cuBLAS, Thrust, CUB, cuSOLVER) that launches several kernels, the count is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SCAN_CHUNK = 512  # _core/_routines_math.pyx: scan

Cost = Callable[..., int]


def scan(size: int) -> int:
    """A running sum: one kernel for a chunk; else sums of chunks, their scan, and the chunks
    themselves (_core/_routines_math.pyx: scan)."""
    return 1 if size <= SCAN_CHUNK else 2 + scan(-(-size // SCAN_CHUNK))


def matmul(a: np.ndarray, b: np.ndarray, *_: Any, **__: Any) -> int:
    """One product. A matrix that is contiguous neither by rows nor by columns is copied first
    (_core/_routines_linalg.pyx: _mat_to_cublas_contiguous), so are stacks that are not by rows
    (matmul: ascontiguousarray), and what has another dtype than the product."""
    dtype = np.result_type(a, b)
    copies = 0
    for x in (a, b):
        ready = x.flags.c_contiguous or (max(a.ndim, b.ndim) <= 2 and x.flags.f_contiguous)
        copies += not ready or x.dtype != dtype
    return 1 + copies


def joined(arrays: Any, *_: Any, **__: Any) -> int:
    """A copy for each array; one kernel for more than eight, small and of one dtype
    (_core/_routines_manipulation.pyx: _concatenate)."""
    arrays = list(arrays)
    total = sum(x.nbytes for x in arrays)
    small = total < 2 * 1024 * 1024 * len(arrays)
    alike = len({x.dtype for x in arrays}) == 1
    return 1 if len(arrays) > 8 and small and alike else len(arrays)


def along_axis(a: np.ndarray, *_: Any, **__: Any) -> int:
    """A range for every other axis, zeros, one kernel an axis that adds up positions, and the
    reading itself (_indexing/indexing.py: take_along_axis; _routines_indexing.pyx:
    _prepare_multiple_array_indexing)."""
    return 2 * a.ndim + 1


def mean(a: np.ndarray, *_: Any, **__: Any) -> int:
    """A sum by CUB and a division, and for integers a cast (_routines_statistics.pyx:
    _ndarray_mean)."""
    return 2 if a.dtype.kind == "f" else 3


def nonzero(a: np.ndarray, *_: Any, **__: Any) -> int:
    """A comparison unless it is a mask, a scan, and a kernel that writes positions
    (_routines_indexing.pyx: _ndarray_argwhere)."""
    return (a.dtype != bool) + scan(a.size) + 1


def cumulated(a: np.ndarray, *_: Any, **__: Any) -> int:
    """A copy in the dtype of the sum, and a scan (_core/_routines_math.pyx: scan_core)."""
    return 1 + scan(a.size if a.ndim == 1 else a.shape[-1])


COSTS: dict[str, int | Cost] = {
    "matmul": matmul,
    "dot": matmul,
    "concatenate": joined,
    "concat": joined,
    "stack": joined,  # concatenates views: _manipulation/join.py
    "hstack": joined,
    "vstack": joined,
    "take_along_axis": along_axis,
    "mean": mean,
    "var": lambda a, *_, **__: mean(a) + 1,  # the mean, and one reduction: _var
    "std": lambda a, *_, **__: mean(a) + 2,  # and a square root: _std
    "ptp": 3,  # max, min, difference: _ndarray_ptp
    "nonzero": nonzero,
    "argwhere": nonzero,
    "flatnonzero": nonzero,
    "cumsum": cumulated,
    "cumprod": cumulated,
    "argsort": 4,  # a copy, positions, keys, a sort: _routines_sorting.pyx: _ndarray_argsort
    "sort": 4,  # a copy, keys, a sort: _sorting/sort.py, _ndarray_sort
    "lexsort": 4,
    "argpartition": 8,  # with its temporaries: _routines_sorting.pyx, from line 218
    "partition": 6,  # _ndarray_partition: halves are merged in turns
    "bincount": 6,  # x < 0, any, max, zeros, counts: _statistics/histogram.py
    "searchsorted": 2,  # zeros, and the search: _sorting/search.py
    "eye": 2,  # zeros, and the diagonal: _creation/basic.py
    "unique": 8,  # sort, compare, mask: _manipulation/add_remove.py
    "einsum": 3,  # linalg/_einsum.py: transposes, products, sums
    "pad": 6,  # _padding/pad.py: zeros, the middle, and a border a side
    "roll": 4,  # _manipulation/rearrange.py
    "eigh": 3,  # a copy, the solver, a cast: linalg/_eigenvalue.py
    "qr": 4,  # a copy, the factors, and both parts: linalg/_decomposition.py
    "svd": 3,
}

# These wait for the device: their result's shape, or a check, is read on the host.
WAITS: dict[str, int] = {
    "nonzero": 1,  # "synchronize!" in _ndarray_argwhere
    "argwhere": 1,
    "flatnonzero": 1,
    "unique": 1,
    "unique_values": 1,
    "unique_counts": 1,
    "unique_inverse": 1,
    "unique_all": 1,
    "extract": 1,
    "compress": 1,
    "setdiff1d": 1,
    "intersect1d": 1,
    "union1d": 1,
    "bincount": 2,  # "synchronize!" twice in _statistics/histogram.py
    "histogram": 2,
    "eigh": 1,  # cuSOLVER works in the host's memory too: _syevd, work_host
    "eigvalsh": 1,
    "svd": 1,
}


def launches(name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> int:
    """For this call, of host arrays."""
    cost = COSTS.get(name, 1)
    return cost if isinstance(cost, int) else cost(*args, **keywords)
