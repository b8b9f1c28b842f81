"""Which pictures are taken, and what they are taken for."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from noprop_dist.data import load_dataset
from noprop_dist.data.images import FORMATS, OURS
from noprop_dist.data.pictures import SUFFIXES, find_pictures
from noprop_dist.errors import UserError
from pets import NAMES, class_folders, encoded, pixels


def taken(root: Path) -> set[str]:
    """What predict would classify below a folder."""
    return {Path(str(p)).relative_to(root).as_posix() for p in find_pictures([str(root)])}


def test_training_and_predict_walk_folders_by_the_same_rules(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set")
    good = taken(root)
    picture = (root / "cat/000.png").read_bytes()
    for hidden in ("._000.png", ".ipynb_checkpoints/000.png", "@eaDir/000.png", ".DS_Store"):
        (root / "dog" / hidden).parent.mkdir(exist_ok=True)
        (root / "dog" / hidden).write_bytes(picture)
    for other in ("a.heic", "b.HEIC", "Thumbs.db", "noend"):
        (root / "fox" / other).write_bytes(b"?")
    (root / "cat/link").symlink_to(root / "dog")
    (root / "stray.png").write_bytes(picture)
    data = load_dataset(str(root))
    assert len(data.train) + len(data.test) == 36
    assert data.class_names == NAMES
    assert data.account.passed_over == {
        "hidden": 4, ".heic": 2, ".db": 1, "without an ending": 1, "links to folders": 1,
        "outside class folders": 1,
    }  # fmt: skip
    assert taken(root) == good | {"stray.png"}


def test_all_types_that_can_be_read_are_read(tmp_path: Path) -> None:
    Image.init()
    known = {e for e, kind in Image.registered_extensions().items() if kind in {*FORMATS, "MPO"}}
    assert known - {".pfm"} == SUFFIXES  # of floats, which no image here holds
    root = class_folders(tmp_path / "set", per_class=2)
    kinds = {".jfif": "JPEG", ".JPE": "JPEG", ".webp": "WEBP", ".pbm": "PPM", ".apng": "PNG"}
    for suffix, kind in kinds.items():
        (root / f"cat/x{suffix}").write_bytes(encoded(pixels("cat"), kind))
    phone = root / "cat/x.mpo"
    Image.fromarray(pixels("cat")).save(
        phone, "MPO", save_all=True, append_images=[Image.fromarray(pixels("dog"))]
    )
    data = load_dataset(str(root))
    assert len(data.train) + len(data.test) == 6 + len(kinds) + 1
    assert data.account.remarks == {}


def test_formats_that_start_other_programs_are_refused_in_training(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", per_class=2)
    (root / "cat/x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(
        UserError, match=r"x\.png does not decode \(no known .* none of BMP, GIF, JPEG"
    ):
        load_dataset(str(root))


def test_a_pipe_and_a_huge_file_are_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", per_class=2)
    os.mkfifo(root / "cat/x.png")
    with pytest.raises(UserError, match=r"x\.png is no regular file"):
        load_dataset(str(root))
    (root / "cat/x.png").unlink()
    with (root / "cat/x.png").open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(UserError, match=r"x\.png is too large"):
        load_dataset(str(root))


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders(tmp_path / "set", per_class=2)
    (root / "cat/deep").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> object:  # a superuser may read everything
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("noprop_dist.data.pictures.os.scandir", refusing)
    with pytest.raises(UserError, match=r"cat/deep cannot be read \(Permission denied\)"):
        load_dataset(str(root))


def test_our_own_pictures_are_never_data(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", per_class=3)
    told = PngImagePlugin.PngInfo()
    told.add_text("Software", OURS)
    own = encoded(pixels("cat"), pnginfo=told)
    (root / "cat/evaluation.png").write_bytes(own)
    data = load_dataset(str(root))
    assert len(data.train) + len(data.test) == 9
    assert data.account.passed_over == {"drawn by noprop": 1}
    (root / "plots").mkdir()
    (root / "plots/evaluation.png").write_bytes(own)
    with pytest.raises(UserError, match=r"class folder .*plots holds no picture that can be used"):
        load_dataset(str(root))


def grey_as(kind: str, image: np.ndarray) -> Image.Image:
    """A grey picture in a format that has colours."""
    picture = Image.fromarray(image).convert("RGB")
    return picture.convert("P", palette=Image.Palette.ADAPTIVE) if kind == "P" else picture


@pytest.mark.parametrize("kind", ["RGB", "P"])
def test_grey_pictures_in_files_of_colours_are_grey(tmp_path: Path, kind: str) -> None:
    greys = np.random.default_rng(0).integers(0, 16, (2, 10, 6, 6)).astype(np.uint8) * 17
    for name, images in zip(("ant", "bee"), greys, strict=True):
        for where, form in (("grey", "L"), ("colours", kind)):
            (tmp_path / where / name).mkdir(parents=True)
            for i, image in enumerate(images):
                picture = Image.fromarray(image) if form == "L" else grey_as(kind, image)
                picture.save(tmp_path / where / name / f"{i}.png")
    one, other = (load_dataset(str(tmp_path / where)) for where in ("grey", "colours"))
    assert not other.photographs
    assert other.train.sample_shape == (1, 6, 6)
    assert np.array_equal(one.train.xs[0], other.train.xs[0])
    # Among colours a grey picture is one of them.
    Image.fromarray(np.full((6, 6, 3), (9, 8, 7), np.uint8)).save(tmp_path / "colours/ant/x.png")
    mixed = load_dataset(str(tmp_path / "colours"))
    assert mixed.photographs
    assert mixed.train.sample_shape == (3, 6, 6)


@pytest.mark.parametrize(
    ("flags", "crops", "flips"),
    [
        ("--augmentation standard", True, True),
        ("--augmentation standard --flip no", True, False),
        ("--augmentation strong --crop no", False, True),
        ("--augmentation standard --crop auto --flip auto", True, True),
        ("", False, False),
        ("--flip yes", False, True),
        ("--crop yes", True, False),
    ],
)
def test_cropping_and_mirroring_are_what_was_asked_for(
    tmp_path: Path, flags: str, crops: bool, flips: bool
) -> None:
    import torch

    from noprop_dist.engine.job import make_job
    from noprop_dist.engine.splits import load_splits
    from noprop_dist.options import parse_command

    root = str(class_folders(tmp_path / "set"))
    config = parse_command(["--dataset", root, "--batch-size", "8", *flags.split()]).config
    splits = load_splits(config)
    job = make_job(config, splits, torch.device("cpu"))
    assert (job.augmentation.crop, job.augmentation.flip) == (crops, flips)
    assert splits.told.endswith("; mirrored" if flips else "; not mirrored")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_laid_on_white_and_said(tmp_path: Path, mode: str) -> None:
    root = class_folders(tmp_path / "set", per_class=2)
    shape = np.zeros((12, 12), np.uint8)
    shape[3:9, 3:9] = 255
    ink = Image.new("RGB", (12, 12), "black")
    ink.putalpha(Image.fromarray(shape))
    if mode == "P":
        drawn = Image.fromarray((shape == 0).astype(np.uint8))
        drawn.putpalette([0, 0, 0, 0, 0, 0])
        drawn.save(root / "cat/x.png", transparency=1)
    else:
        ink.convert(mode).save(root / "cat/x.png")
    data = load_dataset(str(root))
    assert data.account.remarks == {"transparent, laid on white": 1}
    x = np.concatenate([*data.train.xs, *data.test.xs])
    (seen,) = [image for image in x if image[:, 0, 0].tolist() == [255] * 3]
    assert np.array_equal(seen[0], 255 - shape)


def test_other_changes_of_meaning_are_said(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", per_class=2)
    frames = [Image.fromarray(pixels("cat", i)) for i in range(3)]
    frames[0].save(root / "cat/x.gif", save_all=True, append_images=frames[1:])
    deep = Image.fromarray(np.full((12, 12), 4095, np.uint16))
    deep.save(root / "dog/x.png")
    assert load_dataset(str(root)).account.remarks == {
        "first of several frames": 1, "of 16 bits a pixel, cut to the upper 8": 1,
    }  # fmt: skip
