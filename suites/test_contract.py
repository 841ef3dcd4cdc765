"""What the manifests alone decide: one claim for each rule of natsproof/contract/rules, no cluster needed.

Promise    every field of manifests/, and manifests/promises.yaml
Not here   whether the running platform keeps it: all other suites
"""

from natsproof.contract.rules import (
    accounts,
    boot,
    buckets,
    durability,
    environment,
    job,
    memory,
    network,
    pinning,
    placement,
    policy,
    probes,
    promises,
    shutdown,
    storage,
)


class TestNetwork:
    def test_the_governing_service_exists(self, certify, contract):
        """The Service named by serviceName is among the manifests, so each pod has a name of its own."""
        certify.that_rule(contract, network.the_governing_service_exists)

    def test_the_governing_service_is_headless(self, certify, contract):
        """The governing Service has clusterIP None: only then do the pods' own names exist in DNS."""
        certify.that_rule(contract, network.the_governing_service_is_headless)

    def test_the_governing_service_publishes_unready_servers(self, certify, contract):
        """Servers find each other in DNS before any of them is Ready: publishNotReadyAddresses is true."""
        certify.that_rule(contract, network.the_governing_service_publishes_unready_servers)

    def test_the_governing_service_selects_the_servers(self, certify, contract):
        """The governing Service's selector matches the labels of the servers' pods."""
        certify.that_rule(contract, network.the_governing_service_selects_the_servers)

    def test_every_route_names_a_server(self, certify, contract):
        """Every route in nats.conf is the DNS name of a pod of this StatefulSet, with the cluster's port."""
        certify.that_rule(contract, network.every_route_names_a_server)

    def test_every_server_has_a_route(self, certify, contract):
        """Each replica is named by exactly one route: a first boot waits for as many peers as routes."""
        certify.that_rule(contract, network.every_server_has_a_route)

    def test_a_service_for_clients_selects_the_servers(self, certify, contract):
        """Besides the governing Service there is one for clients that selects the servers' pods."""
        certify.that_rule(contract, network.a_service_for_clients_selects_the_servers)

    def test_the_client_service_has_an_address_of_its_own(self, certify, contract):
        """The Service for clients has one stable cluster address and is not the governing Service."""
        certify.that_rule(contract, network.the_client_service_has_an_address_of_its_own)

    def test_every_service_port_leads_to_a_listener(self, certify, contract):
        """Each port of each Service of the servers leads to a port that nats.conf opens."""
        certify.that_rule(contract, network.every_service_port_leads_to_a_listener)

    def test_the_client_service_offers_the_client_port(self, certify, contract):
        """The Service for clients offers the server's client port under the same number."""
        certify.that_rule(contract, network.the_client_service_offers_the_client_port)

    def test_no_service_leads_to_the_job(self, certify, contract):
        """No Service selects the set-up Job's pod: a client must never be sent there."""
        certify.that_rule(contract, network.no_service_leads_to_the_job)

    def test_addresses_of_pods_are_not_advertised(self, certify, contract):
        """no_advertise is true: clients keep to the Service's name instead of collecting addresses that die
        with pods."""
        certify.that_rule(contract, network.addresses_of_pods_are_not_advertised)

    def test_the_network_policy_lets_servers_reach_each_other(self, certify, contract):
        """Servers may open routes to each other through the NetworkPolicies."""
        certify.that_rule(contract, policy.the_network_policy_lets_servers_reach_each_other)

    def test_the_network_policy_lets_clients_in(self, certify, contract):
        """The NetworkPolicies let clients of every namespace, and the set-up Job, reach the client port."""
        certify.that_rule(contract, policy.the_network_policy_lets_clients_in)

    def test_the_network_policy_lets_monitoring_in(self, certify, contract):
        """The monitoring port may be reached from the cluster's namespaces through the NetworkPolicies."""
        certify.that_rule(contract, policy.the_network_policy_lets_monitoring_in)

    def test_only_servers_reach_the_routes(self, certify, contract):
        """A NetworkPolicy keeps all but the servers off the cluster port: a route needs no password and sees
        every account."""
        certify.that_rule(contract, policy.only_servers_reach_the_routes)


