"""k and the metric by cross-validation: KNeighborsClassifierCV against scikit-learn's search.

Timed is `fit`: every k with both metrics on five folds, and the last fit on all rows.

xpcls           `KNeighborsClassifierCV(K, ("l1", "l2"), cv=folds)`, default budget.
xpcls plain     the same on NumPy alone.
scikit-learn    `GridSearchCV` over its `KNeighborsClassifier(algorithm="brute")`, the same
                settings and the same folds. It searches anew for each setting.

scikit-learn has no single best setting: float64 rows or float32 rows, one process whose search is
threaded, or as many processes as threads with one thread each, which stay alive between rounds.
Each is a contestant, and xpcls is held to a fifth of each. The digits are read by scikit-learn in
every contestant's process, xpcls' too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .cases import Case, Contestant, Finding
from .data import labelled_rows
from .exact import nearest64

Subject = tuple[Callable[[], object], Callable[[], Any]]

K = (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23)
FAR_K = (1, 3, 5, 7, 9, 11, 13, 15, 20, 30, 50, 100)  # one search for 100 serves the small ones
QUICK_K = (1, 3, 5)
METRICS = {"l1": "manhattan", "l2": "euclidean"}
FOLDS = 5
CLASSES = 10
SEED = 3
HELD = 0.2
HERE = "benchmarks.selection"

DIGITS = (1_797, 64)  # scikit-learn's, 0 to 16
IMAGES = (2_000, 784)
QUICK_SIZE = (200, 64)


def cases(quick: bool) -> list[Case]:
    """The digits, and rows like images."""
    if quick:
        return [_case(QUICK_SIZE, QUICK_K)]
    return [_case(DIGITS, K), _case(DIGITS, FAR_K), _case(IMAGES, K)]


def _case(size: tuple[int, int], ks: tuple[int, ...]) -> Case:
    n, features = size
    options = {"n": n, "features": features, "ks": list(ks)}
    contestants: list[Contestant] = []
    for dtype in ("float32", "float64"):
        for processes in (False, True):
            label = f"scikit-learn {dtype}" + (" processes" if processes else "")
            how = "n_jobs=threads, one thread each" if processes else "n_jobs=None"
            contestants.append(
                Contestant(
                    label,
                    f"{HERE}:build_sklearn",
                    {**options, "dtype": dtype, "processes": processes},
                    f"GridSearchCV, brute, {dtype} rows, {how}",
                    needs=("sklearn",),
                )
            )
    holds = {contestant.name: HELD for contestant in contestants}
    xpcls = Contestant(
        "xpcls",
        f"{HERE}:build_xpcls",
        options,
        "KNeighborsClassifierCV, float32 rows, default budget",
        needs=("sklearn",),
        holds=holds,
    )
    contestants = [xpcls, xpcls.plain(holds), *contestants]
    what = "digits" if size == DIGITS else "images"
    name = f"{len(ks)} k to {max(ks)}, 2 metrics, {FOLDS} folds, {what} {n:,} x {features:,}"
    return Case("selection", name, tuple(contestants), partial(check, options))


def rows(n: int, features: int) -> tuple[Any, Any]:
    """float32 rows (n, features) and their classes, in random order."""
    import numpy as np

    if (n, features) == DIGITS:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        order = np.random.default_rng(SEED).permutation(n)
        return x[order].astype("float32"), y[order]
    return labelled_rows(n, features, CLASSES, SEED)


def folds(n: int) -> list[tuple[Any, Any]]:
    """(training rows, validation rows): each fifth is validated once."""
    import numpy as np

    parts = np.array_split(np.arange(n), FOLDS)
    return [(np.setdiff1d(np.arange(n), part), part) for part in parts]


class _Search:
    """Fits a search, and keeps the scores of the last one: a row a setting, a column a fold."""

    def __init__(self, fit: Callable[[], Any]) -> None:
        self._fit = fit
        self._results: dict[str, Any] = {}

    def run(self) -> None:
        self._results = self._fit().cv_results_

    def answer(self) -> list[list[float]]:
        columns = [self._results[f"split{i}_test_score"].tolist() for i in range(FOLDS)]
        return [list(row) for row in zip(*columns, strict=True)]


def build_xpcls(*, n: int, features: int, ks: list[int], threads: int) -> Subject:
    """xpcls, all settings in one object."""
    from xpcls.model_selection import KNeighborsClassifierCV

    x, y = rows(n, features)
    cv = folds(n)
    search = _Search(lambda: KNeighborsClassifierCV(ks, tuple(METRICS), cv).fit(x, y))
    return search.run, search.answer


def build_sklearn(
    *, n: int, features: int, ks: list[int], dtype: str, processes: bool, threads: int
) -> Subject:
    """scikit-learn's search over its own classifier."""
    import joblib
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier

    x, y = rows(n, features)
    x = x.astype(dtype)
    grid = {"metric": list(METRICS.values()), "n_neighbors": ks}
    model = GridSearchCV(KNeighborsClassifier(algorithm="brute"), grid, cv=folds(n))

    def fit() -> Any:
        if not processes:
            return model.fit(x, y)
        with joblib.parallel_config("loky", n_jobs=threads, inner_max_num_threads=1):
            return model.fit(x, y)

    search = _Search(fit)
    return search.run, search.answer


def check(options: dict[str, Any], answers: dict[str, Any]) -> dict[str, Finding]:
    """The accuracies against votes of the neighbours in float64.

    Demanded of xpcls: on the first fold, every setting's, to the last digit, ties to the lowest
    row. Of the others: in how many of all cells they differ from xpcls, and by how many rows at
    most; where distances tie at the k-th place, scikit-learn keeps either neighbour.
    """
    import numpy as np

    n, ks = options["n"], options["ks"]
    x, y = rows(n, options["features"])
    train, test = folds(n)[0]
    truth = []
    for metric in METRICS:
        _, nearest = nearest64(x[test], x[train], max(ks), metric)
        labels = y[train][nearest]
        for k in ks:
            votes = [np.bincount(row[:k]).argmax() for row in labels]
            truth.append(float(np.mean(votes == y[test])))
    ours = np.asarray(answers["xpcls"])
    findings = {}
    for name, answer in answers.items():
        if name.startswith("xpcls"):
            wrong = int(np.sum(np.asarray(answer)[:, 0] != truth))
            cells = f"{wrong} of {len(truth)} settings differ from float64 on the first fold"
            findings[name] = Finding(cells, ok=wrong == 0)
        else:
            gap = np.abs(np.asarray(answer) - ours)
            most = round(float(np.max(gap)) * test.shape[0])
            text = f"{int(np.sum(gap > 0))} of {gap.size} accuracies differ, by {most} rows at most"
            findings[name] = Finding(text)
    return findings
