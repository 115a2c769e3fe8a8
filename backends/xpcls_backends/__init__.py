"""The one room that knows NumPy and CuPy: selection, transfers, missing operations, random draws.

Algorithms in `xpcls` take their namespace from the arrays they are given and call these functions
for the rest.
"""

from ._convolution import convolve, convolve_backward
from ._host import as_array, column_names, label_codes, object_array
from ._ops import (
    add_scaled,
    bincount,
    elementwise_block_bytes,
    flatnonzero,
    gather,
    is_small_integer,
    one_hot,
    replace_rows,
    row_blocks,
    rows_within,
    scratch_bytes,
    smallest_k,
    smallest_k_unordered,
    sort_rows_by,
    tile_histograms,
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
    to_scalar,
)
from ._random import HostGenerator, Seed, choice, counter_bits, host_generator
from ._select import Backend, BackendUnavailable, get_backend, usable, why_not
from ._tables import MISSING, masked_column
from ._threads import in_threads, one_thread_products, thread_count

__all__ = [
    "MISSING",
    "Array",
    "Backend",
    "BackendUnavailable",
    "Device",
    "HostGenerator",
    "Namespace",
    "Seed",
    "add_scaled",
    "as_array",
    "bincount",
    "choice",
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
    "host_generator",
    "ignore_overflow",
    "in_threads",
    "is_array",
    "is_small_integer",
    "label_codes",
    "like",
    "masked_column",
    "namespace_of",
    "object_array",
    "one_hot",
    "one_thread_products",
    "replace_rows",
    "row_blocks",
    "rows_within",
    "scratch_bytes",
    "smallest_k",
    "smallest_k_unordered",
    "sort_rows_by",
    "thread_count",
    "tile_histograms",
    "to_device",
    "to_host",
    "to_scalar",
    "update_blocks",
    "usable",
    "why_not",
    "widest_float",
]
