"""Scenes of their own, where no claim of suites/ has the right course of events. The judges are the suites'.

python -m tests.track_record.scenes NAME SEED FOLDER MANIFESTS      prints `VERDICT reason`
"""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import natsproof.trial as trials
from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.expiry import values_expire_on_time
from natsproof.checkers.guards import every_fault_landed, judged
from natsproof.clock import wait_until
from natsproof.cluster.embedded import embedded, enter_universe
from natsproof.contract.loader import load
from natsproof.faults.leadership import HandOver
from natsproof.faults.process import Pause
from natsproof.faults.sight import look
from natsproof.faults.storage import FillDisk, FlipBits, PowerCut, WriteBack
from natsproof.history import History
from natsproof.trial import Trial
from natsproof.verdict import Status, Verdict, broken, holds, unknown
from natsproof.workloads.ledger import Ledger
from tests.track_record import damaged_meta, membership, vanishing
from tests.track_record.given_up_restore import given_up_restore

BUCKET = "message_state"
LEDGER = (Ledger((BUCKET, "retry_queue"), writers=6, rate_hz=150.0, timeout_s=1.5),)


class Stage:
    """A platform of the given manifests and one history."""

    def __init__(self, seed: int, folder: Path, manifests: Path) -> None:
        self.seed, self.folder, self.contract = seed, folder, load(manifests)
        self.cluster = embedded(self.contract, folder / "cluster")

    def up(self, *needs: str) -> None:
        enter_universe()
        if needs and hasattr(self.cluster, "prepare"):
            self.cluster.prepare(needs)
        self.cluster.up()

    def run(self, trial: Trial) -> History:
        return trials.run(trial, self.cluster, seed=self.seed, path=self.folder / "history.jsonl")

    def roles(self) -> tuple[str, str, str]:
        """The leader of the bucket, and the two others."""
        leader = wait_until("a leader", lambda: look(self.cluster).leader(f"KV_{BUCKET}"), within_s=20)
        others = sorted(s.name for s in self.cluster.servers if s.name != leader)
        assert leader is not None
        return leader, others[0], others[1]


def power_cut(stage: Stage) -> Verdict:
    """All servers lose power at one moment, soon after clients began."""
    stage.up("PowerCuttable")
    fault = PowerCut("all", at_s=2.0, down_s=0.5)
    trial = Trial("power cut", LEDGER, (fault,), 8.0, 5.0, replica_audit=False)
    return judged(no_acknowledged_put_is_lost, [every_fault_landed])(stage.run(trial))


def flipped_bits(stage: Stage) -> Verdict:
    """Bits of every message block of a follower flipped while it is stopped; it starts, and leads."""
    stage.up()
    _, victim, _ = stage.roles()
    faults = (
        FlipBits(victim, BUCKET, flips=8, seed=stage.seed, at_s=6.0, down_s=1.0, stopped=True),
        HandOver(victim, BUCKET, at_s=16.0),
    )
    trial = Trial("flipped bits", LEDGER, faults, 18.0, 30.0, replica_audit=False)
    return judged(no_acknowledged_put_is_lost, [every_fault_landed])(stage.run(trial))


def starved_minority(stage: Stage) -> Verdict:
    """A follower sleeps while others write; the second follower loses power, the leader sleeps, and the two
    that know nothing of the writes are a majority."""
    stage.up("PowerCuttable")
    leader, sleeper, victim = stage.roles()
    faults = (
        WriteBack(at_s=2.0),
        Pause(sleeper, at_s=3.0, down_s=6.0),
        PowerCut(victim, at_s=8.0, down_s=0.5),
        Pause(leader, at_s=8.2, down_s=20.0),
    )
    trial = Trial("starved minority", LEDGER, faults, 32.0, 30.0, replica_audit=False)
    return judged(no_acknowledged_put_is_lost, [every_fault_landed])(stage.run(trial))


def removed_by_a_minority(stage: Stage) -> Verdict:
    """A meta leader that hears nobody removes the others from the cluster."""
    stage.up("Partitionable")
    return membership.removed_by_a_minority(stage.cluster)


def kill_storm(stage: Stage) -> Verdict:
    """Kills that follow one another within seconds."""
    stage.up()
    return vanishing.kill_storm(stage.cluster, stage.seed)


def damaged_snapshot(stage: Stage) -> Verdict:
    """A server whose snapshot of the meta group is damaged leads that group."""
    stage.up()
    return damaged_meta.damaged_snapshot(stage.cluster, stage.seed)


def _took_streams_for_orphans(stage: Stage) -> str:
    """The servers that say so."""
    servers = [server.name for server in stage.cluster.servers]
    return ", ".join(name for name in servers if damaged_meta.ORPHANED in stage.cluster.log(name))


def full_volumes(stage: Stage) -> Verdict:
    """All volumes full at once; room is made, and liveness probes restart the servers."""
    stage.up("PowerCuttable")
    fault = FillDisk("all", at_s=3.0, down_s=6.0)
    trial = Trial("full volumes", LEDGER, (fault,), 12.0, 50.0, replica_audit=False)
    verdict = judged(no_acknowledged_put_is_lost, [every_fault_landed])(stage.run(trial))
    told = _took_streams_for_orphans(stage)
    lost = verdict.status is Status.BROKEN and told
    return broken(f"{told} took streams for orphans; {verdict.reason}") if lost else verdict


