"""Choosing without deceiving oneself: folds, searches, a sealed test set, and a look for leaks.

    from xpcls import LinearClassifier
    from xpcls.data import load_mnist5k, split
    from xpcls.model_selection import SealedTestSet, StratifiedKFold, find_leaks, tune

    digits = load_mnist5k()
    parts = split(digits)
    print(find_leaks(parts, digits).table)    # do the parts share what they should not?
    chosen = parts.train_and_validation
    X, y = digits.images[chosen], digits.labels[chosen]
    sealed = SealedTestSet(digits.images[parts.test], digits.labels[parts.test])

    grid = {"l2": [1e-4, 1e-3, 1e-2]}
    found = tune(LinearClassifier(), grid, X, y, cv=StratifiedKFold(5), test=sealed)
    print(found)            # every setting, and one test score
    print(sealed.report)    # opened once, when, and by which model

Three parts of the data have three tasks. The training rows teach a model. The validation rows
choose among models: in folds, each row does both in turn. The test rows say how good the choice
is, and that is true only while nothing was chosen by them, so they are looked at once.

    KFold, StratifiedKFold, GroupKFold    folds, in scikit-learn's protocol, shuffled
    check_cv                              what `cv=` may be
    tune                                  every setting of a grid, for any estimator
    KNeighborsClassifierCV                all k and both metrics at the cost of one search
    SealedTestSet                         opened once; later openings warn and are counted
    find_leaks                            copies, near copies, divided groups, bias of time or order
"""

from ._folds import GroupKFold, KFold, Splitter, StratifiedKFold, check_cv
from ._leaks import Finding, LeakReport, find_leaks
from ._ledger import LedgerError, Opening
from ._neighbors_cv import KNeighborsClassifierCV
from ._sealed import SealedTestSet
from ._search import Trial, Tuned, tune

__all__ = [
    "Finding",
    "GroupKFold",
    "KFold",
    "KNeighborsClassifierCV",
    "LeakReport",
    "LedgerError",
    "Opening",
    "SealedTestSet",
    "Splitter",
    "StratifiedKFold",
    "Trial",
    "Tuned",
    "check_cv",
    "find_leaks",
    "tune",
]
