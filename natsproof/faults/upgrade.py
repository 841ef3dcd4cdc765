"""What operators change: the image, the resources, the number of servers. Each is over when it is done."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from natsproof.clock import wait_until
from natsproof.cluster.binaries import image_version
from natsproof.contract.change import with_image, with_resources, with_servers
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, UsageError
from natsproof.faults import Aimed
from natsproof.faults.operations import server_ids
from natsproof.faults.sight import confirmed

#: The next release line, at a patch that the wheel carries: a second to fetch, nothing to build.
STEP_UP = {"2.10": "2.11.17", "2.11": "2.12.8", "2.12": "2.14.5", "2.14": "2.15.1"}
#: What the runbook allows the meta group to notice a change of its members.
MEMBERS_S = 60.0
#: All servers are Ready by then; one answer may be late.
WITNESS_S = 5.0


def next_release(image: str) -> str:
    """The release that an image's line is upgraded to. Raises UsageError for the newest line."""
    version, _ = image_version(image)
    line = ".".join(version.split(".")[:2])
    if line not in STEP_UP:
        raise UsageError(f"{image!r}: no release line after {line} is known; known: {', '.join(STEP_UP)}")
    return STEP_UP[line]


def image_of(image: str, version: str) -> str:
    """`nats:2.12.8-alpine` at another version."""
    old, _ = image_version(image)
    head, colon, tag = image.partition("@")[0].rpartition(":")
    if not colon or old not in tag:
        raise UsageError(f"image {image!r} names no exact version to step up from")
    return f"{head}:{tag.replace(old, version)}"


@dataclass(frozen=True)
class Operation(Aimed):
    """Done to all servers, over when `inject` returns. Healing starts what an interruption left stopped."""

    victim: str = "all"
    at_s: float = 1.0
    down_s: float | None = None
    ready_s: float = 120.0

    needs: ClassVar[tuple[str, ...]] = ("Stoppable", "Changeable")
    one_shot: ClassVar[bool] = True

    def sight(self, cluster: Any, targets: Sequence[str]) -> Any:
        return {"ids": server_ids(cluster, targets), "versions": _versions(cluster)}

    def inject(self, cluster: Any, targets: Sequence[str]) -> Any:
        raise NotImplementedError

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # what is over leaves no trace without a look from before

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Any) -> str:
        raise NotImplementedError

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for server in cluster.servers:
            if not cluster.running(server.name):
                cluster.start(server.name)

    def _roll(self, cluster: Any) -> list[dict[str, str]]:
        """As a StatefulSet rolls: highest ordinal first, each Ready before the next; what ran after each."""
        seen = []
        for server in sorted(cluster.servers, key=lambda s: -s.ordinal):
            cluster.stop(server.name)
            cluster.start(server.name)
            ready = functools.partial(cluster.ready, server.name)
            wait_until(f"{server.name} to be Ready", ready, within_s=self.ready_s)
            seen.append(_versions(cluster))
        return seen


@dataclass(frozen=True)
class Upgrade(Operation):
    """The server's image goes to `version` (default: the next release line), pod by pod.

    The witness is each server's own /varz: old and new versions together meanwhile, the new one at the end.
    """

    version: str = ""

    def inject(self, cluster: Any, targets: Sequence[str]) -> Any:
        image = cluster.contract.server_container.image
        version = self.version or next_release(image)
        before = _versions(cluster)
        cluster.apply(with_image(cluster.contract, image_of(image, version)))
        return {"wanted": version, "versions": before, "after": self._roll(cluster)}

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Any) -> str:
        wanted = before.get("wanted")
        mixed = [
            sorted(set(seen.values())) for seen in before.get("after", ()) if len(set(seen.values())) > 1
        ]
        old = sorted(set(before["versions"].values()))
        if not mixed or old == [wanted]:
            return ""

        def arrived() -> str:
            now = _versions(cluster)
            if set(now.values()) != {wanted} or len(now) < len(targets):
                return ""
            return f"all servers went from {' and '.join(old)} to {wanted}; together meanwhile: {mixed[0]}"

        return confirmed(f"all servers to say that they are {wanted}", arrived, within_s=WITNESS_S)


@dataclass(frozen=True)
class Resize(Operation):
    """Every pod gets `factor` times its CPU and memory, one after the other.

    The witness is the memory limit that each new server reports (`gomemlimit` of /varz) and its new id.
    """

    factor: int = 2

    def inject(self, cluster: Any, targets: Sequence[str]) -> Any:
        before = {"ids": server_ids(cluster, targets), "limits": _memory_limits(cluster)}
        cluster.apply(with_resources(cluster.contract, self.factor))
        self._roll(cluster)
        return before

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Any) -> str:
        def arrived() -> str:
            now, limits = server_ids(cluster, targets), _memory_limits(cluster)
            if any(now.get(name) in (None, before["ids"].get(name)) for name in targets):
                return ""
            if not limits or any(limits.get(n) != self.factor * was for n, was in before["limits"].items()):
                return ""
            return f"every server has a new id and {self.factor} times the memory limit: {limits}"

        return confirmed("all servers to be new and of the new size", arrived, within_s=WITNESS_S)


