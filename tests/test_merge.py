"""Blocks that were trained on machines that never met make the network of one run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noprop_dist import TrainResult, train
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


def apart_and_together(
    folder: Path, options: dict[str, Any], **given: Any
) -> tuple[list[str], TrainResult]:
    """Parts of a run of one epoch, and the run."""
    one = train(small(folder / "one", epochs=1, **options), **given)
    parts = [small(folder / blocks, epochs=1, blocks=blocks, **options) for blocks in ("1-2", "3")]
    return [train_blocks(part, **given).folder for part in parts], one


def test_parts_begin_with_the_weights_of_one_network(tmp_path: Path) -> None:
    base = train(small(tmp_path / "base", epochs=1)).folder
    parts, one = apart_and_together(tmp_path, {"init_from": base})
    assert same(merge(parts, run_dir=str(tmp_path / "whole")), one)


def test_blocks_of_flow_matching_make_the_network_of_one_run(tmp_path: Path) -> None:
    parts, one = apart_and_together(tmp_path, {"objective": "fm", "overlap": 0.1})
    assert same(merge(parts, run_dir=str(tmp_path / "whole")), one)


def test_what_was_given_in_python_goes_from_the_parts_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w, levels = np.eye(10, 12, dtype=np.float32), [0.1, 0.4, 0.7, 0.95]
    parts, one = apart_and_together(tmp_path, {}, class_embed=w, noise_schedule=levels)
    merged = merge(parts, run_dir=str(tmp_path / "whole"))
    assert same(merged, one)
    spec = merged.network.network.spec
    assert spec.alpha_bar == tuple(levels)
    assert (merged.network.network.state_dict()["class_embed"].numpy() == w).all()
    whole = tmp_path / "whole/own_parts.safetensors"
    assert whole.read_bytes() == (tmp_path / "one/own_parts.safetensors").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert same(merge(parts), one)  # in a folder whose name knows them
    other = train_blocks(
        small(tmp_path / "other", epochs=1, blocks="3"), class_embed=2 * w, noise_schedule=levels
    )
    with pytest.raises(UserError, match="began with other noise schedule or class embeddings"):
        merge([parts[0], other.folder], run_dir=str(tmp_path / "none"))


def test_given_class_embeddings_are_fixed_whatever_the_options_say(tmp_path: Path) -> None:
    assert small(tmp_path, blocks="1", embedding_type="own").chosen == [1]


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
