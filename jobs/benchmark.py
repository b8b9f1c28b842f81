"""Measure a claim of the project; the same as ``noprop benchmark``."""

import sys
from pathlib import Path

# The working directory's code, also where another version is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from noprop_dist.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("benchmark"))
