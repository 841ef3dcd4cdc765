"""Faults by name, for trials that come from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from natsproof.faults.chaos_mesh import (
    ChaosClock,
    ChaosContainerKill,
    ChaosPartition,
    ChaosPodFailure,
    ChaosPodKill,
)
from natsproof.faults.chaos_mesh_hosts import ChaosBusyCpu, ChaosFailingDisk, ChaosFullMemory, ChaosSlowDisk
from natsproof.faults.chaos_mesh_links import ChaosBandwidth, ChaosDelay, ChaosLoss
from natsproof.faults.clocks import ClockShift
from natsproof.faults.impairment import Bandwidth, Delay, Loss
from natsproof.faults.kubernetes import ConfigurationRollout, NodeLoss, RolloutRestart
from natsproof.faults.leadership import HandOver
from natsproof.faults.network import OneWay, PartialPartition, Partition
from natsproof.faults.operations import Evict, RollingRestart
from natsproof.faults.procedures import BackUpAndRestore, Drains
from natsproof.faults.process import CrashLoop, Kill, Pause, Stop
from natsproof.faults.storage import FillDisk, FlipBits, PowerCut, RestoreSnapshot, TruncateBlock, WriteBack
from natsproof.faults.upgrade import Resize, ScaleOutAndBack, Upgrade

FAULTS: dict[str, Callable[..., Any]] = {
    it.__name__: it
    for it in (
        *(Kill, CrashLoop, Pause, Stop, RollingRestart, Evict),
        *(Upgrade, Resize, ScaleOutAndBack, BackUpAndRestore, Drains),
        *(Partition, PartialPartition, OneWay, HandOver, Loss, Bandwidth, Delay, ClockShift),
        *(ChaosPodKill, ChaosContainerKill, ChaosPodFailure, ChaosPartition, ChaosClock),
        *(ChaosDelay, ChaosLoss, ChaosBandwidth),
        *(ChaosSlowDisk, ChaosFailingDisk, ChaosBusyCpu, ChaosFullMemory),
        *(RolloutRestart, ConfigurationRollout, NodeLoss),
        *(PowerCut, FillDisk, FlipBits, TruncateBlock, RestoreSnapshot, WriteBack),
    )
}
