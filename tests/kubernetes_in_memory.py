"""An API server small enough for tests: keeps documents, counts calls, lets a controller play along."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

from natsproof.cluster.kubernetes.api import ApiError

Controller = Callable[[dict[str, Any]], None]


class InMemoryApi:
    """The part of `Api` that chaos.py and network.py use. `controller` sees each object before it is read.

    One request at a time, and what is read is a copy: a controller may work in a thread of its own.
    """

    def __init__(self, controller: Controller | None = None, *, known: tuple[str, ...] | None = None) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.calls: list[tuple[str, str, str]] = []
        self._controller, self._known = controller, known
        self._lock = threading.RLock()

    def _call(self, verb: str, kind: str, name: str) -> None:
        self.calls.append((verb, kind, name))
        if self._known is not None and kind not in self._known:
            raise ApiError(f"no {kind} here", 404)

    def apply(self, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        name = document["metadata"]["name"]
        with self._lock:
            self._call("apply", document["kind"], name)
            self.objects[document["kind"], name] = copy.deepcopy(dict(document))
            return copy.deepcopy(self.objects[document["kind"], name])

    def get(self, kind: str, name: str, namespace: str | None = None, *, api_version: str = "v1") -> Any:
        with self._lock:
            self._call("get", kind, name)
            found = self.objects.get((kind, name))
            if found is not None and self._controller is not None:
                self._controller(found)
            return copy.deepcopy(found)

    def list(
        self, kind: str, namespace: str | None = None, *, api_version: str = "v1", labels: str = ""
    ) -> Any:
        want = dict(part.split("=") for part in (labels or "").split(",") if part)
        with self._lock:
            self._call("list", kind, "")
            return [
                copy.deepcopy(o)
                for (of, _), o in self.objects.items()
                if of == kind and want.items() <= (o["metadata"].get("labels") or {}).items()
            ]

    def patch(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        change: Mapping[str, Any],
        *,
        api_version: str = "v1",
    ) -> Any:
        with self._lock:
            self._call("patch", kind, name)
            found = self.objects.get((kind, name))
            if found is None:
                raise ApiError(f"{kind} {name} is gone", 404)
            merge(found, copy.deepcopy(dict(change)))
            self._settle(kind, name)
            return copy.deepcopy(found)

    def delete(self, kind: str, name: str, namespace: str | None = None, **options: Any) -> bool:
        with self._lock:
            self._call("delete", kind, name)
            found = self.objects.get((kind, name))
            if found is None:
                return False
            found["metadata"]["deletionTimestamp"] = "now"
            self._settle(kind, name)
            return True

    def _settle(self, kind: str, name: str) -> None:
        metadata = self.objects[kind, name]["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self.objects[kind, name]


def merge(target: dict[str, Any], change: Mapping[str, Any]) -> None:
    """JSON merge patch (RFC 7396), as the API server does it."""
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            inner = target.get(key)
            target[key] = inner if isinstance(inner, dict) else {}
            merge(target[key], value)
        else:
            target[key] = value
