"""Checks before training: three quick trials that find most mistakes of a new loss or data set.

    initial_loss     is the loss at zero weights what theory says?
    gradient_check   is the gradient that of the loss?       check_gradients: of a classifier
    overfit          can a few examples be learnt by heart?

Each returns a result that holds the numbers, `passed`, and `diagnosis`, one sentence that says
what they mean and, where something is wrong, what to look at. With `raise_on_failure=True` a
failure is a CheckError.
"""

from ._classifier import check_gradients
from ._gradient import GradientCheck, gradient_check
from ._initial import InitialLoss, initial_loss, loss_at_zero
from ._overfit import Overfit, overfit
from ._result import Check, CheckError

__all__ = [
    "Check",
    "CheckError",
    "GradientCheck",
    "InitialLoss",
    "Overfit",
    "check_gradients",
    "gradient_check",
    "initial_loss",
    "loss_at_zero",
    "overfit",
]
