"""What the parts of a data set have in common that they should not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

from xpcls.checks._result import Check, concluded
from xpcls.data import Dataset, Split, duplicate_rows
from xpcls.options import check_flag, shown
from xpcls.progress import advance
from xpcls_backends import Array, flatnonzero, label_codes, to_host

from ._bias import (
    class_counts,
    from_middle,
    group_means,
    homogeneity,
    midranks,
    rank_sum,
    two_sided,
)
from ._copies import near_copies, rows_of, standardized
from ._parts import Parts, checked_column, checked_images, named_parts

FALSE_ALARMS = 0.01  # of each kind, for one honest split
SHOWN = 3  # examples in a sentence

Pair = tuple[int, int]
Lit = tuple[Array, Array]  # numbers of rows, on the host, and their images, standardised


@dataclass(frozen=True)
class Finding:
    """What one look at two parts gave.

    kind : "rows", "copies", "near copies", "groups", "times", "row order" or "classes".
    parts : the names of the two. leak : whether it is an alarm. numbers : those that decide.
    diagnosis : one sentence on what they mean and, for an alarm, what to do.
    rows : the pairs of rows that stand in both, for the first four kinds: all of them, the row of
        the first part and that of the second.
    """

    kind: str
    parts: tuple[str, str]
    leak: bool
    numbers: str
    diagnosis: str
    rows: tuple[Pair, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LeakReport(Check):
    """findings : of every look at every two parts, whether it is an alarm or not."""

    title: ClassVar[str] = "split"

    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The alarms."""
        return tuple(finding for finding in self.findings if finding.leak)

    def numbers(self) -> str:
        return f"{len(self.leaks)} alarms in {len(self.findings)} looks"

    @property
    def table(self) -> str:
        """Every look, a line each, and a sentence below for each alarm."""
        lines = [
            ("LEAK" if f.leak else "ok", f.kind, " / ".join(f.parts), f.numbers)
            for f in self.findings
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:3]
        text = [
            "  ".join((*(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=False)), line[3]))
            for line in lines
        ]
        return "\n".join(text + [f"{f.kind}: {f.diagnosis}" for f in self.leaks])


def find_leaks(
    parts: Split | Mapping[str, Any] | Sequence[Any],
    images: Any = None,
    labels: Any = None,
    *,
    groups: Any = None,
    times: Any = None,
    order: bool = True,
    raise_on_failure: bool = False,
) -> LeakReport:
    """Look for what makes a score on one part of a data set better than it is.

    Parameters
    ----------
    parts : a Split, a dict of name: rows, or a sequence of rows: (train, test) or (train,
        validation, test), such as a fold of a splitter. The training rows come first.
    images : (n, ...), of any backend, or a Dataset, whose labels are then known. Optional, as all
        that follows: what is not given is not looked at.
    labels, groups : (n,), numbers or text; a group is what must not be divided: one photographer,
        one street, one video.
    times : (n,), when each image was taken: numbers, dates, or text that sorts by time.
    order : look at the numbers of the rows as at times. Pass False where the makers of the data
        put the test rows last; of a Dataset with official_test they are not looked at.

    What is looked for, in every two parts
    --------------------------------------
    rows : the same row in both. copies : images with the same bytes in both.
    near copies : an image that, but for brightness and contrast, is far nearer to one of the
        other part than images there are to each other; see below.
    groups : a group in both. times, row order : one part earlier or later than the other, or
        nearer to the middle, by rank sums (Mann and Whitney, 1947). Where groups are given and
        none is divided, whole groups were drawn: each has one rank, that of its mean.
    classes : other shares of the classes, by chi^2 (Pearson, 1900), or a class that is not among
        the training rows: data sorted by class and cut without shuffling.

    Near copies: each image is standardised, in float32; the distance to the nearest image of the
    other part is compared with that to the tenth. How small that ratio gets by chance follows from
    the dimension of the data, which is measured in the first part. Found are brighter and darker
    copies, noise and JPEG. Not found are moved, turned or mirrored ones; images of one colour,
    which are left out; and, often, images of which the first part has more than 9 copies. Honest
    parts alarm where the theory does not hold: images in tight clusters of fewer than about 10,
    images some of which have far less noise than others, values so coarse that images coincide.
    Integers above 2^24 are rounded. Takes a copy of the parts in float32 (600 MB for 50,000 images
    of 3,072 values), and a search for neighbours of every part in those before it.

    Near copies, times, row order and classes alarm by chance in about 1 of 100 honest splits each;
    a class without training rows always does. Classes are counted by rows, so that whole groups
    of one class alarm.

    Returns a LeakReport: `passed`, the findings with their rows, `diagnosis`, `table`. With
    `raise_on_failure` an alarm is a CheckError.
    """
    check_flag("order", order)
    if isinstance(images, Dataset):
        if labels is not None:
            raise TypeError("labels is given beside a Dataset, which has its own; leave it out")
        order = bool(order) and not images.official_test
        images, labels = images.images, images.labels
    if images is not None:
        images = checked_images(images)
    columns = {
        name: checked_column(name, values)
        for name, values in (("labels", labels), ("groups", groups), ("times", times))
        if values is not None
    }
    lengths = {name: column.shape[0] for name, column in columns.items()}
    if images is not None:
        lengths = {"images": images.shape[0], **lengths}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise ValueError(f"{listed}: expected as many entries in each, one a row of the data set")
    named = named_parts(parts, next(iter(lengths.values()), None))
    findings = list(_look(named, images, columns, bool(order)))
    leaks = [finding for finding in findings if finding.leak]
    diagnosis = "; ".join(f"{f.kind}: {f.diagnosis}" for f in leaks)
    report = LeakReport(
        passed=not leaks,
        diagnosis=diagnosis or "the parts share nothing that was looked for",
        findings=tuple(findings),
    )
    return concluded(report, raise_on_failure)


