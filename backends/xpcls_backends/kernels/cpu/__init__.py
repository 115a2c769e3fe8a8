"""Kernels for NumPy arrays, compiled by numba when they are first called.

Only functions that have asked `has_kernels` import from here: numba need not be installed.
"""