class TestBootAndShutdown:
    def test_a_first_boot_cannot_deadlock(self, certify, contract):
        """No server waits for a later one that Kubernetes starts only after it: with OrderedReady no probe
        needs a quorum."""
        certify.that_rule(contract, boot.a_first_boot_cannot_deadlock)

    def test_every_server_has_a_name_of_its_own(self, certify, contract):
        """server_name comes from the pod's name: raft peers are known by it, unique and the same after a
        restart."""
        certify.that_rule(contract, boot.every_server_has_a_name_of_its_own)

    def test_the_cluster_has_a_name(self, certify, contract):
        """cluster.name is set; JetStream in a cluster refuses to start without it, and `nats-server -t` does
        not tell."""
        certify.that_rule(contract, boot.the_cluster_has_a_name)

    def test_the_servers_are_an_odd_number_of_at_least_three(self, certify, contract):
        """The set has 3, 5, ... servers: fewer have none to lose, an even number bears no more deaths."""
        certify.that_rule(contract, boot.the_servers_are_an_odd_number_of_at_least_three)

    def test_a_changed_configuration_reaches_the_pods(self, certify, contract):
        """nats.conf is mounted as a folder: a subPath mount never sees a changed ConfigMap."""
        certify.that_rule(contract, boot.a_changed_configuration_reaches_the_pods)

    def test_every_object_is_in_the_platforms_namespace(self, certify, contract):
        """Each namespaced object names the platform's namespace: elsewhere a budget or policy does
        nothing."""
        certify.that_rule(contract, boot.every_object_is_in_the_platforms_namespace)

    def test_every_server_is_probed(self, certify, contract):
        """Startup, readiness and liveness probes are all set on the server's container."""
        certify.that_rule(contract, probes.every_server_is_probed)

    def test_liveness_leaves_a_server_that_catches_up_alone(self, certify, contract):
        """The liveness probe passes while a server catches up or the quorum is lost: killing it then makes
        matters worse."""
        certify.that_rule(contract, probes.liveness_leaves_a_server_that_catches_up_alone)

    def test_liveness_bears_a_pause_of_half_a_minute(self, certify, contract):
        """Liveness kills a server after 30 s or more: a volume that stalls is not a dead server."""
        certify.that_rule(contract, probes.liveness_bears_a_pause_of_half_a_minute)

    def test_startup_gives_time_to_refill_a_volume(self, certify, contract):
        """The startup probe allows the time in which the others fill an empty volume again."""
        certify.that_rule(contract, probes.startup_gives_time_to_refill_a_volume)

    def test_a_rolling_restart_waits_for_a_server_to_catch_up(self, certify, contract):
        """A restarted server counts as Ready only after its streams are current, so the next one is not
        stopped too early."""
        certify.that_rule(contract, probes.a_rolling_restart_waits_for_a_server_to_catch_up)

    def test_readiness_does_not_need_a_quorum(self, certify, contract):
        """Readiness asks only whether this server takes clients: else the loss of the quorum empties the
        client Service."""
        certify.that_rule(contract, probes.readiness_does_not_need_a_quorum)

    def test_every_probe_asks_the_monitoring_port(self, certify, contract):
        """Each HTTP probe asks the port on which nats.conf serves monitoring."""
        certify.that_rule(contract, probes.every_probe_asks_the_monitoring_port)

    def test_every_probe_waits_longer_than_a_second(self, certify, contract):
        """No probe gives up after Kubernetes' default of a second: a server that fsyncs may be later."""
        certify.that_rule(contract, probes.every_probe_waits_longer_than_a_second)

    def test_pre_stop_hands_leadership_over(self, certify, contract):
        """preStop puts the server into lame duck mode: it hands over its leaderships and lets clients move
        before it stops."""
        certify.that_rule(contract, shutdown.pre_stop_hands_leadership_over)

    def test_the_pid_file_is_where_pre_stop_looks(self, certify, contract):
        """nats.conf writes the pid file at the path that preStop reads."""
        certify.that_rule(contract, shutdown.the_pid_file_is_where_pre_stop_looks)

    def test_the_pid_file_can_be_written(self, certify, contract):
        """The pid file lies in a mount that the server may write to."""
        certify.that_rule(contract, shutdown.the_pid_file_can_be_written)

    def test_lame_duck_fits_the_grace_period(self, certify, contract):
        """terminationGracePeriodSeconds exceeds lame duck by 20 s: SIGTERM is ignored in lame duck and
        SIGKILL ends it."""
        certify.that_rule(contract, shutdown.lame_duck_fits_the_grace_period)

    def test_the_server_accepts_its_lame_duck_times(self, certify, contract):
        """lame_duck_duration is 30 s or more and the grace period in it shorter: else the server exits at
        start."""
        certify.that_rule(contract, shutdown.the_server_accepts_its_lame_duck_times)


