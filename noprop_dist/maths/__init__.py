"""The paper's equations as plain functions: tensors in, tensors out; no config object, no runtime.

Letters: B batch, K classes, D embedding width, T blocks; ``t`` = 1..T is always the paper's, and
time runs from noise (t = 0) to label (t = T). Equation numbers are those of arXiv:2503.24322v1.
"""
