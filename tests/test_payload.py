"""What the client makes of bytes, headers and errors, without a server."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natsproof.client import outcomes
from natsproof.client.payload import decode, encode, event_kind, timestamp_ns
from natsproof.client.watch import delivery
from natsproof.history import FOREIGN, NONE, Kind, Outcome

KEYS = st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(value=st.integers(0, 2**50), key=KEYS, size=st.integers(0, 300))
def test_a_value_names_its_write(value: int, key: str, size: int) -> None:
    data = encode(value, key, size)
    assert decode(data, key) == value
    assert len(data) >= size
    assert decode(data, key + "x") == FOREIGN


@settings(max_examples=100, deadline=None)
@given(value=st.integers(0, 2**40), size=st.integers(0, 120), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_changed_bit_makes_a_value_foreign(value: int, size: int, at: int, bit: int) -> None:
    data = bytearray(encode(value, "key", size))
    data[at % len(data)] ^= 1 << bit
    assert decode(bytes(data), "key") == FOREIGN


@pytest.mark.parametrize(
    "data", [b"", b"hello", b";", b"1 k;", b"-1 key 3;", b"x key 9;", b"1 key 4;trailing"]
)
def test_bytes_of_others_are_foreign(data: bytes) -> None:
    assert decode(data, "key") == FOREIGN


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        (None, Kind.WATCH_PUT),
        ({"Nats-TTL": "5"}, Kind.WATCH_PUT),
        ({"KV-Operation": "DEL"}, Kind.WATCH_DELETE),
        ({"KV-Operation": "PURGE", "Nats-Rollup": "sub"}, Kind.WATCH_PURGE),
        ({"Nats-Marker-Reason": "MaxAge"}, Kind.WATCH_EXPIRED),
        ({"Nats-Marker-Reason": "Purge"}, Kind.WATCH_PURGE),
        ({"Nats-Marker-Reason": "Remove"}, Kind.WATCH_DELETE),
    ],
)
def test_markers_are_told_from_puts(headers: dict[str, str] | None, kind: Kind) -> None:
    assert event_kind(headers) is kind


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("2026-11-23T15:39:18.570562538Z", 1795448358570562538),
        ("2026-11-23T15:39:18.57Z", 1795448358570000000),
        ("2026-11-23T16:39:18.57+01:00", 1795448358570000000),
        ("2026-11-23T10:09:18-05:30", 1795448358000000000),
        ("", NONE),
        (None, NONE),
    ],
)
def test_server_timestamps_keep_their_nanoseconds(text: str | None, ns: int) -> None:
    assert timestamp_ns(text) == ns


@pytest.mark.parametrize(
    ("code", "text", "outcome"),
    [
        (10071, "wrong last sequence: 7", Outcome.FAILED),
        (10164, "wrong last sequence", Outcome.FAILED),
        (10077, "maximum bytes exceeded", Outcome.FAILED),
        (10077, "maximum messages per subject exceeded", Outcome.FAILED),
        (10077, "write /data/1.blk: no space left on device", Outcome.UNKNOWN),
        (10023, "insufficient resources", Outcome.FAILED),
        (10054, "message size exceeds maximum allowed", Outcome.FAILED),
        (10008, "JetStream system temporarily unavailable", Outcome.UNKNOWN),
        (12345, "something new", Outcome.UNKNOWN),
        (None, "", Outcome.UNKNOWN),
    ],
)
def test_only_errors_known_to_store_nothing_are_failures(
    code: int | None, text: str, outcome: Outcome
) -> None:
    assert outcomes.of_error({"code": 503, "err_code": code, "description": text}) is outcome


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.KV_b.con.1.42.7.1795448358570562538.3",
        "$JS.ACK.hub.acc.KV_b.con.1.42.7.1795448358570562538.3.tok",
    ],
)
def test_both_forms_of_a_delivery_are_read(reply: str) -> None:
    assert delivery(reply) == (42, 7, 1795448358570562538, 3)


def test_the_text_of_a_wrong_last_sequence_is_what_the_client_compares_with() -> None:
    error = {"code": 400, "err_code": 10071, "description": "wrong last sequence: 7"}
    assert outcomes.words(error) == outcomes.WRONG_LAST
