"""A folder of class folders, with or without folders of splits above them."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from noprop_dist.data.account import Account, PassedOver, Reading
from noprop_dist.data.cache import files_key
from noprop_dist.data.dataset import Found
from noprop_dist.data.decoding import decode_splits
from noprop_dist.data.images import BadImageError, Encoded
from noprop_dist.data.pictures import (
    BadPicture,
    holds_pictures,
    is_picture,
    pictures_below,
    read_file,
    visible,
)
from noprop_dist.data.split_names import ADVICE, ALL, by_split, look_alike, split_of
from noprop_dist.errors import UserError
from noprop_dist.text import shown

Classes = dict[str, list[str | BadPicture]]  # by name, the pictures of a class


def load_folders(root: Path, reading: Reading) -> Found:
    """Load ``root/<class>/...`` or ``root/<split>/<class>/...``.

    The pictures of a class lie anywhere below its folder. Splits are named as ``split_of`` knows.

    Raises:
        UserError: no class folders, a class without pictures, classes that differ between splits,
            or folders that look like splits and are none.
    """
    if not root.is_dir():
        raise UserError(f"{root} is neither a folder nor a Parquet file: give one of them.")
    account = Account(f"class folders of {shown(root.resolve().name)}")
    folders = _splits(root, account.passed_over)
    if ALL not in folders:
        account.places = {split: f"{shown(folder.name)}/" for split, folder in folders.items()}
    found = {split: _classes(folder, account.passed_over) for split, folder in folders.items()}
    first = next(iter(found))
    for split, classes in found.items():
        if differing := sorted(found[first].keys() ^ classes.keys()):
            raise UserError(
                f"{folders[first]} and {folders[split]} differ in their classes "
                f"({', '.join(map(shown, differing[:5]))}): both need the same class folders."
            )
    names = tuple(found[first])
    count = sum(len(pictures) for classes in found.values() for pictures in classes.values())
    encoded = [partial(_encoded, classes) for classes in found.values()]
    files = (name for source in encoded for name, _, _ in source())
    key = files_key(files, names, list(found))
    decoded = decode_splits(encoded, reading, account, count, key)
    splits = dict(zip(found, decoded, strict=True))
    empty = set(range(len(names))) - set(np.unique(splits[first].labels).tolist())
    if empty:
        raise UserError(
            f"the class folder {folders[first] / names[min(empty)]} holds no picture that can be "
            "used: add some or remove it."
        )
    return Found(
        name=root.resolve().name,
        class_names=names,
        named=True,
        splits=splits,
        photographs=splits[first].sample_shape[0] == 3,
        account=account,
    )


def _splits(root: Path, passed_over: PassedOver) -> dict[str, Path]:
    """The folders of splits in a folder; itself, as ALL, where it has none."""
    beside = PassedOver()
    folders = {e.name: Path(e.path) for e in visible(root, beside) if e.is_dir()}
    named = {name: folder for name, folder in folders.items() if split_of(name)}
    # A folder of pictures is a class, whatever it is called: trains are classified, too.
    holding = {n: f for n, f in named.items() if any(e.is_dir() for e in visible(f, PassedOver()))}
    if not holding:
        if alike := look_alike(folders) or _of_two_splits(named):
            raise UserError(
                f"{root} holds {' and '.join(map(shown, alike))}, which look like splits and are "
                f"none: put class folders into each, and {ADVICE}."
            )
        return {ALL: root}
    with_pictures = [n for n, f in folders.items() if n in named or holds_pictures(f)]
    passed_over.update(beside)
    if without := len(folders) - len(with_pictures):
        passed_over["folders without pictures"] += without
    found = by_split(with_pictures, str(root))
    for names in found.values():
        if len(names) > 1:
            raise UserError(
                f"{root} holds {' and '.join(map(shown, names[:2]))}, which are one split: put "
                "their pictures into one."
            )
    return {split: folders[name] for split, (name,) in found.items()}


def _of_two_splits(names: Iterable[str]) -> list[str]:
    first = {split_of(name): name for name in names}
    return list(first.values())[:2] if len(first) > 1 else []


def _classes(folder: Path, passed_over: PassedOver) -> Classes:
    """By name of a class its pictures.

    Raises:
        UserError: there are no classes, or one has no pictures.
    """
    found: Classes = {}
    for entry in visible(folder, passed_over):
        if not entry.is_dir():
            if is_picture(entry.name, passed_over):
                passed_over["outside class folders"] += 1
            continue
        below = PassedOver()
        pictures = list(pictures_below(entry.path, below))
        passed_over.update(below)
        if len(splits := _splits_below(Path(entry.path), pictures)) > 1:
            raise UserError(
                f"the class folder {entry.path} holds {' and '.join(map(shown, splits[:2]))}: put "
                f"splits above classes, as in train/{shown(entry.name)}/."
            )
        if pictures:
            found[entry.name] = pictures
        elif set(below) != {"run folders"}:
            there = ", ".join(f"{count} {reason}" for reason, count in sorted(below.items()))
            raise UserError(
                f"the class folder {entry.path} holds no images{f' but {there}' if there else ''}: "
                "add some or remove it."
            )
    if not found:
        raise UserError(
            f"{folder} holds no class folders: put the images of each class into one; see "
            "docs/data.md."
        )
    return found


def _splits_below(folder: Path, pictures: Iterable[str | BadPicture]) -> list[str]:
    """Folders between a class's and its pictures that name different splits, one of each."""
    named: dict[str, str] = {}
    holding = {p.rpartition(os.sep)[0] for p in pictures if isinstance(p, str)}
    between = {part for path in holding for part in Path(path).relative_to(folder).parts}
    for part in sorted(between):
        if split := split_of(part):
            named.setdefault(split, f"{part}/")
    return list(named.values())


def _encoded(classes: Classes) -> Iterator[Encoded]:
    for label, pictures in enumerate(classes.values()):
        for picture in pictures:
            name = picture if isinstance(picture, str) else picture.path
            yield name, _reader(picture), label


def _reader(picture: str | BadPicture) -> Callable[[], bytes]:
    if isinstance(picture, str):
        return partial(read_file, picture)

    def refuse() -> bytes:
        raise BadImageError(picture.reason)

    return refuse
