"""What a run takes of another network's weights, by the classes of both."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noprop_dist import TrainResult, UserError, train
from runs import small

NAMES = ["ant", "bee", "cat"]
# A rate of next to nothing: the network stays what it began as.
STILL: dict[str, Any] = {"num_blocks": 2, "epochs": 1, "lr": 1e-12, "weight_decay": 0.0}


class Rows(list[tuple[Any, int]]):
    """A map-style data set of vectors that tells the names of its classes."""

    classes: list[str]


def rows(names: list[str], seed: int = 0) -> tuple[Rows, Rows]:
    """A training and a test set of vectors by chance, of every class as many."""
    generator = np.random.default_rng(seed)
    found = []
    for count in (60, 30):
        part = Rows((generator.random(4, np.float32), i % len(names)) for i in range(count))
        part.classes = names
        found.append(part)
    return found[0], found[1]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    folder = tmp_path_factory.mktemp("first") / "base"
    return train(small(folder, num_blocks=2, epochs=2), data=rows(NAMES))


def begun(folder: Path, base: TrainResult, data: tuple[Rows, Rows]) -> dict[str, bool]:
    """By tensor, whether a run on this data begins with that of the base."""
    tuned = train(small(folder, **STILL, quiet=False), data=data, init_from=base)
    theirs = base.network.network.state_dict()
    return {
        name: tensor.shape == theirs[name].shape
        and torch.allclose(tensor.float(), theirs[name].float(), atol=1e-6, rtol=0)
        for name, tensor in tuned.network.network.state_dict().items()
        if "running" not in name and "num_batches" not in name
    }


def test_other_rows_of_the_same_classes_begin_with_all_of_it(
    base: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(begun(tmp_path / "a", base, rows(NAMES, seed=1)).values())
    said = capsys.readouterr().err
    assert f"the weights begin as those of {base.folder}" in said
    assert "anew" not in said
    assert "other names" not in said


def test_more_classes_get_a_head_of_their_own(
    base: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = begun(tmp_path / "a", base, rows([*NAMES, "dog"]))
    said = " ".join(capsys.readouterr().err.split())
    assert "layers of another shape, which begin anew: " in said
    anew = said.partition("begin anew: ")[2]
    assert "readout" in anew
    assert not taken["readout_weight"]
    logits = [name for name in taken if name.startswith("blocks.0.")][-2:]
    assert not any(taken[name] for name in logits)
    assert any(taken.values())


def test_other_names_keep_their_places_and_a_line_says_so(
    base: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(begun(tmp_path / "a", base, rows(["ant", "bee", "dog"])).values())
    assert "its 3 classes have other names" in capsys.readouterr().err


def test_the_same_names_in_another_order_are_refused(base: TrainResult, tmp_path: Path) -> None:
    says = r"same classes in another order \(class 1 is 'bee' there and 'cat' here\).* in the order"
    with pytest.raises(UserError, match=says):
        begun(tmp_path / "a", base, rows(["ant", "cat", "bee"]))
