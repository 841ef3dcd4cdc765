"""Locks on real servers against a model, driven by Hypothesis: any order of what holders may do.

`play(cluster, ...)` lets few contenders acquire, renew and release one lock with the reference client,
loses answers and requests, lets leases lapse, steps leaders down or kills them, and lets former holders use
their old revisions. One thing happens at a time, so the model knows what the servers must answer. The first
wrong answer is shrunk to the shortest way to it, which is given as a script.

What the model holds the servers to (the invariants L1 to L7 of docs/checkers.md): a lock is created only when
it is free, renewed and released only on its last revision, not gone early, gone in time, tokens rise, a free
lock can be taken. And the client (L8): no two believe that they hold it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from natsproof.clock import Deadline, until
from natsproof.cluster import Cluster
from natsproof.errors import ClusterError
from natsproof.faults.sight import look
from natsproof.lock import IN_DOUBT, OK, REFUSED, Found, Lock, NatsStore, Written

NAMES = ("ann", "bob", "cy")
#: The server removes what is due a little early or late of the client's clock.
EARLY_S = 0.1
ANSWER_S = 1.0
BACK_S = 20.0


class WrongAnswer(AssertionError):
    """What the model forbids."""


@dataclass
class _Last:
    """The key's last write: `nonce` None is a marker. It was sent and answered at these moments."""

    revision: int
    nonce: str | None
    sent_s: float
    back_s: float


@dataclass
class Model:
    """What one key must look like. `unsure`: a write timed out and may still take effect at any time."""

    ttl_s: float
    late_s: float
    last: _Last | None = None
    highest: int = 0
    unsure: bool = False

    def alive(self, at_s: float) -> bool:
        """Whether the lock is held for certain at this moment."""
        last = self.last
        return last is not None and last.nonce is not None and at_s < last.sent_s + self.ttl_s - EARLY_S

    def free(self, at_s: float) -> bool:
        """Whether it is free for certain."""
        last = self.last
        return last is None or last.nonce is None or at_s > last.back_s + self.ttl_s + self.late_s

    def wrote(self, verb: str, expected: int, written: Written, sent_s: float, back_s: float) -> None:
        """Judge one answered write, then believe it. Raises WrongAnswer."""
        if written.outcome == IN_DOUBT:
            self.unsure = True
        if written.outcome != OK:
            return
        if written.revision <= self.highest:
            raise WrongAnswer(f"revision {written.revision} after {self.highest}: tokens must rise")
        if not self.unsure:
            self._allowed(verb, expected, sent_s, back_s)
        self.highest = written.revision
        nonce = None if verb == "delete" else written.nonce
        self.last = _Last(written.revision, nonce, sent_s, back_s)

    def _allowed(self, verb: str, expected: int, sent_s: float, back_s: float) -> None:
        last = self.last.revision if self.last else 0
        if verb == "create" and self.alive(back_s):
            raise WrongAnswer(f"created, though the lock is held since revision {last}")
        if verb != "create" and expected != last:
            raise WrongAnswer(f"{verb} on revision {expected} accepted, though the last is {last}")
        if verb != "create" and self.free(sent_s):
            raise WrongAnswer(f"{verb} on revision {expected} accepted, though the lock is free")

    def read(self, found: Found, sent_s: float, back_s: float) -> None:
        """Judge one read through the leader."""
        if not found.certain or self.unsure:
            return
        if found.nonce is None and self.alive(back_s):
            age_s = back_s - (self.last.sent_s if self.last else 0.0)
            raise WrongAnswer(f"gone {age_s:.1f} s after its last write, its TTL is {self.ttl_s:g} s")
        if found.nonce is not None and self.free(sent_s):
            raise WrongAnswer(f"revision {found.revision} is shown, though it was released or has expired")
        if found.nonce is not None and self.last and found.nonce != self.last.nonce:
            raise WrongAnswer(f"revision {found.revision} is shown, the last is {self.last.revision}")


class JudgedStore:
    """The lock client's Store: passes on, tells the model the truth, and loses what it is told to lose.

    `lose`: the next write's `answer` or `request` is lost, or its `answer and reads` too.
    """

    def __init__(self, store: NatsStore, model: Model) -> None:
        self.store, self.model = store, model
        self.lose, self.said = "", ""

    async def create(self, key: str) -> Written:
        return await self._write("create", 0, lambda: self.store.create(key))

    async def update(self, key: str, revision: int) -> Written:
        return await self._write("update", revision, lambda: self.store.update(key, revision))

    async def delete(self, key: str, revision: int) -> Written:
        return await self._write("delete", revision, lambda: self.store.delete(key, revision))

    async def read(self, key: str) -> Found:
        if self.lose == "reads":
            return Found(False)
        sent_s = time.monotonic()
        found = await self.store.read(key)
        self.model.read(found, sent_s, time.monotonic())
        return found

    async def _write(self, verb: str, expected: int, write: Callable[[], Awaitable[Written]]) -> Written:
        lose, self.lose = self.lose, ""
        if lose == "request":
            self.said = "in doubt (the request was lost)"
            return Written(IN_DOUBT, "never sent")
        sent_s = time.monotonic()
        written = await write()
        self.said = f"{written.outcome}{f', revision {written.revision}' if written.revision else ''}"
        self.model.wrote(verb, expected, written, sent_s, time.monotonic())
        if lose:
            self.said += " (the answer was lost)"
            self.lose = "reads" if lose == "answer and reads" else ""
            return Written(IN_DOUBT, written.nonce)
        return written


