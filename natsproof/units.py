"""One parser per grammar: `10G` is 10·10⁹ to Kubernetes and to a bare nats.conf value, 10·2³⁰ to a quoted one
and to the nats CLI; `2m` is two thousandths of a core, two million bytes or two minutes.

Sizes come back as int bytes, durations as float seconds, CPU as float cores. Every parser raises ValueError
with a text that says what was found, what is expected and an example; the caller adds `file:line`.
"""

from __future__ import annotations

import re
from decimal import Decimal

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d{1,3}))?", re.ASCII)
_QUANTITY_SCALE = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}

_GO_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_GO_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_GO_DURATION = re.compile(rf"[+-]?(?:0|(?:{_GO_PART.pattern})+)", re.ASCII)

_CLI_HOURS = {"d": 24, "D": 24, "w": 168, "W": 168, "M": 720, "y": 8760, "Y": 8760}
_CLI_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|[dDwWMyY])", re.ASCII)
_CLI_DURATION = re.compile(rf"[+-]?(?:{_CLI_PART.pattern})+", re.ASCII)

_CONF_SIZE = re.compile(r"(-?\d+)([kmgtpe]?)(b|i|ib)?", re.ASCII | re.IGNORECASE)
_QUOTED_SIZE = re.compile(r"([+-]?\d+)([KMGT])", re.ASCII)
_CLI_SIZE = re.compile(r"(\d+)(B|[KMGT](?:I?B)?)?", re.ASCII | re.IGNORECASE)
_POWER = {letter: n for n, letter in enumerate("kmgtpe", start=1)}


def quantity(text: str | int | float) -> Decimal:
    """A Kubernetes quantity (`500m`, `8Gi`, `1e3`, `0.5`) as an exact number."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        hint = ""
        if re.fullmatch(r"[\d.]+\s*[kKMGTPE]i?[bB]", str(text)):
            hint = "; Kubernetes writes no B"
        raise ValueError(f"{text!r} is not a Kubernetes quantity (for example 500m, 2, 8Gi or 100G{hint})")
    number, suffix, exponent = match.groups()
    if exponent is not None:
        return Decimal(number).scaleb(int(exponent))
    return Decimal(number) * _QUANTITY_SCALE[suffix or ""]


def quantity_bytes(text: str | int | float) -> int:
    """A Kubernetes quantity of memory or storage in bytes, fractions rounded up as Kubernetes does."""
    value = quantity(text)
    if not 0 <= value <= INT64_MAX:
        raise ValueError(f"{text!r} is out of range for a size (0 to 2^63-1 bytes; for example 8Gi)")
    return int(value.to_integral_value(rounding="ROUND_CEILING"))


def quantity_cores(text: str | int | float) -> float:
    """A Kubernetes quantity of CPU in cores: `500m` is 0.5."""
    value = quantity(text)
    if not 0 <= value <= 10**9:
        raise ValueError(f"{text!r} is out of range for a number of cores (for example 500m or 2)")
    return float(value)


def go_duration_s(text: str) -> float:
    """A Go duration (`1h30m`, `250ms`, `0`) in seconds, as in nats.conf; there is no `d`."""
    if _GO_DURATION.fullmatch(text) is None:
        hint = " (a day is 24h)" if re.search(r"\d[dDwW]", text) else ""
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m or 1h30m{hint}")
    return _bounded(_signed(text, sum(_seconds(n, unit) for n, unit in _GO_PART.findall(text))), text)


def cli_duration_s(text: str) -> float:
    """A duration as the nats CLI reads it, in seconds: Go's units and d, w, M (30 days), y (365 days).

    The CLI cuts fractions of the long units to whole hours, and ignores what it does not understand between
    parts; the first is repeated here, the second is an error.
    """
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    if _CLI_DURATION.fullmatch(stripped) is None:
        raise ValueError(f"{text!r} is not a duration of the nats CLI such as 15m, 1h, 7d or 1h30m")
    total = Decimal(0)
    for number, unit in _CLI_PART.findall(stripped):
        if unit in _CLI_HOURS:
            total += int(Decimal(number) * _CLI_HOURS[unit]) * 3600
        else:
            total += _seconds(number, unit)
    return _bounded(_signed(stripped, total), text)


def conf_size(text: str) -> int:
    """A bare nats.conf integer with suffix: `2m` is 2·10⁶, `2mb`, `2mi` and `2mib` are 2·2²⁰, in any case."""
    match = _CONF_SIZE.fullmatch(text)
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{text!r} is not a bare nats.conf size such as 1048576, 8MB, 4Gi or 10GiB")
    base = 1024 if match[3] else 1000
    return _int64(int(match[1]) * base ** _POWER.get(match[2].lower(), 0), text)


def quoted_conf_size(text: str) -> int:
    """A quoted nats.conf size: an integer and one of K, M, G, T, all powers of 1024; "" is 0."""
    if not text:
        return 0
    match = _QUOTED_SIZE.fullmatch(text)
    if match is None:
        raise ValueError(
            f'"{text}" in quotes is no size to nats-server: in quotes only an integer with K, M, G or T'
            f' (powers of 1024) is, for example "10G"; without quotes also 10GiB or 1048576'
        )
    return _int64(int(match[1]) * 1024 ** _POWER[match[2].lower()], text)


def cli_size(text: str) -> int:
    """A size as the nats CLI reads it: B, K/KB/KiB … T/TB/TiB, all powers of 1024; "" and negative are -1
    (unlimited). `16Mi`, as Kubernetes writes, is refused by the CLI."""
    stripped = text.strip()
    if not stripped or stripped.startswith("-"):
        return -1
    match = _CLI_SIZE.fullmatch(stripped)
    if match is None:
        hint = f"; write {stripped}B" if re.fullmatch(r"(?i)\d+[kmgt]i", stripped) else ""
        raise ValueError(f"{text!r} is not a size of the nats CLI such as 1048576, 16MiB or 10G{hint}")
    power = _POWER.get((match[2] or "b")[0].lower(), 0)
    return _int64(int(match[1]) * 1024**power, text)


def _seconds(number: str, unit: str) -> Decimal:
    return Decimal(number) * _GO_SECONDS[unit]


def _signed(text: str, total: Decimal | int) -> Decimal:
    return -Decimal(total) if text.startswith("-") else Decimal(total)


def _bounded(seconds: Decimal, text: str) -> float:
    if abs(seconds) * 10**9 > INT64_MAX:
        raise ValueError(f"{text!r} is longer than the 292 years a duration can hold")
    return float(seconds)


def _int64(value: int, text: str) -> int:
    if not INT64_MIN <= value <= INT64_MAX:
        raise ValueError(f"{text!r} does not fit 64 bits (at most 8 EiB)")
    return value
