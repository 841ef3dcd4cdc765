"""Watching: every write is delivered once, in order, also across the death of a leader.

Promise    manifests/promises.yaml: buckets (a KV whose watchers see every change)
"""

from __future__ import annotations

from natsproof.checkers.guards import acknowledged_writes, at_least, watch_events
from natsproof.checkers.watch import watchers_see_every_write
from suites.trials import STATE, WATCHED, on


@on(*WATCHED)
def test_watchers_see_every_write_once_and_in_order(certify, contract, trial):
    """A watcher gets each acknowledged write exactly once, in the order of revisions, without a gap."""
    certify.that(
        certify.run(trial),
        watchers_see_every_write,
        given=[at_least(200, acknowledged_writes), at_least(400, watch_events)],
        promise=contract.promises.bucket(STATE).place,
    )
