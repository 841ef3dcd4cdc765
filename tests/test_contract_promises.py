"""Promises are read with their lines; a misspelt promise is an error, never a silent gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from natsproof.contract import load, load_documents
from natsproof.contract.description import describe, duration, size
from natsproof.contract.model import Place, Promises
from natsproof.errors import ContractError

ROOT = Path(__file__).parent.parent
BASE = (ROOT / "tests/contracts/kustomized/base/nats.yaml").read_text()
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p, namespace: nats}\ndata:\n  promises.yaml: |\n"
GOOD = """\
buckets:
- {name: state, ttl: 15m, max_bytes: 16MiB, replicas: 3}
- name: locks
  ttl: 7d
  storage: memory
  history: 5
  max_value_bytes: 1K
survives: [process-kill-one, power-loss-all]
recovery: {one-server-killed: 15s}
expiry_late: 2s
direct_get_late: 500ms
monitoring: [/varz]
rate_floor_hz: 500
rate_floor_one_down_hz: 300.5
p99: 50ms
storage_class: longhorn
"""


def promises(text: str) -> Promises:
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    return load_documents([("m.yaml", BASE), ("p.yaml", HEAD + indented)]).promises


def test_everything_promised_is_read_with_its_line() -> None:
    found = promises(GOOD)
    state, locks = found.buckets
    assert (state.name, state.ttl_s, state.max_bytes, state.replicas) == ("state", 900.0, 16 << 20, 3)
    assert (locks.ttl_s, locks.storage, locks.history) == (604_800.0, "memory", 5)
    assert locks.max_value_bytes == 1024
    assert locks.max_bytes is None and locks.replicas == 1
    assert found.survives == ("process-kill-one", "power-loss-all")
    assert found.recovery_s == {"one-server-killed": 15.0}
    assert (found.expiry_late_s, found.p99_s, found.storage_class) == (2.0, 0.05, "longhorn")
    assert (found.rate_floor_hz, found.rate_floor_one_down_hz) == (500.0, 300.5)
    assert found.monitoring == ("/varz",)
    assert found.direct_get_late_s == 0.5
    assert locks.at("ttl_s") == Place("p.yaml", 9)
    assert found.at("recovery.one-server-killed") == Place("p.yaml", 14)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("survives", "survive", 13, "did you mean survives?"),
        ("power-loss-all", "powerloss-all", 13, "did you mean power-loss-all?"),
        ("one-server-killed", "one-server-kiled", 14, "did you mean one-server-killed?"),
        ("ttl: 15m", "ttl: 15", 7, "7d"),
        ("ttl: 7d", "tll: 7d", 9, "did you mean ttl?"),
        ("max_bytes: 16MiB", "max_bytes: 16Mi", 7, "write 16MiB"),
        ("replicas: 3", "replicas: '3'", 7, "an integer from 1 to 5"),
        ("storage: memory", "storage: disk", 10, "neither file nor memory"),
        ("[/varz]", "[varz]", 17, "expected a path"),
        ("rate_floor_hz: 500", "rate_floor_hz: fast", 18, "puts a second"),
        ("name: locks", "name: state", 8, "promised twice"),
        ("name: locks", "name: lo.cks", 8, "no bucket name"),
        ("p99: 50ms", "p99: [50ms]", 20, "a list"),
    ],
)
def test_a_wrong_promise_is_told_with_its_line(old: str, new: str, line: int, says: str) -> None:
    assert old in GOOD
    with pytest.raises(ContractError) as error:
        promises(GOOD.replace(old, new, 1))
    assert str(error.value).startswith(f"p.yaml:{line}: ") and says in str(error.value), str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "survives: []", "buckets: []", "buckets: {a: 1}", "a: [", "buckets: [1]"]
)
def test_promises_without_buckets_are_refused(text: str) -> None:
    with pytest.raises(ContractError) as error:
        promises(text)
    assert str(error.value).startswith("p.yaml:")


def test_two_carriers_are_refused() -> None:
    carrier = HEAD + "".join(f"    {line}\n" for line in GOOD.splitlines())
    with pytest.raises(ContractError, match="a second ConfigMap carries"):
        load_documents(
            [("m.yaml", BASE), ("p.yaml", carrier), ("q.yaml", carrier.replace("name: p,", "name: q,"))]
        )


def test_the_description_shows_what_was_understood() -> None:
    text = describe(load(ROOT / "manifests"))
    for bucket in load(ROOT / "manifests").promises.buckets:
        assert f"promises {bucket.name}" in text and f"creates {bucket.name}" in text
    assert "10 GiB, expires 15 min, R3 file, history 1" in text
    assert all(".yaml:" in line for line in text.splitlines())


def test_plain_units() -> None:
    assert [size(n) for n in (None, 0, 1000, 16 << 20, 3 << 40)] == [
        "unlimited",
        "0 B",
        "1000 B",
        "16 MiB",
        "3 TiB",
    ]
    assert [duration(s) for s in (None, 0, 0.5, 5400, 604_800)] == [
        "never",
        "0 s",
        "0.5 s",
        "1 h 30 min",
        "7 d",
    ]
