"""Pictures of a run folder, drawn again from what it has written."""

from pathlib import Path

from noprop_dist.errors import UserError
from noprop_dist.record import plots
from noprop_dist.record.history import read_history
from noprop_dist.record.store import Store
from noprop_dist.record.timeline import read_timeline
from noprop_dist.record.timeline_plot import plot_timeline


def visualize(folder: str) -> list[str]:
    """Draw the training history and the timeline of units on workers, of a live run too.

    Args:
        folder: a run folder or its URI.

    Returns:
        The pictures, as paths inside ``folder``.

    Raises:
        UserError: there is nothing to draw, or the history is damaged.
    """
    store = Store(folder)
    figures = {}
    timeline = read_timeline(store)
    if timeline.num_units:
        figures["timeline"] = plot_timeline(timeline)
    history = read_history(store)
    if history is not None and history.train_loss_history:
        figures["history"] = plots.plot_history(history)
    if not figures:
        raise UserError(
            f"{folder} holds nothing to draw: give a run folder, in which training has begun."
        )
    for name, figure in figures.items():
        plots.save_figure(store, f"plots/{name}.png", figure)
    return [str(Path("plots") / f"{name}.png") for name in figures]
