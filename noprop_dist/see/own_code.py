"""A run's own block: its code, and whether its source is as it was; nothing of it is run."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from noprop_dist.model.block_names import is_own, source_of
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import OWN_BLOCK
from noprop_dist.see.facts import RunFacts

Source = Literal["as it was", "changed", "not here"]
WORDS: dict[Source, str] = {
    "as it was": "its source is as it was",
    "changed": f"its source has changed since; the run keeps it as {OWN_BLOCK}",
    "not here": f"its source is not here; the run keeps it as {OWN_BLOCK}",
}


@dataclass(frozen=True)
class OwnCode:
    """The code of a run's own block.

    Attributes:
        name: of the class, as the options have it.
        sha256: of the text that the run was trained with; None where the folder does not tell.
        source: what lies now where the name says; None where the folder does not tell what did.
    """

    name: str
    sha256: str | None
    source: Source | None


def own_code(facts: RunFacts) -> OwnCode | None:
    """The code of a run's own block; None where its block is none of the user's own.

    Raises:
        UserError: the copy in the run's folder cannot be read.
    """
    name = facts.config.block
    if not is_own(name):
        return None
    sha256 = facts.result.fingerprint.get("block") if facts.result else None
    if sha256 is None and (kept := Reader(Store(facts.folder, "RUN")).read(OWN_BLOCK)) is not None:
        sha256 = _sha256_of(kept)
    return OwnCode(name, sha256, None if sha256 is None else _compared(name, sha256))


def _compared(name: str, sha256: str) -> Source:
    path, there = source_of(name), None
    if path is None:
        return "not here"
    with suppress(OSError, UnicodeDecodeError):
        there = _sha256_of(path.read_text(encoding="utf-8").encode())
    return "as it was" if there == sha256 else "changed"


def code_rows(facts: RunFacts) -> list[tuple[str, str]]:
    """The same as names and values; empty where the block is none of the user's own."""
    code = own_code(facts)
    if code is None:
        return []
    known = f", sha256 {code.sha256}; {WORDS[code.source]}" if code.sha256 and code.source else ""
    return [("block", code.name + known)]


def _sha256_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
