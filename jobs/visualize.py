"""Draw the pictures of a run folder; the same as ``noprop visualize``."""

import sys
from pathlib import Path

# The working directory's code, also where another version is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from noprop_dist.cli import visualize_main

if __name__ == "__main__":
    sys.exit(visualize_main(sys.argv[1:], prog="python jobs/visualize.py"))
