"""Parts of a data set, and what is known of its rows, as users hand them in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xpcls.data import Split
from xpcls.options import shown
from xpcls_backends import Array, as_array, namespace_of, to_host, to_scalar

from ._rows import check_none_missing

Parts = dict[str, Array]  # name: rows, int64 on the host


def named_parts(parts: Any, n: int | None) -> Parts:
    """Name: rows of each part that has any, in order, training first."""
    if isinstance(parts, Split):
        parts = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    elif isinstance(parts, Sequence) and not isinstance(parts, str):
        names = [f"part {i}" for i in range(len(parts))]
        names = {2: ["train", "test"], 3: ["train", "validation", "test"]}.get(len(parts), names)
        parts = dict(zip(names, parts, strict=True))
    if not isinstance(parts, Mapping):
        raise TypeError(f"parts is {shown(parts)}, expected a Split, a dict or a sequence of rows")
    named = {}
    for name, rows in parts.items():
        host = to_host(rows)
        if host.ndim == 1 and not host.shape[0]:
            continue
        if host.ndim != 1 or host.dtype.kind not in "iu":
            raise ValueError(
                f"part {name!r} is {host.dtype} of shape {host.shape}, expected numbers of rows"
            )
        if host.min() < 0 or (n is not None and host.max() >= n):
            upto = "0 or more" if n is None else f"0 to {n - 1}"
            raise ValueError(
                f"part {name!r} names rows {host.min()} to {host.max()}, expected {upto}"
            )
        named[str(name)] = host.astype("int64")
    if len(named) < 2:
        raise ValueError(f"parts has {len(named)} parts with rows, expected two or more to compare")
    return named


def checked_column(name: str, values: Any) -> Any:
    """`values` on the host, (n,), none of them missing."""
    host = to_host(values)
    if host.ndim != 1 or not host.shape[0]:
        raise ValueError(f"{name} has shape {host.shape}, expected (n,), one entry a row")
    check_none_missing(name, host)
    return host


def checked_images(images: Any) -> Array:
    """`images` as an array (n, ...) of whichever backend, real and finite, of 3 values or more."""
    images = as_array(images, "images")
    if images.ndim < 2:
        raise ValueError(f"images has shape {tuple(images.shape)}, expected (n, ...)")
    if math.prod(images.shape[1:]) < 3:  # less its mean and its length, nothing is left of it
        raise ValueError(
            f"images has shape {tuple(images.shape)}, expected at least 3 values an image"
        )
    xp = namespace_of(images)
    if xp.isdtype(images.dtype, "complex floating"):
        raise ValueError(f"images has dtype {images.dtype}, expected real numbers")
    if xp.isdtype(images.dtype, "real floating") and not to_scalar(xp.all(xp.isfinite(images))):
        raise ValueError("images holds NaN or infinity; remove such images, or replace the values")
    return images
