"""The mutants themselves: every claim has one, the proxy passes what it should, lies are consistent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from natsproof.cluster import Server
from tests.mutants import lies, store_lies
from tests.mutants.__main__ import needs_servers
from tests.mutants.catalogue import controls, mutants
from tests.mutants.claims import claims, judge
from tests.mutants.manifests import Edit, edited
from tests.mutants.matrix import uncovered
from tests.mutants.mutant import FAMILIES, parted
from tests.mutants.wire import Got, Lie, Proxies, Sent, _matches

ACK = "$JS.ACK.KV_b.c1.1.{}.{}.1700000000000000000.{}"


def test_every_claim_of_the_suites_has_a_mutant() -> None:
    assert uncovered() == []


def test_every_mutant_names_claims_and_trials_that_exist() -> None:
    for mutant in mutants():
        assert mutant.family in FAMILIES
        assert mutant.verdict == ("UNKNOWN" if mutant.family == "harness" else "BROKEN"), mutant.name
        assert mutant.claims, mutant.name
        for text in mutant.claims:
            name, wanted = parted(text)
            claims()[name].example(wanted, ())


def test_every_mutant_that_runs_servers_has_a_control() -> None:
    controlled = {text for control in controls(mutants()) for text in control.claims}
    assert {text for m in mutants() if m.controlled for text in m.claims} == controlled


def test_the_edits_of_mutants_that_run_servers_fit_the_manifests() -> None:
    misfits = {}
    for edits in {(*m.setting, *m.edits) for m in mutants() if needs_servers(m)}:
        try:
            edited(edits)
        except LookupError as problem:
            misfits[edits] = str(problem)
    assert misfits == {}


@pytest.mark.parametrize("find", ["app: nats-platform", "no such text"])
def test_an_edit_that_does_not_fit_one_place_is_no_mutant(find: str) -> None:
    with pytest.raises(LookupError, match="make the edit unique"):
        edited([Edit("statefulset.yaml", find, "")])


def test_a_claim_that_is_judged_on_nothing_is_unknown() -> None:
    session = SimpleNamespace(observe=lambda name, look, fresh: {}, folder=None)
    claim = claims()["test_the_servers_run_the_configuration_of_the_manifests"]
    assert judge(claim, {}, edited([]), session)[0] == "UNKNOWN"


@pytest.mark.parametrize(
    ("pattern", "subject", "fits"),
    [
        ("_INBOX.a.*", "_INBOX.a.b", True),
        ("_INBOX.a.*", "_INBOX.a.b.c", False),
        ("_INBOX.a.>", "_INBOX.a.b.c", True),
        ("_INBOX.a.>", "_INBOX.a", False),
        ("_INBOX.a", "_INBOX.b", False),
    ],
)
def test_subjects_match_as_in_nats(pattern: str, subject: str, fits: bool) -> None:
    assert _matches(pattern, subject) is fits


# the proxy --------------------------------------------------------------------------------------

FROM_CLIENT = (
    b'CONNECT {"verbose":false}\r\nSUB _INBOX.x.* 7\r\nPUB $KV.b.k _INBOX.x.1 6\r\nhe\r\no!\r\n'
    b"HPUB $KV.b.k _INBOX.x.2 17 20\r\nNATS/1.0\r\nA: \r\n\r\n\xff\r\n\r\nPING\r\n"
)
FROM_SERVER = (
    b'INFO {"server_id":"x"}\r\nMSG _INBOX.x.1 7 3\r\nack\r\n'
    b"HMSG $KV.b.k 7 $JS.ACK.r 12 12\r\nNATS/1.0\r\n\r\n\r\nPONG\r\n-ERR 'x'\r\n"
)


def _through(lie: Lie, to_server: bytes, to_client: bytes) -> tuple[bytes, bytes]:
    """What the server and what the client get, through one proxy, of what each was sent."""

    async def both() -> tuple[bytes, bytes]:
        seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(await reader.readexactly(len(to_server)))
            writer.write(to_client)
            await writer.drain()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        proxies = Proxies(lie, [Server("nats-0", 0, f"nats://127.0.0.1:{port}", "")])
        await asyncio.to_thread(proxies.start)
        try:
            where = proxies.urls["nats-0"].rpartition(":")[2]
            reader, writer = await asyncio.open_connection("127.0.0.1", int(where))
            writer.write(to_server)
            got = await asyncio.wait_for(reader.readexactly(len(to_client)), 5)
            writer.close()
            await writer.wait_closed()
            return await asyncio.wait_for(seen, 5), got
        finally:
            await asyncio.to_thread(proxies.stop)
            server.close()
            assert proxies.problems == []

    return asyncio.run(both())


def test_an_honest_proxy_changes_no_byte() -> None:
    assert _through(Lie(), FROM_CLIENT, FROM_SERVER) == (FROM_CLIENT, FROM_SERVER)


# lies -------------------------------------------------------------------------------------------


class _Link:
    """What a lie sees of a connection."""

    def __init__(self) -> None:
        self.asked: dict[str, Sent] = {}
        self.answers: list[dict[str, Any]] = []

    def ask(self, lie: Lie, subject: str, body: bytes = b"", headers: bytes = b"") -> tuple[Sent, bool]:
        message = Sent(subject, f"_INBOX.{len(self.asked)}", headers, body)
        self.asked[message.reply] = message
        return message, lie.sent(self, message)  # type: ignore[arg-type]

    def answer(self, reply: str, body: bytes, headers: bytes = b"") -> None:
        self.answers.append(orjson.loads(body))

    def subject_of(self, sid: str) -> str:
        return f"_INBOX.sub{sid}"


def test_a_dropped_write_is_acknowledged_with_the_next_sequence() -> None:
    lie, link = lies.DropsOneWriteIn(2), _Link()
    first, passed = link.ask(lie, "$KV.b.k1", b"x")
    lie.got(link, Got(first.reply, "1", "", b"", b'{"stream":"KV_b","seq":41}'))  # type: ignore[arg-type]
    _, second_passed = link.ask(lie, "$KV.b.k2", b"x")
    assert (passed, second_passed) == (True, False)
    assert link.answers == [{"stream": "KV_b", "seq": 42}]


def test_only_the_condition_is_taken_off() -> None:
    headers = b"NATS/1.0\r\nKV-Operation: DEL\r\nNats-Expected-Last-Subject-Sequence: 7\r\n\r\n"
    message, _ = _Link().ask(lies.IgnoresExpected(zero=False), "$KV.b.k", headers=headers)
    assert message.headers == b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n"
    create = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 0\r\n\r\n"
    kept, _ = _Link().ask(lies.IgnoresExpected(zero=False), "$KV.b.k", headers=create)
    assert kept.headers == create
    bare, _ = _Link().ask(lies.IgnoresExpected(), "$KV.b.k", headers=create)
    assert bare.headers == b""


def test_falling_revisions_are_the_same_in_answers_and_conditions() -> None:
    lie, link = lies.CountsDown(), _Link()
    message, _ = link.ask(lie, "$KV.b.k")
    (told,) = lie.got(link, Got(message.reply, "1", "", b"", b'{"stream":"KV_b","seq":12}'))  # type: ignore[arg-type]
    revision = orjson.loads(told.body)["seq"]
    assert revision == lies.CountsDown.FROM - 12
    headers = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: %d\r\n\r\n" % revision
    update, _ = link.ask(lie, "$KV.b.k", headers=headers)
    assert lies.expected_of(update) == 12


@pytest.mark.parametrize(
    ("lie", "revisions"),
    [
        (store_lies.SkipsEvents(2), [1, 3, 5]),
        (store_lies.DuplicatesEvents(2), [1, 2, 2, 3, 4, 4, 5]),
        (store_lies.ReordersEvents(2), [1, 3, 2, 4]),
    ],
)
def test_a_lie_about_events_numbers_them_without_a_gap(lie: Lie, revisions: list[int]) -> None:
    link, told = _Link(), []
    for n in range(1, 6):
        told += lie.got(link, Got("$KV.b.k", "1", ACK.format(n, n, 0), b"", b"x"))  # type: ignore[arg-type]
    tokens = [one.reply.split(".") for one in told]
    assert [int(t[5]) for t in tokens] == revisions
    assert [int(t[6]) for t in tokens] == list(range(1, len(revisions) + 1))
