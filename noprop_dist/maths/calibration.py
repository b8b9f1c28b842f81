"""Temperatures and weights that make probabilities of what classifiers say.

N rows, K classes, T classifiers. Labels are smoothed a little, as Platt (1999) does: rows that are
all answered rightly would ask for certainty.
"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

LOG_RANGE = 6.0  # of a temperature, to both sides of 1


def fit_temperature(logits: Floats, y: Labels) -> float:
    """What to divide logits by, so that the labels are likeliest (Guo et al. 2017).

    Args:
        logits: float64 (N, K), N at least 1.
        y: int64 (N,).
    """
    from scipy.optimize import minimize_scalar  # takes half a second to import

    target = _smoothed(y, logits.shape[1])

    def nats(log_temperature: float) -> float:
        return -float((target * _log_softmax(logits / math.exp(log_temperature))).sum())

    found = minimize_scalar(
        nats, bounds=(-LOG_RANGE, LOG_RANGE), method="bounded", options={"xatol": 1e-8}
    )
    return _rounded(math.exp(found.x))


def fit_weights(log_p: Floats, y: Labels) -> Floats:
    """Weights of the classifiers in the mean of their log-probabilities.

    Their logarithms have a normal prior of width 1 about the mean one: with few rows the weights
    stay near equal.

    Args:
        log_p: float64 (T, N, K), log-probabilities; N at least 1.
        y: int64 (N,).

    Returns:
        float64 (T,), above 0, of sum 1, to four digits.
    """
    from scipy.optimize import minimize

    num, rows, classes = log_p.shape
    target = _smoothed(y, classes)

    def loss(v: Floats) -> tuple[float, Floats]:
        weights = np.exp(v)
        said = _log_softmax(np.tensordot(weights, log_p, axes=1))
        centred = v - v.mean()
        value = -(target * said).sum() + 0.5 * (centred**2).sum()
        slope = weights * np.tensordot(log_p, np.exp(said) - target, axes=2) + centred
        return float(value) / rows, slope / rows

    begin = np.full(num, -math.log(num))
    found = minimize(
        loss, begin, jac=True, method="L-BFGS-B", bounds=[(-12.0, 4.0)] * num,
        options={"ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    weights = np.exp(found.x)
    return np.array([_rounded(w) for w in weights / weights.sum()])


def nats_by_row(logits: Floats, y: Labels) -> Floats:
    """Negative log-likelihoods of labels in nats, float64 (N,).

    Args:
        logits: float64 (N, K), N at least 1.
        y: int64 (N,).
    """
    return -np.take_along_axis(_log_softmax(logits), y[:, None], axis=1)[:, 0]


def nats_of(logits: Floats, y: Labels) -> float:
    """The mean of ``nats_by_row``, to six digits."""
    return float(f"{nats_by_row(logits, y).mean():.6g}")


def _smoothed(y: Labels, classes: int) -> Floats:
    """Probabilities (N, K) of classes: a row is of its label but for one chance in N + 2."""
    doubt = 1 / (len(y) + 2)
    target: Floats = np.full((len(y), classes), doubt / max(1, classes - 1))
    target[np.arange(len(y)), y] = 1 - doubt
    return target


def _log_softmax(logits: Floats) -> Floats:
    found: Floats = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return found


def _rounded(value: float) -> float:
    """To four digits: the same whatever the order in which a machine adds."""
    return float(f"{value:.4g}")
