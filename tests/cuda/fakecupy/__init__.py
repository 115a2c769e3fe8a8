"""A stand-in for CuPy where there is no GPU: NumPy's arithmetic, CuPy's names and restrictions.

    fakecupy.install()                      # before array_api_compat.cupy is imported
    backend = xpcls.get_backend("cupy")     # the stand-in, through array-api-compat as ever
    with fakecupy.trace() as t:
        model.fit(X, y)
    t.launches, t.syncs, t.to_device, t.to_host, t.names

Names, keywords and signatures are those of the CuPy wheel that is installed, which can be imported
without a driver. What CuPy refuses is refused: NumPy arrays, a conversion that nobody asked for,
keywords that it lacks. Where CuPy is silent and a GPU's answer would differ, this is an error:
integer indices out of bounds (CuPy wraps them), an assignment to one place twice (any of the
values may win), numbers that do not fit the integers they are cast to, `cupy.random` (other
streams than NumPy's). `cupy.empty` gives NaN.

It has one device and one stream. It says nothing about time, and results are NumPy's to the bit,
which a GPU's need not be.
"""

from . import cudnn
from .counts import Trace, forbid_hidden_reads, trace
from .install import MISSING, install, installed

__all__ = ["MISSING", "Trace", "cudnn", "forbid_hidden_reads", "install", "installed", "trace"]
