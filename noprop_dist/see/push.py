"""A trained network to the Hugging Face hub, with its card and what opening it needs."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from noprop_dist.errors import UserError, needing
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import (
    BACKBONE,
    CARD,
    CONFIG,
    HISTORY,
    MODEL,
    OWN_BLOCK,
    OWN_PARTS,
    RESULT,
)
from noprop_dist.see.card import make_card

FILES = (CONFIG, RESULT, HISTORY, OWN_BLOCK, OWN_PARTS, BACKBONE)


def push(run: str, repository: str, *, private: bool = False) -> str:
    """Upload a finished run's network, its card, its options and its numbers.

    Args:
        run: its folder, or the URI of one. A ``README.md`` in it is the card; without one, the card
            is made.
        repository: OWNER/NAME on the hub, made where it is not there.
        private: only the owner sees it.

    Returns:
        Its address.

    Raises:
        UserError: as ``make_card``; huggingface_hub is not installed, nobody is logged in, the
            repository is public where ``private`` is asked for, or the hub refuses or cannot be
            reached.
    """
    with needing("huggingface_hub", "noprop push needs huggingface_hub: install noprop-dist[hf]."):
        import huggingface_hub
    files = dict(_files(run))
    if huggingface_hub.get_token() is None:
        raise UserError("nobody is logged in to the hub: run hf auth login, or set HF_TOKEN.")
    api = huggingface_hub.HfApi()
    try:
        made = api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.repo_info(repository).private:
            raise UserError(
                f"{repository} is there and is public, against --private: give another name, or "
                "make it private on the hub."
            )
        with TemporaryDirectory() as place:
            for name, data in files.items():
                file = Path(place, name)
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(data)
            message = "Upload of a network by noprop-dist"
            api.upload_folder(repo_id=repository, folder_path=place, commit_message=message)
    except UserError:
        raise
    except Exception as error:  # of the hub, of its HTTP library: all say why it fails
        reason = " ".join(str(error).split())
        raise UserError(
            f"{repository} could not be written on the hub ({reason}): check the name, what your "
            "token may do, and the network."
        ) from error
    return str(made)


def _files(run: str) -> Iterator[tuple[str, bytes]]:
    """What is uploaded, by name."""
    reader = Reader(Store(run))
    yield CARD, reader.read(CARD) or make_card(run).encode()
    for name in (*FILES, f"{MODEL}/network.json", f"{MODEL}/network.safetensors"):
        if (data := reader.read(name)) is not None:
            yield name, data
