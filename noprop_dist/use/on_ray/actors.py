"""Classifying pictures on every core of a cluster: actors that hold the network, on Ray Data."""

import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import ray
import ray.data
import torch
from ray.exceptions import RayActorError, RayError
from ray.util.annotations import RayDeprecationWarning

from noprop_dist.config import TrainConfig
from noprop_dist.data.images import pillow_silenced
from noprop_dist.data.pictures import BadPicture
from noprop_dist.data.vectors import VectorRow
from noprop_dist.distributed.cluster import WorkerNeeds, connected, count_slots
from noprop_dist.errors import UserError
from noprop_dist.model.own_block import BlockCode
from noprop_dist.record.network_files import from_bytes, to_bytes
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.predict import Answer, Found, Predictor, Question

TRIES = 3  # of a batch at which an actor dies


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
        data = ray.get(network) if isinstance(network, ray.ObjectRef) else network
        self._predictor = Predictor(from_bytes(bytes(data), device, precision, code=code), question)

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
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised, too
    with connected(config, len(data)) as needs:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        device, precision = "cuda" if needs.gpus else "cpu", run.trained.network.precision
        code = run.trained.network.spec.block_code
        made = (ray.put(data), question, device, precision, code)
        done = tries = 0
        while done < len(rows):
            left = rows[done:]
            try:
                for row in _asked(left, made, needs):
                    yield _answers(_read(rows[done]["found"]), row["said"])
                    done += 1
                    tries = 0
            except RayError as error:
                tries += 1
                if isinstance(error, RayActorError) and tries < TRIES:
                    continue
                reason = str(error).strip().rpartition("\n")[2]
                raise UserError(
                    f"the cluster could not classify the pictures ({reason}): see Ray's logs, or "
                    "leave --ray out."
                ) from error


def _asked(rows: list[dict[str, str]], made: tuple[Any, ...], needs: WorkerNeeds) -> Iterator[Any]:
    """What actors say of the rows, in order.

    Raises:
        RayActorError: an actor has died; Ray Data would start it again, but not without saying
            each time, on standard error, that this may fail.
    """
    actor: Any = PredictorActor  # Ray's types know functions alone
    actors = max(1, min(count_slots(needs), len(rows)))
    with catch_warnings():
        simplefilter("ignore", RayDeprecationWarning)  # there is no other way to give max_restarts
        answered = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            actor,
            fn_constructor_args=made,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            max_restarts=0,
        )
    yield from answered.iter_rows()
