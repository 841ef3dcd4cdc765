"""What this host can give a kind cluster, before anything starts: programs, kernel parts, limits.

Each finding says what was looked at, what was seen, and what follows for the claims. Nothing is changed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from natsproof.errors import NatsproofError

if TYPE_CHECKING:
    from natsproof.contract.model import Contract

#: Four nodes watch many files: with less the third kubelet does not start.
MIN_INOTIFY_INSTANCES = 512
MIN_INOTIFY_WATCHES = 65_536
MIN_MEMORY_BYTES = 4 << 30
MIN_FREE_DISK_BYTES = 10 << 30

PROC, SYS = Path("/proc"), Path("/sys")
LINUX = "linux"


@dataclass(frozen=True, slots=True)
class Finding:
    """`needed_for`: kind, longhorn, chaos-mesh, runbook. `ok` None: it could not be looked at."""

    name: str
    needed_for: str
    ok: bool | None
    seen: str
    advice: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "MISSING", None: "unknown"}[self.ok]
        return f"{self.needed_for:10} {mark:8} {self.name}: {self.seen}" + (
            f". {self.advice}" if self.advice else ""
        )


def findings(contract: Contract | None = None) -> tuple[Finding, ...]:
    """Everything that is looked at, kind's own needs first; the images of `contract` too, if given."""
    checks: tuple[Callable[[], Finding], ...] = (
        lambda: program("kind", "kind", ("version",)),
        lambda: program("docker", "kind", ("--version",)),
        docker_answers,
        lambda: program("kubectl", "runbook", ("version", "--client")),
        inotify_instances,
        inotify_watches,
        cgroups,
        memory,
        disk,
        iscsi_module,
        iscsi_program,
        mount_propagation,
        lambda: addon("longhorn", "the class is made on local-path instead"),
        netem,
        lambda: addon("chaos-mesh", "faults go through the nodes and the API instead"),
    )
    return (*(check() for check in checks), *(image_findings(contract) if contract else ()))


def can_run(needed_for: str, seen: tuple[Finding, ...]) -> bool:
    """Whether nothing that `needed_for` wants is missing."""
    return all(finding.ok is not False for finding in seen if finding.needed_for == needed_for)


def program(name: str, needed_for: str, version: tuple[str, ...]) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name, needed_for, False, "not on PATH", f"Install {name}")
    return Finding(name, needed_for, True, f"{path} ({_first_line([path, *version])})")


def docker_answers() -> Finding:
    if shutil.which("docker") is None:
        return Finding("docker daemon", "kind", False, "no docker program", "Install docker")
    told = _first_line(["docker", "info", "--format", "{{.ServerVersion}}, cgroup v{{.CgroupVersion}}"])
    if told.startswith("!"):
        return Finding("docker daemon", "kind", False, told[1:], "Start dockerd, or set DOCKER_HOST")
    return Finding("docker daemon", "kind", True, told)


def image_findings(contract: Contract) -> tuple[Finding, ...]:
    """Where each image would come from: an archive, the engine, or a binary laid over another nats image."""
    from natsproof.cluster.kubernetes import ARCHIVES, files_of
    from natsproof.cluster.kubernetes.images import images_in, images_of, is_server_image

    try:
        carried = {image: file for file in files_of(ARCHIVES) for image in images_in(file)}
    except NatsproofError as problem:
        return (Finding("image archives", "kind", False, str(problem), f"Mend {ARCHIVES}"),)
    found = []
    for image in images_of(contract):
        if image in carried:
            seen, ok = f"in {carried[image]}", True
        elif not _first_line(["docker", "image", "inspect", "--format", "{{.Id}}", image]).startswith("!"):
            seen, ok = "an image of the local docker", True
        elif is_server_image(image) and any(is_server_image(other) for other in carried):
            seen, ok = "to be made of another nats image of the archives and the pinned binary", True
        else:
            seen, ok = "in no archive and not in the local docker", False
        found.append(
            Finding(f"image {image}", "kind", ok, seen, "" if ok else f"docker pull it, or set {ARCHIVES}")
        )
    return tuple(found)


def addon(name: str, otherwise: str) -> Finding:
    """Whether a file of manifests to install first is named for `name`, and is there."""
    from natsproof.cluster.kubernetes import ADDONS, files_of

    named = [file for file in files_of(ADDONS) if name in file.name]
    if not named:
        return Finding(f"manifests of {name}", name, False, f"{ADDONS} names none", f"Without: {otherwise}")
    there = named[0].is_file()
    return Finding(f"manifests of {name}", name, there, str(named[0]) + ("" if there else " is not there"))


