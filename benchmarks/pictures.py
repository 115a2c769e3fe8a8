"""The growth curves of a result as one picture, drawn by xpcls.plots."""

from __future__ import annotations

from typing import Any

from .report import LINE, nearest_line

COLUMNS = 2
THREADS = "threads"


def growth(document: dict[str, Any]) -> Any:
    """A chart for each case of growth, time over what grows; None where there is no such case.

    Times are best times in milliseconds, on logarithmic axes, where a slope of 1 is growth in step;
    the dashed line is the one from which the times of xpcls are to differ little.
    """
    from xpcls import plots

    charts = [_chart(case) for case in document["cases"] if "axis" in case]
    if not charts:
        return None
    title = f"Time of a search, {document['machine']['cpu']}, {document['date'][:10]}"
    return plots.grid(charts, columns=COLUMNS, title=title)


def _chart(case: dict[str, Any]) -> Any:
    from xpcls import plots

    series = curves(case)
    dashed = []
    for hold in case["holds"]:
        if hold["against"] == LINE and hold["of"] in series:
            xs, times = series[hold["of"]]
            constant, slope, _ = nearest_line(xs, times)
            dashed.append("linear")
            series["linear"] = (xs, [constant + slope * x for x in xs])
    grows = case["axis"] != THREADS
    return plots.lines(
        series,
        title=case["case"],
        x_label=case["axis"],
        y_label="milliseconds",
        log_x=grows,
        log_y=grows,
        dashed=dashed,
    )


def curves(case: dict[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Of each curve of a case of growth that was measured, x and best times."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for contestant in case["contestants"]:
        if "best_ms" in contestant:
            xs, times = found.setdefault(contestant["curve"], ([], []))
            xs.append(contestant["x"])
            times.append(contestant["best_ms"])
    return found
