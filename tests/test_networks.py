"""MLPClassifier and ConvNetClassifier as their users meet them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcls import ConvNetClassifier, MLPClassifier, checks
from xpcls.data import load_mnist5k
from xpcls.networks import NetworkClassifier
from xpcls.progress import listen
from xpcls.training import DivergenceError
from xpcls_backends import Backend, to_host

RNG = np.random.default_rng(0)
MEANS = RNG.integers(30, 226, (3, 6, 6, 1))
LABELS = np.arange(90) % 3
IMAGES = (MEANS[LABELS] + RNG.integers(-30, 30, (90, 6, 6, 1))).clip(0, 255).astype(np.uint8)
ROWS = IMAGES.reshape(90, -1)
SMALL = (("conv", 4), "relu", "max_pool")


def mlp(**options: Any) -> MLPClassifier:
    return MLPClassifier(**{"hidden_layer_sizes": 8, "epochs": 4, "random_state": 0, **options})


def convnet(**options: Any) -> ConvNetClassifier:
    return ConvNetClassifier(**{"layers": SMALL, "epochs": 4, "random_state": 0, **options})


BOTH = pytest.mark.parametrize("make", [mlp, convnet])


# --- the bundled digits -------------------------------------------------------------------------


def accuracies(make: Any, seeds: int) -> list[float]:
    """Accuracy on 1,000 digits after training on the other 4,000, for some splits."""
    digits = load_mnist5k()
    found = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(5000)
        train, test = order[:4000], order[4000:]
        model = make(random_state=seed).fit(digits.images[train], digits.labels[train])
        found.append(model.score(digits.images[test], digits.labels[test]))
    return found


def test_two_layers_read_94_percent_of_the_digits() -> None:
    assert np.mean(accuracies(MLPClassifier, 3)) >= 0.94


def test_filters_read_97_percent_of_the_digits() -> None:
    assert np.mean(accuracies(ConvNetClassifier, 2)) >= 0.97


@pytest.mark.parametrize(
    "model",
    [
        MLPClassifier(random_state=0),
        MLPClassifier((32, 16), activation="tanh", loss="hinge", random_state=0),
        ConvNetClassifier(random_state=0),
    ],
    ids=repr,
)
def test_twenty_images_are_learnt_by_heart(model: Any) -> None:
    digits = load_mnist5k()
    result = checks.overfit(model, digits.images[::10], digits.labels[::10])
    assert result.passed and result.n_examples == 20
    assert result.loss < 1e-2 and result.accuracy == 1.0


@pytest.mark.parametrize("loss", ["softmax", "hinge", "squared_hinge", "squared_error"])
@BOTH
def test_the_checks_know_networks(make: Any, loss: str) -> None:
    X = (IMAGES / 256).astype("f8")
    model = make(loss=loss, activation="tanh") if make is mlp else make(loss=loss)
    assert checks.initial_loss(model, X, LABELS).passed
    assert checks.check_gradients(model, X[:20], LABELS[:20]).passed


# --- learning -----------------------------------------------------------------------------------


@BOTH
def test_both_learn_and_keep_a_history(make: Any) -> None:
    model = make(epochs=60).fit(IMAGES, LABELS)
    assert model.score(IMAGES, LABELS) == 1.0
    assert len(model.history_["loss"]) == 60
    assert model.history_["loss"][-1] < model.history_["loss"][0] < np.log(3) + 0.1
    assert model.classes_.tolist() == [0, 1, 2] and model.n_features_in_ == 36
    proba = model.predict_proba(IMAGES)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-6)
    assert (proba.argmax(axis=1) == model.predict(IMAGES)).all()


def test_the_shapes_of_what_is_learnt() -> None:
    model = mlp(hidden_layer_sizes=(5, 4)).fit(ROWS, LABELS)
    assert [w.shape for w in model.coefs_] == [(36, 5), (5, 4), (4, 3)]
    assert [b.shape for b in model.intercepts_] == [(5,), (4,), (3,)]
    assert [p.shape for p in convnet().fit(IMAGES, LABELS).parameters_] == [
        (3, 3, 1, 4),
        (4,),
        (36, 3),
        (3,),
    ]


def test_no_hidden_layer_is_a_linear_classifier() -> None:
    model = mlp(hidden_layer_sizes=()).fit(ROWS, LABELS)
    x = (ROWS - model.center_) * model.scale_
    expected = x @ model.coefs_[0] + model.intercepts_[0]
    np.testing.assert_allclose(model.decision_function(ROWS), expected, rtol=1e-4, atol=1e-5)


@BOTH
def test_images_and_rows_are_the_same_data(make: Any) -> None:
    options = {"image_shape": (6, 6, 1)}
    by_images = make().fit(IMAGES, LABELS)
    by_rows = make(**options).fit(ROWS, LABELS)
    for one, other in zip(by_images.parameters_, by_rows.parameters_, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(by_rows.predict(IMAGES), by_images.predict(ROWS))


@BOTH
def test_the_scale_of_the_features_does_not_matter(make: Any) -> None:
    raw = make().fit(IMAGES.astype("f4"), LABELS)
    tiny = make().fit(IMAGES.astype("f4") / 65536, LABELS)  # a power of 2 rounds nothing
    for one, other in zip(raw.parameters_, tiny.parameters_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@BOTH
def test_one_seed_one_network_whatever_the_threads(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads in ("1", "2", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(make(augment=(("shift", 1),), image_shape=(6, 6, 1)).fit(IMAGES, LABELS))
    for model in found[1:]:
        for one, other in zip(model.parameters_, found[0].parameters_, strict=True):
            assert one.tobytes() == other.tobytes()


@BOTH
def test_a_weight_of_2_is_the_row_twice(make: Any) -> None:
    weight = np.where(np.arange(90) < 30, 2.0, 1.0)
    options = {"optimizer": "gd", "learning_rate": 0.1, "standardize": False}
    rows = IMAGES.astype("f8") / 255
    weighted = make(**options).fit(rows, LABELS, sample_weight=weight)
    twice = np.concatenate([np.arange(90), np.arange(30)])
    repeated = make(**options).fit(rows[twice], LABELS[twice])
    for one, other in zip(weighted.parameters_, repeated.parameters_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@BOTH
def test_a_weight_of_0_leaves_the_row_out(make: Any) -> None:
    weight = np.where(np.arange(90) < 60, 1.0, 0.0)
    rows = IMAGES.astype("f8") / 255
    weighted = make(standardize=False).fit(rows, LABELS, sample_weight=weight)
    without = make(standardize=False).fit(rows[:60], LABELS[:60])
    for one, other in zip(weighted.parameters_, without.parameters_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@BOTH
def test_weight_decay_makes_weights_small(make: Any) -> None:
    fast = {"learning_rate": 0.01, "epochs": 100}
    norms = [
        float(np.linalg.norm(make(l2=l2, **fast).fit(IMAGES, LABELS).parameters_[0]))
        for l2 in (0.0, 0.3)
    ]
    assert norms[1] < norms[0] / 2


@pytest.mark.parametrize("optimizer", ["gd", "sgd", "momentum", "nesterov", "adam"])
def test_every_optimizer_trains_a_network(optimizer: str) -> None:
    model = mlp(optimizer=optimizer, epochs=40, batch_size=16).fit(ROWS, LABELS)
    assert model.score(ROWS, LABELS) > 0.9


def test_batch_normalisation_predicts_by_running_means() -> None:
    layers = (("conv", 4), "batch_norm", "relu", "max_pool", ("dense", 6), "batch_norm", "relu")
    model = convnet(layers=layers, epochs=40, batch_size=30).fit(IMAGES, LABELS)
    assert model.score(IMAGES, LABELS) > 0.95
    one_by_one = np.concatenate([model.decision_function(IMAGES[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(one_by_one, model.decision_function(IMAGES[:9]), atol=1e-4)
    _, _, _, offset, mean, variance, *_ = model.parameters_
    assert mean.any() and offset.any() and (variance > 0).all() and (variance != 1).all()


def test_dropout_is_there_in_training_alone() -> None:
    model = mlp(dropout=0.5, epochs=30).fit(ROWS, LABELS)
    first = model.decision_function(ROWS)
    assert np.array_equal(first, model.decision_function(ROWS))
    assert not np.array_equal(model.coefs_[0], mlp(epochs=30).fit(ROWS, LABELS).coefs_[0])
    assert model.score(ROWS, LABELS) > 0.9


@BOTH
def test_early_stopping_keeps_the_best(make: Any) -> None:
    model = make(early_stopping=True, patience=2, epochs=200, validation_fraction=0.3)
    model.fit(IMAGES, LABELS)
    seen = model.history_["validation_accuracy"]
    assert len(seen) < 200 and max(seen) == seen[-3]


@BOTH
def test_partial_fit_is_an_epoch_and_goes_on(make: Any) -> None:
    whole = make(epochs=1, schedule="constant").fit(IMAGES, LABELS)
    part = make().partial_fit(IMAGES, LABELS, classes=[0, 1, 2])
    for one, other in zip(part.parameters_, whole.parameters_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    part.partial_fit(IMAGES[:10], LABELS[:10])
    assert len(part.history_["loss"]) == 2


@BOTH
def test_ctrl_c_leaves_a_network_that_predicts(make: Any) -> None:
    model = make(epochs=100)

    def interrupt(task: str, done: int, total: int, facts: dict[str, object]) -> None:
        if task == "training" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listen(interrupt):
        model.fit(IMAGES, LABELS)
    assert len(model.history_["loss"]) == 3 and model.predict(IMAGES).shape == (90,)


@BOTH
def test_divergence_is_named_and_leaves_an_earlier_fit(make: Any) -> None:
    model = make().fit(IMAGES, LABELS)
    before = model.decision_function(IMAGES)
    model.set_params(optimizer="sgd", learning_rate=1e30)
    with pytest.raises(DivergenceError, match="with a learning rate of 1e"):
        model.fit(IMAGES, LABELS)
    assert np.array_equal(model.decision_function(IMAGES), before)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "X", "message"),
    [
        (convnet(), ROWS, r"X has rows of 36 features, and ConvNetClassifier needs images: give"),
        (
            convnet(image_shape=(6, 6, 3)),
            ROWS,
            r"image_shape is \(6, 6, 3\), which holds 108 values, but X has 36 features",
        ),
        (convnet(image_shape=36), ROWS, r"image_shape is 36, expected \(H, W, C\) or None"),
        (convnet(image_shape=(6, 0, 1)), ROWS, "a length in image_shape is 0"),
        (mlp(augment=["flip"]), ROWS, "MLPClassifier needs images"),
        (mlp(hidden_layer_sizes=0), ROWS, "hidden_layer_sizes is 0"),
        (mlp(hidden_layer_sizes=(4, 2.5)), ROWS, "a number in hidden_layer_sizes is 2.5"),
        (mlp(hidden_layer_sizes="100"), ROWS, "hidden_layer_sizes is '100'"),
        (mlp(activation="gelu"), ROWS, "activation is 'gelu', expected one of 'relu'"),
        (mlp(loss="mse"), ROWS, "loss is 'mse', expected one of"),
        (mlp(dropout=1.0), ROWS, "dropout is 1"),
        (mlp(l2=-1), ROWS, "l2 is -1"),
        (mlp(delta=0), ROWS, "delta is 0"),
        (mlp(standardize="yes"), ROWS, "standardize is 'yes'"),
        (mlp(learning_rate="fast"), ROWS, "learning_rate is 'fast'"),
        (convnet(layers=["max_pool"] * 3), IMAGES, "the images have become 1 x 1 by then"),
    ],
)
def test_what_cannot_be_is_named(model: NetworkClassifier, X: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(X, LABELS)
    assert not hasattr(model, "classes_")


def test_probabilities_need_softmax() -> None:
    assert not hasattr(mlp(loss="hinge").fit(ROWS, LABELS), "predict_proba")


def test_words_as_labels_and_two_classes(backend: Backend) -> None:
    X = backend.asarray(ROWS)
    model = mlp(epochs=20).fit(X, np.asarray(["cat", "dog"])[LABELS % 2])
    assert set(model.predict(X)) <= {"cat", "dog"}
    assert to_host(model.decision_function(X)).shape == (90,)
