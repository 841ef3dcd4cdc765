"""What happens to the pods, as it happens: their newest state, events on our clock, logs that outlive them.

Kubernetes forgets a deleted pod and its log. So three things are followed while the cluster is up: the
pods, the namespace's events (probe kills are told there only), and each container's log into a file.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from natsproof.clock import now_ns
from natsproof.cluster import PodEvent
from natsproof.cluster.kubernetes.link import Link

WINDOW_S = 240
PAUSE_S = 0.3

Pod = Mapping[str, Any]


def is_ready(pod: Pod | None) -> bool:
    """Readiness as Kubernetes sees it."""
    conditions = ((pod or {}).get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def container_status(pod: Pod | None, container: str) -> Mapping[str, Any]:
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or ()
    return next((s for s in statuses if s["name"] == container), {})


def is_running(pod: Pod | None, container: str) -> bool:
    return "running" in (container_status(pod, container).get("state") or {})


def uid(pod: Pod | None) -> str:
    return str(pod["metadata"]["uid"]) if pod else ""


class PodWatch:
    """Follows the pods of `selector` in `namespace`. `container` is the one whose state and log count.

    `on_change(name, pod or None)` is called on the link's thread for each change of a pod.
    """

    def __init__(self, link: Link, namespace: str, selector: str, container: str, logs: Path) -> None:
        self._link, self._namespace, self._container = link, namespace, container
        self._selector, self._logs = selector, logs
        self._pods: dict[str, Pod] = {}
        self._events: list[PodEvent] = []
        self._followed: set[str] = set()
        self._lock = threading.Lock()
        self.on_change: Callable[[str, Pod | None], None] = lambda name, pod: None
        logs.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        base = f"/api/v1/namespaces/{self._namespace}"
        self._link.start(self._follow(f"{base}/pods", {"labelSelector": self._selector}, self._pod_changed))
        self._link.start(self._follow(f"{base}/events", {}, self._event_told))

    def pod(self, name: str) -> Pod | None:
        with self._lock:
            return self._pods.get(name)

    @property
    def pods(self) -> dict[str, Pod]:
        with self._lock:
            return dict(self._pods)

    @property
    def events(self) -> tuple[PodEvent, ...]:
        with self._lock:
            return tuple(self._events)

    def tell(self, pod: str, what: str, detail: str = "") -> None:
        """Enter an event of our own (held, volume-lost)."""
        with self._lock:
            self._events.append(PodEvent(now_ns(), pod, what, detail))

    def log_file(self, pod: str) -> Path:
        return self._logs / f"{pod}.log"

    # -- following

    async def _follow(
        self, path: str, query: Mapping[str, str], tell: Callable[[str, dict[str, Any]], None]
    ) -> None:
        """List, then watch from there; begin again when the window ends, the connection breaks or 410."""
        first = True
        while True:
            try:
                version = await self._list(path, query, tell, only_note=first and path.endswith("/events"))
                first = False
                await self._watch(path, {**query, "resourceVersion": version}, tell)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError):
                await asyncio.sleep(PAUSE_S)

    async def _list(
        self,
        path: str,
        query: Mapping[str, str],
        tell: Callable[[str, dict[str, Any]], None],
        *,
        only_note: bool,
    ) -> str:
        """Bring the picture up to date; `only_note`: what happened before us is not our history."""
        async with self._link.session.get(
            self._link.host + path, params=dict(query), headers=self._link.headers()
        ) as answer:
            answer.raise_for_status()
            listing = await answer.json()
        if not only_note:
            seen = {item["metadata"]["name"] for item in listing["items"]}
            for item in listing["items"]:
                tell("MODIFIED", item)
            if path.endswith("/pods"):
                for gone in [pod for name, pod in self.pods.items() if name not in seen]:
                    tell("DELETED", dict(gone))
        return str(listing["metadata"]["resourceVersion"])

    async def _watch(
        self, path: str, query: Mapping[str, str], tell: Callable[[str, dict[str, Any]], None]
    ) -> None:
        async with self._link.session.get(
            self._link.host + path,
            params={**query, "watch": "1", "timeoutSeconds": str(WINDOW_S)},
            headers=self._link.headers(),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=WINDOW_S + 10),
            read_bufsize=4 << 20,
        ) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                change = json.loads(line)
                if change["type"] == "ERROR":
                    return
                tell(change["type"], change["object"])

    # -- meaning

    def _pod_changed(self, kind: str, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        with self._lock:
            before = self._pods.get(name)
            if kind == "DELETED":
                self._pods.pop(name, None)
            else:
                self._pods[name] = pod
            self._events += self._told(name, before, None if kind == "DELETED" else pod)
        self._follow_log(name, pod)
        self.on_change(name, None if kind == "DELETED" else pod)

    def _told(self, name: str, before: Pod | None, after: Pod | None) -> list[PodEvent]:
        """The events that lie between two pictures of a pod."""
        at_ns, told = now_ns(), []
        if before is not None and (after is None or uid(before) != uid(after)):
            told.append(PodEvent(at_ns, name, "deleted", uid(before)))
            before = None
        if after is None:
            return told
        old, new = container_status(before, self._container), container_status(after, self._container)
        if before is None:
            told.append(PodEvent(at_ns, name, "created", uid(after)))
        ended = (new.get("lastState") or {}).get("terminated") or (new.get("state") or {}).get("terminated")
        was = (old.get("lastState") or {}).get("terminated") or (old.get("state") or {}).get("terminated")
        if ended and (not was or was.get("containerID") != ended.get("containerID")):
            detail = f"exit {ended.get('exitCode')} {ended.get('reason', '')}".strip()
            told.append(PodEvent(at_ns, name, "exited", detail))
        if is_running(after, self._container) and old.get("containerID") != new.get("containerID"):
            told.append(PodEvent(at_ns, name, "started", str(new.get("containerID", ""))))
        if is_ready(before) != is_ready(after):
            told.append(PodEvent(at_ns, name, "ready" if is_ready(after) else "not-ready"))
        return told

    def _event_told(self, kind: str, event: dict[str, Any]) -> None:
        involved = event.get("involvedObject") or {}
        if kind == "DELETED" or involved.get("kind") != "Pod":
            return
        reason, message = event.get("reason", ""), event.get("message", "") or ""
        if reason == "Unhealthy":
            what = "probe-failed"
        elif reason == "Killing" and "probe" in message:
            what = "killed-by-probe"
        elif event.get("type") == "Warning":
            what = reason or "warning"
        else:
            return
        self.tell(str(involved.get("name")), what, message)

    # -- logs

    def _follow_log(self, name: str, pod: Pod) -> None:
        container = container_status(pod, self._container)
        identity = str(container.get("containerID") or "")
        if not identity or identity in self._followed:
            return
        self._followed.add(identity)
        self._link.start(self._copy_log(name, uid(pod), identity))

    async def _copy_log(self, name: str, pod_uid: str, identity: str) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{name}/log"
        query = {"container": self._container, "follow": "true"}
        try:
            async with self._link.session.get(
                self._link.host + path,
                params=query,
                headers=self._link.headers(),
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                if answer.status != 200:
                    self._followed.discard(identity)
                    return
                with self.log_file(name).open("ab") as out:
                    out.write(f"--- {name} {pod_uid} {identity}\n".encode())
                    out.flush()
                    async for chunk in answer.content.iter_any():
                        out.write(chunk)
                        out.flush()
        except (aiohttp.ClientError, OSError):
            return
