"""Random bits by counter, one launch for what plain operations take a dozen for."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcls_backends._place import Array, Device, Namespace

from ._module import i32, kernel, launch

THREADS = 256
MOST = 2**30  # entries of one launch


def counter_bits(xp: Namespace, device: Device, seed: int, start: int, n: int) -> Array:
    """Entries start .. start + n - 1, (n,) uint32, of the stream of this seed, 64 bits."""
    with device:
        out = xp.empty((n,), dtype=xp.uint32, device=device)
        function: Any = kernel("bits", "counter_bits")
        for first in range(0, n, MOST):
            part = out[first : first + MOST]
            args = (part, np.uint64(seed), np.uint64(start + first), i32(part.shape[0]))
            launch(function, (-(-part.shape[0] // THREADS),), THREADS, args)
    return out
