"""What stands is what was promised: judges of facts read from a running platform.

Each takes the plain data of `natsproof.cluster.inspection` and answers a Verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from natsproof.contract.model import Bucket, Contract
from natsproof.verdict import Exhibit, Verdict, broken, holds, unknown

NS_PER_S = 1_000_000_000


class BucketAsPromised:
    """The live configuration of one bucket equals its promise: replicas, storage, TTL, size, history."""

    def __init__(self, promise: Bucket) -> None:
        self.promise = promise

    def __call__(self, facts: Mapping[str, Any]) -> Verdict:
        promise, live = self.promise, facts.get(self.promise.name)
        if live is None:
            there = ", ".join(sorted(facts)) or "none"
            return broken(
                f"bucket {promise.name!r} is promised but does not exist; existing: {there}",
                [Exhibit("promised here", place=str(promise.place))],
            )
        config = live["config"]
        wanted: dict[str, tuple[Any, Any]] = {
            "replicas": (promise.replicas, config.get("num_replicas")),
            "storage": (promise.storage, config.get("storage")),
            "ttl": (_max_age_ns(promise.ttl_s), config.get("max_age", 0)),
            "max_bytes": (promise.max_bytes, config.get("max_bytes")),
            "history": (promise.history, config.get("max_msgs_per_subject")),
        }
        wrong = {k: pair for k, pair in wanted.items() if pair[0] is not None and pair[0] != pair[1]}
        if wrong:
            said = "; ".join(f"{k} is {live!r}, promised {want!r}" for k, (want, live) in wrong.items())
            first = next(iter(wrong))
            place = promise.at("ttl_s" if first == "ttl" else first)
            return broken(f"bucket {promise.name!r}: {said}", [Exhibit(said, place=str(place))])
        return holds(f"bucket {promise.name!r} has its promised configuration", fields=len(wanted))


def _max_age_ns(ttl_s: float | None) -> int:
    """A promise without a TTL is one that values never expire, which a stream says as 0."""
    return 0 if ttl_s is None else int(ttl_s * NS_PER_S)


class ReplicasOnDistinctServers:
    """A bucket's stream has its promised number of peers on as many servers, all current, each holding it."""

    def __init__(self, promise: Bucket) -> None:
        self.promise = promise

    def __call__(self, facts: Mapping[str, Any]) -> Verdict:
        name, need = self.promise.name, self.promise.replicas
        live = facts.get(name)
        if live is None:
            return broken(f"bucket {name!r} does not exist")
        if not live["leader"]:
            return broken(f"bucket {name!r} has no leader; held by {', '.join(live['holders'])}")
        peers, current = set(live["peers"]), set(live["current"])
        held = peers & set(live["holders"])
        if len(held) < need or len(current) < need:
            return broken(
                f"bucket {name!r}: {need} replicas promised; peers {sorted(peers)}, "
                f"current {sorted(current)}, stored on {sorted(held)}"
            )
        return holds(f"bucket {name!r} is stored on {', '.join(sorted(held))}", replicas=len(held))


def every_endpoint_answers(facts: Mapping[str, Mapping[str, str]]) -> Verdict:
    """Every promised monitoring path answers 200 with the server's own report, on every server."""
    bad = [f"{s}{p}: {why}" for s, paths in facts.items() for p, why in paths.items() if why != "ok"]
    asked = sum(len(paths) for paths in facts.values())
    if not asked:
        return unknown("no monitoring path is promised, or no server was asked")
    if bad:
        return broken(f"{len(bad)} of {asked} monitoring requests failed: {bad[0]}", map(Exhibit, bad))
    return holds(f"{asked} monitoring requests answered", requests=asked)


