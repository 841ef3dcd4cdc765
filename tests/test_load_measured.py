"""What a capacity run measures on real servers: fsync's price, bytes of an entry, flushes of the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.contract.loader import load
from natsproof.errors import ClusterError
from natsproof.load.sizing import entry_bytes
from natsproof.load.spec import GeneratorSpec
from natsproof.load.sync import by_sync_interval
from natsproof.load.variations import SIZES_BYTES
from tests.test_embedded_cluster import ROOT, folder

__all__ = ["folder"]
LIMIT_S = 180


def scenario(name: str, folder: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.load_scenarios", name, str(folder / "work")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.cluster
def test_servers_beside_the_platforms_differ_in_their_sync_interval(folder: Path) -> None:
    told = scenario("sync_intervals", folder)
    assert [row["value"] for row in told["rows"]] == ["always", "2m", "10s"]
    assert all(row["rate_hz"] > 50 and row["in_flight"] == 64 for row in told["rows"])
    assert [servers[0] for servers in told["seen"]] == [
        [True, 120 * 10**9],
        [False, 120 * 10**9],
        [False, 10**10],
    ]
    assert all(len(servers) == 3 for servers in told["seen"])
    assert told["same_servers"] and told["left"] == [] and told["missing"] == []


def test_where_no_servers_can_be_made_beside_the_report_says_so() -> None:
    rows, missing = by_sync_interval(SimpleNamespace(kind="kind"), GeneratorSpec(()), seconds=1, within_s=9)
    assert rows == [] and "sync_interval: on kind no servers can be made beside" in missing[0]


def test_servers_that_do_not_come_up_do_not_end_the_capacity_run() -> None:
    def refuse(contract: Any, name: str) -> Any:
        raise ClusterError("no room for servers\nand more")

    cluster = SimpleNamespace(kind="embedded", contract=load(ROOT / "manifests"), beside=refuse)
    rows, missing = by_sync_interval(cluster, GeneratorSpec(()), seconds=1, within_s=30)
    assert rows == [] and missing[0] == "sync_interval always: no room for servers" and len(missing) == 3
    assert by_sync_interval(cluster, GeneratorSpec(()), seconds=1, within_s=1)[1][0].endswith(
        "no time was left"
    )


@pytest.mark.cluster
def test_an_entry_of_each_size_is_filled_and_the_disk_is_seen_to_be_flushed(folder: Path) -> None:
    told = scenario("fill_and_flushes", folder)
    assert [row["value_bytes"] for row in told["rows"]] == list(SIZES_BYTES)
    for row in told["rows"]:
        assert row["bytes_per_entry"] == pytest.approx(row["model_bytes_per_entry"], rel=0.1)
        assert row["disk_bytes_per_entry"] >= row["value_bytes"]
        assert row["model_bytes_per_entry"] > entry_bytes("", 0, row["value_bytes"])
    if not told["before"]:
        pytest.skip("this host does not show the flushes of the volumes' device")
    entries = sum(row["entries"] for row in told["rows"])
    flushed = sum(told["after"].values()) - sum(told["before"].values())
    # 32 puts in flight share flushes; servers that never synced would need a handful
    assert flushed > entries / 32
