"""The files for KubeRay are valid, restricted, and closed to everybody without the token."""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from noprop_dist.options import parse_command
from ship.files import documents, values
from ship.kuberay import check, is_restricted, templates

KINDS = {"RayCluster", "RayJob"}


@pytest.fixture(scope="module")
def found(pytestconfig: pytest.Config) -> list[dict[str, Any]]:
    paths = sorted((pytestconfig.rootpath / "cluster/kuberay").glob("*.yaml"))
    files = [path for path in paths if path.name != "kustomization.yaml"]
    return [document for path in files for document in documents(path)]


@pytest.fixture
def rays(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return copy.deepcopy([document for document in found if document["kind"] in KINDS])


def clusters(rays: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [ray["spec"].get("rayClusterSpec", ray["spec"]) for ray in rays]


def test_every_document_is_valid(found: list[dict[str, Any]]) -> None:
    assert {d["kind"] for d in found} == KINDS | {"NetworkPolicy", "PersistentVolumeClaim"}
    for document in found:
        check(document)


def test_the_kustomization_names_files_that_are_there(repo: Path) -> None:
    folder = repo / "cluster/kuberay"
    named = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert set(named) == {path.name for path in folder.glob("*.yaml")} - {
        "kustomization.yaml",
        "rayjob.yaml",  # one run, for kubectl create
    }


def test_the_schemas_see_misspelt_fields(rays: list[dict[str, Any]]) -> None:
    clusters(rays)[0]["rayVersoin"] = "1"
    templates(rays[1])[0]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(jsonschema.ValidationError):
        check(rays[0])
    with pytest.raises(kubernetes_validate.ValidationError):
        check(rays[1])


def test_token_authentication_is_on(rays: list[dict[str, Any]]) -> None:
    for cluster in clusters(rays):
        assert cluster["authOptions"] == {"mode": "token"}
        head = cluster["headGroupSpec"]
        assert head["serviceType"] == "ClusterIP"
        assert not head.get("enableIngress")
        assert head["rayStartParams"] == {"num-cpus": "0"}


def test_every_container_is_restricted(rays: list[dict[str, Any]]) -> None:
    for ray in rays:
        for template in templates(ray):
            spec = template["spec"]
            assert spec["securityContext"]["runAsUser"] == 1000  # the image's
            for container in spec["containers"]:
                assert is_restricted(spec, container["securityContext"])
    for options in values(rays, "autoscalerOptions"):
        assert is_restricted({}, options["securityContext"])


def test_no_pod_has_the_rights_of_the_autoscaler_without_need(rays: list[dict[str, Any]]) -> None:
    for ray, cluster in zip(rays, clusters(rays), strict=True):
        for template in templates(ray):
            is_head = template is cluster["headGroupSpec"]["template"]
            needs = is_head and cluster.get("enableInTreeAutoscaling", False)
            assert template["spec"].get("automountServiceAccountToken", True) is needs


def test_requests_are_limits_and_shared_memory_fits(rays: list[dict[str, Any]]) -> None:
    for resources in values(rays, "resources"):
        assert resources["requests"] == resources["limits"]
        assert {"cpu", "memory"} <= set(resources["limits"])
    for cluster in clusters(rays):
        for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
            spec = group["template"]["spec"]
            (container,) = spec["containers"]
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounts["shm"] == "/dev/shm"
            (shm,) = [v["emptyDir"] for v in spec["volumes"] if v["name"] == "shm"]
            assert shm["medium"] == "Memory"
            memory = gibibytes(container["resources"]["limits"]["memory"])
            # Ray takes 30 % of the memory for objects, and less where the volume is smaller.
            assert 0.25 * memory <= gibibytes(shm["sizeLimit"]) <= 0.4 * memory


def gibibytes(text: str) -> float:
    assert text.endswith("Gi")
    return float(text.removesuffix("Gi"))


def test_a_cluster_begins_with_a_device(rays: list[dict[str, Any]]) -> None:
    # A run refuses to start where no node has one, and asks the autoscaler for none.
    for cluster in clusters(rays):
        assert sum(group["minReplicas"] for group in cluster["workerGroupSpecs"]) > 0
        for group in cluster["workerGroupSpecs"]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_results_lie_on_the_volume(found: list[dict[str, Any]], rays: list[dict[str, Any]]) -> None:
    (claim,) = [d["metadata"]["name"] for d in found if d["kind"] == "PersistentVolumeClaim"]
    assert set(values(rays, "claimName")) == {claim}
    (job,) = [ray["spec"] for ray in rays if ray["kind"] == "RayJob"]
    python, script, *argv = job["entrypoint"].split()
    assert (python, script) == ("python", "jobs/train.py")
    parse_command(argv)
    assert argv[argv.index("--run-dir") + 1].startswith("/runs/")


def test_only_the_dashboard_is_reached_from_other_pods(found: list[dict[str, Any]]) -> None:
    (policy,) = [d["spec"] for d in found if d["kind"] == "NetworkPolicy"]
    nodes = {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    assert policy["podSelector"] == nodes
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    among, others = policy["ingress"]
    assert among == {"from": [{"podSelector": nodes}]}
    assert others["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert all(source.get("podSelector") for source in others["from"])
