"""A platform in a cluster that the user already has. Nothing is created; reading is the default."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors

from natsproof.cluster.kubernetes import network
from natsproof.cluster.kubernetes.api import Api
from natsproof.cluster.kubernetes.chaos_verbs import ChaosVerbs, runs_in
from natsproof.cluster.kubernetes.guard import OPT_IN_LABEL, NamespaceGuard, is_expendable
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, NotAvailableHere, UsageError

#: What deleting pods, evictions and policies give; the rest takes a hand on the nodes.
HARMING = frozenset({"Killable", "Stoppable", "Partitionable", "Evictable", "Scalable"})


class KubernetesCluster(ChaosVerbs):
    """`context` of the user's kubeconfig. Faults and load only where the namespace's owner has put the label
    `natsproof.io/expendable=true`; a guard in the API client holds that for every call.
    """

    kind = "context"

    def __init__(
        self,
        contract: Contract,
        *,
        context: str,
        workdir: Path,
        namespace: str | None = None,
        kubeconfig: Path | None = None,
    ) -> None:
        self.guard = NamespaceGuard(contract, namespace or contract.namespace)
        super().__init__(
            contract,
            workdir=workdir,
            context=context,
            namespace=namespace,
            kubeconfig=kubeconfig,
            guard=self.guard,
        )

    def _reached(self) -> None:
        self.guard.armed = is_expendable(self.api.get("Namespace", self.namespace))

    def _ports(self) -> tuple[str, ...]:
        """Client ports only where writing is allowed: what cannot be reached cannot be filled by mistake."""
        return ("client", "monitor") if self.guard.armed else ("monitor",)

    def up(self) -> None:
        super().up()
        if self.guard.armed:
            # of a run that was killed
            network.remove_policies(self.api, self.namespace)
            self.mesh().sweep()

    def down(self) -> None:
        """Heal what is cut and let go. The platform stays as it is."""
        try:
            if self._cutter is not None and self.guard.armed:
                self.heal()
        finally:
            self.disconnect()

    def capabilities(self) -> frozenset[str]:
        """What faults may be used here: none without the owner's label."""
        api = Api(cache=self.workdir / "discovery.json", kubeconfig=self.kubeconfig, context=self.context)
        try:
            if not is_expendable(api.get("Namespace", self.namespace)):
                return frozenset()
            return HARMING | {"ChaosInjectable"} if runs_in(api, self.namespace) else HARMING
        finally:
            api.close()

    def require_load_allowed(self) -> None:
        """Raises NotAvailableHere unless the namespace is expendable: writes are load, too."""
        if not self.guard.armed:
            raise NotAvailableHere(
                f"namespace {self.namespace} of {self.context} is not expendable: only reading claims "
                f"run. Its owner can allow more: kubectl label namespace {self.namespace} {OPT_IN_LABEL}=true"
            )

    def remove_keys(self, buckets: Sequence[str], prefix: str) -> int:
        """Purge what a trial wrote: the subjects below `prefix` of these buckets, and nothing else."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", prefix):
            raise UsageError(f"{prefix!r} is no key prefix: expected one word")
        return asyncio.run(_purge([server.client_url for server in self.servers], buckets, prefix))

    def describe(self) -> Mapping[str, Any]:
        described = dict(super().describe())
        if self._api is not None:
            described["expendable"] = self.guard.armed
            described["calls_that_changed_something"] = [
                f"{call.method} {call.path}" for call in self.api.calls if not call.reads
            ]
        return described


async def _purge(urls: list[str], buckets: Sequence[str], prefix: str) -> int:
    """Purges by subject filter; returns the number of messages that went."""
    try:
        connection = await nats.connect(urls, connect_timeout=5, max_reconnect_attempts=5)
    except (nats.errors.Error, OSError) as problem:
        raise ClusterError(f"keys {prefix}.* stay behind: no server answers ({problem})") from None
    try:
        jetstream = connection.jetstream(timeout=20)
        before = {b: (await jetstream.stream_info(f"KV_{b}")).state.messages for b in buckets}
        for bucket in buckets:
            await jetstream.purge_stream(f"KV_{bucket}", subject=f"$KV.{bucket}.{prefix}.>")
        after = {b: (await jetstream.stream_info(f"KV_{b}")).state.messages for b in buckets}
        return sum(before.values()) - sum(after.values())
    except (nats.errors.Error, nats.js.errors.Error) as problem:
        raise ClusterError(f"keys {prefix}.* may stay behind in {', '.join(buckets)}: {problem}") from None
    finally:
        await connection.close()
