"""The stand-in for CuPy refuses what CuPy refuses, and counts what a GPU would be asked to do.

Needs `--backend fakecupy`: what is planted here are the mistakes that code for NumPy makes.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import pickle
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.cuda import fakecupy, simulator
from xpcls_backends import flatnonzero, get_backend, sign, to_host, to_scalar
from xpcls_backends.testing import forbid_host_reads

if not fakecupy.installed():
    pytest.skip("needs --backend fakecupy", allow_module_level=True)

import cupy

HOST = np.arange(12.0, dtype=np.float32).reshape(3, 4)
Made = SimpleNamespace


@pytest.fixture
def made() -> Made:
    """Arrays of the device: x (3, 4) float32, i (3,) int64, mask (3, 4); and the host's."""
    x = cupy.asarray(HOST)
    return Made(x=x, i=cupy.asarray([2, 0, 1]), mask=x > 5, h=HOST.copy())


# Mistakes, as text so that a failure names them: what CuPy raises, and of what.
REFUSED = {
    "arrays of two libraries": (TypeError, ("x + h", "h + x", "x == h", "cupy.maximum(x, h)")),
    "a NumPy function": (TypeError, ("np.asarray(x)", "np.exp(x)", "np.sum(x)", "np.array([x])")),
    "a NumPy array in a list": (TypeError, ("cupy.concatenate([x, h])", "cupy.stack([x, h])")),
    "numbers for an array": (
        TypeError,
        ("cupy.sum(3)", "cupy.mean([1, 2])", "cupy.dot(x, 2)", "x.dot(2)", "cupy.stack([x, 1])"),
    ),
    "a list for an array": (TypeError, ("cupy.sqrt([1.0])", "cupy.add(x, [1, 2, 3, 4])")),
    "keywords of NumPy's": (
        TypeError,
        (
            "cupy.add(x, x, where=True)",
            "x.sum(where=mask)",
            "cupy.sum(x, initial=0)",
            "cupy.take(x, i, mode='clip')",
            "cupy.argsort(x, stable=True)",
            "cupy.clip(x, min=0)",
            "cupy.reshape(x, shape=(4, 3))",
            "cupy.zeros(3, device='cpu')",
            "x.astype('f8', casting='unsafe')",
            "x.take(i, mode='clip')",
        ),
    ),
    "another sort": (ValueError, ("cupy.argsort(x, kind='quicksort')", "x.sort(kind='heapsort')")),
    "names that are not there": (
        AttributeError,
        (
            "cupy.vecdot",
            "cupy.unstack",
            "cupy.errstate",
            "cupy.einsum_path",
            "cupy.linalg.vector_norm",
            "x.ctypes",
            "x.to_device",
            "x.__array_namespace__",
            "x.__index__",
            "x.flags.writeable",
            "x.note = 1",
        ),
    ),
    "a range of an array": (TypeError, ("range(i[0])", "[1, 2, 3][i[0]]", "x[: i[0]]")),
    "truth of many": (ValueError, ("bool(x)", "if_(x > 1)")),
    "text and objects": (ValueError, ("cupy.asarray(['a'])", "cupy.zeros(3, 'O')")),
    "host rows in a view": (ValueError, ("x[0] = h[0]", "x[0] = [1, 2, 3, 4]")),
    "an array that would be copied": (AttributeError, ("x.T.shape = (12,)",)),
    "a view sorted in place": (NotImplementedError, ("x.T.sort()",)),
    "searchsorted in lists": (NotImplementedError, ("cupy.searchsorted(x[0], [1.0])",)),
    # CuPy says nothing here, and the answer is another, or any.
    "positions out of bounds": (
        IndexError,
        ("x[i + 1]", "cupy.take(x, i + 1, axis=0)", "x[i + 1] = 0", "cupy.put(x, i + 10, 0)"),
    ),
    "one place twice": (RuntimeError, ("x[i * 0] = 1", "x[i * 0, i * 0] += 1")),
    "other random streams": (RuntimeError, ("cupy.random.rand(3)", "cupy.random.seed(0)")),
    "numbers that do not fit": (
        FloatingPointError,
        ("(x * cupy.nan).astype('i4')", "(x * 1e20).astype('i4')"),
    ),
    "an error that CuPy keeps to itself": (RuntimeError, ("cupy.linalg.cholesky(-x[:, :3])",)),
    "kernels of other kinds": (
        NotImplementedError,
        ("cupy.ElementwiseKernel('T x', 'T y', 'y = x', 'f')", "cupy.ReductionKernel()"),
    ),
}


