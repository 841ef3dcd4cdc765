"""Ways in which a server can lie, each as a `Lie` of the proxy. Every N-th time where once is enough."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections import defaultdict
from dataclasses import replace
from itertools import count
from time import monotonic

import orjson

from tests.mutants.wire import Got, Lie, Link, Sent

EXPECTED = b"Nats-Expected-Last-Subject-Sequence"
GET = "$JS.API.STREAM.MSG.GET."
DIRECT_GET = "$JS.API.DIRECT.GET."
NOTHING = b"NATS/1.0 404"
#: Keys of the runner itself: a platform that refuses those is not healthy, and nothing is judged.
PROBE = ".probe"


def bucket_of(message: Sent) -> str:
    """The bucket a message writes to, "" if it is no write."""
    return message.subject.split(".")[1] if message.subject.startswith("$KV.") else ""


def is_write(message: Sent) -> bool:
    return bool(bucket_of(message)) and bool(message.reply) and not message.subject.endswith(PROBE)


def expected_of(message: Sent) -> int | None:
    found = re.search(rb"%b: *(\d+)" % EXPECTED, message.headers)
    return int(found[1]) if found else None


def without_expected(headers: bytes) -> bytes:
    left = re.sub(rb"%b: *\d+\r\n" % EXPECTED, b"", headers)
    return b"" if left == b"NATS/1.0\r\n\r\n" else left


def refusal(code: int, err_code: int, description: str, bucket: str) -> bytes:
    error = {"code": code, "err_code": err_code, "description": description}
    return orjson.dumps({"error": error, "stream": f"KV_{bucket}", "seq": 0})


class Acknowledging(Lie):
    """Knows each stream's last sequence from the acknowledgements that pass, so that it can forge one."""

    def __init__(self) -> None:
        self.last: dict[str, int] = defaultdict(int)

    def forge(self, link: Link, message: Sent) -> None:
        bucket = bucket_of(message)
        self.last[bucket] += 1
        link.answer(message.reply, orjson.dumps({"stream": f"KV_{bucket}", "seq": self.last[bucket]}))

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        if asked and (bucket := bucket_of(asked)) and b'"seq"' in message.body:
            self.last[bucket] = max(self.last[bucket], int(orjson.loads(message.body).get("seq", 0)))
        return [message]


class AcknowledgesBeforeStoring(Acknowledging):
    """Answers every write itself and never stores it, from `after_s` after the first one on."""

    def __init__(self, after_s: float = 0.5) -> None:
        super().__init__()
        self._after_s, self._from = after_s, 0.0

    def sent(self, link: Link, message: Sent) -> bool:
        if not is_write(message):
            return True
        self._from = self._from or monotonic() + self._after_s
        if monotonic() < self._from:
            return True
        self.forge(link, message)
        return False


class DropsOneWriteIn(Acknowledging):
    def __init__(self, n: int = 25) -> None:
        super().__init__()
        self._n, self._number = n, count(1)

    def sent(self, link: Link, message: Sent) -> bool:
        if is_write(message) and next(self._number) % self._n == 0:
            self.forge(link, message)
            return False
        return True


class AcknowledgesWithoutQuorum(Acknowledging):
    """What the servers have not answered in time, or nobody took, it acknowledges by itself."""

    def __init__(self, after_s: float = 0.4) -> None:
        super().__init__()
        self._after_s = after_s

    def sent(self, link: Link, message: Sent) -> bool:
        if is_write(message):
            link.later(self._after_s, lambda: self._unless_answered(link, message))
        return True

    def _unless_answered(self, link: Link, message: Sent) -> None:
        if message.reply in link.asked:
            self.forge(link, message)

    def got(self, link: Link, message: Got) -> list[Got]:
        """An answer that comes after the forged one is swallowed."""
        asked = link.asked.get(message.subject)
        if asked and is_write(asked) and message.headers.startswith(b"NATS/1.0 503"):
            self.forge(link, asked)
            return []
        super().got(link, message)
        late = message.subject.startswith("_INBOX") and not message.reply
        return [] if late and message.subject not in link.asked and b'"stream"' in message.body else [message]


