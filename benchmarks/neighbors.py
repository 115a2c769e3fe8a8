"""The k nearest rows, exactly: xpcls.distances.nearest against scikit-learn's brute force.

Timed is one search for all queries in points that lie in memory as the contestant likes them:

xpcls           `nearest(queries, points, k, metric)`, everything in it: it looks at the range of
                the rows, converts uint8, and proves each answer.
scikit-learn    `NearestNeighbors(algorithm="brute").fit(points)` beforehand, then `kneighbors`.
                Its rows are float32, C-contiguous; bytes are converted beforehand.
torch           `cdist` and `topk` for 512 queries at a time, float32. Its L1 is many times slower
                than scikit-learn's and left out.

scikit-learn has no single best setting: for L1 its own loop over tiles ("ArgKmin", the default)
and joblib's threads over `pairwise_distances` win in turn, and so does giving it float64, with
twice the memory. Each is a contestant; xpcls is held to both that take float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .cases import Case, Contestant, Finding
from .data import image_rows
from .exact import count_differing, nearest64

Subject = tuple[Callable[[], object], Callable[[], Any]]

K = 10
CHECKED = 200  # queries
POINTS_SEED, QUERIES_SEED = 1, 2
TORCH_QUERIES = 512
HERE = "benchmarks.neighbors"

# (points, queries of L2, queries of L1, features)
SIZES = (
    (5_000, 500, 500, 3_072),
    (20_000, 1_000, 200, 3_072),
    (60_000, 1_000, 200, 784),
    (100_000, 2_000, 2_000, 64),
)
QUICK_SIZES = ((600, 50, 20, 192),)
NARROWEST_IMAGE = 784  # fewer features than that are no pixels, and come as floats


def cases(quick: bool) -> list[Case]:
    """Both metrics, all sizes, float32 and uint8."""
    return [
        _case(metric, dtype, points, l2 if metric == "l2" else l1, features)
        for metric in ("l2", "l1")
        for points, l2, l1, features in (QUICK_SIZES if quick else SIZES)
        for dtype in ("float32", "uint8")
        if quick or dtype == "float32" or features >= NARROWEST_IMAGE
    ]


def _case(metric: str, dtype: str, points: int, queries: int, features: int) -> Case:
    options = {
        "metric": metric,
        "dtype": dtype,
        "points": points,
        "queries": queries,
        "features": features,
    }

    def sklearn(label: str, settings: str, hold: float | None, **more: Any) -> Contestant:
        return Contestant(
            f"scikit-learn{label}",
            f"{HERE}:build_sklearn",
            {**options, **more},
            f"NearestNeighbors, brute, {settings}",
            needs=("sklearn",),
            hold=hold,
        )

    contestants = [
        Contestant("xpcls", f"{HERE}:build_xpcls", options, "nearest, default budget"),
        sklearn("", "float32 rows, defaults (ArgKmin)", 1.0),
        sklearn(" float64", "float64 rows, defaults (ArgKmin)", None, rows_dtype="float64"),
    ]
    if metric == "l1":
        contestants.append(
            sklearn(" joblib", "float32 rows, ArgKmin off, n_jobs=threads", 1.0, joblib=True)
        )
    else:
        contestants.append(
            Contestant(
                "torch",
                f"{HERE}:build_torch",
                options,
                f"cdist and topk, {TORCH_QUERIES} queries at a time, float32 rows",
                needs=("torch",),
            )
        )
    name = f"{metric.upper()} {dtype} {points:,} x {queries:,} x {features:,}"
    return Case("neighbors", name, tuple(contestants), partial(check, options))


def rows(*, dtype: str, points: int, queries: int, features: int, **_: Any) -> tuple[Any, Any]:
    """(queries, points) of a case."""
    return (
        image_rows(queries, features, QUERIES_SEED, dtype=dtype),
        image_rows(points, features, POINTS_SEED, dtype=dtype),
    )


class _Search:
    """Runs a search, and keeps the indices it gave last."""

    def __init__(self, search: Callable[[], Any]) -> None:
        self._search = search
        self._indices: Any = None

    def run(self) -> None:
        self._indices = self._search()

    def answer(self) -> list[list[int]]:
        return self._indices[:CHECKED].tolist()


def build_xpcls(*, metric: str, threads: int, **options: Any) -> Subject:
    """xpcls on the rows as they are."""
    from xpcls.distances import nearest

    queries, points = rows(**options)
    search = _Search(lambda: nearest(queries, points, K, metric)[1])
    return search.run, search.answer


def build_sklearn(
    *,
    metric: str,
    threads: int,
    rows_dtype: str = "float32",
    joblib: bool = False,
    **options: Any,
) -> Subject:
    """scikit-learn, fitted; `joblib`: its other path, threads over blocks of whole distances."""
    import sklearn
    from sklearn.neighbors import NearestNeighbors

    # Conversion keeps what a byte holds, so the neighbours are the same.
    queries, points = (x.astype(rows_dtype, copy=False) for x in rows(**options))
    metric = {"l1": "manhattan", "l2": "euclidean"}[metric]
    sklearn.set_config(enable_cython_pairwise_dist=not joblib)
    jobs = threads if joblib else None  # ArgKmin takes its threads from OpenMP
    model = NearestNeighbors(n_neighbors=K, algorithm="brute", metric=metric, n_jobs=jobs)
    model.fit(points)
    search = _Search(lambda: model.kneighbors(queries)[1])
    return search.run, search.answer


def build_torch(*, metric: str, threads: int, **options: Any) -> Subject:
    """torch.cdist and topk, in blocks of queries so that the matrix of distances fits."""
    import torch

    torch.set_num_threads(threads)
    power = {"l1": 1.0, "l2": 2.0}[metric]
    queries, points = (torch.from_numpy(x).float() for x in rows(**options))

    def search() -> Any:
        with torch.inference_mode():
            found = [
                torch.cdist(some, points, p=power).topk(K, dim=1, largest=False).indices
                for some in queries.split(TORCH_QUERIES)
            ]
            return torch.cat(found)

    subject = _Search(search)
    return subject.run, subject.answer


def check(options: dict[str, Any], answers: dict[str, Any]) -> dict[str, Finding]:
    """Each contestant's neighbours of the first 200 queries, against those in float64.

    Demanded of xpcls: the very rows, ties to the lowest. Of the others the counts are given:
    those that differ, and of these the ones that are not even as near.
    """
    import numpy as np

    queries, points = rows(**options)
    queries = queries[:CHECKED]
    truth = nearest64(queries, points, K, options["metric"])
    findings = {}
    for name, answer in answers.items():
        differ, farther = count_differing(
            np.asarray(answer), truth, queries, points, options["metric"]
        )
        text = f"{differ} of {queries.shape[0]} queries differ from float64, {farther} are farther"
        findings[name] = Finding(text, ok=differ == 0 if name == "xpcls" else None)
    return findings
