"""The 10 nearest rows, exactly, in points that were prepared beforehand.

xpcls           `KNeighborsClassifier(10, metric=...).fit(X, y)`, then `kneighbors(Q)`, which is
                timed: what a model keeps for searching is kept.
xpcls plain     the same on NumPy alone.
xpcls nearest   `distances.nearest(Q, X, 10)`: all is prepared in the call.
FAISS           IndexFlatL2, or IndexFlat with METRIC_L1, filled beforehand; `search` is timed. Its
                rows are float32.
scikit-learn    `NearestNeighbors(algorithm="brute").fit(points)` beforehand, then `kneighbors`.
                Its rows are float32, C-contiguous.
torch           `cdist` and `topk` for 512 queries at a time, on images, float32. Its L1 is many
                times slower than scikit-learn's and left out.

scikit-learn has no single best setting: for L1 its own loop over tiles ("ArgKmin", the default)
and joblib's threads over `pairwise_distances` win in turn, and so does giving it float64, with
twice the memory. On images each is a contestant, float64 where there are few points; xpcls is held
to both that take float32. By L1 it searches images alone, because it takes seconds for a round.

Rows (`data.search_rows`) are like images, of 8 bits, as uint8 or as float32; or on no grid
("continuous"), or standardised; or Gaussian noise, which has no structure that a filter could use.
Bytes are given to peers as floats of the same values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .cases import Case, Contestant, Finding
from .data import search_rows
from .exact import count_differing, judge, nearest64

Subject = tuple[Callable[[], object], Callable[[], Any]]

K = 10
CHECKED = 200  # queries; the suite `exact` checks ten times as many
POINTS_SEED, QUERIES_SEED = 1, 2
TORCH_QUERIES = 512
HERE = "benchmarks.neighbors"

# (points, queries of L2, queries of L1, features), and the kinds of rows
SIZES = (
    ((5_000, 500, 500, 3_072), ("float32", "uint8", "gaussian")),
    ((20_000, 1_000, 200, 3_072), ("float32", "uint8")),
    ((60_000, 1_000, 200, 784), ("float32", "uint8", "continuous", "standardised", "gaussian")),
    ((100_000, 2_000, 500, 64), ("float32", "gaussian")),
)
QUICK_SIZES = (((600, 50, 20, 192), ("float32", "uint8", "gaussian")),)
L2_ALONE = ((5_000, "gaussian"), (60_000, "standardised"))
FEW_POINTS = 5_000  # up to so many scikit-learn is also given float64
IMAGES = ("float32", "uint8")  # where scikit-learn and torch take part by both metrics
NARROW = 64

# How many times as fast as FAISS xpcls has to be.
LIKE_IMAGES = ("float32", "continuous")
BYTES = {"l2": 3.8, "l1": 30.0}
FLOATS_LIKE_IMAGES = {"l2": 3.4, "l1": 25.0}
ANY = {"l2": 1.5, "l1": 8.0}
ANY_NARROW = {"l2": 1.5, "l1": 5.0}
NUMPY = {"l2": 0.85, "l1": 0.6}
NUMPY_NARROW = {"l2": 0.75, "l1": 0.6}
NUMPY_BYTES = {"l2": 0.85, "l1": 0.9}


def cases(quick: bool) -> list[Case]:
    """Both metrics, all sizes and kinds of rows; of L1, which takes peers longer, fewer kinds."""
    return [
        _case(metric, kind, points, l2 if metric == "l2" else l1, features)
        for metric in ("l2", "l1")
        for (points, l2, l1, features), kinds in (QUICK_SIZES if quick else SIZES)
        for kind in kinds
        if metric == "l2" or (points, kind) not in L2_ALONE
    ]


def speeds(metric: str, kind: str, features: int) -> tuple[float, float]:
    """How many times as fast as FAISS xpcls has to be: with kernels, and on NumPy alone."""
    if kind == "uint8":
        return BYTES[metric], NUMPY_BYTES[metric]
    if features <= NARROW:
        return ANY_NARROW[metric], NUMPY_NARROW[metric]
    fast = FLOATS_LIKE_IMAGES if kind in LIKE_IMAGES else ANY
    return fast[metric], NUMPY[metric]


def _case(metric: str, kind: str, points: int, queries: int, features: int) -> Case:
    options = {
        "metric": metric,
        "kind": kind,
        "points": points,
        "queries": queries,
        "features": features,
    }
    image = kind in IMAGES
    by_joblib = image and metric == "l1"
    to_sklearn = {"scikit-learn": 1.0} if image or metric == "l2" else {}
    if by_joblib:
        to_sklearn["scikit-learn joblib"] = 1.0
    fast, plain = speeds(metric, kind, features)
    xpcls = Contestant(
        "xpcls",
        f"{HERE}:build_xpcls",
        options,
        f"KNeighborsClassifier({K}), fitted; kneighbors",
        holds={"FAISS": 1 / fast, **to_sklearn},
    )
    contestants = [
        xpcls,
        xpcls.plain({"FAISS": 1 / plain}),
        Contestant(
            "xpcls nearest",
            f"{HERE}:build_nearest",
            options,
            "nearest, default budget",
            holds=to_sklearn,
        ),
        Contestant(
            "FAISS",
            f"{HERE}:build_faiss",
            options,
            {"l2": "IndexFlatL2", "l1": "IndexFlat, METRIC_L1"}[metric] + ", filled; search",
            needs=("faiss",),
        ),
    ]
    if to_sklearn:
        contestants.append(_sklearn("", options, "float32 rows, defaults (ArgKmin)"))
    if image and points <= FEW_POINTS:
        contestants.append(
            _sklearn(
                " float64",
                {**options, "rows_dtype": "float64"},
                "float64 rows, defaults (ArgKmin)",
            )
        )
    if by_joblib:
        contestants.append(
            _sklearn(
                " joblib",
                {**options, "joblib": True},
                "float32 rows, ArgKmin off, n_jobs=threads",
            )
        )
    if image and metric == "l2":
        contestants.append(
            Contestant(
                "torch",
                f"{HERE}:build_torch",
                options,
                f"cdist and topk, {TORCH_QUERIES} queries at a time, float32 rows",
                needs=("torch",),
            )
        )
    name = f"{metric.upper()} {kind} {points:,} x {queries:,} x {features:,}"
    return Case("neighbors", name, tuple(contestants), partial(check, options))


def _sklearn(label: str, options: dict[str, Any], settings: str) -> Contestant:
    return Contestant(
        f"scikit-learn{label}",
        f"{HERE}:build_sklearn",
        options,
        f"NearestNeighbors, brute, {settings}",
        needs=("sklearn",),
    )


def rows(*, kind: str, points: int, queries: int, features: int, **_: Any) -> tuple[Any, Any]:
    """(queries, points) of a case."""
    return (
        search_rows(queries, features, QUERIES_SEED, kind=kind),
        search_rows(points, features, POINTS_SEED, kind=kind),
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

    def subject(self) -> Subject:
        return self.run, self.answer


def build_xpcls(*, metric: str, threads: int, k: int = K, **options: Any) -> Subject:
    """A fitted model; what it keeps for searching is made in the round that is not counted."""
    import numpy as np

    from xpcls import KNeighborsClassifier

    queries, points = rows(**options)
    labels = np.arange(points.shape[0]) % 10
    model = KNeighborsClassifier(k, metric=metric).fit(points, labels)
    return _Search(lambda: model.kneighbors(queries)[1]).subject()


def build_nearest(*, metric: str, threads: int, **options: Any) -> Subject:
    """The function, on the rows as they are."""
    from xpcls.distances import nearest

    queries, points = rows(**options)
    return _Search(lambda: nearest(queries, points, K, metric)[1]).subject()


def build_faiss(*, metric: str, threads: int, k: int = K, **options: Any) -> Subject:
    """FAISS, its index filled."""
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(threads)
    queries, points = (np.ascontiguousarray(x, dtype=np.float32) for x in rows(**options))
    features = points.shape[1]
    index = (
        faiss.IndexFlatL2(features)
        if metric == "l2"
        else faiss.IndexFlat(features, faiss.METRIC_L1)
    )
    index.add(points)
    return _Search(lambda: index.search(queries, k)[1]).subject()


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
    return _Search(lambda: model.kneighbors(queries)[1]).subject()


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

    return _Search(search).subject()


def check(options: dict[str, Any], answers: dict[str, Any]) -> dict[str, Finding]:
    """Each contestant's neighbours of the first 200 queries, against those in float64.

    Demanded of xpcls: the very rows, ties to the lowest, as `exact.judge` has it. Of the others
    the counts are given: those that differ, and of these the ones that are not even as near.
    """
    import numpy as np

    queries, points = rows(**options)
    queries, metric = queries[:CHECKED], options["metric"]
    truth = nearest64(queries, points, K, metric)
    findings = {}
    for name, answer in answers.items():
        found = np.asarray(answer)
        if name.startswith("xpcls"):
            judged = judge(found, truth, queries, points, metric)
            findings[name] = Finding(judged.text(), ok=judged.wrong == 0)
        else:
            differ, farther = count_differing(found, truth, queries, points, metric)
            text = f"{differ} of {queries.shape[0]} queries differ from float64, "
            findings[name] = Finding(f"{text}{farther} are farther")
    return findings
