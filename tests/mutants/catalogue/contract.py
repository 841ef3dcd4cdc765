"""Manifests and promises made wrong, applied to real servers: what they then do must break claims."""

from __future__ import annotations

from tests.mutants.manifests import Edit
from tests.mutants.mutant import Mutant

JOB = "kv-setup-job.yaml"
PROMISES = "promises.yaml"
#: The Job's own check would stop it before the suites see anything.
NO_CHECK = tuple(
    Edit(JOB, f"              verify {check}\n", "")
    for check in (
        "message_state 900 10737418240",
        "integration_locks 300 1073741824",
        "retry_queue 3600 53687091200",
        "dead_letter_queue 604800 107374182400",
    )
)
STATE = "add message_state --replicas=3 --storage=file --history=1 --ttl=15m --max-bucket-size=10GiB"


def _state(find: str, replace: str) -> tuple[Edit, ...]:
    """Another configuration of message_state, unnoticed by the Job."""
    return (*NO_CHECK, Edit(JOB, STATE, STATE.replace(find, replace)))


AS_PROMISED = "test_a_bucket_is_as_promised[message_state]"
REPLICATED = "test_a_bucket_is_replicated_on_three_servers[message_state]"
READY = "test_every_pod_becomes_ready"
JOB_DONE = "test_the_setup_job_completes"


def _promise(name: str, find: str, replace: str, *claims: str, fast: bool = False) -> Mutant:
    return Mutant(name, "contract", claims, edits=(Edit(PROMISES, find, replace),), fast=fast)


BUCKETS = (
    Mutant(
        "buckets with one replica",
        "contract",
        (AS_PROMISED, REPLICATED),
        edits=_state("=3 ", "=1 "),
        fast=True,
    ),
    Mutant("a bucket whose TTL was dropped", "contract", (AS_PROMISED,), edits=_state(" --ttl=15m", "")),
    Mutant("a bucket with a TTL of two minutes", "contract", (AS_PROMISED,), edits=_state("15m", "2m")),
    Mutant(
        "a bucket with a TTL whose values are promised for ever",
        "contract",
        (AS_PROMISED,),
        edits=(Edit(PROMISES, "{name: message_state, ttl: 15m, ", "{name: message_state, "),),
    ),
    Mutant("a bucket of another size", "contract", (AS_PROMISED,), edits=_state("10GiB", "9GiB")),
    Mutant(
        "a bucket that keeps two values", "contract", (AS_PROMISED,), edits=_state("history=1", "history=2")
    ),
    Mutant(
        "the Job forgets a promised bucket",
        "contract",
        (AS_PROMISED, REPLICATED),
        edits=(*NO_CHECK, Edit(JOB, f"              again nats kv {STATE}\n", "")),
    ),
    Mutant(
        "a bucket in memory, and all die",
        "contract",
        (
            AS_PROMISED,
            "test_an_acknowledged_put_survives_sigkill_of_all_servers_at_once[message_state]",
            "test_writes_were_in_flight_when_all_servers_died",
        ),
        edits=_state(
            "storage=file --history=1 --ttl=15m --max-bucket-size=10GiB",
            "storage=memory --history=1 --ttl=15m --max-bucket-size=10MiB",
        ),
    ),
    Mutant(
        "the Job expects a size that it does not ask for",
        "contract",
        (READY, JOB_DONE),
        edits=(Edit(JOB, "verify retry_queue 3600 53687091200", "verify retry_queue 3600 5"),),
    ),
)

STARTS = (
    Mutant(
        "unready servers have no name",
        "contract",
        (READY,),
        edits=(
            Edit("service.yaml", "publishNotReadyAddresses: true", "publishNotReadyAddresses: false"),
            Edit("statefulset.yaml", "path: /healthz?js-server-only=true", "path: /healthz"),
        ),
    ),
    Mutant(
        "an ordered start with a probe that needs all servers",
        "contract",
        (READY,),
        edits=(
            Edit("statefulset.yaml", "podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady"),
            Edit("statefulset.yaml", "path: /healthz?js-server-only=true", "path: /healthz"),
        ),
    ),
    Mutant(
        "the monitoring port moved, the probes not",
        "contract",
        (READY,),
        edits=(Edit("configmap.yaml", "http_port: 8222", "http_port: 8223"),),
    ),
    Mutant(
        "a path is promised that the servers do not have",
        "contract",
        ("test_the_promised_monitoring_endpoints_answer_on_every_server",),
        edits=(Edit(PROMISES, "/subsz, /jsz]", "/subsz, /jsz, /metrics]"),),
        fast=True,
    ),
)

