"""What is written into keys, and how an answer is read back: values that name their write.

A value is `<write id> <key> <size> <crc32 of these>;` repeated to the wanted size, so any byte that
changed, another key's value, or a cut one is recognised as FOREIGN without a table of what was written.
"""

from __future__ import annotations

from binascii import a2b_base64
from calendar import timegm
from functools import lru_cache
from zlib import crc32

from natsproof.history import ABSENT, FOREIGN, NONE, Kind


def encode(value: int, key: str, size: int) -> bytes:
    """The bytes of write `value` to `key`: `size` long, or longer if the name of the write needs more."""
    name = b"%d %b %d" % (value, key.encode(), size)
    unit = b"%b %08x;" % (name, crc32(name))
    if size <= len(unit):
        return unit
    return (unit * (size // len(unit) + 1))[:size]


def decode(data: bytes, key: str) -> int:
    """The write's id, or FOREIGN if these are not the bytes some write to `key` must have written."""
    end = data.find(b";")
    if end < 0:
        return FOREIGN
    try:
        name, _, size, _ = data[:end].rsplit(b" ", 3)
        value, wanted = int(name), int(size)
    except ValueError:
        return FOREIGN
    return value if value >= 0 and data == encode(value, key, wanted) else FOREIGN


def event_kind(headers: dict[str, str] | None) -> Kind:
    """What a stored message is: a put, a client's delete or purge, or a server's marker."""
    if not headers:
        return Kind.WATCH_PUT
    operation = headers.get("KV-Operation")
    if operation == "DEL":
        return Kind.WATCH_DELETE
    if operation == "PURGE":
        return Kind.WATCH_PURGE
    match headers.get("Nats-Marker-Reason"):
        case None:
            return Kind.WATCH_PUT
        case "MaxAge":
            return Kind.WATCH_EXPIRED
        case "Purge":
            return Kind.WATCH_PURGE
        case _:
            return Kind.WATCH_DELETE


def value_of(data: bytes, key: str, headers: dict[str, str] | None) -> int:
    """The `value` column for a stored message: ABSENT for every kind of marker."""
    return decode(data, key) if event_kind(headers) is Kind.WATCH_PUT else ABSENT


def header_block(encoded: str | None) -> dict[str, str] | None:
    """The `hdrs` of a STREAM.MSG.GET answer: base64 of a NATS header block."""
    if not encoded:
        return None
    lines = a2b_base64(encoded).decode(errors="replace").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): text.strip() for name, text in pairs}


@lru_cache(maxsize=64)
def _whole_seconds(text: str) -> int:
    year, month, day = (int(part) for part in text[:10].split("-"))
    hour, minute, second = (int(part) for part in text[11:19].split(":"))
    return timegm((year, month, day, hour, minute, second))


def timestamp_ns(text: str | None) -> int:
    """RFC 3339 with up to nine digits, as the server writes it, to nanoseconds since 1970; NONE if absent."""
    if not text:
        return NONE
    rest, offset_s = text[19:], 0
    if rest.endswith("Z"):
        rest = rest[:-1]
    else:
        sign = max(rest.rfind("+"), rest.rfind("-"))
        hours, minutes = rest[sign + 1 :].split(":")
        offset_s = (int(hours) * 3600 + int(minutes) * 60) * (-1 if rest[sign] == "-" else 1)
        rest = rest[:sign]
    nanoseconds = int(rest[1:].ljust(9, "0")) if rest.startswith(".") else 0
    return (_whole_seconds(text[:19]) - offset_s) * 1_000_000_000 + nanoseconds
