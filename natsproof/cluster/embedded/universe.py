"""A private universe for the servers: namespaces of this process, a bridge, addresses that exist only here.

    enter_universe()        once, early, from the main thread (a process with threads may not leave its user)

All traffic of pods stays on a bridge without a way out; the kernel takes all of it away with the process.
On the bridge:

    198.18.0.1        this process as a client of the platform, on a link of its own (`clients0`)
    198.18.C.2        node address of cluster C: its DNS server, probes and monitoring, on the bridge itself
    198.18.C.(10+i)   pod i of cluster C

Two links for one process, so that a partition may cut the clients and leave probes and witnesses alone.
Packets are dropped by pointing a neighbour entry at a hardware address that nobody has: one-way, silent, for
established connections too, and it needs no netfilter.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from natsproof.cluster.embedded.init import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    MS_PRIVATE,
    MS_REC,
    SYS_PIVOT_ROOT,
    checked,
    libc,
    mount,
)
from natsproof.errors import ClusterError

CLONE_NEWUSER = 0x10000000
NETWORK, PREFIX = "198.18", 16
CLIENTS = f"{NETWORK}.0.1"
BRIDGE, CLIENT_LINK = "natsproof0", "clients0"
NODE_TABLE = 100
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCGIFHWADDR = 0x8914, 0x8916, 0x891C, 0x8927
SIOCSARP, SIOCDARP = 0x8955, 0x8953
IFF_UP, ATF_COM, ATF_PERM, ARPHRD_ETHER = 1, 2, 4, 1
NOBODY = bytes.fromhex("0200dead0000")  # a hardware address that no link has


class Isolation(Enum):
    """What keeps the servers apart from this machine, strongest first."""

    NAMESPACES_ROOT = "namespaces-root"
    NAMESPACES_USER = "namespaces-user"
    LOOPBACK = "loopback"


@dataclass
class Universe:
    """What `enter_universe` got. `why` says why it is no better."""

    isolation: Isolation
    why: str = ""
    outside_uid: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _blocks: dict[int, object] = field(default_factory=dict, repr=False)
    _next: int = field(default=0, repr=False)

    def take_block(self, owner: object) -> int:
        """A number of 1..250 for a cluster's addresses; not one used just before."""
        with self._lock:
            for _ in range(250):
                self._next = self._next % 250 + 1
                if self._next not in self._blocks:
                    self._blocks[self._next] = owner
                    return self._next
        raise ClusterError("250 embedded clusters run in this process; call down() on some")

    def free_block(self, block: int) -> None:
        with self._lock:
            self._blocks.pop(block, None)


_current: Universe | None = None
_foreseen: Isolation | None = None


def universe() -> Universe:
    """The universe of this process, entered now if nobody has yet."""
    return _current or enter_universe()


def foreseen() -> Isolation:
    """The isolation that this process has, or would get, without entering."""
    global _foreseen
    if _current:
        return _current.isolation
    if _foreseen is None:
        if os.environ.get("NATSPROOF_ISOLATION") == "loopback" or _rehearse():
            _foreseen = Isolation.LOOPBACK
        else:
            _foreseen = Isolation.NAMESPACES_ROOT if _owns_all_ids() else Isolation.NAMESPACES_USER
    return _foreseen


def enter_universe(*, refuse: bool = False) -> Universe:
    """Move this process into namespaces of its own, or say why that is impossible (LOOPBACK).

    Call it early: an ordinary user can do it only while the process has one thread. Afterwards this process
    reaches no network but the bridge, so fetch programs before. `refuse` (or NATSPROOF_ISOLATION=loopback)
    asks for the fallback. A second call returns the first one's answer.
    """
    global _current
    if _current:
        return _current
    if refuse or os.environ.get("NATSPROOF_ISOLATION") == "loopback":
        _current = Universe(Isolation.LOOPBACK, "asked for")
        return _current
    uid = os.geteuid()
    if refusal := _rehearse():
        _current = Universe(Isolation.LOOPBACK, refusal, uid)
        return _current
    try:
        kind = _unshare_for_good()
    except OSError as problem:  # rehearsed in a fresh process: what is left is that this one has threads
        hint = f"{problem} (this process has {threading.active_count()} threads; enter earlier)"
        _current = Universe(Isolation.LOOPBACK, hint, uid)
        return _current
    _lay_bridge()
    _current = Universe(kind, "", uid)
    return _current


def _rehearse() -> str:
    """Try all of it in a child, since half a universe cannot be left again. "" or what was refused."""
    if not Path("/proc/self/ns/net").exists():
        return "this system has no Linux namespaces"
    if os.uname().machine not in SYS_PIVOT_ROOT:
        return f"no system call numbers for {os.uname().machine}"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = b""
        try:
            _unshare_for_good()
            _write_sysctls()
            mount("rehearsal", "/tmp", "tmpfs")
        except BaseException as problem:
            said = str(problem).encode()
        os.write(writer, said)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        refusal = pipe.read().decode()
    os.waitpid(child, 0)
    return refusal


