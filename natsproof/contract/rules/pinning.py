"""Pinning: what is certified is what runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from natsproof.contract.model import Container, Contract, PodSpec
from natsproof.contract.rules.probes import probes_of
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Verdict, unknown

_PROMISE = "what was certified is what runs"
_EXACT = re.compile(r"v?\d+\.\d+\.\d+(?:[-+][\w.-]+)?")
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_SPLIT_HEALTH = (2, 11, 0)  # /healthz?js-server-only asks the listener only, js-meta-only exists


def tag_of(image: str) -> str | None:
    """The tag of an image reference; None if it has none. `host:5000/name` has no tag."""
    name, _, _ = image.partition("@")
    last = name.rsplit("/", 1)[-1]
    return last.split(":", 1)[1] if ":" in last else None


def _pods(contract: Contract) -> Iterator[PodSpec]:
    yield contract.statefulset.template
    if contract.job is not None:
        yield contract.job.template


def containers_of(contract: Contract) -> Iterator[Container]:
    """Every container of the servers and of the set-up Job."""
    for pod in _pods(contract):
        yield from pod.init_containers
        yield from pod.containers


@rule(_PROMISE)
def every_image_is_pinned(contract: Contract) -> Verdict:
    """Every image has an exact version or a digest: a floating tag runs different versions in pods of one
    set."""
    images = list(containers_of(contract))
    wrong = [
        at(
            container.at("image"),
            f"image {container.image} floats: tag {tag_of(container.image) or 'latest'}; expected an exact"
            " version"
            " such as nats:2.12.8-alpine, or a digest",
        )
        for container in images
        if "@sha256:" not in container.image and not _EXACT.fullmatch(tag_of(container.image) or "")
    ]
    return judged(wrong, f"{len(images)} images are pinned", images=len(images))


@rule("a server comes back when the registry does not answer")
def a_restart_needs_no_registry(contract: Contract) -> Verdict:
    """A pinned image on the node is used as it is: imagePullPolicy is not Always."""
    wrong = [
        at(
            container.at("image_pull_policy"),
            f"container {container.name} pulls {container.image} at every start. Set imagePullPolicy:"
            " IfNotPresent",
        )
        for container in containers_of(contract)
        if (container.image_pull_policy or "IfNotPresent") == "Always"
    ]
    return judged(wrong, "images on the node are used")


@rule(_PROMISE)
def the_server_understands_its_probes(contract: Contract) -> Verdict:
    """The server's version is 2.11 or later, since which the probes' queries ask what their names say."""
    container = contract.server_container
    match = _VERSION.match(tag_of(container.image) or "")
    if match is None:
        return unknown(f"{container.at('image')}: the version of image {container.image} is not in its tag")
    version = tuple(int(part) for part in match.groups())
    deep = [probe for _, probe in probes_of(contract) if "only" in (probe.path or "")]
    wrong = []
    if version < _SPLIT_HEALTH and deep:
        text = f"image {container.image}: before 2.11 {deep[0].path} needs the meta leader. Use 2.11 or later"
        wrong.append(at(container.at("image"), text))
    return judged(wrong, f"nats-server {match[0]} knows the queries of the probes")


RULES: tuple[Rule, ...] = (
    every_image_is_pinned,
    a_restart_needs_no_registry,
    the_server_understands_its_probes,
)
