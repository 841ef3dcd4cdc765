"""The capacity page: complete, offline, escaped; regressions are named only beyond the uncertainty."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from natsproof.history import History, Injection, Observation, Operations
from natsproof.report.capacity_page import fragment, of_run, regressions, write

NS = 1_000_000_000


def step(label, at_s, rate, p99, why=""):
    return {
        "label": label,
        "at_s": at_s,
        "seconds": 2.0,
        "offered_hz": rate,
        "achieved_hz": rate,
        "p50_ms": p99 / 4,
        "p90_ms": p99 / 2,
        "p99_ms": p99,
        "p999_ms": 2 * p99,
        "max_ms": 3 * p99,
        "service_p50_ms": p99 / 5,
        "backlog_growth": 0,
        "errors": {},
        "lag_p99_ms": 1.0,
        "why": why,
        "not_valid": "",
        "servers": {"servers_cpu_cores": 0.5, "device_flushes_per_put": 2.25, "raft_lag_entries": 0.0},
    }


def bucket(says):
    return {"bucket": "b", "rate_hz": 1.0, "most_hz": 9.0, "says": says}


def capacity(rate=500.0):
    size = {"buckets": [bucket("b levels off")], "findings": []}
    return {
        "objective_s": 0.5,
        "knee": {"rate_hz": rate, "too_high_hz": rate * 1.05, "limited_by": "platform", "certain_to": 0.025},
        "one_down": {"rate_hz": 300.0, "too_high_hz": 330.0, "limited_by": "time", "certain_to": 0.05},
        "kills": [{"part": 1.0, "rate_hz": 300.0, "why": ""}],
        "certified_hz": 300.0,
        "usl": {
            "points": [[1, 100.0], [2, 190.0], [4, 350.0], [8, 500.0]],
            "one_client_hz": 100.0,
            "one_client_error_hz": 4.0,
            "contention": 0.08,
            "contention_error": 0.01,
            "coherency": 0.001,
            "coherency_error": 0.0005,
            "residual": 0.02,
            "best_clients": 30.0,
            "peak_hz": 600.0,
        },
        "axes": [{"axis": "value_bytes", "value": 1024, "rate_hz": 400.0, "in_flight": 64}],
        "fill": [],
        "sizing": {"now": size, "five_servers": size, "twice_the_ttl": size},
        "context": {"cluster": "embedded", "image": "nats:<b>2</b>"},
        "steps": [
            step("all pods", 0.0, 200.0, 10.0),
            step("all pods", 3.0, 700.0, 900.0, "p99 900 ms, objective 500 ms"),
            step("under kills", 9.0, 300.0, 50.0),
        ],
        "not_measured": ["sync_interval 10s: no time was left"],
        "took_s": 12.0,
    }


@pytest.fixture
def history():
    kill = Injection("Kill()", ("n0",), "leader", 8 * NS, 8 * NS, 11 * NS, True, "gone")
    return History(
        {"began_ns": 0},
        Operations.empty(),
        injections=(kill,),
        observations=(Observation("capacity", 12 * NS, capacity()),),
    )


def test_the_three_files_are_written(history, tmp_path):
    page = write(history, tmp_path)
    assert page is not None
    data = json.loads((tmp_path / "capacity.json").read_text())
    assert data["kills_at"] == [{"from_s": 8.0, "to_s": 11.0, "targets": ["n0"]}]
    rows = list(csv.DictReader((tmp_path / "capacity.csv").read_text().splitlines()))
    assert [float(row["offered_hz"]) for row in rows] == [200, 700, 300]
    assert rows[0]["servers_cpu_cores"] == "0.5"


def test_the_page_names_what_is_certified_and_what_was_too_much(history, tmp_path):
    text = write(history, tmp_path).read_text()
    for wanted in (
        "300 /s",
        "500 /s ± 2%",
        "killed: n0",
        "p99 900 ms, objective 500 ms",
        "lower bound (time)",
        "sync_interval 10s: no time was left",
        "<td>0.50</td><td></td><td>2.2</td><td>0</td>",  # bytes written could not be read
    ):
        assert wanted in text
    assert "nats:&lt;b&gt;2&lt;/b&gt;" in text and "<b>2</b>" not in text
    assert "http://" not in text and "https://" not in text and "<script" not in text


def test_without_a_capacity_run_there_is_no_page(tmp_path):
    assert write(History({}, Operations.empty()), tmp_path) is None
    assert of_run(None) is None and of_run(tmp_path) is None


def test_a_run_without_results_still_has_a_page():
    nothing = capacity() | {"knee": None, "one_down": None, "certified_hz": 0.0, "usl": {}, "axes": []}
    assert "none" in fragment(nothing | {"sizing": {}, "steps": []})


def test_a_regression_is_named_with_its_uncertainty(history, tmp_path):
    assert regressions(capacity(500), capacity(490)) == []
    (found,) = regressions(capacity(500), capacity(400))
    assert "500 to 400 operations a second (-20%, uncertainty 5%)" in found
    write(history, tmp_path / "attachments" / "capacity")
    text = write(history, tmp_path / "now", baseline=of_run(tmp_path) | {"certified_hz": 600.0}).read_text()
    assert "rate under pod kills: 600 to 300" in text


@pytest.mark.browser
def test_chromium_renders_the_page_without_errors(history, tmp_path):
    page: Path = write(history, tmp_path)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("<svg") == 3
    assert "CONSOLE" not in done.stderr
