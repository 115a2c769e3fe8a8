"""LinearClassifier: what it learns, from which rows and weights, and what it says of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from xpcls import Backend, LinearClassifier, to_host
from xpcls.data import load_mnist5k, split
from xpcls.linear import LINEAR_LOSSES
from xpcls.optimizers import OPTIMIZERS, SCHEDULES, Adam, Momentum
from xpcls_backends import device_of, namespace_of

GRADIENT = [name for name in OPTIMIZERS if not name.startswith("random")]
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(scale=2.0, size=(3, 6))
Y = np.arange(90) % 3
X = CENTRES[Y] + RNG.normal(size=(90, 6))


def linear(loss: str = "softmax", **params: Any) -> LinearClassifier:
    return LinearClassifier(loss, **{"epochs": 15, "batch_size": 32, "random_state": 0, **params})


def learnt(model: LinearClassifier) -> tuple[np.ndarray, np.ndarray]:
    return to_host(model.coef_), to_host(model.intercept_)


def assert_same_weights(one: LinearClassifier, other: LinearClassifier, rtol: float = 0.0) -> None:
    for a, b in zip(learnt(one), learnt(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


# What it says.


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_predictions_are_those_of_the_scores(backend: Backend, loss: str) -> None:
    rows = backend.asarray(X.astype("float32"))
    for labels in (Y, Y % 2):
        model = linear(loss).fit(rows, backend.asarray(labels))
        n_classes = len(set(labels.tolist()))
        assert model.coef_.shape == (n_classes, 6) and model.intercept_.shape == (n_classes,)
        coef, intercept = learnt(model)
        scores = X.astype("float32") @ coef.T + intercept
        found = to_host(model.decision_function(rows))
        wanted = scores if n_classes == 3 else scores[:, 1] - scores[:, 0]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(to_host(model.predict(rows)), scores.argmax(axis=1))
        assert hasattr(model, "predict_proba") == (loss == "softmax")
        if loss == "softmax":
            shares = to_host(model.predict_proba(rows))
            assert shares.shape == (90, n_classes)
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            np.testing.assert_allclose(shares, powers / powers.sum(axis=1, keepdims=True), 1e-4)


def test_predict_proba_of_another_loss_says_what_to_use() -> None:
    model = linear("hinge").fit(X, Y)
    with pytest.raises(AttributeError, match=r"loss='hinge'.*decision_function"):
        _ = model.predict_proba
    assert hasattr(model.set_params(loss="softmax"), "predict_proba")


def test_templates_stretch_each_class_by_itself(backend: Backend) -> None:
    pixels = backend.asarray(RNG.integers(0, 256, size=(30, 4, 2, 3)).astype("uint8"))
    model = linear(epochs=2).fit(pixels, backend.asarray(np.arange(30) % 3))
    coef = to_host(model.coef_).astype("float64")
    coef[1] = 0.25  # a class without any contrast
    model.coef_ = backend.asarray(coef.astype("float32"))
    for shape in (None, (4, 2, 3), (8, 3), (6, 4, 1)):  # grey and colour
        images = model.templates(shape)
        assert namespace_of(images) is namespace_of(pixels)
        assert device_of(images) == device_of(pixels)
        assert images.shape == (3, *(shape or (4, 2, 3)))
        host = to_host(images)
        assert host.dtype == np.uint8
        assert not host[1].any()
        for c in (0, 2):
            low, high = coef[c].min(), coef[c].max()
            wanted = (coef[c] - low) / (high - low) * 255
            assert abs(host[c].reshape(-1) - wanted).max() <= 0.51
            assert host[c].min() == 0 and host[c].max() == 255
    with pytest.raises(ValueError, match=r"image_shape is \(5, 5\), which holds 25 values.*24"):
        model.templates((5, 5))


# What it learns.


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_bias_trick_is_an_explicit_bias(loss: str) -> None:
    """A column of ones, with a rate and without a penalty, learns what the bias learns."""
    params = {"learning_rate": 0.05, "l2": 0.0}
    bias = linear(loss, **params).fit(X, Y)
    trick = linear(loss, **params).fit(np.c_[X, np.ones(90)], Y)
    # The one among the features and the bias share the gradient: each takes what the bias of the
    # other model would, so together they move twice as fast. Half of either is no model of ours.
    half = linear(loss, **params).fit(np.c_[X, np.zeros(90)], Y)
    assert_same_weights(bias, _without_last(half))
    np.testing.assert_allclose(trick.coef_[:, -1], trick.intercept_, rtol=1e-12, atol=1e-15)


def _without_last(model: LinearClassifier) -> LinearClassifier:
    short = copy.copy(model)
    assert not model.coef_[:, -1].any()
    short.coef_ = model.coef_[:, :-1]
    return short


@pytest.mark.parametrize("rate", ["auto", 0.5])
def test_bias_is_the_log_of_class_frequencies_where_features_say_nothing(
    rate: float | str,
) -> None:
    labels = np.repeat([0, 1, 2, 3], [50, 25, 15, 10])
    for dtype in ("float64", "float32", "uint8"):
        nothing = np.zeros((100, 5), dtype=dtype)
        model = linear(optimizer="gd", learning_rate=rate, epochs=2000).fit(nothing, labels)
        assert not model.coef_.any()
        bias = model.intercept_ - model.intercept_.mean()
        wanted = np.log([0.5, 0.25, 0.15, 0.1])
        np.testing.assert_allclose(bias, wanted - wanted.mean(), atol=1e-4)


@pytest.mark.parametrize("loss", ["hinge", "one_vs_all", "structured"])
def test_delta_and_lambda_turn_the_same_dial(loss: str) -> None:
    """J(dV; d, l) = d J(V; 1, l d), so training with W = d V and rates to match is one run."""
    delta, l2 = 4.0, 0.03125  # powers of two: not one bit differs
    wide = linear(loss, delta=delta, l2=l2, learning_rate=0.25).fit(X, Y)
    unit = linear(loss, delta=1.0, l2=l2 * delta, learning_rate=0.25 / delta).fit(X, Y)
    np.testing.assert_array_equal(wide.coef_, delta * unit.coef_)
    np.testing.assert_array_equal(wide.intercept_, delta * unit.intercept_)
    np.testing.assert_array_equal(wide.predict(X), unit.predict(X))
    np.testing.assert_allclose(wide.history_["loss"], delta * np.asarray(unit.history_["loss"]))


@pytest.mark.parametrize("schedule", [*SCHEDULES, lambda epoch, epochs: 1.0 - 0.5 * epoch / epochs])
@pytest.mark.parametrize("optimizer", [*GRADIENT, Adam(beta2=0.9), Momentum(decay=0.5)])
def test_every_optimizer_and_schedule_lowers_the_loss(optimizer: Any, schedule: Any) -> None:
    for loss in LINEAR_LOSSES:
        model = linear(loss, optimizer=optimizer, schedule=schedule, epochs=25).fit(X, Y)
        losses = model.history_["loss"]
        assert losses[-1] < 0.8 * losses[0], loss
        assert model.score(X, Y) > 0.9, loss


@pytest.mark.parametrize("optimizer", ["random_search", "random_local_search"])
def test_random_searches_never_get_worse_and_never_get_good(optimizer: str) -> None:
    far = X[:, :, None] * RNG.normal(size=50)  # (90, 6, 50): many directions, few of them right
    rows = far.reshape(90, -1)[:, :200] + 5 * RNG.normal(size=(90, 200))
    model = linear(optimizer=optimizer, epochs=60).fit(rows, Y)
    losses = model.history_["loss"]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert losses[-1] > 2 * linear(epochs=60).fit(rows, Y).history_["loss"][-1]


def test_l1_leaves_exact_zeros_and_more_of_them_the_stronger_it_is() -> None:
    noise = np.c_[X, RNG.normal(size=(90, 14))]
    zeros = [
        int((linear("softmax", l1=l1, epochs=80).fit(noise, Y).coef_ == 0.0).sum())
        for l1 in (0.0, 1e-2, 5e-2, 0.2, 10.0)
    ]
    assert zeros == sorted(set(zeros)), zeros
    assert zeros[0] == 0 and zeros[-1] == noise.shape[1] * 3


def test_l2_shrinks_weights_and_any_strength_of_it_is_stable() -> None:
    sizes = [
        float(abs(linear(loss, l2=l2, epochs=60).fit(X, Y).coef_).sum())
        for loss in ("softmax", "squared_hinge")
        for l2 in (1e-4, 1e-2, 1.0, 100.0, 1e6)
    ]
    assert sizes[:5] == sorted(sizes[:5], reverse=True)
    assert sizes[5:] == sorted(sizes[5:], reverse=True)
    assert sizes[4] < 1e-4 * sizes[0]


DIGITS = load_mnist5k()
PARTS = split(DIGITS, validation=0, test=1000, random_state=0)


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_defaults_read_digits_at_any_scale(loss: str) -> None:
    labels = DIGITS.labels
    found = []
    for pixels in (DIGITS.images, (DIGITS.images / 255).astype("float32")):
        model = LinearClassifier(loss, random_state=0)
        model.fit(pixels[PARTS.train], labels[PARTS.train])
        found.append(model.score(pixels[PARTS.test], labels[PARTS.test]))
    assert min(found) >= 0.87
    assert max(found) - min(found) <= 0.005


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_scaling_all_features_changes_no_prediction(loss: str) -> None:
    """Without a penalty, which is a matter of scale. The automatic rate has to follow it."""
    found = []
    train, test = PARTS.train[:1000], PARTS.test
    for scale in (1.0, 255.0, 1e-3, 1e9, 1e-9):
        pixels = (DIGITS.images / 255 * scale).astype("float32")
        model = LinearClassifier(loss, l2=0.0, epochs=10, random_state=0)
        model.fit(pixels[train], DIGITS.labels[train])
        found.append(model.score(pixels[test], DIGITS.labels[test]))
    assert min(found) > 0.75
    assert max(found) - min(found) <= 0.005


# Randomness.


@pytest.mark.parametrize("replace", [False, True])
def test_one_seed_is_one_run(replace: bool) -> None:
    for seed in (7, np.int64(7), np.random.default_rng(7)):
        first = linear(replace=replace, random_state=copy.deepcopy(seed)).fit(X, Y)
        again = linear(replace=replace, random_state=copy.deepcopy(seed)).fit(X, Y)
        assert_same_weights(first, again)
        assert_same_weights(first, linear(replace=replace, random_state=7).fit(X, Y))
    other = linear(replace=replace, random_state=8).fit(X, Y)
    assert not np.array_equal(first.coef_, other.coef_)


def test_a_generator_goes_on_from_fit_to_fit() -> None:
    generator = np.random.default_rng(0)
    model = linear(random_state=generator)
    first = model.fit(X, Y).coef_
    assert not np.array_equal(first, model.fit(X, Y).coef_)


def test_a_batch_larger_than_the_rows_is_all_of_them() -> None:
    large = linear(batch_size=1000).fit(X, Y)
    all_rows = linear(optimizer="gd").fit(X, Y)
    assert_same_weights(large, all_rows, rtol=1e-12)


def test_with_replacement_draws_other_batches() -> None:
    assert not np.array_equal(
        linear(replace=True).fit(X, Y).coef_, linear(replace=False).fit(X, Y).coef_
    )


# Weights of rows.


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_a_weight_of_0_is_a_removed_row(loss: str) -> None:
    kept = RNG.random(90) < 0.6
    weighted = linear(loss).fit(X, Y, sample_weight=kept.astype(float))
    assert_same_weights(weighted, linear(loss).fit(X[kept], Y[kept]), rtol=1e-12)
    first = linear(loss).partial_fit(X, Y, classes=[0, 1, 2], sample_weight=kept * 3)
    other = linear(loss).partial_fit(X[kept], Y[kept], classes=[0, 1, 2])
    assert_same_weights(first, other, rtol=1e-12)


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_a_whole_weight_is_a_repeated_row(loss: str) -> None:
    weight = RNG.integers(0, 4, size=90)
    repeated = np.repeat(np.arange(90), weight)
    weighted = linear(loss, optimizer="gd").fit(X, Y, sample_weight=weight)
    several = linear(loss, optimizer="gd").fit(X[repeated], Y[repeated])
    assert_same_weights(weighted, several, rtol=1e-10)
    assert weighted.learning_rate_ == pytest.approx(several.learning_rate_)
    right = weighted.score(X, Y, sample_weight=weight)
    assert right == pytest.approx(several.score(X[repeated], Y[repeated]))


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 7.0, 1e30, 1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_proportions_of_weights_count(factor: float, dtype: str) -> None:
    rows, weight = X.astype(dtype), RNG.integers(1, 5, size=90).astype(float)
    plain = linear().fit(rows, Y, sample_weight=weight)
    scaled = linear().fit(rows, Y, sample_weight=weight * factor)
    assert_same_weights(plain, scaled, rtol=1e-5 if dtype == "float32" else 1e-10)
    assert plain.score(rows, Y, weight) == pytest.approx(plain.score(rows, Y, weight * factor))


def test_weights_count_in_batches_of_one_row_too() -> None:
    """Rows that contradict each other: the heavy ones win, however small the batches are."""
    rows, labels = np.ones((40, 1)), np.arange(40) % 2
    weight = np.where(labels == 0, 9.0, 1.0)
    for batch_size in (1, 4, 40):
        rate = 0.005 * batch_size  # as far an epoch for all
        model = linear(batch_size=batch_size, learning_rate=rate, l2=0.0, epochs=100)
        shares = model.fit(rows, labels, sample_weight=weight).predict_proba(rows)
        assert shares[0, 0] == pytest.approx(0.9, abs=0.04), batch_size
