"""The lock machine's model on literal answers, and its judge. Real servers: suites/test_lock_machine.py."""

from __future__ import annotations

import ast
import asyncio
import gc
import time
from types import SimpleNamespace
from typing import Any

import pytest

from natsproof import parsing
from natsproof.checkers.lock_machine import no_wrong_answer_about_a_lock, played
from natsproof.clock import Deadline
from natsproof.lock import IN_DOUBT, OK, REFUSED, Found, Written
from natsproof.trial import lock_rules
from natsproof.trial.lock_machine import Step, Table, Way
from natsproof.trial.lock_model import Contender, Model, WrongAnswer
from natsproof.verdict import Status


def held(revision: int = 5, at_s: float = 10.0) -> Model:
    model = Model(ttl_s=1.0, late_s=2.0)
    model.wrote("create", 0, Written(OK, "ann/1", revision), at_s, at_s + 0.01)
    return model


@pytest.mark.parametrize(
    ("verb", "expected", "revision", "at_s", "wrong"),
    [
        ("create", 0, 6, 10.5, "created, though the lock is held since revision 5"),
        ("create", 0, 5, 20.0, "revision 5 after 5: tokens must rise"),
        ("update", 4, 6, 10.5, "update on revision 4 accepted, though the last is 5"),
        ("delete", 4, 6, 10.5, "delete on revision 4 accepted, though the last is 5"),
        ("update", 5, 6, 13.5, "update on revision 5 accepted, though the lock is free"),
        ("update", 5, 6, 10.5, ""),
        ("delete", 5, 6, 10.5, ""),
        ("update", 5, 6, 12.0, ""),  # it may have expired, and may not yet
        ("create", 0, 6, 11.5, ""),
    ],
)
def test_an_accepted_write_is_judged_by_what_was_there(
    verb: str, expected: int, revision: int, at_s: float, wrong: str
) -> None:
    model, written = held(), Written(OK, "bob/1", revision)
    if not wrong:
        return model.wrote(verb, expected, written, at_s, at_s + 0.01)
    with pytest.raises(WrongAnswer, match=wrong):
        model.wrote(verb, expected, written, at_s, at_s + 0.01)
    return None


@pytest.mark.parametrize(
    ("found", "at_s", "wrong"),
    [
        (Found(True), 10.5, "gone 0.5 s after its last write, its TTL is 1 s"),
        (
            Found(True, "ann/1", 5),
            13.5,
            "revision 5 is shown 3.5 s after its last write, though it was released",
        ),
        (Found(True, "bob/9", 4), 10.5, "revision 4 is shown, the last is 5"),
        (Found(True, "ann/1", 5), 10.5, ""),
        (Found(True), 11.5, ""),
        (Found(False), 10.5, ""),
    ],
)
def test_a_read_is_judged_by_what_was_there(found: Found, at_s: float, wrong: str) -> None:
    if not wrong:
        return held().read(found, at_s, at_s + 0.01)
    with pytest.raises(WrongAnswer, match=wrong):
        held().read(found, at_s, at_s + 0.01)
    return None


def test_what_lapsed_at_one_leader_another_may_show_until_the_bound() -> None:
    """Every replica lets values expire by itself (docs/findings.md, 53)."""
    model, shown = held(), Found(True, "ann/1", 5)
    model.lapsed()
    assert model.free(11.3)
    with pytest.raises(WrongAnswer, match="its last write, though it was released or has expired"):
        model.read(shown, 11.3, 11.4)
    model.moved()
    assert not model.free(11.3)
    model.read(shown, 11.3, 11.4)
    with pytest.raises(WrongAnswer, match="its last write, though it was released or has expired"):
        model.read(shown, 13.2, 13.3)
    model.lapsed()
    model.wrote("create", 0, Written(OK, "bob/1", 6), 13.4, 13.5)
    assert model.alive(13.6) and not model.free(13.6)


def test_after_a_write_in_doubt_only_tokens_are_judged() -> None:
    model = held()
    model.wrote("update", 5, Written(IN_DOUBT, "ann/2"), 10.1, 11.1)
    model.read(Found(True), 10.2, 10.3)
    model.wrote("create", 0, Written(OK, "bob/1", 7), 10.4, 10.5)
    with pytest.raises(WrongAnswer, match="revision 6 after 7"):
        model.wrote("create", 0, Written(OK, "cy/1", 6), 10.6, 10.7)


def test_a_refused_write_changes_nothing() -> None:
    model = held()
    model.wrote("create", 0, Written(REFUSED, "bob/1"), 10.1, 10.2)
    assert model.last is not None
    assert model.last.nonce == "ann/1"


class Server:
    """A store that counts, and gives every lock to everybody."""

    def __init__(self) -> None:
        self.revision, self.asked = 0, 0

    async def create(self, key: str) -> Written:
        self.revision += 1
        self.asked += 1
        return Written(OK, f"x/{self.revision}", self.revision)

    async def read(self, key: str) -> Found:
        return Found(True, f"x/{self.revision}", self.revision) if self.revision else Found(True)


class TakesTurns(Server):
    """One holder at a time, for a second; what is given up is free at once."""

    def __init__(self) -> None:
        super().__init__()
        self.until_s = 0.0

    async def create(self, key: str) -> Written:
        if time.monotonic() < self.until_s:
            return Written(REFUSED, "n")
        self.until_s = time.monotonic() + 1.0
        return await super().create(key)

    async def update(self, key: str, revision: int) -> Written:
        self.until_s = 0.0
        return await self.create(key) if revision == self.revision else Written(REFUSED, "n")

    async def delete(self, key: str, revision: int) -> Written:
        self.until_s, self.revision = 0.0, self.revision + 1
        return Written(OK, "", self.revision)

    async def read(self, key: str) -> Found:
        return await super().read(key) if time.monotonic() < self.until_s else Found(True)


