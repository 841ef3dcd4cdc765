"""One Kubernetes API server, as natsproof uses it: apply, read, delete, and a record of every call.

Each request passes through `RecordingApiClient`, so the audit of a run is complete by construction and
a `guard` can refuse a call before it leaves this process.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes.client
import kubernetes.config
import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

from natsproof.errors import ClusterError, UsageError

FIELD_MANAGER = "natsproof"
READING = ("GET", "HEAD", "OPTIONS")

#: Called with method, path and body before a request leaves; raises to refuse it.
Guard = Callable[[str, str, Any], None]


class ApiError(ClusterError):
    """The API server refused or could not be asked; `status` is the HTTP status, 0 without an answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it left: `GET /api/v1/pods?...` with the query cut off."""

    method: str
    path: str

    @property
    def reads(self) -> bool:
        return self.method in READING


class RecordingApiClient(kubernetes.client.ApiClient):
    """Records and guards every request of the sync client."""

    def __init__(self, configuration: Any, guard: Guard | None) -> None:
        super().__init__(configuration)
        self.calls: list[Call] = []
        self.guard = guard

    def call_api(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        path = urlsplit(url).path
        if self.guard is not None and method not in READING:
            body = options.get("body", args[1] if len(args) > 1 else None)
            self.guard(method, path, body)
        self.calls.append(Call(method, path))
        return super().call_api(method, url, *args, **options)


class Api:
    """`context` of `kubeconfig` (None: the user's own). Objects go in and out as plain documents.

    Every method raises ApiError with the server's own message; `get` returns None for what is absent.
    """

    def __init__(
        self,
        *,
        cache: Path,
        kubeconfig: Path | None = None,
        context: str | None = None,
        guard: Guard | None = None,
        timeout_s: float = 15.0,
    ) -> None:
        self.configuration = load_configuration(kubeconfig, context)
        self.context = context
        self.timeout_s = timeout_s
        self.client = RecordingApiClient(self.configuration, guard)
        self._cache = cache
        self._dynamic: Any = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close idle connections. A later call opens new ones."""
        self.client.rest_client.pool_manager.clear()

    @property
    def host(self) -> str:
        return str(self.configuration.host)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every request made so far, in order."""
        return tuple(self.client.calls)

    @property
    def dynamic(self) -> Any:
        with self._lock:
            if self._dynamic is None:
                self._cache.parent.mkdir(parents=True, exist_ok=True)
                self._dynamic = self._ask("discovery", self._discover)
            return self._dynamic

    def _discover(self) -> Any:
        client: Any = DynamicClient  # the library has no types
        return client(self.client, str(self._cache))

    def forget_discovery(self) -> None:
        """Ask again which kinds there are: needed after definitions were installed."""
        self.dynamic.resources.invalidate_cache()

    def apply(self, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply under our own field manager, in the namespace the document names."""
        resource = self._resource(document["apiVersion"], document["kind"])
        metadata = document["metadata"]
        what = f"apply {document['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        options = {"dry_run": "All"} if dry_run else {}
        answer = self._ask(
            what,
            lambda: self.dynamic.server_side_apply(
                resource,
                body=dict(document),
                name=metadata["name"],
                namespace=metadata.get("namespace"),
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
                _request_timeout=self.timeout_s,
                **options,
            ),
        )
        return as_dict(answer)

    def get(
        self, kind: str, name: str, namespace: str | None = None, *, api_version: str = "v1"
    ) -> dict[str, Any] | None:
        resource = self._resource(api_version, kind)
        try:
            return as_dict(
                self._ask(
                    f"get {kind} {namespace or ''}/{name}",
                    lambda: self.dynamic.get(
                        resource, name=name, namespace=namespace, _request_timeout=self.timeout_s
                    ),
                )
            )
        except ApiError as problem:
            if problem.status == 404:
                return None
            raise

    def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        api_version: str = "v1",
        labels: str | None = None,
    ) -> list[dict[str, Any]]:
        resource = self._resource(api_version, kind)
        answer = self._ask(
            f"list {kind} in {namespace or 'all namespaces'}",
            lambda: self.dynamic.get(
                resource, namespace=namespace, label_selector=labels, _request_timeout=self.timeout_s
            ),
        )
        return list(as_dict(answer)["items"])

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        api_version: str = "v1",
        grace_s: int | None = None,
        propagation: str | None = None,
    ) -> bool:
        """Ask for deletion; False if it was not there."""
        resource = self._resource(api_version, kind)
        options: dict[str, Any] = {}
        if grace_s is not None:
            options["grace_period_seconds"] = grace_s
        if propagation is not None:
            options["propagation_policy"] = propagation
        try:
            self._ask(
                f"delete {kind} {namespace or ''}/{name}",
                lambda: self.dynamic.delete(
                    resource, name=name, namespace=namespace, _request_timeout=self.timeout_s, **options
                ),
            )
        except ApiError as problem:
            if problem.status == 404:
                return False
            raise
        return True

    def patch(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        change: Mapping[str, Any],
        *,
        api_version: str = "v1",
    ) -> dict[str, Any]:
        """Merge `change` into the object (JSON merge patch)."""
        resource = self._resource(api_version, kind)
        answer = self._ask(
            f"patch {kind} {namespace or ''}/{name}",
            lambda: self.dynamic.patch(
                resource,
                body=dict(change),
                name=name,
                namespace=namespace,
                content_type="application/merge-patch+json",
                _request_timeout=self.timeout_s,
            ),
        )
        return as_dict(answer)

    def permit(self, method: str, path: str) -> None:
        """Ask the guard for a request that leaves by another way (a websocket), and record it."""
        if self.client.guard is not None and method not in READING:
            self.client.guard(method, path, None)
        self.client.calls.append(Call(method, path))

    def request(self, method: str, path: str, *, body: Any = None, timeout_s: float | None = None) -> bytes:
        """A request by path (sub-resources: eviction, log, proxy); the raw answer."""
        answer = self._ask(
            f"{method} {path}",
            lambda: self.dynamic.request(
                method, path, body=body, serialize=False, _request_timeout=timeout_s or self.timeout_s
            ),
        )
        return bytes(answer.data)

    def _resource(self, api_version: str, kind: str) -> Any:
        try:
            return self.dynamic.resources.get(api_version=api_version, kind=kind)
        except Exception as problem:  # the library raises several unrelated types here
            raise ApiError(
                f"{self.host}: the API server knows no {kind} of {api_version} ({problem}); is its "
                "definition installed?",
                404,
            ) from None

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ApiException as problem:
            raise ApiError(f"{what}: {problem.status} {message_of(problem)}", problem.status or 0) from None
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise ApiError(f"{what}: no answer from {self.host}: {problem}") from None


