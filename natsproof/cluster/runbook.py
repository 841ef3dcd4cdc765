"""The operator's procedures as docs/runbook.md has them, run as they stand.

A section's blocks run in bash with the runbook's own variables; what reaches into Kubernetes there
(`tools`, `box`, `sys`, `kubectl cp`) goes to the cluster at hand, and /tmp is a folder of the caller.
"""

from __future__ import annotations

import re
from pathlib import Path

from natsproof.cluster import Administrable
from natsproof.errors import ClusterError, NotAvailableHere

RUNBOOK = Path(__file__).parent.parent.parent / "docs" / "runbook.md"
#: In place of the functions that the section "Tools" defines for Kubernetes.
HERE = """
tools() { :; }
box() { "$@"; }
sys() { nats --user="$SYS_USER" --password="$SYS_PASSWORD" "$@"; }
kubectl() {
  case "$1" in
    cp) cp "${2#"$ns/nats-box:"}" "${3#"$ns/nats-box:"}" ;;
    *) echo "this cluster has no kubectl: kubectl $*" >&2; return 1 ;;
  esac
}
"""
#: The set-up Job is the cluster's to run; a block that ends with it is cut there.
JOB = "kubectl delete job"


def blocks(section: str, text: str | None = None) -> list[str]:
    """The bash blocks of one section, in order. Raises NotAvailableHere if there is none."""
    if text is None:
        if not RUNBOOK.is_file():
            raise NotAvailableHere(f"{RUNBOOK} is not here: procedures are run from a checkout")
        text = RUNBOOK.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    code = re.findall(r"^```bash\n(.*?)^```", found[1], re.M | re.S) if found else []
    if not code:
        titles = ", ".join(re.findall(r"^## (.+)$", text, re.M))
        raise NotAvailableHere(f"the runbook has no commands in a section {section!r}; sections: {titles}")
    return code


def script(section: str, folder: Path, text: str | None = None) -> str:
    """One script of a section's blocks, for `folder` in place of /tmp, without the set-up Job at its end."""
    body = "\n".join(block.partition(JOB)[0] for block in blocks(section, text))
    body = re.sub(r"/tmp\b", str(folder), body)
    return f"{blocks('Tools', text)[0]}\n{HERE}\n{body}"


def follow(cluster: Administrable, section: str, folder: Path, *, within_s: float = 120.0) -> str:
    """Run a section; its output. Raises ClusterError with the output if it ends with an error."""
    code, output = cluster.administer(script(section, folder), folder=folder, within_s=within_s)
    if code:
        raise ClusterError(f"docs/runbook.md, {section!r}, ended with {code}: {shortened(output)}")
    return output


def shortened(output: str, most: int = 800) -> str:
    """Its beginning and its end: what failed first, and what was given up."""
    half = most // 2
    return output if len(output) <= most else f"{output[:half]}\n[...]\n{output[-half:]}"
