"""The features that a run trains on, as Parquet files that ``--dataset`` takes; F features."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from noprop_dist.data.shards import Array, Rows, Split, pieces
from noprop_dist.data.stored import StoredImages
from noprop_dist.record.store import Store
from noprop_dist.run_files import FEATURES


def write_features(
    store: Store, splits: Mapping[str, Split], class_names: Sequence[str], *, again: bool
) -> None:
    """Write ``features/``, files of at most SHARD_ROWS rows of a split.

    Args:
        store: the run folder.
        splits: by name, float32 (N, F) vectors; one without rows gets no file.
        class_names: K names, by label.
        again: also what is there.

    Raises:
        UserError: the run folder cannot be written to.
    """
    for split, rows in splits.items():
        shards = list(zip(rows.xs, rows.ys, strict=True)) if len(rows) else []
        for i, (x, y) in enumerate(shards):
            path = f"{FEATURES}/{split}-{i:05}-of-{len(shards):05}.parquet"
            if again or not store.exists(path):
                store.write(path, _parquet(x, y, class_names))


def _parquet(x: Array | StoredImages, y: Rows, class_names: Sequence[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = np.concatenate(list(pieces(x)))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    label = {"names": list(class_names), "_type": "ClassLabel"}
    told = {"huggingface": json.dumps({"info": {"features": {"label": label}}})}
    table = pa.table({"features": lists, "label": y}).replace_schema_metadata(told)
    out = pa.BufferOutputStream()
    pq.write_table(table, out, use_dictionary=["label"])
    written: bytes = out.getvalue().to_pybytes()
    return written