PROMISED = (
    _promise(
        "recovery in 10 ms is promised",
        "one-server-killed: 20s",
        "one-server-killed: 10ms",
        "test_writes_go_on_with_one_server_dead",
        fast=True,
    ),
    _promise(
        "recovery from the loss of a node in 10 ms is promised",
        "one-server-killed: 20s",
        "one-server-killed: 10ms",
        "test_writes_go_on_when_the_leaders_node_is_lost",
    ),
    _promise(
        "recovery from Chaos Mesh's kill in 10 ms is promised",
        "one-server-killed: 20s",
        "one-server-killed: 10ms",
        "test_writes_go_on_when_chaos_mesh_kills_the_leader",
    ),
    _promise(
        "recovery under load in 10 ms is promised",
        "one-server-killed: 20s",
        "one-server-killed: 10ms",
        "test_service_returns_within_the_budget_after_each_kill",
        "test_service_returns_within_the_budget_after_each_kill_of_a_soak",
    ),
    _promise(
        "recovery of a cut-off leader in 10 ms is promised",
        "one-server-killed: 20s",
        "one-server-killed: 10ms",
        "test_the_majority_goes_on_without_a_leader_that_is_cut_off",
    ),
    _promise(
        "recovery from lost packets and narrow links in 10 ms is promised",
        "one-server-killed: 20s",
        "one-server-killed: 10ms",
        "test_writes_go_on_through_packet_loss",
        "test_writes_go_on_with_one_narrow_link",
    ),
    Mutant(
        "expiry by a true clock is promised, and a clock jumps ahead",
        "contract",
        ("test_values_expire_on_time_by_a_clock_that_jumps_ahead",),
        edits=(
            Edit(
                PROMISES,
                "      - clock-shift-one #",
                "      - clock-shift-one-expiry\n      - clock-shift-one #",
            ),
        ),
    ),
    _promise(
        "recovery from a pause in 10 ms is promised",
        "leader-paused: 20s",
        "leader-paused: 10ms",
        "test_writes_go_on_with_one_server_paused",
    ),
    _promise(
        "recovery of the quorum in 10 ms is promised",
        "quorum-restored: 20s",
        "quorum-restored: 10ms",
        "test_writes_resume_within_the_budget_after_quorum_returns",
    ),
    _promise(
        "recovery from a healed partition in 10 ms is promised",
        "partition-healed: 20s",
        "partition-healed: 10ms",
        "test_writes_resume_within_the_budget_after_a_partition_has_healed",
    ),
    _promise(
        "recovery of power in 10 ms is promised",
        "power-restored: 20s",
        "power-restored: 10ms",
        "test_writes_resume_within_the_budget_after_power_returned",
    ),
    _promise(
        "recovery of all servers in 10 ms is promised",
        "all-restarted: 20s",
        "all-restarted: 10ms",
        "test_writes_resume_within_the_budget_after_all_servers_died",
    ),
    _promise(
        "a rolling restart without a pause is promised",
        "rolling-restart: 10s",
        "rolling-restart: 10ms",
        "test_a_rolling_restart_interrupts_writes_no_longer_than_the_budget",
        "test_a_rollout_restart_interrupts_writes_no_longer_than_the_budget",
    ),
    _promise(
        "expiry without delay is promised",
        "expiry_late: 2s",
        "expiry_late: 0s",
        "test_values_expire_on_time_on_every_replica",
        "test_values_expire_on_time_through_a_fault",
    ),
    _promise(
        "a rate is promised that fills the buckets",
        "rate_floor_hz: 200",
        "rate_floor_hz: 20000",
        "test_no_bucket_fills_at_the_promised_rate",
    ),
)

POWER = Mutant(
    "the server's default of syncing every two minutes, power cut",
    "contract",
    ("test_an_acknowledged_put_survives_power_loss_of_all_servers",),
    edits=(Edit("configmap.yaml", "      sync_interval: always\n", ""),),
)

#: One power cut is enough where the others know nothing of the writes: issue 7567 of nats-server.
CARRIER = Mutant(
    "the server's default of syncing every two minutes, and the carrier loses power",
    "contract",
    ("test_a_put_survives_power_loss_of_the_one_that_carries_it",),
    edits=(Edit("configmap.yaml", "      sync_interval: always\n", ""),),
)
SCHEDULED = Mutant(
    "the server's default of syncing every two minutes, random power cuts",
    "contract",
    ("test_an_acknowledged_put_survives_a_random_schedule_of_power_cuts",),
    edits=(Edit("configmap.yaml", "      sync_interval: always\n", ""),),
)

#: The real server does not keep it (docs/findings.md, 36). Probes that restart it sooner save a minute.
FULL_PROMISED = (
    Edit(PROMISES, "      - volume-full-one\n", "      - volume-full-one\n      - volume-full-all\n"),
    Edit(PROMISES, "      all-restarted: 20s\n", "      all-restarted: 20s\n      volumes-freed: 40s\n"),
    Edit("statefulset.yaml", "            periodSeconds: 30\n", "            periodSeconds: 3\n"),
)
FULL_CLAIMS = (
    "test_an_acknowledged_put_survives_full_volumes_on_all_servers",
    "test_writes_are_taken_again_when_full_volumes_have_room",
)
FULL = Mutant(
    "full volumes on all servers at once are promised to be survived",
    "contract",
    FULL_CLAIMS,
    edits=FULL_PROMISED,
    controlled=False,
)

#: Nor this (docs/findings.md, 3), where the server with the rot leads and had stopped in good order.
ROT_PROMISED = (
    Edit(PROMISES, "      - volume-set-back-one\n", "      - volume-set-back-one\n      - bit-rot-one\n"),
)
ROT = Mutant(
    "rot on one volume is promised to be survived",
    "contract",
    ("test_an_acknowledged_put_survives_rot_on_one_volume[flipped bits on a follower that leads later]",),
    edits=ROT_PROMISED,
    controlled=False,
)
#: The real server does not keep it (docs/findings.md, 39).
FLAPPING_PROMISED = (
    Edit(PROMISES, "      - partition\n", "      - partition\n      - partition-flapping\n"),
)
RETURNED = "test_an_acknowledged_put_survives_the_return_of_a_leader"
RETURN = Mutant(
    "flapping partitions are promised to be survived",
    "contract",
    (RETURNED,),
    edits=FLAPPING_PROMISED,
    controlled=False,
)

MUTANTS = (*BUCKETS, *STARTS, *PROMISED, POWER, CARRIER, SCHEDULED, FULL, ROT, RETURN)
