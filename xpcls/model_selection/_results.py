"""The table of a search: which settings were tried, and what each fold says of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xpcls.options import shown
from xpcls_backends import MISSING, masked_column, namespace_of, to_host

Setting = dict[str, Any]
Grid = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def settings_of(grid: Grid) -> list[Setting]:
    """Every combination of a grid: names sorted, the last one varying fastest.

    grid : a dict of name: values; or a list of such dicts, one after the other, for names that do
        not go together. The order is that of scikit-learn's ParameterGrid.
    """
    grids = [grid] if isinstance(grid, Mapping) else grid
    if isinstance(grids, str) or not isinstance(grids, Sequence) or not grids:
        raise TypeError(
            f"grid is {shown(grid)}, expected a dict of name: values, or a list of such"
        )
    return [setting for one in grids for setting in _combinations(one)]


def _combinations(grid: Any) -> Iterator[Setting]:
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid holds {shown(grid)}, expected a dict of name: values")
    names = sorted(grid)
    columns = []
    for name in names:
        values = grid[name]
        if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
            raise TypeError(
                f"grid[{name!r}] is {shown(values)}, expected a sequence of values; for one value "
                f"give [{shown(values)}]"
            )
        columns.append(list(values))
        if not columns[-1]:
            raise ValueError(f"grid[{name!r}] is empty, expected at least one value to try")
    for values in itertools.product(*columns):
        yield dict(zip(names, values, strict=True))


def cv_results(
    settings: Sequence[Setting],
    scores: Sequence[Sequence[float]],
    fit_seconds: Sequence[Sequence[float]],
    score_seconds: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """What scikit-learn's GridSearchCV calls `cv_results_`: its keys, kinds and order.

    Each of the last three has a row for each setting and a column for each fold; n settings give
    NumPy columns (n,): float64 times in seconds, scores, their mean and standard deviation over
    the folds (each fold counts the same; divided by the number of folds, not one less), and the
    rank of the mean, int32, 1 for the best, equal means sharing the better rank, NaN last.
    """
    results: dict[str, Any] = {}
    _add_moments(results, "fit_time", to_host(fit_seconds))
    _add_moments(results, "score_time", to_host(score_seconds))
    names = dict.fromkeys(name for setting in settings for name in setting)
    for name in names:
        column = [setting.get(name, MISSING) for setting in settings]
        results[f"param_{name}"] = masked_column(column)
    results["params"] = [dict(setting) for setting in settings]
    table = to_host(scores)
    for fold in range(table.shape[1]):
        results[f"split{fold}_test_score"] = table[:, fold]
    _add_moments(results, "test_score", table)
    means: list[float] = results["mean_test_score"].tolist()
    results["rank_test_score"] = to_host(ranks(means)).astype("int32")
    return results


def ranks(means: Sequence[float]) -> list[int]:
    """1 + how many are better, for each; NaN is worse than every number."""
    order = [-math.inf if math.isnan(mean) else mean for mean in means]
    place: dict[float, int] = {}
    for i, mean in enumerate(sorted(order, reverse=True)):
        place.setdefault(mean, i + 1)
    return [place[mean] for mean in order]


def _add_moments(results: dict[str, Any], name: str, table: Any) -> None:
    xp = namespace_of(table)
    means = xp.mean(table, axis=1)
    results[f"mean_{name}"] = means
    results[f"std_{name}"] = xp.sqrt(xp.mean((table - means[:, None]) ** 2, axis=1))
