"""A platform of somebody else: a trial asks before it writes and removes its keys afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from natsproof import trial as trials
from natsproof.cluster import Borrowed
from natsproof.cluster.kubernetes.existing import KubernetesCluster
from natsproof.contract.loader import load
from natsproof.errors import NotAvailableHere, UsageError
from natsproof.trial import Trial
from natsproof.workloads.ledger import Ledger

MANIFESTS = Path(__file__).parent.parent / "manifests"


@pytest.fixture
def cluster(tmp_path: Path) -> KubernetesCluster:
    return KubernetesCluster(load(MANIFESTS), context="nowhere", workdir=tmp_path)


def test_a_users_cluster_is_borrowed(cluster: KubernetesCluster) -> None:
    assert isinstance(cluster, Borrowed)


def test_a_trial_does_not_begin_without_the_owners_word(cluster: KubernetesCluster, tmp_path: Path) -> None:
    trial, file = Trial("t", (Ledger(("message_state",)),), (), duration_s=1), tmp_path / "history.jsonl"
    with pytest.raises(NotAvailableHere, match="only reading claims run"):
        trials.run(trial, cluster, seed=1, path=file)
    assert not file.exists()


def test_without_the_owners_word_no_client_port_is_open(cluster: KubernetesCluster) -> None:
    assert cluster._ports() == ("monitor",)
    assert {server.client_url for server in cluster.servers} == {"nats://127.0.0.1:9"}
    cluster.guard.armed = True
    assert cluster._ports() == ("client", "monitor")


@pytest.mark.parametrize("prefix", ["", ">", "*", "a.>", "a b"])
def test_keys_are_removed_below_one_word_only(cluster: KubernetesCluster, prefix: Any) -> None:
    with pytest.raises(UsageError, match="is no key prefix"):
        cluster.remove_keys(["message_state"], prefix)
