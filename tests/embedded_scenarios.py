"""What tests of the embedded cluster do, each in a process: python -m tests.embedded_scenarios NAME FOLDER.

A process that entered the universe cannot leave it, so that of the tests never enters. The last line printed
is the result as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors

from natsproof.clock import until, wait_until
from natsproof.cluster import CAPABILITIES
from natsproof.cluster.embedded import EmbeddedCluster, embedded, enter_universe
from natsproof.contract.loader import load_documents, read_files
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, DeadlineExceeded, NotUp
from natsproof.workloads import limits_looks

ROOT = Path(__file__).parent.parent
BUCKET = "message_state"
SCENARIOS: dict[str, Callable[[Path], Any]] = {}


def scenario(run: Callable[[Path], Any]) -> Callable[[Path], Any]:
    SCENARIOS[run.__name__] = run
    return run


def contract(*changes: tuple[str, str]) -> Contract:
    """The shipped manifests with texts replaced, each at least once."""
    files = read_files(ROOT / "manifests")
    for old, new in changes:
        assert any(old in text for _, text in files), f"the manifests do not say {old!r}"
        files = [(name, text.replace(old, new)) for name, text in files]
    return load_documents(files)


@contextlib.contextmanager
def running(
    folder: Path, *changes: tuple[str, str], needs: tuple[str, ...] = ()
) -> Iterator[EmbeddedCluster]:
    cluster = embedded(contract(*changes), folder)
    cluster.prepare(needs)
    cluster.up(within_s=60)
    try:
        yield cluster
    finally:
        cluster.down()


NOT_NOW = (TimeoutError, nats.errors.Error, nats.js.errors.Error)  # a failover takes 5 to 9 s


def put(cluster: EmbeddedCluster, keys: list[str]) -> int:
    """Acknowledged puts, each repeated until it is acknowledged."""

    async def work() -> int:
        client = await nats.connect([s.client_url for s in cluster.servers if cluster.running(s.name)])
        stream = client.jetstream(timeout=2)
        for key in keys:

            async def acknowledged(key: str = key) -> bool:
                try:
                    return bool(await stream.publish(f"$KV.{BUCKET}.{key}", b"x" * 200))
                except NOT_NOW as problem:
                    raise ClusterError(str(problem)) from problem

            await until(f"an acknowledged put of {key}", acknowledged, within_s=30)
        await client.close()
        return len(keys)

    return asyncio.run(work())


def stored(cluster: EmbeddedCluster) -> int:
    """Messages in the bucket's stream, 0 also when the bucket or JetStream itself is gone.

    Not nats-py's `keys()`: it says of a full bucket that it is empty, one time in 20 (docs/findings.md, 44).
    """

    async def work() -> int:
        client = await nats.connect([s.client_url for s in cluster.servers])
        try:
            stream = await client.jetstream(timeout=5).stream_info(f"KV_{BUCKET}")
            return int(stream.state.messages)
        except NOT_NOW:
            return 0
        finally:
            await client.close()

    return asyncio.run(work())


def connects(cluster: EmbeddedCluster, server: str) -> str:
    """What a client sees: connected, refused, silence."""
    host, port = next(s.client_url for s in cluster.servers if s.name == server)[7:].split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return "connected"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "silence"


def whats(cluster: EmbeddedCluster, pod: str) -> list[str]:
    return [event.what for event in cluster.events() if event.pod == pod]


def healthy(cluster: EmbeddedCluster, server: str) -> bool:
    return bool(cluster.monitor(server, "/healthz")["status"] == "ok")


def others(cluster: EmbeddedCluster, server: str) -> list[str]:
    """Names of the servers it has routes to."""
    routes = cluster.monitor(server, "/routez")["routes"] or []
    return sorted({route["remote_name"] for route in routes})


@scenario
def boot(folder: Path) -> Any:
    with running(folder) as cluster:
        names = [s.name for s in cluster.servers]
        facts = {
            "isolation": cluster.describe()["isolation"],
            "differences": cluster.describe()["differences"],
            "capabilities": [name for name, kind in CAPABILITIES.items() if isinstance(cluster, kind)],
            "names": names,
            "ready": [cluster.ready(name) for name in names],
            "versions": [cluster.monitor(name, "/varz")["version"] for name in names],
            "server_names": [cluster.monitor(name, "/varz")["server_name"] for name in names],
            "job": cluster.job.complete if cluster.job else None,
            "job_log": cluster.job.log if cluster.job else "",
            "logs": ["Server is ready" in cluster.log(name) for name in names],
            "put": put(cluster, ["a", "b"]),
            "stores": [(cluster.volume_path(name) / "jetstream").is_dir() for name in names],
        }
    return {**facts, "events": whats(cluster, names[0])}


@scenario
def verbs(folder: Path) -> Any:
    with running(folder) as cluster:
        first, second, third = (s.name for s in cluster.servers)
        cluster.kill(first)
        facts: dict[str, Any] = {
            "killed": [cluster.running(first), cluster.ready(first), connects(cluster, first)],
            "put_one_down": put(cluster, ["one-down"]),
        }
        cluster.start(first)
        wait_until("the killed server", lambda: healthy(cluster, first), within_s=30)
        cluster.stop(second)
        facts["stopped"] = [cluster.running(second), connects(cluster, second)]
        facts["stop_events"] = whats(cluster, second)
        cluster.start(second)
        wait_until("the stopped server", lambda: healthy(cluster, second), within_s=30)
        cluster.pause(third)
        facts["paused"] = cluster.running(third)
        with contextlib.suppress(ClusterError):
            facts["paused_answer"] = cluster.monitor(third, "/varz", timeout_s=0.5)
        cluster.resume(third)
        wait_until("the paused server", lambda: healthy(cluster, third), within_s=30)
        cluster.kill(third)
        put(cluster, ["before-wipe"])
        cluster.wipe_volume(third)
        facts["wiped"] = list(map(str, cluster.volume_path(third).iterdir()))
        cluster.start(third)
        wait_until("the wiped server", lambda: healthy(cluster, third), within_s=30)
        facts["stored"] = stored(cluster)
        wait_until("all Ready", lambda: all(cluster.ready(s.name) for s in cluster.servers), within_s=30)
        facts["ready"] = True
    return facts


@scenario
def partitions(folder: Path) -> Any:
    with running(folder) as cluster:
        first, second, third = (s.name for s in cluster.servers)
        facts: dict[str, Any] = {"routes": others(cluster, first)}
        cluster.partition([first], [second, third])  # type: ignore[attr-defined]
        wait_until("no quorum seen", lambda: not leader(cluster, first), within_s=40)
        facts["cut_off_meta_leader"] = leader(cluster, first)
        facts["majority"] = wait_until("a leader", lambda: leader(cluster, second), within_s=20) != first
        facts["clients_reach_it"] = connects(cluster, first)
        cluster.heal()  # type: ignore[attr-defined]
        wait_until("healed", lambda: healthy(cluster, first), within_s=40)
        cluster.partition(["clients"], [first])  # type: ignore[attr-defined]
        facts["clients_cut"] = connects(cluster, first)
        facts["clients_to_second"] = connects(cluster, second)
        facts["monitored"] = cluster.monitor(first, "/varz")["server_name"]
        cluster.heal()  # type: ignore[attr-defined]
        facts["clients_healed"] = connects(cluster, first)
        cluster.cut(first, "clients")  # type: ignore[attr-defined]
        facts["one_way"] = [connects(cluster, first), healthy(cluster, first)]
        cluster.heal()  # type: ignore[attr-defined]
    return facts


def leader(cluster: EmbeddedCluster, server: str) -> str:
    return str(cluster.monitor(server, "/jsz")["meta_cluster"].get("leader", ""))


@scenario
def restarts(folder: Path) -> Any:
    """A liveness probe that fails from the start kills, at once and then with back-off.

    Begun, and not waited for until it is Ready: its servers are killed a few seconds after they came up, so
    on a busy host there may be no moment at which all of them are.
    """
    cluster = embedded(
        contract(("/healthz?js-enabled-only=true", "/gone"), ("periodSeconds: 30", "periodSeconds: 1")),
        folder,
    )
    cluster.begin()
    try:
        first = cluster.servers[0].name
        wait_until("back-off", lambda: "back-off" in whats(cluster, first), within_s=120)
        return {"first": whats(cluster, first)}
    finally:
        cluster.down()


@scenario
def crash(folder: Path) -> Any:
    with running(folder) as cluster:
        first = cluster.servers[0].name
        before = cluster.pid(first)
        assert before
        os.kill(before, signal.SIGKILL)
        wait_until("a restart", lambda: cluster.pid(first) not in (None, before), within_s=10)
        wait_until("Ready", lambda: cluster.ready(first), within_s=30)
        return {"restarts": cluster.restarts(first), "events": whats(cluster, first)}


def refused(folder: Path, *changes: tuple[str, str], within_s: float = 6) -> Any:
    cluster = embedded(contract(*changes), folder)
    try:
        cluster.up(within_s=within_s)
    except ClusterError as problem:
        return {
            "error": str(problem),
            "decides": isinstance(problem, NotUp),
            "log": cluster.log("nats-platform-0"),
            "pods": sorted({e.pod for e in cluster.events() if e.what == "created"}),
        }
    finally:
        cluster.down()
    return {"error": "", "decides": False, "log": "", "pods": []}


@scenario
def ordered_deadlock(folder: Path) -> Any:
    """Startup probes wait for a meta leader, which waits for servers that an ordered start has not made."""
    return refused(folder, ("podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady"))


@scenario
def governing_service_with_address(folder: Path) -> Any:
    """As CoreDNS has it, pods have names below it; the rule refuses it all the same."""
    return refused(folder, ("clusterIP: None", "type: ClusterIP"), within_s=20)


@scenario
def image_only_kubernetes_has(folder: Path) -> Any:
    return refused(folder, ("image: natsio/nats-box:0.18.0", "image: registry.example/nats-cli:1"))


@scenario
def names_of_ready_pods_only(folder: Path) -> Any:
    return refused(folder, ("publishNotReadyAddresses: true", "publishNotReadyAddresses: false"))


@scenario
def failing_job(folder: Path) -> Any:
    return refused(
        folder,
        ('echo "waiting for JetStream"', "echo it broke; exit 3"),
        ("backoffLimit: 3", "backoffLimit: 0"),
    )


@scenario
def root_where_root_is_refused(folder: Path) -> Any:
    return refused(folder, ("runAsUser: 1000", "runAsUser: 0"), within_s=3)


@scenario
def power_cut(folder: Path) -> Any:
    return _cut_all(folder)


@scenario
def power_cut_without_fsync(folder: Path) -> Any:
    return _cut_all(folder, ("sync_interval: always", 'sync_interval: "2m"'))


def _cut_all(folder: Path, *changes: tuple[str, str]) -> Any:
    with running(folder, *changes, needs=("PowerCuttable",)) as cluster:
        acknowledged = put(cluster, [f"key-{n}" for n in range(200)])
        names = [s.name for s in cluster.servers]
        cluster.cut_power(names)  # type: ignore[attr-defined]
        down = [cluster.running(name) for name in names]
        for name in names:
            cluster.start(name)
        with contextlib.suppress(DeadlineExceeded) if changes else contextlib.nullcontext():
            wait_until("health", lambda: all(healthy(cluster, name) for name in names), within_s=20)
        with contextlib.suppress(DeadlineExceeded):  # healthy is not led: nothing may be no answer yet
            wait_until("what is stored", lambda: stored(cluster), within_s=5 if changes else 30)
        return {"acknowledged": acknowledged, "down": down, "stored": stored(cluster)}


@scenario
def full_disk(folder: Path) -> Any:
    with running(folder, needs=("DiskFillable",)) as cluster:
        first = cluster.servers[0].name
        cluster.fill_disk(first)  # type: ignore[attr-defined]
        free = os.statvfs(cluster.volume_path(first)).f_bavail
        cluster.free_disk(first)  # type: ignore[attr-defined]
        again = os.statvfs(cluster.volume_path(first)).f_bavail
        image = next(folder.glob("volumes/*.ext4")).stat()
        return {"free": free, "again": again, "sparse": image.st_blocks * 512 < image.st_size / 100}


@scenario
def changed_config(folder: Path) -> Any:
    """The runbook's way to a new configuration: apply, then a rolling restart."""
    with running(folder) as cluster:
        names = [s.name for s in cluster.servers]
        put(cluster, ["before"])
        cluster.apply(contract(("max_payload: 1MB", "max_payload: 2MB")))
        before = [cluster.monitor(name, "/varz")["max_payload"] for name in names]
        cluster.rolling_restart()
        after = [cluster.monitor(name, "/varz")["max_payload"] for name in names]
        order = [e.pod for e in cluster.events() if e.what == "deleting" and e.pod in names]
        return {"before": before, "after": after, "order": order, "stored": stored(cluster)}


