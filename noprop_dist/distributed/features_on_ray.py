"""Features of pictures that the workers of a cluster make; see ``data/features.py``.

B rows of a batch, F features.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
import torch

from noprop_dist.config import TrainConfig
from noprop_dist.data.features import BATCH, make_features
from noprop_dist.data.shards import Array, Split
from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.in_order import Row, made_in_order, there
from noprop_dist.model.backbone import Backbone
from noprop_dist.model.device import use_number_format

CANNOT = (
    "the cluster could not compute the features ({}): see Ray's logs, or give --executor local to "
    "compute them in this process."
)


class FeaturesActor:
    """Holds the backbone; makes features of batch after batch.

    Args:
        backbone: once in the object store for all actors.
        device: "cpu" or "cuda".
    """

    def __init__(self, backbone: Any, device: str) -> None:
        torch.set_num_threads(1)  # as without Ray: their number changes the last bits
        use_number_format("fp32", torch.device(device))
        self._backbone: Backbone = there(backbone).to(device)

    def __call__(self, row: Row) -> Row:
        """Uint8 "pictures" (B, C, H, W) -> float32 "features" (B, F)."""
        return {"features": make_features(self._backbone, np.array(row["pictures"]))}


def _pictures(row: Row, splits: Any) -> Row:
    split: Split = there(splits)[row["split"]]
    stop = min(row["start"] + BATCH, len(split))
    return {"pictures": split.take(np.arange(row["start"], stop))[0]}


@contextmanager
def on_cluster(
    config: TrainConfig, splits: Sequence[Split], backbone: Backbone
) -> Iterator[tuple[str, Iterator[Array]]]:
    """The cluster as what makes features; see ``Computing``.

    Pictures on disk are read as actors need them, on this process's node; those in memory are put
    into its object store.

    Raises:
        UserError: the cluster cannot be reached, lacks what the run needs, or loses the work.
    """
    with connected(config, sum(split.memory_bytes for split in splits)) as needs:
        device = "cuda" if needs.gpus else "cpu"
        yield device, _features(config, splits, backbone, device, needs)


def _features(
    config: TrainConfig,
    splits: Sequence[Split],
    backbone: Backbone,
    device: str,
    needs: WorkerNeeds,
) -> Iterator[Array]:
    rows = [
        {"split": i, "start": start}
        for i, split in enumerate(splits)
        for start in range(0, len(split), BATCH)
    ]
    given, pictures = (ray.put(backbone), device), ray.put(list(splits))
    for row in made_in_order(
        rows, FeaturesActor, given, needs, CANNOT, config.workers, _pictures, pictures
    ):
        yield row["features"]
