"""Classifying pictures on every core of a cluster: actors that hold the network, on Ray Data."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import ray
import torch

from noprop_dist.config import TrainConfig
from noprop_dist.data.images import pillow_silenced
from noprop_dist.data.pictures import BadPicture
from noprop_dist.data.vectors import VectorRow
from noprop_dist.distributed.cluster import connected
from noprop_dist.distributed.in_order import fetched, made_in_order
from noprop_dist.model.own_block import BlockCode
from noprop_dist.record.network_files import from_bytes, to_bytes
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.predict import Answer, Found, Predictor, Question

CANNOT = "the cluster could not classify the pictures ({}): see Ray's logs, or leave --ray out."


class PredictorActor:
    """Holds the network; answers batch after batch.

    Args:
        network: the bytes of an exported network, once in the object store for all actors.
        question: what to say of every picture.
        device: "cpu" or "cuda".
        precision: that the network computes in.
        code: of the network's block, where that is the user's own.
    """

    def __init__(
        self,
        network: Any,
        question: Question,
        device: str,
        precision: str,
        code: BlockCode | None = None,
    ) -> None:
        torch.set_num_threads(1)  # as one batch has without Ray: the threads change the bits
        trained = from_bytes(bytes(fetched(network)), device, precision, code=code)
        self._predictor = Predictor(trained, question)

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """A batch of files as JSON under "found", and what is said of each under "said"."""
        found = _read(row["found"])
        with pillow_silenced():
            answers = self._predictor.answer(found, self._predictor.read(found))
        said = [
            a.reason if isinstance(a, BadPicture) else [a.labels, a.probabilities] for a in answers
        ]
        return {"said": json.dumps(said)}


# As JSON, whatever bytes a file's name holds, and with the very same numbers; Ray Data's tables
# would look for a type that suits every row.
def _write(found: list[Found]) -> str:
    def plain(item: Found) -> str | list[Any]:
        if isinstance(item, VectorRow):
            return [item.path, item.row, b64encode(item.values.tobytes()).decode()]
        return [item.path, item.reason] if isinstance(item, BadPicture) else item

    return json.dumps([plain(item) for item in found])


def _read(text: str) -> list[Found]:
    def item(path: str, *more: Any) -> Found:
        if len(more) == 1:
            return BadPicture(path, *more)
        return VectorRow(path, more[0], np.frombuffer(b64decode(more[1]), np.float32))

    return [f if isinstance(f, str) else item(*f) for f in json.loads(text)]


def _answers(found: list[Found], text: str) -> list[Answer | BadPicture]:
    return [
        BadPicture(item if isinstance(item, str) else item.path, said)
        if isinstance(said, str)
        else Answer.to(item, *said)
        for item, said in zip(found, json.loads(text), strict=True)
    ]


def predict_on_ray(
    run: OpenRun, question: Question, batches: Iterable[list[Found]]
) -> Iterator[list[Answer | BadPicture]]:
    """Answers in the order of the files, a batch at a time; the same as without Ray.

    Pictures must be where the actors run, which read them: they never travel. Vectors do. The
    network is loaded once per actor, from the object store.

    Args:
        run: whose network it is.
        question: what to say of every picture.
        batches: files; their names are read into memory, the files are not, but for vectors.

    Raises:
        UserError: the cluster cannot be reached, has no free core, or loses the work.
    """
    rows = [{"found": _write(batch)} for batch in batches]
    if not rows:
        return
    data = to_bytes(run.trained)
    config = TrainConfig(device=run.trained.device.type)
    with connected(config, len(data)) as needs:
        device, precision = "cuda" if needs.gpus else "cpu", run.trained.network.precision
        code = run.trained.network.spec.block_code
        given = (ray.put(data), question, device, precision, code)
        said = made_in_order(rows, PredictorActor, given, needs, CANNOT)
        for asked, row in zip(rows, said, strict=True):
            yield _answers(_read(asked["found"]), row["said"])
