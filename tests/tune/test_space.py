"""What a space file may say, and what is drawn from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from noprop_dist import TrainConfig, UserError
from noprop_dist.tune.network_trial import trial_config
from noprop_dist.tune.space import FIXED, OF_A_BLOCK, Dimension, read_space, settle
from noprop_dist.tune.sweep_options import SweepConfig

BASE = TrainConfig()


def space_of(tmp_path: Path, text: str, **limits: Any) -> dict[str, Dimension]:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    return read_space(str(file), BASE, **limits)


def test_a_file_becomes_dimensions(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        "lr: {loguniform: [1e-4, 1e-2]}\nnum-blocks: {randint: [2, 5]}\n"
        "dropout: {uniform: [0, 0.5]}\nweight_decay: {choice: [0, 1e-3]}\n",
    )
    assert space["lr"] == Dimension("loguniform", (1e-4, 1e-2))
    assert space["num_blocks"] == Dimension("randint", (2, 5))
    assert space["dropout"] == Dimension("uniform", (0.0, 0.5))
    assert space["weight_decay"] == Dimension("choice", (0.0, 1e-3))


def test_values_lie_in_their_ranges_and_fill_them() -> None:
    generator = np.random.default_rng(0)
    for dimension in (
        Dimension("loguniform", (1e-4, 1e-2)), Dimension("uniform", (2.0, 3.0)),
        Dimension("randint", (1, 3)), Dimension("choice", ("a", None, 3)),
    ):  # fmt: skip
        drawn = [dimension.draw(generator) for _ in range(300)]
        if dimension.kind == "choice":
            assert set(drawn) == set(dimension.values)
            continue
        low, high = dimension.values
        assert low <= min(drawn) <= max(drawn) <= high
        if dimension.kind == "randint":
            assert set(drawn) == {1, 2, 3}
        else:
            middle = (low * high) ** 0.5 if dimension.kind == "loguniform" else (low + high) / 2
            assert 100 < sum(value < middle for value in drawn) < 200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lrs: {uniform: [0, 1]}", "'lrs' is unknown; did you mean lr?"),
        ("weight_decy: {uniform: [0, 1]}", "did you mean weight_decay?"),
        ("zzz: {uniform: [0, 1]}", "'zzz' is unknown; known are"),
        ("lr: {loguniform: [1e-2, 1e-4]}", "lr has a range upside down, loguniform from 0.01 to"),
        ("lr: {uniform: [1, 1]}", "upside down"),
        ("lr: {loguniform: [0, 1]}", "both ends must be above 0"),
        ("lr: {normal: [0, 1]}", "lr must be one of {choice: [...]}"),
        ("lr: 3", "lr must be one of"),
        ("lr: {uniform: [1, 2, 3]}", "lr needs two numbers after uniform"),
        ("lr: {uniform: [1, true]}", "lr needs two numbers after uniform"),
        ("lr: {uniform: [1, .nan]}", "lr needs two numbers after uniform"),
        ("lr: {choice: []}", "lr needs a list after choice"),
        ("lr: {choice: [0.1, fast]}", "--lr must be float, got 'fast'"),
        ("lr: {uniform: [-1, 1]}", "--lr must be above 0, got -1"),
        ("embedding_type: {choice: [onehot]}", "--embedding-type must be one of one-hot"),
        ("num_blocks: {randint: [1.5, 3]}", "give two integers"),
        ("num_blocks: {uniform: [2, 3]}", "--num-blocks must be int, got 2.0"),
        ("seed: {choice: [1, 2]}", "seed is the same for every trial of a sweep"),
        ("device: {choice: [cpu]}", "give it as --device"),
        ("- lr", "must hold lines such as"),
        ("", "must hold lines such as"),
        ("lr: [", "is not valid YAML"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        space_of(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"--space {tmp_path / 'space.yaml'}")
    assert says in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_space(str(tmp_path / "none.yaml"), BASE)


def test_a_search_of_single_blocks_varies_less(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="num_blocks cannot vary with --per-block, only "):
        space_of(tmp_path, "num_blocks: {choice: [2, 3]}", per_block=True)
    built_in = read_space("default", BASE, per_block=True)
    assert {"lr", "weight_decay", "dropout"} == built_in.keys()
    assert built_in.keys() <= OF_A_BLOCK


def test_built_in_space_varies_what_it_promises() -> None:
    assert read_space("default", BASE).keys() == {
        "lr", "weight_decay", "eta", "embedding_type", "embedding_dim", "num_blocks",
        "noise_schedule", "dropout", "augmentation",
    }  # fmt: skip


def test_every_option_is_either_fixed_or_searchable(tmp_path: Path) -> None:
    for name, default in BASE.to_dict().items():
        text = yaml.safe_dump({name: {"choice": [default]}})
        if name in FIXED:
            with pytest.raises(UserError, match="is the same for every trial"):
                space_of(tmp_path, text)
        else:
            (value,) = space_of(tmp_path, text)[name].values
            assert value == default
            given = OTHERS.get(name, value)
            config = trial_config(BASE, {name: given}, "sweep", "trial")
            assert getattr(config, name) == given


OTHERS = {"block": "conv", "lr": 0.5, "embedding_type": "learned", "num_blocks": 3}


def test_settings_without_meaning_get_their_defaults() -> None:
    assert settle({"embedding_type": "one-hot", "embedding_dim": 20}, BASE)["embedding_dim"] is None
    kept = {"embedding_type": "learned", "embedding_dim": 20}
    assert settle(kept, BASE)["embedding_dim"] == 20
    assert settle({"embedding_dim": 20}, BASE) == {"embedding_dim": None}
    assert settle({"embedding_type": "one-hot"}, BASE) == {"embedding_type": "one-hot"}
    learned = TrainConfig(embedding_type="learned")
    assert settle({"embedding_dim": 20}, learned) == {"embedding_dim": 20}
    frozen = TrainConfig(embedding_type="learned", freeze_after=3)
    assert settle({"embedding_type": "one-hot"}, frozen)["freeze_after"] is None
    assert settle({"lr": 0.1}, learned) == {"lr": 0.1}


@pytest.mark.parametrize(
    ("options", "run", "says"),
    [
        ({"samples": 0}, {}, "--samples must be at least 1, got 0"),
        ({"time_budget": 0.0}, {}, "--time-budget must be above 0"),
        ({"reduction": 1}, {}, "--reduction must be at least 2"),
        ({"workers_per_trial": -1}, {}, "--workers-per-trial must be at least 0"),
        ({"per_block": True, "workers_per_trial": 2}, {}, "--workers-per-trial 2 has no meaning"),
        ({}, {"val_fraction": 0.0}, "give --val-fraction above 0"),
        ({}, {"executor": "local"}, "--executor local has no meaning for a sweep"),
        ({}, {"resume_from": "x"}, "--resume-from has no meaning for a sweep"),
        ({}, {"history": "x.json"}, "--history has no meaning for a sweep"),
        ({}, {"spares": 1}, "--spares has no meaning for a sweep"),
        ({"workers_per_trial": 2}, {"workers": 2}, "--workers has no meaning beside --workers-per"),
        ({"per_block": True}, {"workers": 2}, "--workers has no meaning beside --per-block"),
        ({}, {"dry_run": True}, "--dry-run has no meaning for a sweep"),
        ({"grace_epochs": 30}, {}, "--grace-epochs 30 is longer than a trial"),
        ({"per_block": True}, {"embedding_type": "learned"}, "give one-hot"),
        ({"per_block": True}, {"lr_schedule": "plateau"}, "give cosine or constant"),
        ({"per_block": True}, {"early_stopping_patience": 2}, "finds every block's best epoch"),
    ],
)
def test_contradicting_options_of_a_sweep(
    options: dict[str, Any], run: dict[str, Any], says: str
) -> None:
    def check() -> None:
        sweep, config = SweepConfig(**options), TrainConfig(**run)
        sweep.check_with(config)
        sweep.check_length(config.epochs)

    with pytest.raises(UserError) as caught:
        check()
    assert says in str(caught.value)


def test_what_an_objective_does_not_know_is_not_searched() -> None:
    assert "noise_schedule" in read_space("default", TrainConfig(objective="ct"))
    for objective in ("fm", "ranges", "none"):
        assert "noise_schedule" not in read_space("default", TrainConfig(objective=objective))
    asked = {"objective": "fm", "noise_schedule": "linear", "steps_per_block": 2}
    assert settle(asked, BASE) == asked | {"noise_schedule": "cosine"}
    asked["objective"] = "dt"
    assert settle(asked, BASE) == asked | {"steps_per_block": 1}
