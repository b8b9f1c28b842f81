"""A run's own data is found from anywhere, and missed by its name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noprop_dist import TrainConfig, train
from noprop_dist.cli import main
from runs import SMALL


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with class folders, and a run on them that both have relative paths."""
    folder = tmp_path_factory.mktemp("place")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 10, 6, 6), dtype=np.uint8)
    for name, images in zip(("ant", "bee"), pixels, strict=True):
        (folder / "insects" / name).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / "insects" / name / f"{i}.png")
    options = SMALL | {"batch_size": 4, "epochs": 1, "precision": "fp32"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(TrainConfig(dataset="insects", name="r", **options))
    return folder


COMMANDS = ("evaluate", "export", "visualize")


@pytest.mark.parametrize("command", COMMANDS)
def test_relative_data_is_found_from_another_directory(
    command: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "insects").mkdir()  # of the same name, and none of the run's
    run = str(place / "checkpoints_run/r")
    assert main([command, run, "--output", str(tmp_path / "out")]) == 0
    assert "not there" not in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_data_that_is_gone_is_the_runs_and_not_the_users(
    command: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(place / "checkpoints_run/r", tmp_path / "moved")
    args = [command, str(run), "--output", str(tmp_path / "out")]
    main(args)
    said = "the run's data set insects is not there: say with --dataset where it is now."
    assert said in capsys.readouterr().err
    assert main([*args, "--dataset", str(place / "insects")]) == 0
