"""The Contract: manifests as typed, frozen values. Every field remembers its `file:line`.

Values are plain Python (int bytes, float seconds, str); `thing.at("field")` gives the Place a field was
written at, or the Place of the thing itself where the field is defaulted. Absent optional fields are
None or the Kubernetes default, as said beside each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


NOWHERE = Place("<default>", 0)


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """Base of all that is read from a file: `place` is where it begins, `places` where its fields are."""

    place: Place = field(default=NOWHERE, compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)

    def at(self, name: str) -> Place:
        """Where field `name` was written; where the thing begins if it was defaulted."""
        return self.places.get(name, self.place)


@dataclass(frozen=True, kw_only=True)
class KubernetesObject(Sourced):
    """What every object has. `raw` is the plain document as loaded (for apply and schema checks)."""

    kind: str
    api_version: str
    name: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class EnvVar(Sourced):
    """`value` before `$(VAR)` expansion, or one of the references."""

    name: str
    value: str | None = None
    field_path: str | None = None  # valueFrom.fieldRef.fieldPath
    config_map: str | None = None  # valueFrom.configMapKeyRef
    secret: str | None = None  # valueFrom.secretKeyRef
    key: str | None = None
    resource: str | None = None  # valueFrom.resourceFieldRef.resource, e.g. limits.memory
    divisor: str | None = None


@dataclass(frozen=True, kw_only=True)
class ContainerPort(Sourced):
    container_port: int
    name: str | None = None
    protocol: str = "TCP"


@dataclass(frozen=True, kw_only=True)
class Probe(Sourced):
    """Kubernetes defaults filled in. `action` is one of http_get, exec, tcp_socket."""

    action: str
    path: str | None = None
    port: int | str | None = None
    scheme: str = "HTTP"
    command: tuple[str, ...] = ()
    initial_delay_s: int = 0
    period_s: int = 10
    timeout_s: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, kw_only=True)
class VolumeMount(Sourced):
    name: str
    mount_path: str
    sub_path: str | None = None
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Resources(Sourced):
    """Cores and bytes; None where unset."""

    cpu_request: float | None = None
    cpu_limit: float | None = None
    memory_request_bytes: int | None = None
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Container(Sourced):
    """`command` replaces the image's entry point, `args` its CMD; None means the image's own."""

    name: str
    image: str
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    pre_stop_command: tuple[str, ...] | None = None  # lifecycle.preStop.exec.command
    pre_stop_sleep_s: int | None = None
    mounts: tuple[VolumeMount, ...] = ()
    resources: Resources = Resources()
    image_pull_policy: str | None = None
    working_dir: str | None = None
    security_context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Volume(Sourced):
    """Exactly one source is set. `empty_dir` is {} for a plain one; `items` maps key to path."""

    name: str
    config_map: str | None = None
    items: Mapping[str, str] | None = None
    default_mode: int | None = None
    empty_dir: Mapping[str, Any] | None = None
    secret: str | None = None
    claim: str | None = None
    other: str | None = None  # name of any other source (hostPath, projected, ...)


@dataclass(frozen=True, kw_only=True)
class Spread(Sourced):
    """One topologySpreadConstraint, or a required/preferred pod anti-affinity term."""

    topology_key: str
    hard: bool  # DoNotSchedule, or requiredDuringScheduling...
    max_skew: int = 1
    match_labels: Mapping[str, str] = field(default_factory=dict)
    how: str = "topologySpread"  # or "antiAffinity"


@dataclass(frozen=True, kw_only=True)
class PodSpec(Sourced):
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    termination_grace_period_s: int = 30
    restart_policy: str = "Always"
    spreads: tuple[Spread, ...] = ()
    priority_class: str | None = None
    service_account: str | None = None
    automount_token: bool | None = None
    share_process_namespace: bool = False
    enable_service_links: bool = True
    host_network: bool = False
    subdomain: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    security_context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VolumeClaim(Sourced):
    name: str
    storage_class: str | None = None
    access_modes: tuple[str, ...] = ()
    storage_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class StatefulSet(KubernetesObject):
    replicas: int = 1
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    selector: Mapping[str, str] = field(default_factory=dict)
    template: PodSpec
    claims: tuple[VolumeClaim, ...] = ()
    update_strategy: str = "RollingUpdate"
    partition: int = 0
    max_unavailable: int | str | None = None
    min_ready_s: int = 0
    retention_when_deleted: str = "Retain"
    retention_when_scaled: str = "Retain"

    def pod_names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}-{i}" for i in range(self.replicas))


@dataclass(frozen=True, kw_only=True)
class ServicePort(Sourced):
    port: int
    name: str | None = None
    target_port: int | str | None = None  # None: the same as `port`
    protocol: str = "TCP"


@dataclass(frozen=True, kw_only=True)
class Service(KubernetesObject):
    headless: bool = False  # clusterIP: None
    type: str = "ClusterIP"
    selector: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[ServicePort, ...] = ()
    publish_not_ready: bool = False


@dataclass(frozen=True, kw_only=True)
class ConfigMap(KubernetesObject):
    """`data` by key; `line_of(key, n)` is where line n (from 1) of that text stands in the file."""

    data: Mapping[str, str] = field(default_factory=dict)
    text_at: Mapping[str, Place] = field(default_factory=dict, repr=False)  # first line of each text

    def line_of(self, key: str, line: int) -> Place:
        first = self.text_at.get(key, self.at(key))
        return Place(first.file, first.line + line - 1)


@dataclass(frozen=True, kw_only=True)
class Job(KubernetesObject):
    template: PodSpec
    backoff_limit: int = 6
    active_deadline_s: int | None = None
    ttl_after_finished_s: int | None = None
    completions: int = 1
    parallelism: int = 1


@dataclass(frozen=True, kw_only=True)
class DisruptionBudget(KubernetesObject):
    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    selector: Mapping[str, str] = field(default_factory=dict)
    unhealthy_eviction: str | None = None


@dataclass(frozen=True, kw_only=True)
class OtherObject(KubernetesObject):
    """A known kind without typed fields: Namespace, NetworkPolicy, PriorityClass, StorageClass, ..."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig(Sourced):
    """nats.conf as the server would read it (with the first pod's environment for `$VAR`).

    `tree` is the nested plain dict of the whole file; `at("cluster.routes")` gives places by dotted path.
    Bytes and seconds; None where the file does not set it.
    """

    tree: Mapping[str, Any]
    server_name: str | None = None
    server_name_variable: str | None = None  # POD_NAME for `server_name: $POD_NAME`
    port: int | None = None
    http_port: int | None = None
    pid_file: str | None = None
    lame_duck_duration_s: float | None = None
    lame_duck_grace_s: float | None = None
    max_payload_bytes: int | None = None
    jetstream: bool = False
    store_dir: str | None = None
    max_memory_bytes: int | None = None
    max_file_bytes: int | None = None
    sync_always: bool = False
    sync_interval_s: float | None = None  # None: the server's default of 120 s, or `always`
    cluster_name: str | None = None
    cluster_port: int | None = None
    routes: tuple[str, ...] = ()
    no_advertise: bool = False
    variables: Mapping[str, Place] = field(default_factory=dict)  # every $VAR used, and where


