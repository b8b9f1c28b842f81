import json
import math
from pathlib import Path
from typing import Any

import pytest

from noprop_dist.errors import UserError
from noprop_dist.record.history import BlockEpoch, History, read_history
from noprop_dist.record.store import Store


def test_epochs_become_lists_by_block_and_means_over_blocks() -> None:
    history = History()
    history.record({2: BlockEpoch(3.0, 0.5, 10.0), 1: BlockEpoch(1.0, 1.0, 30.0)}, 0.8, 0.9, 0.1)
    history.record({1: BlockEpoch(0.5, 1.0, 30.0), 2: BlockEpoch(1.5, 0.5, 20.0)}, 0.9, 0.7, 0.2)
    assert history.train_loss_history == [2.0, 1.0]
    assert history.train_accuracy_history == [0.75, 0.75]
    assert history.val_accuracy_history == [0.8, 0.9]
    assert history.val_accuracy_mean_softmax_history == [0.9, 0.7]
    assert history.lr_history == [0.1, 0.2]
    assert list(history.blocks) == ["1", "2"]
    assert history.blocks["2"] == {
        "loss": [3.0, 1.5],
        "accuracy": [0.5, 0.5],
        "images_per_s": [10.0, 20.0],
    }


@pytest.mark.parametrize("epochs", [0, 2])
def test_history_survives_json_and_goes_on(epochs: int) -> None:
    history = History()
    for _ in range(epochs):
        history.record({1: BlockEpoch(1.0, 0.5, 9.0)}, None, None, 0.1)
    again = History(**json.loads(json.dumps(history.to_dict())))
    assert again == history
    for h in (history, again):
        h.record({1: BlockEpoch(0.5, 0.75, 9.0)}, 0.5, None, 0.1)
    assert again == history
    assert again.val_accuracy_history == [None] * epochs + [0.5]


def test_dict_is_a_copy() -> None:
    history = History()
    history.to_dict()["lr_history"].append(1.0)
    assert history.lr_history == []


def read(folder: Path, values: Any) -> History:
    data = values if isinstance(values, bytes) else json.dumps(values).encode()
    (folder / "made.json").write_bytes(data)
    found = read_history(Store(folder), "made.json")
    assert found is not None
    return found


def test_best_is_the_first_of_the_highest_validation_accuracies() -> None:
    assert History(val_accuracy_history=[None, math.nan]).best is None
    assert History(val_accuracy_history=[0.5, 0.75, None, 0.75, 0.25]).best == (2, 0.75)


def test_history_of_a_run_comes_back_with_gaps_for_null(tmp_path: Path) -> None:
    made = History()
    made.record({1: BlockEpoch(2.0, 0.5, 9.0), 10: BlockEpoch(1.0, 0.6, 9.0)}, 0.5, None, 0.1)
    found = read(tmp_path, made.to_dict())
    assert math.isnan(found.val_accuracy_mean_softmax_history[0] or 0)
    found.val_accuracy_mean_softmax_history = [None]
    assert found == made


def test_what_is_missing_is_empty_and_what_is_unknown_passed_over(tmp_path: Path) -> None:
    found = read(
        tmp_path, {"lr_history": [1], "mine": "x", "blocks": {"2": {"loss": [3]}, "all": {}}}
    )
    assert found.lr_history == [1]
    assert found.train_loss_history == []
    assert found.blocks == {"2": {"loss": [3], "accuracy": [], "images_per_s": []}}


def test_numbers_that_are_none_are_gaps(tmp_path: Path) -> None:
    huge = "1" + 400 * "0"
    data = f'{{"lr_history": [NaN, -Infinity, {huge}, 1e999, 2]}}'.encode()
    *gaps, last = read(tmp_path, data).lr_history
    assert all(map(math.isnan, gaps))
    assert (len(gaps), last) == (4, 2)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[1]", "no JSON object"),
        (b'{"lr_history": 3}', "its lr_history must be a list"),
        (b'{"lr_history": ["a"]}', "its lr_history holds 'a', which is no number"),
        (b'{"lr_history": [true]}', "its lr_history holds 'True'"),
        (b'{"blocks": [1]}', "its blocks must be an object"),
        (b'{"blocks": {"1": 2}}', "its block 1 must be an object"),
        (b'{"blocks": {"1": {"loss": {}}}}', "its loss must be a list"),
    ],
)
def test_damaged_history_gets_one_sentence(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/made.json is not what a run writes") as refused:
        read(tmp_path, data)
    assert says in str(refused.value)
