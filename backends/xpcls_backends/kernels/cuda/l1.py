"""L1 distances of all pairs of rows: l1.cu, and l1_few.cu for few of them on the left."""

from __future__ import annotations

import numpy as np

from xpcls_backends._place import Array, device_of, namespace_of, to_itemsize

from ._module import i32, kernel, launch, on_its_card

TILE, THREADS = 128, 256
VECTOR = 16  # bytes; rows are read in so many at once
# Of l1_few.cu: how many rows a at once, what a warp adds up of each, and up to how many rows a, by
# the count of instructions, it takes half of the time of a tile.
QUERIES, SUMS, FEW = (1, 2, 4, 8), 32, 32
LONGEST = 2**23  # features of bytes, whose sums fit into 32 bits


@on_its_card
def l1(a: Array, b: Array) -> Array:
    """Sums of |a - b| over the features, (n_a, n_b): int32 of uint8 rows, float32 of float32.

    a (n_a, D), b (n_b, D), of one dtype. Floats are added up in one order, which is another where
    there are few rows a.
    """
    xp, device = namespace_of(a, b), device_of(a, b)
    of_bytes = a.dtype == xp.uint8
    out_dtype = xp.int32 if of_bytes else xp.float32
    out = xp.empty((a.shape[0], b.shape[0]), dtype=out_dtype, device=device)
    if out.size == 0:
        return out
    a, b = whole_vectors(a), whole_vectors(b)
    vectors = a.shape[1] * to_itemsize(a) // VECTOR
    args = (a, b, out, i32(a.shape[0]), i32(b.shape[0]), i32(vectors))
    word = "u8" if of_bytes else "f32"
    if a.shape[0] <= FEW:
        queries = next(q for q in QUERIES if a.shape[0] <= q or q == QUERIES[-1])
        points = min(8, SUMS // queries)
        groups = -(-a.shape[0] // queries)
        blocks = -(-b.shape[0] // (points * THREADS // 32))
        function = kernel("l1_few", f"l1_few_{word}", (f"-DQUERIES={queries}",))
        launch(function, (groups * blocks,), THREADS, (*args, np.uint32(groups)))
    else:
        tiles = -(-a.shape[0] // TILE) * -(-b.shape[0] // TILE)
        launch(kernel("l1", f"l1_{word}"), (tiles,), THREADS, args)
    return out


def whole_vectors(x: Array) -> Array:
    """Rows of whole vectors, filled up with 0, each where a vector may begin; x where it is so."""
    width = copied_bytes(x)
    if width == 0:
        return x
    xp, device = namespace_of(x), device_of(x)
    filled = xp.zeros((x.shape[0], width // to_itemsize(x)), dtype=x.dtype, device=device)
    filled[:, : x.shape[1]] = x
    return filled


def copied_bytes(x: Array) -> int:
    """Of each row that `whole_vectors` copies; 0 where it copies none."""
    width = x.shape[1] * to_itemsize(x)
    whole = width % VECTOR == 0 and x.flags.c_contiguous and x.data.ptr % VECTOR == 0
    return 0 if whole else -(-width // VECTOR) * VECTOR
