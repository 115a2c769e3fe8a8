"""Random numbers are drawn on the host, so that one seed means one run on every device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._place import Array, is_array, namespace_of, to_host

Seed = Any  # None, an int, a numpy Generator, or numpy's older RandomState
HostGenerator = np.random.Generator


def host_generator(seed: Seed) -> np.random.Generator:
    """A `numpy.random.Generator`: `seed` itself where it is one, else made from it.

    None draws a fresh seed from the operating system.
    """
    if isinstance(seed, np.random.RandomState):
        return np.random.default_rng(seed.randint(2**31))
    if isinstance(seed, bool) or not (
        seed is None or isinstance(seed, int | np.integer | np.random.Generator)
    ):
        raise TypeError(
            f"random_state is {seed!r}, expected None, an integer or a numpy.random.Generator"
        )
    if isinstance(seed, int | np.integer) and seed < 0:
        raise ValueError(f"random_state is {seed}, expected 0 or more")
    return np.random.default_rng(seed)


def choice(
    a: Array | int,
    size: int | tuple[int, ...] | None = None,
    replace: bool = True,
    p: Any = None,
    *,
    random_state: Seed = None,
) -> Any:
    """Draw from `a`, or from 0 .. a-1 where `a` is an integer, as `numpy.random.choice` does.

    The positions are drawn on the host, so every device draws the same ones. Where `a` is an
    array, the draw is an array of its namespace and device, its rows chosen along the first axis;
    where it is an integer, a NumPy array. `size=None` draws one entry, not an array of one.
    """
    n = a.shape[0] if is_array(a) else int(a)
    weights = None if p is None else to_host(p)
    drawn = host_generator(random_state).choice(n, size=size, replace=replace, p=weights)
    if not is_array(a):
        return drawn
    xp = namespace_of(a)
    if size is None:
        return a[int(drawn), ...]
    positions = xp.asarray(np.reshape(drawn, (-1,)), device=a.device)
    return xp.reshape(xp.take(a, positions, axis=0), (*np.shape(drawn), *a.shape[1:]))
