"""What a run is, is decided by its options and its rows, not by how they are called."""

import shutil
from pathlib import Path

import pytest

from noprop_dist import TrainConfig, UserError, train
from noprop_dist.cli import main
from noprop_dist.options import parse_command, parse_with
from noprop_dist.tune.sweep_options import SweepConfig
from pets import class_folders
from runs import SMALL, same, small

FLAGS = ["--batch-size", "8", "--num-blocks", "1", "--epochs", "1", "--executor", "local"]
FLAGS += ["--no-plots", "--quiet", "--device=cpu"]


def runs_in(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints_run").iterdir())


def test_a_data_set_has_one_run_however_it_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class_folders(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    for spelling in ("pets", "./pets/", str(tmp_path / "pets")):
        assert main(["train", *FLAGS, "--dataset", spelling]) == 0
    shutil.move(tmp_path / "pets", tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(tmp_path / "deep")
    monkeypatch.chdir(tmp_path / "deep")
    assert main(["train", *FLAGS, "--dataset", "."]) == 0
    assert len(runs_in(tmp_path)) == 1
    assert runs_in(tmp_path)[0].startswith("pets-one-hot-")
    # The second time a run lies inside the data, and is passed over.
    assert main(["train", *FLAGS, "--dataset", "."]) == 0
    assert len(runs_in(tmp_path / "deep")) == 1
    assert runs_in(tmp_path / "deep")[0].startswith("deep-one-hot-")
    assert main(["runs"]) == 0
    assert "deep-one-hot-" in capsys.readouterr().out


def test_a_named_run_goes_on_wherever_its_data_lies(tmp_path: Path) -> None:
    options = SMALL | {"batch_size": 8, "epochs": 2, "num_blocks": 1}
    config = TrainConfig(
        dataset=str(class_folders(tmp_path / "a")), run_dir=str(tmp_path / "run"), **options
    )
    result = train(config)
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = TrainConfig(dataset=str(tmp_path / "b"), run_dir=str(tmp_path / "run"), **options)
    assert same(train(moved), result)
    (tmp_path / "run/result.json").unlink()
    assert same(train(moved), result)  # from its last checkpoint


@pytest.mark.parametrize("finished", [True, False])
def test_other_rows_are_another_run(tmp_path: Path, finished: bool) -> None:
    options = SMALL | {"batch_size": 8, "epochs": 1, "num_blocks": 1}
    run = {"run_dir": str(tmp_path / "run")} | options
    train(TrainConfig(dataset=str(class_folders(tmp_path / "a")), **run))
    if not finished:
        (tmp_path / "run/result.json").unlink()
    class_folders(tmp_path / "other/a", first=20)
    with pytest.raises(UserError, match=r"holds a run on other data than .*/other/a has now"):
        train(TrainConfig(dataset=str(tmp_path / "other/a"), **run))


def test_a_run_in_another_number_format_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    result = train(small(folder, epochs=1, precision="fp32"))
    (folder / "result.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("noprop_dist.engine.local.resolve_precision", lambda *_: "bf16")
        with pytest.raises(UserError, match="give --precision fp32, or another --name") as caught:
            train(small(folder, epochs=1))
    assert "would go on in bf16" in str(caught.value)
    assert same(train(small(folder, epochs=1, precision="fp32")), result)


def test_a_rehearsal_leaves_the_real_run_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["train", *FLAGS, "--name", "x", "--history", "h.json"]
    monkeypatch.setenv("NOPROP_REHEARSE", "100")
    for changed in ([], ["--lr", "0.01"]):  # the next rehearsal is no other run, either
        assert main([*args, *changed]) == 0
    assert "no pictures; in checkpoints_run/x-rehearsal-" in capsys.readouterr().err
    monkeypatch.delenv("NOPROP_REHEARSE")
    assert len(runs_in(tmp_path)) == 2
    assert not (tmp_path / "h.json").exists()
    assert main([*args, "--max-train-images", "150"]) == 0
    assert "x" in runs_in(tmp_path)
    assert (tmp_path / "h.json").exists()


@pytest.mark.parametrize(
    ("folder", "rehearsed"),
    [
        ("/shared/runs/x", "/shared/runs/x-rehearsal-"),
        ("s3://bucket/x/?scheme=http", "s3://bucket/x-rehearsal-"),
    ],
)
def test_a_rehearsal_has_a_folder_beside_the_one_that_was_named(
    monkeypatch: pytest.MonkeyPatch, folder: str, rehearsed: str
) -> None:
    monkeypatch.setenv("NOPROP_REHEARSE", "100")
    config = parse_command(["--run-dir", folder]).config
    assert config.folder.startswith(rehearsed)
    assert config.folder.endswith("?scheme=http") == ("?" in folder)
    two, _, _ = parse_with(["--run-dir", folder], "noprop tune", "", SweepConfig)
    other = ["--run-dir", folder, "--scheduler", "none"]
    three, _, _ = parse_with(other, "noprop tune", "", SweepConfig)
    assert two.folder != three.folder


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "a\\b", " a", "a\n", "caf\udce9", "x" * 201]
)
def test_a_name_is_one_sensible_folder_name(name: str) -> None:
    with pytest.raises(UserError, match=r"^--name must (be one folder's name|not be empty)"):
        TrainConfig(name=name)


@pytest.mark.parametrize("name", ["1e5", "digits 2", "caf\u00e9", "_x", "2024-01-01"])
def test_other_names_are_good(name: str) -> None:
    assert TrainConfig(name=name).folder == f"checkpoints_run/{name}"


def test_the_data_itself_is_no_run_folder(tmp_path: Path) -> None:
    data = str(class_folders(tmp_path / "a"))
    with pytest.raises(UserError, match="is the data itself: give another folder"):
        train(TrainConfig(dataset=data, run_dir=data + "/", **SMALL))


@pytest.mark.ray
def test_a_refused_sweep_does_not_stand_in_the_way_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["tune", "--name", "s", "--samples", "1", "--epochs", "1", "--num-blocks", "1"]
    args += ["--max-train-images", "100", "--quiet", "--no-plots"]
    assert main([*args, "--batch-size", "5000"]) == 2
    assert "--batch-size 5000 is larger" in capsys.readouterr().err
    assert main([*args, "--batch-size", "32"]) == 0
