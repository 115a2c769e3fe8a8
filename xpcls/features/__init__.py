"""Features: what a classifier is given in place of pixels.

    from xpcls import LinearClassifier
    from xpcls.features import HOG, ColorHistogram, StandardScaler, make_pipeline, make_union

    features = make_union(HOG(block_norm=None), ColorHistogram(bins=10))
    model = make_pipeline(features, StandardScaler(), LinearClassifier()).fit(images, labels)

Every transformer has scikit-learn's `fit`, `transform` and `fit_transform`, takes images
(N, H, W, C) or rows (N, D) of any backend, and returns rows (N, n_features) in the same place.
They work in scikit-learn's pipelines and searches, and scikit-learn's work in ours; `Pipeline` and
`FeatureUnion` need no scikit-learn and run on a GPU.
"""

from ._color import ColorHistogram
from ._compose import FeatureUnion, Pipeline, make_pipeline, make_union
from ._hog import HOG
from ._lda import FisherLDA
from ._maps import FunctionTransformer, PolarMap
from ._pca import PCA
from ._scaler import StandardScaler

__all__ = [
    "HOG",
    "PCA",
    "ColorHistogram",
    "FeatureUnion",
    "FisherLDA",
    "FunctionTransformer",
    "Pipeline",
    "PolarMap",
    "StandardScaler",
    "make_pipeline",
    "make_union",
]
