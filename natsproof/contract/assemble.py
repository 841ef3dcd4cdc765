"""From objects to a Contract: which pods run nats-server, with which configuration, reached by whom."""

from __future__ import annotations

import hashlib
import json
import posixpath
import shlex
from collections.abc import Iterable, Mapping

from natsproof.contract import natsconf, promises, references, server_config, setup_job
from natsproof.contract.model import (
    Bucket,
    ConfigMap,
    Container,
    Contract,
    Job,
    KubernetesObject,
    Place,
    Promises,
    ServerConfig,
    Service,
    StatefulSet,
)
from natsproof.contract.problems import Problems
from natsproof.errors import ContractError

IMAGE_CONFIG = "/etc/nats/nats-server.conf"


def assemble(
    objects: tuple[KubernetesObject, ...], source: Place, problems: Problems, *, promises_required: bool
) -> Contract:
    """Join the objects. Raises ContractError with everything that is wrong or missing."""
    references.check(objects, problems)
    problems.raise_if_any()
    statefulset, container = _server(objects, source)
    config_map, config = _configuration(objects, statefulset, container, problems)
    job, buckets = _set_up(objects, statefulset, problems)
    promised = _promises(objects, source, problems, required=promises_required)
    problems.raise_if_any()
    namespace = references.namespace_of(statefulset)
    services = [o for o in objects if isinstance(o, Service) and references.namespace_of(o) == namespace]
    governing = next((s for s in services if s.name == statefulset.service_name), None)
    return Contract(
        place=source,
        objects=objects,
        statefulset=statefulset,
        server_container=container,
        config=config,
        config_map=config_map,
        governing_service=governing,
        client_service=_client_service(services, governing, statefulset, config.port or 4222),
        job=job,
        job_buckets=buckets,
        promises=promised,
        namespace=namespace,
        digest=digest(objects),
    )


def digest(objects: Iterable[KubernetesObject]) -> str:
    """SHA-256 over the canonical documents, whatever their order, files, comments and spelling."""
    canonical = sorted(json.dumps(o.raw, sort_keys=True, separators=(",", ":")) for o in objects)
    return hashlib.sha256("\n".join(canonical).encode("utf-8", "surrogatepass")).hexdigest()


def _runs_nats_server(container: Container) -> bool:
    words = [*(container.command or ()), *(container.args or ())]
    if any(posixpath.basename(word) == "nats-server" for line in words for word in _words(line)):
        return True
    repository = container.image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return repository in ("nats", "nats-server") and not container.command


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _server(objects: tuple[KubernetesObject, ...], source: Place) -> tuple[StatefulSet, Container]:
    sets = [o for o in objects if isinstance(o, StatefulSet)]
    if not sets:
        kinds = ", ".join(sorted({o.kind for o in objects})) or "nothing"
        raise ContractError(
            f"{source}: no StatefulSet, so no servers to certify; found {kinds}. Give the folder or file that"
            f" holds the StatefulSet with nats-server"
        )
    running = [(s, c) for s in sets for c in s.template.containers if _runs_nats_server(c)]
    if len(running) == 1:
        return running[0]
    if not running:
        images = ", ".join(c.image for s in sets for c in s.template.containers)
        raise ContractError(
            f"{sets[0].place}: no container of a StatefulSet runs nats-server; images found: {images}. Use an"
            f" image nats:VERSION or name nats-server in the command"
        )
    where = ", ".join(f"{c.place} ({s.name}/{c.name})" for s, c in running)
    raise ContractError(f"{source}: several containers run nats-server: {where}. Give one platform at a time")


def _config_path(container: Container) -> tuple[str, Place]:
    """The path given with -c or --config, or the image's own."""
    given = [*(container.command or ()), *(container.args or ())]
    place = container.at("args" if container.args is not None else "command")
    # `sh -c "exec nats-server -c …"`: the words after nats-server count, the shell's own -c does not.
    line = next((text for text in given if "nats-server" in text and len(_words(text)) > 1), None)
    words = _words(line) if line is not None else given
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("-c", "--config", "-config"):
            if equals:
                return value, place
            if number + 1 < len(words):
                return words[number + 1], place
    return IMAGE_CONFIG, place


