"""A command in a running container, through the API server, as `kubectl exec` runs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from natsproof.cluster.kubernetes.link import Link
from natsproof.errors import ClusterError

STDOUT, STDERR, STATUS = 1, 2, 3
CLOSE_S = 1.0


def path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"


def run_inside(
    link: Link, namespace: str, pod: str, container: str, words: Sequence[str], *, within_s: float
) -> str:
    """Its standard output. Raises ClusterError, with what it said, if it does not end well in time."""
    what = f"{words[0]} in {namespace}/{pod}"
    try:
        running = _run(link, namespace, pod, container, words, within_s)
        wrong, out, err = link.run(running, within_s=within_s + 5)
    except TimeoutError:
        raise ClusterError(f"{what}: not over after {within_s:g} s") from None
    except (aiohttp.ClientError, OSError) as problem:
        raise ClusterError(f"{what}: {type(problem).__name__}: {problem}") from None
    if wrong:
        raise ClusterError(f"{what}: {wrong}: {(err or out).strip() or 'no output'}")
    return out


async def _run(
    link: Link, namespace: str, pod: str, container: str, words: Sequence[str], within_s: float
) -> tuple[str, str, str]:
    """("" or what went wrong, standard output, standard error)."""
    said = {STDOUT: bytearray(), STDERR: bytearray(), STATUS: bytearray()}
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in words]
    closing = aiohttp.ClientWSTimeout(ws_close=CLOSE_S)
    async with (
        asyncio.timeout(within_s),
        link.websocket(path(namespace, pod), query, timeout=closing) as web,
    ):
        async for message in web:
            data = message.data.encode() if isinstance(message.data, str) else bytes(message.data)
            if data and data[0] in said:
                said[data[0]] += data[1:]
    out, err = (said[channel].decode(errors="replace") for channel in (STDOUT, STDERR))
    return _failure(bytes(said[STATUS])), out, err


def _failure(status: bytes) -> str:
    """What the API server says of the command's end: nothing for success."""
    if not status:
        return "the connection ended before the command did"
    told: Mapping[str, Any] = json.loads(status)
    if told.get("status") == "Success":
        return ""
    causes = (told.get("details") or {}).get("causes") or ()
    codes = [f"exit code {cause['message']}" for cause in causes if cause.get("reason") == "ExitCode"]
    return codes[0] if codes else str(told.get("message") or told)
