"""Classifying pictures as they come: decoding and computing side by side, a bounded number ahead.

K classes, k of them told.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from noprop_dist.data.images import MAX_THREADS, pillow_silenced
from noprop_dist.data.pictures import BadPicture, Limits, read_picture
from noprop_dist.data.shards import Array
from noprop_dist.errors import UserError
from noprop_dist.host import count_cores
from noprop_dist.record.trained import TrainedNetwork

PIECE = 16  # files that a thread decodes before it looks for others

Found = str | BadPicture


@dataclass(frozen=True)
class Answer:
    """What the network says of one picture.

    Attributes:
        path: the file.
        labels: the k likeliest classes, likeliest first.
        probabilities: of each.
    """

    path: str
    labels: list[int]
    probabilities: list[float]


@dataclass(frozen=True)
class Question:
    """What is asked of every picture.

    Attributes:
        readout: which answer of the network counts; "auto": what it answers by.
        top_k: how many classes to tell; at most K are.
        draws: noise draws to average over.
        seed: of the noise.
        limits: of a file.
    """

    readout: str
    top_k: int
    draws: int
    seed: int
    limits: Limits


class Predictor:
    """A network that answers a question, batch by batch.

    Args:
        trained: the network.
        question: what to say.

    Raises:
        UserError: the network takes vectors, not images, or has no such readout.
    """

    def __init__(self, trained: TrainedNetwork, question: Question) -> None:
        self.shape = trained.sample_shape
        if len(self.shape) != 3:
            raise UserError(
                f"this network takes vectors of {self.shape[0]} numbers, not pictures: use "
                "load_network from Python, or noprop evaluate with a Parquet data set."
            )
        self.question = question
        # Made once, before threads share it.
        self.readout = trained.answering.named(question.readout)
        self.answers_by = trained.answering.words(self.readout)
        self._network = trained.portable(question.draws)

    def read(self, found: Sequence[Found]) -> list[Array | BadPicture]:
        """The pixels of some files, uint8 (C, H, W) each."""
        return [
            item
            if isinstance(item, BadPicture)
            else read_picture(item, self.shape, self.question.limits)
            for item in found
        ]

    def answer(
        self, found: Sequence[Found], pictures: Sequence[Array | BadPicture]
    ) -> list[Answer | BadPicture]:
        """What the network says of files and their pixels, in their order."""
        good = [picture for picture in pictures if not isinstance(picture, BadPicture)]
        said = iter(self._classify(np.stack(good)) if good else ())
        out: list[Answer | BadPicture] = []
        for item, picture in zip(found, pictures, strict=True):
            if isinstance(picture, BadPicture):
                out.append(picture)
            else:
                labels, probabilities = next(said)
                out.append(Answer(str(item), labels.tolist(), probabilities.tolist()))
        return out

    def _classify(self, images: Array) -> Iterator[tuple[Array, Array]]:
        asked = self.question
        (p,) = self._network.classify(images, asked.seed, self.readout)
        labels = np.argsort(-p, axis=1, kind="stable")[:, : asked.top_k]
        return zip(labels, np.take_along_axis(p, labels, axis=1), strict=True)


def predict(
    predictor: Predictor, found: Iterable[Found], batch: int, *, device: str = "cpu"
) -> Iterator[list[Answer | BadPicture]]:
    """Answers in the order of the files, a batch at a time.

    Every batch is computed by one thread, and on a CPU as many at once as there are cores, so that
    neither their number nor how long decoding takes changes an answer.

    Args:
        predictor: the network and the question.
        found: files, read lazily.
        batch: how many make a batch.
        device: the type of device that the network is on.
    """
    cores = count_cores()
    slots = cores if device == "cpu" else 1
    waiting: deque[Future[list[Answer | BadPicture]]] = deque()
    with (
        pillow_silenced(),
        ThreadPoolExecutor(min(cores, MAX_THREADS), "decode") as decoding,
        ThreadPoolExecutor(slots, "compute", torch.set_num_threads, (1,)) as computing,
    ):

        def compute(
            items: list[Found], pieces: list[Future[list[Array | BadPicture]]]
        ) -> list[Answer | BadPicture]:
            return predictor.answer(items, [p for piece in pieces for p in piece.result()])

        try:
            for items in batches_of(found, batch):
                pieces = [
                    decoding.submit(predictor.read, items[i : i + PIECE])
                    for i in range(0, len(items), PIECE)
                ]
                waiting.append(computing.submit(compute, items, pieces))
                if len(waiting) > slots + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            decoding.shutdown(wait=False, cancel_futures=True)
            computing.shutdown(wait=False, cancel_futures=True)


def batches_of(found: Iterable[Found], batch: int) -> Iterator[list[Found]]:
    """Lists of ``batch`` files, the last one shorter."""
    files = iter(found)
    while items := list(islice(files, batch)):
        yield items
