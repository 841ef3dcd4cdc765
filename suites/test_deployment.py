"""Deployment: what stands is what the manifests describe and what was promised.

Promise    manifests/promises.yaml: buckets, monitoring
Not here   behaviour under faults: test_quorum.py, test_durability.py
"""

from __future__ import annotations

import pytest

from natsproof.checkers.deployment import (
    BucketAsPromised,
    CameUp,
    MembersAgree,
    ReplicasOnDistinctServers,
    ServersRunTheConfiguration,
    every_endpoint_answers,
    the_job_completes,
)
from natsproof.cluster import inspection
from suites.trials import BUCKETS


def test_every_pod_becomes_ready(certify, contract):
    """Every pod of the StatefulSet becomes Ready."""
    certify.that(certify.startup(), CameUp(contract), promise=contract.statefulset.at("replicas"))


def test_the_setup_job_completes(certify, contract):
    """The set-up Job, run as written by a real shell with the real nats CLI, completes."""
    certify.that(certify.startup(), the_job_completes, promise=contract.job.place)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_as_promised(certify, contract, bucket):
    """The bucket's replicas, storage, TTL, size and history on the servers equal the promise."""
    promised = certify.bucket(bucket)
    certify.that(
        certify.observe("buckets", inspection.buckets), BucketAsPromised(promised), promise=promised.place
    )


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_replicated_on_three_servers(certify, contract, bucket):
    """The bucket's stream has its promised replicas on distinct servers, all of them current."""
    promised = certify.bucket(bucket)
    certify.that(
        certify.observe("buckets", inspection.buckets),
        ReplicasOnDistinctServers(promised),
        promise=promised.at("replicas"),
    )


def test_the_promised_monitoring_endpoints_answer_on_every_server(certify, contract):
    """/varz, /connz, /routez, /subsz and /jsz answer with the server's own report on every server."""
    promise = certify.monitoring()
    certify.that(certify.observe("endpoints", inspection.endpoints), every_endpoint_answers, promise=promise)


def test_all_servers_are_members_and_agree_on_the_meta_leader(certify, contract):
    """Every server is routed to every other, counts all pods as peers, and names the same leader."""
    certify.that(certify.observe("members", inspection.members), MembersAgree(contract))


def test_the_servers_run_the_configuration_of_the_manifests(certify, contract):
    """Version, storage and memory limits and sync interval that the servers report are the manifests'."""
    certify.that(certify.observe("members", inspection.members), ServersRunTheConfiguration(contract))
