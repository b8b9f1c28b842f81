"""That the benchmark of decoding measures both sides."""

from noprop_dist.benchmarks.benchmark_options import DecodeBenchmark
from noprop_dist.benchmarks.decoding import benchmark_decode, render


def test_both_sides_are_measured_and_compared() -> None:
    measured = benchmark_decode(DecodeBenchmark(images=200, side=64, repeats=3))
    assert measured["ours"] > 0
    assert len(measured["ratios"]) == 3
    # The claim is 0.8 of large pictures; here are small ones, and other tests beside.
    assert 0.1 < measured["ratio"] < 3
    assert f"{measured['ratio']:.2f}" in render(measured)
