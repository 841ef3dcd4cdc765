"""Faults that are told from how it was before: one look at each victim before, one after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from natsproof.faults.sight import each


class Compared:
    """Mixed in before `Aimed`. `_probe` looks at one victim, `_seen` says what changed between two looks."""

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, Any]:
        return {target: self._probe(cluster, target) for target in targets}

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # nothing is told by one look

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, Any]) -> str:
        def one(name: str) -> str:
            return f"{name}: {seen}" if (seen := self._seen(before[name], self._probe(cluster, name))) else ""

        return each(targets, one)

    def _probe(self, cluster: Any, name: str) -> Any:
        raise NotImplementedError

    def _seen(self, before: Any, now: Any) -> str:
        raise NotImplementedError
