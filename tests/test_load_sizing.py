"""Sizing: when a bucket fills, from which rate on, and what other servers and TTLs change."""

from __future__ import annotations

from pathlib import Path

import pytest

from natsproof.contract.loader import load
from natsproof.contract.model import Bucket
from natsproof.load.sizing import Usage, entry_bytes, platform_size, size_of

MANIFESTS = Path(__file__).parent.parent / "manifests"
GIB = 2**30


@pytest.fixture(scope="module")
def contract():
    return load(MANIFESTS)


def test_an_entry_costs_its_value_its_subject_and_its_record():
    assert entry_bytes("b", 4, 100) == 30 + len("$KV.b.") + 4 + 100
    assert entry_bytes("b", 4, 100, header_bytes=12) == entry_bytes("b", 4, 100) + 16


def test_a_bucket_levels_off_at_rate_times_ttl():
    bucket = Bucket(name="b", ttl_s=100, max_bytes=GIB)
    size = size_of(bucket, Usage(10, 960, key_bytes=4))
    assert size.steady_bytes == 10 * 100 * 1000
    assert not size.fills
    assert size.most_hz == pytest.approx(GIB / 1000 / 100)


def test_a_bucket_fills_when_rate_times_ttl_is_more_than_its_size():
    bucket = Bucket(name="b", ttl_s=1e6, max_bytes=1_000_000)
    size = size_of(bucket, Usage(10, 960, key_bytes=4))
    assert size.full_after_s == pytest.approx(100)
    assert "full after 100 seconds" in size.says and "503/10077" in size.says


def test_a_bounded_number_of_keys_bounds_the_bucket():
    size = size_of(Bucket(name="b", ttl_s=None, max_bytes=GIB), Usage(1e6, 960, key_bytes=4, keys=1000))
    assert not size.fills and size.steady_bytes == 1_000_000


def test_a_bucket_without_ttl_always_fills():
    size = size_of(Bucket(name="b", ttl_s=None, max_bytes=1_000_000), Usage(1, 960, key_bytes=4))
    assert size.full_after_s == pytest.approx(1000)
    assert size.most_hz == 0.0


def test_five_servers_share_what_three_copies_need(contract):
    usages = {"dead_letter_queue": Usage(10, 2000)}
    three, five = platform_size(contract, usages), platform_size(contract, usages, servers=5)
    assert five.reserved_bytes == pytest.approx(three.reserved_bytes * 3 / 5)
    assert five.used_disk_bytes == pytest.approx(three.used_disk_bytes * 3 / 5)


def test_the_promised_sizes_fit_the_volumes(contract):
    size = platform_size(contract, {})
    assert size.reserved_bytes == 161 * GIB
    assert size.findings == ()


def test_a_longer_ttl_can_fill_a_bucket(contract):
    usages = {"integration_locks": Usage(4000, 512)}
    assert not platform_size(contract, usages).findings
    found = platform_size(contract, usages, ttl_s={"integration_locks": 3600.0}).findings
    assert any("integration_locks is full after" in text for text in found)


def test_buckets_larger_than_max_file_are_named(contract):
    import dataclasses

    config = dataclasses.replace(contract.config, max_file_bytes=100 * GIB)
    found = platform_size(dataclasses.replace(contract, config=config), {}).findings
    assert any("max_file is 100 GiB" in text for text in found)