@dataclass(frozen=True, kw_only=True)
class Bucket(Sourced):
    """One bucket, as the set-up Job will create it or as the promises want it. None: not stated."""

    name: str
    ttl_s: float | None = None
    marker_ttl_s: float | None = None
    max_bytes: int | None = None
    replicas: int = 1
    storage: str = "file"
    history: int = 1
    max_value_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Promises(Sourced):
    """What the platform owes, from the ConfigMap that carries `promises.yaml`.

    The words of `survives` (deaths an acknowledged write outlives), `linearizable` and `recovery_s` (budgets
    by fault) are SURVIVALS, DISTURBANCES and RECOVERIES of natsproof.contract.promises.
    """

    buckets: tuple[Bucket, ...] = ()
    survives: tuple[str, ...] = ()
    linearizable: tuple[str, ...] = ()  # faults through which each key stays one register
    recovery_s: Mapping[str, float] = field(default_factory=dict)
    expiry_late_s: float | None = None  # nothing lives longer than ttl + this
    direct_get_late_s: float | None = None  # a direct get shows nothing overwritten longer ago
    monitoring: tuple[str, ...] = ()  # paths that answer 200 on every server
    rate_floor_hz: float = 0.0  # acknowledged puts a second, all buckets together
    rate_floor_one_down_hz: float = 0.0
    p99_s: float | None = None
    storage_class: str | None = None

    def bucket(self, name: str) -> Bucket:
        for bucket in self.buckets:
            if bucket.name == name:
                return bucket
        known = ", ".join(b.name for b in self.buckets) or "none"
        raise KeyError(f"no bucket {name!r} is promised in {self.place}; promised: {known}")


@dataclass(frozen=True, kw_only=True)
class Contract(Sourced):
    """All objects of one platform. `digest` is the SHA-256 of the canonical documents."""

    objects: tuple[KubernetesObject, ...]
    statefulset: StatefulSet
    server_container: Container  # the one that runs nats-server
    config: ServerConfig
    config_map: ConfigMap  # the one that carries nats.conf
    governing_service: Service | None  # named by serviceName, if it exists
    client_service: Service | None
    job: Job | None
    job_buckets: tuple[Bucket, ...]  # what the Job's script will create
    promises: Promises
    namespace: str
    digest: str

    def of_kind(self, kind: str) -> tuple[KubernetesObject, ...]:
        return tuple(o for o in self.objects if o.kind == kind)

    @property
    def services(self) -> tuple[Service, ...]:
        return tuple(o for o in self.objects if isinstance(o, Service))

    @property
    def budgets(self) -> tuple[DisruptionBudget, ...]:
        return tuple(o for o in self.objects if isinstance(o, DisruptionBudget))