def _look(parts: Parts, images: Any, columns: dict[str, Any], order: bool) -> Iterator[Finding]:
    pairs = list(combinations(parts, 2))
    allowed = FALSE_ALARMS / len(pairs)
    for a, b in pairs:
        yield _shared_rows(a, b, parts)
    if images is not None:
        across = _copies(parts, images)
        for a, b in pairs:
            yield _finding_of_copies(a, b, across.get((a, b), []))
        lit = {name: _lit(images, rows) for name, rows in parts.items()}
        for i, (a, b) in enumerate(pairs):
            advance("near copies", i, len(pairs))
            if lit[a][0].shape[0] > 2 and lit[b][0].shape[0]:
                yield _near(a, b, lit, allowed, set(across.get((a, b), [])))
        advance("near copies", len(pairs), len(pairs))
    groups = columns["groups"].tolist() if "groups" in columns else None
    if groups is not None:
        for a, b in pairs:
            yield _shared_groups(a, b, parts, groups)
    if "times" in columns:
        for a, b in pairs:
            yield _ordered("times", a, b, parts, columns["times"], groups, allowed)
    if order:
        for a, b in pairs:
            yield _ordered("row order", a, b, parts, None, groups, allowed)
    if "labels" in columns:
        for a, b in pairs:
            yield _classes(a, b, parts, columns["labels"], allowed, a == next(iter(parts)))


# --- the same images ----------------------------------------------------------------------------


def _shared_rows(a: str, b: str, parts: Parts) -> Finding:
    both = sorted(set(parts[a].tolist()) & set(parts[b].tolist()))
    return Finding(
        "rows",
        (a, b),
        bool(both),
        f"{len(both)} in both",
        f"{_some(both)} {_stand(both)} in {a} and in {b}: take {_them(both)} out of one"
        if both
        else "none in both",
        tuple((row, row) for row in both),
    )


def _copies(parts: Parts, images: Array) -> dict[tuple[str, str], list[Pair]]:
    """Rows with the same bytes, by the two parts in which they stand: one pair for each of b."""
    places: dict[int, list[str]] = {}
    for name, rows in parts.items():
        for row in rows.tolist():
            places.setdefault(row, []).append(name)
    across: dict[tuple[str, str], list[Pair]] = {}
    for group in duplicate_rows(images):
        members = {
            name: [row for row in group.tolist() if name in places.get(row, ())] for name in parts
        }
        for a, b in combinations(parts, 2):
            for row in members[b]:
                partner = next((other for other in members[a] if other != row), None)
                if partner is not None:
                    across.setdefault((a, b), []).append((partner, row))
    return {key: sorted(pairs, key=lambda pair: pair[1]) for key, pairs in across.items()}


def _finding_of_copies(a: str, b: str, pairs: list[Pair]) -> Finding:
    return Finding(
        "copies",
        (a, b),
        bool(pairs),
        f"{len(pairs)} rows of {b}",
        f"{_some_pairs(pairs)} {_are(pairs)} the same image in {a} and {b}: drop copies with "
        "xpcls.data.duplicate_rows before splitting"
        if pairs
        else "no image has a copy in the other part",
        tuple(pairs),
    )


def _lit(images: Array, rows: Array) -> Lit:
    """The rows of a part that are not of one colour, and their images, standardised."""
    found, lit = standardized(rows_of(images, rows))
    if to_host(lit).all():
        return rows, found
    return rows[to_host(lit)], rows_of(found, flatnonzero(to_host(lit)))


def _near(a: str, b: str, lit: dict[str, Lit], allowed: float, exact: set[Pair]) -> Finding:
    (mine, of_mine), (theirs, of_theirs) = lit[a], lit[b]
    queries, points, threshold, dimension = near_copies(of_mine, of_theirs, allowed)
    known = {row for _, row in exact}
    found = [
        (int(mine[point]), int(theirs[query]))
        for query, point in zip(queries, points, strict=True)
        if int(theirs[query]) not in known and int(mine[point]) != int(theirs[query])
    ]
    return Finding(
        "near copies",
        (a, b),
        bool(found),
        f"{len(found)} rows of {b} (nearest below {threshold:.2f} of the tenth, dimension "
        f"{dimension:.1f})",
        f"{_some_pairs(found)} {_are(found)} nearly the same image in {a} and {b}: look at them, "
        "and keep versions of one image in one part, as a group"
        if found
        else "no image is nearer to the other part than chance has it",
        tuple(found),
    )


