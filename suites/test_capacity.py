"""Capacity: what the platform takes is measured, under pod kills too, and is no less than promised.

Promise    manifests/promises.yaml: rate_floor_hz, rate_floor_one_down_hz, p99; sizes of buckets and volumes
Certified  the rate kept up with under pod kills; capacity.json, capacity.csv and capacity.html have the rest
Not here   whether the promised rate itself holds, fault by fault: test_throughput.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.capacity import CapacityAtLeast, CertifiedAtLeast, ModelMatchesFill, SizesHold
from natsproof.checkers.durability import no_acknowledged_put_is_lost
from natsproof.checkers.guards import acknowledged_writes, at_least, every_fault_landed
from natsproof.report import capacity_page
from suites import loads

# Wants the machine for itself: `make certify` leaves it out, `make load` runs it alone.
pytestmark = pytest.mark.load


@pytest.fixture
def measured(certify, contract, pytestconfig):
    """The capacity run of this session; its files beside the report, compared with --baseline if given."""
    budget_s = certify.scaled(quick=loads.QUICK_CAPACITY_S, standard=240, deep=1200)
    history = certify.run(loads.capacity(contract.promises, budget_s))
    earlier = capacity_page.of_run(pytestconfig.getoption("--baseline"))
    capacity_page.write(history, certify.folder("capacity"), baseline=earlier)
    return history


def test_the_platform_takes_more_than_the_promised_rate(certify, contract, measured):
    """With all pods up the highest rate that is kept up with is at least the promised one."""
    promises = contract.promises
    certify.that(
        measured,
        CapacityAtLeast(promises.rate_floor_hz, "knee", loads.WRITING_PART),
        promise=promises.at("rate_floor_hz"),
    )


def test_the_certified_rate_under_pod_kills_is_at_least_the_promised_one(certify, contract, measured):
    """The rate kept up with while pods are killed is at least the one promised for one pod down."""
    promises = contract.promises
    loads.require_rate(promises, "rate_floor_one_down_hz")
    certify.recovery_s("one-server-killed")
    certify.that(
        measured,
        CertifiedAtLeast(promises.rate_floor_one_down_hz, loads.WRITING_PART),
        given=[every_fault_landed],
        promise=promises.at("rate_floor_one_down_hz"),
    )


def test_no_acknowledged_write_is_lost_at_the_limit(certify, contract, measured):
    """Every write acknowledged during the capacity run, overload and kills included, is there at the end."""
    certify.that(
        measured,
        no_acknowledged_put_is_lost,
        given=[at_least(1000, acknowledged_writes), every_fault_landed],
        promise=contract.promises.at("survives"),
    )


def test_no_bucket_fills_at_the_promised_rate(certify, contract, measured):
    """At the promised rate every bucket levels off below its size, and the volumes hold them all."""
    certify.that(
        measured,
        SizesHold(),
        given=[fill_agrees],
        promise=[bucket.at("max_bytes") for bucket in contract.promises.buckets],
    )


def fill_agrees(history):
    """A guard: the sizing model agrees with the measured fill."""
    verdict = ModelMatchesFill()(history)
    return None if verdict.status.value == "HOLDS" else verdict.reason
