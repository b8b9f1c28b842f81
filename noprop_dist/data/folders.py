"""A folder of class folders, with or without train/ and test/ above them."""

from collections.abc import Iterator
from pathlib import Path

from noprop_dist.data.dataset import Dataset, hold_out_test
from noprop_dist.data.images import Encoded, decode_splits
from noprop_dist.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
SPLIT_NAMES = ("train", "test")


def load_folders(root: Path, image_size: int | None, skip_bad: bool) -> Dataset:
    """Load ``root/<class>/*.png`` or ``root/{train,test}/<class>/*.png`` (any image type).

    Raises:
        UserError: no class folders, a class without images, or classes that differ between splits.
    """
    if not root.is_dir():
        raise UserError(f"{root} is neither a folder nor a Parquet file.")
    with_splits = all((root / name).is_dir() for name in SPLIT_NAMES)
    if not with_splits and (root / "train").is_dir():
        raise UserError(
            f"{root} has train/ but no test/: add test/, or put the class folders into {root}."
        )
    folders = [root / name for name in SPLIT_NAMES] if with_splits else [root]
    classes = _classes(folders[0])
    if with_splits and _classes(folders[1]) != classes:
        difference = sorted(set(classes) ^ set(_classes(folders[1])))
        raise UserError(
            f"{root}/train and {root}/test differ in their classes ({', '.join(difference[:5])}): "
            "both need the same class folders."
        )
    splits, skipped = decode_splits(
        [_images(folder, classes) for folder in folders], image_size, skip_bad
    )
    train = splits[0]
    if with_splits:
        test = splits[1]
    else:
        train, test = hold_out_test(train)
    colour = train.sample_shape[0] == 3
    return Dataset(root.name, classes, train, test, photographs=colour, num_skipped=skipped)


def _classes(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != "."))
    if not names:
        raise UserError(f"{folder} holds no class folders: put the images of each class into one.")
    return names


def _images(folder: Path, classes: tuple[str, ...]) -> Iterator[Encoded]:
    for label, name in enumerate(classes):
        files = [
            p for p in sorted((folder / name).rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES
        ]
        if not files:
            raise UserError(
                f"the class folder {folder / name} holds no images: add some or remove it."
            )
        for path in files:
            yield str(path), path.read_bytes, label
