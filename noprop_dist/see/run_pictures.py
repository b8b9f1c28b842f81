"""The pictures of a run, in the order in which they are read."""

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import Tensor

from noprop_dist.data import Normalisation, Split
from noprop_dist.draw.answers import (
    COLUMNS,
    SECTION_ROWS,
    as_sure,
    plot_confidence,
    plot_confusion,
    plot_predictions,
    telling_rows,
)
from noprop_dist.draw.class_embeddings import (
    LEAST_FOR_TSNE,
    change_of,
    largest,
    plot_embedding,
    plot_prototypes,
)
from noprop_dist.draw.curves import has_numbers, plot_blocks, plot_denoising, plot_history
from noprop_dist.draw.plane import Floats, widest_plane
from noprop_dist.draw.style import MAX_NAMES, Missing, listed
from noprop_dist.draw.trajectories import plot_trajectories, shown_classes, walk
from noprop_dist.draw.units_on_workers import plot_timeline
from noprop_dist.engine.evaluate import confusion_matrix
from noprop_dist.record.history import History, parse_history
from noprop_dist.record.predictions import Predictions
from noprop_dist.see.material import LeftOutError, Material, gather
from noprop_dist.see.picture import Picture

Make = Callable[[Material], Picture | None]  # None: such a run has no such picture
OWN_ACCURACY = (
    "A block sees the noised true label while it trains, so its training accuracy cannot be "
    "compared with validation, where the chain begins with noise alone."
)
FIRST_DRAW = "first noise draw"  # others answer a few images otherwise
NO_EPOCH = "no epoch has ended yet"


def pictures_of(
    folder: str,
    *,
    test: Split | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    missing: Missing | None = None,
) -> tuple[list[Picture], list[str]]:
    """Every picture of a run that can be drawn from what is there, a live run's too.

    Args:
        folder: of the run, or its URI.
        test: the run's test split, where it is in memory.
        dataset: where the run's data set is now; None: where the run found it.
        data_dir: where named data sets are; None: where the run found them.
        missing: takes those that fail; None: the notes do.

    Returns:
        The pictures in reading order, and notes, a sentence each: what the pictures are of, which
        were left out, and why.

    Raises:
        UserError: ``folder`` is not a run's, or its history or result is damaged, or ``dataset`` is
            not of the run's kind.
    """
    found = gather(folder, test=test, dataset=dataset, data_dir=data_dir)
    pictures: list[Picture] = []
    failed = missing or Missing()
    left_out: dict[str, list[str]] = {}  # by reason
    for title, make in MAKERS.items():
        try:
            picture = failed.attempt(title, partial(make, found), (LeftOutError,))
        except LeftOutError as reason:
            left_out.setdefault(str(reason), []).append(title)
        else:
            pictures += [picture] if picture else []
    notes = [f"left out {listed(titles)}: {reason}" for reason, titles in left_out.items()]
    return pictures, found.notes + notes + ([] if missing else failed.sentences)


def pictures_of_history(data: bytes, where: str, missing: Missing) -> list[Picture]:
    """The pictures of a training history alone.

    Args:
        data: the file, JSON.
        where: what to call it.
        missing: takes those that fail.

    Raises:
        UserError: it is damaged.
    """
    history = parse_history(data, where)
    makers = (("history", _history), ("blocks", _blocks))
    made = [missing.attempt(title, partial(make, history)) for title, make in makers]
    return [picture for picture in made if picture]


def _history(history: History) -> Picture | None:
    figure = plot_history(history)
    if figure is None:
        return None
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
    return Picture("history", "Training history", caption, figure)


def _blocks(history: History) -> Picture | None:
    figure = plot_blocks(history)
    if figure is None:
        return None
    caption = (
        "Loss and training accuracy of every block alone, dark for block 1 to light for block T. "
        "Early blocks see a label that is almost noise, late ones a label that is almost clean. "
        f"{OWN_ACCURACY}"
    )
    return Picture("blocks", "Loss and accuracy of each block", caption, figure)


def _of_history(make: Callable[[History], Picture | None]) -> Make:
    def made(found: Material) -> Picture:
        picture = make(found.history)
        if picture is None:
            raise LeftOutError(NO_EPOCH)
        return picture

    return made


def _denoising(found: Material) -> Picture:
    if found.result is not None:
        after, block = found.result.accuracy_after_t, found.result.block_accuracy
        draws = len(found.result.test_accuracy["z_T"].draws)
        about = f"all test images, mean over {draws} noise draws"
        num_classes = len(found.result.confusion)
    else:
        answers = found.need_answers()
        after, block, about = answers.after_t, answers.block, answers.about
        num_classes = len(found.need_network().class_names)
    caption = (
        "What the readout of z_t knows after each step of the chain, from noise (t = 0) to the "
        f"label (t = {len(after)}), and what block t says on its own; {about}."
    )
    figure = plot_denoising(after, block, num_classes)
    return Picture("denoising", "Accuracy after each denoising step", caption, figure)


