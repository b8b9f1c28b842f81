"""What stands in the place of z, and what the numbers say of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from noprop_dist import TrainConfig, load_network, train
from noprop_dist.ablate.ablation import interval
from noprop_dist.ablate.answers import GIVEN, answers_of
from noprop_dist.cli import main
from noprop_dist.data import Split
from noprop_dist.errors import UserError
from noprop_dist.record.run_config import read_config
from noprop_dist.record.store import Store
from noprop_dist.use.evaluate import count
from noprop_dist.use.opening import open_run
from noprop_dist.use.rows import rows_for
from runs import small

# Asks for what is trained beside a run: objective, T and epochs of each, and the notes.
Beside = Callable[[], tuple[list[tuple[str, int, int]], str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablate") / "run"
    train(small(folder, epochs=8, precision="fp32"))
    return folder


def test_the_chain_s_answers_are_those_of_an_evaluation(folder: Path) -> None:
    run = open_run(str(folder), "cpu")
    rows = rows_for(run)
    answers = answers_of(run, rows.split, 3)
    counts = count(run, rows, 3, 2048)
    total = 3 * len(rows.split)
    assert answers.z_T.mean() == pytest.approx(counts.right[0].sum() / total)
    assert answers.mean_softmax["chain"].mean() == pytest.approx(counts.right[1].sum() / total)
    by_block = answers.block["chain"].mean(axis=1)
    np.testing.assert_allclose(by_block, counts.block.sum(axis=0) / total)


def test_what_is_given_as_z_counts_where_it_must(folder: Path) -> None:
    """The last block has learned to trust z; the first has hardly seen a label in it."""
    run = open_run(str(folder), "cpu")
    answers = answers_of(run, rows_for(run).split, 2)
    accuracy = {given: answers.block[given].mean(axis=1) for given in GIVEN}
    assert accuracy["label"][-1] > accuracy["chain"][-1] > accuracy["other"][-1]
    assert accuracy["noise"][0] == pytest.approx(accuracy["chain"][0], abs=0.03)
    assert accuracy["chain"][-1] > accuracy["noise"][-1]


def test_noise_is_spread_as_the_chain_s_z_and_another_s_z_is_never_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(str(folder), "cpu")
    rows = rows_for(run).split  # in batches of 256 and 103
    objective, asked = run.trained.computing.objective, []

    def step(t: int, z: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        asked.append((t, z))
        return type(objective).step(objective, t, z, *rest)

    monkeypatch.setattr(objective, "step", step)
    answers_of(run, rows, 1)
    last = [z for t, z in asked if t == run.trained.network.spec.num_blocks]
    batches = [dict(zip(GIVEN, last[at : at + 4], strict=True)) for at in (0, 4)]
    chain, noise = batches[0]["chain"], batches[0]["noise"]
    torch.testing.assert_close(noise.std(dim=0), chain.std(dim=0), rtol=0.25, atol=0)
    assert (noise.mean(dim=0) - chain.mean(dim=0)).abs().max() < 0.3 * chain.std()
    assert torch.equal(batches[0]["other"][1:], chain[:-1])
    assert torch.equal(batches[1]["other"][0], chain[-1])


@pytest.mark.parametrize("objective", ["ct", "fm", "ranges", "none"])
def test_blocks_of_any_objective_are_asked_at_the_levels_of_inference(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {} if objective == "none" else {"steps_per_block": 2}
    train(small(tmp_path, epochs=1, num_blocks=2, objective=objective, **more))
    run = open_run(str(tmp_path), "cpu")
    network, told = run.trained.computing, []
    block = network.block(2)

    def classify(z: Tensor, features: Any, *, level: Tensor | None = None) -> Tensor:
        told.append(None if level is None else float(level.unique()))
        return type(block).classify(block, z, features, level=level)

    monkeypatch.setattr(block, "classify", classify)
    answers_of(run, rows_for(run).split, 1)
    each = told[: 1 if objective == "none" else 2]  # what the chain's z is asked with
    assert told == each * (len(told) // len(each))
    assert len(told) == len(each) * len(GIVEN) * 2  # in two batches


def test_an_interval_holds_the_spread_of_images_and_of_noise() -> None:
    right = np.random.default_rng(0).random((500, 400)) < 0.8
    means = [interval(row.astype(float)) for row in right]
    held = [abs(found["mean"] - 0.8) < found["half_width"] for found in means]
    assert 0.92 < np.mean(held) < 0.98


def test_the_command_tells_writes_and_draws(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    train(small(other, epochs=8, num_blocks=1, precision="fp32"))
    command = ["ablate", str(folder), str(other), "--draws", "2", "--output", str(tmp_path)]
    assert main([*command, "--precision", "fp32"]) == 0
    told = capsys.readouterr().out
    written = json.loads((tmp_path / "ablation.json").read_text())
    assert all(sentence in told for sentence in written["words"])
    assert "1 block, 8 epochs" in told
    assert "another picture's z" in told
    assert (tmp_path / "plots" / "ablation.png").stat().st_size > 10_000
    beside = written["others"][0]
    mine = written["accuracy"]["mean_softmax"]["chain"]["mean"]
    assert beside["difference"]["mean"] == pytest.approx(beside["mean_softmax"]["mean"] - mine)


def test_what_to_compare_with_is_trained_beside_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small(tmp_path, epochs=2, num_blocks=2))
    command = ["ablate", str(tmp_path), "--train", "--draws", "2", "--json"]
    assert main(command) == 0
    others = json.loads(capsys.readouterr().out)["others"]
    assert [(o["objective"], o["num_blocks"], o["epochs"]) for o in others] == [
        ("none", 2, 2),
        ("dt", 1, 4),
    ]
    trained = tmp_path / "ablation" / "without-z" / "result.json"
    at = trained.stat().st_mtime_ns
    assert main(command) == 0
    assert trained.stat().st_mtime_ns == at


def test_one_row_has_no_other(folder: Path) -> None:
    run = open_run(str(folder), "cpu")
    with pytest.raises(UserError, match="needs two labelled rows or more"):
        answers_of(run, Split.from_arrays(*rows_for(run).split.take(np.arange(1))), 1)


def tiny(folder: Path, **changes: Any) -> TrainConfig:
    return small(folder, **({"max_train_images": 80, "epochs": 1, "num_blocks": 2} | changes))


@pytest.fixture
def beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Beside:
    def asked() -> tuple[list[tuple[str, int, int]], str]:
        assert main(["ablate", str(tmp_path), "--train", "--draws", "1", "--json"]) == 0
        said = capsys.readouterr()
        told = json.loads(said.out)
        assert all(note in said.err for note in told["notes"])
        others = [(o["objective"], o["num_blocks"], o["epochs"]) for o in told["others"]]
        return others, " ".join(told["notes"])

    return asked


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "ranges", "overlap": 0.1},
        {"objective": "dt", "alpha_bar_max": 0.9, "block_loss": "ce"},
        {"objective": "fm", "steps_per_block": 2, "solver": "heun"},
    ],
)
def test_options_of_one_objective_are_no_matter_without_z(
    tmp_path: Path, options: dict[str, Any], beside: Beside
) -> None:
    train(tiny(tmp_path, **options))
    assert beside() == ([("none", 2, 1), (options["objective"], 1, 2)], "")
    theirs = read_config(Store(tmp_path / "ablation/blocks-1"))
    assert theirs is not None
    assert all(getattr(theirs, name) == value for name, value in options.items())


def test_what_is_trained_beside_a_run_begins_with_no_other_network(
    tmp_path: Path, beside: Beside
) -> None:
    base = train(tiny(tmp_path / "base"))
    train(tiny(tmp_path), init_from=base)
    others, notes = beside()
    assert others == [("none", 2, 1), ("dt", 1, 2)]
    assert f"the run began with the weights of {base.folder}, and what is trained" in notes


def test_class_embeddings_given_in_python_are_those_of_all(tmp_path: Path, beside: Beside) -> None:
    given = np.eye(10, 12, dtype=np.float32)
    train(tiny(tmp_path), class_embed=given)
    assert beside()[0] == [("none", 2, 1), ("dt", 1, 2)]
    for name in ("without-z", "blocks-1"):
        net = load_network(tmp_path / "ablation" / name).network
        np.testing.assert_array_equal(net.state_dict()["class_embed"], given)


def test_a_noise_schedule_given_in_python_is_of_as_many_blocks(
    tmp_path: Path, beside: Beside
) -> None:
    train(tiny(tmp_path), noise_schedule=[0.1, 0.5, 0.9])
    others, notes = beside()
    assert others == [("none", 2, 1)]
    assert notes == (
        "a run of 1 block is left out: the noise schedule that was given in Python is one of 2 "
        "blocks"
    )


def test_what_cannot_have_as_many_operations_is_left_out_and_told(
    tmp_path: Path, beside: Beside
) -> None:
    train(tiny(tmp_path, num_blocks=3, objective="none"))
    others, notes = beside()
    assert others == [("none", 1, 3)]
    assert notes.startswith("a run of 2 blocks is left out: 3 blocks of 1 epoch ")


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    train(tiny(run))
    train(tiny(other, max_train_images=90))
    assert main(["ablate", str(run), str(other), "--train"]) == 2
    assert "was trained on other data than" in capsys.readouterr().err
    train(tiny(run / "ablation/blocks-1"))
    assert main(["ablate", str(run), "--train"]) == 2
    assert "--num-blocks 2 there, 1 now" in capsys.readouterr().err
    assert not (run / "ablation/without-z").exists()


def test_a_network_of_other_data_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small(tmp_path / "other", epochs=1, max_train_images=300))
    assert main(["ablate", str(folder), str(tmp_path / "other")]) == 2
    assert "was trained on other data than" in capsys.readouterr().err
