"""The load generator against `nats bench kv put`, against a known stall, and Locust's share of an operation.

    generator: R x nats bench kv put      64 puts in flight, same servers, recorded; must reach 0.9
    generator over three connections: R   the same as a load under faults has them; a server batches less then
    stall error: P %                      reported p99.9 against the schedule's truth; at most 5
    locust overhead: U us                 processor time of Locust for each operation; at most 30

Pairs are measured one after the other and the median of the pairs is printed: the machine is shared.
"""

from __future__ import annotations

import asyncio
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import nats
import numpy as np
import orjson
from nats.js.api import StorageType, StreamConfig

from bench.plain_servers import PlainServers
from natsproof.clock import NS_PER_S, Deadline, now_ns, wait_until
from natsproof.cluster.binaries import nats_cli
from natsproof.load.engine import Samples
from natsproof.load.latency import of_ns
from natsproof.load.mix import Action
from natsproof.load.outcome import ANSWERED
from natsproof.load.spec import GeneratorSpec
from natsproof.load.steering import Generator, package_environment, set_rates, start_generators

BUCKET = "bench"
PUTS = (Action(BUCKET, "put", 1.0, 128, 1000),)
IN_FLIGHT = 64
PAIRS = 5
RUN_S = 4.0
STALL_RATE_HZ, STALL_S, STALL_RUN_S = 500.0, 1.0, 20.0


async def _make_bucket(urls: tuple[str, ...], replicas: int) -> None:
    """Tried until it works: a healthy server is no peer until the meta leader has heard of it."""
    connection = await nats.connect(servers=list(urls))
    config = StreamConfig(
        name=f"KV_{BUCKET}",
        subjects=[f"$KV.{BUCKET}.>"],
        num_replicas=replicas,
        max_msgs_per_subject=1,
        storage=StorageType.FILE,
        allow_rollup_hdrs=True,
        allow_direct=True,
        max_bytes=8 * 2**30,
    )
    deadline = Deadline.within(30)
    while True:
        try:
            await connection.jetstream().add_stream(config)
            break
        except nats.js.errors.APIError:
            if deadline.passed:
                raise
            await asyncio.sleep(0.2)
    await connection.close()


def _collect(generator: Generator, seconds: float, during: Callable[[], None] | None = None) -> Samples:
    """All samples of one generator over that time and its end."""
    found, deadline = [], Deadline.within(seconds)
    side = threading.Thread(target=during) if during else None
    if side:
        side.start()
    while not deadline.passed:
        found += [batch.samples for batch in generator.batches(0.1)]
    if side:
        side.join()
    generator.stop()
    end = Deadline.within(20)
    while generator.summary is None and not end.passed:
        found += [batch.samples for batch in generator.batches(0.5)]
    generator.close()
    return np.concatenate(found)


def ours(servers: PlainServers, folder: Path, connections: int) -> float:
    """Acknowledged and recorded puts a second with 64 in flight."""
    record = str(folder / "history-{worker}.jsonl")
    spec = GeneratorSpec(urls=servers.urls, mix=PUTS, connections=connections, record=record)
    (generator,) = start_generators(spec, 1, sockets=socket)
    generator.saturate(IN_FLIGHT)
    samples = _collect(generator, RUN_S)
    done = np.sort(samples["done_ns"][np.isin(samples["outcome"], ANSWERED)])
    return float((len(done) - 1) / ((done[-1] - done[0]) / NS_PER_S))


def theirs(servers: PlainServers, messages: int) -> float:
    """What `nats bench kv put` says it reached with 64 clients."""
    command = [str(nats_cli().path), "--no-context", "-s", ",".join(servers.urls), "bench", "kv", "put"]
    options = ["--bucket", BUCKET, "--clients", str(IN_FLIGHT), "--size", "128", "--msgs", str(messages)]
    done = subprocess.run(
        [*command, *options, "--no-progress"], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r"aggregated stats: ([\d,]+) msgs/sec", done.stdout + done.stderr)
    if not found:
        raise SystemExit(f"nats bench printed no rate:\n{done.stdout[-500:]}\n{done.stderr[-500:]}")
    return float(found[1].replace(",", ""))


