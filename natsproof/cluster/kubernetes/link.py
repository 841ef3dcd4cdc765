"""A background event loop with an authenticated session to the API server.

Port tunnels and the pod watch live here, away from the threads that run a trial.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import aiohttp

from natsproof.cluster.kubernetes.turns import Turns
from natsproof.errors import ClusterError

T = TypeVar("T")

#: Bytes of several streams through one websocket, the first of each message saying which.
PROTOCOL = "v4.channel.k8s.io"

#: A closed transport says good-bye in later rounds of the loop; TLS needs more than one.
TRANSPORTS_CLOSE_S = 0.1
#: Port-forwards that may be on their way at once, and the longest that one of them counts as such.
OPENED_AT_ONCE, OPENING_S = 12, 0.3


class Link:
    """Runs coroutines on its own thread; `session` speaks to the API server of `configuration`."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration
        self._loop = asyncio.new_event_loop()
        self.openings = Turns(OPENED_AT_ONCE, OPENING_S)
        self._thread = threading.Thread(target=self._run, name="natsproof-kubernetes-link", daemon=True)
        self._thread.start()
        self.session: aiohttp.ClientSession = self.run(self._open_session())

    @property
    def host(self) -> str:
        return str(self._configuration.host).rstrip("/")

    def headers(self) -> dict[str, str]:
        """Fresh on each request: a bearer token may rotate."""
        settings = self._configuration.auth_settings()
        return {s["key"]: s["value"] for s in settings.values() if s["in"] == "header" and s["value"]}

    def websocket(self, path: str, query: Sequence[tuple[str, str]], **more: Any) -> Any:
        """A connection of channels (port-forward, exec) to open, with aiohttp's context and errors."""
        return self.session.ws_connect(
            self.host + path,
            params=query,
            protocols=[PROTOCOL],
            headers=self.headers(),
            max_msg_size=0,
            compress=0,
            **more,
        )

    def run(self, task: Coroutine[Any, Any, T], *, within_s: float = 30.0) -> T:
        """Run to the end on the loop and return its result."""
        if not self._thread.is_alive():
            task.close()
            raise ClusterError("the link to the API server is closed")
        future = asyncio.run_coroutine_threadsafe(task, self._loop)
        try:
            return future.result(within_s)
        except TimeoutError:
            if future.done():  # the task's own
                raise
            future.cancel()
            raise ClusterError(f"a task on the link took more than {within_s:g} s") from None

    def start(self, task: Coroutine[Any, Any, Any]) -> None:
        """Start and do not wait; it is cancelled when the link closes."""
        asyncio.run_coroutine_threadsafe(task, self._loop)

    def close(self) -> None:
        """Cancel all tasks, close the session, end the thread. Idempotent."""
        if self._thread.is_alive():
            self.run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        if not self._loop.is_running() and not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=ssl_context(self._configuration), limit=0)
        return aiohttp.ClientSession(connector=connector)

    async def _close(self) -> None:
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.session.close()
        await asyncio.sleep(TRANSPORTS_CLOSE_S)


def ssl_context(configuration: Any) -> ssl.SSLContext | bool:
    """TLS as the kubeconfig wants it."""
    if not str(configuration.host).startswith("https"):
        return False
    context = ssl.create_default_context()
    if configuration.ssl_ca_cert:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if hasattr(ssl, "VERIFY_X509_STRICT"):
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # cluster CAs often lack key identifiers
    if not configuration.verify_ssl:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
