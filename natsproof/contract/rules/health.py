"""What a probe of nats-server really asks (facts of nats-server 2.11 and later)."""

from __future__ import annotations

from enum import IntEnum
from urllib.parse import parse_qs, urlsplit

from natsproof.contract.model import Probe


class Depth(IntEnum):
    """How much must be well for a probe to pass; each level includes those before."""

    LISTENING = 1  # the client listener is open
    JETSTREAM = 2  # and JetStream is enabled on this server
    META = 3  # and the cluster has a meta leader this server is current with
    STREAMS = 4  # and every stream placed on this server is current


_TRUE = {"1", "t", "T", "true", "TRUE", "True"}  # what the server takes for true; no value is false


def depth_of(probe: Probe) -> Depth:
    """What `probe` needs to pass. A socket, a command or another path needs the listener only."""
    if probe.action != "http_get":
        return Depth.LISTENING
    url = urlsplit(probe.path or "/")
    if url.path.rstrip("/") != "/healthz":
        return Depth.LISTENING
    asked = {key: values[0] in _TRUE for key, values in parse_qs(url.query, keep_blank_values=True).items()}
    if asked.get("js-server-only"):
        return Depth.LISTENING
    if asked.get("js-enabled-only") or asked.get("js-enabled"):
        return Depth.JETSTREAM
    if asked.get("js-meta-only"):
        return Depth.META
    return Depth.STREAMS