@pytest.mark.parametrize(
    ("mistake", "error"),
    [(mistake, error) for error, mistakes in REFUSED.values() for mistake in mistakes],
)
def test_mistakes_are_refused(made: Made, mistake: str, error: type[Exception]) -> None:
    names = {"cupy": cupy, "np": np, "if_": lambda x: 1 if x else 0, **vars(made)}
    with pytest.raises(error):
        exec(mistake, names)


def test_what_is_refused_only_with_reason(made: Made) -> None:
    """The mistakes' neighbours, which are none."""
    x, i = made.x, made.i
    x[i] = x[::-1]
    assert cupy.take(x, i - 3, axis=0).shape == (3, 4)  # from the end
    assert (x * 1e5).astype("i4").dtype == np.int32
    assert np.float64(2.0) * x is not None and (np.float32(2) + x).dtype == np.float32
    assert x.astype("f4", copy=False) is x
    cupy.add.at(x, (i * 0, i), 1.0)
    assert cupy.sqrt(2.0).shape == ()


# launches, waits, copies to the device and to the host
COSTS = {
    "x.T, x[1:], x[0, 1], x[None], x.reshape(-1), cupy.broadcast_to(x, (2, 3, 4))": (0, 0, 0, 0),
    "x.shape, len(x), x.dtype, x.device, cupy.result_type(x, i), list(x)": (0, 0, 0, 0),
    "x.astype('f4', copy=False), cupy.asarray(x), cupy.empty((3,))": (0, 0, 0, 0),
    "x + 1, -x, x > 2, cupy.exp(x)": (4, 0, 0, 0),
    "cupy.sum(x), x.max(axis=0), cupy.argmin(x, axis=1)": (3, 0, 0, 0),
    "x[1:1] + 1": (0, 0, 0, 0),  # CuPy launches nothing for no entries
    "x @ x.T": (1, 0, 0, 0),
    "x[:, ::2] @ x[:2, :3]": (3, 0, 0, 0),  # both are copied
    "cupy.mean(x), cupy.mean(i)": (5, 0, 0, 0),
    "x[i], cupy.take(x, i, axis=0)": (2, 0, 0, 0),
    "x[i, i]": (4, 0, 0, 0),
    "cupy.take_along_axis(x, i[:, None], axis=1)": (5, 0, 0, 0),
    "cupy.concatenate((x, x, x)), cupy.stack([x] * 9)": (4, 0, 0, 0),
    "cupy.zeros(3), cupy.arange(3), cupy.asarray(3.0)": (3, 0, 0, 0),
    "cupy.asarray(h), cupy.asarray([1, 2])": (0, 0, 2, 0),
    "x[[2, 0]], x[h[0, :2].astype(int)]": (2, 0, 2, 0),
    "float(x[0, 0]), int(i[0]), bool(x[0, 0] > 1)": (1, 3, 0, 3),
    "x.get(), x.tolist(), i[0].item(), str(x), cupy.asnumpy(x)": (0, 5, 0, 5),
    "x[mask]": (2, 1, 0, 1),
    "cupy.nonzero(mask)": (2, 1, 0, 1),
    "1.0 in x[0]": (2, 2, 0, 2),  # one question an entry, until it is there
    "cupy.bincount(i)": (6, 2, 0, 2),
    "cupy.cuda.Device().synchronize()": (0, 1, 0, 0),
    "x[1] = 3; x[0] = x[2]": (2, 0, 0, 0),
    "x[1:] += 1": (1, 0, 0, 0),  # what is added to is put where it is already
    "x[i] = 1.0": (2, 0, 0, 0),
    "x[mask] = 0.0": (3, 1, 0, 1),  # it is counted on the host how many they are
}


@pytest.mark.parametrize("code", COSTS)
def test_what_it_costs(made: Made, code: str) -> None:
    names = {"cupy": cupy, "np": np, **vars(made)}
    with fakecupy.trace() as t:
        exec(code, names)
    assert (t.launches, t.syncs, t.to_device, t.to_host) == COSTS[code], t.names


def test_traces_are_nested(made: Made) -> None:
    with fakecupy.trace() as outer:
        made.x + 1
        with fakecupy.trace() as inner:
            made.x.get()
    assert (outer.launches, outer.syncs) == (1, 1) and (inner.launches, inner.syncs) == (0, 1)
    assert outer.names == ["add", "wait: get()"]


HIDDEN = (
    "float(x[0, 0])",
    "x.sum() > 1 or 0",
    "x[mask]",
    "x[mask] = 0",
    "x.tolist()",
    "xp.sign(x)",
)


@pytest.mark.parametrize("code", (*HIDDEN, "xp.clip(x, 1.0, 2.0)", "x[0, 0].item()"))
def test_hidden_reads_are_forbidden(made: Made, code: str) -> None:
    names = {"xp": get_backend("cupy").xp, **vars(made)}
    with forbid_host_reads(), pytest.raises(AssertionError, match="hidden host read"):
        exec(code, names)
    exec(code, names)


