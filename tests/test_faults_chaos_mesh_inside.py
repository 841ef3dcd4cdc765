"""Bad links, disks and hosts through Chaos Mesh: confirmed from inside a container, never on its word."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof.contract.loader import load
from natsproof.errors import ClusterError, UsageError
from natsproof.faults import chaos_mesh_hosts
from natsproof.faults.chaos_mesh import Chaos
from natsproof.faults.chaos_mesh_hosts import (
    ChaosBusyCpu,
    ChaosFailingDisk,
    ChaosFullMemory,
    ChaosSlowDisk,
    store_mount,
)
from natsproof.faults.chaos_mesh_links import ChaosBandwidth, ChaosDelay, ChaosLoss
from natsproof.faults.inside import Greetings, greetings, processor_s
from natsproof.faults.registry import FAULTS
from tests.chaos_mesh_stand_in import Thing
from tests.test_faults_chaos_mesh import SERVERS, Bed, carried_out

CONTRACT = load(Path(__file__).parent.parent / "manifests")


class Containers(Bed):
    """Pods whose containers answer the witnesses' scripts, as good or as bad as the stand-in made them."""

    contract: Any = CONTRACT

    def __init__(self) -> None:
        self.bad: dict[str, Thing] = {}
        self.clock_s = 1000.0
        self.used_s = 50.0
        super().__init__()

    def apply(self, thing: Thing, name: str) -> None:
        if self.honest:
            self.bad[name] = thing["spec"]

    def recover(self, thing: Thing, name: str) -> None:
        self.bad.pop(name, None)

    def addresses(self) -> dict[str, tuple[str, str]]:
        return {name: ("node", f"10.0.0.{i}") for i, name in enumerate(SERVERS)}

    def log(self, server: str) -> str:
        return "[ERR] write: no space left on device\n" * (1 + 3 * ("errno" in self.bad.get(server, {})))

    def run_inside(self, server: str, words: Sequence[str], *, within_s: float) -> str:
        assert list(words[:2]) == ["sh", "-c"] and within_s > 0
        script = words[2]
        if "nc 10.0.0.0 6222" in script:
            return self._greetings(int(re.findall(r"-lt (\d+)", script)[0]))
        if "wget" in script:
            slow = self.bad.get("nats-0", {}).get("action") == "bandwidth"
            return f"200000 {self.clock_s} {self.clock_s + (200_000 / 64_000 if slow else 0.02):.2f}"
        own = self.bad.get(server, {})
        if "ls -lR /data/jetstream" in script:
            return f"{self.clock_s} {self.clock_s + (0.31 if own.get('action') == 'latency' else 0.01):.2f}"
        if "cpu.stat" in script:
            self.clock_s += 1.0
            self.used_s += 1.2 if "cpu" in own.get("stressors", {}) else 0.1
            return f"usage_usec {int(self.used_s * 1e6)}\nuser_usec 1\nuptime {self.clock_s}\n"
        assert "memory" in script, script
        return str((300 if "memory" in own.get("stressors", {}) else 40) << 20)

    def _greetings(self, number: int) -> str:
        spec = self.bad.get("nats-0", {})
        took_s = [0.0] * number
        if spec.get("action") == "delay":
            took_s = [0.4] * number
        lost = 0
        if spec.get("action") == "loss":
            took_s = [0.21 if i % 3 else 0.0 for i in range(number)]
            lost = 2
        rows = [f"INFO {self.clock_s} {self.clock_s + s:.2f}" for s in took_s[lost:]]
        return "\n".join([*rows, *[f"none {self.clock_s} {self.clock_s + 3}"] * lost])


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    monkeypatch.setattr(chaos_mesh_hosts, "SEEN_WITHIN_S", 0.2)
    monkeypatch.setattr(chaos_mesh_hosts, "CPU_LOOK_S", 0.0)
    made = Containers()
    yield made
    made.end()


ALL = [
    (ChaosDelay("nats-0", down_s=1.0), "a greeting takes 400 ms, 0 ms before"),
    (ChaosLoss("nats-0", down_s=1.0), "of 40 greetings held up or lost, 0% before"),
    (ChaosBandwidth("nats-0", down_s=1.0), "64 kB/s come through, 10000 kB/s before"),
    (ChaosSlowDisk("nats-0", down_s=1.0), "listing its volume takes 0.31 s, 0.01 s before"),
    (ChaosFailingDisk("nats-0", down_s=1.0), "its log says 'No space left on device' 3 times more"),
    (ChaosBusyCpu("nats-0", down_s=1.0), "it uses 1.20 processors, 0.10 before"),
    (ChaosFullMemory("nats-0", down_s=1.0), "it holds 260 MiB more"),
]