class Contender:
    """One who wants the lock, with what a script of few lines needs."""

    def __init__(self, nc: Any, bucket: str, key: str, name: str, model: Model) -> None:
        self.name, self.key, self.model = name, key, model
        self.store = JudgedStore(NatsStore(nc, bucket, owner=name, timeout_s=ANSWER_S), model)
        self.lock = Lock(self.store, key, ttl_s=model.ttl_s)
        self.revisions: list[int] = []  # those that were once its own, oldest first

    async def acquire(self, lose: str = "") -> bool:
        """Try; a lock that is free for certain must be given within 3 s of tries."""
        deadline = Deadline.within(3.0)
        while True:
            free = self.model.free(time.monotonic()) and not self.model.unsure
            self.store.lose = lose
            won = await self.lock.acquire()
            self._note()
            if won or lose or not free or self.model.unsure or not self.store.said.startswith(REFUSED):
                return won
            if deadline.passed:
                raise WrongAnswer("create refused again and again, though the lock is free")
            await asyncio.sleep(0.1)

    async def renew(self, lose: str = "") -> bool:
        self.store.lose = lose
        done = await self.lock.renew()
        self.store.lose = ""
        self._note()
        return done

    async def release(self) -> bool:
        return await self.lock.release()

    async def use_old(self, verb: str) -> str:
        """Renew or release with the oldest revision that was ever its own."""
        revision = self.revisions[0]
        write = self.store.update if verb == "renew" else self.store.delete
        return (await write(self.key, revision)).outcome

    def _note(self) -> None:
        if self.lock.revision and self.lock.revision not in self.revisions:
            self.revisions.append(self.lock.revision)

    async def lapse(self) -> None:
        """Wait until the lock is gone by itself. Raises WrongAnswer if it is gone early or stays."""
        deadline = Deadline.within(self.model.ttl_s + self.model.late_s + 3.0)
        while not deadline.passed:
            found = await self.store.read(self.key)
            if found.certain and found.nonce is None:
                self.model.last = None
                return
            await asyncio.sleep(0.05)


def believers(contenders: Sequence[Contender]) -> str:
    """What is wrong if more than one believes that it holds the lock, else ""."""
    names = [one.name for one in contenders if one.lock.held()]
    return f"{' and '.join(names)} believe that they hold it" if len(names) > 1 else ""


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


@dataclass
class Way:
    """What was done on one key, what was seen of all but the last, and what was wrong then."""

    steps: list[Step] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    wrong: str = ""


class Table:
    """The bucket, the connections and the loop that all plays of one run share."""

    def __init__(self, cluster: Cluster, bucket: str, ttl_s: float, late_s: float, within_s: float) -> None:
        self.cluster, self.ttl_s, self.late_s = cluster, ttl_s, late_s
        self.bucket, self.of = f"{bucket}_played", bucket
        self.loop = asyncio.new_event_loop()
        self.deadline = Deadline.within(within_s)
        self.plays = self.steps = self.lapses = self.moves = 0
        self.kills = False
        self.shortest: Way | None = None

    def __enter__(self) -> Table:
        self.run(self._open())
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
        info = await self.api(f"STREAM.INFO.KV_{self.of}")
        age_ns = int(self.ttl_s * 1e9)
        name = f"KV_{self.bucket}"
        config = {**info["config"], "name": name, "subjects": [f"$KV.{self.bucket}.>"], "max_age": age_ns}
        config |= {"max_bytes": 16 << 20, "duplicate_window": min(age_ns, 120_000_000_000)}

        async def made() -> bool:
            return "config" in await self.api(f"STREAM.CREATE.{name}", config)

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
        if self.shortest is None or len(way.steps) < len(self.shortest.steps):
            self.shortest = way

    def do(self, step: Step, contenders: Sequence[Contender]) -> Any:
        """Raises WrongAnswer."""
        if step.verb == "move":
            return self.move_leader(step.arguments[0])
        if step.verb == "believe":
            if wrong := believers(contenders):
                raise WrongAnswer(wrong)
            return None
        one = next(one for one in contenders if one.name == step.who)
        return self.run(getattr(one, step.verb)(*step.arguments))

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
            "from natsproof.trial.lock_machine import Contender, Model",
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
