"""The options of ``noprop visualize``, ``runs`` and ``show``; imports no PyTorch or matplotlib."""

from dataclasses import dataclass
from typing import Literal

from noprop_dist.config.fields import Checked, argument, flag, option
from noprop_dist.config.run import HOME
from noprop_dist.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VisualizeOptions(Checked):
    """What to draw, and where to.

    Raises:
        UserError: neither or both of a run and a history, or an empty value.
    """

    run: str | None = argument("RUN", "run folder or its URI, also of a live run", None)
    history: str | None = option(
        None, "input", "draw this training_history.json alone, which may be written by hand"
    )
    dataset: str | None = option(
        None, "input", "where the run's data set is now; default: where the run found it"
    )
    data_dir: str | None = option(None, "input", "where named data sets are kept or downloaded to")
    output: str | None = option(
        None,
        "output",
        "folder of what is drawn; default: the run, pictures in plots/, or beside the history",
    )
    format: Literal["png", "svg", "pdf"] = option("png", "output", "of the pictures")

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if (self.run is None) == (self.history is None):
            raise UserError("give either a run folder or --history FILE.")
        for name in ("dataset", "data_dir"):
            if self.run is None and getattr(self, name) is not None:
                raise UserError(f"{flag(name)} is for a run, not for --history: leave it out.")


@dataclass(frozen=True, kw_only=True)
class RunsOptions(Checked):
    """Which runs to list."""

    folder: str = argument("FOLDER", "folder of run folders, or its URI", HOME)
    json: bool = option(False, "output", "print one JSON object a line, newest first")


@dataclass(frozen=True, kw_only=True)
class ShowOptions(Checked):
    """Which run to tell about."""

    run: str = argument("RUN", "run folder or its URI")
    json: bool = option(False, "output", "print one JSON object")
