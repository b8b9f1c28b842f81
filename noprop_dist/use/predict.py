"""Classifying pictures as they come: decoding and computing side by side, a bounded number ahead.

K classes, k of them told.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from noprop_dist.data.images import MAX_THREADS, pillow_silenced
from noprop_dist.data.pictures import BadPicture, Limits, read_picture
from noprop_dist.data.shards import Array
from noprop_dist.data.vectors import VectorRow
from noprop_dist.errors import UserError
from noprop_dist.host import count_cores
from noprop_dist.record.trained import TrainedNetwork
from noprop_dist.text import describe_samples

PIECE = 16  # files that a thread decodes before it looks for others

Found = str | BadPicture | VectorRow


@dataclass(frozen=True)
class Answer:
    """What the network says of one picture or vector.

    Attributes:
        path: the file.
        labels: the k likeliest classes, likeliest first.
        probabilities: of each.
        row: of a vector, its row of the file.
    """

    path: str
    labels: list[int]
    probabilities: list[float]
    row: int | None = None

    @classmethod
    def to(cls, found: Found, labels: list[int], probabilities: list[float]) -> "Answer":
        """The answer to what was found."""
        if isinstance(found, VectorRow):
            return cls(found.path, labels, probabilities, found.row)
        return cls(str(found), labels, probabilities)


@dataclass(frozen=True)
class Question:
    """What is asked of every picture.

    Attributes:
        readout: which answer of the network counts; "auto": what it answers by.
        top_k: how many classes to tell; at most K are.
        draws: noise draws to average over.
        seed: of the noise.
        limits: of a file.
        vectors: whether it is asked of vectors, not pictures.
    """

    readout: str
    top_k: int
    draws: int
    seed: int
    limits: Limits
    vectors: bool = False


class Predictor:
    """A network that answers a question, batch by batch.

    Args:
        trained: the network.
        question: what to say.

    Raises:
        UserError: the network takes vectors, and pictures are asked about, or the other way round;
            or it has no such readout.
    """

    def __init__(self, trained: TrainedNetwork, question: Question) -> None:
        if question.vectors:  # features, where pictures would become some
            trained = replace(trained, backbone=None)
        self.shape = trained.network.spec.sample_shape if question.vectors else trained.sample_shape
        if question.vectors != (len(self.shape) == 1):
            raise UserError(
                f"this network takes pictures of {describe_samples(self.shape)}, not vectors: give "
                "pictures, or folders of them."
                if question.vectors
                else f"this network takes vectors of {self.shape[0]} numbers, not pictures: give "
                "Parquet files of them."
            )
        self.question = question
        # Made once, before threads share it.
        self.readout = trained.answering.named(question.readout)
        self.answers_by = trained.answering.words(self.readout)
        self._network = trained.portable(question.draws)

    def read(self, found: Sequence[Found]) -> list[Array | BadPicture]:
        """The pixels of some files, uint8 (C, H, W) each, or vectors, float32 (F,)."""
        return [self._read(item) for item in found]

    def _read(self, item: Found) -> Array | BadPicture:
        if isinstance(item, str):
            return read_picture(item, self.shape, self.question.limits)
        return item.values if isinstance(item, VectorRow) else item

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
                out.append(Answer.to(item, labels.tolist(), probabilities.tolist()))
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
