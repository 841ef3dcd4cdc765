"""Names that point from one object to another: those that point nowhere, and what the others stand for."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping

from natsproof.contract.model import (
    ConfigMap,
    Container,
    Job,
    KubernetesObject,
    PodSpec,
    Probe,
    Service,
    StatefulSet,
    VolumeMount,
)
from natsproof.contract.problems import Problems, closest

Objects = Iterable[KubernetesObject]
#: Stands for what only a running pod knows; from the block reserved for documentation.
POD_ADDRESS = "192.0.2.1"


def namespace_of(thing: KubernetesObject) -> str:
    return thing.namespace or "default"


def config_map(objects: Objects, beside: KubernetesObject, name: str | None) -> ConfigMap | None:
    """The ConfigMap of a name in the same namespace as `beside`."""
    for thing in objects:
        if (
            isinstance(thing, ConfigMap)
            and thing.name == name
            and namespace_of(thing) == namespace_of(beside)
        ):
            return thing
    return None


def pods(objects: Objects) -> Iterator[tuple[StatefulSet | Job, PodSpec]]:
    for thing in objects:
        if isinstance(thing, (StatefulSet, Job)):
            yield thing, thing.template


def check(objects: tuple[KubernetesObject, ...], problems: Problems) -> None:
    """Report every name that points nowhere, except those that rules judge (serviceName, storage class)."""
    _check_unique(objects, problems)
    for owner, pod in pods(objects):
        _check_volumes(objects, owner, pod, problems)
        for container in (*pod.init_containers, *pod.containers):
            _check_mounts(objects, owner, pod, container, problems)
            _check_environment(objects, owner, container, problems)
            _check_probe_ports(container, problems)
    for service in objects:
        if isinstance(service, Service):
            _check_target_ports(objects, service, problems)


def _check_unique(objects: Objects, problems: Problems) -> None:
    seen: dict[tuple[str, str, str], KubernetesObject] = {}
    for thing in objects:
        identity = (thing.kind, namespace_of(thing), thing.name)
        if identity in seen:
            problems.add(
                thing.place,
                f"{thing.kind} {thing.name!r} is defined a second time; first at {seen[identity].place}",
            )
        seen.setdefault(identity, thing)


def _names(objects: Objects, owner: KubernetesObject) -> list[str]:
    return [o.name for o in objects if isinstance(o, ConfigMap) and namespace_of(o) == namespace_of(owner)]


def _check_volumes(objects: Objects, owner: KubernetesObject, pod: PodSpec, problems: Problems) -> None:
    for volume in pod.volumes:
        if volume.config_map is None:
            continue
        found = config_map(objects, owner, volume.config_map)
        if found is None:
            known = _names(objects, owner)
            problems.add(
                volume.at("config_map"),
                f"volume {volume.name!r} mounts ConfigMap {volume.config_map!r}, which does not exist in"
                f" namespace {namespace_of(owner)}{closest(volume.config_map, known)}; ConfigMaps there:"
                f" {', '.join(known) or 'none'}",
            )
            continue
        for key in volume.items or ():
            if key not in found.data:
                problems.add(
                    volume.at("items"),
                    f"ConfigMap {found.name!r} ({found.place}) has no key {key!r}{closest(key, found.data)};"
                    f" keys: {', '.join(found.data) or 'none'}",
                )


def _check_mounts(
    objects: Objects, owner: StatefulSet | Job, pod: PodSpec, container: Container, problems: Problems
) -> None:
    volumes = {volume.name: volume for volume in pod.volumes}
    claims = {claim.name for claim in owner.claims} if isinstance(owner, StatefulSet) else set()
    paths: dict[str, VolumeMount] = {}
    for mount in container.mounts:
        if mount.name not in volumes and mount.name not in claims:
            known = [*volumes, *claims]
            problems.add(
                mount.at("name"),
                f"container {container.name!r} mounts volume {mount.name!r}, which does not exist"
                f"{closest(mount.name, known)}; volumes: {', '.join(known) or 'none'}",
            )
        path = posixpath.normpath(mount.mount_path)
        if path in paths:
            problems.add(mount.at("mount_path"), f"{path} is mounted twice, first at {paths[path].place}")
        paths[path] = mount
        volume = volumes.get(mount.name)
        found = config_map(objects, owner, volume.config_map) if volume else None
        if found and volume and mount.sub_path:
            files = set(volume.items.values()) if volume.items else set(found.data)
            if mount.sub_path not in files:
                problems.add(
                    mount.at("sub_path"),
                    f"subPath {mount.sub_path!r} is no file of ConfigMap {found.name!r} ({found.place});"
                    f" files: {', '.join(sorted(files)) or 'none'}",
                )


def _check_environment(
    objects: Objects, owner: KubernetesObject, container: Container, problems: Problems
) -> None:
    for variable in container.env:
        if variable.config_map is None:
            continue
        found = config_map(objects, owner, variable.config_map)
        if found is None:
            problems.add(
                variable.at("config_map"),
                f"{variable.name} reads ConfigMap {variable.config_map!r}, which does not exist in namespace"
                f" {namespace_of(owner)}{closest(variable.config_map, _names(objects, owner))}",
            )
        elif variable.key not in found.data:
            problems.add(
                variable.at("config_map"),
                f"{variable.name}: ConfigMap {found.name!r} ({found.place}) has no key {variable.key!r};"
                f" keys: {', '.join(found.data) or 'none'}",
            )


def _check_probe_ports(container: Container, problems: Problems) -> None:
    names = [port.name for port in container.ports if port.name]

    def check_one(probe: Probe | None) -> None:
        if probe and isinstance(probe.port, str) and not probe.port.isdigit() and probe.port not in names:
            problems.add(
                probe.at("port"),
                f"the probe asks port {probe.port!r}, which container {container.name!r} does not name"
                f"{closest(probe.port, names)}; named ports: {', '.join(names) or 'none'}",
            )

    for probe in (container.startup_probe, container.readiness_probe, container.liveness_probe):
        check_one(probe)


def _check_target_ports(objects: Objects, service: Service, problems: Problems) -> None:
    selected = [
        pod
        for owner, pod in pods(objects)
        if service.selector
        and namespace_of(owner) == namespace_of(service)
        and service.selector.items() <= pod.labels.items()
    ]
    names = [port.name for pod in selected for c in pod.containers for port in c.ports if port.name]
    for port in service.ports:
        if selected and isinstance(port.target_port, str) and port.target_port not in names:
            problems.add(
                port.at("target_port"),
                f"targetPort {port.target_port!r} is named by no container of the pods that Service"
                f" {service.name!r} selects{closest(port.target_port, names)}; named ports:"
                f" {', '.join(names) or 'none'}",
            )


def mounted_files(
    objects: Objects, owner: KubernetesObject, pod: PodSpec, container: Container
) -> dict[str, tuple[ConfigMap, str]]:
    """Every file of a container that comes from a ConfigMap: absolute path → (ConfigMap, key)."""
    objects = tuple(objects)
    volumes = {volume.name: volume for volume in pod.volumes}
    files: dict[str, tuple[ConfigMap, str]] = {}
    for mount in container.mounts:
        volume = volumes.get(mount.name)
        found = config_map(objects, owner, volume.config_map) if volume else None
        if volume is None or found is None:
            continue
        keys = (
            {path: key for key, path in volume.items.items()} if volume.items else {k: k for k in found.data}
        )
        for path, key in keys.items():
            if key not in found.data:
                continue
            if mount.sub_path is None:
                files[posixpath.normpath(f"{mount.mount_path}/{path}")] = (found, key)
            elif mount.sub_path == path:
                files[posixpath.normpath(mount.mount_path)] = (found, key)
    return files


def environment(
    objects: Objects, owner: StatefulSet | Job, container: Container, *, ordinal: int = 0
) -> Mapping[str, str]:
    """The variables of a container in the first pod, `$(VAR)` expanded.

    Secrets and addresses, which only a cluster knows, get stand-ins.
    """
    objects = tuple(objects)
    name = f"{owner.name}-{ordinal}"
    known: dict[str, str] = {}
    for variable in container.env:
        if variable.value is not None:
            known[variable.name] = expand(variable.value, known)
        elif variable.config_map is not None:
            found = config_map(objects, owner, variable.config_map)
            known[variable.name] = found.data.get(variable.key or "", "") if found else ""
        elif variable.field_path is not None:
            known[variable.name] = _field(variable.field_path, owner, name)
        elif variable.resource is not None:
            known[variable.name] = _resource(variable.resource, container)
        else:
            known[variable.name] = "secret" if variable.secret is not None else ""
    return known


def _field(path: str, owner: StatefulSet | Job, pod_name: str) -> str:
    labels = dict(owner.template.labels)
    if path.startswith("metadata.labels['"):
        labels |= {"statefulset.kubernetes.io/pod-name": pod_name, "apps.kubernetes.io/pod-index": "0"}
        return labels.get(path[len("metadata.labels['") : -2], "")
    if path.startswith("metadata.annotations['"):
        return owner.template.annotations.get(path[len("metadata.annotations['") : -2], "")
    return {
        "metadata.name": pod_name,
        "metadata.namespace": namespace_of(owner),
        "metadata.uid": "00000000-0000-0000-0000-000000000000",
        "spec.nodeName": "node-0",
        "spec.serviceAccountName": owner.template.service_account or "default",
    }.get(path, POD_ADDRESS)


def _resource(name: str, container: Container) -> str:
    side, _, what = name.partition(".")
    resources = container.resources
    values = {
        "limits.memory": resources.memory_limit_bytes,
        "requests.memory": resources.memory_request_bytes,
        "limits.cpu": resources.cpu_limit,
        "requests.cpu": resources.cpu_request,
    }
    value = values.get(f"{side}.{what}")
    return str(-(-value // 1)).removesuffix(".0") if value else "0"


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Kubernetes' `$(VAR)`; `$$` is one dollar, an unknown name stays as it is."""
    parts: list[str] = []
    position = 0
    while position < len(text):
        dollar = text.find("$", position)
        if dollar < 0 or dollar + 1 >= len(text):
            break
        parts.append(text[position:dollar])
        end = text.find(")", dollar)
        if text[dollar + 1] == "$":
            parts.append("$")
            position = dollar + 2
        elif text[dollar + 1] == "(" and end > 0:
            name = text[dollar + 2 : end]
            parts.append(variables.get(name, text[dollar : end + 1]))
            position = end + 1
        else:
            parts.append("$")
            position = dollar + 1
    return "".join(parts) + text[position:]
