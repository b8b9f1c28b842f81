"""Measure a claim of the project: ``python jobs/benchmark.py engine`` or another command of it."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

# The working directory's code, also where another version is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # PyTorch's profiler talks on standard error

import tyro

from noprop_benchmarks.benchmark_options import (
    EngineBenchmark,
    GpuBenchmark,
    PredictBenchmark,
    ScalingBenchmark,
    SharingBenchmark,
)
from noprop_dist.cli import exit_code

Benchmark = (
    Annotated[EngineBenchmark, tyro.conf.subcommand("engine")]
    | Annotated[GpuBenchmark, tyro.conf.subcommand("gpu")]
    | Annotated[PredictBenchmark, tyro.conf.subcommand("predict")]
    | Annotated[ScalingBenchmark, tyro.conf.subcommand("scaling")]
    | Annotated[SharingBenchmark, tyro.conf.subcommand("sharing")]
)


@dataclass(frozen=True)
class Options:
    """Measure one of the project's claims.

    Attributes:
        benchmark: Which one.
        json: Print the result as one JSON object on the last line.
    """

    benchmark: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Benchmark]]
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def parse(argv: Sequence[str]) -> Options:
    """The options of the command line."""
    config = (tyro.conf.CascadeSubcommandArgs,)
    options = tyro.cli(Options, args=argv, description=__doc__, config=config)
    options.benchmark.check()
    return options


def main() -> int:
    """Run one benchmark and print what it measured."""
    options = parse(sys.argv[1:])
    if isinstance(options.benchmark, EngineBenchmark):
        from noprop_benchmarks.training_speed import benchmark_engine, render

        measured = benchmark_engine(options.benchmark)
    elif isinstance(options.benchmark, GpuBenchmark):
        from noprop_benchmarks.gpu import measure_gpu, render

        measured = measure_gpu(options.benchmark)
    elif isinstance(options.benchmark, PredictBenchmark):
        from noprop_benchmarks.prediction import benchmark_predict, render

        measured = benchmark_predict(options.benchmark)
    elif isinstance(options.benchmark, ScalingBenchmark):
        from noprop_benchmarks.scaling import measure_scaling, render

        measured = measure_scaling(options.benchmark)
    else:
        from noprop_benchmarks.sharing import compare_sharing, render

        measured = compare_sharing(options.benchmark)
    print(json.dumps(measured) if options.json else render(measured))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
