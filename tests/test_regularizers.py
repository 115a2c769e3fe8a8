"""Penalties and their gradients: by loops, by differences, and what they prefer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference
from xpcls.regularizers import elastic_net, l1, l2, shrink
from xpcls_backends import Backend, device_of, to_host, widest_float
from xpcls_backends.testing import forbid_host_reads


def floats_of(backend: Backend) -> tuple[str, ...]:
    wide = widest_float(backend.xp, backend.device) == backend.xp.float64
    return ("float32", "float64") if wide else ("float32",)


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 5)),
    strength=st.sampled_from((0.0, 1e-4, 0.1, 3.0)),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_loops(
    backend: Backend, shape: tuple[int, int], strength: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    host = rng.normal(size=shape).astype("float32")
    host[rng.random(shape) < 0.3] = 0
    for dtype in floats_of(backend):
        weights = backend.asarray(host.astype(dtype))
        rtol = 1e-13 if dtype == "float64" else 2e-6
        with forbid_host_reads():
            found = [l2(weights, strength), l1(weights, strength)]
            found.append(elastic_net(weights, strength, 0.5))
        expected = [reference.l2(host, strength), reference.l1(host, strength)]
        half = reference.l1(host, 0.5)
        expected.append((expected[0][0] + half[0], expected[0][1] + half[1]))
        for (value, gradient), (truth, of_weights) in zip(found, expected, strict=True):
            assert value.shape == () and value.dtype == gradient.dtype == weights.dtype
            assert device_of(value, gradient) == backend.device
            np.testing.assert_allclose(to_host(value), truth, rtol=rtol)
            np.testing.assert_allclose(to_host(gradient), of_weights, rtol=rtol)


def test_gradients_are_central_differences() -> None:
    weights = np.asarray([[0.5, -1.25], [2.0, -0.1]])  # away from 0, where L1 has its kink
    h = 1e-6
    for penalty in (l2, l1, lambda w, strength: elastic_net(w, strength, 0.3)):
        _, gradient = penalty(weights, 0.7)
        for where in np.ndindex(*weights.shape):
            ends = []
            for step in (h, -h):
                moved = weights.copy()
                moved[where] += step
                ends.append(float(penalty(moved, 0.7)[0]))
            assert abs((ends[0] - ends[1]) / (2 * h) - gradient[where]) < 1e-8


def test_l2_prefers_many_small_weights_to_one_large(backend: Backend) -> None:
    # The lecture's example: both give the same score for x = (1, 1, 1, 1).
    one = backend.asarray(np.asarray([1.0, 0, 0, 0], dtype="float32"))
    many = backend.asarray(np.asarray([0.25, 0.25, 0.25, 0.25], dtype="float32"))
    assert [float(to_host(l2(w, 1.0)[0])) for w in (one, many)] == [1.0, 0.25]
    assert [float(to_host(l1(w, 1.0)[0])) for w in (one, many)] == [1.0, 1.0]


def test_the_subgradient_of_l1_is_0_at_0(backend: Backend) -> None:
    weights = backend.asarray(np.asarray([-2.0, 0.0, 3.0], dtype="float32"))
    assert to_host(l1(weights, 0.5)[1]).tolist() == [-0.5, 0, 0.5]


def test_shrinking_stops_at_0(backend: Backend) -> None:
    host = np.asarray([[-2.0, -0.5, -0.25], [0.0, 0.5, 3.0]], dtype="float32")
    for dtype in floats_of(backend):
        weights = backend.asarray(host.astype(dtype))
        with forbid_host_reads():
            shrunk = shrink(weights, 0.5)
        assert shrunk.dtype == weights.dtype and device_of(shrunk) == backend.device
        assert to_host(shrunk).tolist() == [[-1.5, 0, 0], [0, 0, 2.5]]
        assert to_host(shrink(weights, 0.0)).tolist() == host.tolist()
    assert host[0, 0] == -2.0  # nothing is changed in place


@pytest.mark.parametrize("threshold", [0.1, 0.7])
def test_shrinking_is_the_proximal_step(threshold: float) -> None:
    # It minimises (x - w)^2 / 2 + threshold |x|: no other point is better.
    others = np.linspace(-3, 3, 6001)
    for w in (-1.3, -0.4, 0.05, 0.7, 2.0):
        x = float(shrink(np.asarray([w]), threshold)[0])
        cost = (others - w) ** 2 / 2 + threshold * np.abs(others)
        assert (x - w) ** 2 / 2 + threshold * abs(x) <= cost.min() + 1e-12
