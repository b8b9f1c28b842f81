"""``noprop benchmark KIND`` and ``noprop chaos``: argv -> options -> measure -> print."""

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from noprop_dist.benchmarks.benchmark_options import (
    Benchmark,
    ChaosBenchmark,
    DecodeBenchmark,
    EngineBenchmark,
    GpuBenchmark,
    PredictBenchmark,
    ScalingBenchmark,
    SharingBenchmark,
)
from noprop_dist.errors import UserError, needing_ray
from noprop_dist.host import on_linux
from noprop_dist.options import parse_own
from noprop_dist.text import json_line

# By kind: its options, its module and the function there.
BENCHMARKS: dict[str, tuple[type[Benchmark], str, str]] = {
    "decode": (DecodeBenchmark, "decoding", "benchmark_decode"),
    "engine": (EngineBenchmark, "training_speed", "benchmark_engine"),
    "gpu": (GpuBenchmark, "gpu", "measure_gpu"),
    "predict": (PredictBenchmark, "prediction", "benchmark_predict"),
    "scaling": (ScalingBenchmark, "scaling", "measure_scaling"),
    "sharing": (SharingBenchmark, "sharing", "compare_sharing"),
    "chaos": (ChaosBenchmark, "chaos", "measure_chaos"),
}


def run_benchmark(kind: str, argv: Sequence[str], prog: str, text: str) -> int:
    """Measure and print. Returns the exit code.

    Raises:
        UserError: options out of range, no Linux, or no Ray where it is needed.
    """
    options_class, module_name, function = BENCHMARKS[kind]
    options = parse_own(argv, prog, text, options_class)
    if not on_linux():
        raise UserError(f"{prog} measures processes as Linux tells of them: run it there.")
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # PyTorch's profiler talks on standard error
    if kind == "chaos":
        # A cluster of its own, on loopback, which Ray decides when it is imported.
        os.environ.pop("RAY_ADDRESS", None)
    with needing_ray("Ray is not installed: install ray, or measure something else."):
        module = import_module(f"noprop_dist.benchmarks.{module_name}")
    measured: dict[str, Any] = getattr(module, function)(options)
    print(json_line(measured) if options.json else module.render(measured))
    return 0