@dataclass(frozen=True)
class LateTtl:
    """A bucket without per-key TTL is written to, then gets it, then a key with a TTL is put and read."""

    buckets: tuple[str, ...] = (BUCKET,)
    ttl_s: int = 2

    async def prepare(self, scene: Any) -> None:
        client = await scene.client("writer")
        info = await client.api(f"STREAM.INFO.KV_{BUCKET}")
        name = "late_ttl"
        config = {**info["config"], "name": f"KV_{name}", "subjects": [f"$KV.{name}.>"]}
        config |= {"max_bytes": 1 << 20, "max_age": 0}
        await client.api(f"STREAM.CREATE.KV_{name}", config, timeout_s=5)
        scene.add_bucket(name)
        scene.recorder.amend(buckets={**scene.recorder.meta["buckets"], name: {"ttl_s": self.ttl_s}})
        for number in range(20):
            await client.put(BUCKET, scene.key(f"plain{number}"))
        config |= {"allow_msg_ttl": True, "subject_delete_marker_ttl": 60_000_000_000}
        await client.api(f"STREAM.UPDATE.KV_{name}", config, timeout_s=5)
        scene.kept["name"] = name

    async def drive(self, scene: Any) -> None:
        client, name = scene.clients[0], scene.kept["name"]
        for number in range(5):
            await client.put(name, scene.key(f"k{number}"), ttl_s=self.ttl_s)
            await client.get(name, scene.key(f"k{number}"))
        await scene.rest(self.ttl_s + 4.0)
        for number in range(5):
            await client.get(name, scene.key(f"k{number}"))

    async def finish(self, scene: Any) -> None:
        """The reads are all that is needed."""


def ttl_enabled_later(stage: Stage) -> Verdict:
    """Markers and TTL enabled on a bucket that exists already."""
    stage.up()
    trial = Trial("TTL enabled later", (LateTtl(),), (), 8.0, replica_audit=False)
    return values_expire_on_time(2.0, early_s=0.1)(stage.run(trial))


def create_after_expiry(stage: Stage) -> Verdict:
    """nats-py's own KV: a key with a TTL expires and leaves a marker; create must succeed."""
    stage.up()
    return asyncio.run(_create_after_expiry(stage.cluster.servers[0].client_url))


async def _create_after_expiry(url: str) -> Verdict:
    import nats
    import nats.js.api
    import nats.js.errors

    connection = await nats.connect(url)
    try:
        config = nats.js.api.KeyValueConfig("markers", replicas=3, limit_marker_ttl=30.0, max_bytes=1 << 20)
        store = await connection.jetstream().create_key_value(config)
        await store.create("lock", b"first", msg_ttl=1.0)
        await asyncio.sleep(3.0)
        try:
            await store.create("lock", b"second")
        except nats.js.errors.KeyWrongLastSequenceError as refused:
            return broken(f"create of an expired key is refused: {refused}")
        return holds("create of an expired key succeeds")
    finally:
        await connection.close()


#: Run by an interpreter that sees an older nats-py first. Prints what a watcher is told of an expiry.
WATCHER = """
import asyncio, sys, nats, nats.js.api
async def main():
    nc = await nats.connect(sys.argv[1]); js = nc.jetstream()
    await js.add_stream(name="KV_watched", subjects=["$KV.watched.>"], max_msgs_per_subject=1,
                        num_replicas=3, max_bytes=1 << 20, allow_rollup_hdrs=True, max_age=2.0)
    await nc.request("$JS.API.STREAM.UPDATE.KV_watched", sys.argv[2].encode(), timeout=5)
    kv = await js.key_value("watched"); watcher = await kv.watchall()
    await kv.put("k", b"value"); told = []
    end = asyncio.get_running_loop().time() + 6
    while asyncio.get_running_loop().time() < end:
        try:
            e = await watcher.updates(timeout=1)
        except Exception:
            continue
        if e is not None:
            told.append((e.operation, e.value))
    print("TOLD", told); await nc.close()
asyncio.run(main())
"""
OLD_CLIENT = "nats-py==2.12.0"


def watched_expiry(stage: Stage) -> Verdict:
    """A watcher of an older nats-py, beside a key that expires and leaves a marker."""
    import orjson

    old = stage.folder / "nats-py"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(old), OLD_CLIENT]
    if subprocess.run(command, capture_output=True, timeout=120, check=False).returncode:
        return unknown(f"{OLD_CLIENT} could not be fetched")
    stage.up()
    config = {
        "name": "KV_watched",
        "subjects": ["$KV.watched.>"],
        "num_replicas": 3,
        "storage": "file",
        "max_msgs_per_subject": 1,
        "max_bytes": 1 << 20,
        "max_age": 2_000_000_000,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": 10_000_000_000,
    }
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, stage.cluster.servers[0].client_url, orjson.dumps(config).decode()],
        env={**os.environ, "PYTHONPATH": str(old)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = next((line for line in done.stdout.splitlines() if line.startswith("TOLD ")), "")
    if not told:
        return unknown(f"the watcher ended with {done.returncode}: {done.stderr[-300:]}")
    events = ast.literal_eval(told.removeprefix("TOLD "))
    puts = [value for operation, value in events if operation in (None, "PUT")]
    if len(puts) > 1:
        return broken(f"{OLD_CLIENT}: one put was written, the watcher was told {events}")
    return holds(f"{OLD_CLIENT}: the watcher was told {events}") if len(events) > 1 else unknown(told)


SCENES: dict[str, Callable[[Stage], Verdict]] = {
    scene.__name__: scene
    for scene in (
        *(
            power_cut,
            flipped_bits,
            starved_minority,
            removed_by_a_minority,
            kill_storm,
            damaged_snapshot,
            full_volumes,
            ttl_enabled_later,
        ),
        *(create_after_expiry, watched_expiry, given_up_restore),
    )
}


def main(name: str, seed: str, folder: str, manifests: str) -> None:
    stage = Stage(int(seed), Path(folder), Path(manifests))
    try:
        verdict = SCENES[name](stage)
    finally:
        stage.cluster.down()
    print(verdict.status.value, verdict.reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
