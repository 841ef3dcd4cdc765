"""Leadership that goes where it is told, as an operator moves it away from a node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import nats
import nats.errors
import orjson

from natsproof.clock import wait_until
from natsproof.errors import ClusterError
from natsproof.faults import Aimed
from natsproof.faults.sight import confirmed, look, look_at, server_of

#: An election that comes in between takes up to 9 s.
WITHIN_S = 15.0
ASK_EVERY_S = 0.25
WITNESS_S = 4.0


@dataclass(frozen=True)
class HandOver(Aimed):
    """Who leads the bucket `of` (None: the first promised) is asked to hand over until the victim leads.

    Every server gets the request, by the route from the server that a client gave it to: `through`, or who
    leads. One that waits in a silent route is obeyed when it arrives, by whoever leads then.
    """

    victim: str = "follower"
    down_s: float | None = None
    through: str = ""

    one_shot: ClassVar[bool] = True

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        (target,), stream = targets, self._stream(cluster)

        def leads() -> bool:
            leader = look(cluster).leader(stream)
            if leader not in (None, target):
                way = server_of(cluster, self.through or str(leader))
                asyncio.run(_ask(way.client_url, stream, target))
            return leader == target

        wait_until(f"{target} to lead {stream}", leads, within_s=WITHIN_S, every_s=ASK_EVERY_S)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        """The victim's own word: others may not have heard of it."""

        def probe() -> str:
            seen = look_at(cluster, targets[0])
            stream = seen.streams.get(self._stream(cluster)) if seen else None
            if stream is None or stream.leader != targets[0]:
                return ""
            return f"{targets[0]} leads since {stream.leader_since}"

        return confirmed(f"{targets[0]} to lead", probe, within_s=WITNESS_S)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        """Leadership stays where it is."""

    def _stream(self, cluster: Any) -> str:
        return f"KV_{self.of or cluster.contract.promises.buckets[0].name}"


async def _ask(url: str, stream: str, target: str) -> None:
    """One request. Raises ClusterError with what was answered, if that is an error: not every server that
    answers is the one that hands over, so the next look at the leader tells."""
    wish = orjson.dumps({"placement": {"preferred": target}})
    try:
        client = await nats.connect(url, allow_reconnect=False, connect_timeout=1)
        try:
            answer = await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", wish, timeout=1)
        finally:
            await client.close()
    except (nats.errors.Error, OSError, TimeoutError) as problem:
        raise ClusterError(f"{url} was not asked to hand over: {problem!r}") from problem
    if error := orjson.loads(answer.data).get("error"):
        raise ClusterError(f"asked to hand over to {target}: {error}")
