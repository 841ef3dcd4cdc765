"""The fields and types of the Kubernetes kinds a platform is made of, as a small table.

`kubernetes_schema.json` is generated from the published OpenAPI definitions that kubernetes-validate carries:
`python -m natsproof.contract.schema_table`. The library itself takes longer to import than all rules may
take to run, and knows no lines; tests hold the two against each other.

Types: s text, i integer (`i1..65535` bounded), n number, b boolean, x integer or text, q quantity,
o anything, `[T` list of T, `{T` map to T, `#Name` a definition. Enumerations: `=a|b|c`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

KUBERNETES = "1.34.0"
TABLE = Path(__file__).with_name("kubernetes_schema.json")

KINDS = {
    "v1": (
        "ConfigMap Endpoints LimitRange Namespace PersistentVolume PersistentVolumeClaim Pod ResourceQuota "
        "Secret Service ServiceAccount"
    ),
    "apps/v1": "DaemonSet Deployment ReplicaSet StatefulSet",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "batch/v1": "CronJob Job",
    "networking.k8s.io/v1": "Ingress NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "scheduling.k8s.io/v1": "PriorityClass",
    "storage.k8s.io/v1": "StorageClass",
}

#: What the API server checks beyond the published types: fixed words …
WORDS = {
    "apps.StatefulSetSpec.podManagementPolicy": "OrderedReady|Parallel",
    "apps.StatefulSetUpdateStrategy.type": "OnDelete|RollingUpdate",
    "apps.StatefulSetPersistentVolumeClaimRetentionPolicy.whenDeleted": "Delete|Retain",
    "apps.StatefulSetPersistentVolumeClaimRetentionPolicy.whenScaled": "Delete|Retain",
    "core.Container.imagePullPolicy": "Always|IfNotPresent|Never",
    "core.Container.terminationMessagePolicy": "FallbackToLogsOnError|File",
    "core.ContainerPort.protocol": "SCTP|TCP|UDP",
    "core.HTTPGetAction.scheme": "HTTP|HTTPS",
    "core.PodSpec.dnsPolicy": "ClusterFirst|ClusterFirstWithHostNet|Default|None",
    "core.PodSpec.preemptionPolicy": "Never|PreemptLowerPriority",
    "core.PodSpec.restartPolicy": "Always|Never|OnFailure",
    "core.ServicePort.protocol": "SCTP|TCP|UDP",
    "core.ServiceSpec.externalTrafficPolicy": "Cluster|Local",
    "core.ServiceSpec.internalTrafficPolicy": "Cluster|Local",
    "core.ServiceSpec.sessionAffinity": "ClientIP|None",
    "core.ServiceSpec.type": "ClusterIP|ExternalName|LoadBalancer|NodePort",
    "core.Toleration.effect": "NoExecute|NoSchedule|PreferNoSchedule",
    "core.Toleration.operator": "Equal|Exists|Gt|Lt",
    "core.TopologySpreadConstraint.whenUnsatisfiable": "DoNotSchedule|ScheduleAnyway",
    "meta.LabelSelectorRequirement.operator": "DoesNotExist|Exists|In|NotIn",
    "networking.NetworkPolicyPort.protocol": "SCTP|TCP|UDP",
    "policy.PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy": "AlwaysAllow|IfHealthyBudget",
    "storage.StorageClass.reclaimPolicy": "Delete|Retain",
    "storage.StorageClass.volumeBindingMode": "Immediate|WaitForFirstConsumer",
}
MODES = "ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod"
WORD_LISTS = {
    "core.PersistentVolumeClaimSpec.accessModes": MODES,
    "core.PersistentVolumeSpec.accessModes": MODES,
    "networking.NetworkPolicySpec.policyTypes": "Egress|Ingress",
}
#: … and least and greatest numbers.
RANGES = {
    "apps.StatefulSetSpec.replicas": (0, None),
    "apps.StatefulSetSpec.minReadySeconds": (0, None),
    "apps.RollingUpdateStatefulSetStrategy.partition": (0, None),
    "batch.JobSpec.backoffLimit": (0, None),
    "batch.JobSpec.activeDeadlineSeconds": (1, None),
    "batch.JobSpec.completions": (0, None),
    "batch.JobSpec.parallelism": (0, None),
    "batch.JobSpec.ttlSecondsAfterFinished": (0, None),
    "core.ContainerPort.containerPort": (1, 65535),
    "core.PodSpec.terminationGracePeriodSeconds": (0, None),
    "core.Probe.failureThreshold": (1, None),
    "core.Probe.initialDelaySeconds": (0, None),
    "core.Probe.periodSeconds": (1, None),
    "core.Probe.successThreshold": (1, None),
    "core.Probe.timeoutSeconds": (1, None),
    "core.ServicePort.port": (1, 65535),
    "core.SleepAction.seconds": (0, None),
    "core.TopologySpreadConstraint.maxSkew": (1, None),
}


@cache
def table() -> dict[str, Any]:
    """`{"kinds": {"apps/v1/StatefulSet": name}, "types": {name: {"f": {field: type}, "r": [required]}}}`"""
    loaded: dict[str, Any] = json.loads(TABLE.read_text())
    return loaded


def build() -> dict[str, Any]:
    """Make the table from kubernetes-validate's definitions. Raises KeyError for an unknown kind."""
    import kubernetes_validate

    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    source = json.loads((folder / f"v{KUBERNETES}-local-strict" / "_definitions.json").read_text())
    definitions = source["$defs"]
    kinds: dict[str, str] = {}
    types: dict[str, Any] = {}
    for version, names in KINDS.items():
        for name in names.split():
            ref = _definition_of(definitions, version, name)
            kinds[f"{version}/{name}"] = _short(ref)
            _collect(ref, definitions, types)
    for path, words in (WORDS | WORD_LISTS).items():
        owner, _, field = path.rpartition(".")
        types[owner]["f"][field] = ("[=" if path in WORD_LISTS else "=") + words
    for path, (least, most) in RANGES.items():
        owner, _, field = path.rpartition(".")
        types[owner]["f"][field] = f"i{least}..{'' if most is None else most}"
    return {"kubernetes": KUBERNETES, "kinds": kinds, "types": dict(sorted(types.items()))}


