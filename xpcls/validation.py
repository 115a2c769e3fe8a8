"""What enters an estimator is checked here, once: arrays, labels, weights.

Every error names the argument, what it is, and what to do. Some sentences repeat scikit-learn's,
since its own checks and its users look for them.
"""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import Any

from xpcls_backends import (
    Array,
    as_array,
    device_of,
    flatnonzero,
    ignore_overflow,
    is_array,
    label_codes,
    like,
    namespace_of,
    one_thread_products,
    row_blocks,
    to_host,
    to_scalar,
    widest_float,
)

from ._sklearn import data_conversion_warning
from .options import check_integer, shown

HOST_KINDS = "OUST"  # of NumPy's dtypes: objects and text, which no device has


def check_rows(X: Any, owner: str, name: str = "X", *, look: bool = True) -> Array:
    """`X` as rows (N, D): an array of any backend, a list, a data frame, or images (N, H, W, C).

    Raises TypeError or ValueError for other shapes, no rows, no features, complex or sparse data,
    objects that are no numbers, NaN and infinity. Reads one number on the host.

    look : False leaves NaN and infinity, and the reading, to a caller that has more to read; see
        `finite_where_rows_are`.
    """
    X = _plain_array(X, name)
    xp = namespace_of(X)
    if xp.isdtype(X.dtype, "complex floating"):
        raise ValueError(f"{name} has dtype {X.dtype}: Complex data not supported by {owner}")
    if X.ndim == 4:
        X = xp.reshape(X, (X.shape[0], X.shape[1] * X.shape[2] * X.shape[3]))
    if X.ndim != 2:
        wanted = "expected rows (N, D) or images (N, H, W, C)"
        if X.ndim < 2:
            kind = "scalar" if X.ndim == 0 else "1D"
            raise ValueError(
                f"Expected 2D array, got {kind} array instead: {name} has shape {X.shape}, "
                f"{wanted}. Reshape your data with {name}.reshape(1, -1) if it is one row, or "
                f"{name}.reshape(-1, 1) if it is one feature"
            )
        raise ValueError(
            f"Found array with dim {X.ndim}: {name} has shape {X.shape}, {wanted}. Use "
            f"{name}[..., None] if these are grey images, or {name}[None] if it is one image"
        )
    n, features = X.shape
    if n == 0 or features == 0:
        empty = "sample" if n == 0 else "feature"
        raise ValueError(
            f"Found array with 0 {empty}(s) (shape={X.shape}) while a minimum of 1 is required "
            f"by {owner}: {name} is empty"
        )
    if look:
        total = finite_where_rows_are(X)
        if total is not None and not math.isfinite(to_scalar(total)):
            refuse_not_finite(X, name)
    return X


def check_images(X: Any, owner: str, image_shape: Any = None) -> Array:
    """`X` as images (N, H, W, C): images, or rows (N, D) where `image_shape` (H, W, C) is given.

    Raises as `check_rows`, and ValueError for rows of no such shape.
    """
    X = _plain_array(X, "X")
    rows = check_rows(X, owner)
    if X.ndim == 4:
        return X
    if image_shape is None:
        raise ValueError(
            f"X has rows of {rows.shape[1]} features, and {owner} needs images: give X of shape "
            "(N, H, W, C), or image_shape=(H, W, C)"
        )
    shape = check_image_shape(image_shape)
    if math.prod(shape) != rows.shape[1]:
        raise ValueError(
            f"image_shape is {shape}, which holds {math.prod(shape)} values, but X has "
            f"{rows.shape[1]} features"
        )
    return namespace_of(rows).reshape(rows, (rows.shape[0], *shape))


def check_image_shape(image_shape: Any) -> tuple[int, int, int]:
    """(H, W, C), three integers of 1 or more."""
    if not isinstance(image_shape, tuple | list) or len(image_shape) != 3:
        raise ValueError(f"image_shape is {shown(image_shape)}, expected (H, W, C)")
    height, width, channels = (
        check_integer("a length in image_shape", n, at_least=1) for n in image_shape
    )
    return height, width, channels


def _plain_array(x: Any, name: str) -> Array:
    """`x` as an array of numbers; of NumPy's subclasses, whose operators differ, the base class."""
    if x is None or isinstance(x, type):
        raise ValueError(f"{name} is {shown(x)}, expected an array")
    if getattr(getattr(x, "dtype", None), "kind", "") == "V":
        raise TypeError(f"{name} has dtype {x.dtype}, expected numbers")
    try:
        x = as_array(x, name)
    except OverflowError:
        raise ValueError(f"{name} holds an integer too large for float64") from None
    return to_host(x) if type(x).__module__.partition(".")[0] == "numpy" else x


def finite_where_rows_are(X: Array) -> Array | None:
    """A number on the device of the rows X, (), that is finite only if all of X is.

    Where it is not, `refuse_not_finite` looks for the reason. None for integers and booleans.
    """
    xp = namespace_of(X)
    if not xp.isdtype(X.dtype, "real floating"):
        return None
    # Finite sums of the rows prove every entry finite, at one pass and no temporary. One thread
    # reads memory as fast as several.
    with one_thread_products(xp), ignore_overflow():
        ones = xp.ones((X.shape[1],), dtype=X.dtype, device=device_of(X))
        return xp.sum(X @ ones, dtype=X.dtype)


