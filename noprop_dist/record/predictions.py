"""What a network said of the test split, row by row, as a file; N rows."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from noprop_dist.data.parquet_files import OWN, table_bytes
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import PREDICTIONS


@dataclass(frozen=True)
class Predictions:
    """Answers to labelled rows of the test split.

    Attributes:
        row: int64 (N,), which rows of the split.
        label: int64 (N,), their true classes.
        answer: int64 (N,), z_T's in the first noise draw.
        confidence: float32 (N,), the probability it gave that answer.
    """

    row: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    answer: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Bool (N,), whether the answer is the label."""
        return np.equal(self.answer, self.label)

    def at(self, places: npt.NDArray[np.int64]) -> "Predictions":
        """Those of some of the N rows, by their place here."""
        return Predictions(*(column[places] for column in vars(self).values()))


def write_predictions(
    store: Store, predictions: Predictions, probabilities: Mapping[str, npt.NDArray[np.float32]]
) -> None:
    """Write ``test_predictions.parquet``, a column per attribute and readout.

    Args:
        store: the run folder.
        predictions: of N rows.
        probabilities: by readout, float32 (N, K).

    Raises:
        UserError: the run folder cannot be written to.
    """
    # Rows of labels and floats would pass for data to train on.
    data = table_bytes(vars(predictions) | dict(probabilities), {OWN: b"predictions"})
    store.write(PREDICTIONS, data)


def read_predictions(store: Store) -> Predictions | None:
    """What ``write_predictions`` wrote, or None where there is no such file.

    Raises:
        UserError: the file is damaged, or not what a run writes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    reader = Reader(store)
    data = reader.read(PREDICTIONS)
    if data is None:
        return None
    try:
        known = [f.name for f in fields(Predictions)]
        table = pq.read_table(pa.BufferReader(data), columns=known)
        columns = [table[name].to_numpy() for name in ("row", "label", "answer")]
        row, label, answer = (column.astype(np.int64, casting="safe") for column in columns)
        confidence = table["confidence"].to_numpy().astype(np.float32, casting="same_kind")
    except (pa.ArrowException, KeyError, TypeError, OSError) as error:
        raise reader.foreign(PREDICTIONS, error) from error
    return Predictions(row, label, answer, confidence)
