"""Buckets: the set-up Job creates what is promised, no more and no less."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from natsproof.contract.model import Bucket, Contract
from natsproof.contract.rules.rule import Rule, at, judged, rule, shown_bytes
from natsproof.verdict import Exhibit, Verdict, unknown

_PROMISE = "the buckets are as the promises say"
_LARGEST_PAYLOAD = 8 * 2**20  # the server warns above it


def _pairs(contract: Contract) -> Iterator[tuple[Bucket, Bucket]]:
    """(made, promised) of each bucket that is both."""
    promised = {bucket.name: bucket for bucket in contract.promises.buckets}
    for bucket in contract.job_buckets:
        if bucket.name in promised:
            yield bucket, promised[bucket.name]


def _same(contract: Contract, field: str, show: Callable[[Bucket], object]) -> Verdict:
    wrong = [
        at(
            made.at(field),
            f"bucket {made.name} is made with {field} {show(made)}, promised is {show(promised)}"
            f" ({promised.at(field)})",
        )
        for made, promised in _pairs(contract)
        if getattr(made, field) != getattr(promised, field)
    ]
    count = sum(1 for _ in _pairs(contract))
    if count == 0:
        return unknown("no bucket is both made and promised: see the_job_creates_every_promised_bucket")
    return judged(wrong, f"{count} buckets have the promised {field}", buckets=count)


@rule(_PROMISE)
def the_job_creates_every_promised_bucket(contract: Contract) -> Verdict:
    """Each bucket of the promises is created by the set-up Job."""
    made = {bucket.name for bucket in contract.job_buckets}
    names = ", ".join(sorted(made)) or "none"
    wrong = [
        at(
            bucket.place,
            f"bucket {bucket.name} is promised, the Job makes {names}. Add `nats kv add {bucket.name}`",
        )
        for bucket in contract.promises.buckets
        if bucket.name not in made
    ]
    if not contract.promises.buckets:
        wrong.append(at(contract.promises.place, "no bucket is promised"))
    return judged(wrong, f"the Job makes {len(made)} buckets", buckets=len(made))


@rule(_PROMISE)
def every_bucket_of_the_job_is_promised(contract: Contract) -> Verdict:
    """The Job creates no bucket that the promises do not know: it would take room that is promised to
    others."""
    promised = {bucket.name for bucket in contract.promises.buckets}
    wrong = [
        at(bucket.place, f"the Job makes bucket {bucket.name}, promised are {', '.join(sorted(promised))}")
        for bucket in contract.job_buckets
        if bucket.name not in promised
    ]
    return judged(wrong, f"all of {len(contract.job_buckets)} buckets are promised")


@rule(_PROMISE)
def every_bucket_has_the_promised_replicas(contract: Contract) -> Verdict:
    """Each bucket is made with as many replicas as promised; the CLI's default is one."""
    return _same(contract, "replicas", lambda bucket: bucket.replicas)


@rule("an acknowledged write survives the loss of one server")
def every_bucket_is_promised_three_replicas(contract: Contract) -> Verdict:
    """Each bucket is promised at least three replicas and no more than there are servers."""
    servers = contract.statefulset.replicas
    wrong = [
        at(
            bucket.at("replicas"),
            f"bucket {bucket.name} is promised {bucket.replicas} replicas: expected 3 to {servers}",
        )
        for bucket in contract.promises.buckets
        if not 3 <= bucket.replicas <= max(3, servers)
    ]
    return judged(wrong, f"{len(contract.promises.buckets)} buckets are promised three replicas or more")


@rule("an acknowledged write survives the death of all servers")
def every_bucket_is_kept_on_disk(contract: Contract) -> Verdict:
    """Each bucket is made with file storage."""
    if not contract.job_buckets:
        return unknown("the Job creates no bucket: see the_job_creates_every_promised_bucket")
    wrong = [
        at(
            bucket.at("storage"),
            f"bucket {bucket.name} has {bucket.storage} storage: a restart of all servers empties it",
        )
        for bucket in contract.job_buckets
        if bucket.storage != "file"
    ]
    return judged(wrong, f"{len(contract.job_buckets)} buckets are kept on disk")


@rule(_PROMISE)
def every_bucket_has_the_promised_ttl(contract: Contract) -> Verdict:
    """Each bucket is made with the promised TTL."""
    return _same(contract, "ttl_s", lambda bucket: f"{bucket.ttl_s:g} s" if bucket.ttl_s else "none")


@rule(_PROMISE)
def every_bucket_has_the_promised_size(contract: Contract) -> Verdict:
    """Each bucket is made with the promised size; without one it may fill the volume."""
    return _same(
        contract, "max_bytes", lambda bucket: shown_bytes(bucket.max_bytes) if bucket.max_bytes else "none"
    )


@rule(_PROMISE)
def every_bucket_keeps_the_promised_history(contract: Contract) -> Verdict:
    """Each bucket is made with the promised number of revisions for a key."""
    return _same(contract, "history", lambda bucket: bucket.history)


@rule("an acknowledged value is there until its time is over")
def no_bucket_leaves_markers(contract: Contract) -> Verdict:
    """No bucket is made with --marker-ttl, whose markers may remove what was acknowledged."""
    # How: docs/findings.md, 61
    wrong = [
        at(
            bucket.at("marker_ttl_s"),
            f"bucket {bucket.name} leaves markers for {bucket.marker_ttl_s:g} s: a put over a value that is"
            " just expiring may be acknowledged and removed. Leave --marker-ttl out",
        )
        for bucket in contract.job_buckets
        if bucket.marker_ttl_s
    ]
    return judged(wrong, f"none of {len(contract.job_buckets)} buckets leaves markers")


@rule("values of the stated size are accepted")
def the_largest_value_fits_a_message(contract: Contract) -> Verdict:
    """max_payload is at most 8 MiB, and no bucket promises larger values than a message can carry."""
    payload = contract.config.max_payload_bytes or 2**20
    place = contract.config.at("max_payload")
    wrong: list[Exhibit] = []
    if payload > _LARGEST_PAYLOAD:
        wrong.append(
            at(
                place,
                f"max_payload is {shown_bytes(payload)}; expected {shown_bytes(_LARGEST_PAYLOAD)} or less",
            )
        )
    for bucket in (*contract.promises.buckets, *contract.job_buckets):
        if bucket.max_value_bytes is not None and bucket.max_value_bytes > payload:
            text = f"bucket {bucket.name} allows values of {shown_bytes(bucket.max_value_bytes)}"
            wrong.append(
                at(bucket.at("max_value_bytes"), f"{text}, max_payload is {shown_bytes(payload)} ({place})")
            )
    return judged(wrong, f"max_payload is {shown_bytes(payload)}")


RULES: tuple[Rule, ...] = (
    the_job_creates_every_promised_bucket,
    every_bucket_of_the_job_is_promised,
    every_bucket_has_the_promised_replicas,
    every_bucket_is_promised_three_replicas,
    every_bucket_is_kept_on_disk,
    every_bucket_has_the_promised_ttl,
    every_bucket_has_the_promised_size,
    every_bucket_keeps_the_promised_history,
    no_bucket_leaves_markers,
    the_largest_value_fits_a_message,
)
