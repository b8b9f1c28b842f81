"""That the benchmark of predicting measures both sides, on one core."""

import os

import pytest

from noprop_dist.benchmarks.benchmark_options import PredictBenchmark
from noprop_dist.benchmarks.prediction import benchmark_predict, one_core, render


def test_both_sides_are_measured_and_compared() -> None:
    cores = os.sched_getaffinity(0)
    measured = benchmark_predict(
        PredictBenchmark(images=96, repeats=3, num_blocks=3, batch_size=32)
    )
    assert os.sched_getaffinity(0) == cores
    assert measured["bare"] > 0
    assert len(measured["ratios"]) == 3
    # The claim is 0.8 of ten blocks; here are three, a few pictures and other tests beside.
    assert 0.3 < measured["ratio"] < 1.5
    assert f"{measured['ratio']:.2f}" in render(measured)


def test_one_core_is_given_back_after_an_error() -> None:
    cores = os.sched_getaffinity(0)

    def fail() -> None:
        with one_core():
            assert len(os.sched_getaffinity(0)) == 1
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        fail()
    assert os.sched_getaffinity(0) == cores
