"""``python -m noprop_dist`` is ``noprop``."""

import sys

from noprop_dist.cli import main

if __name__ == "__main__":
    sys.exit(main())
