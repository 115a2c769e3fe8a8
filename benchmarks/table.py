"""`python -m benchmarks.table results/X.json`: a result as tables in Markdown.

With --write they take the place of what stands between the marks in benchmarks/README.md, where the
peers are ahead takes its place in benchmarks/PEERS.md, and the growth curves are drawn beside the
JSON, as X-growth.svg. So no figure is copied by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import pictures
from .timing import ROOT

HOME = Path(__file__).parent
OURS = "xpcls"
MEASURED, AHEAD = "measured", "where peers are ahead"

Case = dict[str, Any]


def tables(document: dict[str, Any], picture: str = "") -> str:
    """Where, with what and how it was measured, and a section for each suite.

    picture : the path of the growth curves, which their section shows.
    """
    machine, versions = document["machine"], document["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [
        f"Measured on {document['date'][:10]}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}; {document['threads']} threads; "
        f"{libraries}.",
        "Best times in milliseconds; in brackets the time of xpcls divided by the contestant's.",
    ]
    for suite, cases in _suites(document).items():
        parts.append(f"### {suite}")
        if all("axis" in case for case in cases):
            parts += [f"![Growth curves]({picture})"] if picture else []
            parts += [f"{case['case']}:\n\n{_growth(case)}" for case in cases]
        elif timed := [case for case in cases if _best(case)]:
            parts.append(_timed(timed))
        parts.append(_judged(cases))
    return "\n\n".join(filter(None, parts))


def peers_ahead(document: dict[str, Any]) -> str:
    """A row for each case and peer that took less time than xpcls; of growth, for each x."""
    rows = []
    for case in document["cases"]:
        for of, ours, peer, theirs in _pairs(case):
            if theirs < ours:
                rows.append(
                    [case["suite"], of, peer, _ms(theirs), _ms(ours), f"{ours / theirs:.2f}"]
                )
    if not rows:
        return "In no case of this result."
    return _markdown(["suite", "case", "peer", "its time", "xpcls", "ratio"], rows)


def replaced(text: str, mark: str, new: str) -> str:
    """`text` with `new` between `<!-- mark -->` and `<!-- end of mark -->`; raises ValueError where
    the marks are not there."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"there is no {begin} with {end} after it")
    return f"{before}{begin}\n\n{new}\n\n{end}{after}"


def _suites(document: dict[str, Any]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in document["cases"]:
        found.setdefault(case["suite"], []).append(case)
    return found


def _best(case: Case) -> dict[str, float]:
    return {c["name"]: c["best_ms"] for c in case["contestants"] if "best_ms" in c}


def _pairs(case: Case) -> Iterator[tuple[str, float, str, float]]:
    """(what, time of xpcls, peer, its time) for all that did the same work."""
    if "axis" in case:
        curves = {name: dict(zip(*points, strict=True)) for name, points in _curves(case)}
        for peer, points in curves.items():
            for x, time in points.items():
                if not peer.startswith(OURS) and x in curves.get(OURS, {}):
                    yield f"{case['case']}: {x:,.0f}", curves[OURS][x], peer, time
        return
    best = _best(case)
    for peer, time in best.items():
        if not peer.startswith(OURS) and OURS in best:
            yield case["case"], best[OURS], peer, time


def _curves(case: Case) -> Iterator[tuple[str, tuple[list[float], list[float]]]]:
    yield from pictures.curves(case).items()


def _timed(cases: list[Case]) -> str:
    """A row a case, a column a contestant."""
    names = list(dict.fromkeys(c["name"] for case in cases for c in case["contestants"]))
    rows = []
    for case in cases:
        best = _best(case)
        cells = []
        for name in names:
            cell = _ms(best[name]) if name in best else ""
            if name in best and name != OURS and OURS in best:
                cell += f" ({best[OURS] / best[name]:.2f})"
            cells.append(cell)
        rows.append([case["case"], *cells])
    return _markdown(["case", *names], rows)


def _growth(case: Case) -> str:
    """A row for each x, a column a curve."""
    curves = {name: dict(zip(*points, strict=True)) for name, points in _curves(case)}
    xs = sorted({x for points in curves.values() for x in points})
    rows = [
        [f"{x:,.0f}", *(_ms(points[x]) if x in points else "" for points in curves.values())]
        for x in xs
    ]
    return _markdown([case["axis"], *curves], rows)


def _judged(cases: list[Case]) -> str:
    """How many answers were checked and right, and which figures were held."""
    checks = [
        (case["case"], contestant["name"], contestant["check"])
        for case in cases
        for contestant in case["contestants"]
        if contestant.get("check", {}).get("ok") is not None
    ]
    holds = [(case["case"], hold) for case in cases for hold in case["holds"]]
    held = sum(hold["verdict"] == "held" for _, hold in holds)
    right = sum(check["ok"] for _, _, check in checks)
    told = [f"{right} of {len(checks)} checked answers are right."] if checks else []
    told += [f"{held} of {len(holds)} figures are held."] if holds else []
    lines = [f"- WRONG: {case}, {name}: {c['text']}" for case, name, c in checks if not c["ok"]]
    lines += [f"- {case}: {hold['text']}" for case, hold in holds if hold["verdict"] != "held"]
    return "\n\n".join(filter(None, [" ".join(told), "\n".join(lines)]))


def _ms(time: float) -> str:
    """Three digits, and no fewer than those before the point."""
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description="A result as tables in Markdown."
    )
    parser.add_argument("result", type=Path, help="a JSON file that python -m benchmarks wrote")
    parser.add_argument(
        "--write", action="store_true", help="into README.md and PEERS.md; draw the growth curves"
    )
    options = parser.parse_args(arguments)
    document = json.loads(options.result.read_text("utf-8"))
    if not options.write:
        print(tables(document), peers_ahead(document), sep="\n\n### Where peers are ahead\n\n")
        return 0
    drawn, name = pictures.growth(document), ""
    if drawn is not None:
        path = options.result.with_name(f"{options.result.stem}-growth.svg")
        drawn.save(path)
        name = path.resolve().relative_to(HOME).as_posix()
    for page, mark, new in (
        ("README.md", MEASURED, tables(document, name)),
        ("PEERS.md", AHEAD, peers_ahead(document)),
    ):
        path = HOME / page
        path.write_text(replaced(path.read_text("utf-8"), mark, new), "utf-8")
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "backends")]
    sys.exit(main())
