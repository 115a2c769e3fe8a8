"""What xpcls is timed against, and how: `python -m benchmarks`, from the root of a checkout.

cases.py       what a case, a contestant and a finding are
timing.py      interleaved rounds, best and median; each contestant in a process of its own
worker.py      that process
neighbors.py   nearest rows, against scikit-learn and torch
sgd.py         an epoch of a linear classifier, against torch and scikit-learn
graph.py       the graph engine, against torch and autograd
networks.py    networks and convolution, against torch and scikit-learn
features.py    HOG and hue histograms, against OpenCV and scikit-image
selection.py   cross-validated neighbours, against scikit-learn's grid search
data.py        the rows that are searched and learnt from
exact.py       neighbours in float64, against which answers are checked
machine.py     where and with what versions it was measured
report.py      the table, the JSON, and what was held
"""
