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
    a: Any,
    size: int | tuple[int, ...] | None = None,
    replace: bool = True,
    p: Any = None,
    *,
    random_state: Seed = None,
) -> Any:
    """Draw from `a`, or from 0 .. a-1 where `a` is an integer, as `numpy.random.choice` does.

    a : an integer, an array of any namespace, or a list or tuple.
    size : None draws one entry, which is no array of one; else a number or a shape.
    p : the probability of each entry, summing to 1; None for the same one each.

    The positions are drawn on the host, so every device draws the same ones. From an array come
    rows along its first axis, in its namespace and on its device; else a NumPy array.
    """
    array: Array = None if isinstance(a, int | np.integer) else a if is_array(a) else np.asarray(a)
    n = a if array is None else array.shape[0]
    weights = None if p is None else to_host(p)
    drawn = host_generator(random_state).choice(n, size=size, replace=replace, p=weights)
    if array is None:
        return drawn
    xp = namespace_of(array)
    if size is None:
        return array[int(drawn), ...]
    positions = xp.asarray(np.reshape(drawn, (-1,)), device=array.device)
    return xp.reshape(xp.take(array, positions, axis=0), (*np.shape(drawn), *array.shape[1:]))