def inotify_instances() -> Finding:
    return _limit("fs/inotify/max_user_instances", MIN_INOTIFY_INSTANCES)


def inotify_watches() -> Finding:
    return _limit("fs/inotify/max_user_watches", MIN_INOTIFY_WATCHES)


def _limit(name: str, least: int) -> Finding:
    label = name.replace("/", ".")
    try:
        value = int((PROC / "sys" / name).read_text())
    except (OSError, ValueError):
        return Finding(label, "kind", None, "cannot be read here (the engine's machine decides)")
    advice = "" if value >= least else f"sysctl -w {label}={least}"
    return Finding(label, "kind", value >= least, f"{value}, {least} needed", advice)


def cgroups() -> Finding:
    if not SYS.joinpath("fs/cgroup").is_dir():
        return Finding("cgroups", "kind", None, "cannot be read here (the engine's machine decides)")
    if (SYS / "fs/cgroup/cgroup.controllers").is_file():
        return Finding("cgroups", "kind", True, "version 2")
    advice = "Kubernetes 1.35 and newer refuse version 1: use a node image up to v1.34"
    return Finding("cgroups", "kind", True, "version 1", advice)


def memory() -> Finding:
    total = psutil.virtual_memory().total
    ok = total >= MIN_MEMORY_BYTES
    return Finding("memory", "kind", ok, f"{total / 2**30:.1f} GiB, {MIN_MEMORY_BYTES >> 30} GiB needed")


def disk() -> Finding:
    free = shutil.disk_usage("/").free
    seen = f"{free / 2**30:.0f} GiB free on /, {MIN_FREE_DISK_BYTES >> 30} GiB needed"
    return Finding("disk", "kind", free >= MIN_FREE_DISK_BYTES, seen)


def iscsi_module() -> Finding:
    """Longhorn's v1 engine attaches volumes by iSCSI: the kernel must have the initiator."""
    advice = "Longhorn volumes cannot attach here: kind uses a class of the same name on local-path"
    present = kernel_has("iscsi_tcp")
    if present is None:
        return Finding("kernel module iscsi_tcp", "longhorn", None, f"unknown on {platform.system()}", advice)
    return Finding(
        "kernel module iscsi_tcp",
        "longhorn",
        present,
        "present" if present else "absent",
        "" if present else advice,
    )


def iscsi_program() -> Finding:
    path = shutil.which("iscsiadm")
    advice = "" if path else "Install open-iscsi on every node and start iscsid"
    return Finding("iscsiadm", "longhorn", path is not None, path or "not on PATH", advice)


def mount_propagation() -> Finding:
    """Longhorn's CSI plugin mounts inside its pod; the node sees it only where / is shared."""
    try:
        lines = (PROC / "self/mountinfo").read_text().splitlines()
    except OSError:
        return Finding("mount propagation of /", "longhorn", None, "cannot be read here")
    fields = [line.split() for line in lines]
    root = next((f for f in reversed(fields) if f[4] == "/"), None)
    optional = root[6 : root.index("-")] if root else []
    ok = any(o.startswith("shared:") for o in optional)
    advice = "" if ok else "mount --make-rshared / (in the nodes, for kind)"
    return Finding("mount propagation of /", "longhorn", ok, " ".join(optional) or "private", advice)


def netem() -> Finding:
    """Packet delay and loss, by Chaos Mesh or by tc, are queueing disciplines of the kernel."""
    present = kernel_has("sch_netem")
    advice = "" if present else "NetworkChaos delay and loss do nothing here; partitions work without it"
    seen = {True: "present", False: "absent", None: f"unknown on {platform.system()}"}[present]
    return Finding("kernel module sch_netem", "chaos-mesh", present, seen, advice)


def kernel_has(module: str) -> bool | None:
    """Whether a module is loaded, built in or loadable; None off Linux."""
    if platform.system().lower() != LINUX:
        return None
    if (SYS / "module" / module).is_dir():
        return True
    folder = Path("/lib/modules") / os.uname().release
    for name in ("modules.builtin", "modules.dep"):
        try:
            if any(f"/{module}.ko" in line for line in (folder / name).read_text().splitlines()):
                return True
        except OSError:
            continue
    return False


def _first_line(words: list[str]) -> str:
    """The first line a program prints; an error begins with `!`."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"!{problem}"
    text = (done.stdout.strip() or done.stderr.strip()).splitlines()
    if done.returncode != 0:
        return "!" + (text[-1] if text else f"ended with {done.returncode}")
    return text[0] if text else ""
