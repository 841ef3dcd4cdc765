"""What clients do in a trial: prepare, drive, finish. A Workload is a frozen dataclass (data, printable).

`scene` (natsproof.trial.Scene) hands out recording clients, seeded randomness, key names under the
trial's prefix, and says how long to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from natsproof.trial import Scene


@runtime_checkable
class Workload(Protocol):
    async def prepare(self, scene: Scene) -> None:
        """Fresh keys, connections, steady state."""
        ...

    async def drive(self, scene: Scene) -> None:
        """Operate until `scene.over()`; faults happen meanwhile."""
        ...

    async def finish(self, scene: Scene) -> None:
        """After healing: final reads and whatever else the checker needs."""
        ...