@pytest.mark.parametrize(("fault", "said"), ALL, ids=lambda it: type(it).__name__)
def test_it_is_seen_from_inside_and_healed(containers: Containers, fault: Chaos, said: str) -> None:
    seen = carried_out(fault, containers)
    assert said in seen and seen.startswith("nats-0")
    assert containers.bad and [kind for kind, _ in containers.api.objects if kind != "Pod"]
    fault.heal(containers, ["nats-0"])
    assert not containers.bad and {kind for kind, _ in containers.api.objects} == {"Pod"}


@pytest.mark.parametrize("fault", [fault for fault, _ in ALL], ids=lambda it: type(it).__name__)
def test_a_controller_that_only_says_so_is_not_believed(containers: Containers, fault: Chaos) -> None:
    """The mutant of every claim on these faults: all conditions true, nothing done."""
    containers.honest = False
    assert carried_out(fault, containers) == ""
    assert fault.witness(containers, ["nats-0"]) == "", "told only from how it was before"


def test_links_that_were_bad_before_show_nothing(containers: Containers) -> None:
    loss = ChaosLoss("nats-0")
    containers.bad["nats-0"] = {"action": "loss"}
    before = loss.sight(containers, ["nats-0"])
    assert loss.witness_change(containers, ["nats-0"], before) == ""


def test_greetings_count_those_that_never_came() -> None:
    three = Greetings((0.01, 0.02, 0.5), asked=4)
    assert three.late(0.19) == 0.5 and three.median_s == 0.02
    assert Greetings((), 0).late(0.1) == 0.0 == Greetings((), 0).median_s


def test_the_clocks_of_both_cgroup_versions_are_read() -> None:
    one = SimpleNamespace(run_inside=lambda *_, **__: "nsec 2500000000\nuptime 7.50\n")
    two = SimpleNamespace(run_inside=lambda *_, **__: "usage_usec 2500000\nuser_usec 9\nuptime 7.50\n")
    assert processor_s(one, "a") == processor_s(two, "a") == (2.5, 7.5)


def test_a_container_without_a_shell_is_told_by_the_error(containers: Containers) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise ClusterError("sh in platform/nats-1: exec: sh: not found")

    containers.run_inside = refuse  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="sh: not found"):
        greetings(containers, "nats-1", "nats-0", number=3)


def test_the_volume_of_the_store_is_found_and_its_lack_is_told() -> None:
    assert store_mount(SimpleNamespace(contract=CONTRACT)) == "/data/jetstream"
    config = SimpleNamespace(store_dir="/elsewhere/js")
    contract = SimpleNamespace(config=config, server_container=CONTRACT.server_container)
    with pytest.raises(ClusterError, match=r"the store /elsewhere/js lies on no volume of .*IOChaos"):
        store_mount(SimpleNamespace(contract=contract))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ChaosDelay("all"), "the links of all servers have no other end"),
        (lambda: ChaosDelay(delay_s=0.001), "delay_s=0.001 could not be seen; 0.03 or more"),
        (lambda: ChaosLoss(percent=100), "10 or more can be seen, 100 is a ChaosPartition"),
        (lambda: ChaosBandwidth(kbytes_per_s=2), "8 at least, or heartbeats do not fit, and 200 at most"),
        (lambda: ChaosSlowDisk(delay_s=0.01), "could not be seen; 0.03 or more"),
        (lambda: ChaosFailingDisk(errno=1), r"5 \(input/output\), 28 \(no space\) or 30 \(read-only\)"),
        (lambda: ChaosBusyCpu(load_percent=1), "one or more, at 10 to 100 percent"),
        (lambda: ChaosFullMemory(mbytes=1), "could not be told from the server's own; 64 or more"),
    ],
)
def test_a_fault_that_could_not_be_seen_is_refused(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


def test_trials_from_files_know_them() -> None:
    assert {type(fault).__name__ for fault, _ in ALL} <= FAULTS.keys()
    assert os.strerror(28) == "No space left on device", "what a server's log says, in small letters"
