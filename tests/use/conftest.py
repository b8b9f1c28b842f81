"""One tiny trained run for all tests of this room, and pictures to classify."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from noprop_dist.use.opening import OpenRun


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three blocks on digits; not to be written to."""
    from noprop_dist import train
    from runs import small

    folder = tmp_path_factory.mktemp("use") / "run"
    train(small(folder, epochs=8, precision="fp32", keep_checkpoints=2))
    return folder


@pytest.fixture
def run_folder(trained_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(trained_folder, tmp_path / "run"))


@pytest.fixture(scope="session")
def opened(trained_folder: Path) -> "OpenRun":
    """The run, opened."""
    from noprop_dist.use.opening import open_run

    return open_run(str(trained_folder), "cpu")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve test digits of 8x8 in two folders, as grey PNG files."""
    from noprop_dist.data.digits import load_digits

    folder = tmp_path_factory.mktemp("pictures")
    images, _ = load_digits().splits["test"].take(np.arange(12))
    for i, image in enumerate(images):
        place = folder / "ab"[i % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray(image[0]).save(place / f"{i:02}.png")
    return folder
