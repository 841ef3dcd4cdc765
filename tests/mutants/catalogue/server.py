"""Servers that lie to clients, on the suites' own trials in little."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.mutants import lies, store_lies
from tests.mutants.catalogue.contract import FLAPPING_PROMISED, PROMISES, ROT_PROMISED
from tests.mutants.manifests import Edit
from tests.mutants.mutant import Mutant
from tests.mutants.wire import Lie

LINEAR = "test_a_key_is_one_register_through_kills[sigkill of a follower]"
DIRECT = "test_a_direct_get_shows_nothing_overwritten_longer_ago_than_promised[sigkill of a follower]"
LINEAR_ALL = "test_a_key_is_one_register_through_the_death_of_all_servers"
LINEAR_RESTART = "test_a_key_is_one_register_through_a_rolling_restart"
LINEAR_PAUSE = "test_writes_are_linearizable_through_pauses"
LINEAR_CUT = "test_reads_and_registers_are_linearizable_through_a_partition[flapping partition]"
ONE = "test_an_acknowledged_put_survives_sigkill_of_one_server"
HELD = "test_every_replica_holds_every_acknowledged_put"
EQUAL = "test_all_replicas_have_equal_contents"
#: What is promised of neither the leader that was paused nor the one that was cut off, but of followers.
CUT_PROMISED = (Edit(PROMISES, "    linearizable: [", "    linearizable: [pause, partition, "),)
#: A server with JetStream disabled by a full volume is restarted by its liveness probe, here sooner.
SOON_RESTARTED = (
    Edit("statefulset.yaml", "            periodSeconds: 30\n", "            periodSeconds: 3\n"),
)
LOSSY = ("test_an_acknowledged_put_survives_packet_loss", "test_replicas_agree_after_packet_loss")
LEADER_LOSSY = ("test_an_acknowledged_put_survives_packet_loss_at_the_leader",)
NARROW = ("test_writes_go_on_with_one_narrow_link", "test_a_server_behind_a_narrow_link_catches_up")
CLOCKS = (
    "test_an_acknowledged_put_survives_a_clock_that_is_behind",
    "test_replicas_agree_after_a_clock_was_off",
    "test_an_acknowledged_put_survives_a_clock_that_is_ahead",
)
STORM = ("test_an_acknowledged_put_survives_a_kill_storm", "test_replicas_agree_after_a_kill_storm")
CRASH_LOOP = "test_an_acknowledged_put_survives_a_crash_loop"
drops = partial(lies.DropsOneWriteIn, 25)


def _lie(name: str, lie: Any, *claims: str, **more: Any) -> Mutant:
    return Mutant(name, "server", claims, lie=lie, **more)


WRITES = (
    _lie(
        "acknowledges before storing, and never stores",
        lies.AcknowledgesBeforeStoring,
        ONE,
        HELD,
        LINEAR,
        fast=True,
    ),
    _lie(
        "acknowledges before storing, and all die",
        lies.AcknowledgesBeforeStoring,
        "test_an_acknowledged_put_survives_sigkill_of_all_servers_at_once",
        "test_writes_were_in_flight_when_all_servers_died",
        LINEAR_ALL,
    ),
    _lie("drops one write in 25", drops, ONE, HELD, fast=True),
    _lie("drops one write in 25 when packets are lost", drops, LOSSY[0], *LEADER_LOSSY),
    _lie("drops one write in 25 of a narrow link", drops, NARROW[1]),
    _lie("drops one write in 25 by a false clock", drops, CLOCKS[0], CLOCKS[2]),
    _lie("drops one write in 25 in a kill storm", drops, STORM[0]),
    _lie("drops one write in 25 in a crash loop", drops, CRASH_LOOP),
    _lie(
        "drops one write in 25 in a rolling restart",
        drops,
        "test_an_acknowledged_put_survives_a_rolling_restart",
        LINEAR_RESTART,
    ),
    _lie(
        "drops one write in 25 in a partition",
        drops,
        "test_an_acknowledged_put_survives_a_partition[leader cut off from the others]",
        "test_an_acknowledged_put_survives_a_flapping_partition",
        "test_every_replica_holds_what_was_acknowledged_through_a_partition[flapping partition]",
        setting=FLAPPING_PROMISED,
    ),
    _lie(
        "drops one write in 25 before a power cut",
        drops,
        "test_an_acknowledged_put_survives_power_loss_of_all_servers",
        "test_every_replica_holds_what_was_acknowledged_after_power_loss[power cut of all servers]",
    ),
    _lie(
        "drops one write in 25 before a power cut of the leader",
        drops,
        "test_an_acknowledged_put_survives_power_loss_of_the_leader",
    ),
    _lie(
        "drops one write in 25 while a volume is set back",
        drops,
        "test_an_acknowledged_put_survives_an_old_copy_of_one_volume",
        "test_a_volume_that_was_set_back_catches_up",
    ),
    _lie(
        "drops one write in 25 while a volume is full",
        drops,
        "test_an_acknowledged_put_survives_a_full_volume",
        "test_a_server_whose_volume_was_full_catches_up",
        setting=SOON_RESTARTED,
    ),
    _lie(
        "drops one write in 25 while a volume rots",
        drops,
        "test_an_acknowledged_put_survives_rot_on_one_volume",
        setting=ROT_PROMISED,
    ),
    _lie(
        "drops one write in 25 of a random schedule",
        drops,
        "test_an_acknowledged_put_survives_a_random_schedule",
        "test_every_replica_holds_what_was_acknowledged_in_a_random_schedule",
    ),
    _lie(
        "drops one write in 25 of an adversary's order",
        drops,
        "test_a_put_survives_the_absence_of_all_but_one_that_know_of_it",
        "test_a_starved_replica_catches_up",
    ),
    _lie("drops one write in 25 of a load", drops, "test_no_acknowledged_write_is_lost_under_load_and_kills"),
    _lie(
        "drops one write in 25 of a soak",
        drops,
        "test_no_acknowledged_write_is_lost_in_a_soak_of_leader_kills",
    ),
    _lie(
        "drops one write in 25 on Kubernetes' stand-in",
        drops,
        "test_no_put_is_lost_in_a_rollout_restart",
        "test_no_put_is_lost_when_the_configuration_is_changed",
        "test_no_put_is_lost_when_the_leaders_node_is_lost",
    ),
    _lie(
        "drops one write in 25 on Chaos Mesh's stand-in",
        drops,
        "test_no_put_is_lost_when_chaos_mesh_strikes_the_leader",
        "test_no_put_is_lost_when_chaos_mesh_hurts_a_link_a_disk_or_a_host",
    ),
    _lie(
        "acknowledges without a quorum",
        lies.AcknowledgesWithoutQuorum,
        "test_no_write_is_acknowledged_with_two_servers_dead",
    ),
    _lie(
        "acknowledges on the minority's side",
        lies.AcknowledgesWithoutQuorum,
        "test_a_minority_acknowledges_nothing",
    ),
    _lie("ignores the expected revision", lies.IgnoresExpected, LINEAR, fast=True),
    _lie(
        "ignores the expected revision in a pause",
        lies.IgnoresExpected,
        LINEAR_PAUSE,
        setting=CUT_PROMISED,
    ),
    _lie("reports a wrong revision", lies.ReportsWrongRevisions, LINEAR),
)

READS = (
    _lie("serves old revisions", lies.ServesOldRevisions, LINEAR, fast=True),
    _lie("serves old revisions in a partition", lies.ServesOldRevisions, LINEAR_CUT, setting=CUT_PROMISED),
    _lie("answers from a deposed leader", lies.AnswersFromADeposedLeader, LINEAR),
    _lie("direct gets never change", lies.FreezesDirectGets, DIRECT),
    _lie("direct gets show other keys' values", lies.MixesUpDirectGets, DIRECT),
    _lie("corrupts values", lies.CorruptsValues, LINEAR, ONE),
    _lie("finds nothing where there is something", lies.ForgetsReads, LINEAR, ONE),
)

STORES = (
    _lie("one server's store lacks messages", store_lies.OneStoreLacksMessages, HELD, EQUAL, fast=True),
    _lie("one server's store has other values", store_lies.OneStoreHasAnotherValue, EQUAL),
    _lie(
        "one server's store lacks messages after a partition",
        store_lies.OneStoreLacksMessages,
        "test_replicas_agree_after_a_partition[flapping partition]",
        "test_every_replica_holds_what_was_acknowledged_through_a_partition[flapping partition]",
    ),
    _lie(
        "one server's store lacks messages after its volume was set back",
        store_lies.OneStoreLacksMessages,
        "test_a_volume_that_was_set_back_catches_up",
    ),
)

ROTTEN = (
    _lie(
        "one server's store has other values after its volume rotted",
        store_lies.OneStoreHasAnotherValue,
        "test_rot_on_one_volume_leaves_replicas_equal",
        setting=ROT_PROMISED,
        controlled=False,  # the real server does not keep it either: docs/findings.md, 3
    ),
)

VALUES = ("test_values_expire_on_time_on_every_replica", "test_values_expire_on_time_through_a_fault")
AGES = (
    _lie("values expire at half their time", partial(lies.ChangesTheTtl, 0.5), *VALUES, fast=True),
    _lie("values expire at three times their time", partial(lies.ChangesTheTtl, 3.0), *VALUES),
    _lie("values never expire", partial(lies.ChangesTheTtl, 0.0), *VALUES),
)

PLAYED = "test_no_order_of_events_makes_a_lock_answer_wrongly"
BELIEVED = "test_no_two_clients_believe_to_hold_one_lock[locks through a leader kill]"
HOLDER = "test_a_lock_has_one_holder_at_a_time[locks]"
LOCKS = (
    _lie(
        "a held lock is given to another",
        partial(lies.IgnoresExpected, others=False),
        HOLDER,
        "test_a_lock_does_not_expire_early[locks]",
        fast=True,
    ),
    _lie(
        "a held lock is given to another, played",
        partial(lies.IgnoresExpected, others=False),
        PLAYED,
    ),
    _lie("stale holders are served, played", partial(lies.IgnoresExpected, zero=False), PLAYED),
    _lie("locks expire early, played", partial(lies.ChangesTheTtl, 0.4), PLAYED),
    _lie("locks never expire, played", partial(lies.ChangesTheTtl, 0.0), PLAYED),
    _lie("revisions fall, played", lies.CountsDown, PLAYED),
    _lie(
        "a held lock is given to another under a fault",
        partial(lies.IgnoresExpected, others=False),
        "test_locks_were_tried_under_the_fault",
        BELIEVED,
    ),
    _lie("locks expire early while they are believed in", partial(lies.ChangesTheTtl, 0.4), BELIEVED),
    _lie(
        "stale holders are served",
        partial(lies.IgnoresExpected, zero=False),
        "test_a_renewal_succeeds_only_on_its_own_lease[locks]",
        "test_a_stale_holder_is_refused[locks]",
    ),
    _lie(
        "locks expire early",
        partial(lies.ChangesTheTtl, 0.4),
        HOLDER,
        "test_a_lock_does_not_expire_early[locks]",
    ),
    _lie("locks never expire", partial(lies.ChangesTheTtl, 0.0), "test_a_free_lock_can_be_taken[locks]"),
    _lie(
        "locks outlive their time",
        partial(lies.ChangesTheTtl, 3.0),
        "test_a_free_lock_can_be_taken[locks]",
        "test_a_lock_does_not_outlive_its_ttl",
    ),
    _lie(
        "free locks are refused",
        lies.RefusesFreeLocks,
        "test_a_free_lock_can_be_taken[locks]",
        "test_a_purged_lock_can_be_taken_again",
    ),
    _lie(
        "stale holders are served after a partition",
        partial(lies.IgnoresExpected, zero=False),
        "test_a_holder_that_was_cut_off_is_refused",
    ),
    _lie("revisions fall", lies.CountsDown, "test_fencing_tokens_rise[locks]"),
)

WATCH = "test_watchers_see_every_write_once_and_in_order[watchers]"
EVENTS = (
    _lie("skips a watch event", store_lies.SkipsEvents, WATCH, fast=True),
    _lie("delivers a watch event twice", store_lies.DuplicatesEvents, WATCH),
    _lie("reorders watch events", store_lies.ReordersEvents, WATCH),
    _lie("corrupts watch events", store_lies.CorruptsEvents, WATCH),
)


def _no_route(answer: Any) -> Any:
    return {**answer, "routes": answer["routes"][:0]}


def _own_leader(answer: Any) -> Any:
    return {**answer, "meta_cluster": {**answer["meta_cluster"], "leader": answer["server_id"]}}


def _not_synced(answer: Any) -> Any:
    limits = {**answer["jetstream"]["config"], "sync_always": False}
    return {**answer, "jetstream": {**answer["jetstream"], "config": limits}}


class _FirstMetaLeader(Lie):
    """All servers go on naming the first leader of the meta group, dead or alive."""

    first = ""

    def monitor(self, server: str, path: str, answer: Any) -> Any:
        meta = answer.get("meta_cluster") if path.startswith("/jsz") else None
        if not meta:
            return answer
        self.first = self.first or meta.get("leader", "")
        return {**answer, "meta_cluster": {**meta, "leader": self.first}}


MEMBERS = "test_all_servers_are_members_and_agree_on_the_meta_leader"
RUNS = "test_the_servers_run_the_configuration_of_the_manifests"
MONITORING = (
    _lie("a server has no routes", partial(store_lies.Monitors, "/routez", _no_route), MEMBERS, fast=True),
    _lie(
        "a server takes itself for the meta leader",
        partial(store_lies.Monitors, "/jsz", _own_leader),
        MEMBERS,
    ),
    _lie(
        "a server does not sync always", partial(store_lies.Monitors, "/varz", _not_synced), RUNS, fast=True
    ),
    _lie(
        "another program answers on a monitoring path",
        partial(store_lies.Monitors, "/subsz", lambda answer: {"status": "ok"}),
        "test_the_promised_monitoring_endpoints_answer_on_every_server",
    ),
    _lie(
        "servers go on naming a dead meta leader",
        _FirstMetaLeader,
        "test_a_meta_leader_is_elected_again",
    ),
)

LOAD = (
    _lie(
        "four writes in five are refused",
        partial(lies.RefusesWrites, but_one_in=5),
        "test_the_promised_rate_holds_with_all_pods",
    ),
    _lie(
        "four writes in five are refused with one pod down",
        partial(lies.RefusesWrites, but_one_in=5),
        "test_the_promised_rate_holds_with_one_pod_down[follower]",
    ),
    _lie(
        "answers 0.7 s late", partial(lies.IsSlow, 0.7), "test_a_put_at_the_promised_rate_is_answered_in_time"
    ),
    _lie(
        "locks are answered 0.7 s late",
        partial(lies.IsSlow, 0.7, "integration_locks"),
        "test_a_noisy_bucket_does_not_starve_the_locks",
    ),
    _lie(
        "one bucket is starved",
        partial(lies.RefusesWrites, "retry_queue", but_one_in=2),
        "test_all_buckets_are_served_alike",
    ),
    _lie(
        "a platform of little capacity that loses writes",
        lambda: lies.Both(drops(), lies.RefusesWrites(but_one_in=8)),
        "test_the_platform_takes_more_than_the_promised_rate",
        "test_the_certified_rate_under_pod_kills_is_at_least_the_promised_one",
        "test_no_acknowledged_write_is_lost_at_the_limit",
    ),
)

MUTANTS = (*WRITES, *READS, *STORES, *ROTTEN, *AGES, *LOCKS, *EVENTS, *MONITORING, *LOAD)
