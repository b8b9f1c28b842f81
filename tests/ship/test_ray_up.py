"""The files for ray up meet Ray's schema, and open nothing to the internet."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray

from ship.files import documents, values

CLOUDS = ("aws", "gcp")


@pytest.fixture(params=CLOUDS)
def cluster(request: pytest.FixtureRequest, repo: Path) -> dict[str, Any]:
    (found,) = documents(repo / f"cluster/{request.param}.yaml")
    return found


def schema() -> dict[str, Any]:
    path = Path(ray.__file__).parent / "autoscaler/ray-schema.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_files_meet_the_schema_that_ray_ships(cluster: dict[str, Any]) -> None:
    jsonschema.validate(cluster, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster | {"max_worker": 1}, schema())


def test_ray_itself_accepts_them(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_the_token_is_mounted_and_asked_for(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for kind in ("head", "worker"):
        *_, start = cluster[f"{kind}_start_ray_commands"]
        assert "RAY_AUTH_MODE=token ray start" in start
    assert any("RAY_AUTH_MODE=token" in command for command in cluster["setup_commands"])


def test_the_dashboard_listens_on_loopback(cluster: dict[str, Any]) -> None:
    *_, start = cluster["head_start_ray_commands"]
    assert "--dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in json.dumps(cluster)


def test_no_nightly_build_of_ray_is_put_in(cluster: dict[str, Any]) -> None:
    # What Ray's defaults for a cloud would do, where these commands are not given.
    setup = [cluster[name] for name in cluster if name.endswith("setup_commands")]
    commands = [command for found in setup for command in found]
    assert any("--constraint ~/noprop/constraints.txt ~/noprop" in command for command in commands)
    assert not any("wheels" in command or "ray @" in command for command in commands)


def test_workers_are_spot_and_a_cluster_begins_with_one(cluster: dict[str, Any]) -> None:
    kinds = cluster["available_node_types"]
    assert set(kinds) == {"head", "gpu"}
    assert kinds["head"]["resources"] == {"CPU": 0}
    assert 1 <= kinds["gpu"]["min_workers"] <= kinds["gpu"]["max_workers"] <= cluster["max_workers"]
    worker = kinds["gpu"]["node_config"]
    market = worker.get("InstanceMarketOptions", {}).get("MarketType")
    preemptible = any(s.get("preemptible") for s in worker.get("scheduling", []))
    assert market == "spot" or preemptible
    assert not any(values(kinds["head"], "InstanceMarketOptions"))
    assert not any(values(kinds["head"], "scheduling"))
