"""Chaos Mesh objects: what the published schemas accept, awaited in the only order that means anything."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest
import yaml

from natsproof.cluster.kubernetes import chaos_bodies
from natsproof.cluster.kubernetes.api import ApiError
from natsproof.cluster.kubernetes.chaos import FORCE_ANNOTATION, PAUSE_ANNOTATION, ChaosMesh
from natsproof.errors import FaultDidNotLand, NotAvailableHere
from tests.kubernetes_in_memory import InMemoryApi

NS, POD, OTHERS = "vrsky-platform", ["nats-platform-0"], ["nats-platform-1", "nats-platform-2"]
DEFINITIONS = Path(__file__).parent.parent.parent / "shared" / "data"

BODIES: dict[str, chaos_bodies.Body] = {
    "pod-kill": chaos_bodies.pod_kill("natsproof-a", NS, POD),
    "pod-failure": chaos_bodies.pod_failure("natsproof-a", NS, POD, for_s=10),
    "container-kill": chaos_bodies.container_kill("natsproof-a", NS, POD, container="nats"),
    "partition": chaos_bodies.partition("natsproof-a", NS, POD, OTHERS),
    "delay": chaos_bodies.delay("natsproof-a", NS, POD, OTHERS, latency_s=0.1, jitter_s=0.01),
    "loss": chaos_bodies.loss("natsproof-a", NS, POD, OTHERS, percent=25),
    "bandwidth": chaos_bodies.bandwidth("natsproof-a", NS, POD, OTHERS, bytes_per_s=1 << 20),
    "slow-disk": chaos_bodies.slow_disk(
        "natsproof-a", NS, POD, container="nats", volume_path="/data/jetstream", delay_s=0.05
    ),
    "failing-disk": chaos_bodies.failing_disk(
        "natsproof-a", NS, POD, container="nats", volume_path="/data/jetstream"
    ),
    "clock-shift": chaos_bodies.clock_shift("natsproof-a", NS, POD, container="nats", offset_s=-600),
    "busy-cpu": chaos_bodies.busy_cpu("natsproof-a", NS, POD, container="nats", workers=2, load_percent=80),
    "full-memory": chaos_bodies.full_memory("natsproof-a", NS, POD, container="nats", workers=1, size="64MB"),
}


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema as the API server applies it: fields it does not know are an error."""
    schema = copy.deepcopy(schema)
    for part in schema.get("properties", {}):
        schema["properties"][part] = closed(schema["properties"][part])
    if "properties" in schema and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    if isinstance(schema.get("items"), dict):
        schema["items"] = closed(schema["items"])
    return schema


