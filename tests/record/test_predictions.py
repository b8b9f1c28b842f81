from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noprop_dist.data import load_dataset
from noprop_dist.errors import UserError
from noprop_dist.record.first_embedding import read_first_embedding, write_first_embedding
from noprop_dist.record.predictions import Predictions, read_predictions, write_predictions
from noprop_dist.record.store import Store

SAID = Predictions(
    np.array([0, 1, 2]), np.array([3, 4, 5]), np.array([3, 0, 5]), np.float32([0.5, 0.25, 1])
)


PROBABILITIES = {"z_T": np.eye(3, dtype=np.float32), "mean_softmax": np.eye(3, dtype=np.float32)}


def test_predictions_come_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read_predictions(store) is None
    write_predictions(store, SAID, PROBABILITIES)
    found = read_predictions(store)
    assert found is not None
    for name, column in vars(SAID).items():
        np.testing.assert_array_equal(getattr(found, name), column)
        assert getattr(found, name).dtype == column.dtype
    assert found.right.tolist() == [True, False, True]
    assert found.at(np.array([2, 1])).answer.tolist() == [5, 0]


def test_file_has_the_columns_that_the_page_names(tmp_path: Path) -> None:
    write_predictions(Store(tmp_path), SAID, PROBABILITIES)
    schema = pq.read_schema(tmp_path / "test_predictions.parquet")
    assert schema.names == ["row", "label", "answer", "confidence", "z_T", "mean_softmax"]
    lists = ["fixed_size_list<element: float>[3]"] * 2
    assert [str(kind) for kind in schema.types] == ["int64", "int64", "int64", "float", *lists]
    with pytest.raises(UserError):
        load_dataset(str(tmp_path))


def test_damaged_predictions_get_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "test_predictions.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="is not what a run writes"):
        read_predictions(Store(tmp_path))
    pq.write_table(pa.table({"row": [1]}), tmp_path / "test_predictions.parquet")
    with pytest.raises(UserError, match="label"):
        read_predictions(Store(tmp_path))


def test_first_embedding_comes_back(tmp_path: Path) -> None:
    store, u = Store(tmp_path), torch.arange(6.0).view(2, 3)
    assert read_first_embedding(store) is None
    write_first_embedding(store, u)
    found = read_first_embedding(store)
    assert found is not None
    assert torch.equal(found, u)
    (tmp_path / "first_embedding.safetensors").write_bytes(b"{")
    with pytest.raises(UserError, match="is damaged"):
        read_first_embedding(store)