class IgnoresExpected(Lie):
    """Takes the condition off: `zero` of creates, `others` of updates and conditional deletes."""

    def __init__(self, *, zero: bool = True, others: bool = True) -> None:
        self._zero, self._others = zero, others

    def sent(self, link: Link, message: Sent) -> bool:
        expected = expected_of(message)
        if expected is not None and (self._zero if expected == 0 else self._others):
            message.headers = without_expected(message.headers)
        return True


class Reads(Lie):
    """Alters answers to reads through the leader. Subclasses say how."""

    def read(self, key: bytes, body: bytes) -> bytes:
        raise NotImplementedError

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        if asked and asked.subject.startswith(GET) and PROBE.encode() not in asked.body:
            message.body = self.read(asked.subject.encode() + asked.body, message.body)
        return [message]


class ServesOldRevisions(Reads):
    """Every n-th read of a key shows what the one before it showed of an earlier revision."""

    def __init__(self, n: int = 2) -> None:
        self._n, self._number = n, count(1)
        self._seen: dict[bytes, list[bytes]] = defaultdict(list)

    def read(self, key: bytes, body: bytes) -> bytes:
        seen = self._seen[key]
        if not seen or seen[-1] != body:
            seen.append(body)
        if len(seen) > 1 and next(self._number) % self._n == 0:
            return seen[-2]
        return body


class AnswersFromADeposedLeader(Reads):
    """Every other `for_s` seconds reads show the state at the beginning of that time."""

    def __init__(self, for_s: float = 1.0) -> None:
        self._for_s = for_s
        self._frozen: dict[bytes, bytes] = {}
        self._turn = 0

    def read(self, key: bytes, body: bytes) -> bytes:
        turn = int(monotonic() / self._for_s)
        if turn % 2:
            return self._frozen.setdefault(key, body)
        if turn != self._turn:
            self._turn = turn
            self._frozen.clear()
        self._frozen[key] = body
        return body


class DirectGets(Lie):
    """Alters answers that any replica may give. Subclasses say how."""

    def shown(self, subject: str, answer: Got) -> Got:
        raise NotImplementedError

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        if not asked or not asked.subject.startswith(DIRECT_GET) or message.headers.startswith(NOTHING):
            return [message]
        other = self.shown(asked.subject, message)
        return [replace(message, headers=other.headers, body=other.body)]


class FreezesDirectGets(DirectGets):
    """A key looks for ever as it did at the first look."""

    def __init__(self) -> None:
        self._first: dict[str, Got] = {}

    def shown(self, subject: str, answer: Got) -> Got:
        return self._first.setdefault(subject, answer)


class MixesUpDirectGets(DirectGets):
    """Every other answer is that of the get before it, whatever key that was of."""

    def __init__(self) -> None:
        self._number, self._last = count(1), Got("", "", "", b"", b"")

    def shown(self, subject: str, answer: Got) -> Got:
        last, self._last = self._last, answer
        return last if last.body and next(self._number) % 2 else answer


