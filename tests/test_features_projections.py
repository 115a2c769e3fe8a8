"""PCA, FisherLDA, scaling and maps: against scikit-learn, and every backend against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import decomposition, discriminant_analysis, preprocessing
from sklearn.datasets import load_digits

from xpcls.features import PCA, FisherLDA, FunctionTransformer, PolarMap, StandardScaler
from xpcls.features._statistics import with_fixed_signs
from xpcls_backends import Backend, device_of, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads

DIGITS, LABELS = load_digits(return_X_y=True)
FEW = DIGITS[:40]
rng = np.random.default_rng(0)


def up_to_sign(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """`expected` with each column's sign that of `found`."""
    return expected * np.sign((found * expected).sum(axis=0))


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("rows", [DIGITS, FEW], ids=["more rows", "more features"])
def test_pca_is_that_of_scikit_learn_up_to_sign(rows: np.ndarray, whiten: bool) -> None:
    ours = PCA(20, whiten=whiten).fit(rows)
    theirs = decomposition.PCA(20, whiten=whiten, svd_solver="full").fit(rows)
    expected = up_to_sign(ours.components_.T, theirs.components_.T).T
    np.testing.assert_allclose(ours.components_, expected, atol=1e-10)
    for name in ("explained_variance_", "explained_variance_ratio_", "mean_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-10)
    found = ours.transform(DIGITS)
    np.testing.assert_allclose(found, up_to_sign(found, theirs.transform(DIGITS)), atol=1e-9)
    back = ours.inverse_transform(found)
    np.testing.assert_allclose(back, theirs.inverse_transform(theirs.transform(DIGITS)), atol=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.8, 0.95, 0.999999])
def test_a_share_of_the_variance_takes_as_few_as_scikit_learn(share: float) -> None:
    expected = decomposition.PCA(share, svd_solver="full").fit(DIGITS).n_components_
    assert PCA(share).fit(DIGITS).n_components_ == expected


def test_all_directions_in_which_rows_vary_are_taken() -> None:
    assert PCA().fit(DIGITS).n_components_ == np.linalg.matrix_rank(DIGITS - DIGITS.mean(axis=0))
    assert PCA().fit(FEW).n_components_ == np.linalg.matrix_rank(FEW - FEW.mean(axis=0)) == 39
    white = PCA(whiten=True).fit_transform(FEW)
    np.testing.assert_allclose(np.cov(white.T), np.eye(39), atol=1e-9)


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", ["tall", "wide", "images"])
def test_every_backend_projects_as_numpy_does(backend: Backend, kind: str, shape: str) -> None:
    if backend.name == "strict-no_float64" and kind == "float64":
        pytest.skip("this device has no float64 to compute in")
    # Variances far apart, so that every direction is determined, also in float32.
    spread = 100.0 * 0.6 ** np.arange(12)
    rows = (127 + rng.uniform(-1, 1, (60, 12)) * spread).clip(0, 255).astype(kind)
    rows = {"tall": rows, "wide": rows[:9], "images": rows.reshape(60, 2, 2, 3)}[shape]
    y = np.arange(rows.shape[0]) % 3
    # Without float64 and with few bits the faint directions are lost in rounding.
    close = 1e-9 if kind == "float64" else 2e-3
    for make in (lambda: PCA(4), lambda: PCA(3, whiten=True), FisherLDA, StandardScaler):
        expected = make().fit(rows, y)
        X = backend.asarray(rows)
        with forbid_host_reads():
            ours = make().fit(X, backend.asarray(y))
            found = ours.transform(X)
        assert namespace_of(found) is backend.xp and device_of(found) == backend.device
        there = expected.transform(rows)
        assert to_host(found).dtype == there.dtype
        np.testing.assert_allclose(to_host(found), there, rtol=close, atol=close * abs(there).max())
        if hasattr(ours, "inverse_transform"):
            back = to_host(ours.inverse_transform(found))
            expected_back = expected.inverse_transform(there)
            np.testing.assert_allclose(back, expected_back, rtol=close, atol=close * 255)


def test_the_sign_is_that_of_the_largest_entry(backend: Backend) -> None:
    vectors = np.asarray([[1.0, -3.0, 2.0], [0.5, 0.25, -0.25], [-2.0, 2.0, 1.0]], dtype=np.float32)
    with forbid_host_reads():
        found = with_fixed_signs(backend.asarray(vectors))
    np.testing.assert_array_equal(
        to_host(found), [[-1, 3, -2], [0.5, 0.25, -0.25], [2, -2, -1]]
    )  # of equal entries the first


