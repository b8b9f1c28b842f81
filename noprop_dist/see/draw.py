"""From a run or a history to files that people look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noprop_dist.data import Split
from noprop_dist.errors import UserError
from noprop_dist.record.plots import Format, figure_bytes, missing_letters_silenced
from noprop_dist.record.run_config import FILE as CONFIG
from noprop_dist.record.store import Store, inside
from noprop_dist.see.options import VisualizeOptions
from noprop_dist.see.picture import Picture
from noprop_dist.see.pictures import pictures_of, pictures_of_history
from noprop_dist.see.report import FILE as REPORT
from noprop_dist.see.report import write_report

FOLDER = "plots"


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        paths: of the files, in reading order.
        notes: a sentence each: what the pictures are of, which were left out, and why.
    """

    paths: tuple[str, ...]
    notes: tuple[str, ...]


def visualize(options: VisualizeOptions) -> Drawn:
    """Draw what the options ask for.

    Raises:
        UserError: there is nothing to draw, what is there is damaged, or the pictures cannot be
            written.
    """
    if options.history is not None:
        return _draw_history(options.history, options.output, options.format)
    assert options.run is not None
    return draw_run(
        options.run,
        output=options.output,
        form=options.format,
        dataset=options.dataset,
        data_dir=options.data_dir,
    )


@missing_letters_silenced()
def draw_run(
    folder: str,
    *,
    test: Split | None = None,
    output: str | None = None,
    form: Format = "png",
    dataset: str | None = None,
    data_dir: str | None = None,
) -> Drawn:
    """Everything that is looked at of a run, pictures and ``report.html``.

    It is written at the run's end, and when it is asked for.

    Args:
        folder: of the run, or its URI.
        test: the run's test split, where it is in memory.
        output: folder of pictures and report; None: the run's own, pictures in its ``plots/``.
        form: of the files.
        dataset: where the run's data set is now; None: where the run found it.
        data_dir: where named data sets are; None: where the run found them.

    Raises:
        UserError: as ``pictures_of``; there is nothing to draw yet; or a file cannot be written.
    """
    place = output or inside(folder, FOLDER)
    Store(place, "--output").check_writable()
    pictures, notes = pictures_of(folder, test=test, dataset=dataset, data_dir=data_dir)
    if not pictures:
        raise UserError(f"{folder} holds nothing to draw yet: wait until training has begun.")
    paths = write_pictures(pictures, place, form)
    if not Store(folder).exists(CONFIG):
        notes.append(f"{folder} has no {CONFIG}, so {REPORT} is left out.")
        return Drawn(paths, tuple(notes))
    try:
        report = write_report(folder, pictures, notes, output)
    except UserError as error:  # it asks more of a run's files than pictures do
        return Drawn(paths, (*notes, f"{REPORT} is left out: {error}"))
    return Drawn((*paths, report), tuple(notes))


def _draw_history(path: str, output: str | None, form: Format) -> Drawn:
    file = Path(path).expanduser()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"--history {path} cannot be read ({error.strerror}).") from error
    pictures = pictures_of_history(data, f"--history {path}")
    if not pictures:
        raise UserError(
            f"--history {path} holds no numbers to draw: it needs a list by epoch, such as "
            "train_loss_history."
        )
    return Drawn(write_pictures(pictures, output or str(file.parent), form), ())


def write_pictures(pictures: Sequence[Picture], folder: str, form: Format) -> tuple[str, ...]:
    """Write pictures into a folder or URI; their paths.

    Raises:
        UserError: it cannot be written to.
    """
    store = Store(folder, "--output")
    paths = []
    for picture in pictures:
        file = f"{picture.name}.{form}"
        store.write(file, figure_bytes(picture.figure, form, picture.name))
        paths.append(inside(folder, file))
    return tuple(paths)
