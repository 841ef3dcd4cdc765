"""From manifests to the first acknowledged R3 write on the embedded cluster, and its teardown.

    python -m bench.first_write [manifests]

`first write` counts from reading the manifests, through the set-up Job that makes the bucket, to the
ack of a put into it. Imports and the universe are once per process and not in it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nats
import nats.errors
import nats.js.errors

from natsproof.clock import Deadline
from natsproof.cluster import Cluster
from natsproof.cluster.embedded import embedded, enter_universe
from natsproof.contract.loader import load
from natsproof.contract.model import Contract

TIMES = 5
LIMIT_S = 30.0


async def ignore(_: Exception) -> None:
    """Refused connections are what a start looks like."""


async def first_write(cluster: Cluster, contract: Contract) -> None:
    """Put into the first bucket until it is acknowledged; then make sure that it is an R3 bucket."""
    deadline, bucket = Deadline.within(LIMIT_S), contract.promises.buckets[0].name
    client = await nats.connect(
        [server.client_url for server in cluster.servers],
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.02,
        connect_timeout=1,
        error_cb=ignore,
    )
    stream = client.jetstream(timeout=2)
    while True:
        try:
            await stream.publish(f"$KV.{bucket}.first", b"write")
            break
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error):
            if deadline.passed:
                raise
            await asyncio.sleep(0.01)
    info = await stream.stream_info(f"KV_{bucket}")
    assert info.config.num_replicas == 3, info.config
    await client.close()


def once(source: Path) -> tuple[float, float, float]:
    """Seconds to the first write, to Ready with the Job complete, and of the teardown."""
    with tempfile.TemporaryDirectory(prefix="natsproof-bench-") as folder:
        began = time.monotonic()
        contract = load(source)
        cluster = embedded(contract, Path(folder))
        cluster.begin()
        try:
            asyncio.run(first_write(cluster, contract))
            wrote = time.monotonic()
            cluster.wait_ready(within_s=LIMIT_S)
            ready = time.monotonic()
        finally:
            ending = time.monotonic()
            cluster.down()
        return wrote - began, ready - began, time.monotonic() - ending


def main() -> None:
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "manifests")
    print(f"# {enter_universe().isolation.value}")
    results = [once(source) for _ in range(TIMES)]
    for name, values in zip(
        ("first write", "platform ready", "teardown"), zip(*results, strict=True), strict=True
    ):
        print(f"# {name}: {', '.join(f'{value:.3f}' for value in values)}")
        print(f"{name}: {statistics.median(values):.3f} s")


if __name__ == "__main__":
    main()