def contender(model: Model, server: Any, name: str) -> Contender:
    one = Contender(None, "locks", "lock", name, model)
    one.store.store = server
    return one


def test_two_who_are_given_one_lock_are_found() -> None:
    model, server = Model(1.0, 2.0), Server()
    assert asyncio.run(contender(model, server, "ann").acquire())
    with pytest.raises(WrongAnswer, match="created, though the lock is held since revision 1"):
        asyncio.run(contender(model, server, "bob").acquire())


@pytest.mark.parametrize(
    ("lose", "won", "asked"), [("answer", True, 1), ("request", False, 0), ("answer and reads", False, 1)]
)
def test_what_is_lost_is_lost_for_the_client_and_known_to_the_model(lose: str, won: bool, asked: int) -> None:
    model, server = Model(1.0, 2.0), Server()
    ann = contender(model, server, "ann")
    assert asyncio.run(ann.acquire(lose)) is won
    assert server.asked == asked
    assert (model.last is not None) is bool(asked)
    assert ann.store.lose == ""  # what comes next loses nothing


def test_the_script_is_python_and_ends_with_what_is_wrong() -> None:
    table = SimpleNamespace(ttl_s=1.0, late_s=2.0)
    steps = [
        Step("acquire", "ann", ("answer",)),
        Step("move", "ann", ("kill",)),
        Step("acquire", "bob", ("",)),
    ]
    way = Way(steps, ["True", "None"], "created, though held")
    script = Table.script(table, way)  # type: ignore[arg-type]
    ast.parse(script)
    assert "    print(await ann.acquire('answer'))  # True\n    # here: kill of the leader\n" in script
    assert script.index("# created, though held") > script.index("bob.acquire")


class Replaying(Table):
    """Its servers give every lock to everybody; a leader's move does nothing."""

    def __init__(self, server: type[Server] = Server) -> None:
        self.loop, self.deadline, self.server = asyncio.new_event_loop(), Deadline.within(60), server
        self.ttl_s, self.late_s, self.shortest = 1.0, 2.0, None
        self.plays = self.steps = self.lapses = self.moves = 0

    def contenders(self, key: str) -> list[Contender]:
        model, server = Model(1.0, 2.0), self.server()
        return [contender(model, server, name) for name in ("ann", "bob", "cy")]

    def move_leader(self, how: str) -> None:
        self.moves += 1


def test_what_chance_left_out_is_played_on_purpose() -> None:
    """Servers that give every lock to everybody are found out in that play too."""
    table = Replaying()
    try:
        table.play_for_sure()
    finally:
        table.loop.close()
    assert table.shortest is not None and "its last write, though it was released" in table.shortest.wrong


def test_a_play_for_sure_has_all_that_the_claim_wants() -> None:
    table = Replaying(TakesTurns)
    try:
        table.play_for_sure()
    finally:
        table.loop.close()
    assert (table.shortest, table.lapses, table.moves) == (None, 2, 1)


def test_steps_that_are_not_needed_are_left_out() -> None:
    """Hypothesis gave up with five steps; two acquisitions are enough."""
    table = Replaying()
    try:
        moved = Step("move", "ann", ("step down",))
        taken = [Step("acquire", name, ("",)) for name in ("ann", "bob")]
        table.found(Way([moved, taken[0], moved, Step("renew", "bob", ("",)), taken[1]], [], "wrong"))
        table.shorten()
    finally:
        table.loop.close()
    assert table.shortest is not None
    assert table.shortest.steps == taken
    assert table.shortest.wrong == "created, though the lock is held since revision 1"


FACTS = {"plays": 9, "steps": 100, "lapses": 3, "leader_moves": 1, "wrong": "", "script": ""}


def test_the_judge_shows_the_script_and_the_guard_wants_enough() -> None:
    assert no_wrong_answer_about_a_lock(FACTS).status is Status.HOLDS
    broken = no_wrong_answer_about_a_lock(
        {**FACTS, "wrong": "created, though held", "script": "import asyncio"}
    )
    assert broken.status is Status.BROKEN
    assert "import asyncio" in broken.exhibits[0].text
    guard = played(steps=60, lapses=2, leader_moves=1)
    assert guard(FACTS) is None
    assert guard({**FACTS, "lapses": 1}) == "too little was played: 1 lapses (of 2)"


@pytest.mark.parametrize(
    ("version", "collects"),
    [((3, 11, 7), False), ((3, 12, 1), False), ((3, 11, 8), True), ((3, 12, 2), True)],
)
def test_sources_are_read_undisturbed_where_python_mixes_up_two_readers(
    version: tuple[int, ...], collects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 3.11.7 Hypothesis once got SystemError for its reading of our rules (docs/findings.md, 51)."""
    seen: list[bool] = []
    monkeypatch.setattr(lock_rules, "run_state_machine_as_test", lambda *_, **__: seen.append(gc.isenabled()))
    monkeypatch.setattr(parsing, "VERSION", version)
    table: Any = SimpleNamespace(deadline=Deadline.within(5), shortest=None)
    lock_rules.explore(table, seed=1, plays=1, steps=1)
    assert seen == [collects] and gc.isenabled()