@dataclass(frozen=True)
class ScaleOutAndBack(Operation):
    """To `to` servers with their routes, and back, as docs/runbook.md has it: routes, pods, the meta group
    complete, all restarted; then fewer pods, peer-remove of each that went, the old routes, all restarted.

    `restart=False` leaves out both rolling restarts. The witness: the meta group counted `to` peers, then
    as many as before.
    """

    to: int = 5
    restart: bool = True

    needs: ClassVar[tuple[str, ...]] = ("Stoppable", "Changeable", "Scalable", "Administrable")

    def inject(self, cluster: Any, targets: Sequence[str]) -> Any:
        scaling = Scaling(cluster, ready_s=self.ready_s)
        sizes = [meta_size(cluster)]
        scaling.out(self.to)
        sizes.append(meta_size(cluster))
        if self.restart:
            self._roll(cluster)
        scaling.back()
        sizes.append(meta_size(cluster))
        if self.restart:
            self._roll(cluster)
        return {"sizes": sizes}

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Any) -> str:
        sizes = [*before.get("sizes", ()), meta_size(cluster)]
        wanted = [len(targets), self.to, len(targets), len(targets)]
        return f"the meta group counted {sizes} peers" if sizes == wanted else ""

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        super().heal(cluster, targets)
        if len(cluster.servers) != len(targets):
            Scaling(cluster, was=len(targets), ready_s=self.ready_s).back()


class Scaling:
    """A platform that is made larger and smaller again."""

    def __init__(self, cluster: Any, *, was: int = 0, ready_s: float = 120.0) -> None:
        self.cluster, self.ready_s = cluster, ready_s
        self.was = was or len(cluster.servers)

    def out(self, to: int) -> None:
        """Routes first, then servers; until each is Ready and the meta group counts them."""
        self.cluster.apply(_resized(self.cluster.contract, to))
        self.cluster.scale(to)
        wait_until(f"{to} servers Ready", lambda: self._all_ready(to), within_s=self.ready_s)
        wait_until(f"{to} meta peers", lambda: meta_size(self.cluster) == to, within_s=MEMBERS_S)

    def back(self) -> None:
        """Servers first, then the meta group forgets them one by one, then routes."""
        gone = sorted((s.name for s in self.cluster.servers if s.ordinal >= self.was), reverse=True)
        self.cluster.apply(_resized(self.cluster.contract, self.was))
        self.cluster.scale(self.was)
        for name in gone:
            wait_until(
                f"{name} to be forgotten",
                functools.partial(self._forgotten, name),
                within_s=MEMBERS_S,
                every_s=0.5,
            )
        wait_until(f"{self.was} meta peers", lambda: meta_size(self.cluster) == self.was, within_s=MEMBERS_S)

    def _all_ready(self, number: int) -> bool:
        servers = self.cluster.servers
        return len(servers) == number and all(self.cluster.ready(s.name) for s in servers)

    def _forgotten(self, name: str) -> bool:
        """The runbook's `forgotten`: remove it, or see that nobody reports it any more."""
        sys = 'nats --user="$SYS_USER" --password="$SYS_PASSWORD" --timeout=3s'
        removed = f"{sys} server cluster peer-remove {name} --force"
        code, said = self.cluster.administer(
            f"{removed} || ! {sys} server report jetstream | grep -q {name}", folder=self.cluster.workdir
        )
        if code:
            raise ClusterError(f"peer-remove of {name}: {said[-300:]}")
        return True


def _resized(contract: Contract, replicas: int) -> Contract:
    return with_servers(contract, replicas)


def _versions(cluster: Any) -> dict[str, str]:
    return _varz(cluster, "version", str)


def _memory_limits(cluster: Any) -> dict[str, int]:
    return _varz(cluster, "gomemlimit", int)


def _varz(cluster: Any, field: str, kind: Any) -> dict[str, Any]:
    found = {}
    for server in cluster.servers:
        try:
            found[server.name] = kind(cluster.monitor(server.name, "/varz")[field])
        except (ClusterError, OSError, KeyError):
            continue
    return found


def meta_size(cluster: Any) -> int:
    """How many peers the meta leader counts; 0 while nobody says that it leads."""
    for server in cluster.servers:
        try:
            meta = cluster.monitor(server.name, "/jsz").get("meta_cluster") or {}
        except (ClusterError, OSError):
            continue
        if meta.get("leader") == server.name:
            return int(meta.get("cluster_size", 0))
    return 0
