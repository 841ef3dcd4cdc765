"""From checked YAML nodes to the typed objects of the model.

Every function here expects a node that `schema_check.check` accepted, so shapes are not tested again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from natsproof import units
from natsproof.contract import model
from natsproof.contract.model import Place
from natsproof.contract.pods import pod_spec
from natsproof.contract.problems import Problems
from natsproof.contract.reading import integer, items, places, plain, strings, text, text_map
from natsproof.contract.yaml_source import Node


def kubernetes_object(node: Node, problems: Problems) -> model.KubernetesObject:
    """One object of the model; kinds without a type of their own become OtherObject."""
    readers = {
        "StatefulSet": _stateful_set,
        "Service": _service,
        "ConfigMap": _config_map,
        "Job": _job,
        "PodDisruptionBudget": _budget,
    }
    reader = readers.get(str(text(node, "kind")))
    if reader is None:
        return model.OtherObject(**_common(node))
    return reader(node, problems)


def _common(node: Node, **renamed: tuple[str | int, ...]) -> dict[str, Any]:
    metadata = node.get("metadata") or Node(node.place, {})
    where = places(metadata, name=("name",), namespace=("namespace",), labels=("labels",))
    where |= places(metadata, annotations=("annotations",)) | places(node, kind=("kind",), **renamed)
    return {
        "kind": text(node, "kind"),
        "api_version": text(node, "apiVersion"),
        "name": text(metadata, "name"),
        "namespace": text(metadata, "namespace"),
        "labels": text_map(metadata.get("labels")),
        "annotations": text_map(metadata.get("annotations")),
        "raw": node.plain(),
        "place": node.place,
        "places": where,
    }


def _selector(node: Node | None, problems: Problems) -> Mapping[str, str]:
    """The labels a label selector matches; matchExpressions of one value each are labels too."""
    if node is None:
        return {}
    labels = dict(text_map(node.get("matchLabels")))
    for expression in items(node.get("matchExpressions")):
        values = strings(expression.get("values")) or ()
        if text(expression, "operator") == "In" and len(values) == 1:
            labels[str(text(expression, "key"))] = values[0]
        else:
            problems.add(
                expression.place,
                "a matchExpressions other than `In` with one value is not read; use matchLabels",
            )
    return labels


def _stateful_set(node: Node, problems: Problems) -> model.StatefulSet:
    strategy, retention = ("spec", "updateStrategy"), ("spec", "persistentVolumeClaimRetentionPolicy")
    rolling = (*strategy, "rollingUpdate")
    template = node.at("spec", "template") or Node(node.place, {})
    selector = _selector(node.at("spec", "selector"), problems)
    result = model.StatefulSet(
        **_common(
            node,
            replicas=("spec", "replicas"),
            service_name=("spec", "serviceName"),
            pod_management_policy=("spec", "podManagementPolicy"),
            selector=("spec", "selector"),
            template=("spec", "template"),
            claims=("spec", "volumeClaimTemplates"),
            update_strategy=strategy,
            partition=(*rolling, "partition"),
            max_unavailable=(*rolling, "maxUnavailable"),
            min_ready_s=("spec", "minReadySeconds"),
            retention_when_deleted=(*retention, "whenDeleted"),
            retention_when_scaled=(*retention, "whenScaled"),
        ),
        replicas=integer(node, 1, "spec", "replicas"),
        service_name=text(node, "spec", "serviceName") or "",
        pod_management_policy=text(node, "spec", "podManagementPolicy") or "OrderedReady",
        selector=selector,
        template=pod_spec(template, problems),
        claims=tuple(_claim(claim, problems) for claim in items(node.at("spec", "volumeClaimTemplates"))),
        update_strategy=text(node, *strategy, "type") or "RollingUpdate",
        partition=integer(node, 0, *rolling, "partition"),
        max_unavailable=plain(node, *rolling, "maxUnavailable"),
        min_ready_s=integer(node, 0, "spec", "minReadySeconds"),
        retention_when_deleted=text(node, *retention, "whenDeleted") or "Retain",
        retention_when_scaled=text(node, *retention, "whenScaled") or "Retain",
    )
    for key, value in selector.items():
        if result.template.labels.get(key) != value:
            problems.add(
                result.at("selector"),
                f"the selector wants {key}={value}, but the pods are labelled"
                f" {dict(result.template.labels)}; Kubernetes refuses that: make them equal",
            )
    return result


def _claim(node: Node, problems: Problems) -> model.VolumeClaim:
    request = node.at("spec", "resources", "requests", "storage")
    if request is None:
        problems.add(
            node.place, "a volumeClaimTemplate needs spec.resources.requests.storage (for example 100Gi)"
        )
    modes = strings(node.at("spec", "accessModes")) or ()
    if not modes:
        problems.add(node.place, "a volumeClaimTemplate needs spec.accessModes (for example [ReadWriteOnce])")
    name = text(node, "metadata", "name")
    if name is None:
        problems.add(node.place, "a volumeClaimTemplate needs metadata.name (for example data)")
    return model.VolumeClaim(
        place=node.place,
        places=places(
            node,
            name=("metadata", "name"),
            storage_class=("spec", "storageClassName"),
            access_modes=("spec", "accessModes"),
            storage_bytes=("spec", "resources", "requests", "storage"),
        ),
        name=name or "",
        storage_class=text(node, "spec", "storageClassName"),
        access_modes=modes,
        storage_bytes=size(request, problems) or 0,
    )


def size(node: Node | None, problems: Problems) -> int | None:
    """A quantity node in bytes; None if absent or out of range (which is reported)."""
    if node is None or node.value is None:
        return None
    try:
        return units.quantity_bytes(node.value)
    except ValueError as error:
        problems.add(node.place, str(error))
        return None


def _service(node: Node, problems: Problems) -> model.Service:
    ports = tuple(
        model.ServicePort(
            place=port.place,
            places=places(
                port, port=("port",), name=("name",), target_port=("targetPort",), protocol=("protocol",)
            ),
            port=integer(port, 0, "port"),
            name=text(port, "name"),
            target_port=plain(port, "targetPort"),
            protocol=text(port, "protocol") or "TCP",
        )
        for port in items(node.at("spec", "ports"))
    )
    names = [port.name for port in ports]
    for port in ports:
        if len(ports) > 1 and port.name is None:
            problems.add(
                port.place, "a Service with several ports needs a name for each (for example client)"
            )
        elif names.count(port.name) > 1:
            problems.add(port.place, f"two ports are named {port.name!r}; names must differ")
    kind = text(node, "spec", "type") or "ClusterIP"
    if not ports and text(node, "spec", "clusterIP") != "None" and kind != "ExternalName":
        problems.add(node.place, "a Service that is not headless needs spec.ports")
    return model.Service(
        **_common(
            node,
            headless=("spec", "clusterIP"),
            type=("spec", "type"),
            selector=("spec", "selector"),
            ports=("spec", "ports"),
            publish_not_ready=("spec", "publishNotReadyAddresses"),
        ),
        headless=text(node, "spec", "clusterIP") == "None",
        type=kind,
        selector=text_map(node.at("spec", "selector")),
        ports=ports,
        publish_not_ready=bool(plain(node, "spec", "publishNotReadyAddresses")),
    )


def _config_map(node: Node, problems: Problems) -> model.ConfigMap:
    data = node.get("data")
    first: dict[str, Place] = {}
    common = _common(node)
    if data is not None and isinstance(data.value, dict):
        for key, value in data.value.items():
            common["places"][key] = data.keys[key]
            first[key] = value.text or value.place
    return model.ConfigMap(**common, data=text_map(data), text_at=first)


def _job(node: Node, problems: Problems) -> model.Job:
    template = node.at("spec", "template") or Node(node.place, {})
    result = model.Job(
        **_common(
            node,
            template=("spec", "template"),
            backoff_limit=("spec", "backoffLimit"),
            active_deadline_s=("spec", "activeDeadlineSeconds"),
            ttl_after_finished_s=("spec", "ttlSecondsAfterFinished"),
            completions=("spec", "completions"),
            parallelism=("spec", "parallelism"),
        ),
        template=pod_spec(template, problems),
        backoff_limit=integer(node, 6, "spec", "backoffLimit"),
        active_deadline_s=plain(node, "spec", "activeDeadlineSeconds"),
        ttl_after_finished_s=plain(node, "spec", "ttlSecondsAfterFinished"),
        completions=integer(node, 1, "spec", "completions"),
        parallelism=integer(node, 1, "spec", "parallelism"),
    )
    if result.template.restart_policy not in ("Never", "OnFailure"):
        problems.add(
            result.template.at("restart_policy"),
            "a Job's pods need restartPolicy: Never or OnFailure; Kubernetes refuses Always, its default",
        )
    return result


def _budget(node: Node, problems: Problems) -> model.DisruptionBudget:
    least, most = plain(node, "spec", "minAvailable"), plain(node, "spec", "maxUnavailable")
    if least is not None and most is not None:
        problems.add(node.place, "found both minAvailable and maxUnavailable, expected one of them")
    return model.DisruptionBudget(
        **_common(
            node,
            min_available=("spec", "minAvailable"),
            max_unavailable=("spec", "maxUnavailable"),
            selector=("spec", "selector"),
            unhealthy_eviction=("spec", "unhealthyPodEvictionPolicy"),
        ),
        min_available=least,
        max_unavailable=most,
        selector=_selector(node.at("spec", "selector"), problems),
        unhealthy_eviction=text(node, "spec", "unhealthyPodEvictionPolicy"),
    )
