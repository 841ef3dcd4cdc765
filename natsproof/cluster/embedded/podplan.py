"""From a PodSpec to what a runtime starts: environment, user, volumes, files. Or a refusal."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natsproof.cluster.embedded.images import Image, expand, expand_all, image_of
from natsproof.cluster.embedded.pid1 import Launch
from natsproof.cluster.embedded.refused import PodRefused
from natsproof.cluster.embedded.volumes import PodVolumes
from natsproof.contract.model import ConfigMap, Container, Contract, EnvVar, PodSpec


@dataclass(frozen=True, kw_only=True)
class PodIdentity:
    """One incarnation of a pod. `ordinal` is -1 outside a StatefulSet."""

    name: str
    namespace: str
    uid: str
    ip: str
    node: str
    node_ip: str
    hostname: str
    subdomain: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ordinal: int = -1

    def fully_qualified(self, domain: str) -> str:
        return ".".join(p for p in (self.hostname, self.subdomain, self.namespace, "svc", domain) if p)


CLUSTER_DOMAIN = "cluster.local"


def secret_values(contract: Contract, name: str) -> dict[str, str]:
    for thing in contract.of_kind("Secret"):
        if thing.name == name:
            encoded: Mapping[str, str] = thing.raw.get("data") or {}
            values = {k: base64.b64decode(v).decode() for k, v in encoded.items()}
            return values | {k: str(v) for k, v in (thing.raw.get("stringData") or {}).items()}
    raise PodRefused(f"secret {name!r} not found in the manifests")


def config_map(contract: Contract, name: str) -> ConfigMap:
    for thing in contract.objects:
        if isinstance(thing, ConfigMap) and thing.name == name:
            return thing
    raise PodRefused(f"configmap {name!r} not found in the manifests")


def environment(contract: Contract, container: Container, pod: PodIdentity, image: Image) -> dict[str, str]:
    """The container's environment in order, each value expanded with what stands before it."""
    values: dict[str, str] = {}
    for variable in container.env:
        values[variable.name] = expand(_value(contract, container, variable, pod), values)
    base = {"HOSTNAME": pod.hostname, "HOME": "/root", **image.env}
    return base | values


def _value(contract: Contract, container: Container, variable: EnvVar, pod: PodIdentity) -> str:
    if variable.field_path:
        return _field(pod, variable.field_path)
    if variable.resource:
        return str(_resource(container, variable))
    if variable.secret or variable.config_map:
        name = variable.secret or variable.config_map or ""
        values = secret_values(contract, name) if variable.secret else config_map(contract, name).data
        key = variable.key or ""
        if key not in values:
            raise PodRefused(
                f"{variable.place}: no key {variable.key!r} in {name!r}, it has {sorted(values)}"
            )
        return values[key]
    return variable.value or ""


def _field(pod: PodIdentity, path: str) -> str:
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": pod.node,
        "spec.serviceAccountName": "default",
        "status.podIP": pod.ip,
        "status.podIPs": pod.ip,
        "status.hostIP": pod.node_ip,
    }
    if path in fields:
        return fields[path]
    for key, value in pod.labels.items():
        if path == f"metadata.labels['{key}']":
            return value
    if path.startswith(("metadata.labels[", "metadata.annotations[")):
        return ""
    raise PodRefused(
        f"fieldRef {path!r} is no field of a pod; valid: {', '.join(fields)}, metadata.labels['x']"
    )


def _resource(container: Container, variable: EnvVar) -> int:
    have = container.resources
    bounds: dict[str, float | int | None] = {
        "limits.memory": have.memory_limit_bytes,
        "requests.memory": have.memory_request_bytes,
        "limits.cpu": have.cpu_limit,
        "requests.cpu": have.cpu_request,
    }
    amount = bounds.get(variable.resource or "")
    if amount is None:
        raise PodRefused(
            f"{variable.place}: resourceFieldRef {variable.resource!r} is not set on the container"
        )
    return math.ceil(amount / _divisor(variable.divisor or "1"))


def _divisor(text: str) -> float:
    units = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    for unit in sorted(units, key=len, reverse=True):
        if text.endswith(unit):
            return float(text.removesuffix(unit) or 1) * units[unit]
    return float(text) or 1.0


def user_of(spec: PodSpec, container: Container) -> dict[str, Any]:
    """uid, gid and groups for Launch; the container's security context goes before the pod's."""
    context = {**spec.security_context, **container.security_context}
    uid = context.get("runAsUser")
    if context.get("runAsNonRoot") and not uid:
        raise PodRefused(f"{container.place}: runAsNonRoot, but the image runs as root; set runAsUser")
    groups = [*context.get("supplementalGroups", ()), *([g] if (g := context.get("fsGroup")) else ())]
    return {"uid": uid, "gid": context.get("runAsGroup", 0), "groups": groups}


def launch(
    contract: Contract,
    spec: PodSpec,
    container: Container,
    pod: PodIdentity,
    volumes: PodVolumes,
    programs: Mapping[str, Path],
    *,
    change_user: bool,
    nameserver: str,
) -> Launch:
    """What to start for a container. Raises PodRefused as a kubelet would report it."""
    image = image_of(container.image)
    variables = environment(contract, container, pod, image)
    user = user_of(spec, container)
    mounts = [(str(programs[name]), path, True) for path, name in image.programs.items()]
    for mount in container.mounts:
        here, read_only = volumes.path(mount)
        mounts.append((str(here), mount.mount_path, read_only or mount.read_only))
    context = {**spec.security_context, **container.security_context}
    return Launch(
        argv=expand_all(image.argv(container), variables),
        env=variables,
        cwd=container.working_dir or image.cwd,
        **(user if change_user else {}),
        no_new_privileges=context.get("allowPrivilegeEscalation") is False,
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
        bare=image.bare,
        mounts=mounts,
        files=_etc(pod, nameserver),
    )


def _etc(pod: PodIdentity, nameserver: str) -> dict[str, str]:
    zone = f"svc.{CLUSTER_DOMAIN}"
    names = f"{pod.fully_qualified(CLUSTER_DOMAIN)} {pod.hostname}" if pod.subdomain else pod.hostname
    return {
        "etc/hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{pod.ip}\t{names}\n",
        "etc/hostname": f"{pod.hostname}\n",
        "etc/resolv.conf": f"search {pod.namespace}.{zone} {zone} {CLUSTER_DOMAIN}\n"
        f"nameserver {nameserver}\noptions ndots:5\n",
        "etc/nsswitch.conf": "hosts: files dns\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
        "etc/group": "root:x:0:\nnobody:x:65534:\n",
    }