def _configuration(
    objects: tuple[KubernetesObject, ...], statefulset: StatefulSet, container: Container, problems: Problems
) -> tuple[ConfigMap, ServerConfig]:
    path, place = _config_path(container)
    path = posixpath.normpath(posixpath.join(container.working_dir or "/", path))
    files = references.mounted_files(objects, statefulset, statefulset.template, container)
    if path not in files:
        known = ", ".join(sorted(files)) or "none"
        raise ContractError(
            f"{place}: the server reads {path}, but no ConfigMap is mounted there; files from ConfigMaps:"
            f" {known}. Mount the ConfigMap that holds the configuration, or correct --config"
        )
    config_map, key = files[path]
    environment = references.environment(objects, statefulset, container)

    def text_of(name: str) -> str:
        if name not in files:
            raise KeyError("; files from ConfigMaps: " + (", ".join(sorted(files)) or "none"))
        owner, own_key = files[name]
        return owner.data[own_key]

    def place_of(spot: natsconf.Spot) -> Place:
        owner, own_key = files.get(spot.file, (config_map, key))
        return owner.line_of(own_key, spot.line)

    first = config_map.line_of(key, 1)
    try:
        parsed = natsconf.parse(config_map.data[key], path, environment, text_of)
    except natsconf.ConfigSyntaxError as error:
        problems.add(place_of(natsconf.Spot(error.file, error.line)), f"{key}: {error.text}")
        problems.raise_if_any()
        raise AssertionError("unreachable: the problem above was raised") from error
    return config_map, server_config.read(parsed, first, place_of, problems)


def _set_up(
    objects: tuple[KubernetesObject, ...], statefulset: StatefulSet, problems: Problems
) -> tuple[Job | None, tuple[Bucket, ...]]:
    jobs = [o for o in objects if isinstance(o, Job)]
    found = []
    for job in jobs:
        buckets = setup_job.buckets(objects, job, problems)
        if buckets or len(jobs) == 1:
            found.append((job, buckets))
    if len(found) > 1:
        problems.add(
            found[1][0].place,
            f"a second Job creates buckets, the first is {found[0][0].place}; one set-up Job is expected",
        )
    return found[0] if found else (None, ())


def _promises(
    objects: tuple[KubernetesObject, ...], source: Place, problems: Problems, *, required: bool
) -> Promises:
    carriers = [o for o in objects if isinstance(o, ConfigMap) and promises.KEY in o.data]
    if len(carriers) > 1:
        problems.add(
            carriers[1].at(promises.KEY),
            f"a second ConfigMap carries {promises.KEY}, the first is {carriers[0].at(promises.KEY)}",
        )
    if carriers:
        return promises.read(carriers[0], problems)
    if required:
        problems.add(
            source,
            f"no ConfigMap carries the key {promises.KEY}: nothing is promised, so nothing can be certified."
            f" `natsproof promises {source.file}` drafts one from these manifests",
        )
    return promises.without(source)


def _client_service(
    services: list[Service], governing: Service | None, statefulset: StatefulSet, port: int
) -> Service | None:
    """The Service that clients use: it selects the pods and leads to the client port; not the governing one
    if another does."""
    labels: Mapping[str, str] = statefulset.template.labels
    names = {
        p.name
        for c in statefulset.template.containers
        for p in c.ports
        if p.container_port == port and p.name
    }
    fitting = [
        s
        for s in services
        if s.selector
        and s.selector.items() <= labels.items()
        and any((p.target_port or p.port) == port or p.target_port in names for p in s.ports)
    ]
    others = [s for s in fitting if s is not governing]
    return next(iter([*others, *fitting]), None)
