"""Whether the neighbours are right: 2,003 queries a case, in rows that make it hard. Not timed.

Every kind of `hard_rows`, both metrics, k of 1, 10 and 100, and odd numbers of rows and features;
of some kinds also as many features as images have, a single feature, and k up to all rows.

xpcls           `distances.nearest` and `KNeighborsClassifier.kneighbors`, with kernels wherever
                there are any.
xpcls plain     the same on NumPy alone.

The neighbours are compared with float64 sums of direct differences, as `exact.judge` has it: not
one row, and no order of rows, may differ from what float64 decides. The distances are compared too,
with those in float64, and may be wrong by 1e-6 of themselves: they are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding
from .exact import judge, nearest64
from .hard_rows import KINDS, rows_of

Subject = tuple[Callable[[], object], Callable[[], Any]]

QUERIES = 2_003
WIDE_KINDS = ("images", "gaussian", "huge offset", "uint8 images", "uint8 extremes")
LONG_KINDS = ("images", "uint8 images")
SMALL_KINDS = ("gaussian", "few values", "uint8 noise")
KS = (1, 10, 100)
AGREE = 1e-6
SMALLEST = 2.0**-149  # of float32
HERE = "benchmarks.exact_neighbors"


def cases(quick: bool) -> list[Case]:
    """Each kind at a middling size, and some at others: (kind, queries, points, features, ks)."""
    if quick:
        sizes = [(kind, 33, 201, 17, KS) for kind in ("gaussian", "duplicates", "uint8 extremes")]
    else:
        sizes = [(kind, QUERIES, 1_101, 65, KS) for kind in KINDS]
        sizes += [(kind, QUERIES, 5_003, 33, KS) for kind in LONG_KINDS]
        sizes += [(kind, QUERIES, 601, 785, KS) for kind in WIDE_KINDS]
        sizes += [(kind, QUERIES, 201, 3_073, KS) for kind in LONG_KINDS]
        sizes += [(kind, QUERIES, 101, 1, (*KS, 101)) for kind in SMALL_KINDS]
    return [_case(metric, *size) for metric in ("l2", "l1") for size in sizes]


def _case(
    metric: str, kind: str, queries: int, points: int, features: int, ks: tuple[int, ...]
) -> Case:
    options = {
        "kind": kind,
        "metric": metric,
        "queries": queries,
        "points": points,
        "features": features,
        "ks": list(ks),
    }
    ours = Contestant("xpcls", f"{HERE}:build", options, "kernels wherever there are any")
    contestants = (ours, ours.plain({}))
    name = f"{metric.upper()} {kind}, {points:,} x {queries:,} x {features:,}"
    return Case("exact", name, contestants, partial(check, options), most_rounds=0)


def build(
    *,
    kind: str,
    metric: str,
    queries: int,
    points: int,
    features: int,
    ks: list[int],
    threads: int,
) -> Subject:
    """Answers for each k: the rows by `nearest` and by the classifier, and distances by both."""
    from xpcls import KNeighborsClassifier
    from xpcls.distances import nearest
    from xpcls_backends.kernels import asking_for_kernels, why_none

    sought, rows = rows_of(kind, queries, points, features)
    model = KNeighborsClassifier(1, metric=metric).fit(rows, np.arange(points) % 2)

    def answer() -> list[dict[str, Any]]:
        with asking_for_kernels(True) if why_none() is None else nullcontext():
            found = [
                (way, k, search(k))
                for k in ks
                for way, search in (
                    ("nearest", partial(_nearest_of, nearest, sought, rows, metric)),
                    ("model", partial(model.kneighbors, sought)),
                )
            ]
        return [
            {"way": way, "k": k, "distances": d.tolist(), "indices": i.tolist()}
            for way, k, (d, i) in found
        ]

    return answer, answer


def _nearest_of(nearest: Any, sought: Any, rows: Any, metric: str, k: int) -> Any:
    return nearest(sought, rows, k, metric)


def check(options: dict[str, Any], answers: dict[str, Any]) -> dict[str, Finding]:
    """Rows and distances of each contestant, by each way and for each k."""
    metric, ks = options["metric"], options["ks"]
    sizes = (options["queries"], options["points"], options["features"])
    queries, points = rows_of(options["kind"], *sizes)
    squared, indices = nearest64(queries, points, max(ks), metric)
    distances = np.sqrt(squared) if metric == "l2" else squared
    findings = {}
    for name, answer in answers.items():
        wrong = undecided = 0
        off = 0.0
        for part in answer:
            k = part["k"]
            truth = squared[:, :k], indices[:, :k]
            judged = judge(np.asarray(part["indices"]), truth, queries, points, metric)
            wrong, undecided = wrong + judged.wrong, undecided + judged.undecided
            error = np.abs(np.asarray(part["distances"]) - distances[:, :k])
            off = max(off, float(np.max((error - SMALLEST) / (distances[:, :k] + SMALLEST))))
        text = f"{wrong} of {len(answer) * queries.shape[0]:,} answers differ from float64"
        text += f", {undecided} where it decides nothing" if undecided else ""
        text += f"; distances off by {max(off, 0.0):.1e}"
        findings[name] = Finding(text, ok=wrong == 0 and off <= AGREE)
    return findings
