"""A cluster of several nodes on this machine, to be damaged."""

from typing import Any

from ray.cluster_utils import Cluster


class Machine:
    """A Ray cluster on loopback. To be made and changed from the main thread alone.

    Args:
        cpus: of all nodes together.
        apart: one of them is on a node of its own, which can leave.
    """

    def __init__(self, cpus: int, *, apart: bool) -> None:
        head = {"num_cpus": cpus - apart, "include_dashboard": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self._node = self._cluster.add_node(num_cpus=1) if apart else None
        self.address: str = self._cluster.address

    def remove_node(self) -> None:
        """The node that is apart dies."""
        self._cluster.remove_node(self._node, allow_graceful=False)

    def add_node(self) -> None:
        """Another one joins in its place."""
        self._node = self._cluster.add_node(num_cpus=1)

    def shutdown(self) -> None:
        """Nothing is left."""
        self._cluster.shutdown()
