"""Startup, readiness and liveness probes with the kubelet's rules.

Each probe runs at initialDelay plus a part of its period after the container started (a kubelet's ticks are
not aligned with container starts either), then every period. Readiness and liveness wait for startup; success
and failure count in a row.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from natsproof.clock import now_ns, sleep_until_ns
from natsproof.contract.model import Container, Probe

#: Seconds from the end of the initial delay to the first probe: any value up to the period is a kubelet's.
FIRST_PROBE_S = 0.5

#: Runs a command in the container: (command, timeout_s) → exit code, None when it did not end in time.
Execute = Callable[[tuple[str, ...], float], Awaitable[int | None]]


def port_of(container: Container, port: int | str | None) -> int:
    """A probe's port, by number or by the name of a containerPort; 0 if there is no such name."""
    if isinstance(port, int):
        return port
    if port is not None and port.isdigit():
        return int(port)
    return next((p.container_port for p in container.ports if p.name == port), 0)


async def check(probe: Probe, container: Container, address: str, source: str, execute: Execute) -> str:
    """Run a probe once: "" for success, else what was wrong."""
    if probe.action == "exec":
        code = await execute(probe.command, probe.timeout_s)
        if code is None:
            return f"{probe.command[0]}: no end within {probe.timeout_s} s"
        return "" if code == 0 else f"{probe.command[0]}: exit code {code}"
    port = port_of(container, probe.port)
    if not port:
        return f"no containerPort is named {probe.port!r}"
    try:
        async with asyncio.timeout(probe.timeout_s):
            return await _over_network(probe, address, port, source)
    except TimeoutError:
        return f"{address}:{port}{probe.path or ''}: no answer within {probe.timeout_s} s"
    except OSError as problem:
        return f"{address}:{port}{probe.path or ''}: {problem.strerror or problem}"


async def _over_network(probe: Probe, address: str, port: int, source: str) -> str:
    context = None
    if probe.action == "http_get" and probe.scheme == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as the kubelet does
    reader, writer = await asyncio.open_connection(address, port, local_addr=(source, 0), ssl=context)
    try:
        if probe.action == "tcp_socket":
            return ""
        path = probe.path or "/"
        request = f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n"
        writer.write(f"{request}User-Agent: kube-probe/natsproof\r\nAccept: */*\r\n\r\n".encode())
        status = (await reader.readline()).split()
        code = int(status[1]) if len(status) > 1 and status[1].isdigit() else 0
        return "" if 200 <= code < 400 else f"{path}: HTTP status {code or 'missing'}"
    finally:
        writer.close()


class ProbeLoop:
    """One probe of one running container; `report(ok, reason)` is called when a threshold is reached."""

    def __init__(self, probe: Probe, started_ns: int, run: Callable[[Probe], Awaitable[str]]) -> None:
        self._probe, self._run = probe, run
        self._first_ns = started_ns + int(
            (probe.initial_delay_s + min(FIRST_PROBE_S, probe.period_s)) * 1_000_000_000
        )

    async def watch(self, report: Callable[[bool, str], bool]) -> None:
        """Probe until `report` returns False. The first probe is at once if its time has passed."""
        due_ns = max(self._first_ns, now_ns())
        in_row, last = 0, True
        while True:
            await sleep_until_ns(due_ns)
            problem = await self._run(self._probe)
            ok = not problem
            in_row = in_row + 1 if ok == last else 1
            last = ok
            needed = self._probe.success_threshold if ok else self._probe.failure_threshold
            if in_row >= needed and not report(ok, problem):
                return
            due_ns = max(due_ns + self._probe.period_s * 1_000_000_000, now_ns())
