"""scikit-learn's embedded handwritten digits."""

import numpy as np

from noprop_dist.data.account import Account, Reading
from noprop_dist.data.dataset import Found, hold_out_test
from noprop_dist.data.images import fit_batch
from noprop_dist.data.shards import Split


def load_digits(reading: Reading | None = None, data_dir: str | None = None) -> Found:
    """1,797 grey 8x8 images, 20 % of them a fixed test split.

    Args:
        reading: how images are read.
        data_dir: not used: they come with scikit-learn.
    """
    from sklearn.datasets import load_digits as load  # slow import, for this source alone

    bunch = load()
    x = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    rows = Split.from_arrays(fit_batch(x, reading or Reading()), bunch.target.astype(np.int64))
    train, test = hold_out_test(rows)
    return Found(
        name="digits",
        class_names=tuple("0123456789"),
        named=True,
        splits={"train": train, "test": test},
        photographs=False,
        account=Account("scikit-learn's digits"),
    )
