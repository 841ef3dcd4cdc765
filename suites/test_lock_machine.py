"""Locks in any order of events: Hypothesis plays holders of one lock on real servers against a model.

Promise    manifests/promises.yaml: the bucket for locks
Fault      lost answers, lost requests, lapsed leases, old revisions, leaders that step down (deep: killed)
Not here   contenders at the same time: test_locks.py
"""

from __future__ import annotations

from functools import partial

from natsproof.checkers.lock_machine import no_wrong_answer_about_a_lock, played
from natsproof.trial.lock_machine import LAPSES, MOVES, play
from suites.trials import LOCK_BUCKET


def test_no_order_of_events_makes_a_lock_answer_wrongly(certify, contract):
    """Whatever holders do and lose, a lock is given only when free, kept only by its last revision, gone in
    time, and its tokens rise; a counter-example is printed as a script."""
    look = partial(
        play,
        bucket=LOCK_BUCKET,
        seed=certify.seed,
        late_s=certify.expiry_late_s(),
        within_s=certify.scaled(quick=20.0, standard=45.0, deep=240.0),
        kills=certify.scaled(quick=False, standard=True, deep=True),
    )
    certify.that(
        certify.observe("lock machine", look, fresh=True),
        no_wrong_answer_about_a_lock,
        given=[played(steps=60, lapses=LAPSES, leader_moves=MOVES)],
        promise=contract.promises.bucket(LOCK_BUCKET).place,
    )
