"""What is left of the accuracy of classifiers once images are made harder.

    print(robustness({"nearest": nearest, "softmax": softmax}, images, labels))

The images should be ones that nothing was trained on. Those of the test part are for the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from xpcls_backends import Array, Seed, host_generator, is_array

from .options import shown
from .perturbations import PERTURBATIONS, Perturbation
from .progress import advance
from .validation import check_same_place

UNPERTURBED = "none"


@dataclass(frozen=True)
class Row:
    """Of one model: the accuracy on the images as they are, and under each perturbation."""

    model: str
    accuracy: float
    perturbed: Mapping[str, float]  # so far


@dataclass(frozen=True)
class Robustness:
    """The rows of all models; `str()` of it is its table."""

    rows: tuple[Row, ...]

    @property
    def table(self) -> str:
        """A line for each perturbation, a column for each model."""
        lines = [("perturbation", *(row.model for row in self.rows))]
        lines += [(name, *map(written, accuracies)) for name, accuracies in self.lines()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])))
            for line in lines
        )

    def lines(self) -> Iterator[tuple[str, tuple[float | None, ...]]]:
        """Each perturbation, "none" first, with the accuracy of each model; None: not measured."""
        yield UNPERTURBED, tuple(row.accuracy for row in self.rows)
        for name in max((row.perturbed for row in self.rows), key=len):
            yield name, tuple(row.perturbed.get(name) for row in self.rows)

    def __str__(self) -> str:
        return self.table


def written(accuracy: float | None) -> str:
    """An accuracy as the tables have it; a dash where it was not measured."""
    return "-" if accuracy is None else f"{accuracy:.4f}"


def robustness(
    models: Any,
    images: Array,
    labels: Any,
    perturbations: Mapping[str, Perturbation] | Sequence[str] = PERTURBATIONS,
    random_state: Seed = 0,
) -> Robustness:
    """The accuracy of each model on `images`, as they are and under each perturbation.

    Parameters
    ----------
    models : a fitted classifier that takes images, or a mapping from names to such.
    images : (N, H, W, C) where the models live, uint8 or floats from 0 to 1, as `perturbations`
        takes them.
    labels : (N,), the true classes.
    perturbations : names of PERTURBATIONS, or a mapping from names to functions of images and a
        seed that give images of the same shape and dtype.
    random_state : every perturbation is given it as its seed, for every model, so that all models
        see the same pixels and a perturbation does the same whatever stands beside it.

    Raises TypeError or ValueError for a name that is not known, for no model, and where a
    perturbation gives something else than such images.
    """
    rows = {
        row.model: row
        for row in robustness_rows(models, images, labels, perturbations, random_state)
    }
    if not rows:
        raise _no_models(models)
    return Robustness(tuple(rows.values()))


def robustness_rows(
    models: Any,
    images: Array,
    labels: Any,
    perturbations: Mapping[str, Perturbation] | Sequence[str] = PERTURBATIONS,
    random_state: Seed = 0,
) -> Iterator[Row]:
    """The rows of `robustness` as they are found, so that nothing is lost where one breaks off.

    A row of a model comes after each perturbation, and has all that were measured so far.

    models : also pairs of name and fitted classifier, which may be trained as they are asked for.
    """
    chosen = _chosen(perturbations)
    pairs = _pairs(models)
    generator = host_generator(random_state)
    # An integer is kept, so that a perturbation called with it gives the same images.
    fixed = isinstance(random_state, Integral)
    seed = random_state if fixed else int(generator.integers(2**63))
    return _rows(pairs, images, labels, chosen, seed)


def _rows(
    models: Iterable[tuple[str, Any]],
    images: Array,
    labels: Any,
    perturbations: Mapping[str, Perturbation],
    seed: Seed,
) -> Iterator[Row]:
    total = 1 + len(perturbations)
    for pair in models:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(
                f"models holds {shown(pair)}, expected pairs of a name and a classifier"
            )
        model_name, model = pair
        if not hasattr(model, "score"):
            raise TypeError(f"models[{model_name!r}] is {shown(model)}, expected a classifier")
        task = f"{model_name} under perturbations"
        advance(task, 0, total)
        accuracy = float(model.score(images, labels))
        perturbed: dict[str, float] = {}
        yield Row(model_name, accuracy, {})
        for done, (name, perturb) in enumerate(perturbations.items(), start=1):
            advance(task, done, total, now=name)
            harder = perturb(images, seed)
            _check_perturbed(name, harder, images)
            perturbed[name] = float(model.score(harder, labels))
            yield Row(model_name, accuracy, dict(perturbed))
        advance(task, total, total)


def _pairs(models: Any) -> Iterable[tuple[str, Any]]:
    if hasattr(models, "score"):
        return [(type(models).__name__, models)]
    if isinstance(models, Mapping):
        models = list(models.items())
    if not isinstance(models, Iterable) or isinstance(models, str):
        raise _no_models(models)
    return models


def _no_models(models: Any) -> TypeError:
    return TypeError(
        f"models is {shown(models)}, expected a fitted classifier or a mapping of names to some"
    )


def _chosen(perturbations: Any) -> Mapping[str, Perturbation]:
    if isinstance(perturbations, Mapping):
        for name, perturb in perturbations.items():
            if not isinstance(name, str) or name == UNPERTURBED or not callable(perturb):
                raise TypeError(
                    f"perturbations has {shown(name)}: {shown(perturb)}, expected names, other "
                    f"than {UNPERTURBED!r}, of functions of images and a seed"
                )
        return perturbations
    if not isinstance(perturbations, Sequence) or isinstance(perturbations, str):
        raise TypeError(
            f"perturbations is {shown(perturbations)}, expected names such as ['flip'], or a "
            "mapping of names to functions"
        )
    return {name: PERTURBATIONS[_known(name)] for name in perturbations}


def _known(name: Any) -> str:
    if not isinstance(name, str) or name not in PERTURBATIONS:
        known = ", ".join(map(repr, PERTURBATIONS))
        raise ValueError(f"perturbations names {shown(name)}, expected some of: {known}")
    return name


def _check_perturbed(name: str, harder: Any, images: Array) -> None:
    what = f"the result of perturbations[{name!r}]"
    if not is_array(harder):
        raise TypeError(f"{what} is {shown(harder)}, expected images")
    check_same_place(harder, images, what, "images")
    if harder.shape != images.shape or harder.dtype != images.dtype:
        raise ValueError(
            f"{what} has shape {harder.shape} and dtype {harder.dtype}, expected those of images, "
            f"{images.shape} and {images.dtype}"
        )
