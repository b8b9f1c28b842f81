"""Measure what a run loses when its processes are killed; the same as ``noprop chaos``."""

import sys
from pathlib import Path

# The working directory's code, also where another version is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from noprop_dist.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("chaos"))
