"""Locks: one holder at a time by revision, tokens that rise, stale holders refused, free locks available.

Promise    manifests/promises.yaml: the bucket for locks
Not here   mutual exclusion in wall time: no lease can promise it; holders must pass their token on
"""

from __future__ import annotations

from natsproof.checkers.guards import at_least, every_fault_landed, lock_acquisitions
from natsproof.checkers.holdings import believed_holdings_do_not_overlap
from natsproof.checkers.lock_evidence import (
    acquisitions_after_a_purge,
    acquisitions_after_an_expiry,
    holders_that_were_cut_off_and_came_back,
)
from natsproof.checkers.lock_liveness import a_free_lock_can_be_taken, no_lock_outlives_its_ttl
from natsproof.checkers.locks import (
    no_lock_expires_early,
    no_lock_is_taken_early,
    one_holder_at_a_time,
    renewals_stay_on_their_own_chain,
    stale_holders_are_refused,
    tokens_rise,
)
from suites.trials import LOCK_BUCKET, LOCKED, LOCKS_CALM, LOCKS_LEADER_KILLED, LOCKS_PARTITIONED, on

ENOUGH = at_least(8, lock_acquisitions)


@on(*LOCKED)
def test_a_lock_has_one_holder_at_a_time(certify, contract, trial):
    """Between two acquisitions of a lock lies its release or its expiry; of N contenders one wins."""
    certify.that(certify.run(trial), one_holder_at_a_time, given=[ENOUGH], promise=_place(contract))


@on(*LOCKED)
def test_a_lock_does_not_expire_early(certify, contract, trial):
    """Nobody takes a lock over before its holder's TTL has passed since the last renewal.

    Nor is it found absent, but by a leader that is cut off: `linearizable` does not promise that.
    """
    early = no_lock_is_taken_early if trial is LOCKS_PARTITIONED else no_lock_expires_early
    certify.that(certify.run(trial), early, given=[ENOUGH], promise=_place(contract))


@on(*LOCKED)
def test_fencing_tokens_rise(certify, contract, trial):
    """Each holder's token is higher than every earlier holder's."""
    certify.that(certify.run(trial), tokens_rise, given=[ENOUGH], promise=_place(contract))


@on(*LOCKED)
def test_a_renewal_succeeds_only_on_its_own_lease(certify, contract, trial):
    """A renewal is accepted only on the last revision of its own holding."""
    certify.that(
        certify.run(trial), renewals_stay_on_their_own_chain, given=[ENOUGH], promise=_place(contract)
    )


@on(*LOCKED)
def test_a_stale_holder_is_refused(certify, contract, trial):
    """A holder that slept past its TTL has its renewal and its release refused."""
    certify.that(certify.run(trial), stale_holders_are_refused, given=[ENOUGH], promise=_place(contract))


@on(*LOCKED)
def test_a_free_lock_can_be_taken(certify, contract, trial):
    """After release, and after expiry plus the promised bound, the lock can be taken again."""
    certify.that(
        certify.run(trial),
        a_free_lock_can_be_taken(certify.expiry_late_s()),
        given=[ENOUGH, at_least(1, acquisitions_after_an_expiry)],
        promise=_place(contract),
    )


@on(LOCKS_CALM)
def test_a_purged_lock_can_be_taken_again(certify, contract, trial):
    """After an operator's purge the lock is free at once, and the holder of before is refused."""
    history = certify.run(trial)
    given = [ENOUGH, at_least(2, acquisitions_after_a_purge)]
    free = a_free_lock_can_be_taken(certify.expiry_late_s())
    certify.that(history, free, given=given, promise=_place(contract))
    certify.that(history, stale_holders_are_refused, given=given, promise=_place(contract))


@on(LOCKS_LEADER_KILLED, LOCKS_PARTITIONED)
def test_no_two_clients_believe_to_hold_one_lock(certify, contract, trial):
    """A client that counts its lease from before the request never believes to hold what another does.

    Not where an operator purges locks: whose lock is broken learns it at the next renewal only.
    """
    certify.that(
        certify.run(trial), believed_holdings_do_not_overlap(), given=[ENOUGH], promise=_place(contract)
    )


@on(LOCKS_PARTITIONED)
def test_a_holder_that_was_cut_off_is_refused(certify, contract, trial):
    """A holder cut off beyond its TTL loses the lock to another and is refused when it comes back."""
    certify.that(
        certify.run(trial),
        stale_holders_are_refused,
        given=[every_fault_landed, at_least(1, holders_that_were_cut_off_and_came_back)],
        promise=_place(contract),
    )


@on(LOCKS_CALM)
def test_a_lock_does_not_outlive_its_ttl(certify, contract, trial):
    """No read shows a lock later than its TTL and the promised bound after the last renewal."""
    certify.that(
        certify.run(trial),
        no_lock_outlives_its_ttl(certify.expiry_late_s()),
        given=[ENOUGH, at_least(1, acquisitions_after_an_expiry)],
        promise=_place(contract),
    )


@on(LOCKS_LEADER_KILLED, LOCKS_PARTITIONED)
def test_locks_were_tried_under_the_fault(certify, contract, trial):
    """Locks are acquired before and after the fault, and the fault landed."""
    certify.that(
        certify.run(trial),
        one_holder_at_a_time,
        given=[
            every_fault_landed,
            at_least(2, lock_acquisitions, when="before"),
            at_least(2, lock_acquisitions, when="after"),
        ],
        promise=_place(contract),
    )


def _place(contract):
    return contract.promises.bucket(LOCK_BUCKET).place
