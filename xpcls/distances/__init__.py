"""Distances between the rows of two arrays: whole matrices, and the nearest rows alone.

pairwise(queries, points, metric)        every distance, (n_queries, n_points)
nearest(queries, points, k, metric)      the k nearest points of each query, exactly
Index(points)                            the same for many searches in one set of points
two_loops, one_loop, no_loops            L2 as it is taught, three times
"""

from ._index import Index, Plan, nearest
from ._pairwise import pairwise
from ._rows import METRICS
from ._teaching import no_loops, one_loop, two_loops

__all__ = ["METRICS", "Index", "Plan", "nearest", "no_loops", "one_loop", "pairwise", "two_loops"]