def _unshare_for_good() -> Isolation:
    uid, gid = os.geteuid(), os.getegid()
    kind = Isolation.NAMESPACES_ROOT
    if not _is_capable():
        checked(libc.unshare(CLONE_NEWUSER), "unshare a user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        kind = Isolation.NAMESPACES_USER
    elif not _owns_all_ids():
        kind = Isolation.NAMESPACES_USER
    checked(libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare network and mounts")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    return kind


def _is_capable() -> bool:
    """CAP_SYS_ADMIN and CAP_NET_ADMIN, here or in the user namespace a parent has made for us."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return bool(effective >> 21 & 1 and effective >> 12 & 1)


def _owns_all_ids() -> bool:
    """Root of this machine (or of a container with its own range of ids), not one mapped id."""
    return os.geteuid() == 0 and int(Path("/proc/self/uid_map").read_text().split()[2]) > 1 << 16


def _write_sysctls() -> None:
    """Each link answers for its own addresses only: two links of this process are on one bridge."""
    for name, value in (("arp_ignore", "1"), ("rp_filter", "0")):
        Path(f"/proc/sys/net/ipv4/conf/all/{name}").write_text(value)


def _lay_bridge() -> None:
    from pyroute2 import IPRoute  # half a second to import, so only where it is used

    _write_sysctls()
    with IPRoute() as route:
        route.link("set", index=1, state="up")
        # its own address: else it takes the lowest of its ports', which changes as pods come and go, and
        # pods go on answering probes to the old one
        route.link("add", ifname=BRIDGE, kind="bridge", address=hardware_address(f"{NETWORK}.0.1"))
        bridge = route.link_lookup(ifname=BRIDGE)[0]
        route.link("set", index=bridge, state="up")
        route.link("add", ifname=CLIENT_LINK, kind="veth", peer={"ifname": "clients-port"})
        port, clients = (route.link_lookup(ifname=n)[0] for n in ("clients-port", CLIENT_LINK))
        route.link("set", index=port, master=bridge, state="up")
        route.addr("add", index=clients, address=CLIENTS, prefixlen=PREFIX)
        route.link("set", index=clients, state="up")
        route.route("add", dst=f"{NETWORK}.0.0/{PREFIX}", oif=bridge, table=NODE_TABLE)


def node_address(block: int) -> str:
    return f"{NETWORK}.{block}.2"


def add_node_address(block: int) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        bridge = route.link_lookup(ifname=BRIDGE)[0]
        route.addr("add", index=bridge, address=node_address(block), prefixlen=32)
        # with the last address of a link the kernel takes its routes away, this one too
        route.route("replace", dst=f"{NETWORK}.0.0/{PREFIX}", oif=bridge, table=NODE_TABLE)
        route.rule("add", src=node_address(block), src_len=32, table=NODE_TABLE, priority=1000 + block)


def remove_node_address(block: int) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        bridge = route.link_lookup(ifname=BRIDGE)[0]
        route.rule("del", src=node_address(block), src_len=32, table=NODE_TABLE, priority=1000 + block)
        route.addr("del", index=bridge, address=node_address(block), prefixlen=32)


def hardware_address(address: str) -> str:
    """The same for the same IP address, so that no neighbour table holds a stale one after a restart."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))


class PodLink:
    """A pod's network: a veth on the bridge, addressed through a socket inside the pod's namespace."""

    def __init__(self, namespace: int, control: int, address: str) -> None:
        """Takes over both file descriptors. Raises ClusterError if the kernel refuses the link."""
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        self.address = address
        self._control: socket.socket | None = socket.socket(fileno=control)
        third, fourth = address.split(".")[2:]
        name = f"pod{third}-{fourth}"
        try:
            with IPRoute() as route:
                peer: dict[str, Any] = {
                    "ifname": "eth0",
                    "net_ns_fd": namespace,
                    "address": hardware_address(address),
                }
                for stale in route.link_lookup(ifname=name):  # of a pod whose namespace is still dying
                    with contextlib.suppress(NetlinkError):  # it may be gone by now
                        route.link("del", index=stale)
                route.link("add", ifname=name, kind="veth", peer=peer)
                port, bridge = (route.link_lookup(ifname=n)[0] for n in (name, BRIDGE))
                route.link("set", index=port, master=bridge, state="up")
        except NetlinkError as problem:
            raise ClusterError(f"no network link for {address}: {problem}") from problem
        finally:
            os.close(namespace)
        interface_up(self._control, "lo")
        set_address(self._control, "eth0", address)
        interface_up(self._control, "eth0")

    def drop_to(self, address: str) -> None:
        """What this pod sends to `address` is lost until `pass_to`."""
        if self._control:
            set_neighbour(self._control, "eth0", address)

    def pass_to(self, address: str) -> None:
        if self._control:
            forget_neighbour(self._control, "eth0", address)

    def close(self) -> None:
        if self._control:
            self._control.close()
            self._control = None


def drop_from_clients(address: str) -> None:
    """What this process sends to a pod is lost (not: probes, monitoring, DNS)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        set_neighbour(here, CLIENT_LINK, address)


def pass_from_clients(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        forget_neighbour(here, CLIENT_LINK, address)


def interface_up(inside: socket.socket, name: str) -> None:
    fcntl.ioctl(inside, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), IFF_UP))


def set_address(inside: socket.socket, name: str, address: str) -> None:
    fcntl.ioctl(inside, SIOCSIFADDR, struct.pack("16s16s", name.encode(), _sockaddr(address)))
    mask = struct.pack("16s16s", name.encode(), _sockaddr("255.255.0.0"))
    fcntl.ioctl(inside, SIOCSIFNETMASK, mask)


def set_neighbour(inside: socket.socket, link: str, address: str) -> None:
    hardware = struct.pack("H14s", ARPHRD_ETHER, NOBODY)
    entry = struct.pack("16s16si16s16s", _sockaddr(address), hardware, ATF_COM | ATF_PERM, b"", link.encode())
    fcntl.ioctl(inside, SIOCSARP, entry)


def forget_neighbour(inside: socket.socket, link: str, address: str) -> None:
    entry = struct.pack("16s16si16s16s", _sockaddr(address), b"", 0, b"", link.encode())
    with contextlib.suppress(OSError):  # there is none
        fcntl.ioctl(inside, SIOCDARP, entry)


def _sockaddr(address: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