class TestStorage:
    def test_the_buckets_fit_max_file(self, certify, contract):
        """What all replicas of all buckets reserve fits the servers' max_file together, and each bucket fits
        one server."""
        certify.that_rule(contract, storage.the_buckets_fit_max_file)

    def test_max_file_leaves_room_on_the_volume(self, certify, contract):
        """max_file is set and at most 80 % of the volume: raft logs and the file system need the rest."""
        certify.that_rule(contract, storage.max_file_leaves_room_on_the_volume)

    def test_the_store_is_on_a_volume_of_its_own(self, certify, contract):
        """store_dir lies on a volume claim of the StatefulSet: anywhere else the data dies with the pod."""
        certify.that_rule(contract, storage.the_store_is_on_a_volume_of_its_own)

    def test_the_volumes_are_of_the_promised_class(self, certify, contract):
        """The volume claims name the storage class that the promises name."""
        certify.that_rule(contract, storage.the_volumes_are_of_the_promised_class)

    def test_each_server_alone_mounts_its_volume(self, certify, contract):
        """The volumes are ReadWriteOnce or ReadWriteOncePod: two servers on one store destroy it."""
        certify.that_rule(contract, storage.each_server_alone_mounts_its_volume)

    def test_deleting_or_scaling_keeps_the_volumes(self, certify, contract):
        """Volumes are retained when the StatefulSet is deleted or scaled down."""
        certify.that_rule(contract, storage.deleting_or_scaling_keeps_the_volumes)

    def test_the_server_may_write_to_its_volume(self, certify, contract):
        """A server that is not root has an fsGroup, and the volume's mount is not read-only."""
        certify.that_rule(contract, storage.the_server_may_write_to_its_volume)

    def test_memory_is_requested_and_limited(self, certify, contract):
        """The server requests memory, so that the scheduler finds room, and is limited, so that it cannot
        take the node."""
        certify.that_rule(contract, memory.memory_is_requested_and_limited)

    def test_max_mem_fits_the_memory_request(self, certify, contract):
        """JetStream's max_mem is at most half the memory request: the server itself needs the rest."""
        certify.that_rule(contract, memory.max_mem_fits_the_memory_request)

    def test_go_knows_the_memory_limit(self, certify, contract):
        """GOMEMLIMIT is set to at most 90 % of the memory limit: Go does not see the container's limit by
        itself."""
        certify.that_rule(contract, memory.go_knows_the_memory_limit)

    def test_an_acknowledged_write_is_on_disk_if_power_loss_is_promised(self, certify, contract):
        """If a power loss is promised to be survived, the server syncs before it acknowledges: sync_interval
        is always."""
        certify.that_rule(contract, durability.an_acknowledged_write_is_on_disk_if_power_loss_is_promised)


