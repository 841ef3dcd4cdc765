"""The embedded cluster: real nats-servers that run the manifests, no Kubernetes, ready in a second.

enter_universe()                       once, early, single-threaded (the pytest plugin does it)
with up(embedded(contract, workdir)):  ...
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from natsproof.cluster.binaries import Binaries, for_image
from natsproof.cluster.embedded import shaping, vdso
from natsproof.cluster.embedded.capable import NamespacedCluster, RootCluster
from natsproof.cluster.embedded.cluster import EmbeddedCluster
from natsproof.cluster.embedded.impaired import (
    ClockShiftableCluster,
    DelayableCluster,
    ImpairableCluster,
)
from natsproof.cluster.embedded.stores import LOOP_TOOLS, TOOL_PATH
from natsproof.cluster.embedded.universe import Isolation, Universe, enter_universe, foreseen, universe
from natsproof.contract.model import Contract

__all__ = ["EmbeddedCluster", "Isolation", "Universe", "embedded", "enter_universe", "universe"]


def embedded(contract: Contract, workdir: Path, *, binaries: Binaries | None = None) -> EmbeddedCluster:
    """A cluster with the capabilities that this process has; not started yet.

    Raises ClusterError if no nats-server of the image's version can be had.
    """
    programs = binaries or for_image(contract.server_container.image)
    return _able(foreseen(), not _loop_problem())(contract, workdir, programs)


@functools.cache
def _able(isolation: Isolation, loop: bool) -> type[EmbeddedCluster]:
    """The class whose verbs are those of this host."""
    if isolation is Isolation.LOOPBACK:
        base: type[EmbeddedCluster] = EmbeddedCluster
    else:
        base = RootCluster if isolation is Isolation.NAMESPACES_ROOT and loop else NamespacedCluster
    lacking = {"ClockShiftable": vdso.problem()}
    if isolation is not Isolation.LOOPBACK:
        lacking |= {"Impairable": shaping.problem(), "Delayable": shaping.problem(delay=True)}
    more = {
        "Delayable": DelayableCluster,
        "Impairable": ImpairableCluster,
        "ClockShiftable": ClockShiftableCluster,
    }
    kinds = [kind for name, kind in more.items() if lacking.get(name) == ""]
    reasons = {name: why for name, why in lacking.items() if why}
    return type(base.__name__, (*kinds, base), {"lacking": lambda _: reasons})


@functools.cache
def _loop_problem() -> str:
    """Asked without mounting anything: this process may not be in its universe yet."""
    if not Path("/dev/loop-control").exists():
        return "this kernel has no loop devices"
    missing = [tool for tool in LOOP_TOOLS if not shutil.which(tool, path=TOOL_PATH)]
    return f"{missing[0]} is not installed" if missing else ""
