"""Where arrays live, how they move, and what is said where two do not go together."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import scipy.sparse

from tests.fake_devices import fake_backend
from xpcls_backends import (
    Backend,
    as_array,
    column_names,
    device_of,
    get_backend,
    ignore_overflow,
    is_array,
    label_codes,
    like,
    namespace_of,
    to_device,
    to_host,
    to_scalar,
)
from xpcls_backends.testing import assert_close, forbid_host_reads

SAMPLES = (
    np.arange(12, dtype=np.uint8).reshape(3, 4),
    np.asarray([[1.5, -0.0, np.inf]], dtype=np.float32),
    np.asarray([True, False]),
    np.asarray(7, dtype=np.int64),
    np.zeros((0, 3), dtype=np.int32),
)


def other_device(backend: Backend) -> Backend:
    """Some backend that is not this one: another library, or another device of the same."""
    if backend.name == "numpy":
        return fake_backend()
    return get_backend("numpy")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda x: f"{x.dtype}{x.shape}")
def test_a_round_trip_changes_nothing(backend: Backend, sample: np.ndarray) -> None:
    with forbid_host_reads():
        there = to_device(sample, backend)
        assert namespace_of(there) is backend.xp
        assert device_of(there) == backend.device
        elsewhere = to_device(there, other_device(backend))
        back = to_host(to_device(elsewhere, backend))
    assert back.dtype == sample.dtype
    np.testing.assert_array_equal(back, sample)


def test_an_array_that_is_there_already_is_not_copied(backend: Backend) -> None:
    x = backend.asarray(SAMPLES[0])
    assert to_device(x, backend) is x
    assert backend.asarray(x) is x
    assert backend.asarray(x, x.dtype) is x


def test_the_host_gives_its_own_arrays_as_they_are() -> None:
    assert to_host(SAMPLES[0]) is SAMPLES[0]


@pytest.mark.parametrize("x", [[1, 2, 3], (1, 2, 3), pandas.Series([1, 2, 3])], ids=type)
def test_lists_and_frames_are_data_too(backend: Backend, x: object) -> None:
    np.testing.assert_array_equal(to_host(x), [1, 2, 3])
    assert_close(backend.asarray(x), backend.asarray(np.asarray([1, 2, 3])))


def test_a_backend_is_taken_by_name(backend: Backend) -> None:
    host = to_device(backend.asarray(SAMPLES[0]), "cpu")
    assert namespace_of(host) is get_backend("numpy").xp
    with pytest.raises(ValueError, match="backend is 'tpu'"):
        to_device(host, "tpu")


def test_a_dtype_is_taken_by_name_or_as_the_namespace_has_it(backend: Backend) -> None:
    float32 = backend.xp.float32
    assert backend.asarray([1.5, 2.5], "float32").dtype == float32  # no float64 on the way
    assert backend.asarray(SAMPLES[0], float32).dtype == float32
    assert backend.asarray(SAMPLES[0]).dtype == backend.xp.uint8


def test_like_puts_host_data_beside_an_array(backend: Backend) -> None:
    beside = like([[1, 2]], backend.asarray(SAMPLES[1]))
    assert_close(beside, backend.asarray(np.asarray([[1, 2]])))


def test_what_is_an_array(backend: Backend) -> None:
    assert is_array(backend.asarray([1]))
    for other in ([1], (1,), 1, 1.0, None, "1", pandas.Series([1]), np):
        assert not is_array(other)


@pytest.mark.parametrize(
    ("dtype", "kind"), [("float32", float), ("int64", int), ("uint8", int), ("bool", bool)]
)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_to_scalar_reads_one_element(
    backend: Backend, shape: tuple[int, ...], dtype: str, kind: type
) -> None:
    with forbid_host_reads():
        number = to_scalar(backend.asarray(np.ones(shape, dtype=dtype)))
    assert number == 1
    assert type(number) is kind


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 3)])
def test_to_scalar_of_more_or_less_is_an_error(backend: Backend, shape: tuple[int, ...]) -> None:
    x = backend.asarray(np.ones(shape, dtype=np.float32))
    with pytest.raises(ValueError, match="expected one element") as caught:
        to_scalar(x)
    assert str(shape) in str(caught.value)


def test_mixed_libraries_are_named(backend: Backend) -> None:
    here, there = backend.asarray([1]), other_device(backend).asarray([1])
    with pytest.raises(TypeError, match="expected arrays of one library") as caught:
        namespace_of(here, there)
    for x in (here, there):
        assert type(x).__module__.split(".")[0] in str(caught.value)
    assert "xpcls.to_device" in str(caught.value)


def test_mixed_devices_are_named() -> None:
    places = [fake_backend(name) for name in ("CPU_DEVICE", "device1")]
    x, y = (place.asarray([0.0, 0.0]) for place in places)
    assert namespace_of(x, y) is places[0].xp
    with pytest.raises(ValueError, match="arrays live on two devices") as caught:
        device_of(x, y)
    assert all(str(place.device) in str(caught.value) for place in places)
    assert "xpcls.to_device" in str(caught.value)


@pytest.mark.parametrize("strangers", [([1, 2],), ("text",), (1,), ()])
def test_what_is_no_array_is_named_by_its_type(strangers: tuple[object, ...]) -> None:
    name = type(strangers[0]).__name__ if strangers else "none"
    with pytest.raises(TypeError, match=f"expected arrays, got {name}"):
        namespace_of(*strangers)


def test_python_numbers_may_stand_beside_arrays(backend: Backend) -> None:
    assert namespace_of(backend.asarray([1]), 2.0) is backend.xp


def test_as_array_leaves_arrays_alone_and_reads_the_rest(backend: Backend) -> None:
    x = backend.asarray(SAMPLES[1])
    assert as_array(x, "X") is x
    assert as_array([[1, 2]], "X").tolist() == [[1, 2]]
    assert as_array(pandas.DataFrame({"a": [1.5]}), "X").tolist() == [[1.5]]
    assert as_array([["1.5", "2"]], "X").tolist() == [[1.5, 2.0]]
    assert as_array(np.ones(2, dtype=">f4"), "X").dtype == np.float32
    assert as_array(np.ones(2, dtype=np.float16), "X").dtype == np.float32


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (scipy.sparse.eye_array(2, format="csr"), TypeError, "X is sparse"),
        (np.ma.masked_less([1, 2], 2), TypeError, "X is a masked array"),
        (np.asarray(["2024-01-01"], dtype="datetime64[D]"), TypeError, "X has dtype datetime64"),
        ([["cat"]], ValueError, "X holds something that is no number"),
        ([[1, 2], [3]], ValueError, "X cannot be made an array"),
        (np.asarray([{}], dtype=object), TypeError, "X: argument must be a string or a number"),
    ],
    ids=["sparse", "masked", "dates", "text", "ragged", "objects"],
)
def test_as_array_says_what_it_cannot_read(x: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_array(x, "X")


def test_column_names_of_a_data_frame() -> None:
    names = column_names(pandas.DataFrame({"b": [1], "a": [2]}))
    assert names is not None and names.tolist() == ["b", "a"]
    assert column_names(pandas.DataFrame([[1, 2]])) is None
    assert column_names(np.zeros((1, 2))) is None
    with pytest.raises(TypeError, match="string names"):
        column_names(pandas.DataFrame({"a": [1], 2: [2]}))


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (np.asarray([7, 3, 7, 5], dtype=np.uint8), [3, 5, 7], [2, 0, 2, 1]),
        (np.asarray(["dog", "cat", "dog"]), ["cat", "dog"], [1, 0, 1]),
        (np.asarray([-1.5]), [-1.5], [0]),
        (np.zeros(0, dtype=np.int32), [], []),
    ],
)
def test_label_codes_count_up_in_the_order_of_the_labels(
    labels: np.ndarray, classes: list[object], codes: list[int]
) -> None:
    found, numbered = label_codes(labels)
    assert (found.tolist(), numbered.tolist()) == (classes, codes)
    assert (found.dtype, numbered.dtype) == (labels.dtype, np.int64)


def test_overflow_that_is_expected_gives_no_warning() -> None:
    large = np.asarray([1e30], dtype=np.float32)
    with ignore_overflow():
        assert np.isinf(large * large) and np.isnan(large * large - large * large)
    with pytest.warns(RuntimeWarning, match="overflow"):
        large * large
