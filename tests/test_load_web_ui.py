"""`locust -f loadtests/locustfile.py` as a person uses it: the web UI starts a run, shows it, stops it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natsproof.clock import wait_until
from natsproof.load.steering import package_environment
from natsproof.load.workload import LOCUSTFILE
from tests.test_load_cluster import servers

__all__ = ["servers"]
pytestmark = pytest.mark.cluster


class WebUi:
    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def text(self, path: str, form: dict[str, Any] | None = None) -> str:
        data = urllib.parse.urlencode(form).encode() if form else None
        with urllib.request.urlopen(f"{self.base}{path}", data, timeout=5) as answer:
            return str(answer.read().decode())

    def answers(self) -> bool:
        try:
            return "Locust" in self.text("/")
        except OSError:
            return False

    def requests(self) -> dict[str, Any]:
        return dict(json.loads(self.text("/stats/requests")))


@pytest.fixture
def web_ui(servers: Any, tmp_path: Path) -> Iterator[WebUi]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--web-host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--web-port", str(port)],
        env=package_environment() | {"NATS_URL": servers.urls[0], "NATSPROOF_OBJECTIVE_S": "60"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    try:
        page = WebUi(port)
        wait_until("the web UI", page.answers, within_s=30)
        yield page
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_web_ui_starts_a_run_shows_it_and_stops_it(web_ui: WebUi) -> None:
    before = web_ui.requests()
    assert (before["state"], before["user_count"]) == ("ready", 0)
    started = json.loads(web_ui.text("/swarm", {"user_count": 10, "spawn_rate": 10, "host": ""}))
    assert started["success"], started

    def loaded() -> bool:
        total = next(row for row in web_ui.requests()["stats"] if row["name"] == "Aggregated")
        return int(total["num_requests"]) > 100

    wait_until("a hundred operations", loaded, within_s=30)
    seen = web_ui.requests()
    assert seen["state"] == "running"
    assert {"message_state", "integration_locks"} <= {row["name"] for row in seen["stats"]}
    exact = json.loads(web_ui.text("/natsproof/latency"))
    assert exact["not_valid"] == ""
    assert exact["latency"], "the exact latencies are on a page of their own"
    assert json.loads(web_ui.text("/stop", {"by": "hand"}))["success"]
    wait_until("the end", lambda: web_ui.requests()["state"] == "stopped", within_s=20)
