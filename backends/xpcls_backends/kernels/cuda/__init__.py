"""Kernels for CuPy arrays: CUDA sources (*.cu), each beside the module that launches it.

They are compiled where they are first called, by the NVRTC that CuPy brings, which keeps them on
disk. Nothing here needs a GPU to be tested: tests/cuda/ compiles the sources for all generations of
cards, and runs them, behind these launchers, on a simulator. NVIDIA's library, that cudnn.py calls,
has a stand-in there.
"""