def test_reads_that_are_seen_are_allowed(made: Made) -> None:
    with forbid_host_reads():
        assert to_host(made.x).tolist() == HOST.tolist() and to_scalar(made.x[0, 1]) == 1.0
        assert flatnonzero(made.mask).shape == (6,) and (sign(made.x) + 1).shape == (3, 4)


def test_entries_stay_on_the_device(made: Made) -> None:
    """Reductions and single entries are arrays, and an entry is a view."""
    x = made.x
    for found in (x.sum(), cupy.max(x), x[0, 1], x[0][1], cupy.count_nonzero(x), cupy.all(x)):
        assert isinstance(found, cupy.ndarray) and found.shape == ()
    x[0, 1][...] = 50.0
    assert float(x[0, 1]) == 50.0
    assert isinstance(cupy.array_equal(x, x), cupy.ndarray)
    assert type(x).__module__ == "cupy" and x.data.ptr != x[1].data.ptr


def test_memory_that_is_not_set_shows() -> None:
    assert cupy.isnan(cupy.empty((2, 2), "f4")).all()
    assert int(cupy.empty((1,), "i4")[0]) == 2**31 - 1
    assert cupy.isnan(cupy.empty_like(cupy.zeros(3))).all()


def test_orders_in_memory(made: Made) -> None:
    by_columns = made.x.T
    assert cupy.array(by_columns, order="C").flags.c_contiguous
    assert by_columns.copy().flags.c_contiguous and by_columns.astype("f8").flags.f_contiguous
    assert cupy.asarray(np.asfortranarray(HOST)).flags.f_contiguous
    assert cupy.asarray(by_columns) is by_columns
    assert cupy.ascontiguousarray(by_columns).flags.c_contiguous


def test_copies_are_copies(made: Made) -> None:
    for again in (copy.copy(made.x), copy.deepcopy(made.x), pickle.loads(pickle.dumps(made.x))):
        again[...] = 0
        assert made.x.tolist() == HOST.tolist()
    host = HOST.copy()
    on_device = cupy.asarray(host)
    host[...] = 0
    assert on_device.tolist() == HOST.tolist()


def test_nothing_warns_of_numbers(made: Made) -> None:
    """As on a GPU; what warns in a test run is an error."""
    with fakecupy.trace():
        found = (cupy.log(made.x - 1), made.x / 0, cupy.mean(made.x[:0]), made.x * 1e38)
    assert not any(bool(cupy.all(cupy.isfinite(x))) for x in found)


def test_array_api_compat_wraps_the_stand_in(made: Made) -> None:
    backend = get_backend("cupy")
    assert backend.xp.vecdot(made.x, made.x).shape == (3,)
    assert backend.device == made.x.device and backend.xp.float32 is np.float32
    with fakecupy.trace() as of_compat:
        backend.xp.sign(made.x)
    with fakecupy.trace() as ours:
        sign(made.x)
    assert of_compat.syncs == 1 and ours.syncs == 0


SOURCE = """
extern "C" __global__ void scaled(const float* x, float factor, int n, float* out) {
  const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = factor * x[i];
}
"""


@pytest.mark.skipif(simulator.why_none is not None, reason=str(simulator.why_none))
def test_a_kernel_from_source(made: Made) -> None:
    function = cupy.RawModule(code=SOURCE, options=("-std=c++17",)).get_function("scaled")
    out = cupy.empty((3, 4), "f4")
    args = (made.x, np.float32(2.0), np.int32(12), out)
    with fakecupy.trace() as t:
        function((2,), (8,), args)
    assert t.names == ["scaled"] and out.tolist() == (2 * HOST).tolist()
    with pytest.raises(TypeError):
        function((2,), (8,), (HOST, *args[1:]))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="shared memory"):
        function((2,), (8,), args, shared_mem=2**17)


def test_products_of_bytes() -> None:
    from cupy_backends.cuda.libs import cublas

    rng = np.random.default_rng(0)
    hosts = [rng.integers(-128, 128, (n, 8), dtype=np.int8) for n in (3, 8)]
    a, b = map(cupy.asarray, hosts)
    out = cupy.empty((3, 8), "i4")
    one, zero = np.array(1, np.int32), np.array(0, np.int32)

    def multiply(width: int, points: int) -> None:
        numbers = (one.ctypes.data, b.data.ptr, 3, width, a.data.ptr, 3, width, zero.ctypes.data)
        cublas.gemmEx(1, 1, 0, points, 3, 8, *numbers, out.data.ptr, 10, points, 72, -1)

    multiply(8, 8)
    assert out.tolist() == (hosts[0].astype(int) @ hosts[1].T.astype(int)).tolist()
    for width, points in ((9, 8), (8, 5)):
        with pytest.raises(RuntimeError, match="NOT_SUPPORTED"):
            multiply(width, points)