class TestBucketsAndJob:
    def test_the_job_creates_every_promised_bucket(self, certify, contract):
        """Each bucket of the promises is created by the set-up Job."""
        certify.that_rule(contract, buckets.the_job_creates_every_promised_bucket)

    def test_every_bucket_of_the_job_is_promised(self, certify, contract):
        """The Job creates no bucket that the promises do not know: it would take room that is promised to
        others."""
        certify.that_rule(contract, buckets.every_bucket_of_the_job_is_promised)

    def test_every_bucket_has_the_promised_replicas(self, certify, contract):
        """Each bucket is made with as many replicas as promised; the CLI's default is one."""
        certify.that_rule(contract, buckets.every_bucket_has_the_promised_replicas)

    def test_every_bucket_is_promised_three_replicas(self, certify, contract):
        """Each bucket is promised at least three replicas and no more than there are servers."""
        certify.that_rule(contract, buckets.every_bucket_is_promised_three_replicas)

    def test_every_bucket_is_kept_on_disk(self, certify, contract):
        """Each bucket is made with file storage."""
        certify.that_rule(contract, buckets.every_bucket_is_kept_on_disk)

    def test_every_bucket_has_the_promised_ttl(self, certify, contract):
        """Each bucket is made with the promised TTL."""
        certify.that_rule(contract, buckets.every_bucket_has_the_promised_ttl)

    def test_every_bucket_has_the_promised_size(self, certify, contract):
        """Each bucket is made with the promised size; without one it may fill the volume."""
        certify.that_rule(contract, buckets.every_bucket_has_the_promised_size)

    def test_every_bucket_keeps_the_promised_history(self, certify, contract):
        """Each bucket is made with the promised number of revisions for a key."""
        certify.that_rule(contract, buckets.every_bucket_keeps_the_promised_history)

    def test_no_bucket_leaves_markers(self, certify, contract):
        """No bucket is made with --marker-ttl, whose markers may remove what was acknowledged."""
        certify.that_rule(contract, buckets.no_bucket_leaves_markers)

    def test_the_largest_value_fits_a_message(self, certify, contract):
        """max_payload is at most 8 MiB, and no bucket promises larger values than a message can carry."""
        certify.that_rule(contract, buckets.the_largest_value_fits_a_message)

    def test_the_job_fails_when_a_bucket_cannot_be_made(self, certify, contract):
        """Under `set -e`, each `nats kv add` is a command of its own whose failure ends the container."""
        certify.that_rule(contract, job.the_job_fails_when_a_bucket_cannot_be_made)

    def test_the_job_checks_what_the_servers_have(self, certify, contract):
        """After creating the buckets the Job reads back each one's configuration, so that drift is not taken
        for success."""
        certify.that_rule(contract, job.the_job_checks_what_the_servers_have)

    def test_the_job_waits_for_the_servers(self, certify, contract):
        """Before the first bucket the script waits in a loop with an end: servers may still be starting."""
        certify.that_rule(contract, job.the_job_waits_for_the_servers)

    def test_the_job_ends(self, certify, contract):
        """The Job has a deadline and few retries, so a failure that lasts is shown."""
        certify.that_rule(contract, job.the_job_ends)

    def test_the_log_of_the_job_stays_readable(self, certify, contract):
        """A finished Job keeps its pods for an hour or more, and a failed try is not replaced in place
        (restartPolicy Never)."""
        certify.that_rule(contract, job.the_log_of_the_job_stays_readable)

    def test_the_job_asks_this_platform(self, certify, contract):
        """The server address of the Job is a Service of the manifests, or a pod of the set, with the client
        port."""
        certify.that_rule(contract, job.the_job_asks_this_platform)


class TestPlacementAndPinning:
    def test_no_two_servers_share_a_node(self, certify, contract):
        """The scheduler must place every server on a node of its own, or leave it Pending."""
        certify.that_rule(contract, placement.no_two_servers_share_a_node)

    def test_a_drain_keeps_the_quorum(self, certify, contract):
        """A PodDisruptionBudget of the servers allows no more evictions at once than leave a majority."""
        certify.that_rule(contract, placement.a_drain_keeps_the_quorum)

    def test_a_drain_is_not_blocked_for_ever(self, certify, contract):
        """The budget allows one eviction, and a pod that is not Ready does not block it (AlwaysAllow)."""
        certify.that_rule(contract, placement.a_drain_is_not_blocked_for_ever)

    def test_the_servers_are_evicted_last(self, certify, contract):
        """The servers have a priority class with a value above the default of zero, and it is among the
        manifests."""
        certify.that_rule(contract, placement.the_servers_are_evicted_last)

    def test_an_update_restarts_one_server_at_a_time(self, certify, contract):
        """The update strategy replaces one server, and the next when it is Ready; none is left at the old
        version."""
        certify.that_rule(contract, placement.an_update_restarts_one_server_at_a_time)

    def test_every_image_is_pinned(self, certify, contract):
        """Every image has an exact version or a digest: a floating tag runs different versions in pods of one
        set."""
        certify.that_rule(contract, pinning.every_image_is_pinned)

    def test_a_restart_needs_no_registry(self, certify, contract):
        """A pinned image on the node is used as it is: imagePullPolicy is not Always."""
        certify.that_rule(contract, pinning.a_restart_needs_no_registry)

    def test_the_server_understands_its_probes(self, certify, contract):
        """The server's version is 2.11 or later, since which the probes' queries ask what their names say."""
        certify.that_rule(contract, pinning.the_server_understands_its_probes)