class MembersAgree:
    """All servers run, are ready, are routed to each other, and name the same meta leader."""

    def __init__(self, contract: Contract) -> None:
        self.names = set(contract.statefulset.pod_names())

    def __call__(self, facts: Mapping[str, Any]) -> Verdict:
        wrong: list[str] = []
        missing = self.names - set(facts)
        if missing:
            wrong.append(f"pods missing: {', '.join(sorted(missing))}")
        for name, seen in facts.items():
            if "silent" in seen:
                wrong.append(f"{name} does not answer: {seen['silent']}")
                continue
            if not (seen["ready"] and seen["running"]):
                wrong.append(f"{name} is not ready")
            lost = self.names - {name} - set(seen["routes"])
            if lost:
                wrong.append(f"{name} has no route to {', '.join(sorted(lost))}")
            if seen["meta_size"] != len(self.names):
                wrong.append(f"{name} counts {seen['meta_size']} meta peers, expected {len(self.names)}")
        leaders = {str(seen["meta_leader"] or "") for seen in facts.values() if "silent" not in seen}
        if len(leaders) != 1 or "" in leaders or not leaders <= self.names:
            wrong.append(f"meta leaders named: {sorted(leaders)}; expected one of {sorted(self.names)}")
        if wrong:
            return broken("; ".join(wrong), map(Exhibit, wrong))
        return holds(f"{len(facts)} servers agree on meta leader {leaders.pop()}", servers=len(facts))


class ServersRunTheConfiguration:
    """Limits, sync and version that the servers report are those of the manifests. UNKNOWN if one of them
    reports nothing."""

    def __init__(self, contract: Contract) -> None:
        self.names = contract.statefulset.pod_names()
        self.config = contract.config
        self.image = contract.server_container.image
        self.image_at = contract.server_container.at("image")

    def __call__(self, facts: Mapping[str, Any]) -> Verdict:
        config, wrong = self.config, []
        tag = self.image.partition(":")[2].partition("-")[0].partition("@")[0]
        for name, seen in facts.items():
            if "silent" in seen:
                continue
            pairs: list[tuple[str, Any, Any, str]] = [
                ("max_file", config.max_file_bytes, seen["max_storage"], "jetstream.max_file"),
                ("max_mem", config.max_memory_bytes, seen["max_memory"], "jetstream.max_mem"),
                ("sync always", config.sync_always, seen["sync_always"], "jetstream.sync_interval"),
            ]
            for what, want, live, path in pairs:
                if want is not None and want != live:
                    text = f"{name}: {what} is {live!r}, the manifests say {want!r}"
                    wrong.append(Exhibit(text, place=str(config.at(path))))
            if tag and tag[0].isdigit() and not f"{seen['version']}.".startswith(f"{tag}."):
                text = f"{name} runs nats-server {seen['version']}, the image says {tag}"
                wrong.append(Exhibit(text, place=str(self.image_at)))
        if wrong:
            return broken(wrong[0].text, wrong)
        unheard = [name for name in self.names if "silent" in facts.get(name, {"silent": ""})]
        if unheard:
            return unknown(f"{', '.join(unheard)} told nothing")
        return holds(f"{len(facts)} servers run the manifests' configuration", servers=len(facts))


class CameUp:
    """Every pod became Ready and the set-up Job completed, as `Cluster.up` says."""

    def __init__(self, contract: Contract) -> None:
        self.names = contract.statefulset.pod_names()

    def __call__(self, startup: Mapping[str, Any]) -> Verdict:
        if not startup.get("up"):
            return broken(f"the platform did not come up: {startup.get('error') or 'no reason was given'}")
        took_s = float(startup.get("took_s") or 0.0)
        return holds(f"{len(self.names)} pods were ready after {took_s:.2f} s", start_s=round(took_s, 3))


def the_job_completes(startup: Mapping[str, Any]) -> Verdict:
    """The set-up Job is complete as Kubernetes would say it."""
    job = startup.get("job")
    if job is None:
        return broken(
            "there is no set-up Job result: " + str(startup.get("error") or "no Job in the manifests")
        )
    if not job.get("complete"):
        return broken(
            f"the set-up Job failed after {job.get('attempts')} attempts: {str(job.get('log'))[-300:]}"
        )
    return holds("the set-up Job completed", attempts=int(job.get("attempts") or 0))
