"""Where a run may write, asked before anything is read or trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.data.sources import is_known
from noprop_dist.errors import UserError
from noprop_dist.record.store import Store
from noprop_dist.record.trackers import check_trackers
from noprop_dist.run_files import SWEEP, TRIAL


def in_a_lasting_place(config: TrainConfig) -> TrainConfig:
    """In a submitted job relative paths of what is written lie in the home directory.

    The options are ``placed``.

    The working directory is Ray's temporary copy there, and is deleted some time after the job.
    """
    if "/runtime_resources/working_dir_files/" not in f"{Path.cwd()}/":
        return config
    paths = {"run_dir": config.folder, "history": config.history}
    lasting: dict[str, Any] = {
        name: str(Path.home() / path)
        for name, path in paths.items()
        if path is not None and "://" not in path
    }
    return replace(config, **lasting)


def check_places(config: TrainConfig, form: str = "{}") -> None:
    """Refuse what cannot be written to, before anything is read or trained.

    Args:
        config: the options.
        form: of a name that is made from them; see ``TrainConfig.placed``.

    Raises:
        UserError: such a place, or a tracker that is not installed.
    """
    check_trackers(config)
    placed = in_a_lasting_place(config.placed({}, form))
    Store(placed.folder).check_writable()
    _check_apart(config)
    if config.history is not None:
        Store(Path(config.history).parent, "--history").check_writable()


def _check_apart(config: TrainConfig) -> None:
    """Refuse a run folder that is the data's own: what a run writes would be data next time."""
    if is_known(config.dataset) or config.run_dir is None:
        return
    folder = Store(config.run_dir).local
    if folder is not None and folder.resolve() == Path(config.dataset).expanduser().resolve():
        raise UserError(
            f"--run-dir {config.run_dir} is the data itself: give another folder, or --name."
        )


def run_store(config: TrainConfig) -> Store:
    """The run folder.

    Raises:
        UserError: it holds something else.
    """
    store = Store(config.folder)
    for name, what in ((SWEEP, "a sweep"), (TRIAL, "a trial of a sweep")):
        if store.exists(name):
            raise UserError(
                f"{store.root} holds {what}: give another --name or --run-dir for the run."
            )
    return store