@pytest.mark.parametrize("n_components", [None, 1, 4])
def test_discriminants_are_those_of_scikit_learn_up_to_scale(n_components: int | None) -> None:
    ours = FisherLDA(n_components).fit(DIGITS, LABELS)
    theirs = discriminant_analysis.LinearDiscriminantAnalysis(n_components=n_components)
    found, expected = ours.transform(DIGITS), theirs.fit(DIGITS, LABELS).transform(DIGITS)
    assert found.shape == expected.shape
    scale = (found * expected).sum(axis=0) / (expected**2).sum(axis=0)
    np.testing.assert_allclose(found, expected * scale, atol=1e-9 * abs(found).max())
    assert abs(abs(scale) - 1).max() < 1e-2  # both have variance 1 within classes, of N - C or N


def test_discriminants_maximise_the_ratio_of_scatters() -> None:
    X, y = DIGITS[:, [10, 20, 28, 35, 42, 53]], LABELS
    means = np.stack([X[y == c].mean(axis=0) for c in range(10)])
    within = sum((X[y == c] - means[c]).T @ (X[y == c] - means[c]) for c in range(10))
    counts = np.bincount(y)
    between = (means - X.mean(axis=0)).T @ ((means - X.mean(axis=0)) * counts[:, None])

    def ratio(w: np.ndarray) -> float:
        return float(w @ between @ w / (w @ within @ w)) * (len(X) - 10) / 9

    lda = FisherLDA().fit(X, y)
    ratios = [ratio(w) for w in lda.scalings_.T]
    np.testing.assert_allclose(lda.ratios_, ratios, rtol=1e-9)
    assert ratios == sorted(ratios, reverse=True)
    assert all(ratio(w) <= ratios[0] for w in rng.normal(size=(200, 6)))


@given(st.integers(1, 300), st.integers(1, 6), st.booleans(), st.booleans(), st.integers(0, 99))
def test_scaling_is_that_of_scikit_learn(
    n: int, features: int, with_mean: bool, with_std: bool, seed: int
) -> None:
    rows = np.random.default_rng(seed).normal(3, 2, (n, features))
    rows[:, 0] = 0.1  # never varies, though its mean is rounded
    options = {"with_mean": with_mean, "with_std": with_std}
    ours = StandardScaler(**options).fit(rows)
    theirs = preprocessing.StandardScaler(**options).fit(rows)
    np.testing.assert_allclose(ours.transform(rows), theirs.transform(rows), atol=1e-9)
    np.testing.assert_allclose(ours.inverse_transform(ours.transform(rows)), rows, atol=1e-9)


