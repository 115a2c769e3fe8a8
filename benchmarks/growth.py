"""How the time of a search grows: with points, queries, features, neighbours and threads.

The contestants are those of neighbors.py at several sizes, all in turn: a curve for each of xpcls,
xpcls on NumPy alone and, of L2, FAISS. Rows are like images, float32, where nothing else is said of
64 features. Held: over points and over queries the times of xpcls lie within 10 % of a line, whose
constant part (what a query costs by itself, however few points there are) is told; and two threads
are 1.8 times as fast as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .cases import Case, Contestant

LINEAR = 0.10
TWO_THREADS = 1.8
BASE = {"points": 50_000, "queries": 2_000, "features": 64, "k": 10}
LABELS = {
    "points": "training rows",
    "queries": "queries",
    "features": "features",
    "k": "neighbours",
    "threads": "threads",
}
# What grows, from where to where, and what is other than in BASE meanwhile.
Growth = tuple[str, tuple[int, ...], dict[str, int]]
POINTS = (5_000, 15_000, 50_000, 150_000, 500_000)
GROWTHS: tuple[Growth, ...] = (
    ("points", POINTS, {}),
    ("queries", (1_000, 2_000, 4_000, 8_000), {}),
    ("features", (16, 64, 256, 784, 3_072), {"points": 10_000, "queries": 500}),
    ("k", (1, 10, 100, 1_000), {"queries": 500}),
)
L1_GROWTHS: tuple[Growth, ...] = (
    ("points", POINTS, {"queries": 500}),
    ("queries", (500, 1_000, 2_000), {}),
)
WIDE = {"points": 20_000, "queries": 500, "features": 784}
QUICK = {"points": 600, "queries": 60, "features": 16, "k": 3}


def cases(quick: bool) -> list[Case]:
    """Each growth by L2, of L1 those of points and queries, and threads."""
    if quick:
        return [_case("l2", "points", (300, 600), QUICK), _threads("l2", QUICK)]
    return [
        *(_case("l2", name, xs, {**BASE, **other}) for name, xs, other in GROWTHS),
        *(_case("l1", name, xs, {**BASE, **other}) for name, xs, other in L1_GROWTHS),
        *(_threads(metric, base) for metric in ("l2", "l1") for base in (BASE, {**BASE, **WIDE})),
    ]


def _contestants(
    metric: str, options: dict[str, Any], x: int, peers: Sequence[str], **more: Any
) -> list[Contestant]:
    """Of each curve the one at x."""
    builders = {"xpcls": "xpcls", "xpcls plain": "xpcls", "FAISS": "faiss"}
    found = []
    for curve in peers:
        contestant = Contestant(
            f"{curve}, {x:,}",
            f"benchmarks.neighbors:build_{builders[curve]}",
            {"metric": metric, "kind": "float32", **options},
            needs=("faiss",) if curve == "FAISS" else (),
            curve=curve,
            x=x,
            **more,
        )
        if curve == "xpcls plain":
            contestant = contestant.plain({}, contestant.name)
        found.append(contestant)
    return found


def _case(metric: str, what: str, xs: tuple[int, ...], base: dict[str, int]) -> Case:
    curves = ("xpcls", "xpcls plain", "FAISS") if metric == "l2" else ("xpcls",)
    found = [c for x in xs for c in _contestants(metric, {**base, what: x}, x, curves)]
    held = {"xpcls": LINEAR} if what in ("points", "queries") else {}
    name = f"{metric.upper()} over {LABELS[what]}, {_others(base, what)}"
    return Case("growth", name, tuple(found), axis=LABELS[what], linear=held)


def _threads(metric: str, base: dict[str, int]) -> Case:
    curves = ("xpcls", "xpcls plain", "FAISS") if metric == "l2" else ("xpcls",)
    found: list[Contestant] = []
    for threads in (1, 2):
        holds = {"xpcls, 1": 1 / TWO_THREADS} if threads == 2 else {}
        ours = _contestants(metric, base, threads, curves[:1], threads=threads, holds=holds)
        found += [*ours, *_contestants(metric, base, threads, curves[1:], threads=threads)]
    name = f"{metric.upper()} over threads, {_others(base, 'threads')}"
    return Case("growth", name, tuple(found), axis=LABELS["threads"])


def _others(base: dict[str, int], what: str) -> str:
    return ", ".join(f"{n:,} {LABELS[name]}" for name, n in base.items() if name != what)
