"""What the embedded cluster does not do as the manifests say. It stands in the certificate."""

from __future__ import annotations

from pathlib import Path

from natsproof.cluster.binaries import Binaries, image_version
from natsproof.cluster.embedded.images import known, split_image
from natsproof.cluster.embedded.universe import Isolation
from natsproof.contract.model import Container, Contract, PodSpec


def differences(contract: Contract, binaries: Binaries, isolation: Isolation, volumes: str) -> list[str]:
    """Sentences for the certificate, each naming its place in the manifests where it has one."""
    found = [*_images(contract, binaries), *_pods(contract, isolation), *_services(contract)]
    claims = contract.statefulset.claims
    if claims and volumes == "directory":
        found.append(f"{claims[0].place}: volumes are folders of this machine; their size is not enforced")
    for kind in ("NetworkPolicy", "PriorityClass"):
        found += [f"{thing.place}: {kind} {thing.name} is not enforced" for thing in contract.of_kind(kind)]
    found.append(f"{contract.statefulset.place}: a pod that is made anew keeps the address of the old one")
    if contract.budgets:
        found.append(f"{contract.budgets[0].place}: nothing is evicted here; no budget is asked")
    if isolation is Isolation.LOOPBACK:
        found.append(
            "no namespaces: servers are plain processes on 127.77.x.y; paths, addresses and pod names in "
            "configurations, commands and environments are rewritten; the network cannot be cut, root file "
            "systems are this machine's"
        )
    return found


def _images(contract: Contract, binaries: Binaries) -> list[str]:
    found = []
    container = contract.server_container
    version, floating = image_version(container.image)
    if floating:
        found.append(f"{container.place}: floating image {container.image} was taken to be {version}")
    if binaries.server.version != version:
        has = binaries.server.version or "of unknown version"
        found.append(f"{container.place}: image {container.image}, but the nats-server is {has}")
    if contract.job:
        box = contract.job.template.containers[0]
        if split_image(box.image)[0].endswith("nats-box"):
            shell = Path("/bin/sh").resolve().name
            found.append(
                f"{box.place}: {box.image} is stood in for by this machine's sh ({shell}) and its tools and "
                f"the nats CLI {binaries.cli.version}"
            )
    return found


def _pods(contract: Contract, isolation: Isolation) -> list[str]:
    found = []
    specs = [contract.statefulset.template, *([contract.job.template] if contract.job else [])]
    for spec in specs:
        for container in spec.containers:
            if not known(container.image):
                found.append(f"{container.place}: container {container.name} ({container.image}) is not run")
            found += _container(spec, container, isolation)
        if spec.enable_service_links:
            found.append(f"{spec.place}: environment variables of service links are not set")
    if contract.statefulset.template.spreads:
        found.append(f"{contract.statefulset.template.spreads[0].place}: all pods run on this one machine")
    return found


def _container(spec: PodSpec, container: Container, isolation: Isolation) -> list[str]:
    found = []
    limits = container.resources
    if limits.memory_limit_bytes or limits.cpu_limit:
        found.append(f"{limits.place}: CPU and memory limits of {container.name} are not enforced")
    user = {**spec.security_context, **container.security_context}.get("runAsUser")
    if user and isolation is not Isolation.NAMESPACES_ROOT:
        found.append(f"{container.place}: runAsUser {user} is not obeyed: that takes root and namespaces")
    return found


def _services(contract: Contract) -> list[str]:
    found = []
    for service in contract.services:
        if service.headless:
            continue
        found.append(
            f"{service.place}: service {service.name} has no cluster address; its name gives pods' addresses"
        )
        for port in service.ports:
            named = {
                p.name: p.container_port for c in contract.statefulset.template.containers for p in c.ports
            }
            target = port.target_port or port.port
            if (named.get(target, 0) if isinstance(target, str) else target) != port.port:
                found.append(f"{port.place}: port {port.port} is not mapped to {target}; use {target}")
    return found