def schema_of(kind: str) -> dict[str, Any]:
    file = DEFINITIONS / f"chaos-mesh.org_{chaos_bodies.PLURALS[kind]}.yaml"
    if not file.is_file():
        pytest.skip(f"the definitions of Chaos Mesh are not beside this checkout ({file})")
    versions = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    return closed(versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"])


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_what_the_published_definition_wants(name: str) -> None:
    jsonschema.validate(BODIES[name]["spec"], schema_of(BODIES[name]["kind"]))


def test_a_misspelt_action_and_an_unknown_field_are_not_what_it_wants() -> None:
    for wrong in ({"action": "partitoin"}, {"delays": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**BODIES["partition"]["spec"], **wrong}, schema_of("NetworkChaos"))


def test_durations_are_go_durations() -> None:
    assert [chaos_bodies.seconds(s) for s in (30, 1.5, 0.05)] == ["30s", "1500ms", "50ms"]


def plays(selects: bool = True, injects: bool = True, recovers: bool = True) -> Any:
    """A stand-in for the controller: sets the statuses that Chaos Mesh would."""

    def play(thing: dict[str, Any]) -> None:
        paused = PAUSE_ANNOTATION in thing["metadata"].get("annotations", {})
        records = [
            {"id": f"{NS}/{pod}/nats", "phase": "Injected", "injectedCount": int(injects)}
            for pod in chaos_bodies.pods_of(thing)
        ]
        if not injects:
            records[0]["events"] = [{"type": "Failed", "message": "unable to flush ip sets"}]
        conditions = {
            "Selected": selects,
            "AllInjected": selects and injects and not paused,
            "AllRecovered": not injects or (paused and recovers),  # true before the injection, too
        }
        thing["status"] = {
            "conditions": [{"type": t, "status": str(v)} for t, v in conditions.items()],
            "experiment": {"containerRecords": records if selects else []},
        }
        if FORCE_ANNOTATION in thing["metadata"].get("annotations", {}):
            thing["metadata"].pop("finalizers", None)

    return play


def test_an_injection_is_awaited_stopped_awaited_and_removed() -> None:
    api = InMemoryApi(plays())
    mesh, body = ChaosMesh(api, NS), BODIES["partition"]  # type: ignore[arg-type]
    assert [record["phase"] for record in mesh.inject(body)] == ["Injected"] * 3
    assert api.objects, "the fault lasts until it is recovered"
    mesh.recover(body)
    assert not api.objects


def test_a_selector_that_matches_nothing_is_a_fault_that_did_not_land() -> None:
    api = InMemoryApi(plays(selects=False))
    with pytest.raises(FaultDidNotLand, match="matches no pod"):
        ChaosMesh(api, NS).inject(BODIES["delay"], within_s=0.01)  # type: ignore[arg-type]
    assert not api.objects


def test_an_injection_that_fails_tells_why_and_leaves_nothing() -> None:
    api = InMemoryApi(plays(injects=False))
    with pytest.raises(FaultDidNotLand, match="unable to flush ip sets"):
        ChaosMesh(api, NS).inject(BODIES["loss"], within_s=0.01)  # type: ignore[arg-type]
    assert not api.objects


def test_injected_with_a_count_of_nothing_is_not_believed() -> None:
    def half(thing: dict[str, Any]) -> None:
        plays()(thing)
        thing["status"]["experiment"]["containerRecords"] = []

    with pytest.raises(FaultDidNotLand, match="not injected into vrsky-platform/nats-platform-0"):
        ChaosMesh(InMemoryApi(half), NS).inject(BODIES["delay"])  # type: ignore[arg-type]


def test_a_one_shot_fault_is_not_waited_for_to_recover() -> None:
    api = InMemoryApi(plays(recovers=False))
    mesh = ChaosMesh(api, NS)  # type: ignore[arg-type]
    mesh.inject(BODIES["pod-kill"])
    mesh.recover(BODIES["pod-kill"])
    assert not api.objects


def test_a_stuck_object_is_forced_out() -> None:
    body = copy.deepcopy(BODIES["partition"])
    body["metadata"]["finalizers"] = ["chaos-mesh/records"]
    api = InMemoryApi(plays())
    api.apply(body)
    assert ChaosMesh(api, NS).remove("NetworkChaos", "natsproof-a", within_s=0.01) is False  # type: ignore[arg-type]
    assert not api.objects


@pytest.mark.parametrize("name", ["slow-disk", "failing-disk", "clock-shift", "busy-cpu", "full-memory"])
def test_a_sidecar_is_never_hit_by_mistake(name: str) -> None:
    """Without a name Chaos Mesh takes the pod's first container, whichever that is."""
    assert BODIES[name]["spec"]["containerNames"] == ["nats"]


def test_methods_are_written_as_the_daemon_reads_them() -> None:
    assert BODIES["failing-disk"]["spec"]["methods"] == ["write", "fsync"]


def test_a_fault_with_an_end_ends_without_us() -> None:
    bounded = chaos_bodies.ends_after(BODIES["partition"], 130)
    assert bounded["spec"]["duration"] == "130s"
    assert "duration" not in BODIES["partition"]["spec"]
    jsonschema.validate(bounded["spec"], schema_of("NetworkChaos"))


def test_an_object_is_removed_without_a_controller_too() -> None:
    body = copy.deepcopy(BODIES["partition"])
    body["metadata"]["finalizers"] = ["chaos-mesh/records"]
    api = InMemoryApi()
    api.apply(body)
    ChaosMesh(api, NS).remove("NetworkChaos", "natsproof-a", within_s=0.01)  # type: ignore[arg-type]
    assert not api.objects


def test_a_sweep_removes_ours_and_leaves_others() -> None:
    api = InMemoryApi(plays())
    api.apply(BODIES["partition"])
    other = copy.deepcopy(BODIES["partition"])
    other["metadata"] = {"name": "theirs", "namespace": NS}
    api.apply(other)
    assert ChaosMesh(api, NS).sweep() == ["NetworkChaos/natsproof-a"]  # type: ignore[arg-type]
    assert list(api.objects) == [("NetworkChaos", "theirs")]


def test_a_definition_that_is_not_served_yet_is_waited_for() -> None:
    """Seen on kind: the sweep before a deploy came right after the definitions."""
    api = InMemoryApi(plays())
    api.apply(BODIES["partition"])
    listed, answers = api.list, iter([ApiError("429 storage is (re)initializing", 429)])

    def slow(*arguments: Any, **options: Any) -> Any:
        for problem in answers:
            raise problem
        return listed(*arguments, **options)

    with mock.patch.object(api, "list", slow):
        assert ChaosMesh(api, NS).sweep() == ["NetworkChaos/natsproof-a"]  # type: ignore[arg-type]


def chaos_mesh_pod(component: str, node: str = "a", ready: bool = True) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "chaos-mesh", "app.kubernetes.io/component": component}
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{component}-{node}",
            "labels": {**labels, "app.kubernetes.io/version": "2.8.3"},
        },
        "spec": {"nodeName": node, "containers": [{"image": "chaos-mesh:v2.8.3"}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def test_definitions_without_a_controller_are_not_chaos_mesh() -> None:
    with pytest.raises(NotAvailableHere, match="no controller runs"):
        ChaosMesh(InMemoryApi(), NS).check()  # type: ignore[arg-type]
    with pytest.raises(NotAvailableHere, match="not installed"):
        ChaosMesh(InMemoryApi(known=("Pod",)), NS).check()  # type: ignore[arg-type]


def test_a_controller_that_is_not_ready_carries_nothing_out() -> None:
    api = InMemoryApi()
    api.apply(chaos_mesh_pod("controller-manager", ready=False))
    with pytest.raises(NotAvailableHere, match="no controller runs"):
        ChaosMesh(api, NS).check()  # type: ignore[arg-type]
    api.apply(chaos_mesh_pod("controller-manager"))
    assert ChaosMesh(api, NS).check() == "Chaos Mesh 2.8.3, image chaos-mesh:v2.8.3"  # type: ignore[arg-type]


def test_a_node_without_a_daemon_is_named() -> None:
    api = InMemoryApi()
    for pod in (chaos_mesh_pod("controller-manager"), chaos_mesh_pod("chaos-daemon", "a")):
        api.apply(pod)
    ChaosMesh(api, NS).check(daemon_on=["a"])  # type: ignore[arg-type]
    with pytest.raises(NotAvailableHere, match="no chaos-daemon is Ready on b"):
        ChaosMesh(api, NS).check(daemon_on=["a", "b"])  # type: ignore[arg-type]


def test_a_refusal_of_the_webhook_is_a_fault_that_did_not_land() -> None:
    api = InMemoryApi()
    denied = ApiError('admission webhook "validation.auth.chaos-mesh.org" denied the request', 403)
    with (
        mock.patch.object(api, "apply", side_effect=denied),
        pytest.raises(FaultDidNotLand, match="is refused: admission webhook"),
    ):
        ChaosMesh(api, NS).inject(BODIES["delay"])  # type: ignore[arg-type]


def test_an_object_that_goes_by_itself_is_recovered_and_removed() -> None:
    """Between a look and the next request it may have gone: that is what was wanted."""
    mesh = ChaosMesh(InMemoryApi(plays()), NS)  # type: ignore[arg-type]
    mesh.recover(BODIES["partition"])
    api = InMemoryApi(plays())
    api.apply(BODIES["partition"])
    gone = ApiError("not found", 404)
    with (
        mock.patch.object(ChaosMesh, "_gone", return_value=False),
        mock.patch.object(api, "patch", side_effect=gone),
    ):
        assert ChaosMesh(api, NS).remove("NetworkChaos", "natsproof-a") is True  # type: ignore[arg-type]
