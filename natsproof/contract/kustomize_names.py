"""What kustomize changes in many objects at once: namespaces, names and references, labels, images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from natsproof.contract.model import Place
from natsproof.contract.yaml_source import Node

CLUSTER_WIDE = frozenset(
    "ClusterRole ClusterRoleBinding Namespace PersistentVolume PriorityClass StorageClass".split()  # noqa: SIM905
)
_TEMPLATES = {
    "StatefulSet": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}


def kind_of(document: Node) -> str:
    node = document.get("kind")
    return str(node.value) if node else ""


def name_of(document: Node) -> str:
    node = document.at("metadata", "name")
    return str(node.value) if node else ""


def namespace_of(document: Node) -> str:
    node = document.at("metadata", "namespace")
    return str(node.value) if node and node.value else "default"


def put(node: Node, key: str, value: str | int, place: Place) -> None:
    """Set a scalar of a map; the place is the one that decided the value."""
    node.value[key] = Node(place, value, text=place)
    node.keys[key] = place


def child(node: Node, key: str, place: Place) -> Node:
    """The map under a key, made if absent."""
    found = node.get(key)
    if found is None or not isinstance(found.value, dict):
        found = Node(place, {})
        node.value[key] = found
        node.keys[key] = place
    return found


def set_namespace(documents: Iterable[Node], namespace: str, place: Place) -> None:
    for document in documents:
        metadata = child(document, "metadata", place)
        if kind_of(document) == "Namespace":
            put(metadata, "name", namespace, place)
        elif kind_of(document) not in CLUSTER_WIDE:
            put(metadata, "namespace", namespace, place)
        subjects = document.get("subjects")
        for subject in subjects.value if subjects and isinstance(subjects.value, list) else ():
            if isinstance(subject.value, dict) and subject.get("namespace") is not None:
                put(subject, "namespace", namespace, place)


def rename(documents: list[Node], new_names: dict[tuple[str, str], str], place: Place) -> None:
    """Give objects new names, `(kind, old name) → new name`, and follow every reference to them."""
    for document in documents:
        new = new_names.get((kind_of(document), name_of(document)))
        if new:
            put(child(document, "metadata", place), "name", new, place)
        for kind, holder, key in _references(document):
            target = new_names.get((kind, str(holder.value[key].value)))
            if target:
                put(holder, key, target, holder.keys.get(key, place))


def _pods(document: Node) -> Iterator[Node]:
    """The pod template of a workload: a map with metadata and spec."""
    path = _TEMPLATES.get(kind_of(document))
    found = document.at(*path) if path is not None else None
    if found is not None and isinstance(found.value, dict):
        yield found


def _items(node: Node | None) -> list[Node]:
    return (
        [n for n in node.value if isinstance(n.value, dict)] if node and isinstance(node.value, list) else []
    )


def containers(document: Node) -> Iterator[Node]:
    for pod in _pods(document):
        for key in ("initContainers", "containers"):
            yield from _items(pod.at("spec", key))


def _references(document: Node) -> Iterator[tuple[str, Node, str]]:
    """(kind referred to, the map that holds the reference, its key)."""
    candidates: list[tuple[str, Node | None, str]] = []
    if kind_of(document) == "StatefulSet":
        candidates.append(("Service", document.get("spec"), "serviceName"))
    for pod in _pods(document):
        candidates.append(("ServiceAccount", pod.get("spec"), "serviceAccountName"))
        candidates.append(("PriorityClass", pod.get("spec"), "priorityClassName"))
        for volume in _items(pod.at("spec", "volumes")):
            candidates.append(("ConfigMap", volume.get("configMap"), "name"))
            candidates.append(("Secret", volume.get("secret"), "secretName"))
            candidates.append(("PersistentVolumeClaim", volume.get("persistentVolumeClaim"), "claimName"))
            for source in _items(volume.at("projected", "sources")):
                candidates.append(("ConfigMap", source.get("configMap"), "name"))
                candidates.append(("Secret", source.get("secret"), "name"))
    for container in containers(document):
        for variable in _items(container.get("env")):
            candidates.append(("ConfigMap", variable.at("valueFrom", "configMapKeyRef"), "name"))
            candidates.append(("Secret", variable.at("valueFrom", "secretKeyRef"), "name"))
        for source in _items(container.get("envFrom")):
            candidates.append(("ConfigMap", source.get("configMapRef"), "name"))
            candidates.append(("Secret", source.get("secretRef"), "name"))
    role = document.at("roleRef", "kind")
    candidates.append((str(role.value) if role else "", document.get("roleRef"), "name"))
    for subject in _items(document.get("subjects")):
        candidates.append(("ServiceAccount", subject, "name"))
    for kind, holder, key in candidates:
        if holder is not None and isinstance(holder.value, dict) and holder.get(key) is not None:
            yield kind, holder, key


def add_labels(documents: Iterable[Node], labels: Node, *, selectors: bool, templates: bool) -> None:
    """Labels on objects; on pod templates and in selectors if asked."""
    for document in documents:
        _add(child(document, "metadata", labels.place), "labels", labels)
        if templates or selectors:
            for pod in _pods(document):
                if pod is not document:
                    _add(child(pod, "metadata", labels.place), "labels", labels)
        if selectors:
            _add_to_selectors(document, labels)
        if (templates or selectors) and kind_of(document) == "StatefulSet":
            for claim in _items(document.at("spec", "volumeClaimTemplates")):
                _add(child(claim, "metadata", labels.place), "labels", labels)


def _add_to_selectors(document: Node, labels: Node) -> None:
    kind, spec = kind_of(document), document.get("spec")
    if spec is None or not isinstance(spec.value, dict):
        return
    if kind == "Service":
        _add(spec, "selector", labels, only_existing=True)
    elif kind in ("StatefulSet", "Deployment", "DaemonSet", "ReplicaSet"):
        _add(child(spec, "selector", labels.place), "matchLabels", labels)
    elif kind in ("PodDisruptionBudget", "Job"):
        selector = spec.get("selector")
        if selector is not None and isinstance(selector.value, dict):
            _add(selector, "matchLabels", labels)
    elif kind == "NetworkPolicy":
        selector = spec.get("podSelector")
        if selector is not None and isinstance(selector.value, dict):
            _add(selector, "matchLabels", labels, only_existing=True)
    for pod in _pods(document):
        for term in _affinity_terms(pod):
            selector = term.get("labelSelector")
            if selector is not None and isinstance(selector.value, dict):
                _add(selector, "matchLabels", labels, only_existing=True)


def _affinity_terms(pod: Node) -> Iterator[Node]:
    for side in ("podAffinity", "podAntiAffinity"):
        affinity = pod.at("spec", "affinity", side)
        if affinity is None:
            continue
        yield from _items(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
        for weighted in _items(affinity.get("preferredDuringSchedulingIgnoredDuringExecution")):
            term = weighted.get("podAffinityTerm")
            if term is not None:
                yield term
    yield from _items(pod.at("spec", "topologySpreadConstraints"))


def _add(holder: Node, key: str, labels: Node, *, only_existing: bool = False) -> None:
    if only_existing and holder.get(key) is None:
        return
    target = child(holder, key, labels.place)
    for name, value in labels.value.items():
        target.value[name] = value
        target.keys[name] = labels.keys[name]


def add_annotations(documents: Iterable[Node], annotations: Node) -> None:
    for document in documents:
        _add(child(document, "metadata", annotations.place), "annotations", annotations)
        for pod in _pods(document):
            if pod is not document:
                _add(child(pod, "metadata", annotations.place), "annotations", annotations)


_IMAGE = re.compile(r"(?P<name>.+?)(?::(?P<tag>[^:/@]+))?(?:@(?P<digest>sha256:[0-9a-f]+))?", re.DOTALL)


def set_image(documents: Iterable[Node], name: str, new: dict[str, str], place: Place) -> int:
    """Change images of a name; `new` has newName, newTag, digest. Returns how many containers had it."""
    count = 0
    for document in documents:
        for container in containers(document):
            image = container.get("image")
            match = _IMAGE.fullmatch(str(image.value)) if image and isinstance(image.value, str) else None
            if match is None or match["name"] != name:
                continue
            count += 1
            tag, digest = match["tag"], match["digest"]
            if "newTag" in new or "digest" in new:
                tag, digest = new.get("newTag"), new.get("digest")
            text = new.get("newName", name) + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
            put(container, "image", text, place)
    return count
