"""The pictures of a run, in the order in which they are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from noprop_dist.data import Normalisation
from noprop_dist.draw.answers import (
    COLUMNS,
    SECTION_ROWS,
    as_sure,
    plot_confidence,
    plot_confusion,
    plot_predictions,
    telling_rows,
)
from noprop_dist.draw.axes import MAX_NAMES
from noprop_dist.draw.class_embeddings import (
    LEAST_FOR_TSNE,
    change_of,
    equally_far,
    largest,
    plot_embedding,
    plot_prototypes,
    tsne,
)
from noprop_dist.draw.curves import (
    block_panels,
    has_numbers,
    history_panels,
    plot_blocks,
    plot_denoising,
    plot_history,
)
from noprop_dist.draw.plane import Floats, widest_plane
from noprop_dist.draw.style import Make, NotDrawn, listed
from noprop_dist.draw.trajectories import plot_trajectories, shown_classes
from noprop_dist.draw.units_on_workers import plot_timeline
from noprop_dist.engine.evaluate import confusion_matrix
from noprop_dist.see.material import LeftOutError, Material, walk


@dataclass(frozen=True)
class Picture:
    """One picture of a run, with the words that belong to it.

    Attributes:
        name: its file under ``plots/``, without the ending.
        title: a few words.
        caption: a sentence or two: what is drawn, and how to read it.
        make: draws it; a figure a call, which shares no global state.
    """

    name: str
    title: str
    caption: str
    make: Make


Maker = Callable[[Material], Picture | None]  # None: such a run has no such picture
OWN_ACCURACY = (
    "A block sees the noised true label while it trains, so its training accuracy cannot be "
    "compared with validation, where the chain begins with noise alone."
)
NO_EPOCH = "no epoch has ended yet"
FIRST_DRAW = "z_T, first noise draw"  # others answer a few images otherwise


def pictures_of(found: Material, failed: NotDrawn | None = None) -> tuple[list[Picture], list[str]]:
    """Every picture of a run that can be drawn from what is there, a live run's too.

    Args:
        found: what there is of the run, see ``gather``.
        failed: takes those whose numbers could not be computed.

    Returns:
        The pictures in reading order, and notes, a sentence each: what the pictures are of, which
        were left out, and why.
    """
    pictures: list[Picture | None] = []
    left_out: dict[str, list[str]] = {}  # by reason
    failed = failed or NotDrawn()
    for name, maker in MAKERS.items():
        try:
            pictures.append(maker(found))
        except LeftOutError as why:
            left_out.setdefault(str(why), []).append(name)
        except Exception as error:
            failed.add(name, error)
    notes = [f"left out {listed(names)}: {why}" for why, names in left_out.items()]
    return [picture for picture in pictures if picture], found.notes + notes


def _history(found: Material) -> Picture:
    if not history_panels(history := found.history):
        raise LeftOutError(NO_EPOCH)
    caption = (
        "Loss, accuracy and learning rate by epoch. The loss is a mean over blocks, whose terms "
        "weigh differently: compare it along an epoch axis, not between blocks. Training accuracy "
        f"is the blocks' own, with dropout. {OWN_ACCURACY}"
    )
    readouts = {
        "val_accuracy_history": "z_T, the label at the end of the whole chain",
        "val_accuracy_mean_softmax_history": "the mean softmax of all blocks along it",
    }
    if told := [text for name, text in readouts.items() if has_numbers(getattr(history, name))]:
        caption += f" Validation accuracy is that of {' and of '.join(told)}."
    return Picture("history", "Training history", caption, partial(plot_history, history))


def _blocks(found: Material) -> Picture:
    if not block_panels(found.history):
        raise LeftOutError(NO_EPOCH)
    caption = (
        "Loss and training accuracy of every block alone, dark for block 1 to light for block T. "
        "Early blocks see a label that is almost noise, late ones a label that is almost clean. "
        f"{OWN_ACCURACY}"
    )
    make = partial(plot_blocks, found.history)
    return Picture("blocks", "Loss and accuracy of each block", caption, make)


def _denoising(found: Material) -> Picture:
    if found.result is not None:
        after: Sequence[float] = found.result.accuracy_after_t
        block: Sequence[float] = found.result.block_accuracy
        draws = len(found.result.test_accuracy["z_T"].draws)
        about = f"all test images, mean over {draws} noise draws"
        num_classes = len(found.result.confusion)
    else:
        after, block, about = found.said.after_t, found.said.block, found.said.about
        num_classes = len(found.network.class_names)
    caption = (
        "What the readout of z_t knows after each step of the chain, from noise (t = 0) to the "
        f"label (t = {len(after)}), and what block t says on its own; {about}."
    )
    make = partial(plot_denoising, after, block, num_classes)
    return Picture("denoising", "Accuracy after each denoising step", caption, make)


def _trajectories(found: Material) -> Picture:
    trained, test = found.network, found.images
    assert found.run is not None
    network = trained.network
    u = _embedding(network.objective.embedding(network.class_embed))
    walks = walk(trained, test, found.run.seed)
    make = partial(plot_trajectories, walks, u, trained.class_names)
    total, shown = len(trained.class_names), len(shown_classes(len(trained.class_names)))
    some = f" {shown} of the {total} classes are drawn." if shown < total else ""
    caption = (
        "z_t of test images on its way from noise to a label. Left: how far it lies from the "
        "middle of all class embeddings, 0, towards that of the true class, which is at 1, and "
        "towards the other class that it points to most: median, half and 90 % of the images. "
        f"Right: z_t in a plane of the class embeddings, {widest_plane(u).about}.{some}"
    )
    return Picture("trajectories", "From noise to label", caption, make)


def _embedding_picture(found: Material) -> Picture | None:
    trained, kind = found.network, found.network.network.spec.embedding_type
    u = _embedding(trained.network.class_embed)
    if kind == "one-hot":
        return None  # all are equally far apart
    if alike := equally_far(u):
        raise LeftOutError(alike)
    plain = "" if len(u) >= LEAST_FOR_TSNE else " So few classes have no t-SNE."
    names = " Names stand where there is room for them." if len(u) > MAX_NAMES else ""
    plane = widest_plane(u)
    flat = " Of such embeddings t-SNE says little too." if plane.alike > 2 else ""
    caption = (
        f"The {len(u)} class embeddings ({kind}, D = {u.shape[1]}): their distances; a plane of "
        f"them, {plane.about}; and t-SNE, where only what is near counts.{flat}{names}{plain}"
    )
    make = partial(plot_embedding, u, tsne(u), trained.class_names)
    return Picture("embedding", "Class embeddings", caption, make)


def _prototypes(found: Material) -> Picture | None:
    if found.run is None and found.first_embed is None:
        return None  # as far as is known
    trained, spec = found.network, found.network.network.spec
    if spec.embedding_type != "prototype" or len(spec.sample_shape) != 3:
        return None
    u, u_first, shape = trained.network.class_embed, found.first_embed, spec.sample_shape
    now = _pixels(u, shape, trained.normalisation)
    first = None
    if u_first is not None and u_first.shape == u.shape:
        first = _pixels(u_first, shape, trained.normalisation)
    else:
        found.notes.append("the prototypes before training were not kept: they are left out")
    caption = (
        "The class embeddings as images. Each began as the training image of its class that is "
        "nearest to all others, and was trained from there. All classes share one scale."
    )
    if first is not None:
        most = largest(change_of(first, now, shape))
        caption += (
            f" Change is the mean over colour channels; the largest is {100 * most:.2g} % of the "
            "range of pixels, 0..1, and has the strongest colour, however little it is."
        )
    make = partial(plot_prototypes, first, now, shape, trained.class_names)
    return Picture("prototypes", "Prototype embeddings, before training and now", caption, make)


def _embedding(class_embed: Tensor) -> Floats:
    u: Floats = class_embed.detach().double().cpu().numpy()
    return u


def _pixels(class_embed: Tensor, shape: tuple[int, ...], scale: Normalisation) -> Floats:
    """Class embeddings as pixels of 0..1, which training may have left, (K, D)."""
    u = _embedding(class_embed).reshape(-1, *shape)
    mean, std = (np.array(values).reshape(-1, 1, 1) for values in (scale.mean, scale.std))
    pixels: Floats = (u * std + mean).reshape(len(u), -1)
    return pixels


def _confusion(found: Material) -> Picture:
    if found.result is not None:
        counts, about = np.array(found.result.confusion), f"all test images, {FIRST_DRAW}"
        names = _names(found, len(counts))
    else:
        names, said, about = found.network.class_names, found.said.said, found.said.about
        counts = confusion_matrix(said.label, said.answer, len(names))
    caption = (
        f"How often each class (row) got each answer (column): {about}. Shades are shares of the "
        "row, on a scale that shows rare mistakes."
    )
    make = partial(plot_confusion, counts, names, FIRST_DRAW)
    return Picture("confusion", "Confusion matrix", caption, make)


def _names(found: Material, count: int) -> tuple[str, ...]:
    """The classes by name, by number where there is no network that knows their names."""
    return found.run.trained.class_names if found.run else tuple(map(str, range(count)))


def _predictions(found: Material) -> Picture | None:
    names, test = found.network.class_names, found.images
    if test.is_vector:
        raise LeftOutError("the data set holds vectors, not images")
    answers = found.said
    places, mistakes = telling_rows(answers.said, COLUMNS * SECTION_ROWS)
    said = answers.said.at(places)
    images, _ = test.take(said.row)
    caption = (
        "The mistakes that z_T was surest of, and the hits that it was least sure of: "
        f"answer, its probability and, of mistakes, the true class; of {answers.about}."
        + as_sure(answers.said, places[:mistakes])
        + as_sure(answers.said, places[mistakes:])
    )
    make = partial(plot_predictions, images, said, mistakes, names)
    return Picture("predictions", "Surest mistakes and least sure hits", caption, make)


def _confidence(found: Material) -> Picture:
    said = found.said.said
    surest, tied = int((said.confidence == said.confidence.max()).sum()), ""
    if surest > len(said) // 100:
        tied = f": {surest:,} of {len(said):,} are surest, and the curve begins with all of them"
    caption = (
        "Left: how sure z_T is of its hits and of its mistakes, on an axis that tells 99 % "
        "from 99.9 %. Right: the accuracy that "
        f"is left if only the surest answers are taken; {found.said.about}. Answers of one "
        f"confidence are one point{tied}."
    )
    make = partial(plot_confidence, said)
    return Picture("confidence", "Confidence of hits and mistakes", caption, make)


def _timeline(found: Material) -> Picture:
    if not found.timeline.num_units:
        raise LeftOutError("its log has no unit yet")
    going = any(lane.known < lane.end for lane in found.timeline.lanes)
    cut = (
        " Of a session that has not ended or was broken off, a row ends with its worker's last "
        "finished unit: what came then is not in the log."
    )
    caption = (
        "Which worker trained which block when, a row per worker and a bar per unit; where workers "
        f"were lost, came back or waited is marked.{cut * going}"
    )
    return Picture("timeline", "Units on workers", caption, partial(plot_timeline, found.timeline))


MAKERS: dict[str, Maker] = {
    "history": _history,
    "blocks": _blocks,
    "denoising": _denoising,
    "trajectories": _trajectories,
    "embedding": _embedding_picture,
    "prototypes": _prototypes,
    "confusion": _confusion,
    "predictions": _predictions,
    "confidence": _confidence,
    "timeline": _timeline,
}
