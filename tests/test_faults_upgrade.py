"""The witnesses of an operator's changes bear one late answer, and see what did not change. The servers are
scripted, as no real one is late on demand; real ones are upgraded in tests/test_operations.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.errors import ClusterError
from natsproof.faults import upgrade
from natsproof.faults.upgrade import Resize, Upgrade

NAMES = ("nats-0", "nats-1", "nats-2")
OLD, NEW = dict.fromkeys(NAMES, "2.12.8"), dict.fromkeys(NAMES, "2.14.5")
UPGRADED = {"wanted": "2.14.5", "versions": OLD, "after": [{**OLD, "nats-2": "2.14.5"}, NEW]}
RESIZED = {"ids": dict.fromkeys(NAMES, "before"), "limits": dict.fromkeys(NAMES, 100)}


class Answering:
    """The last server does not answer its first `late` requests."""

    def __init__(self, late: int, **facts: Any) -> None:
        self.servers = [SimpleNamespace(name=name) for name in NAMES]
        self._late, self._facts = late, {"version": "2.14.5", "gomemlimit": 200, "server_id": "after"} | facts

    def monitor(self, server: str, path: str) -> Any:
        if server == NAMES[-1] and self._late > 0:
            self._late -= 1
            raise ClusterError("no answer within 2 s")
        return self._facts


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "WITNESS_S", 0.5)


@pytest.mark.parametrize("late", [0, 1])
def test_a_late_answer_is_asked_for_again(late: int) -> None:
    assert "2.12.8 to 2.14.5" in Upgrade().witness_change(Answering(late), NAMES, UPGRADED)
    assert "2 times the memory limit" in Resize().witness_change(Answering(late), NAMES, RESIZED)


def test_what_did_not_change_is_seen() -> None:
    assert not Upgrade().witness_change(Answering(0, version="2.12.8"), NAMES, UPGRADED)
    assert not Upgrade().witness_change(Answering(0), NAMES, UPGRADED | {"after": [NEW]})
    assert not Resize().witness_change(Answering(0, gomemlimit=100), NAMES, RESIZED)
    assert not Resize().witness_change(Answering(0, server_id="before"), NAMES, RESIZED)
