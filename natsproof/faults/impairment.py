"""Bad links: packets that are lost, a narrow rate, delay. Witnesses send echo requests as a client would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from natsproof.errors import UsageError
from natsproof.faults import Aimed
from natsproof.faults.compared import Compared
from natsproof.faults.echo import Echoes, echo
from natsproof.faults.sight import server_of

REQUESTS = 400
#: Bytes of a request that measures a rate, and how long the widest link may take for all of them.
BIG, BURST_S = 1400, 1.2


@dataclass(frozen=True)
class Impaired(Compared, Aimed):
    """The victims' links to everyone. Healing ends every impairment of the victims, also those of another
    fault that is on."""

    needs: ClassVar[tuple[str, ...]] = ("Impairable",)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        raise NotImplementedError

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.repair(target)

    def _probe(self, cluster: Any, name: str) -> Echoes:
        return echo(_host(cluster, name), REQUESTS)


@dataclass(frozen=True)
class Loss(Impaired):
    """`percent` of the packets to and from the victims are lost, by chance. `victim="all"`: on every link.

    The witness: half of the loss that the way there and back should show, at least, and none before.
    """

    percent: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.percent < 100:
            raise UsageError(
                f"percent={self.percent:g} is no loss: above 0 and below 100 (a Partition is 100)"
            )

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.impair(target, loss=self.percent / 100)

    def _seen(self, before: Echoes, now: Echoes) -> str:
        expected = 1 - (1 - self.percent / 100) ** 2
        if now.lost < expected / 2 or before.lost > expected / 4:
            return ""
        return f"{now.lost:.1%} of {now.sent} echo requests unanswered, {before.lost:.1%} before"


@dataclass(frozen=True)
class Bandwidth(Impaired):
    """No more than `kbytes_per_s` (1000 bytes) reach the victims in a second, and as much goes from each
    to each other server and to the clients.

    The witness: echo requests go through no faster than that (a third above it is granted for what the
    queue had saved up), and at least twice as fast before.
    """

    victim: str = "follower"
    kbytes_per_s: float = 64.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kbytes_per_s < 8:
            raise UsageError(f"kbytes_per_s={self.kbytes_per_s:g}: 8 at least, or heartbeats do not fit")

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.impair(target, kbytes_per_s=self.kbytes_per_s)

    def _probe(self, cluster: Any, name: str) -> Echoes:
        """As much as goes through in BURST_S, at once, and what the burst of 64 KiB lets pass before."""
        number = int((self.kbytes_per_s * BURST_S * 1e3 + 65536) / BIG) + 1
        return echo(_host(cluster, name), number, size=BIG, every_s=0.0002, late_s=BURST_S * 2)

    def _seen(self, before: Echoes, now: Echoes) -> str:
        saved = 65.536 / now.took_s if now.took_s else 0.0
        if now.kbytes_per_s - saved > self.kbytes_per_s * 4 / 3 or before.kbytes_per_s < 2 * now.kbytes_per_s:
            return ""
        return f"{now.kbytes_per_s:.0f} kB/s of echo requests, {before.kbytes_per_s:.0f} kB/s before"


@dataclass(frozen=True)
class Delay(Impaired):
    """Packets to and from the victims arrive `delay_s` later. Needs netem in the kernel.

    The witness: the median round trip has grown by at least 1.5 times that.
    """

    delay_s: float = 0.05

    needs: ClassVar[tuple[str, ...]] = ("Delayable",)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.delay(target, self.delay_s)

    def _probe(self, cluster: Any, name: str) -> Echoes:
        return echo(_host(cluster, name), 50, late_s=4 * self.delay_s + 0.3)

    def _seen(self, before: Echoes, now: Echoes) -> str:
        if not now.round_trips_s or now.median_s - before.median_s < 1.5 * self.delay_s:
            return ""
        return f"round trips of {now.median_s * 1e3:.1f} ms, {before.median_s * 1e3:.1f} ms before"


def _host(cluster: Any, name: str) -> str:
    return urlsplit(server_of(cluster, name).client_url).hostname or ""
