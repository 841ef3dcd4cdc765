"""Links made bad and clocks made false: what is laid, and on a real process that it works and ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from natsproof.clock import wall_ns
from natsproof.cluster import Abilities
from natsproof.cluster.embedded import vdso
from natsproof.cluster.embedded.shaping import HTB, IF_AT_LEAST, Impairment, batch, program
from natsproof.errors import ClusterError, UsageError
from natsproof.faults.clocks import ClockShift, _microseconds
from natsproof.faults.echo import Echoes
from natsproof.faults.impairment import Bandwidth, Delay, Loss

GOOD = Echoes(400, 64, (0.0001,) * 400, 0.4)
TELL = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"


@pytest.fixture
def teller() -> Iterator[subprocess.Popen[str]]:
    """A process that says what time it is when it is given a line."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        yield child
        child.kill()


def ahead_s(teller: subprocess.Popen[str]) -> float:
    assert teller.stdin and teller.stdout
    teller.stdin.write("\n")
    teller.stdin.flush()
    return float(teller.stdout.readline().split()[0]) - wall_ns() / 1e9


@pytest.mark.skipif(vdso.problem() != "", reason=f"no clock can be shifted here: {vdso.problem()}")
def test_a_clock_is_shifted_again_and_restored(teller: subprocess.Popen[str]) -> None:
    clock = vdso.WallClock(teller.pid)
    for seconds in (-300, 120):
        clock.shift(seconds)
        assert ahead_s(teller) == pytest.approx(seconds, abs=1)
    clock.restore()
    assert ahead_s(teller) == pytest.approx(0, abs=1)
    with pytest.raises(ClusterError, match="whole seconds"):
        clock.shift(0.5)


def test_lots_are_drawn_by_source_and_the_node_is_spared() -> None:
    code = program([("10.0.0.1", 0.25), ("10.0.0.2", 0.0)], "10.0.0.9")
    assert [one[3] for one in code if one[0] == IF_AT_LEAST] == [1 << 30, 0]
    assert [one[3] for one in code[-5:]] == [code[-5][3], 0, HTB + 2, HTB + 0x11, 0]
    lines = batch("p", Impairment(0.1, 64.0), {"10.0.0.1": Impairment(1.0)}, "10.0.0.9")
    assert "class add dev p parent 1: classid 1:10 htb rate 512kbit burst 64k" in lines
    assert sum("htb rate" in line for line in lines) == 3


@pytest.mark.parametrize(
    ("fault", "now", "seen"),
    [
        (Loss(percent=10), Echoes(400, 64, (0.0001,) * 330, 0.4), True),
        (Loss(percent=10), GOOD, False),
        (Bandwidth(kbytes_per_s=64), Echoes(100, 1400, (0.1,) * 100, 1.2), True),
        (Bandwidth(kbytes_per_s=64), Echoes(400, 1400, (0.0001,) * 400, 0.1), False),
        (Delay(delay_s=0.05), Echoes(50, 64, (0.1,) * 50, 0.2), True),
        (Delay(delay_s=0.05), GOOD, False),
    ],
)
def test_a_bad_link_is_told_from_a_good_one(fault: Loss | Bandwidth | Delay, now: Echoes, seen: bool) -> None:
    before = Echoes(400, 1400, (0.0001,) * 400, 0.1)
    assert bool(fault._seen(before, now)) is seen


def test_what_is_no_fault_is_refused() -> None:
    for wrong in (lambda: Loss(percent=0), lambda: Bandwidth(kbytes_per_s=1), lambda: ClockShift(seconds=1)):
        with pytest.raises(UsageError):
            wrong()


def test_a_servers_time_and_the_reason_of_a_lack_are_read() -> None:
    assert _microseconds("2026-11-25T10:00:00.1234567Z") == "2026-11-25T10:00:00.123456+00:00"
    able = Abilities(["Killable"], {"Delayable": "this kernel has no netem"})
    assert able.why_not(["Killable", "Delayable", "Rollable"]) == (
        "not Delayable (this kernel has no netem), not Rollable"
    )
    assert able.why_not(["Killable"]) == ""
