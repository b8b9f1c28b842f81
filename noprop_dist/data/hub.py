"""Data sets of the Hugging Face hub: their Parquet files, from its cache where they are there."""

from pathlib import Path

from noprop_dist.data.account import Reading
from noprop_dist.data.dataset import Found
from noprop_dist.data.parquet import load_parquet
from noprop_dist.data.parquet_files import SUFFIXES, find_parquet
from noprop_dist.errors import UserError
from noprop_dist.text import first_sentence

HUB = "hf:"
CONVERTED = "refs/convert/parquet"  # where the hub keeps its own Parquet copy of most data sets


def load_hub(name: str, reading: Reading, data_dir: str | None) -> Found:
    """Load ``hf:OWNER/NAME``, ``hf:OWNER/NAME/FOLDER`` or either with ``@REVISION``.

    Args:
        name: of the data set, of one of its folders or configurations.
        reading: how images are read, and from which columns.
        data_dir: the hub's cache; None: where it is by default.

    Raises:
        UserError: it is neither in the cache nor can it be downloaded; it holds no Parquet files;
            or huggingface_hub is not installed.
    """
    plain, _, revision = name.removeprefix(HUB).partition("@")
    parts = plain.strip("/").split("/")
    repo, inside = "/".join(parts[:2]), "/".join(parts[2:])
    problem = None
    for tried in [revision] if revision else [None, CONVERTED]:
        try:
            snapshot = _snapshot(repo, inside, tried, data_dir)
        except UserError as error:
            problem = problem or error
            continue
        if files := find_parquet(snapshot / inside):
            called = f"{HUB}{'/'.join(parts)} at {snapshot.name[:7]}"
            return load_parquet(snapshot / inside, files, reading, called)
    raise problem or UserError(
        f"--dataset {name} holds no Parquet files: give another folder or revision of it, as in "
        f"{HUB}OWNER/NAME/FOLDER@REVISION."
    )


def _snapshot(repo: str, inside: str, revision: str | None, data_dir: str | None) -> Path:
    """The folder of a revision in the hub's cache; its Parquet files are there."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"--dataset {HUB}{repo} needs huggingface_hub: install noprop-dist[hf], or give the "
            "path of the data set's Parquet files."
        ) from error
    below = f"{inside}/" if inside else ""
    patterns = [f"{below}*{suffix}" for suffix in sorted(SUFFIXES)]
    try:
        found = snapshot_download(
            repo,
            repo_type="dataset",
            revision=revision,
            cache_dir=data_dir,
            allow_patterns=patterns,
        )
    except Exception as error:  # of the hub, of its HTTP library, of files: all say why it fails
        raise UserError(
            f"--dataset {HUB}{repo} is not in the hub's cache and could not be downloaded "
            f"({type(error).__name__}: {first_sentence(error)}): check its name and the network, "
            "or give the path of a copy."
        ) from error
    return Path(found)
