"""What a host can give a kind cluster: found, missing, or honestly unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from natsproof.cluster.kubernetes import open_cluster, preflight
from natsproof.contract.loader import load
from natsproof.errors import NotAvailableHere, UsageError

MANIFESTS = Path(__file__).parent.parent / "manifests"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose /proc and /sys are a folder of ours, and which has no programs."""
    monkeypatch.setattr(preflight, "PROC", tmp_path / "proc")
    monkeypatch.setattr(preflight, "SYS", tmp_path / "sys")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("proc/self", "proc/sys/fs/inotify", "sys/fs/cgroup", "sys/module", "bin"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def by_name() -> dict[str, preflight.Finding]:
    return {finding.name: finding for finding in preflight.findings()}


def test_every_finding_says_what_was_seen_and_what_is_missing_says_what_to_do() -> None:
    for finding in preflight.findings():
        assert finding.seen
        assert finding.needed_for in ("kind", "longhorn", "chaos-mesh", "runbook")
        if finding.ok is False:
            assert finding.advice or "needed" in finding.seen


def test_a_host_without_programs_cannot_run_kind(host: Path) -> None:
    seen = preflight.findings()
    assert not preflight.can_run("kind", seen)
    assert [f.name for f in seen if f.ok is False and f.needed_for == "kind"] == [
        *("kind", "docker", "docker daemon")
    ]


def test_low_inotify_limits_are_found_with_the_command_that_raises_them(host: Path) -> None:
    limits = host / "proc/sys/fs/inotify"
    (limits / "max_user_instances").write_text("128\n")
    (limits / "max_user_watches").write_text("524288\n")
    found = by_name()
    assert found["fs.inotify.max_user_instances"].advice == "sysctl -w fs.inotify.max_user_instances=512"
    assert found["fs.inotify.max_user_watches"].ok


def test_longhorn_needs_iscsi_in_the_kernel(host: Path) -> None:
    if by_name()["kernel module iscsi_tcp"].ok:
        pytest.skip("this host's kernel has iscsi_tcp on disk")
    (host / "sys/module/iscsi_tcp").mkdir()
    assert by_name()["kernel module iscsi_tcp"].ok


@pytest.mark.parametrize(
    ("line", "ok"),
    [
        ("22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw", True),
        ("22 1 254:0 / / rw,relatime - ext4 /dev/vda rw", False),
        ("22 1 254:0 / / rw,relatime master:7 - ext4 /dev/vda rw", False),
    ],
)
def test_mount_propagation_is_read_of_the_root(host: Path, line: str, ok: bool) -> None:
    (host / "proc/self/mountinfo").write_text(line + "\n23 22 0:5 / /sys rw shared:2 - sysfs sysfs rw\n")
    assert by_name()["mount propagation of /"].ok is ok


def test_off_linux_a_kernel_part_is_unknown_and_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert preflight.kernel_has("iscsi_tcp") is None
    assert preflight.iscsi_module().ok is None


def test_kind_is_refused_at_once_where_it_cannot_run(host: Path, tmp_path: Path) -> None:
    with pytest.raises(NotAvailableHere, match="no program 'kind' on PATH"):
        open_cluster("kind", load(MANIFESTS), tmp_path / "work")


def test_an_unknown_cluster_names_the_valid(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Valid: kind, context:NAME"):
        open_cluster("kindd", load(MANIFESTS), tmp_path)
