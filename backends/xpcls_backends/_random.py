"""Random numbers are drawn on the host, so that one seed means one run on every device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._place import Array, Device, Namespace, is_array, namespace_of, to_host
from .kernels import has_cuda_kernels

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


def counter_bits(xp: Namespace, device: Device, key: int, start: int, n: int) -> Array:
    """Entries start .. start + n - 1 of an endless stream of random bits: (n,) uint32.

    The stream is named by `key`, 64 bits. Entry i depends on the key and on i alone, so any part
    can be drawn anywhere, on any device, in any order, and has the same bits.

    SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014): a
    counter in steps of an odd constant, and a mixing function. Each 64 bits give two entries.
    """
    seed = _mixed(key & _64_BITS)  # so that the streams of keys 1, 2, 3 do not overlap
    if has_cuda_kernels(xp):
        from .kernels.cuda import bits

        return bits.counter_bits(xp, device, seed, start, n)
    first, last = start // 2, (start + n + 1) // 2

    def constant(value: int) -> Array:
        return xp.asarray(value, dtype=xp.uint64, device=device)

    x = xp.arange(first + 1, last + 1, dtype=xp.uint64, device=device)
    x = x * constant(_GOLDEN)
    x = x + constant(seed)
    for shift, factor in _MIXING:
        x = xp.bitwise_xor(x, xp.bitwise_right_shift(x, constant(shift)))
        x = x * constant(factor)
    x = xp.bitwise_xor(x, xp.bitwise_right_shift(x, constant(_LAST_SHIFT)))
    low = xp.astype(xp.bitwise_and(x, constant(2**32 - 1)), xp.uint32)
    high = xp.astype(xp.bitwise_right_shift(x, constant(32)), xp.uint32)
    both = xp.reshape(xp.stack((low, high), axis=1), (-1,))
    return both[start - 2 * first : start - 2 * first + n]


_64_BITS = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio, made odd
_MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31


def _mixed(x: int) -> int:
    """SplitMix64's mixing function of one number."""
    for shift, factor in _MIXING:
        x = (x ^ (x >> shift)) * factor & _64_BITS
    return x ^ (x >> _LAST_SHIFT)
