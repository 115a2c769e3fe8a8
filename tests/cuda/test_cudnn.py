"""Convolution by cuDNN: on a card that has it, else by what stands in for it (fakecupy/cudnn.py).

What the real library makes of our graphs, without a card, is in test_cudnn_plans.py.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import reference_networks as reference
from tests.cuda import fakecupy
from xpcls import ConvNetClassifier, cli
from xpcls_backends import Backend, convolve, convolve_backward, to_host
from xpcls_backends.kernels import asking_for_kernels
from xpcls_backends.kernels.cuda import cudnn
from xpcls_backends.testing import forbid_host_reads

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
stand_in = pytest.mark.skipif(not fakecupy.installed(), reason="asks the stand-in what it was told")
STEP = 69  # launches of a step of a ConvNet, at most; by im2col they are 72
FLOAT32 = 3e-5  # of the largest number; TF32 is off by more than 1e-4


def operands(x: Any, w: Any, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=x).astype("float32"), rng.normal(size=w).astype("float32")


def all_three(card: Backend, x: Any, w: Any, g: Any, stride: Any, padding: Any, way: Any) -> Any:
    """y, dx and dw, on the host."""
    with forbid_host_reads():
        y, kept = convolve(card.asarray(x), card.asarray(w), stride, padding, way)
        dx, dw = convolve_backward(kept, card.asarray(g))
    assert way is None or kept.method == way
    return [to_host(found) for found in (y, dx, dw)]


def assert_same(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32 and one.flags.c_contiguous
        size = np.abs(other).max(initial=1.0)
        np.testing.assert_allclose(one, other, rtol=FLOAT32, atol=FLOAT32 * size)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9)),
    channels=st.integers(1, 7),
    filters=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    n_filters=st.integers(1, 7),
    stride=pairs,
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_any_shape_is_that_of_the_plain_way(
    cudnn_there: Any,
    card: Backend,
    shape: Any,
    channels: int,
    filters: Any,
    n_filters: int,
    stride: Any,
    padding: Any,
) -> None:
    padding = tuple(max(p, k - n) for p, k, n in zip(padding, filters, shape[1:], strict=True))
    x, w = operands((*shape, channels), (*filters, channels, n_filters))
    y = reference.convolution(x.astype(float), w.astype(float), stride, padding)
    g = np.random.default_rng(1).normal(size=y.shape).astype("float32")
    found = all_three(card, x, w, g, stride, padding, "cudnn")
    assert_same(found[:1], [y])
    with asking_for_kernels(False):
        assert_same(found, all_three(card, x, w, g, stride, padding, "im2col"))


SIZES = [
    ((5, 16, 15, 3), (3, 3, 3, 32), (1, 1), (1, 1)),
    ((4, 17, 17, 32), (3, 3, 32, 33), (1, 1), (1, 1)),
    ((4, 14, 14, 16), (1, 1, 16, 48), (1, 1), (0, 0)),
    ((3, 19, 18, 1), (5, 4, 1, 9), (2, 3), (2, 0)),
]


def off_by(card: Backend, x: Any, w: Any, stride: Any, padding: Any) -> list[float]:
    """The largest error of y, dx and dw where each is a sum of one number of 24 bits, times 1."""
    images, _ = operands(x, w)
    one = np.zeros(w, "float32")
    one[w[0] // 2, w[1] // 2, 0, 0] = 1.0
    y, kept = convolve(card.asarray(images), card.asarray(one), stride, padding, "cudnn")
    g = np.random.default_rng(3).normal(size=y.shape).astype("float32")
    dx, _ = convolve_backward(kept, card.asarray(g), wants_w=False)
    single = np.zeros_like(g)
    single[1, 2, 2, 0] = 1.0
    _, dw = convolve_backward(kept, card.asarray(single), wants_x=False)
    found = [to_host(a).astype(float) for a in (y, dx, dw)]
    with asking_for_kernels(False):
        plain, kept = convolve(card.asarray(images), card.asarray(one), stride, padding, "im2col")
        dx, _ = convolve_backward(kept, card.asarray(g), wants_w=False)
        _, dw = convolve_backward(kept, card.asarray(single), wants_x=False)
    expected = [to_host(a).astype(float) for a in (plain, dx, dw)]
    return [np.abs(a - b).max() for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize(("x", "w", "stride", "padding"), SIZES)
def test_numbers_keep_their_bits(
    cudnn_there: Any, card: Backend, x: Any, w: Any, stride: Any, padding: Any
) -> None:
    assert max(off_by(card, x, w, stride, padding)) < FLOAT32


@stand_in
def test_that_it_would_be_seen_if_they_lost_them(
    cudnn_there: Any, card: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cudnn, "REFUSED", ("DOWN_CONVERT_INPUTS",))
    for errors in (off_by(card, *sizes) for sizes in SIZES):
        assert min(errors) > 5 * FLOAT32


def test_it_is_taken_where_it_can_be_used(cudnn_there: Any, card: Backend) -> None:
    x, w = (card.asarray(a) for a in operands((2, 6, 7, 3), (3, 3, 3, 4)))
    assert convolve(x, w)[1].method == "cudnn"
    with asking_for_kernels(False):
        assert convolve(x, w)[1].method == "im2col"
        with pytest.raises(ValueError, match="kernels are off: unset XPCLS_KERNELS"):
            convolve(x, w, method="cudnn")
    xp = card.xp
    assert convolve(xp.astype(x, xp.float64), xp.astype(w, xp.float64))[1].method == "im2col"
    with pytest.raises(ValueError, match="takes float32, and the arrays are float32 and float64"):
        convolve(x, xp.astype(w, xp.float64), method="cudnn")


@pytest.mark.parametrize(("x", "w"), [((0, 5, 6, 3), (3, 3, 3, 2)), ((2, 5, 6, 0), (3, 3, 0, 2))])
def test_nothing_is_convolved_by_the_plain_way(
    cudnn_there: Any, card: Backend, x: Any, w: Any
) -> None:
    images, filters = operands(x, w)
    g = np.ones((x[0], 3, 4, w[3]), "float32")
    y, dx, dw = all_three(card, images, filters, g, (1, 1), (0, 0), None)
    assert y.shape == g.shape and dx.shape == x and dw.shape == w
    assert not y.any() and not dx.any() and not dw.any()
    with pytest.raises(ValueError, match="but it takes arrays that are not empty"):
        convolve(card.asarray(images), card.asarray(filters), method="cudnn")


def test_any_order_and_any_address_are_taken(cudnn_there: Any, card: Backend) -> None:
    x, w = operands((3, 5, 7, 3), (2, 2, 3, 5))
    g = np.random.default_rng(2).normal(size=(2, 4, 6, 5)).astype("float32")
    expected = all_three(card, x[1:], w, g, (1, 1), (0, 0), "cudnn")
    later = card.asarray(x)[1:, ...]
    assert later.data.ptr % cudnn.ALIGNED
    xp = card.xp
    turned = xp.permute_dims(xp.permute_dims(later, (1, 2, 0, 3)) * 1, (2, 0, 1, 3))
    filters = xp.permute_dims(card.asarray(np.ascontiguousarray(w.T)), (3, 2, 1, 0))
    gradient = xp.permute_dims(card.asarray(np.ascontiguousarray(g.T)), (3, 2, 1, 0))
    for images in (later, turned):
        y, kept = convolve(images, filters, method="cudnn")
        found = (y, *convolve_backward(kept, gradient))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(to_host(one), other)


def test_one_gradient_is_as_good_as_two(cudnn_there: Any, card: Backend) -> None:
    x, w = (card.asarray(a) for a in operands((2, 6, 7, 3), (3, 3, 3, 4)))
    y, kept = convolve(x, w, (2, 1), (1, 1), "cudnn")
    both = convolve_backward(kept, y)
    dx, none = convolve_backward(kept, y, wants_w=False)
    nothing, dw = convolve_backward(kept, y, wants_x=False)
    assert none is None and nothing is None
    for one, other in zip((dx, dw), both, strict=True):  # the same bits at each run
        np.testing.assert_array_equal(to_host(one), to_host(other))


@stand_in
def test_a_shape_is_planned_once(cudnn_there: Any, card: Backend) -> None:
    made = cudnn_there.built
    for n, planned in ((2, 3), (2, 3), (3, 6), (2, 6)):
        x, w = (card.asarray(a) for a in operands((n, 6, 7, 3), (3, 3, 3, 4)))
        y, kept = convolve(x, w)
        convolve_backward(kept, y)
        assert len(made) == planned
    convolve(x, w, padding=(1, 0))
    convolve(x, w, stride=(1, 2))
    assert made == [*cudnn.OPERATIONS] * 4


@stand_in
@pytest.mark.parametrize("operation", cudnn.OPERATIONS)
def test_a_shape_without_a_plan_goes_the_plain_way(
    cudnn_there: Any, card: Backend, operation: str
) -> None:
    x, w = operands((2, 6, 7, 3), (3, 3, 3, 4))
    g = np.ones((2, 4, 5, 4), "float32")
    cudnn_there.declined.add(operation)
    found = all_three(card, x, w, g, (1, 1), (0, 0), None)
    told = list(cudnn_there.built)
    assert_same(found, all_three(card, x, w, g, (1, 1), (0, 0), "im2col"))
    with pytest.raises(
        ValueError, match=r"it has no plan for \(2, 6, 7, 3\) .*support the graph\)"
    ):
        all_three(card, x, w, g, (1, 1), (0, 0), "cudnn")
    assert cudnn_there.built == told  # it was asked once


@stand_in
def test_it_runs_on_the_current_stream(cudnn_there: Any, card: Backend) -> None:
    import cupy

    x, w = (card.asarray(a) for a in operands((2, 6, 7, 3), (3, 3, 3, 4)))
    expected = to_host(convolve(x, w, method="cudnn")[0])
    with cupy.cuda.Stream(non_blocking=True):
        found = convolve(x, w, method="cudnn")[0]
    np.testing.assert_array_equal(to_host(found), expected)


@stand_in
def test_why_it_is_not_used_is_said_with_what_to_type(
    cudnn_there: Any, card: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = (card.asarray(a) for a in operands((2, 6, 7, 3), (3, 3, 3, 4)))
    assert cudnn.why_none() is None

    def said() -> str:
        assert convolve(x, w)[1].method == "im2col"
        with pytest.raises(ValueError, match="method is 'cudnn', but ") as raised:
            convolve(x, w, method="cudnn")
        assert str(raised.value).endswith(f"but {cudnn.why_none()}")
        return str(cudnn.why_none())

    monkeypatch.setenv(cudnn.SWITCH, "off")
    assert said() == "XPCLS_CUDNN is off: unset it"
    monkeypatch.delenv(cudnn.SWITCH)

    def no_library() -> None:
        raise RuntimeError("Unable to find symbol: cudnnCreate\nmore")

    monkeypatch.setattr(cudnn_there, "create_handle", no_library)
    monkeypatch.setattr(cudnn, "_handles", cudnn._Handles())
    cudnn._trouble.cache_clear()
    remedy = "pip install nvidia-cudnn-frontend nvidia-cudnn-cu13"
    assert said() == f"cuDNN does not load (Unable to find symbol, cudnnCreate): {remedy}"
    monkeypatch.setitem(sys.modules, "cudnn", None)
    cudnn._trouble.cache_clear()
    assert said() == f"cuDNN is not installed: {remedy}"


@stand_in
def test_memory_that_is_out_is_asked_for_again(
    cudnn_there: Any, card: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = (card.asarray(a) for a in operands((2, 6, 7, 3), (3, 3, 3, 4)))

    def no_memory() -> None:
        raise RuntimeError("CUDNN_STATUS_ALLOC_FAILED")

    with monkeypatch.context() as patch:
        patch.setattr(cudnn_there, "create_handle", no_memory)
        patch.setattr(cudnn, "_handles", cudnn._Handles())
        cudnn._trouble.cache_clear()
        assert convolve(x, w)[1].method == "im2col"
        with pytest.raises(ValueError, match="cuDNN found no memory for itself"):
            convolve(x, w, method="cudnn")
    assert convolve(x, w)[1].method == "cudnn"


@stand_in
def test_a_step_of_training_launches_fewer_kernels(cudnn_there: Any, card: Backend) -> None:
    """Counted as in test_budgets.py: what another step takes, a call of cuDNN's being one."""
    rng = np.random.default_rng(0)
    X = card.asarray(rng.random((7 * 8, 8, 8, 3)).astype("float32"))
    y = card.asarray(np.arange(7 * 8) % 3)

    def spent(steps: int) -> fakecupy.Trace:
        model = ConvNetClassifier(epochs=2, batch_size=8, random_state=0, learning_rate=1e-3)
        with fakecupy.trace() as t:
            model.fit(X[: 8 * steps, ...], y[: 8 * steps])
        return t

    short, long = spent(3), spent(7)
    assert (long.launches - short.launches) / 8 <= STEP
    convolved = [name for name in long.names if name.startswith("cudnn")]
    assert set(convolved) == {f"cudnn {name}" for name in cudnn.OPERATIONS}
    assert (long.syncs, long.to_host, long.to_device) == (
        short.syncs,
        short.to_host,
        short.to_device,
    )


@stand_in
def test_devices_says_whether_it_is_there(
    cudnn_there: Any,
    card: Backend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def row() -> str:
        assert cli.run(["devices", "--no-measure"]) == 0
        (line,) = re.findall(r"^cudnn .*$", capsys.readouterr().out, re.MULTILINE)
        return re.sub(" *│ *", "|", line).rstrip()

    assert row() == "cudnn|yes|cuda, cuDNN 9.28.1|"
    monkeypatch.setenv(cudnn.SWITCH, "off")
    assert row() == "cudnn|no|XPCLS_CUDNN is off|unset it"
    monkeypatch.setenv("XPCLS_KERNELS", "off")
    monkeypatch.delenv(cudnn.SWITCH)
    assert row() == "cudnn|no|XPCLS_KERNELS is off|unset it"


def test_on_numpy_it_is_refused() -> None:
    x, w = operands((2, 6, 7, 3), (3, 3, 3, 4))
    assert convolve(x, w)[1].method == "im2col"
    with pytest.raises(ValueError, match="method is 'cudnn', but it takes arrays on a CUDA card"):
        convolve(x, w, method="cudnn")
