"""Comparing and fitting documents: drift, differences, the laptop's requests and storage class."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from natsproof.cluster.kubernetes import deploy, drift, fit
from natsproof.contract.loader import load
from natsproof.contract.model import Contract

MANIFESTS = Path(__file__).parent.parent / "manifests"


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load(MANIFESTS)


class Live:
    """An API server that has exactly what was applied, plus what every server adds."""

    def __init__(self, contract: Contract) -> None:
        self.objects = {(o.kind, o.name): self._stored(o.raw) for o in contract.objects}

    @staticmethod
    def _stored(raw: Any) -> dict[str, Any]:
        document: dict[str, Any] = drift._comparable(copy.deepcopy(raw))
        document.setdefault("metadata", {})["uid"] = "1"
        document["status"] = {}
        return document

    def get(self, kind: str, name: str, namespace: str | None, *, api_version: str) -> dict[str, Any] | None:
        return self.objects.get((kind, name))


def test_what_was_applied_unchanged_does_not_drift(contract: Contract) -> None:
    assert drift.drift(Live(contract), contract) == []  # type: ignore[arg-type]


def changed(live: Live, contract: Contract) -> list[str]:
    return drift.drift(live, contract)  # type: ignore[arg-type]


def test_each_change_of_a_live_object_is_named(contract: Contract) -> None:
    live = Live(contract)
    spec = live.objects["StatefulSet", "nats-platform"]["spec"]
    spec["replicas"] = 1
    container = spec["template"]["spec"]["containers"][0]
    container["image"] = "nats:2.9.0"
    container["env"].append({"name": "SLIPPED_IN", "value": "x"})
    spec["template"]["spec"]["containers"].append({"name": "sidecar"})
    del live.objects["PodDisruptionBudget", "nats-platform"]
    live.objects["ConfigMap", "nats-platform-config"]["data"]["nats.conf"] += "\n# edited"
    live.objects["Secret", "nats-platform-system"]["data"]["password"] = "AAAA"
    found = "\n".join(changed(live, contract))
    for part in (
        "spec.replicas: the contract says 3, the cluster has 1",
        "containers[nats].image: the contract says nats:2.12.8-alpine, the cluster has nats:2.9.0",
        "env[SLIPPED_IN]: not in the contract",
        "containers[sidecar]: not in the contract",
        "PodDisruptionBudget/nats-platform: in the contract",
        "ConfigMap/nats-platform-config data.nats.conf",
        "Secret/nats-platform-system data.password: differs from the contract",
    ):
        assert part in found
    assert len(found.splitlines()) == 7


@pytest.mark.parametrize(("mine", "theirs"), [("4Gi", "4096Mi"), ("2", 2), ("0.1", "100m"), (2, "2000m")])
def test_quantities_are_compared_as_numbers(mine: Any, theirs: Any) -> None:
    assert list(drift.missing_from({"limits": {"cpu": mine}}, {"limits": {"cpu": theirs}})) == []


def test_the_secret_word_is_not_shown_in_full() -> None:
    (text,) = drift.missing_from({"data": {"a": "x" * 200}}, {"data": {"a": "y"}})
    assert len(text) < 150


def test_a_laptop_gets_smaller_requests_and_a_storage_class(contract: Contract) -> None:
    fitted = fit.for_laptop(contract)
    requests = "StatefulSet/nats-platform spec.template.spec.containers[nats].resources.requests"
    assert drift.differences(contract, fitted) == [
        f"{requests}.cpu: 2 -> 100m",
        f"{requests}.memory: 4Gi -> 128Mi",
        "StorageClass/longhorn: added (provisioner rancher.io/local-path)",
    ]


def test_a_storage_class_of_somebody_else_is_used_as_it_is(contract: Contract) -> None:
    real = {"metadata": {"name": "longhorn", "labels": {}}, "provisioner": "driver.longhorn.io"}
    assert not [o for o in fit.for_laptop(contract, [real]).objects if o.kind == "StorageClass"]
    ours = {"metadata": {"name": "longhorn", "labels": {fit.MANAGED_BY: "natsproof"}}}
    assert [o for o in fit.for_laptop(contract, [ours]).objects if o.kind == "StorageClass"]


def test_another_storage_class_may_be_named(contract: Contract) -> None:
    text = "\n".join(drift.differences(contract, fit.for_laptop(contract, storage_class="standard")))
    assert "volumeClaimTemplates[0].spec.storageClassName: longhorn -> standard" in text
    assert "StorageClass/" not in text


def test_a_limit_without_a_request_is_a_request(contract: Contract) -> None:
    raw: dict[str, Any] = {
        "spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "4"}}}]}}}
    }
    fit._shrink_requests(raw)
    (container,) = raw["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"cpu": "4"}, "requests": {"cpu": "100m"}}


def test_fitting_leaves_the_contract_alone(contract: Contract) -> None:
    before = copy.deepcopy([o.raw for o in contract.objects])
    fit.for_laptop(contract)
    assert [o.raw for o in contract.objects] == before


def test_objects_are_applied_in_the_order_of_the_quick_deploy(contract: Contract) -> None:
    kinds = [o.kind for o in sorted(contract.objects, key=deploy.rank) if o.kind != "Job"]
    assert kinds[0] == "Namespace"
    assert kinds[-1] == "StatefulSet"
    assert kinds.index("ConfigMap") < kinds.index("Service") < kinds.index("StatefulSet")


def test_a_document_goes_to_its_own_namespace_and_not_to_default(contract: Contract) -> None:
    service = contract.services[0]
    bare = replace(service, namespace=None, raw={**service.raw, "metadata": {"name": service.name}})
    assert deploy.document(bare, contract)["metadata"]["namespace"] == "vrsky-platform"
    space = next(o for o in contract.objects if o.kind == "Namespace")
    assert "namespace" not in deploy.document(space, contract)["metadata"]


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], ""),
        ([{"type": "SuccessCriteriaMet", "status": "True"}], ""),
        ([{"type": "Complete", "status": "True"}], "Complete"),
        ([{"type": "Complete", "status": "False"}, {"type": "Failed", "status": "True"}], "Failed"),
    ],
)
def test_a_job_is_over_when_a_condition_says_so(conditions: list[dict[str, str]], state: str) -> None:
    assert deploy.job_state({"status": {"conditions": conditions}}) == state
