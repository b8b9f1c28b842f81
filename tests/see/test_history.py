import json
import math
from typing import Any

import pytest

from noprop_dist.errors import UserError
from noprop_dist.record.history import BlockEpoch, History
from noprop_dist.see.history import read_history


def read(values: Any) -> History:
    return read_history(json.dumps(values).encode(), "here")


def test_history_of_a_run_comes_back_with_gaps_for_null() -> None:
    made = History()
    made.record({1: BlockEpoch(2.0, 0.5, 9.0), 10: BlockEpoch(1.0, 0.6, 9.0)}, 0.5, None, 0.1)
    found = read(made.to_dict())
    assert math.isnan(found.val_accuracy_mean_softmax_history[0] or 0)
    found.val_accuracy_mean_softmax_history = [None]
    assert found == made


def test_what_is_missing_is_empty_and_what_is_unknown_passed_over() -> None:
    found = read({"lr_history": [1], "mine": "x", "blocks": {"2": {"loss": [3]}, "all": {}}})
    assert found.lr_history == [1]
    assert found.train_loss_history == []
    assert found.blocks == {"2": {"loss": [3], "accuracy": [], "images_per_s": []}}


def test_numbers_that_are_none_are_gaps() -> None:
    huge = "1" + 400 * "0"
    data = f'{{"lr_history": [NaN, -Infinity, {huge}, 1e999, 2]}}'.encode()
    *gaps, last = read_history(data, "here").lr_history
    assert all(map(math.isnan, gaps))
    assert (len(gaps), last) == (4, 2)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[1]", "one object of lists"),
        (b'{"lr_history": 3}', "its lr_history must be a list"),
        (b'{"lr_history": ["a"]}', "its lr_history holds 'a', which is no number"),
        (b'{"lr_history": [true]}', "its lr_history holds 'True'"),
        (b'{"blocks": [1]}', "its blocks must be an object"),
        (b'{"blocks": {"1": 2}}', "its block 1 must be an object"),
        (b'{"blocks": {"1": {"loss": {}}}}', "its loss must be a list"),
    ],
)
def test_damaged_history_gets_one_sentence(data: bytes, says: str) -> None:
    with pytest.raises(UserError, match=r"^here is not what a run writes") as refused:
        read_history(data, "here")
    assert says in str(refused.value)
