"""What all transformers share: `fit`, `transform`, and the work in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from xpcls._sklearn import SklearnTransformer
from xpcls.base import Estimator
from xpcls.progress import advance
from xpcls.validation import check_images
from xpcls_backends import (
    Array,
    device_of,
    elementwise_block_bytes,
    in_threads,
    namespace_of,
    row_blocks,
    rows_within,
    scratch_bytes,
    thread_count,
    to_scalar,
)

LARGEST_32, LARGEST = 1e15, 1e150  # magnitudes of pixels: sums of their squares are still finite


class Transformer(SklearnTransformer, Estimator):
    """Base of every transformer: it learns in `fit` and makes features in `transform`."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows (N, D) or images (N, H, W, C); most need no y."""
        raise NotImplementedError

    def transform(self, X: Any) -> Array:
        """The features of each row or image: (N, n_features), in the library and place of X."""
        raise NotImplementedError

    def fit_transform(self, X: Any, y: Any = None) -> Array:
        """`fit`, then `transform` of the same X."""
        return self.fit(X, y).transform(X)


class StatelessTransformer(Transformer):
    """Base of those that have nothing to learn: `fit` only checks, `transform` works without it."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class ImageTransformer(StatelessTransformer):
    """Base of those that look at one image at a time."""

    image_shape: Any

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and the images; nothing is learnt."""
        images = self._checked(X)
        xp = namespace_of(images)
        self._learn_columns(X, xp.reshape(images, (images.shape[0], -1)))
        self.image_shape_ = tuple(images.shape[1:])
        return self

    def transform(self, X: Any) -> Array:
        """The features of each image: (N, n_features).

        X : images (N, H, W, C), of uint8 or any other numbers, of any backend; or rows (N, D)
        where `image_shape` was given. Returns float32 for uint8 and float32 images, else
        float64.
        """
        images = self._checked(X)
        if hasattr(self, "image_shape_"):
            self._check_names(X)
            if images.shape[1:] != self.image_shape_:
                raise ValueError(
                    f"X has images of shape {images.shape[1:]}, but {type(self).__name__} was "
                    f"fitted on images of shape {self.image_shape_}"
                )
        return self._transform(images)

    def _checked(self, X: Any) -> Array:
        """`X` as images that these parameters fit."""
        images = check_images(X, type(self).__name__, self.image_shape)
        xp = namespace_of(images)
        if xp.isdtype(images.dtype, "real floating"):
            limit = LARGEST if images.dtype == xp.float64 else LARGEST_32
            most = max(float(to_scalar(xp.max(images))), -float(to_scalar(xp.min(images))))
            if most > limit:
                raise ValueError(
                    f"X holds {most:g}, whose square overflows {images.dtype}; scale the images "
                    "to about 1"
                )
        self._check(images)
        return images

    def _check(self, images: Array) -> None:
        """Raise for parameters that cannot be, or that do not fit these images."""
        raise NotImplementedError

    def _transform(self, images: Array) -> Array:
        raise NotImplementedError


def image_blocks(images: Array, n_features: int) -> list[slice]:
    """Blocks of images (N, H, W, C), small for their temporaries and for their features.

    Not as small as a core's own cache: threads that make many short calls wait for each other.
    """
    xp = namespace_of(images)
    n, height, width, channels = images.shape
    pixels = height * width
    few = rows_within(4 * elementwise_block_bytes(xp), 4 * pixels)
    image = 64 * pixels * channels + 24 * n_features
    return list(row_blocks(n, min(few, rows_within(scratch_bytes(xp) // thread_count(xp), image))))


def fill_blocks(
    task: str, images: Array, n_features: int, dtype: Any, make: Callable[[Array], Array]
) -> Array:
    """(N, n_features): `make` of each block of images, in threads where that is faster."""
    xp, device = namespace_of(images), device_of(images)
    blocks = image_blocks(images, n_features)
    out = xp.empty((images.shape[0], n_features), dtype=dtype, device=device)

    def fill(rows: slice) -> None:
        out[rows, :] = make(images[rows, ...])

    def tell(done: int) -> None:
        advance(task, done, len(blocks))

    in_threads(fill, blocks, thread_count(xp), tell)
    return out
