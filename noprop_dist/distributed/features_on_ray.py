"""Features of pictures that the workers of a cluster make; see ``data/features.py``.

B rows of a batch, F features.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import ray
import torch

from noprop_dist.config import TrainConfig
from noprop_dist.data.features import BATCH, make_features
from noprop_dist.data.shards import Array, Split
from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.in_order import Row, fetched, made_in_order
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
        self._backbone: Backbone = fetched(backbone).to(device)

    def __call__(self, row: Row) -> Row:
        """Uint8 "pictures" (B, C, H, W) -> float32 "features" (B, F)."""
        return {"features": make_features(self._backbone, np.array(row["pictures"]))}


@contextmanager
def on_cluster(
    config: TrainConfig, splits: Sequence[Split], backbone: Backbone
) -> Iterator[tuple[str, Iterator[Array]]]:
    """The cluster as what makes features; see ``Computing``.

    Pictures on disk are read on this process's node as actors need them; those in memory are put
    into its object store.

    Raises:
        UserError: the cluster cannot be reached, lacks what the run needs, or loses the work.
    """
    with connected(config, sum(split.memory_bytes for split in splits)) as needs:
        device = "cuda" if needs.gpus else "cpu"
        yield device, _features(config, list(splits), backbone, device, needs)


def _features(
    config: TrainConfig, splits: list[Split], backbone: Backbone, device: str, needs: WorkerNeeds
) -> Iterator[Array]:
    starts = ((i, start) for i, s in enumerate(splits) for start in range(0, len(s), BATCH))
    rows = [{"split": i, "start": start} for i, start in starts]
    given, read = (ray.put(backbone), device), partial(_pictures, ray.put(splits))
    for row in made_in_order(rows, FeaturesActor, given, needs, CANNOT, config.workers, read):
        yield row["features"]


def _pictures(splits: Any, row: Row) -> Row:
    split: Split = fetched(splits)[row["split"]]
    stop = min(row["start"] + BATCH, len(split))
    return {"pictures": split.take(np.arange(row["start"], stop))[0]}
