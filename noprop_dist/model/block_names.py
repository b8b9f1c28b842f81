"""What the name of a block says; nothing here imports PyTorch."""


def is_own(block: str) -> bool:
    """Whether a block's name is that of a class, not one of the registry's."""
    return ":" in block


def same_block(one: str, other: str) -> bool:
    """Whether two names may mean one block: a class of one's own is the same from any place.

    That its code is the same is seen by its sha256.
    """
    both_own = is_own(one) and is_own(other)
    return one == other or (both_own and one.rpartition(":")[2] == other.rpartition(":")[2])
