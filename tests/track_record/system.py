"""Requests of the system account, to one server and by its own client port."""

from __future__ import annotations

from typing import Any

import orjson

from natsproof.faults.sight import server_of


def ask(
    cluster: Any, server: str, subject: str, wish: dict[str, Any], *, timeout_s: int = 5
) -> tuple[int, str]:
    """The `nats` CLI's exit code and what it said."""
    host = server_of(cluster, server).client_url.rpartition("/")[2].rpartition("@")[2]
    sys = f'nats --server=nats://{host} --user="$SYS_USER" --password="$SYS_PASSWORD" --timeout={timeout_s}s'
    body = orjson.dumps(wish).decode()
    code, said = cluster.administer(f"{sys} request '$JS.API.{subject}' '{body}'", folder=cluster.workdir)
    return int(code), str(said)
