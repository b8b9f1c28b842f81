import json

import pytest

from noprop_dist.record.history import BlockEpoch, History


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
    again = History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert again == history
    for h in (history, again):
        h.record({1: BlockEpoch(0.5, 0.75, 9.0)}, 0.5, None, 0.1)
    assert again == history
    assert again.val_accuracy_history == [None] * epochs + [0.5]


def test_dict_is_a_copy() -> None:
    history = History()
    history.to_dict()["lr_history"].append(1.0)
    assert history.lr_history == []
