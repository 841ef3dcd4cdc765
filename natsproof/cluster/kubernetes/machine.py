"""One kind cluster: made, filled with images, looked into node by node, and removed.

Only clusters that this class wrote down as its own (owned.py) are ever removed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from natsproof.clock import Deadline, wait_until
from natsproof.cluster.kubernetes import owned
from natsproof.cluster.kubernetes.api import Api, ApiError
from natsproof.cluster.kubernetes.images import ImageSource
from natsproof.errors import ClusterError, DeadlineExceeded, NotAvailableHere, UsageError

CREATE_S = 300.0
NODES_READY_S = 180.0
DELETED_WITHIN_S = 90.0
#: How long the container engine may still be busy with what a killed run asked for.
ENGINE_SETTLES_S = 4.0


def command(what: str, words: Sequence[str], *, within_s: float = 60.0, input_text: str | None = None) -> str:
    """Run a program to its end and return what it printed.

    It dies with this process where the host can do that, so that a killed run leaves no half-made cluster
    behind its back. Raises ClusterError with its last words.
    """
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if _can_bind_life() else []
    try:
        done = subprocess.run(
            [*guard, *words], input=input_text, capture_output=True, text=True, timeout=within_s, check=False
        )
    except FileNotFoundError:
        raise NotAvailableHere(f"{what}: no program {words[0]!r} on PATH; install it") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{what}: `{' '.join(words)}` did not end within {within_s:g} s") from None
    if done.returncode != 0:
        tail = " | ".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise ClusterError(f"{what}: `{' '.join(words)}` ended with {done.returncode}: {tail}")
    return done.stdout


def _can_bind_life() -> bool:
    return sys.platform == "linux" and shutil.which("setpriv") is not None


class Machine:
    """A kind cluster called `name` with a kubeconfig of its own."""

    def __init__(self, name: str, kubeconfig: Path) -> None:
        self.name, self.kubeconfig = name, kubeconfig

    @property
    def context(self) -> str:
        return f"kind-{self.name}"

    def create(self, run_id: str, *, node_image: str | None, workers: int = 3, keep: bool = False) -> None:
        """Make the cluster; returns when kind does, nodes may still be joining."""
        owned.enter(self.name, run_id, self.kubeconfig, keep=keep)
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        roles = ["control-plane", *["worker"] * workers]
        config = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking: {ipFamily: ipv4}\nnodes:\n"
        config += "".join(f"- role: {role}\n" for role in roles)
        image = ["--image", node_image] if node_image else []
        command(
            f"create the kind cluster {self.name}",
            [
                *("kind", "create", "cluster", "--config", "-", "--name", self.name),
                *("--kubeconfig", str(self.kubeconfig)),
                *image,
            ],
            within_s=CREATE_S,
            input_text=config,
        )

    def wait_for_nodes(self, api: Api, *, within_s: float = NODES_READY_S) -> float:
        """Until every node is Ready."""

        def all_ready() -> bool:
            nodes = api.list("Node")
            ready = [n for n in nodes if _condition(n, "Ready") == "True"]
            return len(ready) == len(self.nodes()) > 0

        return wait_until(f"all nodes of {self.name} to be Ready", all_ready, within_s=within_s, every_s=0.3)

    def load(self, sources: Iterable[ImageSource]) -> None:
        """Put images into the workers' containerd, each archive once."""
        archives = dict.fromkeys(str(source.archive) for source in sources)
        if archives:
            nodes = ",".join(self.workers())
            command(
                f"load images into {self.name}",
                ["kind", "load", "image-archive", "--name", self.name, "--nodes", nodes, *archives],
                within_s=300,
            )

    def delete(self, *, settle_s: float = 0.0) -> None:
        """Remove the cluster if it is ours. Raises UsageError for one that nobody wrote down.

        `settle_s`: a run that was killed while it made the cluster may have left requests with the
        container engine; nodes that appear within this time are removed as well.
        """
        if owned.find(self.name) is None:
            raise UsageError(f"kind cluster {self.name!r} was not made by natsproof: it stays")
        words = ["kind", "delete", "cluster", "--name", self.name, "--kubeconfig", str(self.kubeconfig)]
        command(f"delete the kind cluster {self.name}", words, within_s=120)
        deadline = Deadline.within(DELETED_WITHIN_S)
        while self._appears_again(settle_s):
            if deadline.passed:
                raise ClusterError(
                    f"nodes of {self.name} are there {DELETED_WITHIN_S:g} s after their deletion: "
                    f"{', '.join(self.nodes())}. Does somebody else make them? docker ps --all"
                )
            # the engine says that a container is removed which it is about to start, and starts it
            threading.Event().wait(0.5)
            command(f"delete the kind cluster {self.name} again", words, within_s=120)
        owned.forget(self.name)
        if self.kubeconfig.parent == owned.state_dir() / self.name:
            shutil.rmtree(self.kubeconfig.parent, ignore_errors=True)

    def _appears_again(self, within_s: float) -> bool:
        if within_s <= 0:
            return False
        try:
            wait_until(f"nodes of {self.name}", self.nodes, within_s=within_s, every_s=0.5)
        except DeadlineExceeded:
            return False
        return True

    # -- nodes

    def nodes(self) -> list[str]:
        return command("list nodes", ["kind", "get", "nodes", "--name", self.name]).split()

    def workers(self) -> list[str]:
        return [node for node in self.nodes() if not node.endswith("control-plane")]

    def run_on(self, node: str, *words: str, within_s: float = 20.0) -> str:
        """Run a program inside a node."""
        return command(f"on node {node}", ["docker", "exec", node, *words], within_s=within_s)

    def copy_from(self, node: str, path: str, target: Path) -> None:
        command(f"copy {path} of {node}", ["docker", "cp", f"{node}:{path}", str(target)], within_s=300)

    def pause_node(self, node: str) -> None:
        """Freeze a whole node: its kubelet falls silent as at a hang of the machine."""
        command(f"pause node {node}", ["docker", "pause", node])

    def resume_node(self, node: str) -> None:
        command(f"resume node {node}", ["docker", "unpause", node])

    def kill_node(self, node: str) -> None:
        """SIGKILL all of a node at once."""
        command(f"kill node {node}", ["docker", "kill", node])

    def start_node(self, node: str) -> None:
        command(f"start node {node}", ["docker", "start", node])

    def node_state(self, node: str) -> str:
        """running, paused, exited: what the container engine says."""
        words = ["docker", "inspect", "--format", "{{.State.Status}}", node]
        return command(f"inspect node {node}", words).strip()


