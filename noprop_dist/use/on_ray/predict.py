"""Classifying pictures on every core of a cluster: actors that hold the network, on Ray Data."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import ray
import ray.data
import torch
from ray.exceptions import RayError

from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import connected, count_slots
from noprop_dist.errors import UserError
from noprop_dist.record.export import from_bytes, to_bytes
from noprop_dist.use.files import BadPicture
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.predict import Answer, Found, Predictor, Question, pillow_silenced


class PredictorActor:
    """Holds the network; answers batch after batch.

    Args:
        network: the bytes of an exported network, once in the object store for all actors.
        question: what to say of every picture.
        device: "cpu" or "cuda".
        precision: that the network computes in.
    """

    def __init__(self, network: Any, question: Question, device: str, precision: str) -> None:
        torch.set_num_threads(1)  # as one batch has without Ray: the threads change the bits
        data = ray.get(network) if isinstance(network, ray.ObjectRef) else network
        self._predictor = Predictor(from_bytes(bytes(data), device, precision), question)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A batch of files under "found", and what is said of them under "answers"."""
        found: list[Found] = [
            BadPicture(path, reason) if reason else path for path, reason in row["found"]
        ]
        with pillow_silenced():
            answers = self._predictor.answer(found, self._predictor.read(found))
        return {"answers": [_to_row(answer) for answer in answers]}


def _to_row(answer: Answer | BadPicture) -> tuple[str, str, list[int], list[float]]:
    if isinstance(answer, BadPicture):
        return answer.path, answer.reason, [], []
    return answer.path, "", answer.labels, answer.probabilities


def _from_row(row: Any) -> Answer | BadPicture:
    path, reason, labels, probabilities = row
    return BadPicture(path, reason) if reason else Answer(path, labels, probabilities)


def predict_on_ray(
    run: OpenRun, question: Question, batches: Iterable[list[Found]]
) -> Iterator[list[Answer | BadPicture]]:
    """Answers in the order of the files, a batch at a time; the same as without Ray.

    The files must be where the actors run. The network is loaded once per actor, from the object
    store; pictures are read by the actors and never travel.

    Args:
        run: whose network it is.
        question: what to say of every picture.
        batches: files; their names are read into memory, the files are not.

    Raises:
        UserError: the cluster cannot be reached, has no free core, or loses the work.
    """
    rows = [{"found": [_named(item) for item in batch]} for batch in batches]
    if not rows:
        return
    actor: Any = PredictorActor  # Ray's types know functions alone
    data = to_bytes(run.trained)
    config = TrainConfig(no_cuda=run.trained.device.type == "cpu", device=run.trained.device.type)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with connected(config, len(data)) as needs:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        actors = max(1, min(count_slots(needs), len(rows)))
        answered = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            actor,
            fn_constructor_args=(
                ray.put(data),
                question,
                "cuda" if needs.gpus else "cpu",
                run.trained.network.precision,
            ),
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
        )
        try:
            for row in answered.iter_rows():
                yield [_from_row(answer) for answer in row["answers"]]
        except RayError as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise UserError(
                f"the cluster could not classify the pictures ({reason}): see Ray's logs, or leave "
                "--ray out."
            ) from error


def _named(item: Found) -> tuple[str, str]:
    return (item.path, item.reason) if isinstance(item, BadPicture) else (item, "")
