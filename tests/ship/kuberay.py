"""A schema of KubeRay's RayCluster and RayJob, and the pods in them.

No package of a registry has KubeRay's own definitions (CRDs), and a copy of them is 2 MB of what
Kubernetes defines anyway. So this names the fields of ``ray.io/v1`` as KubeRay 1.7's published API
reference lists them, refuses every other, and hands pod templates to Kubernetes' own schema. It
does not know the operator's checks at run time.
"""

from typing import Any

import jsonschema
import kubernetes_validate

KUBERNETES = "1.34"

TEXT, FLAG, ANY = {"type": "string"}, {"type": "boolean"}, {"type": "object"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
LIST = {"type": "array", "items": ANY}


def one_of(*names: str) -> dict[str, Any]:
    """One of these strings."""
    return {"enum": list(names)}


def fields(required: str, **known: Any) -> dict[str, Any]:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": known,
        "required": required.split(),
        "additionalProperties": False,
    }


AUTOSCALER = fields(
    "",
    resources=ANY,
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    securityContext=ANY,
    idleTimeoutSeconds=COUNT,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    version=one_of("v1", "v2"),
    env=LIST,
    envFrom=LIST,
    volumeMounts=LIST,
)
HEAD = fields(
    "template",
    template=ANY,
    headService=ANY,
    enableIngress=FLAG,
    resources=TEXTS,
    labels=TEXTS,
    rayStartParams=TEXTS,
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer"),
)
WORKERS = fields(
    "groupName template minReplicas maxReplicas",
    suspend=FLAG,
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    resources=TEXTS,
    labels=TEXTS,
    rayStartParams=TEXTS,
    template=ANY,
    scaleStrategy=ANY,
    numOfHosts=COUNT,
)
CLUSTER = fields(
    "headGroupSpec",
    upgradeStrategy=fields("", type=one_of("Recreate", "None")),
    authOptions=fields(
        "", mode=one_of("disabled", "token"), secretName=TEXT, enableK8sTokenAuth=FLAG
    ),
    suspend=FLAG,
    managedBy=TEXT,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=ANY,
    headGroupSpec=HEAD,
    rayVersion=TEXT,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
JOB = fields(
    "",
    activeDeadlineSeconds=COUNT,
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=ANY,
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=fields("", backoffLimit=COUNT),
    managedBy=TEXT,
    deletionStrategy=ANY,
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    ttlSecondsAfterFinished=COUNT,
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)
SPECS = {"RayCluster": CLUSTER, "RayJob": JOB}


def check(document: dict[str, Any]) -> None:
    """Raise where Kubernetes or KubeRay would refuse the document."""
    if document["kind"] not in SPECS:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    whole = fields(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": document["kind"]},
        metadata=ANY,
        spec=SPECS[document["kind"]],
    )
    jsonschema.validate(document, whole)
    for template in templates(document):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates of a RayCluster or a RayJob."""
    spec = document["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    found = [group["template"] for group in groups]
    submitter = spec.get("submitterPodTemplate")
    return [*found, submitter] if submitter else found


def is_restricted(spec: dict[str, Any], context: dict[str, Any]) -> bool:
    """Whether a container meets Kubernetes' "restricted" standard, by what its context says."""
    hosts = (spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    paths = [volume for volume in spec.get("volumes", []) if "hostPath" in volume]
    return (
        context.get("allowPrivilegeEscalation") is False
        and context.get("capabilities") == {"drop": ["ALL"]}
        and context.get("runAsNonRoot") is True
        and context.get("seccompProfile") == {"type": "RuntimeDefault"}
        and not context.get("privileged")
        and not any(hosts)
        and not paths
    )
