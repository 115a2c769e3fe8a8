"""Draws come from the host, so a seed means the same draws on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference_networks
from xpcls_backends import (
    Backend,
    choice,
    counter_bits,
    device_of,
    get_backend,
    host_generator,
    namespace_of,
    to_host,
)
from xpcls_backends.testing import assert_close, forbid_host_reads


@given(st.integers(0, 2**63))
def test_one_seed_is_one_stream(seed: int) -> None:
    expected = np.random.default_rng(seed).random(3)
    np.testing.assert_array_equal(host_generator(seed).random(3), expected)
    np.testing.assert_array_equal(host_generator(np.uint64(seed)).random(3), expected)


def test_a_generator_goes_on_where_it_was() -> None:
    generator = np.random.default_rng(1)
    assert host_generator(generator) is generator
    old = [host_generator(np.random.RandomState(1)).random() for _ in range(2)]
    assert old[0] == old[1]


def test_none_is_a_fresh_seed_each_time() -> None:
    assert host_generator(None).random(4).tolist() != host_generator(None).random(4).tolist()


@pytest.mark.parametrize("seed", [True, 1.0, "1", [1]])
def test_what_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(TypeError, match=r"random_state is .* expected None, an integer or"):
        host_generator(seed)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="random_state is -1, expected 0 or more"):
        host_generator(-1)


@given(st.integers(0, 2**16), st.one_of(st.integers(0, 5), st.tuples(st.just(2), st.just(3))))
def test_every_backend_draws_the_same_rows(
    backend: Backend, seed: int, size: int | tuple[int, ...]
) -> None:
    rows = np.arange(21, dtype=np.float32).reshape(7, 3)
    positions = np.random.default_rng(seed).choice(7, size=size)
    with forbid_host_reads():
        drawn = choice(backend.asarray(rows), size, random_state=seed)
    assert_close(drawn, backend.asarray(rows[positions]))


def test_one_draw_is_no_array_of_one(backend: Backend) -> None:
    x = backend.asarray(np.asarray([4.0, 5.0], dtype=np.float32))
    drawn = choice(x, random_state=0)
    assert drawn.shape == ()
    assert namespace_of(drawn) is backend.xp and device_of(drawn) == backend.device
    assert choice(x, 1, random_state=0).shape == (1,)


def test_probabilities_may_live_on_the_device(backend: Backend) -> None:
    x = backend.asarray([10, 20, 30])
    p = backend.asarray([0.0, 0.0, 1.0], "float32")
    with forbid_host_reads():
        drawn = choice(x, 8, p=p, random_state=0)
    assert to_host(drawn).tolist() == [30] * 8


# SplitMix64's published output for the seed 0, each number cut in two, the low half first.
PUBLISHED = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC)


def test_bits_of_key_0_are_the_published_ones(backend: Backend) -> None:
    bits = counter_bits(backend.xp, backend.device, 0, 0, 8)
    assert bits.dtype == backend.xp.uint32
    halves = [half for word in PUBLISHED for half in (word & 0xFFFFFFFF, word >> 32)]
    assert to_host(bits).tolist() == halves


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(0, 9))
def test_bits_depend_on_key_and_place_alone(backend: Backend, key: int, start: int, n: int) -> None:
    with forbid_host_reads():
        bits = counter_bits(backend.xp, backend.device, key, start, n)
    expected = [reference_networks.counter_bits(key, start + i) for i in range(n)]
    assert to_host(bits).tolist() == expected


def test_bits_are_evenly_spread_and_keys_are_apart() -> None:
    cpu = get_backend("numpy")
    streams = [counter_bits(cpu.xp, cpu.device, key, 0, 40_000) for key in range(4)]
    for bits in streams:
        share = np.unpackbits(bits.view(np.uint8)).mean()
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(32 * 40_000)
    assert len(set(np.concatenate(streams).tolist())) > 4 * 40_000 - 20  # few by chance
