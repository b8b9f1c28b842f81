"""Features that the workers of a cluster make are those that one process makes."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from noprop_dist import UserError, train
from noprop_dist.distributed.cluster import connected
from pets import class_folders
from runs import same, small, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

OF: dict[str, Any] = {
    "features": "torchvision:resnet18",
    "image_size": 32,
    "max_train_images": 200,
    "epochs": 1,
    "num_blocks": 2,
}

def test_it(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time
    def entries(name, **changes):
        monkeypatch.setenv("NOPROP_CACHE", str(tmp_path / name))
        t = time.time()
        result = train(small(tmp_path / f"run-{name}", **OF, **changes))
        print(name, time.time() - t)
        return result, {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
    a, x = entries("here")
    b, y = entries("there", executor="ray")
    for f in list_actors(detail=True): print(f)
    assert x == y
    assert same(a, b)
    c, y = entries("again", executor="ray")
    assert x == y
