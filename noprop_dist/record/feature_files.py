"""The features that a run trains on, as Parquet files that ``--dataset`` takes; F features."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from noprop_dist.data.parquet_files import table_bytes
from noprop_dist.data.shards import Split
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
    label = {"names": list(class_names), "_type": "ClassLabel"}
    told = {b"huggingface": json.dumps({"info": {"features": {"label": label}}}).encode()}
    for split, rows in splits.items():
        shards = list(zip(rows.xs, rows.ys, strict=True)) if len(rows) else []
        for i, (x, y) in enumerate(shards):
            path = f"{FEATURES}/{split}-{i:05}-of-{len(shards):05}.parquet"
            if again or not store.exists(path):
                columns = {"features": x[np.arange(len(x))], "label": y}
                store.write(path, table_bytes(columns, told))