class CorruptsValues(Reads):
    """One bit of every n-th value that is read."""

    def __init__(self, n: int = 15) -> None:
        self._n, self._number = n, count(1)

    def read(self, key: bytes, body: bytes) -> bytes:
        found = re.search(rb'"data":"([^"]+)"', body)
        if found is None or next(self._number) % self._n:
            return body
        value = bytearray(a2b_base64(found[1]))
        value[len(value) // 2] ^= 1
        return body.replace(found[1], b2a_base64(bytes(value), newline=False))


class ForgetsReads(Reads):
    """Every n-th read finds nothing."""

    def __init__(self, n: int = 12) -> None:
        self._n, self._number = n, count(1)

    def read(self, key: bytes, body: bytes) -> bytes:
        if next(self._number) % self._n:
            return body
        error = {"code": 404, "err_code": 10037, "description": "no message found"}
        return orjson.dumps({"type": "io.nats.jetstream.api.v1.stream_msg_get_response", "error": error})


class ReportsWrongRevisions(Lie):
    """Every n-th acknowledgement names a revision too high by one."""

    def __init__(self, n: int = 10) -> None:
        self._n, self._number = n, count(1)

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        stored = b'"seq"' in message.body  # neither an error nor nobody's answer
        if asked and is_write(asked) and stored and not next(self._number) % self._n:
            answer = orjson.loads(message.body)
            message.body = orjson.dumps({**answer, "seq": answer["seq"] + 1})
        return [message]


class CountsDown(Lie):
    """Revisions fall: consistently in acknowledgements, reads and conditions."""

    FROM = 10_000_000

    def sent(self, link: Link, message: Sent) -> bool:
        expected = expected_of(message)
        if expected:
            old, new = b": %d" % expected, b": %d" % (self.FROM - expected)
            message.headers = message.headers.replace(old, new)
        return True

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        if asked and (bucket_of(asked) or asked.subject.startswith(GET)):
            message.body = re.sub(rb'"seq": *([1-9]\d*)', self._turned, message.body)
        return [message]

    def _turned(self, found: re.Match[bytes]) -> bytes:
        return b'"seq":%d' % (self.FROM - int(found[1]))


class ChangesTheTtl(Lie):
    """Streams that clients make get `times` their TTL; 0 forgets it."""

    def __init__(self, times: float) -> None:
        self._times = times

    def sent(self, link: Link, message: Sent) -> bool:
        if message.subject.startswith("$JS.API.STREAM.CREATE."):
            config = orjson.loads(message.body)
            config["max_age"] = int(config["max_age"] * self._times)
            if config["max_age"]:
                config["duplicate_window"] = min(config["max_age"], config["duplicate_window"])
            message.body = orjson.dumps(config)
        return True


class RefusesFreeLocks(Lie):
    """Every n-th create is refused as if the key existed, and its second attempt on a marker too."""

    def __init__(self, n: int = 3) -> None:
        self._n, self._number = n, count(1)
        self._refused: set[tuple[int, str]] = set()

    def sent(self, link: Link, message: Sent) -> bool:
        expected, place = expected_of(message), (id(link), message.subject)
        again = place in self._refused and expected
        self._refused.discard(place)
        if not again and (expected != 0 or next(self._number) % self._n):
            return True
        if expected == 0:
            self._refused.add(place)
        said = "wrong last sequence: 1"
        link.answer(message.reply, refusal(400, 10071, said, bucket_of(message)))
        return False


class RefusesWrites(Lie):
    """Of the writes to `bucket` (all, if empty) all but one in `but_one_in` are answered with 503."""

    def __init__(self, bucket: str = "", but_one_in: int = 0) -> None:
        self._bucket, self._but, self._number = bucket, but_one_in, count(1)

    def sent(self, link: Link, message: Sent) -> bool:
        if not is_write(message) or self._bucket not in ("", bucket_of(message)):
            return True
        if self._but and next(self._number) % self._but == 0:
            return True
        said = "JetStream system temporarily unavailable"
        link.answer(message.reply, refusal(503, 10008, said, bucket_of(message)))
        return False


class IsSlow(Lie):
    """Answers to what concerns `bucket` (all, if empty) come `by_s` late."""

    def __init__(self, by_s: float, bucket: str = "") -> None:
        self._by_s, self._bucket = by_s, bucket

    def got(self, link: Link, message: Got) -> list[Got]:
        asked = link.asked.get(message.subject)
        if asked is None or self._bucket not in asked.subject:
            return [message]
        link.later(self._by_s, lambda: link.deliver(message))
        return []


class Both(Lie):
    """Two lies at once."""

    def __init__(self, first: Lie, second: Lie) -> None:
        self._first, self._second = first, second

    def sent(self, link: Link, message: Sent) -> bool:
        return self._first.sent(link, message) and self._second.sent(link, message)

    def got(self, link: Link, message: Got) -> list[Got]:
        return [two for one in self._first.got(link, message) for two in self._second.got(link, one)]
