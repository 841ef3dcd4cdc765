"""The embedded cluster itself, with real servers, as root, as an ordinary user, and without namespaces.

Each scenario runs in a process of its own (embedded_scenarios.py): entering the universe is for good.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natsproof.cluster import binaries

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parent.parent
USER = 65534
LIMIT_S = 180
IS_ROOT = os.geteuid() == 0
#: Shows an interpreter that lives under a folder closed to others, in a mount namespace of its own.
AS_USER = """
mount --make-rprivate / &&
if [ -n "$HIDDEN" ]; then
  mount --bind "$BASE" "$STASH" && mount -t tmpfs -o mode=755 none "$HIDDEN" &&
  mkdir -p "$BASE" && mount --bind "$STASH" "$BASE"
fi &&
exec setpriv --reuid=$USER_ID --regid=$USER_ID --clear-groups "$@"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A work folder that any user may write (pytest's own are closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="natsproof-test-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def programs(folder: Path) -> dict[str, str]:
    """Copies of the programs that any user may run."""
    found = binaries.for_image("nats:2.12.8-alpine")
    target = folder / "programs"
    target.mkdir(mode=0o755, exist_ok=True)
    copies = {}
    for variable, binary in (("NATSPROOF_NATS_SERVER", found.server), ("NATSPROOF_NATS_CLI", found.cli)):
        copy = target / binary.path.name
        if not copy.exists():
            shutil.copy(binary.path, copy)
        copies[variable] = str(copy)
    return copies


def closed_ancestor(path: Path) -> str:
    """The outermost folder above `path` that others may not enter; "" if there is none."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            return str(parent)
    return ""


def command(name: str, folder: Path, *, as_user: bool) -> tuple[list[str], dict[str, str]]:
    work = folder / "work"
    run = [sys.executable, "-W", "error", "-m", "tests.embedded_scenarios", name, str(work)]
    env = {**os.environ, **programs(folder), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if not (as_user and IS_ROOT):
        return run, env
    stash = folder / "python"
    stash.mkdir(exist_ok=True)
    base = Path(sys.base_prefix).resolve()
    hidden = closed_ancestor(base)
    env |= {
        "HIDDEN": hidden,
        "BASE": str(base),
        "STASH": str(stash),
        "USER_ID": str(USER),
        "HOME": str(folder),
    }
    return ["unshare", "-m", "sh", "-c", AS_USER, "sh", *run], env


def scenario(name: str, folder: Path, *, as_user: bool = False, **extra: str) -> Any:
    """The scenario's result. Fails with its output if it does not end well."""
    run, env = command(name, folder, as_user=as_user)
    done = subprocess.run(
        run, env={**env, **extra}, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert "Warning" not in done.stderr, done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")
HOW = [
    pytest.param("namespaces-root", marks=needs_root),
    "namespaces-user",
    "loopback",
]


def run_as(isolation: str, name: str, folder: Path) -> Any:
    if isolation == "loopback":
        return scenario(name, folder, NATSPROOF_ISOLATION="loopback")
    return scenario(name, folder, as_user=isolation == "namespaces-user")


@pytest.mark.parametrize("isolation", HOW)
def test_the_manifests_come_up(isolation: str, folder: Path) -> None:
    facts = run_as(isolation, "boot", folder)
    assert facts["isolation"] == isolation
    assert facts["names"] == facts["server_names"] == [f"nats-platform-{n}" for n in range(3)]
    assert facts["ready"] == facts["logs"] == facts["stores"] == [True] * 3
    assert facts["versions"] == ["2.12.8"] * 3
    assert facts["job"] is True
    assert "all buckets are as asked" in facts["job_log"]
    assert facts["put"] == 2
    assert facts["events"][:3] == ["created", "started", "ready"]
    assert facts["events"][-1] == "deleted"
    able = set(facts["capabilities"])
    assert {"Killable", "Stoppable", "Pausable", "VolumeAccess", "Scalable"} <= able
    assert ("Partitionable" in able) == (isolation != "loopback")
    assert ("PowerCuttable" in able) <= (isolation == "namespaces-root")
    said = "\n".join(facts["differences"])
    assert ("runAsUser 1000 is not obeyed" in said) == (isolation != "namespaces-root")
    assert ("127.77.x.y" in said) == (isolation == "loopback")


@pytest.mark.parametrize("isolation", HOW)
def test_servers_are_killed_stopped_paused_and_wiped(isolation: str, folder: Path) -> None:
    facts = run_as(isolation, "verbs", folder)
    assert facts["killed"] == [False, False, "refused"]
    assert facts["put_one_down"] == 1
    assert facts["stopped"][0] is False
    assert facts["stopped"][1] != "connected"
    ends = [
        what for what in facts["stop_events"] if what in ("deleting", "exited", "deleted", "prestop-failed")
    ]
    assert ends == ["deleting", "exited", "deleted"]
    assert "grace-period-over" not in facts["stop_events"]
    assert facts["paused"] is True
    assert "paused_answer" not in facts
    assert facts["wiped"] == []
    assert facts["stored"] == 2
    assert facts["ready"] is True


@pytest.mark.parametrize("isolation", HOW[:2])
def test_partitions_lose_packets_between_the_named_sides_only(isolation: str, folder: Path) -> None:
    facts = run_as(isolation, "partitions", folder)
    assert facts["routes"] == ["nats-platform-1", "nats-platform-2"]
    assert facts["cut_off_meta_leader"] == ""
    assert facts["majority"] is True
    assert facts["clients_reach_it"] == "connected"
    assert facts["clients_cut"] == "silence"
    assert facts["clients_to_second"] == "connected"
    assert facts["monitored"] == "nats-platform-0"
    assert facts["clients_healed"] == "connected"
    assert facts["one_way"] == ["silence", True]


def test_a_crashed_server_is_restarted_at_once(folder: Path) -> None:
    facts = scenario("crash", folder)
    assert facts["restarts"] == 1
    assert facts["events"][2:6] == ["ready", "exited", "started", "ready"] or "not-ready" in facts["events"]
    assert "back-off" not in facts["events"]


def test_a_failing_liveness_probe_kills_and_restarts_with_back_off(folder: Path) -> None:
    facts = scenario("restarts", folder)
    events = facts["first"]
    killed = events.index("killed-by-probe")
    assert events[:killed].count("probe-failed") >= 3
    assert events[killed:].index("exited") < events[killed:].index("started")
    assert events.index("back-off") > events.index("killed-by-probe")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ordered_deadlock", "2 pods were not created yet (ordered start)"),
        ("names_of_ready_pods_only", "no such host"),
        ("failing_job", "BackoffLimitExceeded (0)"),
        ("root_where_root_is_refused", "runAsNonRoot, but the image runs as root; set runAsUser"),
    ],
)
def test_defects_of_manifests_show_as_on_kubernetes(name: str, said: str, folder: Path) -> None:
    facts = scenario(name, folder)
    assert "come up" in facts["error"] or "Job failed" in facts["error"]
    assert said in facts["error"] + facts["log"]
    assert facts["decides"], "this start is evidence against the manifests"
    assert ("nats-platform-1" in facts["pods"]) == (name != "ordered_deadlock")


