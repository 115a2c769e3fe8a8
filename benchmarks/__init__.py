"""What xpcls is timed against, and how: `python -m benchmarks`, from the root of a checkout.

cases.py             what a case, a contestant and a finding are
timing.py            interleaved rounds, best and median; each contestant in a process of its own
worker.py            that process
report.py            what is printed, the JSON, and what was held
table.py             a result as tables in Markdown: `python -m benchmarks.table results/X.json`
pictures.py          growth curves
machine.py           where and with what versions it was measured
data.py              the rows that are searched and learnt from
hard_rows.py         rows among which neighbours are hard to get right
exact.py             neighbours in float64, and which answers float64 allows

The suites:

exact_neighbors.py   `exact`: whether neighbours are right, not timed
neighbors.py         nearest rows, against FAISS, scikit-learn and torch
growth.py            nearest rows, over points, queries, features, k and threads
sgd.py, sgd_jax.py   epochs of a linear classifier, against torch, jax and scikit-learn
graph.py, graph_chain.py         the graph engine, against torch, autograd and jax
networks.py, networks_jax.py     networks, against torch, jax and scikit-learn
convolution.py       convolution alone, against torch
features.py          HOG and hue histograms, against OpenCV and scikit-image
checks.py            checking gradients, against the loop
selection.py         cross-validated neighbours, against scikit-learn's grid search
first_call.py        `first`: what compiling kernels costs a new process
"""