def export_image(image: str, file: Path) -> bool:
    """Save an image of the local docker to `file`; False if docker does not have it."""
    try:
        command("look for an image", ["docker", "image", "inspect", image])
    except ClusterError:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    command(f"export {image}", ["docker", "save", "-o", str(file), image], within_s=300)
    return True


def attach(name: str) -> Machine:
    """A kind cluster that an earlier run kept. Raises UsageError with the names there are."""
    record = owned.find(name)
    if record is None:
        known = ", ".join(r.name for r in owned.all_owned()) or "none"
        raise UsageError(f"no kept kind cluster {name!r}; known: {known}")
    return Machine(name, Path(record.kubeconfig))


def reap() -> list[str]:
    """Remove the clusters of runs that were killed; returns their names."""
    removed = []
    for record in owned.leftovers():
        Machine(record.name, Path(record.kubeconfig)).delete(settle_s=ENGINE_SETTLES_S)
        removed.append(record.name)
    return removed


def server_version(api: Api) -> str:
    """Kubernetes' own version, as the API server says it."""
    import json

    try:
        return str(json.loads(api.request("GET", "/version"))["gitVersion"])
    except (ApiError, ValueError, KeyError):
        return "unknown"


def _condition(thing: dict[str, object], kind: str) -> str:
    status = thing.get("status") or {}
    assert isinstance(status, dict)
    return next((c["status"] for c in status.get("conditions") or () if c["type"] == kind), "Unknown")