def test_pods_have_names_below_a_service_with_an_address(folder: Path) -> None:
    assert scenario("governing_service_with_address", folder)["error"] == ""


def test_what_only_embedded_cannot_run_decides_nothing(folder: Path) -> None:
    facts = scenario("image_only_kubernetes_has", folder)
    assert "no stand-in for the image 'registry.example/nats-cli:1'" in facts["error"]
    assert not facts["decides"]


@pytest.mark.root
@needs_root
def test_a_power_cut_takes_what_was_not_fsynced_and_nothing_else(folder: Path) -> None:
    kept = scenario("power_cut", folder)
    assert kept == {"acknowledged": 200, "down": [False] * 3, "stored": 200}
    shutil.rmtree(folder / "work")
    lost = scenario("power_cut_without_fsync", folder)
    assert lost["acknowledged"] == 200
    assert lost["stored"] < 200


@pytest.mark.root
@needs_root
def test_a_full_disk_has_no_byte_left_and_costs_none_here(folder: Path) -> None:
    facts = scenario("full_disk", folder)
    assert facts["free"] == 0
    assert facts["again"] > 0
    assert facts["sparse"] is True


def test_a_changed_configuration_needs_a_rolling_restart(folder: Path) -> None:
    facts = scenario("changed_config", folder)
    assert (facts["before"], facts["after"]) == ([1 << 20] * 3, [2 << 20] * 3)
    assert facts["order"] == [f"nats-platform-{n}" for n in (2, 1, 0)]
    assert facts["stored"] == 1


def test_two_clusters_in_one_process_know_nothing_of_each_other(folder: Path) -> None:
    facts = scenario("two_at_once", folder)
    assert (facts["one"], facts["other"]) == (1, 0)
    assert len(set(facts["addresses"])) == 2


def test_others_write_while_one_does_not_read_however_soon_it_is_cut(folder: Path) -> None:
    """A fast host cut it within 0.2 s, after 4 puts: too little to judge (findings.md 37)."""
    facts = scenario("slow_consumer", folder)
    assert facts["cut"] and facts["published"] >= 10
    assert facts["puts"] == facts["acknowledged"] == facts["published"]


def test_scaling_makes_servers_that_join_and_removes_the_last(folder: Path) -> None:
    facts = scenario("scaled", folder)
    assert facts["five"] == [f"nats-platform-{n}" for n in range(5)]
    assert facts["seen"] is True
    assert facts["three"] == [f"nats-platform-{n}" for n in range(3)]


@pytest.mark.parametrize("isolation", HOW)
def test_sigkill_leaves_nothing_behind(isolation: str, folder: Path) -> None:
    extra = {"NATSPROOF_ISOLATION": "loopback"} if isolation == "loopback" else {}
    run, env = command("wait_to_be_killed", folder, as_user=isolation == "namespaces-user")
    env |= {**extra, **({"WITH_LOOPS": "1"} if isolation == "namespaces-root" else {})}
    for _ in range(2):
        with subprocess.Popen(run, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            said = child.stdout.readline().split()
            assert said[:1] == ["READY"]
            os.kill(child.pid, signal.SIGKILL)
        left_behind(folder, [int(pid) for pid in said[1:]])
        shutil.rmtree(folder / "work")


def left_behind(folder: Path, pids: list[int]) -> None:
    """Fails if a process, mount, link or loop device of the killed run is still here after 5 s."""
    from natsproof.clock import wait_until

    def gone() -> bool:
        servers = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        users = [p for p in Path("/proc").iterdir() if p.name.isdigit() and str(folder) in arguments(p)]
        mounts = str(folder) in Path("/proc/mounts").read_text()
        links = [p.name for p in Path("/sys/class/net").iterdir() if p.name in ("natsproof0", "clients0")]
        loops = [p for p in Path("/sys/block").glob("loop*/loop/backing_file") if str(folder) in text(p)]
        return not (servers or users or mounts or links or loops)

    wait_until("everything of the killed run to be gone", gone, within_s=5)


def arguments(process: Path) -> str:
    return text(process / "cmdline")


def text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
