"""Probes: what Kubernetes may conclude, and when it may kill."""

from __future__ import annotations

from collections.abc import Iterator

from natsproof.contract.model import Contract, Probe
from natsproof.contract.rules.health import Depth, depth_of
from natsproof.contract.rules.network import resolve_port
from natsproof.contract.rules.rule import Rule, at, judged, rule, shown_bytes
from natsproof.verdict import Verdict, unknown

REFILL_BYTES_PER_S = 16 * 2**20  # a slow replicated volume; Longhorn's v1 engine was seen at 189 MB/s


def probes_of(contract: Contract) -> Iterator[tuple[str, Probe]]:
    container = contract.server_container
    for which, probe in (
        ("startup", container.startup_probe),
        ("readiness", container.readiness_probe),
        ("liveness", container.liveness_probe),
    ):
        if probe is not None:
            yield which, probe


@rule("a dead server is noticed")
def every_server_is_probed(contract: Contract) -> Verdict:
    """Startup, readiness and liveness probes are all set on the server's container."""
    have = {which for which, _ in probes_of(contract)}
    container = contract.server_container
    wrong = [
        at(container.place, f"container {container.name} has no {which} probe; add {which}Probe")
        for which in ("startup", "readiness", "liveness")
        if which not in have
    ]
    return judged(wrong, "startup, readiness and liveness are probed")


@rule("a server that is busy recovering is left alone")
def liveness_leaves_a_server_that_catches_up_alone(contract: Contract) -> Verdict:
    """The liveness probe passes while a server catches up or the quorum is lost: killing it then makes
    matters worse."""
    probe = contract.server_container.liveness_probe
    if probe is None:
        return unknown("there is no liveness probe: see every_server_is_probed")
    wrong = []
    if depth_of(probe) >= Depth.META:
        wrong.append(
            at(
                probe.at("path"),
                f"liveness asks {probe.path}, which fails while a stream catches up or there is no meta"
                " leader, and"
                " the kubelet then kills the server. Ask /healthz?js-enabled-only=true (with `=true`)",
            )
        )
    return judged(wrong, f"liveness asks {probe.path}")


@rule("a server that is busy recovering is left alone")
def startup_gives_time_to_refill_a_volume(contract: Contract) -> Verdict:
    """The startup probe allows the time in which the others fill an empty volume again."""
    probe = contract.server_container.startup_probe
    if probe is None:
        return unknown("there is no startup probe: see every_server_is_probed")
    budget_s = probe.initial_delay_s + probe.period_s * probe.failure_threshold
    reserved = sum(bucket.max_bytes or 0 for bucket in contract.promises.buckets)
    needed_s = reserved / REFILL_BYTES_PER_S
    wrong = []
    if depth_of(probe) is Depth.STREAMS and budget_s < needed_s:
        wrong.append(
            at(
                probe.at("failure_threshold"),
                f"startup {probe.path} may fail for {budget_s} s before the kubelet kills the server; full"
                " buckets of"
                f" {shown_bytes(reserved)} at 16 MiB/s need {needed_s:.0f} s. Raise failureThreshold",
            )
        )
    return judged(
        wrong, f"{budget_s} s to start, {needed_s:.0f} s needed", budget_s=budget_s, needed_s=round(needed_s)
    )


@rule("a rolling restart loses neither data nor quorum")
def a_rolling_restart_waits_for_a_server_to_catch_up(contract: Contract) -> Verdict:
    """A restarted server counts as Ready only after its streams are current, so the next one is not stopped
    too early."""
    wrong = []
    gates = [p for which, p in probes_of(contract) if which != "liveness"]
    if gates and not any(depth_of(probe) is Depth.STREAMS for probe in gates):
        probe = gates[0]
        wrong.append(
            at(
                probe.at("path"),
                f"no probe before Ready asks plain /healthz ({', '.join(str(p.path) for p in gates)}): the"
                " next"
                " server stops while this one has no current copy. Ask /healthz in the startup probe",
            )
        )
    return judged(wrong, "a server is Ready first when its streams are current")


@rule("clients are told the truth when the quorum is lost")
def readiness_does_not_need_a_quorum(contract: Contract) -> Verdict:
    """Readiness asks only whether this server takes clients: else the loss of the quorum empties the client
    Service."""
    probe = contract.server_container.readiness_probe
    if probe is None:
        return unknown("there is no readiness probe: see every_server_is_probed")
    wrong = []
    if depth_of(probe) >= Depth.META:
        text = (
            f"readiness asks {probe.path}: without a quorum no server is Ready. Ask"
            " /healthz?js-server-only=true"
        )
        wrong.append(at(probe.at("path"), text))
    return judged(wrong, f"readiness asks {probe.path}")


@rule("a dead server is noticed")
def every_probe_asks_the_monitoring_port(contract: Contract) -> Verdict:
    """Each HTTP probe asks the port on which nats.conf serves monitoring."""
    monitoring = contract.config.http_port
    wrong = []
    for which, probe in probes_of(contract):
        port = resolve_port(probe.port, contract.server_container)
        if probe.action == "http_get" and (port != monitoring or monitoring is None):
            text = f"the {which} probe asks port {probe.port} ({port}), nats.conf has http_port {monitoring}"
            wrong.append(at(probe.at("port"), text))
    return judged(wrong, f"probes ask port {monitoring}")


@rule("a dead server is noticed, a busy one left alone")
def every_probe_waits_longer_than_a_second(contract: Contract) -> Verdict:
    """No probe gives up after Kubernetes' default of a second: a server that fsyncs may be later."""
    wrong = [
        at(probe.at("timeout_s"), f"the {which} probe gives up after {probe.timeout_s} s; allow 2 s or more")
        for which, probe in probes_of(contract)
        if probe.timeout_s < 2
    ]
    return judged(wrong, "every probe waits 2 s or more")


@rule("a server that is busy recovering is left alone")
def liveness_bears_a_pause_of_half_a_minute(contract: Contract) -> Verdict:
    """Liveness kills a server after 30 s or more: a volume that stalls is not a dead server."""
    probe = contract.server_container.liveness_probe
    if probe is None:
        return unknown("there is no liveness probe: see every_server_is_probed")
    patience_s = probe.period_s * probe.failure_threshold
    wrong = []
    if patience_s < 30:
        text = (
            f"liveness kills after {probe.failure_threshold} failures in {patience_s} s; allow 30 s or more"
        )
        wrong.append(at(probe.at("failure_threshold"), text))
    return judged(wrong, f"liveness bears {patience_s} s", patience_s=patience_s)


RULES: tuple[Rule, ...] = (
    every_server_is_probed,
    liveness_leaves_a_server_that_catches_up_alone,
    liveness_bears_a_pause_of_half_a_minute,
    startup_gives_time_to_refill_a_volume,
    a_rolling_restart_waits_for_a_server_to_catch_up,
    readiness_does_not_need_a_quorum,
    every_probe_asks_the_monitoring_port,
    every_probe_waits_longer_than_a_second,
)
