"""A cluster of several nodes on this machine, to be damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from noprop_dist.distributed.start import own_folder, starting


class Machine:
    """A Ray cluster on loopback; see ``machine``.

    Attributes:
        address: for ``RAY_ADDRESS``.
    """

    def __init__(self, cluster: Any, *, apart: bool) -> None:
        self._cluster = cluster
        self.address: str = cluster.address
        if apart:
            self.add_node()

    def remove_node(self) -> None:
        """The node that is apart dies."""
        self._cluster.remove_node(self._node, allow_graceful=False)

    def add_node(self) -> None:
        """Another one joins in its place."""
        with starting():
            self._node = self._cluster.add_node(num_cpus=1)


@contextmanager
def machine(cpus: int, *, apart: bool) -> Iterator[Machine]:
    """A cluster as long as this lasts. To be made and changed from the main thread alone.

    Args:
        cpus: of all nodes together.
        apart: one of them is on a node of its own, which can leave.

    Raises:
        UserError: Ray cannot be started.
    """
    # After the room that sets what Ray reads when it is imported.
    from ray.cluster_utils import Cluster

    head = {"num_cpus": cpus - apart, "include_dashboard": False}
    with own_folder():
        cluster: Any = Cluster()
        try:
            with starting():
                cluster.add_node(**head)
            yield Machine(cluster, apart=apart)
        finally:
            cluster.shutdown()