def _definition_of(definitions: dict[str, Any], version: str, kind: str) -> str:
    group, _, number = version.rpartition("/")
    for name, definition in definitions.items():
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            if (gvk["group"], gvk["version"], gvk["kind"]) == (group, number, kind):
                return str(name)
    raise KeyError(f"{version} {kind}")


def _short(ref: str) -> str:
    parts = ref.split(".")
    return f"{parts[-3]}.{parts[-1]}" if parts[-2] in ("v1", "v2") else parts[-1]


def _collect(ref: str, definitions: dict[str, Any], types: dict[str, Any]) -> None:
    name = _short(ref)
    if name in types:
        return
    definition = definitions[ref]
    entry: dict[str, Any] = {"f": {}}
    types[name] = entry
    required = [field for field in definition.get("required", ()) if field not in ("apiVersion", "kind")]
    if required:
        entry["r"] = required
    for field, schema in definition.get("properties", {}).items():
        if field != "managedFields":
            entry["f"][field] = "o" if field == "status" else _type(schema, definitions, types)


def _type(schema: dict[str, Any], definitions: dict[str, Any], types: dict[str, Any]) -> str:
    if "$ref" in schema:
        ref = schema["$ref"].rpartition("/")[2]
        target = definitions[ref]
        if ref.endswith("resource.Quantity"):
            return "q"
        if ref.endswith("IntOrString"):
            return "x"
        if "properties" in target:
            _collect(ref, definitions, types)
            return f"#{_short(ref)}"
        return _type(target, definitions, types)
    if schema.get("enum"):
        return "=" + "|".join(str(value) for value in schema["enum"] if value is not None)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next(name for name in kind if name != "null")
    if schema.get("format") == "int-or-string":
        return "x"
    if kind == "array":
        return "[" + _type(schema["items"], definitions, types)
    if kind == "object":
        inner = schema.get("additionalProperties")
        return "{" + _type(inner, definitions, types) if isinstance(inner, dict) else "o"
    return {"string": "s", "integer": "i", "number": "n", "boolean": "b"}.get(str(kind), "o")


def _as_text(built: dict[str, Any]) -> str:
    """One definition a line, so that a newer Kubernetes shows as a readable difference."""
    types = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(fields, sort_keys=True)}" for name, fields in built["types"].items()
    )
    kinds = json.dumps(built["kinds"], indent=0, sort_keys=True)
    return f'{{"kubernetes": "{built["kubernetes"]}",\n"kinds": {kinds},\n"types": {{\n{types}\n}}}}\n'


if __name__ == "__main__":
    TABLE.write_text(_as_text(build()))
