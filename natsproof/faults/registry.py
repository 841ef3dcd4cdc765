"""Faults by name, for trials that come from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from natsproof.faults.kubernetes import ConfigurationRollout, NodeLoss, RolloutRestart
from natsproof.faults.network import OneWay, Partition
from natsproof.faults.operations import Evict, RollingRestart
from natsproof.faults.procedures import BackUpAndRestore, Drains
from natsproof.faults.process import Kill, Pause, Stop
from natsproof.faults.storage import FillDisk, FlipBits, PowerCut, RestoreSnapshot, TruncateBlock
from natsproof.faults.upgrade import Resize, ScaleOutAndBack, Upgrade

FAULTS: dict[str, Callable[..., Any]] = {
    it.__name__: it
    for it in (
        *(Kill, Pause, Stop, RollingRestart, Evict),
        *(Upgrade, Resize, ScaleOutAndBack, BackUpAndRestore, Drains),
        *(Partition, OneWay),
        *(RolloutRestart, ConfigurationRollout, NodeLoss),
        *(PowerCut, FillDisk, FlipBits, TruncateBlock, RestoreSnapshot),
    )
}
