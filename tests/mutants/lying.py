"""A real cluster whose servers are met through proxies that lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from natsproof.cluster import Server
from tests.mutants.wire import Lie, Proxies

#: A platform that a mutant keeps from coming up is waited for no longer than this.
UP_WITHIN_S = 25.0


class Lying:
    """Mixed into a cluster's class: its capabilities stay what they are."""

    lie: Lie
    proxies: Proxies | None = None

    def up(self, *, within_s: float = UP_WITHIN_S) -> None:
        super().up(within_s=within_s)  # type: ignore[misc]
        if type(self.lie).sent is not Lie.sent or type(self.lie).got is not Lie.got:
            self.proxies = Proxies(self.lie, super().servers)  # type: ignore[misc]
            self.proxies.start()

    def down(self) -> None:
        proxies = self.proxies
        if proxies is not None:
            proxies.stop()
        super().down()  # type: ignore[misc]
        if proxies is not None and proxies.problems:
            raise RuntimeError("the lie itself failed") from proxies.problems[0]

    @property
    def servers(self) -> tuple[Server, ...]:
        real: tuple[Server, ...] = super().servers  # type: ignore[misc]
        if self.proxies is None:
            return real
        urls = self.proxies.urls  # a server added later has no proxy
        return tuple(replace(server, client_url=urls.get(server.name, server.client_url)) for server in real)

    def monitor(self, server: str, path: str, *, timeout_s: float = 2.0) -> Any:
        answer = super().monitor(server, path, timeout_s=timeout_s)  # type: ignore[misc]
        return self.lie.monitor(server, path, answer)


def lying(open_cluster: Callable[[Path], Any], make_lie: Callable[[], Lie]) -> Callable[[Path], Any]:
    """`open_cluster`, with a fresh lie for each cluster."""

    def opened(workdir: Path) -> Any:
        cluster = open_cluster(workdir)
        honest = type(cluster)
        cluster.__class__ = type(f"Lying{honest.__name__}", (Lying, honest), {"lie": make_lie()})
        return cluster

    return opened