def ratio(servers: PlainServers, folder: Path, connections: int = 1) -> tuple[float, float]:
    """Median of ours over theirs, pair by pair, and our median rate."""
    pairs = []
    for number in range(PAIRS):
        if number % 2:
            other = theirs(servers, 40_000)
            own = ours(servers, folder, connections)
        else:
            own = ours(servers, folder, connections)
            other = theirs(servers, 40_000)
        print(f"# {own:.0f} against {other:.0f} puts/s", file=sys.stderr)
        pairs.append((own / other, own))
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def _leader(servers: PlainServers) -> int | None:
    for index, monitor in enumerate(servers.monitors):
        with urllib.request.urlopen(f"{monitor}/jsz?streams=true&accounts=true", timeout=2) as answer:
            told = orjson.loads(answer.read())
        for account in told.get("account_details", []):
            for stream in account.get("stream_detail", []):
                if (
                    stream["name"] == f"KV_{BUCKET}"
                    and stream.get("cluster", {}).get("leader") == f"n{index}"
                ):
                    return index + 1
    return None


def stall_error(servers: PlainServers) -> float:
    """Per cent by which the reported p99.9 misses the truth, the leader stopped for one second.

    The truth needs no answer's time: an arrival due t before the server goes on waits at least t; all
    others take what they take without a stall, which is far below the 99.9th percentile here.
    """
    leader = wait_until("the stream's leader", lambda: _leader(servers), within_s=20) - 1
    spec = GeneratorSpec(urls=servers.urls, mix=PUTS, seed=1, timeout_s=5.0)
    (generator,) = start_generators(spec, 1, sockets=socket)
    stall: list[int] = []

    def stop_and_go() -> None:
        pause = threading.Event()
        pause.wait(STALL_RUN_S / 2)
        stall.append(now_ns())
        servers.pause(leader)
        pause.wait(STALL_S)
        stall.append(now_ns())
        servers.resume(leader)

    set_rates([generator], STALL_RATE_HZ)
    samples = _collect(generator, STALL_RUN_S, stop_and_go)
    reported_s = of_ns(samples["done_ns"] - samples["intended_ns"]).at_s(99.9)
    due = samples["intended_ns"]
    calm = samples[(due < stall[0] - NS_PER_S) | (due > stall[1] + NS_PER_S)]
    usual_ns = float(np.median(calm["done_ns"] - calm["intended_ns"]))
    waited = np.where((due >= stall[0]) & (due < stall[1]), stall[1] - due, 0) + usual_ns
    truth_s = float(np.percentile(waited, 99.9)) / 1e9
    print(f"# p99.9 {reported_s:.4f} s reported, {truth_s:.4f} s true, {len(samples)} puts", file=sys.stderr)
    return 100.0 * abs(reported_s - truth_s) / truth_s


def locust_overhead_us(servers: PlainServers) -> float:
    """Processor time of a Locust process, beyond its idle time, for each operation fired in it."""
    command = [sys.executable, "-m", "bench.locust_share", ",".join(servers.urls), BUCKET]
    runs = []
    for _ in range(3):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env=package_environment()
        )
        told = orjson.loads(done.stdout.splitlines()[-1])
        print(f"# {told}", file=sys.stderr)
        runs.append((told["cpu_s"] - told["idle_cpu_s"]) / told["operations"] * 1e6)
    return statistics.median(runs)


def main() -> None:
    with PlainServers(3) as servers, tempfile.TemporaryDirectory(prefix="natsproof-bench-") as folder:
        asyncio.run(_make_bucket(servers.urls, 3))
        theirs(servers, 5_000)
        factor, rate_hz = ratio(servers, Path(folder))
        print(f"generator: {factor:.2f} x nats bench kv put")
        print(f"generator rate: {rate_hz:.0f} puts/s recorded")
        three, _ = ratio(servers, Path(folder), connections=3)
        print(f"generator over three connections: {three:.2f} x nats bench kv put")
        print(f"stall error: {stall_error(servers):.1f} %")
        print(f"locust overhead: {locust_overhead_us(servers):.1f} us", flush=True)


if __name__ == "__main__":
    main()
