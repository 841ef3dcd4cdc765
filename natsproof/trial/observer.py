"""Looks at the platform, mostly twice a second, while a trial runs, and writes down what it sees."""

from __future__ import annotations

import asyncio
from typing import Any

from natsproof.clock import now_ns
from natsproof.cluster import Cluster
from natsproof.faults.sight import PlatformView, look
from natsproof.recorder import Recorder

EVERY_S = 0.5
#: A long trial without faults is looked at less often: it runs beside others, which need the processor.
EVERY_CALM_S = 5.0
LONG_S = 200.0


class Observer:
    """Looks every `every_s` seconds. Observations:

    - `leaders` when one changes: {"meta": server or None, "<stream>": server or None, ...}
    - `replicas` each time: {server: None if silent, else {stream: [first_seq, last_seq, messages, bytes,
      {other: [current, seconds since heard, lag]}]}}; the last part on the stream's leader only
    - `pod` at the end, one an event of the cluster since the trial began, at the event's own time:
      {"pod", "what", "detail"}
    """

    def __init__(self, cluster: Cluster, recorder: Recorder, every_s: float = EVERY_S) -> None:
        self._cluster, self._recorder, self._every_s = cluster, recorder, every_s
        self._began_ns = now_ns()
        self._leaders: dict[str, str | None] = {}
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="observer")

    async def stop(self) -> None:
        """End it; raises what the observer itself did wrong."""
        self._ending.set()
        if self._task is not None:
            await self._task

    def events(self) -> None:
        """Write down what happened to pods."""
        for event in self._cluster.events():
            if event.at_ns >= self._began_ns:
                facts = {"pod": event.pod, "what": event.what, "detail": event.detail}
                self._recorder.observe("pod", facts, at_ns=event.at_ns)

    async def _run(self) -> None:
        while not self._ending.is_set():
            view = await asyncio.to_thread(look, self._cluster)
            self._write(view)
            try:
                await asyncio.wait_for(self._ending.wait(), self._every_s)
            except TimeoutError:
                continue

    def _write(self, view: PlatformView) -> None:
        streams = sorted({name for server in view.servers.values() if server for name in server.streams})
        leaders: dict[str, str | None] = {"meta": view.meta_leader()}
        leaders |= {stream: view.leader(stream) for stream in streams}
        if leaders != self._leaders:
            self._leaders = leaders
            self._recorder.observe("leaders", leaders)
        replicas: dict[str, Any] = {}
        for name, server in view.servers.items():
            replicas[name] = server and {
                stream: [
                    it.first_seq,
                    it.last_seq,
                    it.messages,
                    it.bytes,
                    it.replicas if it.leader == name else {},
                ]
                for stream, it in server.streams.items()
            }
        self._recorder.observe("replicas", replicas)
