"""Bad links: loss, a narrow rate and delay at the bridge's ports, by `tc` of iproute2.

A port is this side of a pod's (or the clients') link: what leaves through it goes to that pod. Its queue is
an HTB with a class for each impairment; a classic BPF program looks at each packet's source and draws lots:

    class 1:1    the rest, at full rate: probes, monitoring and DNS come from the node and are left alone
    class 1:2    a blackhole for what is lost
    class 1:1N   an impairment's rate, its queue (QUEUE_S long) or netem for its delay

Drawing lots in BPF needs no netem, which kernels made for virtual machines may lack; delay does need it.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from natsproof.cluster.embedded.stores import TOOL_PATH
from natsproof.errors import ClusterError

LIMIT_S = 10.0
FULL = "10gbit"
QUEUE_S, LEAST_QUEUE = 1.0, 192 << 10  # one packet of a veth has up to 64 KiB
CLIENTS_PORT = "clients-port"
#: Classic BPF: load a word or half-word, jump if equal or greater-or-equal, return.
LOAD, LOAD_HALF, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x28, 0x15, 0x35, 0x06
PROTOCOL, RANDOM, SOURCE = (word & 0xFFFFFFFF for word in (-0x1000, -0x1000 + 56, -0x100000 + 12))
IPV4, HTB = 0x0800, 0x10000
Instruction = tuple[int, int, int, int]


@dataclass(frozen=True)
class Impairment:
    """Of one link, each way: `loss` as a share of packets, `rate` in kB/s (None: full), `delay_s`."""

    loss: float = 0.0
    rate: float | None = None
    delay_s: float = 0.0


def port_of(address: str) -> str:
    """The bridge's port of the pod with that address (universe.PodLink)."""
    third, fourth = address.split(".")[2:]
    return f"pod{third}-{fourth}"


def shape(port: str, own: Impairment | None, sources: Mapping[str, Impairment], spared: str) -> None:
    """What leaves through `port`: all but `spared`'s packets by `own`; without it, each source by its own.

    Raises ClusterError if the kernel or `tc` refuses.
    """
    clear(port)
    if own or sources:
        _tc(batch(port, own, sources, spared))


def clear(port: str) -> None:
    """The port as it was made. One that is gone, or clear already, is left alone."""
    _run(["qdisc", "del", "dev", port, "root"], "")


def batch(
    port: str, own: Impairment | None, sources: Mapping[str, Impairment], spared: str, *, extra: str = ""
) -> list[str]:
    """The lines for `tc -batch`."""
    rules = [(None, own)] if own else sorted(sources.items())
    lines = [
        f"qdisc add dev {port} root handle 1: htb default 1",
        f"class add dev {port} parent 1: classid 1:1 htb rate {FULL}",
        f"class add dev {port} parent 1: classid 1:2 htb rate {FULL}",
        f"qdisc add dev {port} parent 1:2 handle 2: blackhole",
    ]
    for number, (_, it) in enumerate(rules, 0x10):
        assert it is not None
        rate = f"{round(it.rate * 8)}kbit burst 64k" if it.rate else FULL
        lines.append(f"class add dev {port} parent 1: classid 1:{number:x} htb rate {rate}")
        leaf = f"qdisc add dev {port} parent 1:{number:x} handle {number:x}:"
        if it.delay_s:
            lines.append(f"{leaf} netem delay {it.delay_s * 1e3:g}ms limit 100000")
        elif it.rate:
            lines.append(f"{leaf} bfifo limit {max(LEAST_QUEUE, round(it.rate * 1e3 * QUEUE_S))}")
    code = program([(source, it.loss) for source, it in rules if it], spared)
    words = ",".join([str(len(code)), *(" ".join(map(str, one)) for one in code)])
    lines.append(f'filter add dev {port} parent 1: protocol all prio 1 bpf bytecode "{words}"')
    return [*lines, extra] if extra else lines


def program(rules: Sequence[tuple[str | None, float]], spared: str) -> list[Instruction]:
    """Source (None: any) and loss of each rule, in order, to the class of a packet; 0 is the default's."""
    code: list[Instruction] = [
        (LOAD_HALF, 0, 0, PROTOCOL),
        (IF_EQUAL, 1, 0, IPV4),
        (RETURN, 0, 0, 0),
        (LOAD, 0, 0, SOURCE),
        (IF_EQUAL, 0, 1, _number(spared)),
        (RETURN, 0, 0, 0),
    ]
    for number, (source, loss) in enumerate(rules, 0x10):
        if source:
            code.append((IF_EQUAL, 0, 4, _number(source)))
        code += [
            (LOAD, 0, 0, RANDOM),
            (IF_AT_LEAST, 1, 0, min(0xFFFFFFFF, round(loss * (1 << 32)))),
            (RETURN, 0, 0, HTB + 2),
            (RETURN, 0, 0, HTB + number),
        ]
    return [*code, (RETURN, 0, 0, 0)]


def _number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


@functools.cache
def problem(*, delay: bool = False) -> str:
    """Why links cannot be impaired here, "" if they can: tried in a network namespace of its own."""
    for tool in ("tc", "unshare"):
        if not shutil.which(tool, path=TOOL_PATH):
            return f"{tool} is not installed"
    own = Impairment(0.5, 100.0, 0.001 if delay else 0.0)
    unshare = ["unshare", "-n"] if _network_admin() else ["unshare", "-rn"]
    refusal = _run(["-batch", "-"], "\n".join(batch("lo", own, {}, "198.18.0.2")), before=unshare)
    if delay and "qdisc kind is unknown" in refusal:
        return "this kernel has no netem"
    return f"tc: {refusal}" if refusal else ""


def _network_admin() -> bool:
    with Path("/proc/self/status").open() as status:
        effective = next(line for line in status if line.startswith("CapEff:"))
    bits = int(effective.split()[1], 16)
    return bool(bits >> 12 & 1 and bits >> 21 & 1)


def _tc(lines: Sequence[str]) -> None:
    if refusal := _run(["-batch", "-"], "\n".join(lines)):
        raise ClusterError(f"tc: {refusal}\n" + "\n".join(lines))


def _run(words: Sequence[str], text: str, *, before: Sequence[str] = ()) -> str:
    """What tc complains about; warnings (of a class's quantum) are none."""
    try:
        done = subprocess.run(
            [*before, "tc", *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env={**os.environ, "PATH": TOOL_PATH, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as trouble:
        return str(trouble)
    said = [line for line in done.stderr.splitlines() if not line.startswith("Warning:")]
    return "; ".join(said) or f"exit code {done.returncode}" if done.returncode else ""
