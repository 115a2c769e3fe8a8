"""Nearest rows on a card, against torch.cdist with topk and against the card's own limits.

rows       like images (data.py): 50,000 to search in, 10,000 queries, 3,072 features, k = 10.
xpcls      `nearest`, rows on the card, default budget.
torch      cdist in slices of queries that leave room for the matrix, then topk; float32, or with
           TF32 products. Its answers are not exact: how many queries differ is told.
products   the matrix product without which no such search ends: int8 by cuBLAS, float32, TF32.
one read   a copy of as many bytes as a selection must read, half of what is read and written.

The neighbours of the first queries are compared with float64 on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding
from .data import image_rows

Subject = tuple[Callable[[], object], Callable[[], Any]]

HERE = "benchmarks.gpu_neighbors"
K = 10
CHECKED = 20  # queries
TORCH_BYTES = 2**32  # of the matrix of distances that torch makes at once
FULL = {"points": 50_000, "queries": 10_000, "features": 3_072}
SMALL = {"points": 600, "queries": 40, "features": 48}


def cases(quick: bool) -> list[Case]:
    """Both metrics of both kinds of rows, and the selection alone."""
    sizes = SMALL if quick else FULL
    said = "{points:,} x {queries:,} x {features:,}".format(**sizes)

    def xpcls(metric: str, kind: str, holds: dict[str, float]) -> Contestant:
        options = {"metric": metric, "kind": kind, **sizes}
        return Contestant("xpcls", f"{HERE}:build_xpcls", options, "nearest", holds=holds)

    def torch(name: str, p: int, queries: int, tf32: bool = False) -> Contestant:
        options = {"p": p, "tf32": tf32, **sizes, "queries": queries}
        return Contestant(name, f"{HERE}:build_torch", options, "cdist, topk", needs=("torch",))

    def product(name: str, kind: str) -> Contestant:
        options = {"kind": kind, **sizes}
        return Contestant(name, f"{HERE}:build_product", options, "the card's limit")

    n = sizes["queries"]
    few = min(200, n)  # of torch's L1, which takes a block of threads for every distance
    l2 = (torch("torch", 2, n), torch("torch TF32", 2, n, True))
    of_bytes = {"torch": 0.1, "torch TF32": 1 / 3}
    found = [
        Case(
            "gpu",
            f"L2 uint8 {said}",
            (
                xpcls("l2", "uint8", {"int8 product": 2.0, **of_bytes}),
                product("int8 product", "int8"),
                *l2,
            ),
            check,
        ),
        Case(
            "gpu",
            f"L2 float32 {said}",
            (
                xpcls("l2", "float32", {"TF32 product": 2.5, "torch": 0.25}),
                product("TF32 product", "tf32"),
                product("float32 product", "float32"),
                *l2,
            ),
            check,
        ),
    ]
    for kind, at_most in (("float32", 0.1), ("uint8", 0.05)):
        ours = xpcls("l1", kind, {"torch, few queries": at_most * n / few})
        found.append(
            Case("gpu", f"L1 {kind} {said}", (ours, torch("torch, few queries", 1, few)), check)
        )
    options = {"points": sizes["points"], "queries": min(2_000, n)}
    found.append(
        Case(
            "gpu",
            "the {K} smallest of {queries:,} x {points:,}".format(K=K, **options),
            (
                Contestant(
                    "xpcls",
                    f"{HERE}:build_selection",
                    options,
                    "smallest_k",
                    holds={"torch": 1 / 3},
                    # 2.2 TB/s: the figure for one read, in milliseconds
                    limit_ms=4 * options["points"] * options["queries"] / 2.2e12 * 1e3,
                ),
                Contestant(
                    "torch", f"{HERE}:build_torch_selection", options, "topk", needs=("torch",)
                ),
                Contestant("one read", f"{HERE}:build_read", options, "copy of half the bytes"),
            ),
        )
    )
    return found


def rows(points: int, queries: int, features: int, kind: str) -> tuple[Any, Any]:
    """Queries and points on the card."""
    import cupy

    made = (image_rows(n, features, seed, dtype=kind) for n, seed in ((queries, 2), (points, 1)))
    asked, searched = (cupy.asarray(x) for x in made)
    return asked, searched


def build_xpcls(metric: str, kind: str, points: int, queries: int, features: int) -> Subject:
    from xpcls.distances import nearest
    from xpcls_backends import to_host

    asked, searched = rows(points, queries, features, kind)
    found: list[Any] = [None]

    def run() -> None:
        found[0] = nearest(asked, searched, K, metric)

    def answer() -> Any:
        ours = to_host(found[0][1][:CHECKED]).tolist()
        return {"neighbours": ours, "right": brute(asked, searched, metric)}

    return run, answer


def brute(queries: Any, points: Any, metric: str) -> list[list[int]]:
    """Neighbours of the first queries by direct differences in float64, ties to the lowest row."""
    from xpcls_backends import to_host

    searched, found = to_host(points), []
    for query in to_host(queries[:CHECKED]).astype(np.float64):
        keys = np.empty(searched.shape[0])
        for first in range(0, searched.shape[0], 2_000):
            d = searched[first : first + 2_000] - query
            keys[first : first + 2_000] = np.sum(np.abs(d) if metric == "l1" else d * d, axis=1)
        found.append(np.argsort(keys, kind="stable")[:K].tolist())
    return found


def build_torch(p: int, tf32: bool, points: int, queries: int, features: int) -> Subject:
    import torch

    from xpcls_backends import to_host

    asked, searched = (
        torch.from_numpy(to_host(x)).cuda() for x in rows(points, queries, features, "float32")
    )
    slices = max(1, queries * points * 4 // TORCH_BYTES)
    found: list[Any] = [None]

    def run() -> None:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        parts = [
            torch.cdist(part, searched, p=float(p)).topk(K, dim=1, largest=False)
            for part in asked.chunk(slices)
        ]
        found[0] = torch.cat([part.indices for part in parts])
        torch.backends.cuda.matmul.allow_tf32 = False

    return run, lambda: {"neighbours": found[0][:CHECKED].cpu().tolist()}


def check(answers: dict[str, Any]) -> dict[str, Finding]:
    """Ours must be those of float64; of torch's it is told how many queries differ."""
    if "xpcls" not in answers:
        return {}
    right = answers["xpcls"]["right"]
    found = {}
    for name, answer in answers.items():
        wrong = sum(a != b for a, b in zip(answer["neighbours"], right, strict=True))
        ok = wrong == 0 if name == "xpcls" else None
        found[name] = Finding(f"{wrong} of {len(right)} queries differ from float64", ok)
    return found


