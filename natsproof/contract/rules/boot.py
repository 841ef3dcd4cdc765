"""First boot: three empty servers become a cluster without help."""

from __future__ import annotations

from natsproof.contract.model import Contract
from natsproof.contract.rules.health import Depth, depth_of
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Verdict

CLUSTER_SCOPED = frozenset(
    {"Namespace", "PriorityClass", "StorageClass", "PersistentVolume", "ClusterRole", "ClusterRoleBinding"}
)
_PROMISE = "the quick deploy ends with three Ready servers"


@rule(_PROMISE)
def a_first_boot_cannot_deadlock(contract: Contract) -> Verdict:
    """No server waits for a later one that Kubernetes starts only after it: with OrderedReady no probe needs
    a quorum."""
    stateful = contract.statefulset
    wrong = []
    if stateful.pod_management_policy != "Parallel" and stateful.replicas > 1:
        container = contract.server_container
        for which, probe in (("startup", container.startup_probe), ("readiness", container.readiness_probe)):
            if probe is not None and depth_of(probe) >= Depth.META:
                wrong.append(
                    at(
                        stateful.at("pod_management_policy"),
                        f"podManagementPolicy {stateful.pod_management_policy} starts {stateful.name}-1 when"
                        f" {stateful.name}-0 is Ready, but its {which} probe {probe.path} ({probe.place})"
                        " answers 200"
                        " only with all servers up. Set podManagementPolicy: Parallel",
                    )
                )
    return judged(
        wrong,
        f"podManagementPolicy {stateful.pod_management_policy} and the probes do not wait for each other",
    )


@rule(_PROMISE)
def every_server_has_a_name_of_its_own(contract: Contract) -> Verdict:
    """server_name comes from the pod's name: raft peers are known by it, unique and the same after a
    restart."""
    config = contract.config
    place = config.at("server_name")
    variable = config.server_name_variable
    wrong = []
    if variable is None:
        found = repr(config.server_name) if config.server_name else "not set"
        wrong.append(at(place, f"server_name is {found}, the same on every pod. Set server_name: $POD_NAME"))
    else:
        by_name = {env.name: env for env in contract.server_container.env}
        source = by_name.get(variable)
        value = source.value if source else None
        paths = [e.field_path for e in by_name.values() if value and f"$({e.name})" in value]
        if source is not None and "metadata.name" not in [source.field_path, *paths]:
            text = f"{variable} is {source.value or source.field_path!r}, not the pod's metadata.name"
            wrong.append(at(source.place, text))
    return judged(wrong, f"server_name is the pod's name by ${variable}")


@rule(_PROMISE)
def the_cluster_has_a_name(contract: Contract) -> Verdict:
    """cluster.name is set; JetStream in a cluster refuses to start without it, and `nats-server -t` does not
    tell."""
    wrong = []
    if not contract.config.cluster_name:
        wrong.append(
            at(
                contract.config.at("cluster"),
                "cluster.name is missing: the server exits at start. Set a name",
            )
        )
    return judged(wrong, f"the cluster is named {contract.config.cluster_name}")


@rule("a majority remains when one server is dead")
def the_servers_are_an_odd_number_of_at_least_three(contract: Contract) -> Verdict:
    """The set has 3, 5, ... servers: fewer have none to lose, an even number bears no more deaths."""
    stateful = contract.statefulset
    wrong = []
    if stateful.replicas < 3 or stateful.replicas % 2 == 0:
        wrong.append(
            at(stateful.at("replicas"), f"replicas is {stateful.replicas}; expected 3 or a larger odd number")
        )
    return judged(wrong, f"{stateful.replicas} servers", servers=stateful.replicas)


@rule("an operator's change arrives")
def a_changed_configuration_reaches_the_pods(contract: Contract) -> Verdict:
    """nats.conf is mounted as a folder: a subPath mount never sees a changed ConfigMap."""
    wrong = []
    volumes = {
        v.name for v in contract.statefulset.template.volumes if v.config_map == contract.config_map.name
    }
    for mount in contract.server_container.mounts:
        if mount.name in volumes and mount.sub_path:
            text = (
                f"{mount.mount_path} mounts {contract.config_map.name} by subPath {mount.sub_path}."
                " Mount the folder"
            )
            wrong.append(at(mount.at("sub_path"), text))
    return judged(wrong, f"ConfigMap {contract.config_map.name} is mounted as a folder")


@rule("`kubectl apply` puts every object where it has its effect")
def every_object_is_in_the_platforms_namespace(contract: Contract) -> Verdict:
    """Each namespaced object names the platform's namespace: elsewhere a budget or policy does nothing."""
    wrong = [
        at(
            one.at("namespace"),
            f"{one.kind} {one.name} is in namespace {one.namespace or 'of the moment (none is written)'}, the"
            f" servers are in {contract.namespace}. Set metadata.namespace: {contract.namespace}",
        )
        for one in contract.objects
        if one.kind not in CLUSTER_SCOPED and one.namespace != contract.namespace
    ]
    return judged(wrong, f"all objects are in namespace {contract.namespace}", objects=len(contract.objects))


RULES: tuple[Rule, ...] = (
    a_first_boot_cannot_deadlock,
    every_server_has_a_name_of_its_own,
    the_cluster_has_a_name,
    the_servers_are_an_odd_number_of_at_least_three,
    a_changed_configuration_reaches_the_pods,
    every_object_is_in_the_platforms_namespace,
)
