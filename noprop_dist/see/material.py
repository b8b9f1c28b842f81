"""All of a run that pictures are made of, as far as it is there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from noprop_dist.data import Split, normalise
from noprop_dist.data.features import seen
from noprop_dist.draw.trajectories import PER_CLASS, Walks, shown_classes
from noprop_dist.engine.evaluate import count_right, traces_of
from noprop_dist.errors import UserError
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.answering import Z_T
from noprop_dist.record.first_embedding import read_first_embedding
from noprop_dist.record.folder import names_in_run
from noprop_dist.record.history import History, read_history
from noprop_dist.record.predictions import Predictions, read_predictions
from noprop_dist.record.result import TrainResult, read_result
from noprop_dist.record.store import Store
from noprop_dist.record.timeline import Timeline, read_timeline
from noprop_dist.record.trained import TrainedNetwork
from noprop_dist.use.opening import OpenRun, open_run
from noprop_dist.use.rows import rows_for

MOST_PREDICTED = 1000  # test images where a run has not left what it said of all of them
T = TypeVar("T")


class LeftOutError(Exception):
    """A picture that cannot be drawn; the message says why."""


@dataclass(frozen=True)
class Answers:
    """What the network says of the test split, or of a part of it; T blocks.

    Attributes:
        said: row by row.
        total: rows of the split.
        after_t: (T,) accuracy of the readout of z_t; empty where the run has left the answers.
        block: (T,) accuracy of each block's own softmax, or empty alike.
    """

    said: Predictions
    total: int
    after_t: Sequence[float] = ()
    block: Sequence[float] = ()

    @property
    def about(self) -> str:
        """Which images it is about, in words."""
        if not self.after_t:
            return f"all {len(self.said):,} test images"
        return f"{len(self.said):,} of {self.total:,} test images, predicted for this picture"


@dataclass
class Material:
    """A run as far as it is there; what is not is told in ``lacks``.

    Attributes:
        history: numbers by epoch, empty before the first has ended.
        timeline: which worker trained which block when.
        result: of a finished run.
        run: its network, or that of its newest checkpoint.
        first_embed: (K, D) class embeddings before training, where they were kept.
        test: the test split.
        answers: what the network says of it.
        lacks: by attribute, why it is not there.
        notes: what the user should know, a sentence each.
    """

    history: History
    timeline: Timeline = field(default_factory=Timeline)
    result: TrainResult | None = None
    run: OpenRun | None = None
    first_embed: Tensor | None = None
    test: Split | None = None
    answers: Answers | None = None
    lacks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def network(self) -> TrainedNetwork:
        """The network.

        Raises:
            LeftOutError: there is none.
        """
        return self._there("run", self.run).trained

    @property
    def images(self) -> Split:
        """The test split; ``LeftOutError`` where it is not there."""
        return self._there("test", self.test)

    @property
    def said(self) -> Answers:
        """The answers; ``LeftOutError`` where there are none, and none can be predicted."""
        return self._there("answers", self.answers)

    def _there(self, name: str, value: T | None) -> T:
        if value is None:
            raise LeftOutError(self.lacks.get(name, "there is but a history"))
        return value


def gather(
    folder: str,
    test: Split | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    block: str | None = None,
) -> Material:
    """What there is of a run.

    Args:
        folder: of the run, or its URI.
        test: the run's test split, where it is in memory.
        dataset: where the run's data set is now; None: where the run found it.
        data_dir: where named data sets are; None: where the run found them.
        block: of a run whose block is the user's own, its class; see ``load_network``.

    Raises:
        UserError: ``folder`` is not a run's, or its history or result is damaged, or ``dataset`` is
            not of the run's kind, or ``block`` not its block.
    """
    store = Store(folder)
    names_in_run(store)
    history = read_history(store) or History()
    found = Material(history, read_timeline(store), read_result(store))
    try:
        found.run = open_run(folder, "cpu", block=block)
    except UserError as error:
        if block is not None:
            raise
        found.lacks["run"] = str(error)
    else:
        found.notes += found.run.notes
    found.first_embed = read_first_embedding(store)
    _find_test(found, test, dataset, data_dir)
    _find_answers(found, store)
    return found


def _find_test(
    found: Material, test: Split | None, dataset: str | None, data_dir: str | None
) -> None:
    """The test split, from where it is now."""
    run = found.run
    if run is None or (test is None and dataset is None and run.config is None):
        found.lacks["test"] = found.lacks.get("run", "the run does not say what its data set is")
        return
    found.test = test
    if test is None:
        try:
            rows = rows_for(run, dataset=dataset, data_dir=data_dir)
        except UserError as error:
            if dataset is not None or data_dir is not None:
                raise
            found.lacks["test"] = str(error)
        else:
            found.test = rows.split
            found.notes += rows.notes


def _find_answers(found: Material, store: Store) -> None:
    """What the run has left, else what its network says of some test images."""
    try:
        said = read_predictions(store)
    except UserError as error:
        found.notes.append(str(error))
        said = None
    if said is not None and found.result is not None and len(said):
        labels = found.test.labels if found.test else None
        if labels is not None and not np.array_equal(labels, said.label):
            found.test = None
            found.lacks["test"] = (
                "the test split that is there now is not the one that the run was tested on"
            )
        found.answers = Answers(said, len(said))
        return
    if found.test is None or found.run is None:
        found.lacks["answers"] = found.lacks["test"]
        return
    found.answers = predict_some(found.run, found.test)
    about = f"{len(found.answers.said):,} of {len(found.test):,}"
    found.notes.append(
        f"{store.root} keeps no answers to its test images: {about} were predicted for the pictures"
    )


def predict_some(run: OpenRun, test: Split) -> Answers:
    """What a network says of at most MOST_PREDICTED test rows, spread over all of them."""
    count = min(MOST_PREDICTED, len(test))
    rows = np.linspace(0, len(test) - 1, count).round().astype(np.int64)
    trained, some = run.trained, seen(run.trained.backbone, test.select(rows))
    parts = []
    after, block = np.zeros((2, trained.network.spec.num_blocks))
    for y, traces in traces_of(
        trained.network, some, trained.normalisation, (0, count), run.seed, [0], trained.device
    ):
        _, right_after, right_block = count_right(y, traces)
        after += right_after[0]
        block += right_block[0]
        surest = trained.answering.probabilities(traces[0], Z_T).max(dim=1)
        parts.append((surest.indices.cpu().numpy(), surest.values.float().cpu().numpy()))
    answer, confidence = (np.concatenate(column) for column in zip(*parts, strict=True))
    said = Predictions(rows, some.labels, answer, confidence)
    return Answers(said, len(test), (after / count).tolist(), (block / count).tolist())


def walk(trained: TrainedNetwork, test: Split, seed: int) -> Walks:
    """Run the network over the first samples of every class that is shown.

    Args:
        trained: the network.
        test: where samples come from.
        seed: of the noise.
    """
    labels = test.labels
    classes = np.intersect1d(shown_classes(len(trained.class_names)), labels)
    if not len(classes):
        raise LeftOutError("the test split has no image of the classes that it shows")
    rows = np.concatenate([np.flatnonzero(labels == k)[:PER_CLASS] for k in classes])
    x, y = seen(trained.backbone, test.select(rows)).take(np.arange(len(rows)))
    draw = torch_generator(seed, "trajectories", device=trained.device)
    batch = normalise(torch.from_numpy(x).to(trained.device), trained.normalisation)
    (trace,) = trained.network.trace(batch, [draw], keep_z=True)
    return Walks(trace.z.double().cpu().numpy(), y, trace.z_T_logits.argmax(dim=1).cpu().numpy())
