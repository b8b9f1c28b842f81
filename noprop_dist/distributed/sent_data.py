"""The data of a run as it is sent to nodes: images on the driver's disk go there once a node."""

from dataclasses import dataclass, replace
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from noprop_dist.engine.splits import Splits

READ_S = 120.0  # for some MiB of a disk that others read, too


@dataclass(frozen=True)
class FromNode:
    """Reads files of a node on any other; see ``stored.Fetch``.

    Attributes:
        node: its id.
    """

    node: str

    def __call__(self, path: str, start: int, count: int) -> bytes:
        """So many bytes of a file there, fewer at its end."""
        there = NodeAffinitySchedulingStrategy(self.node, soft=False)
        call = _read.options(num_cpus=0, scheduling_strategy=there).remote(path, start, count)
        data: bytes = ray.get(call, timeout=READ_S)
        return data


@ray.remote
def _read(path: str, start: int, count: int) -> bytes:
    with Path(path).open("rb") as file:
        file.seek(start)
        return file.read(count)


def for_nodes(splits: Splits) -> Splits:
    """The data as workers of any node can use it; Ray must be connected."""
    stored = splits.train.stored
    if stored is None:
        return splits
    stored = replace(stored, fetch=FromNode(ray.get_runtime_context().get_node_id()))
    train, val, test = (s.stored_as(stored) for s in (splits.train, splits.val, splits.test))
    sent = replace(splits, train=train, val=val, test=test, pictures=None)
    vars(sent)["hashes"] = splits.hashes  # no worker reads all images for them again
    return sent