def build_product(kind: str, points: int, queries: int, features: int) -> Subject:
    import cupy

    if kind == "int8":
        from xpcls_backends.kernels.cuda.products import byte_codes, overlaps

        a, b = (byte_codes(x)[0] for x in rows(points, queries, features, "uint8"))
        return (lambda: overlaps(a, b)), lambda: None
    a, b = rows(points, queries, features, "float32")
    out = cupy.empty((queries, points), dtype=cupy.float32)

    def run() -> None:
        with products_in(kind):
            cupy.matmul(a, b.T, out=out)

    return run, lambda: None


@contextmanager
def products_in(kind: str) -> Iterator[None]:
    """Within the block CuPy multiplies float32 as it is, or ("tf32") with TF32 tensor cores."""
    if kind != "tf32":
        yield
        return
    import cupy
    from cupy._core import _routines_linalg as linalg

    before = linalg.get_compute_type(cupy.dtype("float32"))
    linalg.set_compute_type(cupy.dtype("float32"), linalg.COMPUTE_TYPE_TF32)
    try:
        yield
    finally:
        linalg.set_compute_type(cupy.dtype("float32"), before)


def _matrix(points: int, queries: int) -> Any:
    import cupy

    drawn = np.random.default_rng(3).standard_normal((queries, points), dtype=np.float32)
    return cupy.asarray(drawn)


def build_selection(points: int, queries: int) -> Subject:
    from xpcls_backends import smallest_k

    x = _matrix(points, queries)
    return (lambda: smallest_k(x, K)), lambda: None


def build_torch_selection(points: int, queries: int) -> Subject:
    import torch

    x = torch.from_dlpack(_matrix(points, queries))
    return (lambda: x.topk(K, dim=1, largest=False)), lambda: None


def build_read(points: int, queries: int) -> Subject:
    import cupy

    x = _matrix(points, queries // 2)
    out = cupy.empty_like(x)
    return (lambda: cupy.copyto(out, x)), lambda: None
