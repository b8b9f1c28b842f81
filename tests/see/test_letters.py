"""Class names in letters that matplotlib's own font lacks."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noprop_dist import train
from noprop_dist.cli import main
from runs import small


def test_drawing_class_names_of_any_letters_warns_of_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 6, 6), dtype=np.uint8)
    for name, images in zip(("\u732b", "\u72ac"), pixels, strict=True):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "set" / name / f"{i}.png")
    run = tmp_path / "run"
    options = {"batch_size": 4, "epochs": 1, "embedding_type": "learned"}
    train(small(run, dataset=str(tmp_path / "set"), **options))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert main(["visualize", str(run)]) == 0
    assert [str(w.message) for w in caught if "Glyph" in str(w.message)] == []
    assert "confusion.png" in capsys.readouterr().out
