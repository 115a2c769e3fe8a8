"""What a wrong gradient looks like: the mistake that explains the numbers."""

from __future__ import annotations

from typing import Any

from xpcls_backends import namespace_of

WRONG, SUSPICIOUS = 1e-2, 1e-4  # relative errors, by the course's notes
ALIKE = 1e-3  # how well a mistake has to explain the numbers


def diagnosis_of(
    analytic: Any,
    numerical: Any,
    x: Any,
    errors: Any,
    kinked: Any,
    tolerance: float,
    *,
    transposed: bool,
    of_transpose: Any | None,
) -> str:
    """One sentence for a gradient check; arrays (P,) on the host, one entry a coordinate.

    transposed : the gradient came with the shape of its transpose. of_transpose : the entries of
    the transpose of a square gradient.
    """
    if transposed:
        return "the gradient has the shape of its transpose: swap the factors of the product"
    wrong = errors > tolerance
    n_wrong, n_kinks = int(wrong.sum()), int(kinked.sum())
    if n_wrong == 0 and n_kinks == wrong.shape[0]:
        return "there is a kink at every coordinate: move x a little and check again"
    if n_wrong == 0:
        beside = f", and at {n_kinks} kinks it lies between the slopes" if n_kinks else ""
        return f"the gradient is that of f{beside}"
    smooth = ~kinked
    a, n = analytic[smooth], numerical[smooth]
    mistake = _mistake(a, n, x[smooth], wrong[smooth], of_transpose, smooth)
    if mistake is not None:
        return mistake
    how_many = f"{n_wrong} of {wrong.shape[0]} coordinates"
    largest = float(errors.max())
    if largest > WRONG:
        return f"the gradient is wrong at {how_many}: derive again the terms that reach them"
    if largest > SUSPICIOUS:
        return f"the gradient is probably wrong at {how_many}: look for a small term left out"
    return (
        f"the errors at {how_many} are too large for a smooth f, and all right where f has kinks "
        "or is computed with much rounding"
    )


def _mistake(
    a: Any, n: Any, x: Any, wrong: Any, of_transpose: Any | None, smooth: Any
) -> str | None:
    """A mistake that explains all wrong entries, or None."""
    xp = namespace_of(a)
    if not xp.isfinite(a).all():
        return "the gradient holds NaN or infinity: look for a division by 0, or a log of it"
    if not (n != 0).any() or not wrong.any():
        return None
    if not (a != 0).any():
        return "the gradient is 0 everywhere: it was never filled"
    excess = _factor(a - n, n)
    if excess is not None and abs(excess + 2.0) < ALIKE:
        return "the gradient has the wrong sign"
    if excess is not None:
        return (
            f"the gradient is {1.0 + excess:.4g} times the right one: a factor is wrong; with a "
            "mean over N examples it is N where the division is missing, 1/N where it is done twice"
        )
    if of_transpose is not None and abs((_factor(of_transpose[smooth], n) or 0) - 1) < ALIKE:
        return "the transpose of the gradient fits: two indices are swapped"
    difference = (a - n)[wrong]
    share = _factor(difference, x[wrong])
    if share is not None:
        return (
            f"the gradient is off by {share:.4g} x: that of a penalty on x has a wrong factor; "
            "that of l2 sum(x^2) is 2 l2 x"
        )
    share = _factor(difference, xp.sign(x[wrong]))
    if share is not None:
        return f"the gradient is off by {share:.4g} sign(x): that of l1 sum(|x|) is l1 sign(x)"
    share = _factor(difference, xp.ones_like(difference))
    if share is not None and difference.shape[0] > 1:
        return f"the gradient is off by {share:.4g} everywhere: a constant term is wrong"
    return None


def _factor(a: Any, b: Any) -> float | None:
    """c where a is c * b, within ALIKE and for more than one entry, else None."""
    length = float((b * b).sum())
    if length == 0.0 or b.shape[0] < 2:
        return None
    c = float((a * b).sum()) / length
    rest = a - c * b
    return c if float((rest * rest).sum()) <= (ALIKE * c) ** 2 * length and c != 0.0 else None
