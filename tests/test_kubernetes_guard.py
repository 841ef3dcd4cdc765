"""In a cluster that is not ours: reading only, or one namespace, its servers, and what we made there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes.client
import pytest

from natsproof.cluster.kubernetes.api import RecordingApiClient
from natsproof.cluster.kubernetes.guard import OPT_IN_LABEL, NamespaceGuard, is_expendable
from natsproof.contract.loader import load
from natsproof.errors import UsageError

MANIFESTS = Path(__file__).parent.parent / "manifests"
NS = "/api/v1/namespaces/vrsky-platform"
APPS = "/apis/apps/v1/namespaces/vrsky-platform/statefulsets"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/vrsky-platform/networkpolicies"
CHAOS = "/apis/chaos-mesh.org/v1alpha1/namespaces/vrsky-platform/networkchaos"

ALLOWED = [
    ("DELETE", f"{NS}/pods/nats-platform-0"),
    ("DELETE", f"{NS}/pods/nats-platform-4"),
    ("POST", f"{NS}/pods/nats-platform-1/eviction"),
    ("POST", f"{NS}/pods/nats-platform-1/exec"),
    ("PATCH", f"{APPS}/nats-platform"),
    ("PATCH", f"{POLICIES}/natsproof-cut-nats-platform-0"),
    ("DELETE", f"{CHAOS}/natsproof-partition"),
]
REFUSED = [
    ("DELETE", f"{NS}/pods/other-0"),
    ("DELETE", f"{NS}/pods/nats-platform-backup"),
    ("DELETE", f"{NS}/pods"),
    ("DELETE", NS),
    ("PATCH", f"{NS}/pods/nats-platform-0"),
    ("POST", f"{NS}/pods/other-0/exec"),
    ("POST", f"{NS}/pods/nats-platform-0/attach"),
    ("DELETE", f"{NS}/persistentvolumeclaims/data-nats-platform-0"),
    ("PATCH", f"{NS}/configmaps/nats-platform-config"),
    ("DELETE", f"{APPS}/nats-platform"),
    ("PATCH", f"{APPS}/other"),
    ("PATCH", f"{POLICIES}/nats-platform"),
    ("DELETE", f"{CHAOS}/theirs"),
    ("DELETE", "/api/v1/namespaces/default/pods/nats-platform-0"),
    ("PATCH", "/api/v1/nodes/worker-1"),
    ("DELETE", "/api/v1/namespaces/vrsky-platform"),
    ("PATCH", "/apis/example.org/v1/namespaces/vrsky-platform/statefulsets/nats-platform"),
    ("DELETE", "/apis/storage.k8s.io/v1/storageclasses/longhorn"),
]


@pytest.fixture(scope="module")
def contract() -> Any:
    return load(MANIFESTS)


@pytest.fixture
def guard(contract: Any) -> NamespaceGuard:
    guard = NamespaceGuard(contract, "vrsky-platform")
    guard.armed = True
    return guard


@pytest.mark.parametrize(("method", "path"), ALLOWED)
def test_a_fault_may_touch_what_the_contract_names(guard: NamespaceGuard, method: str, path: str) -> None:
    assert guard.objection(method, path) == ""


@pytest.mark.parametrize(("method", "path"), REFUSED)
def test_a_fault_may_touch_nothing_else(guard: NamespaceGuard, method: str, path: str) -> None:
    assert guard.objection(method, path)


@pytest.mark.parametrize(("method", "path"), ALLOWED + REFUSED)
def test_without_the_owners_label_nothing_is_changed(guard: NamespaceGuard, method: str, path: str) -> None:
    guard.armed = False
    assert guard.objection(method, path)


def test_created_objects_are_judged_by_their_body(guard: NamespaceGuard) -> None:
    assert guard.objection("POST", CHAOS, {"metadata": {"name": "natsproof-x"}}) == ""
    assert guard.objection("POST", CHAOS, {"metadata": {"name": "theirs"}})
    assert guard.objection("POST", CHAOS, None)


def test_a_refused_request_never_leaves(guard: NamespaceGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[tuple[str, str]] = []

    def request(self: Any, method: str, url: str, *rest: Any, **options: Any) -> str:
        left.append((method, url))
        return "answer"

    monkeypatch.setattr(kubernetes.client.ApiClient, "call_api", request)
    client = RecordingApiClient(kubernetes.client.Configuration(), guard)
    client.call_api("GET", "https://127.0.0.1/api/v1/nodes?limit=1")
    with pytest.raises(UsageError, match="natsproof refuses DELETE /api/v1/nodes/one"):
        client.call_api("DELETE", "https://127.0.0.1/api/v1/nodes/one")
    client.call_api("DELETE", f"https://127.0.0.1{NS}/pods/nats-platform-0")
    assert [method for method, _ in left] == ["GET", "DELETE"]
    assert [(call.method, call.path) for call in client.calls] == [
        ("GET", "/api/v1/nodes"),
        ("DELETE", f"{NS}/pods/nats-platform-0"),
    ]
    assert len(guard.refused) == 1


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({OPT_IN_LABEL: "true"}, True),
        ({OPT_IN_LABEL: "false"}, False),
        ({OPT_IN_LABEL: ""}, False),
        ({}, False),
    ],
)
def test_only_the_label_with_the_word_true_opens_a_namespace(labels: dict[str, str], expected: bool) -> None:
    assert is_expendable({"metadata": {"labels": labels}}) is expected
    assert not is_expendable(None)
