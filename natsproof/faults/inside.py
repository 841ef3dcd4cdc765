"""What one sees from within a server's container: greetings of another server, the cost of a look at a
folder, the container's own processor time and memory.

For witnesses of faults that only bite there. It takes a shell with busybox' or GNU tools in the image, as the
Alpine images have; without one there is no witness, and a fault without a witness decides nothing.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: A greeting is waited for so long; all of them together for at most ALL_S.
ONE_S, ALL_S = 3, 20
#: Bytes that a rate is measured with, far more than a token bucket holds, and the longest it may take.
WANTED, FETCH_S = 100_000, 8
#: Over and above what the script itself bounds: the exec through the API server.
SLACK_S = 10.0

#: A shorter delay cannot be told from none by the clock below.
LEAST_DELAY_S = 0.03

#: /proc/uptime counts hundredths of a second; it is the one clock that every shell can read.
_GREETINGS = """
read a _ < /proc/uptime; end=$((${{a%.*}} + {all_s})); i=0
while [ $i -lt {number} ]; do
  read a _ < /proc/uptime
  [ ${{a%.*}} -ge $end ] && break
  timeout {one_s} nc {host} {port} < /dev/null 2> /dev/null | {{
    word=$(head -c 4); read b _ < /proc/uptime; echo "${{word:-none}} $a $b"; }}
  i=$((i + 1))
done
"""
_FETCH = """
read a _ < /proc/uptime; end=$((${{a%.*}} + {fetch_s})); n=0
while [ $n -lt {wanted} ]; do
  m=$(timeout {fetch_s} wget -q -O - {url} | wc -c); n=$((n + m)); read b _ < /proc/uptime
  [ $m -eq 0 -o ${{b%.*}} -ge $end ] && break
done
echo $n $a $b
"""
_LOOK = "read a _ < /proc/uptime; ls -lR {folder} > /dev/null; read b _ < /proc/uptime; echo $a $b"
_USED = """
read a _ < /proc/uptime
cat /sys/fs/cgroup/cpu.stat 2> /dev/null || sed 's/^/nsec /' /sys/fs/cgroup/cpuacct/cpuacct.usage
echo uptime $a
"""
_MEMORY = "cat /sys/fs/cgroup/memory.current 2> /dev/null || cat /sys/fs/cgroup/memory/memory.usage_in_bytes"


@dataclass(frozen=True, slots=True)
class Greetings:
    """Seconds that each greeting took, those that came; how many were waited for."""

    took_s: tuple[float, ...]
    asked: int

    @property
    def median_s(self) -> float:
        return statistics.median(self.took_s) if self.took_s else 0.0

    def late(self, than_s: float) -> float:
        """The part that came later than that, or not at all."""
        late = self.asked - sum(took_s < than_s for took_s in self.took_s)
        return late / self.asked if self.asked else 0.0


def shell(cluster: Any, server: str, script: str, *, within_s: float = ALL_S) -> str:
    """What a script says in the server's container. Raises ClusterError."""
    return str(cluster.run_inside(server, ["sh", "-c", script], within_s=within_s + SLACK_S))


def greetings(cluster: Any, at: str, of: str, *, number: int) -> Greetings:
    """How long the route port of one server takes to greet another: a handshake and half a round trip."""
    port = cluster.contract.config.cluster_port or 6222
    host = _address(cluster, of)
    script = _GREETINGS.format(number=number, host=host, port=port, one_s=ONE_S, all_s=ALL_S)
    rows = [line.split() for line in shell(cluster, at, script).splitlines()]
    rows = [row for row in rows if len(row) == 3]
    took_s = tuple(float(end) - float(begin) for word, begin, end in rows if word == "INFO")
    return Greetings(took_s, len(rows))


def fetched_kbytes_per_s(cluster: Any, at: str, of: str) -> float:
    """The rate at which /stacksz, some ten kilobytes of text, comes from one server to another, again and
    again until it was WANTED bytes or took FETCH_S."""
    host, port = _address(cluster, of), cluster.contract.config.http_port or 8222
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/stacksz"
    size, begin, end = shell(cluster, at, _FETCH.format(url=url, wanted=WANTED, fetch_s=FETCH_S)).split()
    return int(size) / 1e3 / max(0.01, float(end) - float(begin))


def look_s(cluster: Any, server: str, folder: str) -> float:
    """Seconds that it takes to list a folder and all in it."""
    begin, end = shell(cluster, server, _LOOK.format(folder=shlex.quote(folder))).split()
    return float(end) - float(begin)


def processor_s(cluster: Any, server: str) -> tuple[float, float]:
    """(processor time that the container has used, the moment), both in seconds; cgroup v1 or v2."""
    used_s = moment_s = 0.0
    for name, value, *_ in (line.split() for line in shell(cluster, server, _USED).splitlines()):
        if name == "usage_usec":
            used_s = int(value) / 1e6
        elif name == "nsec":
            used_s = int(value) / 1e9
        elif name == "uptime":
            moment_s = float(value)
    return used_s, moment_s


def memory_bytes(cluster: Any, server: str) -> int:
    """Memory of the container; cgroup v1 or v2."""
    return int(shell(cluster, server, _MEMORY))


def _address(cluster: Any, server: str) -> str:
    return str(cluster.addresses()[server][1])


def neighbour(cluster: Any, targets: Sequence[str]) -> str:
    """A server that is none of `targets`, and runs."""
    return next(str(s.name) for s in cluster.servers if s.name not in targets and cluster.running(s.name))
