"""Locks on real servers against a model, driven by Hypothesis: any order of what holders may do.

`play(cluster, ...)` lets few contenders acquire, renew and release one lock with the reference client,
loses answers and requests, lets leases lapse, steps leaders down or kills them, and lets former holders use
their old revisions. One thing happens at a time, so the model (lock_model.py) knows what the servers must
answer. The first wrong answer is shrunk to the shortest way to it, which is given as a script.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

from natsproof.clock import Deadline, until
from natsproof.cluster import Cluster
from natsproof.errors import ClusterError
from natsproof.faults.sight import look
from natsproof.lock import OK, NatsStore
from natsproof.trial.lock_model import ANSWER_S, Contender, Model, WrongAnswer, believers

NAMES = ("ann", "bob", "cy")
BACK_S = 20.0
#: What a claim wants to have been played, where chance left it out.
LAPSES, MOVES = 2, 1


@dataclass(frozen=True)
class Step:
    """One thing done: a verb of Contender by `who`, or `move` (the leader), or `believe` (look)."""

    verb: str
    who: str
    arguments: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        if self.verb == "move":
            return f"# here: {self.arguments[0]} of the leader"
        if self.verb == "believe":
            return "print([one.name for one in (ann, bob, cy) if one.lock.held()])"
        return f"print(await {self.who}.{self.verb}({', '.join(map(repr, self.arguments))}))"


#: Two lapses and another leader between them: no play of chance need have both (docs/findings.md, 54).
SURELY = (
    Step("acquire", "ann", ("",)),
    Step("lapse", "ann"),
    Step("acquire", "bob", ("",)),
    Step("move", "ann", ("step down",)),
    Step("release", "bob"),
    Step("acquire", "cy", ("",)),
    Step("lapse", "cy"),
    Step("acquire", "ann", ("",)),
)


@dataclass
class Way:
    """What was done on one key, what was seen of all but the last, and what was wrong then."""

    steps: list[Step] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    wrong: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Steps, and how much in them is lost."""
        return len(self.steps), sum(len(word) for step in self.steps for word in step.arguments)


