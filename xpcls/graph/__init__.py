"""Computational graphs: forward values, and gradients by the chain rule.

    from xpcls.graph import Variable, sigmoid

    w, x = Variable([2.0, -3.0]), Variable([-1.0, -2.0])
    f = sigmoid(w @ x - 3.0)
    f.backward()
    w.grad                          # df/dw, of the shape of w

`Variable` has the operators; the functions below take variables, arrays and numbers. Given plain
arrays alone they give plain arrays. `ComputationalGraph` and its gates are the lecture's own
picture of the same; `draw` shows either.
"""

from ._backward import jacobian, nodes_topologically_sorted
from ._computation import ComputationalGraph
from ._draw import Drawing, draw
from ._elementwise import (
    abs,
    add,
    divide,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    relu,
    sigmoid,
    sqrt,
    subtract,
    tanh,
    where,
)
from ._gates import AddGate, Gate, MaxGate, MultiplyGate, SigmoidGate
from ._images import avg_pool, biased_relu, conv2d, max_pool
from ._losses import (
    hinge,
    one_vs_all,
    softmax_cross_entropy,
    squared_error,
    squared_hinge,
    structured,
)
from ._noise import batch_norm, dropout, moments
from ._reductions import matmul, max, mean, sum
from ._shapes import broadcast_to, concat, flatten, getitem, pick, reshape, transpose
from ._variable import OPERATIONS, Variable, no_grad, value_of

__all__ = [
    "OPERATIONS",
    "AddGate",
    "ComputationalGraph",
    "Drawing",
    "Gate",
    "MaxGate",
    "MultiplyGate",
    "SigmoidGate",
    "Variable",
    "abs",
    "add",
    "avg_pool",
    "batch_norm",
    "biased_relu",
    "broadcast_to",
    "concat",
    "conv2d",
    "divide",
    "draw",
    "dropout",
    "exp",
    "flatten",
    "getitem",
    "hinge",
    "jacobian",
    "log",
    "matmul",
    "max",
    "max_pool",
    "maximum",
    "mean",
    "minimum",
    "moments",
    "multiply",
    "negative",
    "no_grad",
    "nodes_topologically_sorted",
    "one_vs_all",
    "pick",
    "power",
    "relu",
    "reshape",
    "sigmoid",
    "softmax_cross_entropy",
    "sqrt",
    "squared_error",
    "squared_hinge",
    "structured",
    "subtract",
    "sum",
    "tanh",
    "transpose",
    "value_of",
    "where",
]
