"""ICMP echo: the kernel under a server answers, whatever the server does. For witnesses of bad links."""

from __future__ import annotations

import itertools
import os
import select
import socket
import statistics
import struct
from dataclasses import dataclass

from natsproof.clock import Deadline, now_ns

REQUEST, REPLY = 8, 0
_asked = itertools.count()


@dataclass(frozen=True, slots=True)
class Echoes:
    """What came back: of `sent` requests of `size` bytes the round trips in s, and how long it all took."""

    sent: int
    size: int
    round_trips_s: tuple[float, ...]
    took_s: float

    @property
    def lost(self) -> float:
        """Share of requests without an answer."""
        return 1 - len(self.round_trips_s) / self.sent

    @property
    def median_s(self) -> float:
        return statistics.median(self.round_trips_s) if self.round_trips_s else float("inf")

    @property
    def kbytes_per_s(self) -> float:
        """Of answered requests, from the first request to the last answer."""
        return len(self.round_trips_s) * self.size / 1e3 / self.took_s if self.took_s else 0.0


def echo(host: str, number: int, *, size: int = 64, every_s: float = 0.001, late_s: float = 0.3) -> Echoes:
    """Send `number` requests of `size` bytes (IP header included) and collect answers until `late_s` after.

    Raises OSError where this process may not open a raw socket.
    """
    ident = (os.getpid() + next(_asked)) & 0xFFFF  # answers to an earlier call may still be under way
    sent_ns: dict[int, int] = {}
    trips: dict[int, float] = {}
    last_ns = began_ns = now_ns()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        wire.connect((host, 0))
        end = Deadline.within(number * every_s + late_s)
        while not end.passed and len(trips) < number:
            due_ns = began_ns + int(len(sent_ns) * every_s * 1e9)
            if len(sent_ns) < number and now_ns() >= due_ns:
                sent_ns[len(sent_ns)] = now_ns()
                wire.send(_request(ident, len(sent_ns) - 1, size))
                end = Deadline.within((number - len(sent_ns)) * every_s + late_s)
                continue
            wait_s = (due_ns - now_ns()) / 1e9 if len(sent_ns) < number else end.left_s
            if not select.select([wire], [], [], max(0.0, wait_s))[0]:
                continue
            packet = wire.recv(1 << 16)
            kind, _, _, who, sequence = struct.unpack_from("!BBHHH", packet, (packet[0] & 15) * 4)
            if kind == REPLY and who == ident and sequence in sent_ns:
                last_ns = now_ns()
                trips[sequence] = (last_ns - sent_ns[sequence]) / 1e9
    return Echoes(len(sent_ns), size, tuple(trips.values()), (last_ns - began_ns) / 1e9)


def _request(ident: int, sequence: int, size: int) -> bytes:
    body = struct.pack("!BBHHH", REQUEST, 0, 0, ident, sequence) + bytes(max(0, size - 28))
    total = sum(struct.unpack(f"!{len(body) // 2}H", body[: len(body) // 2 * 2]))
    total = (total >> 16) + (total & 0xFFFF)
    return body[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + body[4:]