def load_configuration(kubeconfig: Path | None, context: str | None) -> Any:
    """The client configuration of a context. Raises UsageError naming the contexts there are."""
    configuration = kubernetes.client.Configuration()
    file = str(kubeconfig) if kubeconfig else None
    config: Any = kubernetes.config  # the library has no types
    try:
        config.load_kube_config(
            config_file=file, context=context, client_configuration=configuration, persist_config=False
        )
    except kubernetes.config.ConfigException as problem:
        raise UsageError(f"{context or 'current context'}: {problem}. Known: {_contexts(file)}") from None
    configuration.retries = urllib3.Retry(total=0)  # a wait of ours decides about retries, not the client
    return configuration


def _contexts(file: str | None) -> str:
    library: Any = kubernetes.config.kube_config
    merged = library.KubeConfigMerger(file or library.KUBE_CONFIG_DEFAULT_LOCATION).config
    if merged is None:
        return "no kubeconfig was found"
    # not list_kube_config_contexts: it refuses a file that names no current context
    return ", ".join(entry["name"] for entry in merged.value.get("contexts") or ()) or "none"


def message_of(problem: ApiException) -> str:
    """The server's own sentence out of a Status answer."""
    body = problem.body
    try:
        return str(json.loads(body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(body or problem.reason)


def as_dict(answer: Any) -> dict[str, Any]:
    document: dict[str, Any] = answer.to_dict() if hasattr(answer, "to_dict") else answer
    return document