def test_without_a_wheel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    installing = sys.modules[fakecupy.install.__module__]
    monkeypatch.setattr(installing, "installed", lambda: False)
    monkeypatch.delitem(sys.modules, "array_api_compat.cupy", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --group cuda-checks"):
        fakecupy.install()


# The real CuPy answers these without a driver: its arrays are made around memory of the host,
# which no kernel ever reads.
ASKED = (
    *(mistake for kind in ("keywords of NumPy's", "another sort", "names that are not there")
      for mistake in REFUSED[kind][1]),
    *("bool(x)", "x.item()", "cupy.zeros(3, 'O')", "np.asarray(x)", "x.dot(2)", "cupy.dot(x, 2)"),
    *("cupy.sum(3)", "cupy.mean([1, 2])", "cupy.stack([x, 1])", "hash(x)", "range(x[0, 0])"),
    *("x[0] = h[0]", "x[0] = [1, 2, 3, 4]", "x.T.shape = (12,)", "x.T.sort()", "x[5]"),
    *("cupy.searchsorted(x, [1.0])", "cupy.sum(x, axis=7)", "cupy.broadcast_to(x, (3, 5))"),
    *("cupy.add(x)", "cupy.add(x, x, x, x)", "cupy.matmul(x, x, foo=1)", "cupy.add(x, x, foo=1)"),
    *("x[0, 0, 0]", "cupy.bincount(x)", "cupy.take_along_axis(x, x, axis=1)", "cupy.squeeze(x, 0)"),
    *("x.T", "x[1:, None]", "x[0, 1]", "x[np.int64(1)]", "x[::-1, ::2]", "x[..., 0]", "x.mT"),
    *("x.reshape(2, 6)", "x.reshape(-1)", "cupy.reshape(x, (4, 3))", "cupy.transpose(x, (1, 0))"),
    *("cupy.moveaxis(x, 0, 1)", "cupy.broadcast_to(x, (2, 3, 4))", "cupy.expand_dims(x, 0)"),
    *("cupy.flip(x, 0)", "cupy.squeeze(x[:1], 0)", "x.swapaxes(0, 1)", "cupy.diagonal(x)"),
    *("x.astype('f4', copy=False)", "x.view('i4')"),
    *("cupy.split(x, 3)[1]", "x.real", "x['a']"),
    *("len(x)", "x.flags.c_contiguous", "x.T.flags.f_contiguous", "x[:, 1:].flags.forc"),
    *("cupy.result_type(x, 1.0)", "cupy.isdtype(x.dtype, 'real floating')", "cupy.finfo(x.dtype)"),
    *("cupy.ndim(x)", "cupy.size(x)", "cupy.shape(x)", "cupy.may_share_memory(x, x.T)", "x.nbytes"),
)  # fmt: skip
REAL = """
import json, numpy as np, cupy
from cupy.cuda import memory
h = np.arange(12, dtype="f4").reshape(3, 4)
owned = memory.UnownedMemory(h.ctypes.data, h.nbytes, h, 0)
x = cupy.ndarray((3, 4), "f4", memory.MemoryPointer(owned, 0))
mask, i = x, x
"""
ANSWER = """
def answer(code, names):
    try:
        if " = " in code:
            exec(code, names)
            return "done"
        found = eval(code, names)
    except Exception as error:
        return type(error).__name__
    if type(found).__name__ == "ndarray":
        return [list(found.shape), str(found.dtype), list(found.strides)]
    return str(found)
"""


def test_the_real_one_answers_alike(fresh_python: Callable[..., str]) -> None:
    asked = f"print(json.dumps([answer(code, globals()) for code in {list(ASKED)!r}]))"
    real = json.loads(fresh_python(REAL + ANSWER + asked))
    names: dict[str, Any] = {"np": np, "cupy": cupy, "h": HOST, "x": cupy.asarray(HOST)}
    names |= {"mask": names["x"], "i": names["x"]}
    exec(ANSWER, names)
    answers = {code: names["answer"](code, names) for code in ASKED}
    # An AttributeError of CuPy's, which calls a method that a number has not, is a TypeError here.
    alike = {"AttributeError": "TypeError", "AxisError": "ValueError", "IndexError": "ValueError"}
    differing = {
        code: (mine, theirs)
        for (code, mine), theirs in zip(answers.items(), real, strict=True)
        if mine != theirs and alike.get(str(mine), mine) != alike.get(str(theirs), theirs)
    }
    assert not differing, differing
