"""The one room that knows NumPy and CuPy: selection, transfers, missing operations, random draws.

Algorithms in `xpcls` take their namespace from the arrays they are given and call these functions
for the rest.
"""

from ._candidates import SmallestEntries
from ._convolution import convolve, convolve_backward
from ._histograms import Histograms, color_kernel, gradient_kernel, tile_histograms
from ._host import as_array, column_names, label_codes, object_array
from ._linear import LinearTask, linear_descent, linear_objective, linear_scores
from ._losses import mean_loss
from ._minima import sums_of_minima
from ._ops import (
    add_scaled,
    bincount,
    elementwise_block_bytes,
    flatnonzero,
    gather,
    is_small_integer,
    one_hot,
    product,
    replace_rows,
    row_blocks,
    rows_within,
    scratch_bytes,
    sign,
    smallest_k,
    smallest_k_unordered,
    sort_rows_by,
    update_blocks,
    widest_float,
)
from ._place import (
    Array,
    Device,
    Namespace,
    device_name,
    device_of,
    ignore_overflow,
    is_array,
    like,
    namespace_of,
    to_device,
    to_host,
    to_itemsize,
    to_scalar,
)
from ._pooling import (
    largest_of_windows,
    largest_of_windows_backward,
    to_fill,
    windows_of,
)
from ._products import multiplies_in_tf32, row_dots
from ._random import HostGenerator, Seed, choice, counter_bits, host_generator
from ._rectified import rectified, rectified_backward
from ._search import RowSearch, candidate_keys, halved_budget, row_search
from ._select import Backend, BackendUnavailable, get_backend, usable, why_not
from ._stream import prefetch_to_device
from ._tables import MISSING, masked_column
from ._threads import hot_loop, in_threads, one_thread_products, share_rows, thread_count
from ._updates import StepRule, moved
from .kernels import hear_compiling

__all__ = [
    "MISSING",
    "Array",
    "Backend",
    "BackendUnavailable",
    "Device",
    "Histograms",
    "HostGenerator",
    "LinearTask",
    "Namespace",
    "RowSearch",
    "Seed",
    "SmallestEntries",
    "StepRule",
    "add_scaled",
    "as_array",
    "bincount",
    "candidate_keys",
    "choice",
    "color_kernel",
    "column_names",
    "convolve",
    "convolve_backward",
    "counter_bits",
    "device_name",
    "device_of",
    "elementwise_block_bytes",
    "flatnonzero",
    "gather",
    "get_backend",
    "gradient_kernel",
    "halved_budget",
    "hear_compiling",
    "host_generator",
    "hot_loop",
    "ignore_overflow",
    "in_threads",
    "is_array",
    "is_small_integer",
    "label_codes",
    "largest_of_windows",
    "largest_of_windows_backward",
    "like",
    "linear_descent",
    "linear_objective",
    "linear_scores",
    "masked_column",
    "mean_loss",
    "moved",
    "multiplies_in_tf32",
    "namespace_of",
    "object_array",
    "one_hot",
    "one_thread_products",
    "prefetch_to_device",
    "product",
    "rectified",
    "rectified_backward",
    "replace_rows",
    "row_blocks",
    "row_dots",
    "row_search",
    "rows_within",
    "scratch_bytes",
    "share_rows",
    "sign",
    "smallest_k",
    "smallest_k_unordered",
    "sort_rows_by",
    "sums_of_minima",
    "thread_count",
    "tile_histograms",
    "to_device",
    "to_fill",
    "to_host",
    "to_itemsize",
    "to_scalar",
    "update_blocks",
    "usable",
    "why_not",
    "widest_float",
    "windows_of",
]
