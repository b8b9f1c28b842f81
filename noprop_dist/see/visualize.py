"""From a run or a history to files that people look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noprop_dist.data import Split
from noprop_dist.draw.style import Format, NotDrawn, drawn
from noprop_dist.errors import UserError
from noprop_dist.record.history import read_history
from noprop_dist.record.store import Store, inside
from noprop_dist.run_files import CONFIG, PLOTS, REPORT
from noprop_dist.see.material import Material, gather
from noprop_dist.see.run_page import write_report
from noprop_dist.see.run_pictures import Picture, pictures_of


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


def draw_run(
    folder: str,
    *,
    test: Split | None = None,
    output: str | None = None,
    form: Format = "png",
    dataset: str | None = None,
    data_dir: str | None = None,
    block: str | None = None,
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
        block: of a run whose block is the user's own, its class; see ``load_network``.

    Raises:
        UserError: as ``gather``; there is nothing to draw yet; or a file cannot be written.
    """
    place = output or inside(folder, PLOTS)
    Store(place, "--output").check_writable()
    failed = NotDrawn()
    pictures, notes = pictures_of(gather(folder, test, dataset, data_dir, block), failed)
    if not pictures and not failed.sentences:
        raise UserError(f"{folder} holds nothing to draw yet: wait until training has begun.")
    files = write_pictures(pictures, place, form, failed)
    report = None
    if not Store(folder).exists(CONFIG):
        notes.append(f"{folder} has no {CONFIG}, so {REPORT} is left out.")
    else:
        shown = [picture for picture in pictures if picture.name in files]
        there = files if form == "png" else {}
        try:
            report = write_report(folder, shown, notes, output, failed=failed, there=there)
        except UserError as error:  # it asks more of a run's files than pictures do
            notes.append(f"{REPORT} is left out: {error}")
    paths = tuple(inside(place, f"{name}.{form}") for name in files)
    return Drawn(paths, tuple(notes), tuple(failed.sentences), report)


def draw_history(path: str, output: str | None, form: Format) -> Drawn:
    """The pictures of a training history alone.

    Args:
        path: of the file.
        output: folder to write into; None: beside it.
        form: of the files.

    Raises:
        UserError: it cannot be read, is damaged or holds no numbers, or a file cannot be written.
    """
    file = Path(path).expanduser()
    history, failed = read_history(Store(file.parent, "--history"), file.name), NotDrawn()
    if history is None:
        raise UserError(f"--history {path}: there is no such file.")
    pictures, _ = pictures_of(Material(history), failed)
    if not pictures:
        raise UserError(
            f"--history {path} holds no numbers to draw: it needs a list by epoch, such as "
            "train_loss_history."
        )
    place = output or str(file.parent)
    files = write_pictures(pictures, place, form, failed)
    paths = tuple(inside(place, f"{name}.{form}") for name in files)
    return Drawn(paths, (), tuple(failed.sentences))


def write_pictures(
    pictures: Sequence[Picture], folder: str, form: Format, failed: NotDrawn
) -> dict[str, bytes]:
    """Write pictures into a folder or URI; what was written, by name of the picture.

    Raises:
        UserError: it cannot be written to.
    """
    store = Store(folder, "--output")
    written = {}
    for picture in pictures:
        try:
            data = drawn(picture.make, form, name=picture.name)
        except Exception as error:
            failed.add(picture.name, error)
        else:
            store.write(f"{picture.name}.{form}", data)
            written[picture.name] = data
    return written
