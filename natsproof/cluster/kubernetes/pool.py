"""The kind clusters of this process: made once, lent to one platform at a time, removed at its end."""

from __future__ import annotations

import atexit
import logging
import threading

from natsproof.cluster.kubernetes.machine import Machine
from natsproof.errors import ClusterError


class Pool:
    """Lends machines. A machine that nobody holds is lent again: a platform takes 20 s, a machine 50 s."""

    def __init__(self) -> None:
        self._free: list[Machine] = []
        self._lent: list[Machine] = []
        self._kept: set[str] = set()
        self._lock = threading.Lock()
        self._registered = False

    def take(self) -> Machine | None:
        """A free machine, or None: then make one and `enter` it."""
        with self._lock:
            if not self._free:
                return None
            machine = self._free.pop()
            self._lent.append(machine)
            return machine

    def enter(self, machine: Machine, *, keep: bool = False) -> None:
        """A new machine, lent to its maker; one to `keep` outlives this process."""
        with self._lock:
            self._lent.append(machine)
            if keep:
                self._kept.add(machine.name)
            if not self._registered:
                self._registered = True
                atexit.register(self.close)

    def give_back(self, machine: Machine) -> None:
        """The platform on it is gone."""
        with self._lock:
            self._lent.remove(machine)
            self._free.append(machine)

    def discard(self, machine: Machine) -> None:
        """It is not fit to be lent again; the caller deletes it."""
        with self._lock:
            self._lent.remove(machine)

    def close(self) -> None:
        """Delete all machines. A machine that resists is left to the next run's `reap`."""
        with self._lock:
            machines, self._free, self._lent = [*self._free, *self._lent], [], []
            gone = [machine for machine in machines if machine.name not in self._kept]
        for machine in gone:
            try:
                machine.delete()
            except ClusterError as problem:
                logging.getLogger("natsproof.kubernetes").warning("%s", problem)


POOL = Pool()
