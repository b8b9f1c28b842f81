"""A Ray cluster for the whole session, on this machine, with a token of its own."""

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Ray reads these when it is first imported, which is while the tests here are collected.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # nodes on loopback alone


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """A head node of two CPUs with a dashboard; drivers find it by RAY_ADDRESS."""
    from ray.cluster_utils import Cluster

    place = tempfile.mkdtemp(prefix="np")  # short, for sockets
    Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)  # Ray writes there all the same
    head = {
        "temp_dir": place,
        "num_cpus": 2,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": free_port(),
        "dashboard_agent_listen_port": free_port(),  # jobs go there; the default may be taken
        "object_store_memory": 300 * 2**20,
        "_system_config": {"metrics_report_interval_ms": 1000},
    }
    made = Cluster(initialize_head=True, head_node_args=head)
    os.environ["RAY_ADDRESS"] = made.address
    # Where Ray looks for a submitted job's cluster: with others on this machine it takes any.
    Path(place, "ray_current_cluster").write_text(made.address)
    yield made
    made.shutdown()
    shutil.rmtree(place, ignore_errors=True)
    del os.environ["RAY_ADDRESS"]


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
