"""Measure the project against plain baselines: ``python jobs/benchmark.py engine``."""

import argparse
import json
import sys
from pathlib import Path

# The working directory's code, also where another version is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    """Run one benchmark and print what it measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="BENCHMARK")
    engine = commands.add_parser("engine", help="the engine against a plain PyTorch loop")
    engine.add_argument("--steps", type=int, default=20, help="steps a measurement (default: 20)")
    engine.add_argument("--repeats", type=int, default=5, help="measurements a side (default: 5)")
    engine.add_argument("--batch-size", type=int, default=128, help="images a step (default: 128)")
    engine.add_argument("--threads", type=int, default=2, help="threads a side (default: 2)")
    engine.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    for name in ("steps", "repeats", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")

    from noprop_dist.benchmark import EngineBenchmark, benchmark_engine

    measured = benchmark_engine(
        EngineBenchmark(
            steps=args.steps,
            repeats=args.repeats,
            batch_size=args.batch_size,
            threads=args.threads,
        )
    )
    if args.json:
        print(json.dumps(measured))
    else:
        print(f"engine        {measured['engine']:8,.0f} block-images/s")
        print(f"plain loop    {measured['plain']:8,.0f} block-images/s")
        print(f"ratio         {measured['ratio']:8.2f}  (median of {args.repeats} pairs)")
        print(f"convolutions and products: {measured['matrix_share']:.0%} of the engine's time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
