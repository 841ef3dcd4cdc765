"""The load against real servers: what it recorded is a history, and Locust runs it alone."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import nats
import numpy as np
import psutil
import pytest
from nats.js.api import StorageType, StreamConfig

from bench.plain_servers import PlainServers
from natsproof.checkers.guards import clients_not_overlapping
from natsproof.clock import Deadline, wait_until
from natsproof.errors import ClusterError
from natsproof.history import Kind, Outcome
from natsproof.history_file import read
from natsproof.load.absorb import absorb
from natsproof.load.engine import SAMPLE
from natsproof.load.mix import PLATFORM
from natsproof.load.rig import Rig
from natsproof.load.spec import VALUES_PER_WORKER, GeneratorSpec
from natsproof.load.steering import package_environment, set_rates, start_generators
from natsproof.load.workload import LOCUSTFILE
from natsproof.recorder import Recorder

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def servers():
    with PlainServers(1) as running:
        asyncio.run(make_buckets(running.urls))
        yield running


async def make_buckets(urls):
    connection = await nats.connect(servers=list(urls))
    for bucket in dict.fromkeys(a.bucket for a in PLATFORM):
        await connection.jetstream().add_stream(
            StreamConfig(
                name=f"KV_{bucket}",
                subjects=[f"$KV.{bucket}.>"],
                max_msgs_per_subject=1,
                storage=StorageType.FILE,
                allow_rollup_hdrs=True,
                allow_direct=True,
            )
        )
    await connection.close()


def collected(generators, seconds):
    parts, deadline = [], Deadline.within(seconds)
    while not deadline.passed:
        parts += [b.samples for g in generators for b in g.batches(0.05)]
    for generator in generators:
        generator.stop()
    end = Deadline.within(10)
    while any(g.summary is None for g in generators) and not end.passed:
        parts += [b.samples for g in generators for b in g.batches(0.2)]
    for generator in generators:
        generator.close()
    return np.concatenate(parts)


def test_two_generators_record_what_they_did(servers, tmp_path):
    spec = GeneratorSpec(urls=servers.urls, record=str(tmp_path / "h{worker}.jsonl"), seed=1)
    generators = start_generators(spec, 2, sockets=socket)
    set_rates(generators, 300)
    samples = collected(generators, 1.0)
    histories = [read(tmp_path / f"h{worker}.jsonl") for worker in range(2)]
    assert all(h.complete for h in histories)
    assert sum(len(h.operations) for h in histories) == len(samples) > 100
    for worker, history in enumerate(histories):
        assert clients_not_overlapping(history) is None
        ops = history.operations
        puts = ops.value[np.isin(ops.kind, [Kind.PUT, Kind.CREATE, Kind.UPDATE])]
        assert len(np.unique(puts)) == len(puts)
        assert (puts // VALUES_PER_WORKER == worker).all()
        assert (ops.revision[(ops.kind == Kind.PUT) & (ops.outcome == Outcome.OK)] > 0).all()


def test_the_load_of_a_process_joins_a_history(servers, tmp_path):
    spec = GeneratorSpec(urls=servers.urls, record=str(tmp_path / "h{worker}.jsonl"), prefix="joins")
    rig = Rig(spec)
    rig.closed(4, 0.3)
    rig.close()
    with Recorder(tmp_path / "all.jsonl", {}) as recorder:
        recorder.key("other", "key")
        recorder.client("another")
        count = absorb(recorder, tmp_path / "h0.jsonl")
    own, all_of_it = read(tmp_path / "h0.jsonl"), read(tmp_path / "all.jsonl")
    assert count == len(own.operations) == len(all_of_it.operations)
    assert (all_of_it.operations.revision == own.operations.revision).all()
    named = [str(all_of_it.keys[k]) for k in all_of_it.operations.key[:50]]
    assert named == [str(own.keys[k]) for k in own.operations.key[:50]]


def test_a_step_reports_every_arrival(servers):
    rig = Rig(GeneratorSpec(urls=servers.urls, prefix="step", arrivals="even"))
    try:
        step, samples = rig.step(200, 1.0, skip_s=0.2)
    finally:
        rig.close()
    assert step.offered_hz == pytest.approx(200, rel=0.1)
    assert not step.errors
    assert (samples["done_ns"] >= samples["sent_ns"]).all()


def test_a_platform_that_is_not_there_is_named():
    with pytest.raises(ClusterError, match=r"generator 0: .*no connection within"):
        start_generators(GeneratorSpec(urls=("nats://127.0.0.1:9",)), 1, sockets=socket)


def environment_for_locust(servers, **more):
    environment = package_environment() | {"NATS_URL": servers.urls[0], **more}
    return {k: v for k, v in environment.items() if k in os.environ or k.startswith(("NATS", "PYTHON"))}


@contextmanager
def locust_running(folder, environment, *words):
    """Locust as a user starts it; ended by its process, its words in a file."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *words]
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, cwd=folder)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=5)


def test_locust_runs_the_load_alone(servers, tmp_path):
    environment = environment_for_locust(
        servers,
        NATSPROOF_RECORD=str(tmp_path),
        NATSPROOF_SAMPLES=str(tmp_path),
        NATSPROOF_STAGES="[[200, 3]]",
        NATSPROOF_OBJECTIVE_S="60",  # this test is not about the machine's speed
    )
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0 and (tmp_path / "ready").exists(), done.stderr[-3000:]
    history = read(tmp_path / "load-0.jsonl")
    (samples,) = (np.fromfile(path, dtype=SAMPLE) for path in tmp_path.glob("samples-*"))
    assert history.complete and len(samples) == len(history.operations) > 100
    assert "message_state" in done.stdout + done.stderr


@pytest.mark.parametrize("words", [(), ("--processes", "1")], ids=["alone", "master-and-worker"])
def test_locust_says_so_when_its_generator_stood_still(servers, tmp_path, words):
    samples = tmp_path / "samples"
    environment = environment_for_locust(
        servers, NATSPROOF_STAGES="[[60, 6]]", NATSPROOF_SAMPLES=str(samples), NATSPROOF_PREFIX="still"
    )
    with locust_running(tmp_path, environment, "--headless", "--only-summary", *words) as process:
        wait_until("a connected generator", (samples / "ready").exists, within_s=30)
        (generator,) = (
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "natsproof.load.generator" in child.cmdline()
        )
        wait_until("samples", lambda: any(p.stat().st_size for p in samples.glob("samples-*")), within_s=10)
        generator.suspend()
        threading.Event().wait(1.0)
        generator.resume()
        code = process.wait(timeout=30)
    said = (tmp_path / "said").read_text()
    assert code == 6 and "this run is not valid: the generator fell behind its schedule" in said, said[-3000:]
