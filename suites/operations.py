"""The trials and looks of operations: what an operator does to a platform that clients use.

Clients are the same as in the other suites. An operation is over when it is done, so a trial lasts about
as long as it takes: lame duck keeps a server with clients for 12 s before it goes.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster import inspection
from natsproof.contract.change import with_config, with_servers
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, DeadlineExceeded
from natsproof.faults.procedures import BackUpAndRestore, Drains
from natsproof.faults.upgrade import Resize, ScaleOutAndBack, Scaling, Upgrade
from natsproof.trial import Trial
from natsproof.workloads.ledger import Ledger
from natsproof.workloads.operations import FullBucket
from suites.trials import BUCKETS, ENOUGH, FEWER_CLIENTS, SOME, STATE

UPGRADED = Trial("upgrade of the image", FEWER_CLIENTS, (Upgrade(at_s=1.0),), 50.0, 40.0, puts=ENOUGH)
RESIZED = Trial("more CPU and memory", FEWER_CLIENTS, (Resize(at_s=1.0),), 50.0, 40.0, puts=ENOUGH)
SCALED = Trial(
    "three to five servers and back", FEWER_CLIENTS, (ScaleOutAndBack(at_s=1.0),), 150.0, 60.0, puts=ENOUGH
)
DRAINED_TWICE = Trial("two drains at once", FEWER_CLIENTS, (Drains(at_s=1.0),), 90.0, 40.0, puts=ENOUGH)
#: The writer's rate is low: the dead platform between backup and restore refuses every write.
RESTORED = Trial(
    "backup and restore into an empty platform",
    (Ledger(BUCKETS, writers=4, rate_hz=100.0),),
    (BackUpAndRestore(at_s=4.0),),
    24.0,
    40.0,
    evidence=SOME,
    patience_s=90.0,  # a restore that breaks off is tried again (docs/findings.md, 49)
)
#: The other buckets are written to meanwhile: a full one is no outage of theirs.
FILLED = Trial(
    "a full bucket",
    (FullBucket(STATE), *([Ledger(BUCKETS[1:], writers=3, rate_hz=60.0)] if BUCKETS[1:] else [])),
    (),
    10.0,
)

EDITED = STATE


def scaling(cluster: Any) -> dict[str, Any]:
    """Members and buckets with five servers, and back with three. Nobody is connected, so it is quick."""
    change = Scaling(cluster)
    seen = {}
    change.out(5)
    seen["larger"] = _whole(cluster)
    change.back()
    seen["back"] = _whole(cluster)
    return seen


def five(contract: Contract) -> Contract:
    return with_servers(contract, 5)


def _whole(cluster: Any) -> dict[str, Any]:
    """Members and buckets once routes, the meta group and replicas have had time."""
    names = {server.name for server in cluster.servers}

    def joined() -> bool:
        seen = inspection.members(cluster, settle_s=1)
        routed = all(set(facts["routes"]) >= names - {name} for name, facts in seen.items())
        counted = {facts["meta_size"] for facts in seen.values()} == {len(names)}
        return routed and counted and len({facts["meta_leader"] for facts in seen.values()}) == 1

    with contextlib.suppress(DeadlineExceeded):  # what there is then, is the evidence
        wait_until("routes between all servers", joined, within_s=20, every_s=0.2)
    return {"members": _members(cluster), "buckets": inspection.buckets(cluster)}


def drift_of_a_bucket(cluster: Any) -> dict[str, Any]:
    """A bucket is edited by hand, looked at, offered to the set-up Job, and put right again."""
    promised = cluster.contract.promises.bucket(EDITED)
    seen: dict[str, Any] = {"before": _bucket_state(cluster)}
    seen["edited"] = _edit(cluster, promised.max_bytes - (1 << 30))
    seen["changed"] = _bucket_state(cluster) | {"job": _job(cluster)}
    _edit(cluster, promised.max_bytes)
    seen["after"] = _bucket_state(cluster) | {"job": _job(cluster)}
    return seen


def _bucket_state(cluster: Any) -> dict[str, Any]:
    return {"buckets": inspection.buckets(cluster)}


def _edit(cluster: Any, max_bytes: int) -> str:
    """`nats kv edit`, as somebody in a hurry does it."""
    command = f"nats kv edit {shlex.quote(EDITED)} --max-bucket-size={max_bytes}B"
    with tempfile.TemporaryDirectory(prefix="natsproof-") as folder:
        code, said = cluster.administer(command, folder=Path(folder))
    if code:
        raise ClusterError(f"`{command}` ended with {code}: {said[-300:]}")
    return command


def _job(cluster: Any) -> dict[str, Any]:
    result = cluster.run_job()
    return {"complete": result.complete, "log": result.log}


def stale_configuration(cluster: Any) -> dict[str, Any]:
    """Manifests with another memory store are applied; the servers before and after they are restarted."""
    cluster.apply(more_memory(cluster.contract))
    seen = {"applied": _members(cluster)}
    cluster.rolling_restart()
    seen["rolled_out"] = _members(cluster)
    return seen


def _members(cluster: Any) -> dict[str, Any]:
    """A busy machine may keep one answer longer than a monitoring request waits."""
    return inspection.members(cluster, settle_s=20)


def more_memory(contract: Contract) -> Contract:
    """The manifests with another `max_mem`, which only a restart brings to a server."""
    return with_config(contract, _more_max_mem)


def _more_max_mem(text: str) -> str:
    found = re.search(r"^(\s*max_mem(?:ory_store)?\s*[:=]?\s*)(\S+)", text, re.M)
    if not found:
        return text.replace("jetstream {", "jetstream {\n  max_mem: 777Mi", 1)
    return text[: found.start(2)] + "777Mi" + text[found.end(2) :]
