"""What two pictures of a pod tell, and what the namespace's events add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from natsproof.cluster.kubernetes.deploy import Patience
from natsproof.cluster.kubernetes.watch import PodWatch
from natsproof.errors import ClusterError


class NoLink:
    """Starts nothing: the tests tell the watch what happened."""

    def start(self, task: Any) -> None:
        task.close()


@pytest.fixture
def watch(tmp_path: Path) -> PodWatch:
    return PodWatch(NoLink(), "space", "app=nats", "nats", tmp_path)  # type: ignore[arg-type]


def pod(uid: str, *, container: str = "", ready: bool = False, **status: Any) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {}} if container else {"waiting": {"reason": "ContainerCreating"}}
    told = {"name": "nats", "containerID": container, "state": state, "restartCount": 0} | status
    return {
        "metadata": {"name": "nats-0", "uid": uid},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [told],
        },
    }


def told(watch: PodWatch) -> list[str]:
    return [f"{event.what} {event.detail}".strip() for event in watch.events]


def test_a_life_of_a_pod(watch: PodWatch) -> None:
    for picture in (
        pod("u1"),
        pod("u1", container="c1"),
        pod("u1", container="c1", ready=True),
        pod("u1", container="c1", ready=True),
    ):
        watch._pod_changed("MODIFIED", picture)
    watch._pod_changed("DELETED", pod("u1", container="c1", ready=True))
    assert told(watch) == ["created u1", "started c1", "ready", "deleted u1"]
    assert watch.pod("nats-0") is None


def test_a_restart_in_place_is_an_exit_and_a_start(watch: PodWatch) -> None:
    watch._pod_changed("ADDED", pod("u1", container="c1", ready=True))
    ended = {"terminated": {"exitCode": 137, "reason": "Error", "containerID": "c1"}}
    watch._pod_changed("MODIFIED", pod("u1", container="c2", ready=False, lastState=ended))
    assert told(watch)[3:] == ["exited exit 137 Error", "started c2", "not-ready"]


def test_a_pod_replaced_unseen_is_a_death_and_a_birth(watch: PodWatch) -> None:
    watch._pod_changed("ADDED", pod("u1", container="c1"))
    watch._pod_changed("MODIFIED", pod("u2", container="c2"))
    assert told(watch)[2:] == ["deleted u1", "created u2", "started c2"]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"reason": "Unhealthy", "message": "Readiness probe failed"}, "probe-failed Readiness probe failed"),
        (
            {"reason": "Killing", "message": "Container nats failed liveness probe, will be restarted"},
            "killed-by-probe Container nats failed liveness probe, will be restarted",
        ),
        ({"reason": "FailedMount", "type": "Warning", "message": "no volume"}, "FailedMount no volume"),
    ],
)
def test_events_of_the_namespace_are_pod_events(watch: PodWatch, event: Any, expected: str) -> None:
    watch._event_told("ADDED", {"involvedObject": {"kind": "Pod", "name": "nats-0"}, **event})
    assert told(watch) == [expected]


@pytest.mark.parametrize(
    "event",
    [
        {"reason": "Killing", "message": "Stopping container nats", "type": "Normal"},
        {"reason": "Unhealthy", "involvedObject": {"kind": "Node", "name": "n"}},
    ],
)
def test_what_is_no_news_of_a_pod_is_not_told(watch: PodWatch, event: Any) -> None:
    watch._event_told("ADDED", {"involvedObject": {"kind": "Pod", "name": "nats-0"}, **event})
    assert told(watch) == []


def test_waiting_says_why_each_pod_is_not_ready(watch: PodWatch) -> None:
    watch._pod_changed("ADDED", pod("u1", state={"waiting": {"reason": "CrashLoopBackOff", "message": "x"}}))
    watch._event_told(
        "ADDED",
        {
            "involvedObject": {"kind": "Pod", "name": "nats-0"},
            "type": "Warning",
            "reason": "BackOff",
            "message": "restarting failed container",
        },
    )
    watch.log_file("nats-0").write_text("the last words\n")
    said: list[str] = []
    with pytest.raises(ClusterError) as caught:
        Patience(watch, "nats", said.append, 0.01).until_ready(("nats-0", "nats-1"))
    for part in ("nats-0 CrashLoopBackOff (x)", "nats-1 absent", "BackOff restarting", "the last words"):
        assert part in str(caught.value)
    assert said == ["nats-0 CrashLoopBackOff (x), nats-1 absent"]


def test_waiting_ends_when_all_are_ready(watch: PodWatch) -> None:
    watch._pod_changed("ADDED", pod("u1", container="c1", ready=True))
    assert Patience(watch, "nats", lambda text: None, 1).until_ready(("nats-0",)) < 1