def refuse_not_finite(X: Array, name: str) -> None:
    """Raise for the first NaN or infinity in the rows X; none where large sums overflowed."""
    xp = namespace_of(X)
    for rows in row_blocks(X.shape[0], 1024):
        wrong = flatnonzero(~xp.isfinite(X[rows, :]))
        if wrong.shape[0]:
            row, column = divmod(int(to_scalar(wrong[0])), X.shape[1])
            found = to_scalar(X[rows.start + row, column])
            what = "NaN" if math.isnan(found) else "infinity"
            raise ValueError(
                f"Input {name} contains {what}. The first is at row {rows.start + row}, column "
                f"{column}; remove such rows, or replace the values"
            )


def check_labels(y: Any, X: Array, owner: str, weight: Array | None = None) -> tuple[Any, Any]:
    """`y` as (classes, codes): the distinct labels, sorted, and each row's position among them.

    Both are like X, codes int64; classes are NumPy's where they are text. Rows whose weight is 0
    are left out of both. Raises for a missing y, a shape that is not (N,), another length
    than X, another device than X's, NaN, fractions, and a single class.
    """
    host = _check_label_values(y, X, owner)
    if weight is not None:
        host = host[to_host(weight) > 0]
    classes, codes = label_codes(host)
    if classes.shape[0] < 2:
        raise ValueError(
            f"y has only one class, {classes.tolist()[0]!r}, but {owner} needs samples of at "
            "least 2 classes in the data"
        )
    return _place_classes(classes, X), like(codes, X)


def check_classes(classes: Any, X: Array) -> Any:
    """`classes`, all labels that will ever come, sorted and placed like X; at least two."""
    if classes is None:
        raise ValueError("classes is None, but the first call of partial_fit needs all labels")
    distinct, _ = label_codes(_labels_on_host(classes, X, "classes", "partial_fit"))
    if distinct.shape[0] < 2:
        raise ValueError(f"classes is {shown(classes)}, expected at least two labels")
    return _place_classes(distinct, X)


def check_codes(y: Any, classes: Any, X: Array, owner: str) -> Array:
    """The position of each label of `y` among `classes`: (N,) int64, like X."""
    labels = _check_label_values(y, X, owner).tolist()
    known = to_host(classes).tolist()
    positions = {label: i for i, label in enumerate(known)}
    for label in labels:
        if label not in positions:
            raise ValueError(f"y holds {label!r}, which is not among the classes {shown(known)}")
    xp, device = namespace_of(X), device_of(X)
    return xp.asarray([positions[label] for label in labels], dtype=xp.int64, device=device)


def check_truth(y: Any, X: Array, classes: Any, owner: str) -> Any:
    """`y` on the host, (N,), to be compared with labels of `classes`; text only with text."""
    host = _check_label_values(y, X, owner)
    kinds = [_label_kind(labels) for labels in (host, classes)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"y holds {kinds[0]} like {shown(host.tolist()[0])}, but {owner} was fitted with "
            f"{kinds[1]} like {shown(classes.tolist()[0])}"
        )
    return host


def _place_classes(classes: Any, X: Array) -> Any:
    """Classes that are numbers live where X does; text and objects live on the host."""
    kind = classes.dtype.kind
    if kind in HOST_KINDS:
        return classes
    xp, device = namespace_of(X), device_of(X)
    narrow = widest_float(xp, device) == xp.float32
    # A list of whole floats is float64, which this device has not.
    return like(classes.astype("float32") if kind == "f" and narrow else classes, X)


def _check_label_values(y: Any, X: Array, owner: str) -> Any:
    """`y` on the host, (N,), one label a row of X."""
    if y is None:
        raise ValueError(
            f"This {owner} estimator requires y to be passed, but the target y is None"
        )
    host = _labels_on_host(y, X, "y", owner)
    check_same_length(X.shape[0], host.shape[0], "y")
    return host


def _labels_on_host(y: Any, X: Array, name: str, owner: str) -> Any:
    """Labels on the host, one-dimensional: integers, booleans, whole floats or text."""
    host = _small_to_host(y, X, name)
    if host.ndim == 2 and host.shape[1] == 1:
        warnings.warn(
            f"A column-vector {name} was passed when a 1d array was expected. Please change the "
            f"shape of {name} to (n_samples,), for example using ravel()",
            data_conversion_warning(),
            stacklevel=5,
        )
        host = host[:, 0]
    if host.ndim == 0:
        raise ValueError(
            f"{name} should be a 1d array, got an array of shape () instead: {shown(y)}"
        )
    if host.ndim != 1:
        raise ValueError(f"{name} should be a 1d array, got an array of shape {host.shape} instead")
    kind = host.dtype.kind
    if kind == "c":
        raise ValueError(f"{name} has dtype {host.dtype}: Complex data not supported by {owner}")
    if kind in "mMV":
        raise TypeError(
            f"Unknown label type: {name} has dtype {host.dtype}; a classifier expects "
            "classes: integers or text"
        )
    if kind == "f":
        _check_float_labels(host.tolist(), name)
    if kind == "O":
        _check_object_labels(host.tolist(), name)
    return host


