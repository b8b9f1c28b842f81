"""A picture with the words that belong to it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """One picture of a run.

    Attributes:
        name: its file under ``plots/``, without the ending.
        title: a few run_text.
        caption: a sentence or two: what is drawn, and how to read it.
        figure: the drawing, which shares no global state.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"
