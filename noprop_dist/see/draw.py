"""From a run or a history to files that people look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from noprop_dist.data import Split
from noprop_dist.errors import UserError
from noprop_dist.record.folder import CONFIG
from noprop_dist.record.plots import Format, Missing, figure_bytes
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
        pictures: paths of their files, in reading order.
        notes: a sentence each: what the pictures are of, which were left out, and why.
        missing: a sentence each: pictures that could not be drawn.
        report: path of the page, where it was written.
    """

    pictures: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    report: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Of all files."""
        return self.pictures + ((self.report,) if self.report else ())


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
    missing = Missing()
    pictures, notes = pictures_of(
        folder, test=test, dataset=dataset, data_dir=data_dir, missing=missing
    )
    if not pictures and not missing.sentences:
        raise UserError(f"{folder} holds nothing to draw yet: wait until training has begun.")
    written = write_pictures(pictures, place, form, missing)
    drawn = [picture for picture in pictures if picture.name in written]
    report = None
    if not Store(folder).exists(CONFIG):
        notes.append(f"{folder} has no {CONFIG}, so {REPORT} is left out.")
    else:
        try:
            report = write_report(folder, drawn, notes, output, missing)
        except UserError as error:  # it asks more of a run's files than pictures do
            notes.append(f"{REPORT} is left out: {error}")
    return Drawn(tuple(written.values()), tuple(notes), tuple(missing.sentences), report)


def _draw_history(path: str, output: str | None, form: Format) -> Drawn:
    file = Path(path).expanduser()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"--history {path} cannot be read ({error.strerror}).") from error
    missing = Missing()
    pictures = pictures_of_history(data, f"--history {path}", missing)
    if not pictures and not missing.sentences:
        raise UserError(
            f"--history {path} holds no numbers to draw: it needs a list by epoch, such as "
            "train_loss_history."
        )
    written = write_pictures(pictures, output or str(file.parent), form, missing)
    return Drawn(tuple(written.values()), (), tuple(missing.sentences))


def write_pictures(
    pictures: Sequence[Picture], folder: str, form: Format, missing: Missing
) -> dict[str, str]:
    """Write pictures into a folder or URI; the paths of those that could be drawn, by name.

    Raises:
        UserError: it cannot be written to.
    """
    store = Store(folder, "--output")
    written = {}
    for picture in pictures:
        draw = partial(figure_bytes, picture.figure, form, picture.name)
        data = missing.attempt(picture.name, draw)
        if data is not None:
            file = f"{picture.name}.{form}"
            store.write(file, data)
            written[picture.name] = inside(folder, file)
    return written
