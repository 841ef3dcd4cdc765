"""What natsproof may do to a cluster that it did not make.

Reading is always allowed. Anything else only in one namespace, only if that namespace carries the opt-in
label, and only to objects that the Contract names or that natsproof itself made there. The guard sits in
the API client, before a request leaves: code that forgets to ask is refused all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from natsproof.contract.model import Contract
from natsproof.errors import UsageError

OPT_IN_LABEL = "natsproof.io/expendable"
#: Objects of ours are recognised by this start of their name.
OWN_PREFIX = "natsproof-"

_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)/namespaces/(?P<namespace>[^/]+)/"
    r"(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>.+))?"
)
#: Kinds that a fault touches by the Contract's names, and the sub-resources it uses.
#: `exec` is for witnesses: they look from inside a server's container, and write nothing.
_PODS = {"": ("DELETE",), "eviction": ("POST",), "exec": ("POST",)}
_SETS = {"": ("PATCH",), "scale": ("PATCH", "PUT")}
_OWN_PLURALS = ("networkpolicies", "podchaos", "networkchaos", "iochaos", "timechaos", "stresschaos")


class NamespaceGuard:
    """Refuses every call that is not reading, unless `armed` and inside the fence."""

    def __init__(self, contract: Contract, namespace: str) -> None:
        self._namespace = namespace
        self._set = contract.statefulset.name
        self.armed = False
        self.refused: list[str] = []

    def __call__(self, method: str, path: str, body: Any) -> None:
        reason = self.objection(method, path, body)
        if reason:
            self.refused.append(f"{method} {path}: {reason}")
            raise UsageError(f"natsproof refuses {method} {path}: {reason}")

    def objection(self, method: str, path: str, body: Any = None) -> str:
        """Why a call is refused, "" if it is allowed."""
        match = _PATH.fullmatch(path)
        if match is None:
            return "it is outside of any namespace"
        namespace, plural, name = match["namespace"], match["plural"], match["name"]
        if namespace != self._namespace:
            return f"namespace {namespace} is not the one under test ({self._namespace})"
        if not self.armed:
            return f"namespace {namespace} has no label {OPT_IN_LABEL}=true"
        if plural in _OWN_PLURALS:
            own = name or ((body or {}).get("metadata") or {}).get("name") or ""
            return "" if own.startswith(OWN_PREFIX) else f"{plural} {own!r} is not natsproof's own"
        allowed: Mapping[str, Iterable[str]] = {}
        if plural == "pods" and name and self._is_server(name):
            allowed = _PODS
        elif plural == "statefulsets" and match["group"] == "apps" and name == self._set:
            allowed = _SETS
        if method in allowed.get(match["sub"] or "", ()):
            return ""
        return f"the contract does not let a fault {method} {plural} {name or ''}".rstrip()

    def _is_server(self, name: str) -> bool:
        stem, _, ordinal = name.rpartition("-")
        return stem == self._set and ordinal.isdigit()


def is_expendable(namespace: Mapping[str, Any] | None) -> bool:
    """Whether the owner of a namespace has allowed faults and load in it."""
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    return labels.get(OPT_IN_LABEL) == "true"
