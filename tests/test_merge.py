"""Blocks that were trained on machines that never met make the network of one run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noprop_dist import train
from noprop_dist.cli import main
from noprop_dist.errors import UserError
from noprop_dist.merging import merge
from noprop_dist.training import train_blocks
from runs import local_model, result_of, same, small


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("parts")
    return [
        train_blocks(small(folder / name, blocks=blocks, save_every=9)).folder
        for name, blocks in (("a", "1,3"), ("b", "2"))
    ]


def test_blocks_trained_apart_make_the_network_of_one_run(parts: list[str], tmp_path: Path) -> None:
    merged = merge(parts, run_dir=str(tmp_path))
    assert same(merged, local_model(3))
    one = json.loads((tmp_path / "training_history.json").read_text())
    assert sorted(one["blocks"]) == ["1", "2", "3"]
    assert one["val_accuracy_history"] == [None] * 3
    assert merge(parts[::-1], run_dir=str(tmp_path)).block_sha256 == merged.block_sha256


def test_given_embeddings_and_noise_levels_are_those_of_every_part(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "class_embed": np.random.default_rng(0).normal(size=(10, 6)),
        "noise_schedule": [0.1, 0.5, 0.9],
    }
    options: dict[str, Any] = {"num_blocks": 2, "epochs": 1}
    whole = train(small(tmp_path / "whole", **options), **given)
    parts = [
        train_blocks(small(tmp_path / t, blocks=t, **options), **given).folder for t in ("1", "2")
    ]
    assert same(merge(parts, run_dir=str(tmp_path / "merged")), whole)
    merged = merge(parts, executor="local", name="found", run_dir=None)
    assert merged.block_sha256 == whole.block_sha256


def test_blocks_of_another_objective_are_merged_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"objective": "fm", "num_blocks": 2, "epochs": 1}
    whole = train(small(tmp_path / "whole", **options))
    parts = [train_blocks(small(tmp_path / t, blocks=t, **options)).folder for t in ("1", "2")]
    assert same(merge(parts, run_dir=str(tmp_path / "merged")), whole)


def test_some_blocks_alone_predict_nothing_and_say_what_to_do(
    parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", parts[0], "a.png"]) == 2
    assert "has blocks 1,3 of 3 alone: noprop merge" in capsys.readouterr().err


def test_the_command_line_trains_blocks_and_merges_them(
    parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in vars(small(tmp_path / "c", blocks="2")).items()
        if name in ("max_train_images", "num_blocks", "batch_size", "epochs", "executor", "blocks")
    ]
    again = ["train", *options, f"--run-dir={tmp_path / 'c'}", "--no-cuda", "--quiet"]
    assert main([*again, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["block_sha256"] == {"2": local_model(3).block_sha256["2"]}
    assert main(again) == 0
    assert "noprop merge" in capsys.readouterr().out
    whole = str(tmp_path / "whole")
    merging = ["merge", parts[0], said["folder"], "--run-dir", whole, "--executor", "local"]
    assert main(merging) == 0
    assert result_of(Path(whole))["block_sha256"] == local_model(3).block_sha256


def test_what_does_not_go_together_is_refused(parts: list[str], tmp_path: Path) -> None:
    whole = str(tmp_path / "whole")
    with pytest.raises(UserError, match=r"blocks 1, 3 of 3 are missing: .*--blocks 1,3"):
        merge(parts[1:], run_dir=whole)
    with pytest.raises(UserError, match=r"block 2 is in .* and in"):
        merge([*parts, parts[1]], run_dir=whole)
    other = train_blocks(small(tmp_path / "other", blocks="2", lr=1e-4, epochs=1, warmup_epochs=0))
    with pytest.raises(UserError, match=r"--lr 0\.001 there"):
        merge([other.folder, parts[0]], run_dir=whole)
    with pytest.raises(UserError, match="holds no trained blocks"):
        merge([str(tmp_path)], run_dir=whole)
    with pytest.raises(UserError, match="call train_blocks"):
        train(small(tmp_path / "x", blocks="2"))
    assert not Path(whole).exists()


def test_parts_that_began_with_other_things_are_refused(parts: list[str], tmp_path: Path) -> None:
    base = train(small(tmp_path / "base", epochs=1)).folder
    begun = train_blocks(small(tmp_path / "begun", blocks="2", init_from=base)).folder
    whole = str(tmp_path / "whole")
    with pytest.raises(UserError, match=r"began with weights given by --init-from, unlike .*/a: "):
        merge([parts[0], begun], run_dir=whole)
    with pytest.raises(UserError, match=r"began without weights given by --init-from, unlike"):
        merge([begun, parts[0]], run_dir=whole)
    assert not Path(whole).exists()


def test_parts_begin_with_the_weights_of_one_network(tmp_path: Path) -> None:
    base = train(small(tmp_path / "base", epochs=1)).folder
    options: dict[str, Any] = {"init_from": base, "epochs": 1}
    one = train(small(tmp_path / "one", **options))
    apart = [
        train_blocks(small(tmp_path / blocks, blocks=blocks, **options)).folder
        for blocks in ("1-2", "3")
    ]
    assert same(merge(apart, run_dir=str(tmp_path / "whole")), one)


def test_parts_with_other_test_rows_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (80, 1, 8, 8), np.uint8), np.arange(80) % 4
    apart = [
        train_blocks(small(tmp_path / blocks, blocks=blocks), data=((x, y), (x[:rows], y[:rows])))
        for blocks, rows in (("1,3", 40), ("2", 44))
    ]
    with pytest.raises(UserError, match=r"/2 has other test rows than .*/1,3, and"):
        merge([part.folder for part in apart], run_dir=str(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"blocks": "0-1"}, "numbered 1 to 3"),
        ({"blocks": "3-2"}, "numbered 1 to 3"),
        ({"blocks": "two"}, "numbers and ranges such as 1-3,7"),
        ({"blocks": "1", "embedding_type": "learned"}, "give --freeze-after 0"),
        ({"blocks": "1", "lr_schedule": "plateau"}, "--lr-schedule plateau needs all blocks"),
        ({"blocks": "1", "early_stopping_patience": 2}, "--early-stopping-patience 2 needs all"),
    ],
)
def test_blocks_that_cannot_be_alone(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        small(tmp_path, **options)