class TestPromisesAndAccounts:
    def test_every_environment_variable_is_used(self, certify, contract):
        """Each variable of a container is read: by nats.conf, its command or a known program."""
        certify.that_rule(contract, environment.every_environment_variable_is_used)

    def test_no_variable_is_taken_literally(self, certify, contract):
        """No value in nats.conf has a $VAR as text: quoted or inside another word it is not replaced."""
        certify.that_rule(contract, environment.no_variable_is_taken_literally)

    def test_every_variable_is_read_as_text(self, certify, contract):
        """A value put into nats.conf by a variable begins with a letter and is no keyword: 12k would become
        12000."""
        certify.that_rule(contract, environment.every_variable_is_read_as_text)

    def test_no_key_is_written_twice(self, certify, contract):
        """No key stands twice in a block of nats.conf: the server takes the last without a word."""
        certify.that_rule(contract, environment.no_key_is_written_twice)

    def test_every_recovery_budget_allows_an_election(self, certify, contract):
        """The recovery budgets after the sudden loss of a leader are longer than raft's longest election
        timeout of 9 s."""
        certify.that_rule(contract, promises.every_recovery_budget_allows_an_election)

    def test_every_promised_monitoring_path_exists(self, certify, contract):
        """Each promised monitoring path is one that nats-server serves; /metrics is not."""
        certify.that_rule(contract, promises.every_promised_monitoring_path_exists)

    def test_monitoring_is_switched_on(self, certify, contract):
        """nats.conf opens the monitoring port if the promises name monitoring paths."""
        certify.that_rule(contract, promises.monitoring_is_switched_on)

    def test_every_ttl_outlasts_a_recovery(self, certify, contract):
        """Each TTL is at least twice the longest recovery budget: else a failover alone makes a lock or a
        state expire."""
        certify.that_rule(contract, promises.every_ttl_outlasts_a_recovery)

    def test_the_expiry_bound_allows_the_servers_tick(self, certify, contract):
        """The promised lateness of expiry is longer than the quarter of a second in which the server looks
        again."""
        certify.that_rule(contract, promises.the_expiry_bound_allows_the_servers_tick)

    def test_a_client_without_credentials_gets_jetstream(self, certify, contract):
        """Who connects without credentials is in an account that has JetStream."""
        certify.that_rule(contract, accounts.a_client_without_credentials_gets_jetstream)

    def test_the_system_account_has_a_user(self, certify, contract):
        """A user can log in to the system account: else there is no peer-remove and no step-down."""
        certify.that_rule(contract, accounts.the_system_account_has_a_user)

    def test_the_system_account_is_closed(self, certify, contract):
        """The system account needs a password that is not written in the ConfigMap, and is not that of
        unknown clients."""
        certify.that_rule(contract, accounts.the_system_account_is_closed)

    def test_no_container_runs_as_root(self, certify, contract):
        """Every container runs as another user than root, cannot gain privileges and has no capabilities."""
        certify.that_rule(contract, accounts.no_container_runs_as_root)

    def test_no_pod_carries_a_kubernetes_token(self, certify, contract):
        """automountServiceAccountToken is false: neither servers nor the Job talk to Kubernetes."""
        certify.that_rule(contract, accounts.no_pod_carries_a_kubernetes_token)
