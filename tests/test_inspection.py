"""What is read from monitoring endpoints: one late answer is not a silent server. The servers are scripted,
as no real one is late on demand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from natsproof.cluster import inspection
from natsproof.errors import ClusterError

NAMES = ("nats-0", "nats-1")


class Late:
    """Each path of each server answers from its `after`-th request on."""

    def __init__(self, after: int, *, deaf: str = "") -> None:
        self.servers = [SimpleNamespace(name=name) for name in NAMES]
        promises = SimpleNamespace(monitoring=("/varz", "/jsz"))
        statefulset = SimpleNamespace(pod_names=lambda: (*NAMES, "nats-2"))
        self.contract = SimpleNamespace(promises=promises, statefulset=statefulset)
        self.asked: dict[tuple[str, str], int] = {}
        self._after, self._deaf = after, deaf

    def monitor(self, server: str, path: str) -> Any:
        count = self.asked[server, path] = self.asked.get((server, path), 0) + 1
        if count < self._after or path == self._deaf:
            raise ClusterError(f"{server}{path}: no answer within 2 s")
        return {"server_id": server}


def test_an_endpoint_that_is_late_once_answers() -> None:
    cluster: Any = Late(2)
    seen = inspection.endpoints(cluster, settle_s=5.0)
    assert {name: set(paths.values()) for name, paths in seen.items()} == {
        "nats-0": {"ok"},
        "nats-1": {"ok"},
        "nats-2": {"there is no such pod"},
    }
    assert max(cluster.asked.values()) == 2


def test_an_endpoint_that_never_answers_is_told_with_its_reason() -> None:
    cluster: Any = Late(1, deaf="/jsz")
    seen = inspection.endpoints(cluster, settle_s=0.3)
    assert seen["nats-1"] == {"/varz": "ok", "/jsz": "nats-1/jsz: no answer within 2 s"}
    assert cluster.asked["nats-0", "/varz"] == 1, "what answered is not asked again"
