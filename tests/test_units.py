"""One grammar each: what Kubernetes, nats.conf, Go and the nats CLI understand by the same letters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from natsproof import units

KI, MI, GI, TI = 2**10, 2**20, 2**30, 2**40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8Gi", 8 * GI),
        ("100G", 100 * 10**9),
        ("128974848", 128974848),
        ("129e6", 129000000),
        ("1k", 1000),
        ("1.5Gi", 3 * GI // 2),
        ("100m", 1),
        ("0", 0),
        ("1E", 10**18),
        (".5Ki", 512),
        ("1.Mi", MI),
        (4096, 4096),
    ],
)
def test_a_kubernetes_size_is_read(text: str | int, expected: int) -> None:
    assert units.quantity_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("500m", 0.5), ("2", 2.0), ("0.1", 0.1), ("1500000u", 1.5), ("1e-3", 0.001)]
)
def test_kubernetes_cores_are_read(text: str, expected: float) -> None:
    assert units.quantity_cores(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2m", 2000000),
        ("1G", 10**9),
        ("1Gi", GI),
        ("1GiB", GI),
        ("1GB", GI),
        ("1gb", GI),
        ("10k", 10000),
        ("10KiB", 10 * KI),
        ("1t", 10**12),
        ("1TiB", TI),
        ("-5", -5),
        ("180Gi", 180 * GI),
        ("1e", 10**18),
    ],
)
def test_a_bare_nats_conf_size_is_read(text: str, expected: int) -> None:
    assert units.conf_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1G", GI), ("10M", 10 * MI), ("3K", 3 * KI), ("2T", 2 * TI), ("", 0), ("-1G", -GI)],
)
def test_a_quoted_nats_conf_size_is_read(text: str, expected: int) -> None:
    assert units.quoted_conf_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16MiB", 16 * MI),
        ("16MB", 16 * MI),
        ("16M", 16 * MI),
        ("16m", 16 * MI),
        ("16777216", 16 * MI),
        ("10GiB", 10 * GI),
        ("1K", KI),
        ("1kib", KI),
        ("5B", 5),
        ("", -1),
        ("-1", -1),
        (" 1T ", TI),
    ],
)
def test_a_size_of_the_nats_cli_is_read(text: str, expected: int) -> None:
    assert units.cli_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", 900.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("0", 0.0),
        ("1.5s", 1.5),
        ("-2s", -2.0),
        ("+3us", 3e-06),
        (".5h", 1800.0),
        ("1µs", 1e-06),
        ("2m30s", 150.0),
    ],
)
def test_a_go_duration_is_read(text: str, expected: float) -> None:
    assert units.go_duration_s(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", 900.0),
        ("7d", 604800.0),
        ("1w", 604800.0),
        ("1M", 2592000.0),
        ("1y", 31536000.0),
        ("1d12h", 129600.0),
        ("0", 0.0),
        ("1.5d", 129600.0),
        ("0.1d", 7200.0),
        ("168h", 604800.0),
    ],
)
def test_a_duration_of_the_nats_cli_is_read(text: str, expected: float) -> None:
    assert units.cli_duration_s(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (units.quantity_bytes, "1GB", "Kubernetes writes no B"),
        (units.quantity_bytes, "-1", "out of range"),
        (units.quantity_bytes, "8 Gi", "8Gi"),
        (units.quantity_bytes, "1e999", "out of range"),
        (units.quantity_cores, "one", "500m"),
        (units.conf_size, "1.5Gi", "10GiB"),
        (units.conf_size, "1b", "10GiB"),
        (units.conf_size, "10e", "64 bits"),
        (units.quoted_conf_size, "1Gi", '"10G"'),
        (units.quoted_conf_size, "1GB", '"10G"'),
        (units.quoted_conf_size, "1024", '"10G"'),
        (units.cli_size, "16Mi", "write 16MiB"),
        (units.cli_size, "1.5G", "16MiB"),
        (units.go_duration_s, "7d", "a day is 24h"),
        (units.go_duration_s, "15", "90s"),
        (units.go_duration_s, "", "90s"),
        (units.go_duration_s, "9999999h", "292 years"),
        (units.cli_duration_s, "15", "7d"),
        (units.cli_duration_s, "15min", "7d"),
        (units.cli_duration_s, "1000y", "292 years"),
    ],
)
def test_a_wrong_spelling_names_a_right_one(parse: Callable[[str], float], text: str, says: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    assert says in str(error.value)
    assert text in str(error.value)


def test_the_same_letters_differ_between_grammars() -> None:
    assert units.quantity_cores("2m") == 0.002
    assert units.conf_size("2m") == 2_000_000
    assert units.cli_size("2m") == 2 * MI
    assert units.go_duration_s("2m") == units.cli_duration_s("2m") == 120
    assert units.conf_size("1G") != units.quoted_conf_size("1G") == units.cli_size("1G")
