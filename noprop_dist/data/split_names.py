"""Which split a file or folder belongs to, as far as its name says."""

import re
from collections.abc import Iterable

from noprop_dist.errors import UserError

WORDS = {
    "train": "train", "training": "train",
    "valid": "val", "validation": "val", "val": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
SPLITS = ("train", "val", "test")
ALL = "all"  # the rows of a source without splits
ADVICE = "name splits train, val and test, as in train.parquet or train/; see docs/data.md"

# "petsTrain-01" is pets, Train and 01.
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
ALIKE = re.compile("(train|valid|test|eval)", re.IGNORECASE)
PARTS = re.compile("train|trn|valid|val|dev|test|tst|eval")


def split_of(name: str) -> str | None:
    """The split of a name that says so in a word, in any case: train, val or test; else None.

    Raises:
        UserError: it says two things.
    """
    found = {WORDS[w] for word in WORD.findall(name) if (w := word.lower()) in WORDS}
    if len(found) > 1:
        raise UserError(f"{name} is named after more than one split: {ADVICE}.")
    return next(iter(found), None)


def by_split(names: Iterable[str], where: str) -> dict[str, list[str]]:
    """Names by split; all of them under ALL where none names one.

    Args:
        names: of files or folders that lie beside each other.
        where: they lie, for messages.

    Raises:
        UserError: some name a split and others do not, or they look like splits and are none.
    """
    found: dict[str | None, list[str]] = {}
    for name in names:
        found.setdefault(split_of(name), []).append(name)
    others = found.pop(None, [])
    if found and others:
        one = next(iter(found.values()))[0]
        raise UserError(
            f"{where} holds {others[0]}, which names no split, beside {one}: move it, or {ADVICE}."
        )
    if alike := look_alike(others):
        raise UserError(
            f"{where} holds {' and '.join(alike)}, which look like splits and are not named so: "
            f"{ADVICE}."
        )
    return {s: found[s] for s in SPLITS if s in found} or {ALL: others}


def look_alike(names: Iterable[str]) -> list[str]:
    """Two names of no split that begin like those of different ones, or differ as they do."""
    like: dict[str, str] = {}
    rests: dict[str, dict[str, str]] = {}  # by what is left without a part, the names by that part
    for name in names:
        plain = name.casefold()
        for part in PARTS.finditer(plain):
            rest = f"{plain[: part.start()]}*{plain[part.end() :]}"
            rests.setdefault(rest, {})[part[0]] = name
        for word in WORD.findall(name):
            if begins := ALIKE.match(word):
                like.setdefault(begins[1].lower(), name)
    for found in (like, *rests.values()):
        if len(set(found.values())) > 1:
            return list(dict.fromkeys(found.values()))[:2]
    return []