@scenario
def two_at_once(folder: Path) -> Any:
    with running(folder / "a") as one, running(folder / "b") as other:
        put(one, ["only-here"])
        return {
            "one": stored(one),
            "other": stored(other),
            "addresses": [one.servers[0].client_url, other.servers[0].client_url],
        }


@scenario
def scaled(folder: Path) -> Any:
    with running(folder) as cluster:
        cluster.scale(5)
        wait_until("five", lambda: all(cluster.ready(s.name) for s in cluster.servers), within_s=40)
        five = [s.name for s in cluster.servers]
        seen = wait_until("routes", lambda: len(others(cluster, five[4])) == 4, within_s=20)
        cluster.scale(3)
        return {"five": five, "seen": seen, "three": [s.name for s in cluster.servers]}


@scenario
def slow_consumer(folder: Path) -> Any:
    with running(folder) as cluster:
        return limits_looks.slow_consumer(cluster)


@scenario
def wait_to_be_killed(folder: Path) -> Any:
    """Says READY with everything running that can leak, then waits."""
    needs = ("PowerCuttable",) if os.environ.get("WITH_LOOPS") else ()
    with running(folder, needs=needs) as cluster:
        print("READY", *(str(cluster.pid(s.name)) for s in cluster.servers), flush=True)
        signal.pause()


def main() -> None:
    enter_universe()
    result = SCENARIOS[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