class Table:
    """The bucket, the connections and the loop that all plays of one run share."""

    def __init__(self, cluster: Cluster, bucket: str, ttl_s: float, late_s: float, within_s: float) -> None:
        self.cluster, self.ttl_s, self.late_s = cluster, ttl_s, late_s
        self.bucket, self.of = f"{bucket}_played", bucket
        self.loop = asyncio.new_event_loop()
        self.within_s = within_s  # from when the table is laid
        self.plays = self.steps = self.lapses = self.moves = 0
        self.kills = False
        self.shortest: Way | None = None

    def __enter__(self) -> Table:
        self.run(self._open())
        self.deadline = Deadline.within(self.within_s)
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._close())
        self.loop.close()

    def run(self, what: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(what)

    async def _open(self) -> None:
        import nats

        urls = [server.client_url for server in self.cluster.servers]
        turns = [urls[n:] + urls[:n] for n in range(len(NAMES))]
        options = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.2, "error_cb": _silent}
        self.connections = [await nats.connect(turn, dont_randomize=True, **options) for turn in turns]
        age_ns = int(self.ttl_s * 1e9)
        name = f"KV_{self.bucket}"
        own = {"name": name, "subjects": [f"$KV.{self.bucket}.>"], "max_age": age_ns}
        own |= {"max_bytes": 16 << 20, "duplicate_window": min(age_ns, 120_000_000_000)}

        async def made() -> bool:
            config = (await self.api(f"STREAM.INFO.KV_{self.of}")).get("config")
            return bool(config) and "config" in await self.api(f"STREAM.CREATE.{name}", {**config, **own})

        await until(f"a twin of bucket {self.of}", made, within_s=15, every_s=0.2)

    async def _close(self) -> None:
        await self.api(f"STREAM.DELETE.KV_{self.bucket}")
        for connection in self.connections:
            await connection.close()

    async def api(self, subject: str, body: Any = None) -> Any:
        """What the JetStream API answers; {} if it does not."""
        from nats.errors import Error

        try:
            data = json.dumps(body).encode() if body is not None else b""
            answer = await self.connections[0].request(f"$JS.API.{subject}", data, timeout=5)
        except (Error, OSError):
            return {}
        return json.loads(answer.data)

    def contenders(self, key: str) -> list[Contender]:
        model = Model(self.ttl_s, self.late_s)
        pairs = zip(self.connections, NAMES, strict=True)
        return [Contender(nc, self.bucket, key, name, model) for nc, name in pairs]

    def found(self, way: Way) -> None:
        """Keep it if it is the shortest so far."""
        if self.shortest is None or way.size < self.shortest.size:
            self.shortest = way

    def do(self, step: Step, contenders: Sequence[Contender]) -> Any:
        """Raises WrongAnswer."""
        self.steps += 1
        if step.verb == "move":
            self.move_leader(step.arguments[0])
            contenders[0].model.moved()
            return None
        if step.verb == "believe":
            if wrong := believers(contenders):
                raise WrongAnswer(wrong)
            return None
        one = next(one for one in contenders if one.name == step.who)
        seen = self.run(getattr(one, step.verb)(*step.arguments))
        self.lapses += step.verb == "lapse" and seen
        return seen

    def play_for_sure(self) -> None:
        """What Hypothesis may leave out, for it draws anew in each play which rules it uses at all."""
        self.plays += 1
        self._replayed(SURELY)

    def shorten(self) -> None:
        """Leave out one step after the other, as long as a wrong answer follows and there is time. Hypothesis
        gives up where a lease that ended by the clock makes a play differ from the one before."""
        number = 0
        while self.shortest and number < len(self.shortest.steps) - 1 and not self.deadline.passed:
            steps = self.shortest.steps
            if not self._replayed([*steps[:number], *steps[number + 1 :]]):
                number += 1

    def _replayed(self, steps: Sequence[Step]) -> bool:
        contenders, way = self.contenders(f"again{time.monotonic_ns()}"), Way()
        for step in steps:
            way.steps.append(step)
            try:
                way.seen.append(str(self.do(step, contenders)))
                if wrong := believers(contenders):
                    raise WrongAnswer(wrong)
            except WrongAnswer as problem:
                way.wrong = str(problem)
                self.found(way)
                return True
        return False

    def move_leader(self, how: str) -> None:
        """Another leader, by step-down or by SIGKILL; returns when the bucket answers again."""
        self.moves += 1
        stream = f"KV_{self.bucket}"
        if how == "step down":
            self.run(self.api(f"STREAM.LEADER.STEPDOWN.{stream}"))
        else:
            leader = look(self.cluster).leader(stream)
            if leader is None:
                raise ClusterError(f"{stream} has no leader to kill")
            killable: Any = self.cluster
            killable.kill(leader)
            killable.start(leader)
        self.run(until(f"{stream} to answer", self._answers, within_s=BACK_S))

    async def _answers(self) -> bool:
        store = NatsStore(self.connections[0], self.bucket, timeout_s=ANSWER_S)
        return (await store.update("probe", (await store.read("probe")).revision)).outcome == OK

    def script(self, way: Way) -> str:
        seen = [*(f"  # {text}" if text != "None" else "" for text in way.seen), ""]
        steps = [f"{step.line}{text}" for step, text in zip(way.steps, seen, strict=False)]
        lines = [
            '"""The shortest way to a wrong answer that was found. On a platform that runs:',
            "",
            f"nats kv add lock_play --replicas=3 --storage=file --ttl={self.ttl_s:g}s",
            "python script.py nats://...",
            '"""',
            "",
            "import asyncio",
            "import sys",
            "",
            "import nats",
            "",
            "from natsproof.trial.lock_model import Contender, Model",
            "",
            "",
            "async def main(url):",
            "    nc = await nats.connect(url)",
            f"    model = Model(ttl_s={self.ttl_s:g}, late_s={self.late_s:g})",
            f"    who = [Contender(nc, 'lock_play', 'lock', name, model) for name in {NAMES!r}]",
            f"    {', '.join(NAMES)} = who",
            *(f"    {line}" for line in steps),
            f"    # {way.wrong}",
            "",
            "",
            "asyncio.run(main(sys.argv[1]))",
        ]
        return "\n".join(lines) + "\n"


async def _silent(problem: Exception) -> None:
    """nats-py would print what becomes of connections to servers that we kill."""


def play(
    cluster: Cluster,
    *,
    bucket: str,
    seed: int,
    ttl_s: float = 1.0,
    late_s: float = 2.0,
    within_s: float = 20.0,
    plays: int = 2000,
    steps: int = 16,
    kills: bool = False,
) -> dict[str, Any]:
    """Facts for the judge: counts `plays`, `steps`, `lapses`, `leader_moves`; `wrong` (the sentence, or ""),
    `script` (the shortest way to it, or "")."""
    from natsproof.trial.lock_rules import explore

    with Table(cluster, bucket, ttl_s, late_s, within_s) as table:
        table.kills = kills
        explore(table, seed=seed, plays=plays, steps=steps)
        if table.shortest is None and (table.lapses < LAPSES or table.moves < MOVES):
            table.play_for_sure()
        table.shorten()
    way = table.shortest
    return {
        "plays": table.plays,
        "steps": table.steps,
        "lapses": table.lapses,
        "leader_moves": table.moves,
        "wrong": way.wrong if way else "",
        "script": table.script(way) if way else "",
    }