def _trajectories(found: Material) -> Picture:
    trained = found.need_network()
    test = found.need_test()
    assert found.run is not None
    walks = walk(trained, test, found.run.seed)
    u = _embedding(trained.network.class_embed)
    figure = plot_trajectories(walks, u, trained.class_names)
    total, shown = len(trained.class_names), len(shown_classes(len(trained.class_names)))
    some = f" {shown} of the {total} classes are drawn." if shown < total else ""
    caption = (
        f"z_t of test images in a plane of the class embeddings, {widest_plane(u).about}. Left: a "
        "few images on their way from z_0 (open circle) to z_T (filled), coloured by true class; "
        "large marks are the class embeddings, a ring marks a wrong answer. Right: more images, by "
        f"step.{some}"
    )
    return Picture("trajectories", "From noise to label", caption, figure)


def _embedding_picture(found: Material) -> Picture:
    trained = found.need_network()
    u = _embedding(trained.network.class_embed)
    kind = trained.network.spec.embedding_type
    plain = "" if len(u) >= LEAST_FOR_TSNE else " So few classes have no t-SNE."
    names = " Names stand where there is room for them." if len(u) > MAX_NAMES else ""
    plane = widest_plane(u)
    flat = " Of such embeddings t-SNE says little too." if plane.alike > 2 else ""
    alike = " One-hot embeddings are all equally far apart." if kind == "one-hot" else ""
    caption = (
        f"The {len(u)} class embeddings ({kind}, D = {u.shape[1]}): their distances; a plane of "
        f"them, {plane.about}; and t-SNE, where only what is near counts."
        f"{flat}{alike}{names}{plain}"
    )
    figure = plot_embedding(u, trained.class_names)
    return Picture("embedding", "Class embeddings", caption, figure)


def _prototypes(found: Material) -> Picture | None:
    if found.run is None and found.first_embed is None:
        return None  # as far as is known
    trained = found.need_network()
    spec = trained.network.spec
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
    figure = plot_prototypes(first, now, shape, trained.class_names)
    return Picture("prototypes", "Prototype embeddings, before training and now", caption, figure)


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
        answers = found.need_answers()
        names = found.need_network().class_names
        counts = confusion_matrix(answers.said.label, answers.said.answer, len(names))
        about = answers.about
    caption = (
        f"How often each class (row) got each answer (column): {about}. Shades are shares of the "
        "row, on a scale that shows rare mistakes."
    )
    figure = plot_confusion(counts, names, FIRST_DRAW)
    return Picture("confusion", "Confusion matrix", caption, figure)


def _names(found: Material, count: int) -> tuple[str, ...]:
    """The classes by name, by number where there is no network that knows their names."""
    return found.run.trained.class_names if found.run else tuple(map(str, range(count)))


def _predictions(found: Material) -> Picture | None:
    names = found.need_network().class_names
    test = found.need_test()
    if test.is_vector:
        raise LeftOutError("the data set holds vectors, not images")
    answers = found.need_answers()
    places, mistakes = telling_rows(answers.said, COLUMNS * SECTION_ROWS)
    said = answers.said.at(places)
    images, _ = test.take(said.row)
    caption = (
        "The mistakes that the network was surest of, and the hits that it was least sure of: "
        f"answer, its probability and, of mistakes, the true class; of {answers.about}."
        + as_sure(answers.said, places[:mistakes])
        + as_sure(answers.said, places[mistakes:])
    )
    figure = plot_predictions(images, said, mistakes, names)
    return Picture("predictions", "Surest mistakes and least sure hits", caption, figure)


def _confidence(found: Material) -> Picture:
    answers = found.need_answers()
    caption = (
        "Left: how sure the network is of its hits and of its mistakes. Right: the accuracy that "
        f"is left if only the surest answers are taken; {answers.about}. Answers of one "
        f"confidence are one point{_tied(answers.said)}."
    )
    figure = plot_confidence(answers.said)
    return Picture("confidence", "Confidence of hits and mistakes", caption, figure)


def _tied(said: Predictions) -> str:
    """What is told of many answers that are surest."""
    surest = int((said.confidence == said.confidence.max()).sum())
    if surest <= len(said) // 100:
        return ""
    return f": {surest:,} of {len(said):,} are surest, and the curve begins with all of them"


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
    return Picture("timeline", "Units on workers", caption, plot_timeline(found.timeline))


MAKERS: dict[str, Make] = {
    "history": _of_history(_history),
    "blocks": _of_history(_blocks),
    "denoising": _denoising,
    "trajectories": _trajectories,
    "embedding": _embedding_picture,
    "prototypes": _prototypes,
    "confusion": _confusion,
    "predictions": _predictions,
    "confidence": _confidence,
    "timeline": _timeline,
}