def _shared_groups(a: str, b: str, parts: Parts, groups: list[Any]) -> Finding:
    first: dict[Any, int] = {}  # row of each group
    for row in parts[a].tolist():
        first.setdefault(groups[row], row)
    pairs = [(first[groups[row]], row) for row in parts[b].tolist() if groups[row] in first]
    names = list(dict.fromkeys(groups[row] for _, row in pairs))
    listed = ", ".join(shown(name) for name in names[:SHOWN]) + (", ..." * (len(names) > SHOWN))
    return Finding(
        "groups",
        (a, b),
        bool(pairs),
        f"{len(names)} in both, with {len(pairs)} rows of {b}",
        f"{listed} {'stand' if len(names) > 1 else 'stands'} in {a} and in {b}: split by group, "
        "with xpcls.model_selection.GroupKFold"
        if pairs
        else "no group is divided",
        tuple(pairs),
    )


# --- how the parts were drawn -------------------------------------------------------------------


def _ordered(
    kind: str, a: str, b: str, parts: Parts, times: Any, groups: list[Any] | None, allowed: float
) -> Finding:
    both = to_host([*parts[a].tolist(), *parts[b].tolist()])
    ranks, n = midranks(both if times is None else times[both]), parts[a].shape[0]
    drawn = ""
    if groups is not None:
        of_group = [groups[row] for row in both.tolist()]
        if not set(of_group[:n]) & set(of_group[n:]):  # else they were not what was drawn
            ranks, n = midranks(group_means(ranks, of_group)), len(set(of_group[:n]))
            drawn = f" of {ranks.shape[0]} groups"
    share, z = rank_sum(ranks[:n], ranks[n:])
    middle = from_middle(ranks)
    outer, spread = rank_sum(middle[:n], middle[n:])
    p = 2 * min(two_sided(z), two_sided(spread))  # two looks, so twice the chance
    leak = p < allowed
    if abs(z) >= abs(spread):
        what = f"rows of {b} come {'after' if share > 0.5 else 'before'} those of {a}"
    else:
        what = f"rows of {b} lie {'farther from' if outer > 0.5 else 'nearer to'} the middle"
    subject = "in time" if kind == "times" else "in the data set"
    return Finding(
        kind,
        (a, b),
        leak,
        f"after {share:.1%} (z {z:.1f}), outside {outer:.1%} (z {spread:.1f}){drawn}",
        f"{what} {subject}, more than chance has it: shuffle before splitting, "
        "or, where new images will come later too, say that this was meant"
        if leak
        else "drawn alike",
    )


def _classes(a: str, b: str, parts: Parts, labels: Any, allowed: float, training: bool) -> Finding:
    classes, codes = label_codes(labels)
    n = classes.shape[0]
    counts = [class_counts(codes[parts[name]], n) for name in (a, b)]
    squares, degrees, p = homogeneity(*counts)
    new = [classes.tolist()[c] for c in range(n) if training and counts[1][c] and not counts[0][c]]
    if new:
        listed = ", ".join(map(shown, new[:SHOWN])) + (", ..." * (len(new) > SHOWN))
        diagnosis = f"no row of {a} is of class {listed}, which {b} has"
    else:
        diagnosis = f"the classes have other shares in {a} than in {b}"
    leak = bool(new) or p < allowed
    return Finding(
        "classes",
        (a, b),
        leak,
        f"chi^2 {squares:.1f} with {degrees} degrees of freedom, p {p:.2g}, {len(new)} new",
        f"{diagnosis}: were rows sorted by class cut without shuffling? Stratify"
        if leak
        else "the classes have like shares",
    )


# --- words ----------------------------------------------------------------------------------------


def _some(rows: list[int]) -> str:
    listed = ", ".join(map(str, rows[:SHOWN])) + (", ..." * (len(rows) > SHOWN))
    return f"row{'s' * (len(rows) > 1)} {listed}"


def _some_pairs(pairs: list[Pair]) -> str:
    listed = ", ".join(f"{a} and {b}" for a, b in pairs[:SHOWN])
    return f"rows {listed}" + (f", ... ({len(pairs)} pairs)" if len(pairs) > SHOWN else "")


def _stand(rows: list[int]) -> str:
    return "stands" if len(rows) == 1 else "stand"


def _them(rows: list[int]) -> str:
    return "it" if len(rows) == 1 else "them"


def _are(pairs: list[Pair]) -> str:
    return "are" if len(pairs) == 1 else "are each"
