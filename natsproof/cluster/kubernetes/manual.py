"""docs/runbook.md on a live Kubernetes, block by block, by its own words: bash, kubectl, sed, the nats CLI.

A scratch copy of the repository's manifests stands in for the checkout; kubectl goes to the run's cluster
alone, and what it applies asks for no more than the nodes have. What cannot run is listed with the reason.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from natsproof import units
from natsproof.clock import as_seconds, now_ns
from natsproof.cluster import runbook
from natsproof.cluster.kubernetes.fit import CPU_REQUEST, MEMORY_REQUEST
from natsproof.cluster.kubernetes.kind import KindCluster
from natsproof.errors import NotAvailableHere

SECTION_S = 420.0
TOOLS = "Tools"
#: What the section says must be so before its first block; done by hand as the text tells.
BEFORE = {
    "Restore into an empty platform": 'tools; for b in $buckets; do box nats kv del "$b" -f; done; sleep 12',
}
_MARK = "natsproof-block"


def sections(text: str) -> dict[str, list[str]]:
    """Each section's blocks, in the order of the runbook."""
    found = {}
    for title in re.findall(r"^## (.+)$", text, re.M):
        try:
            found[title] = runbook.blocks(title, text)
        except NotAvailableHere:
            continue
    return found


def number_of_blocks() -> int:
    """How many blocks the runbook has, in all sections."""
    return sum(len(own) for own in sections(runbook.RUNBOOK.read_text(encoding="utf-8")).values())


def followed(cluster: KindCluster, *, only: Sequence[str] = ()) -> dict[str, Any]:
    """Run every section (or `only` these), then deploy the platform anew from its manifests.

    Facts: a list of blocks with `section`, `number`, `code`, `said`, `took_s` and `left_out` (why).
    """
    text = runbook.RUNBOOK.read_text(encoding="utf-8")
    scratch = cluster.workdir / "runbook"
    shutil.rmtree(scratch, ignore_errors=True)
    _lay_out(scratch, runbook.RUNBOOK.parent.parent / "manifests")
    blocks: list[dict[str, Any]] = []
    try:
        for title, own in sections(text).items():
            if only and title not in only:
                continue
            blocks += _section(cluster, scratch, title, own, sections(text)[TOOLS][0])
    finally:
        cluster.clear_the_place()  # sizes, passwords and tools that the runbook changed
        cluster.deploy()
    return {"blocks": blocks}


def _section(
    cluster: KindCluster, scratch: Path, title: str, own: Sequence[str], tools: str
) -> list[dict[str, Any]]:
    reasons = [_cannot(cluster, title, block) for block in own]
    script = [] if title == TOOLS else [tools]
    script += [BEFORE[title]] if title in BEFORE and not all(reasons) else []
    for number, (block, reason) in enumerate(zip(own, reasons, strict=True), start=1):
        script += [] if reason else [f"echo {_MARK} {number}", block]
    began_ns = now_ns()
    code, said = (0, "") if all(reasons) else _bash(cluster, scratch, "\n".join([*script, f"echo {_MARK} 0"]))
    took_s = round(as_seconds(now_ns() - began_ns), 1)
    parts = {part.split()[0]: part for part in said.split(_MARK)[1:]}
    reached = [int(number) for number in parts]
    found = []
    for number, reason in enumerate(reasons, start=1):
        done = number in reached and reached[-1] != number
        part = parts.get(str(number), said if not reached else "not reached")
        found.append(
            {
                "section": title,
                "number": number,
                "left_out": reason,
                "code": 0 if reason or done else code or 1,
                "said": "" if reason else part[-1500:],
                "took_s": took_s,
            }
        )
    return found


def _cannot(cluster: KindCluster, title: str, block: str) -> str:
    """Why a block cannot run on this cluster; empty if it can."""
    workers = len(cluster.machine.workers())
    if "Scale from" in title and workers < 5:
        return f"five servers need five nodes (one each): this cluster has {workers} workers"
    if "prometheus-exporter" in block and not _has_image(cluster, "prometheus-nats-exporter"):
        return "the exporter's image is in no archive here: its pods would wait for ever"
    if title == "Grow the volumes" and not _expandable(cluster):
        return "the storage class does not allow expansion (the section says so for local-path)"
    return ""


def _has_image(cluster: KindCluster, name: str) -> bool:
    nodes = cluster.api.list("Node")
    return any(
        name in tag
        for node in nodes
        for i in node["status"].get("images", ())
        for tag in i.get("names") or ()
    )


def _expandable(cluster: KindCluster) -> bool:
    name = cluster.applied.statefulset.claims[0].storage_class
    live = name and cluster.api.get("StorageClass", name, api_version="storage.k8s.io/v1")
    return bool(live and live.get("allowVolumeExpansion"))


def _bash(cluster: KindCluster, scratch: Path, script: str) -> tuple[int, str]:
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=scratch,
            env=_environment(cluster, scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECTION_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        return 124, f"{said}\nnot over within {SECTION_S:g} s"
    return done.returncode, done.stdout


def _environment(cluster: KindCluster, scratch: Path) -> Mapping[str, str]:
    return {
        "PATH": f"{scratch / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "HOME": str(scratch),
        "KUBECONFIG": str(cluster.kubeconfig),
        "PYTHONPATH": str(runbook.RUNBOOK.parent.parent),
    }


def _lay_out(scratch: Path, manifests: Path) -> None:
    """The checkout that the commands expect: manifests/ to edit, and `python` with natsproof."""
    shutil.copytree(manifests, scratch / "manifests")
    (scratch / "bin").mkdir()
    python = scratch / "bin" / "python"  # no link: a link to a virtual environment's python is outside it
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    kubectl = scratch / "bin" / "kubectl"
    real = shlex.quote(shutil.which("kubectl") or "kubectl")
    kubectl.write_text(
        f'#!/bin/sh\n[ "$1" = apply ] && exec python -m {__name__} {real} "$@"\nexec {real} "$@"\n'
    )
    kubectl.chmod(0o755)


def main(words: Sequence[str]) -> None:
    """`kubectl apply` with files whose requests are made to fit the nodes, as natsproof's own deploy does."""
    with tempfile.TemporaryDirectory(prefix="natsproof-") as folder:
        fitting = []
        for number, word in enumerate(words):
            file = Path(word)
            if word.endswith(".yaml") and file.is_file():
                smaller = Path(folder) / f"{number}-{file.name}"
                smaller.write_text(_smaller(file.read_text()))
                word = str(smaller)
            fitting.append(word)
        sys.exit(subprocess.run(fitting, check=False).returncode)


def _smaller(text: str) -> str:
    """Requests that fit a laptop's node, as fit.py makes them, in the text that `kubectl apply` reads."""

    def shrink(found: re.Match[str]) -> str:
        name, asked = found[1], found[2].strip('"')
        most = {"cpu": CPU_REQUEST, "memory": MEMORY_REQUEST}[name]
        return found[0].replace(found[2], most) if units.quantity(asked) > units.quantity(most) else found[0]

    def requests(found: re.Match[str]) -> str:
        return re.sub(r"\b(cpu|memory): (\S+)", shrink, found[0])

    return re.sub(r"requests:\n(?:\s+(?:cpu|memory): .*\n)+", requests, text)


if __name__ == "__main__":
    main(sys.argv[1:])
