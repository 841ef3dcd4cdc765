"""An API server of our own on loopback, and a Link to it: for what goes through websockets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from natsproof.cluster.kubernetes.link import Link


@contextmanager
def linked(path: str, answer: Any, settings: Mapping[str, Any]) -> Iterator[Link]:
    """GET of `path` is answered by the handler `answer`; `settings` are the kubeconfig's headers."""
    app = web.Application()
    app.router.add_get(path, answer)
    configuration = SimpleNamespace(host="", auth_settings=lambda: settings)
    link = Link(configuration)

    async def serve() -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, runner.addresses[0][1]

    runner, port = link.run(serve())
    configuration.host = f"http://127.0.0.1:{port}"
    yield link
    link.run(runner.cleanup())
    link.close()
