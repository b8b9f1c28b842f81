"""scikit-learn's embedded handwritten digits."""

from importlib.metadata import distribution

import numpy as np

from noprop_dist.data.account import Account, Reading
from noprop_dist.data.dataset import Found, hold_out_test
from noprop_dist.data.images import fit_batch
from noprop_dist.data.shards import Split

FILE = "sklearn/datasets/data/digits.csv.gz"


def load_digits(reading: Reading | None = None, data_dir: str | None = None) -> Found:
    """1,797 grey 8x8 images, 20 % of them a fixed test split.

    Args:
        reading: how images are read.
        data_dir: not used: they come with scikit-learn.
    """
    # The file alone: to import scikit-learn takes longer than to train on it.
    file = distribution("scikit-learn").locate_file(FILE)
    table = np.loadtxt(str(file), delimiter=",")  # 64 pixels of 0 to 16, and the digit
    x = np.round(table[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    rows = Split.from_arrays(fit_batch(x, reading or Reading()), table[:, -1].astype(np.int64))
    train, test = hold_out_test(rows)
    return Found(
        name="digits",
        class_names=tuple("0123456789"),
        named=True,
        splits={"train": train, "test": test},
        photographs=False,
        account=Account("scikit-learn's digits"),
    )