def test_what_never_varies_is_not_scaled_up(backend: Backend) -> None:
    rows = np.full((1000, 2), 0.1, dtype=np.float32)
    rows[:, 1] = rng.normal(size=1000)
    with forbid_host_reads():
        scaler = StandardScaler().fit(backend.asarray(rows))
        found = scaler.transform(backend.asarray(rows + np.float32(0.01)))
    assert to_host(scaler.scale_)[0] == 1.0
    np.testing.assert_allclose(to_host(found)[:, 0], 0.01, rtol=1e-5)
    same = backend.asarray(rows[:, :1] * np.ones((1, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="X holds 1000 rows that are all the same"):
        PCA().fit(same)


def test_wide_integers_keep_their_digits() -> None:
    rows = (1_600_000_000 + rng.integers(0, 1000, (200, 3))).astype(np.int32)
    np.testing.assert_allclose(
        StandardScaler().fit_transform(rows),
        preprocessing.StandardScaler().fit_transform(rows.astype(np.float64)),
        atol=1e-9,
    )
    assert PCA(2).fit_transform(rows).dtype == np.float64


def test_the_sign_of_equal_entries_is_not_left_to_rounding(backend: Backend) -> None:
    """Two scaled features always have the components (1, 1) and (1, -1) over sqrt(2)."""
    for seed in range(20):
        rows = np.random.default_rng(seed).normal(size=(200, 2))
        rows[:, 1] += rows[:, 0]
        rows = StandardScaler().fit_transform(rows).astype(np.float32)
        with forbid_host_reads():
            there = PCA().fit(backend.asarray(rows)).components_
        for here in (PCA().fit(rows), PCA().fit(rows[::-1].astype(np.float64))):
            np.testing.assert_allclose(to_host(there), here.components_, atol=1e-3)


def test_components_of_little_variance_are_orthogonal_too() -> None:
    u, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    v, _ = np.linalg.qr(rng.normal(size=(100, 40)))
    rows = u * np.logspace(0, -6, 40) @ v.T
    pca = PCA(30, whiten=True).fit(rows)
    np.testing.assert_allclose(pca.components_ @ pca.components_.T, np.eye(30), atol=1e-12)
    np.testing.assert_allclose(np.cov(pca.transform(rows).T), np.eye(30), atol=1e-3)


def test_few_rows_of_many_features_take_little_memory() -> None:
    import tracemalloc

    images = rng.integers(0, 256, (600, 64, 64, 3), dtype=np.uint8)
    tracemalloc.start()
    PCA(5).fit(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.75 * 8 * images.size  # of a copy in float64


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_discriminants_do_not_depend_on_units(scale: float) -> None:
    X, y = DIGITS[:, [10, 20, 28, 35]], LABELS
    units = np.asarray([scale, 1, 1, 1 / scale])
    found, expected = (FisherLDA().fit_transform(rows, y) for rows in (X * units, X))
    np.testing.assert_allclose(found, up_to_sign(found, expected), atol=1e-6)


def test_a_feature_that_no_class_varies_in_is_left_out() -> None:
    y = rng.integers(0, 4, 300)
    constant = rng.random(4)[y]  # which no binary fraction holds exactly
    X = np.column_stack([rng.normal(size=(300, 2)) + y[:, None], constant])
    lda = FisherLDA().fit(X, y)
    assert lda.scalings_[2].tolist() == [0, 0]
    np.testing.assert_allclose(lda.transform(X), FisherLDA().fit_transform(X[:, :2], y), atol=1e-9)


def test_arrays_of_two_devices_are_refused(fake: Backend) -> None:
    pca = PCA(2).fit(FEW)
    there = fake.asarray(pca.transform(FEW))
    with pytest.raises((TypeError, ValueError), match="live in different places"):
        pca.inverse_transform(there)
    with pytest.raises((TypeError, ValueError), match="what func returned and X live in different"):
        FunctionTransformer(lambda X: there).transform(FEW)


def test_bytes_are_scaled_without_wrapping() -> None:
    images = rng.integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    found = StandardScaler(with_std=False).fit_transform(images)
    assert found.dtype == np.float32 and found.shape == (50, 48)
    rows = images.reshape(50, 48).astype(np.float64)
    np.testing.assert_allclose(found, rows - rows.mean(axis=0), atol=1e-4)


def test_rings_become_separable_by_a_line(backend: Backend) -> None:
    angle, radius = rng.uniform(-np.pi, np.pi, 100), np.repeat([1.0, 2.0], 50)
    points = np.stack([radius * np.cos(angle) + 3, radius * np.sin(angle) - 1], axis=1)
    X = backend.asarray(points.astype(np.float32))
    with forbid_host_reads():
        found = PolarMap((3.0, -1.0)).fit_transform(X)
        again = PolarMap("mean").fit(X)
    host = to_host(found)
    np.testing.assert_allclose(host[:, 0], radius, rtol=1e-5)
    np.testing.assert_allclose(host[:, 1], angle, atol=1e-5)
    np.testing.assert_allclose(to_host(again.center_), points.mean(axis=0), rtol=1e-5)
    zeros = PolarMap().fit_transform([[-1.0, 0.0], [-1.0, -0.0], [-0.0, -0.0]])
    np.testing.assert_array_equal(zeros, [[1, np.pi], [1, np.pi], [0, 0]])


def test_a_function_sees_what_it_is_given(backend: Backend) -> None:
    images = backend.asarray(rng.integers(0, 256, (4, 3, 2, 3), dtype=np.uint8))
    seen = []

    def last_row(X: Any) -> Any:
        seen.append((X.shape, X.dtype))
        return X[:, -1, :, :]

    with forbid_host_reads():
        found = FunctionTransformer(last_row).fit(images).transform(images)
        pixels = FunctionTransformer().transform(images)
    assert seen == [((4, 3, 2, 3), backend.xp.uint8)]
    np.testing.assert_array_equal(to_host(found), to_host(images)[:, -1].reshape(4, 6))
    np.testing.assert_array_equal(to_host(pixels), to_host(images).reshape(4, 18))


WRONG: list[tuple[Any, tuple[Any, ...], str]] = [
    (PCA(0), (FEW,), "n_components is 0, expected an integer of at least 1 and at most 40"),
    (PCA(41), (FEW,), "n_components is 41, expected an integer of at least 1 and at most 40"),
    (PCA(40), (FEW,), "n_components is 40, but the 40 rows vary in 39 directions only"),
    (PCA(1.5), (FEW,), "n_components is 1.5, expected a finite number above 0 and below 1"),
    (PCA(True), (FEW,), "n_components is True"),
    (PCA("mle"), (FEW,), "n_components is 'mle'"),
    (PCA(whiten=1), (FEW,), "whiten is 1, expected True or False"),
    (PCA(), (FEW[:1],), "X has 1 row .* PCA needs at least 2"),
    (PCA(), (np.ones((5, 3)),), "X holds 5 rows that are all the same"),
    (PCA(), (np.full((5, 3), 1e200) * [[1], [-1], [1], [0], [1]],), "squares overflow"),
    (FisherLDA(10), (DIGITS, LABELS), "n_components is 10, .* at most 9"),
    (
        PCA(whiten=True),
        ((rng.normal(size=(20, 3)) * 1e25).astype(np.float32),),
        "variance overflows or vanishes in .*float32",
    ),
    (
        PCA(),
        ((rng.normal(size=(20, 3)) * 1e-25).astype(np.float32),),
        "variance overflows or vanishes in .*float32",
    ),
    (
        FisherLDA(),
        ((rng.normal(size=(20, 3)) * 1e-39).astype(np.float32), np.arange(20) % 2),
        "scatter vanishes in float32",
    ),
    (
        FisherLDA(4),
        (rng.normal(size=(50, 2)), np.arange(50) % 5),
        r"n_components is 4, but the 5 classes have width in 2 direction\(s\) only",
    ),
    (FisherLDA(), (DIGITS,), "requires y to be passed, but the target y is None"),
    (FisherLDA(), (DIGITS[:10], LABELS[:10]), "X has 10 rows in 10 classes"),
    (FisherLDA(), (np.arange(6.0).reshape(6, 1) // 3, [0, 0, 0, 1, 1, 1]), "no width"),
    (StandardScaler(with_std="no"), (FEW,), "with_std is 'no'"),
    (StandardScaler(), (np.full((4, 2), 1.5e308) * [[1], [-1], [1], [-1]],), "sum overflows"),
    (PolarMap(), (FEW,), r"X has 64 features, and PolarMap takes points of the plane"),
    (PolarMap("middle"), (FEW[:, :2],), r"center is 'middle', expected \(a, b\) or 'mean'"),
    (PolarMap((1, 2, 3)), (FEW[:, :2],), r"center is \(1, 2, 3\)"),
    (PolarMap((np.nan, 0)), (FEW[:, :2],), "a number in center is nan"),
    (FunctionTransformer(3), (FEW,), "func is 3, expected a function of X, or None"),
]


@pytest.mark.parametrize(("transformer", "given_", "sentence"), WRONG, ids=[w[2] for w in WRONG])
def test_what_is_wrong_is_said_in_one_line(
    transformer: Any, given_: tuple[Any, ...], sentence: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence) as raised:
        transformer.fit(*given_)
    assert "\n" not in str(raised.value)
    assert not hasattr(transformer, "n_features_in_"), "a failed fit must change nothing"


def test_a_function_that_returns_something_else_is_told_so() -> None:
    for func, sentence in (
        (lambda X: X[:3], r"func returned shape \(3, 64\), expected 40 rows"),
        (lambda X: X.sum(), "expected"),
        (lambda X: [1, 2], r"func returned \[1, 2\], expected an array of 40 rows"),
    ):
        with pytest.raises((TypeError, ValueError), match=sentence):
            FunctionTransformer(func).transform(FEW)


def test_projections_of_another_width_are_refused() -> None:
    pca = PCA(3).fit(FEW)
    with pytest.raises(ValueError, match="X has 5 features, but PCA is expecting 64"):
        pca.transform(FEW[:, :5])
    with pytest.raises(ValueError, match="X has 5 features, expected 3 projections"):
        pca.inverse_transform(FEW[:, :5])
