"""The cluster's DNS: pods and services under svc.cluster.local with Kubernetes' readiness rule.

A pod's own name exists only under its governing service, if that selects it, and only while the pod is
Ready, unless the service publishes not-ready addresses. The specification promises such names below headless
services alone; CoreDNS answers them below any (docs/findings.md 22), and so does this. A service with a
cluster address is answered with the addresses of its Ready pods: there is no kube-proxy here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from natsproof.contract.model import Service

TTL_S = 5


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod as the endpoint controller sees it."""

    hostname: str
    subdomain: str
    address: str
    ready: bool
    labels: Mapping[str, str] = field(default_factory=dict)


def resolve(
    name: str, services: Iterable[Service], pods: Iterable[Endpoint], *, namespace: str, domain: str
) -> list[str] | None:
    """Addresses for a fully qualified name; [] if the name exists without any, None if it does not."""
    suffix = f".svc.{domain}"
    plain = name.rstrip(".").lower()
    if not plain.endswith(suffix):
        return None
    labels = plain.removesuffix(suffix).split(".")
    if len(labels) < 2:  # a bare name with the search list's second suffix: it names no namespace
        return None
    *host, service_name, space = labels
    for service in services:
        if service.name != service_name or (service.namespace or namespace) != space:
            continue
        behind = [
            pod
            for pod in pods
            if (pod.ready or service.publish_not_ready)
            and service.selector
            and all(pod.labels.get(k) == v for k, v in service.selector.items())
        ]
        if not host:
            return [pod.address for pod in behind] or (None if service.headless else [])
        if len(host) > 1:
            return None
        named = [p.address for p in behind if p.hostname == host[0] and p.subdomain == service.name]
        return named or None
    return None


class DnsServer(asyncio.DatagramProtocol):
    """Answers A queries from `lookup`; any other type of an existing name gets an empty answer."""

    def __init__(self, lookup: Callable[[str], list[str] | None]) -> None:
        self._lookup = lookup
        self._turn = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # before 3.12 it is no subclass

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            query = DNSRecord.parse(data)
        except Exception:  # dnslib raises whatever a broken packet leads to
            return
        reply = query.reply(aa=1)
        name = str(query.q.qname)
        found = self._lookup(name)
        if found is None:
            reply.header.rcode = RCODE.NXDOMAIN
        elif query.q.qtype == QTYPE.A:
            self._turn += 1
            turn = self._turn % len(found) if found else 0
            for address in (*found[turn:], *found[:turn]):
                reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(address), ttl=TTL_S))
        if self._transport:
            self._transport.sendto(reply.pack(), addr)
