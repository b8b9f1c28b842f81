"""What the name of a block says; nothing here imports PyTorch, or what is named."""

import sys
from pathlib import Path


def is_own(block: str) -> bool:
    """Whether a block's name is that of a class, not one of the registry's."""
    return ":" in block


def names_file(block: str) -> bool:
    """Whether the name of a class gives its file, not its module."""
    return block.rpartition(":")[0].endswith(".py")


def same_block(one: str, other: str) -> bool:
    """Whether two names may mean one block: a class of one's own is the same from any place.

    That its code is the same is seen by its sha256.
    """
    both_own = is_own(one) and is_own(other)
    return one == other or (both_own and one.rpartition(":")[2] == other.rpartition(":")[2])


def source_of(block: str) -> Path | None:
    """Where the text of a class of one's own lies; None where it is not here.

    A module is looked for where Python does, without the packages around it being imported.
    """
    where = block.rpartition(":")[0]
    if names_file(block):
        places = [Path(where).expanduser()]
    else:
        inner = Path(*where.split("."))
        files = (inner / "__init__.py", inner.with_suffix(".py"))
        places = [Path(place, file) for place in (*sys.path, str(Path.cwd())) for file in files]
    return next((place for place in places if place.is_file()), None)
