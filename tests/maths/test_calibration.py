"""Temperatures and weights against data whose right answer is known."""

import numpy as np
import pytest

from noprop_dist.maths.calibration import fit_temperature, fit_weights, nats_of


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def told() -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K), and labels that are drawn from their softmax."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    y = np.array([rng.choice(5, p=p) for p in np.exp(log_softmax(logits))])
    return logits, y


@pytest.mark.parametrize("times", [0.05, 1, 20])
def test_temperature_undoes_a_factor(told: tuple[np.ndarray, np.ndarray], times: float) -> None:
    logits, y = told
    assert fit_temperature(times * logits, y) == pytest.approx(times, rel=0.05)


def test_rows_that_are_all_right_ask_for_no_certainty() -> None:
    logits = np.eye(3).repeat(4, axis=0)
    temperature = fit_temperature(logits, np.arange(3).repeat(4))
    assert 0.1 < temperature < 1


def test_weights_find_the_one_that_knows(told: tuple[np.ndarray, np.ndarray]) -> None:
    logits, y = told
    others = np.random.default_rng(1).normal(size=(3, *logits.shape))
    log_p = log_softmax(np.stack([*others[:2], logits, others[2]]))
    weights = fit_weights(log_p, y)
    assert weights.sum() == pytest.approx(1, abs=1e-3)
    assert weights.argmax() == 2
    assert weights[2] > 0.8
    mean = np.tensordot(weights, log_p, axes=1)
    equal = log_p.mean(axis=0)
    assert nats_of(mean / fit_temperature(mean, y), y) < nats_of(equal, y)


def test_few_rows_leave_the_weights_near_equal(told: tuple[np.ndarray, np.ndarray]) -> None:
    logits, y = told
    log_p = log_softmax(np.stack([logits[:2], -logits[:2]]))
    assert fit_weights(log_p, y[:2]).min() > 0.1
