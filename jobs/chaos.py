"""Measure what a run loses when its processes are killed; ``--json`` for the figures alone."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# The working directory's code, also where another version is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro

from noprop_benchmarks.benchmark_options import ChaosBenchmark
from noprop_dist.cli import exit_code


@dataclass(frozen=True)
class Options:
    """Measure what a run loses when its processes are killed.

    Attributes:
        chaos: What is trained and what is done to it.
        json: Print the result as one JSON object.
        folder: Keep both run folders here.
    """

    chaos: tyro.conf.OmitArgPrefixes[ChaosBenchmark]
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    folder: Path | None = None


def parse(argv: Sequence[str]) -> Options:
    """The options of the command line.

    Raises:
        UserError: they cannot be measured.
    """
    options = tyro.cli(Options, args=argv, description=__doc__)
    options.chaos.check()
    return options


def main() -> int:
    """Run both and print what was lost."""
    options = parse(sys.argv[1:])
    # A cluster of its own, on loopback, which Ray decides when it is imported.
    os.environ.pop("RAY_ADDRESS", None)
    from noprop_benchmarks.chaos import measure_chaos, render

    measured = measure_chaos(options.chaos, options.folder)
    print(json.dumps(measured) if options.json else render(measured))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