def _small_to_host(x: Any, X: Array, name: str) -> Any:
    """Labels or weights on the host, to be checked there; an array must live where X does."""
    if hasattr(x, "tocsr") or hasattr(x, "tocoo"):
        raise TypeError(f"{name} is sparse, but dense data is required; use {name}.toarray()")
    if hasattr(x, "filled") and hasattr(x, "mask"):
        raise TypeError(f"{name} is a masked array; fill its gaps with {name}.filled(value)")
    if isinstance(x, type):
        raise TypeError(f"{name} is {shown(x)}, expected an array")
    if hasattr(x, "to_numpy"):
        x = x.to_numpy()
    if is_array(x) and getattr(x.dtype, "kind", "-") not in HOST_KINDS:
        check_same_place(x, X, name)
    try:
        return to_host(x)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{name} cannot be made an array: {error}") from None


def _check_float_labels(values: list[Any], name: str) -> None:
    for value in values:
        if math.isnan(value) or math.isinf(value):
            what = "NaN" if math.isnan(value) else "infinity"
            raise ValueError(f"Input {name} contains {what}; remove those rows")
    fraction = next((value for value in values if not value.is_integer()), None)
    if fraction is not None:
        raise ValueError(
            f"Unknown label type: continuous. {name} holds {fraction!r}; a classifier expects "
            "classes: integers or text"
        )


def _check_object_labels(labels: list[Any], name: str) -> None:
    """Labels of any Python type: all text, all bytes, or all numbers."""
    plain = [label.item() if hasattr(label, "item") else label for label in labels]
    for label in plain:
        if label is None or type(label).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"Input {name} contains NaN: {label!r} is no label; remove those rows")
        if not isinstance(label, str | bytes | Real):
            raise TypeError(
                f"Unknown label type: {name} holds {shown(label)}; a classifier expects classes: "
                "integers or text"
            )
    _check_float_labels([label for label in plain if isinstance(label, float)], name)
    first = {next(t for t in (str, bytes, Real) if isinstance(x, t)): x for x in reversed(plain)}
    if len(first) > 1:
        listed = " and ".join(shown(label) for label in first.values())
        raise TypeError(f"{name} holds labels of several types, {listed}; convert them to one")


def _label_kind(host: Any) -> str:
    if host.dtype.kind in "OUST":
        label = host.tolist()[0] if host.shape[0] else ""
        if isinstance(label, str | bytes):
            return "text" if isinstance(label, str) else "bytes"
    return "numbers"


def check_same_length(n: int, other: int, name: str) -> None:
    """Raise unless `name` has one entry for each row of X."""
    if n != other:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: [{n}, {other}]: X has "
            f"{n} rows and {name} has {other} entries"
        )


def check_weights(sample_weight: Any, X: Array) -> Array | None:
    """`sample_weight` as (N,) float of the kind of X, or None for None; see `check_host_weights`.

    They are multiplied by a power of two, which changes no weighted mean, so that weights of any
    size are neither infinite nor 0 in the dtype of X.
    """
    weight = check_host_weights(sample_weight, X)
    if weight is None:
        return None
    weight = weight * 2.0 ** -math.frexp(float(weight.max()))[1]
    xp = namespace_of(X)
    dtype = X.dtype if xp.isdtype(X.dtype, "real floating") else xp.float32
    return xp.asarray(weight, dtype=dtype, device=device_of(X))


def check_host_weights(sample_weight: Any, X: Array) -> Any:
    """`sample_weight` as (N,) float64 on the host, or None for None.

    One number stands for equal weights. Raises for other shapes, NaN, infinity, negative weights
    and weights that are all 0.
    """
    if sample_weight is None:
        return None
    weight = _plain_array(_small_to_host(sample_weight, X, "sample_weight"), "sample_weight")
    if weight.dtype.kind == "c":
        raise ValueError(f"sample_weight has dtype {weight.dtype}: Complex data not supported")
    weight = weight.astype("float64")
    if weight.ndim == 0:
        weight = weight.repeat(X.shape[0])
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar: sample_weight has shape {weight.shape}"
        )
    if weight.shape[0] != X.shape[0]:
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(X.shape[0],)}, one a row of X"
        )
    least, most = float(weight.min()), float(weight.max())
    if not math.isfinite(least) or not math.isfinite(most) or least < 0:
        raise ValueError(
            f"sample_weight holds values from {least} to {most}, expected finite weights of 0 or "
            "more"
        )
    if most == 0:
        raise ValueError("sample_weight is zero for every row, so no row is left to learn from")
    return weight


def check_same_place(x: Array, other: Array, name: str = "X", what: str = "X") -> None:
    """Raise where `x`, called `name`, lives elsewhere than `other`, called `what`."""
    try:
        namespace_of(x, other)
        device_of(x, other)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} and {what} live in different places: {error}") from None
