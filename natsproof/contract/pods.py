"""Pod templates: containers, probes, volumes, spreads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from natsproof import units
from natsproof.contract import model
from natsproof.contract.model import Place
from natsproof.contract.problems import Problems, closest
from natsproof.contract.reading import integer, items, places, plain, strings, text, text_map
from natsproof.contract.yaml_source import Node

FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
RESOURCES = tuple(
    f"{side}.{what}"
    for side in ("limits", "requests")
    for what in ("cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "hugepages-1Gi")
)


def pod_spec(template: Node, problems: Problems) -> model.PodSpec:
    """A pod template with its metadata. References inside the pod that point nowhere are reported."""
    metadata = template.get("metadata") or Node(template.place, {})
    spec = template.get("spec") or Node(template.place, {})
    volumes = tuple(_volume(volume, problems) for volume in items(spec.get("volumes")))
    containers = tuple(_container(node, problems) for node in items(spec.get("containers")))
    if not containers:
        problems.add(spec.place, "the pod has no containers; give it at least one")
    where = places(
        spec,
        containers=("containers",),
        init_containers=("initContainers",),
        volumes=("volumes",),
        termination_grace_period_s=("terminationGracePeriodSeconds",),
        restart_policy=("restartPolicy",),
        spreads=("topologySpreadConstraints",),
        priority_class=("priorityClassName",),
        service_account=("serviceAccountName",),
        automount_token=("automountServiceAccountToken",),
        share_process_namespace=("shareProcessNamespace",),
        enable_service_links=("enableServiceLinks",),
        host_network=("hostNetwork",),
        subdomain=("subdomain",),
        node_selector=("nodeSelector",),
        security_context=("securityContext",),
    )
    links = plain(spec, "enableServiceLinks")
    return model.PodSpec(
        place=spec.place,
        places=where | places(metadata, labels=("labels",), annotations=("annotations",)),
        containers=containers,
        init_containers=tuple(_container(node, problems) for node in items(spec.get("initContainers"))),
        volumes=volumes,
        labels=text_map(metadata.get("labels")),
        annotations=text_map(metadata.get("annotations")),
        termination_grace_period_s=integer(spec, 30, "terminationGracePeriodSeconds"),
        restart_policy=text(spec, "restartPolicy") or "Always",
        spreads=tuple(_spreads(spec)),
        priority_class=text(spec, "priorityClassName"),
        service_account=text(spec, "serviceAccountName"),
        automount_token=plain(spec, "automountServiceAccountToken"),
        share_process_namespace=bool(plain(spec, "shareProcessNamespace")),
        enable_service_links=True if links is None else links,
        host_network=bool(plain(spec, "hostNetwork")),
        subdomain=text(spec, "subdomain"),
        node_selector=text_map(spec.get("nodeSelector")),
        security_context=plain(spec, "securityContext") or {},
    )


def _container(node: Node, problems: Problems) -> model.Container:
    if text(node, "image") is None:
        problems.add(node.place, "the container has no image (for example nats:2.12.8-alpine)")
    stop = ("lifecycle", "preStop")
    _check_lifecycle(node, problems)
    return model.Container(
        place=node.place,
        places=places(
            node,
            name=("name",),
            image=("image",),
            command=("command",),
            args=("args",),
            env=("env",),
            ports=("ports",),
            startup_probe=("startupProbe",),
            readiness_probe=("readinessProbe",),
            liveness_probe=("livenessProbe",),
            pre_stop_command=(*stop, "exec"),
            pre_stop_sleep_s=(*stop, "sleep"),
            mounts=("volumeMounts",),
            resources=("resources",),
            image_pull_policy=("imagePullPolicy",),
            working_dir=("workingDir",),
            security_context=("securityContext",),
        )
        | _element_places(node),
        name=text(node, "name") or "",
        image=text(node, "image") or "",
        command=strings(node.get("command")),
        args=strings(node.get("args")),
        env=tuple(_env(variable, problems) for variable in items(node.get("env"))),
        ports=tuple(_port(port) for port in items(node.get("ports"))),
        startup_probe=_probe(node.get("startupProbe"), problems),
        readiness_probe=_probe(node.get("readinessProbe"), problems),
        liveness_probe=_probe(node.get("livenessProbe"), problems),
        pre_stop_command=strings(node.at(*stop, "exec", "command")),
        pre_stop_sleep_s=plain(node, *stop, "sleep", "seconds"),
        mounts=tuple(_mount(mount) for mount in items(node.get("volumeMounts"))),
        resources=_resources(node.get("resources"), node, problems),
        image_pull_policy=text(node, "imagePullPolicy"),
        working_dir=text(node, "workingDir"),
        security_context=plain(node, "securityContext") or {},
    )


def _element_places(node: Node) -> dict[str, Place]:
    """`args.0` and so on: where the text of each word of command and args begins."""
    return {
        f"{key}.{number}": item.text or item.place
        for key in ("command", "args")
        for number, item in enumerate(items(node.get(key)))
    }


def _check_lifecycle(node: Node, problems: Problems) -> None:
    for path in (("envFrom",), ("lifecycle", "postStart"), ("lifecycle", "preStop", "httpGet")):
        found = node.at(*path)
        if found is not None and found.value:
            problems.add(
                found.place,
                f"{'.'.join(path)} is not read by natsproof; "
                + ("write each variable under env" if path == ("envFrom",) else "use lifecycle.preStop.exec"),
            )


def _env(node: Node, problems: Problems) -> model.EnvVar:
    source = node.get("valueFrom")
    fields: dict[str, Any] = {}
    where = places(node, name=("name",), value=("value",))
    if source is not None and source.value is not None:
        where |= places(
            source,
            field_path=("fieldRef", "fieldPath"),
            config_map=("configMapKeyRef", "name"),
            secret=("secretKeyRef", "name"),
            resource=("resourceFieldRef", "resource"),
        )
        fields = {
            "field_path": text(source, "fieldRef", "fieldPath"),
            "config_map": text(source, "configMapKeyRef", "name"),
            "secret": text(source, "secretKeyRef", "name"),
            "key": text(source, "configMapKeyRef", "key") or text(source, "secretKeyRef", "key"),
            "resource": text(source, "resourceFieldRef", "resource"),
            "divisor": text(source, "resourceFieldRef", "divisor"),
        }
        given = [name for name in ("field_path", "config_map", "secret", "resource") if fields[name]]
        if len(given) != 1 or node.get("value") is not None:
            problems.add(
                source.place,
                "a variable has either value or one of valueFrom.fieldRef, configMapKeyRef, secretKeyRef,"
                " resourceFieldRef",
            )
        _check_reference(source, fields, problems)
    value = node.get("value")
    return model.EnvVar(
        place=node.place,
        places=where,
        name=text(node, "name") or "",
        value=None if value is None or value.value is None else str(value.value),
        **fields,
    )


def _check_reference(source: Node, fields: dict[str, Any], problems: Problems) -> None:
    path = fields["field_path"]
    known = FIELD_PATHS
    if path and path not in known and not path.startswith(("metadata.labels['", "metadata.annotations['")):
        problems.add(
            places(source, p=("fieldRef", "fieldPath")).get("p", source.place),
            f"fieldPath {path!r} does not exist{closest(path, known)}; known: {', '.join(known)},"
            f" metadata.labels['KEY'], metadata.annotations['KEY']",
        )
    resource = fields["resource"]
    if resource and resource not in RESOURCES:
        problems.add(
            source.place,
            f"resource {resource!r} does not exist{closest(resource, RESOURCES)} (for example limits.memory)",
        )


def _port(node: Node) -> model.ContainerPort:
    return model.ContainerPort(
        place=node.place,
        places=places(node, container_port=("containerPort",), name=("name",), protocol=("protocol",)),
        container_port=integer(node, 0, "containerPort"),
        name=text(node, "name"),
        protocol=text(node, "protocol") or "TCP",
    )


def _probe(node: Node | None, problems: Problems) -> model.Probe | None:
    if node is None or node.value is None:
        return None
    keys = {"httpGet": "http_get", "exec": "exec", "tcpSocket": "tcp_socket"}
    given = [key for key in keys if node.get(key) is not None]
    if len(given) != 1:
        if node.get("grpc") is not None:
            problems.add(node.place, "a grpc probe: nats-server has none; use httpGet with path /healthz")
        else:
            found = " and ".join(given) or "none"
            problems.add(node.place, f"a probe needs one of httpGet, exec, tcpSocket; found {found}")
        return None
    action = given[0]
    if action == "exec" and not strings(node.at("exec", "command")):
        problems.add(node.place, "an exec probe needs a command (for example [nats-server, --version])")
    return model.Probe(
        place=node.place,
        places=places(
            node,
            path=(action, "path"),
            port=(action, "port"),
            scheme=(action, "scheme"),
            command=(action, "command"),
            initial_delay_s=("initialDelaySeconds",),
            period_s=("periodSeconds",),
            timeout_s=("timeoutSeconds",),
            success_threshold=("successThreshold",),
            failure_threshold=("failureThreshold",),
        ),
        action=keys[action],
        path=(text(node, action, "path") or "/") if action == "httpGet" else None,
        port=plain(node, action, "port"),
        scheme=text(node, action, "scheme") or "HTTP",
        command=strings(node.at("exec", "command")) or (),
        initial_delay_s=integer(node, 0, "initialDelaySeconds"),
        period_s=integer(node, 10, "periodSeconds"),
        timeout_s=integer(node, 1, "timeoutSeconds"),
        success_threshold=integer(node, 1, "successThreshold"),
        failure_threshold=integer(node, 3, "failureThreshold"),
    )


def _mount(node: Node) -> model.VolumeMount:
    return model.VolumeMount(
        place=node.place,
        places=places(
            node, name=("name",), mount_path=("mountPath",), sub_path=("subPath",), read_only=("readOnly",)
        ),
        name=text(node, "name") or "",
        mount_path=text(node, "mountPath") or "",
        sub_path=text(node, "subPath"),
        read_only=bool(plain(node, "readOnly")),
    )


def _resources(node: Node | None, container: Node, problems: Problems) -> model.Resources:
    if node is None or node.value is None:
        return model.Resources(place=container.place)
    values: dict[str, Any] = {}
    paths: dict[str, tuple[str | int, ...]] = {
        "cpu_request": ("requests", "cpu"),
        "cpu_limit": ("limits", "cpu"),
        "memory_request_bytes": ("requests", "memory"),
        "memory_limit_bytes": ("limits", "memory"),
    }
    for name, path in paths.items():
        found = node.at(*path)
        if found is None or found.value is None:
            continue
        try:
            parse = units.quantity_cores if "cpu" in name else units.quantity_bytes
            values[name] = parse(found.value)
        except ValueError as error:
            problems.add(found.place, str(error))
    return model.Resources(place=node.place, places=places(node, **paths), **values)


def _volume(node: Node, problems: Problems) -> model.Volume:
    sources = [key for key in node.value if key != "name" and node.value[key].value is not None]
    if len(sources) != 1:
        found = " and ".join(sources) or "none"
        problems.add(
            node.place, f"a volume needs exactly one source (for example emptyDir: {{}}); found {found}"
        )
    source = sources[0] if sources else "emptyDir"
    known = ("configMap", "emptyDir", "secret", "persistentVolumeClaim")
    entries = items(node.at(source, "items")) if source == "configMap" else []
    return model.Volume(
        place=node.place,
        places=places(
            node,
            name=("name",),
            config_map=("configMap", "name"),
            items=("configMap", "items"),
            default_mode=(source, "defaultMode"),
            empty_dir=("emptyDir",),
            secret=("secret", "secretName"),
            claim=("persistentVolumeClaim", "claimName"),
        ),
        name=text(node, "name") or "",
        config_map=text(node, "configMap", "name"),
        items={str(text(e, "key")): str(text(e, "path")) for e in entries} if entries else None,
        default_mode=plain(node, source, "defaultMode") if source in ("configMap", "secret") else None,
        empty_dir=(plain(node, "emptyDir") or {}) if source == "emptyDir" else None,
        secret=text(node, "secret", "secretName"),
        claim=text(node, "persistentVolumeClaim", "claimName"),
        other=None if source in known else source,
    )


def _spreads(spec: Node) -> Iterator[model.Spread]:
    for node in items(spec.get("topologySpreadConstraints")):
        yield model.Spread(
            place=node.place,
            places=places(
                node,
                topology_key=("topologyKey",),
                hard=("whenUnsatisfiable",),
                max_skew=("maxSkew",),
                match_labels=("labelSelector", "matchLabels"),
            ),
            topology_key=text(node, "topologyKey") or "",
            hard=text(node, "whenUnsatisfiable") == "DoNotSchedule",
            max_skew=integer(node, 1, "maxSkew"),
            match_labels=text_map(node.at("labelSelector", "matchLabels")),
        )
    affinity = spec.at("affinity", "podAntiAffinity")
    if affinity is None:
        return
    for term in items(affinity.get("requiredDuringSchedulingIgnoredDuringExecution")):
        yield _anti_affinity(term, hard=True)
    for weighted in items(affinity.get("preferredDuringSchedulingIgnoredDuringExecution")):
        yield _anti_affinity(weighted.get("podAffinityTerm") or weighted, hard=False)


def _anti_affinity(term: Node, *, hard: bool) -> model.Spread:
    labels = dict(text_map(term.at("labelSelector", "matchLabels")))
    for expression in items(term.at("labelSelector", "matchExpressions")):
        values = strings(expression.get("values")) or ()
        if text(expression, "operator") == "In" and len(values) == 1:
            labels[str(text(expression, "key"))] = values[0]
    return model.Spread(
        place=term.place,
        places=places(term, topology_key=("topologyKey",), match_labels=("labelSelector", "matchLabels")),
        topology_key=text(term, "topologyKey") or "",
        hard=hard,
        match_labels=labels,
        how="antiAffinity",
    )
