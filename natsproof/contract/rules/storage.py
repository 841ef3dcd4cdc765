"""Storage: what is promised fits, lies on the volume, and stays."""

from __future__ import annotations

import posixpath

from natsproof.contract.model import Contract, VolumeClaim
from natsproof.contract.rules.rule import Rule, at, judged, rule, shown_bytes
from natsproof.contract.rules.shutdown import mount_of
from natsproof.verdict import Verdict, unknown

MOST_OF_VOLUME = 0.80  # raft logs, snapshots and the file system's own share are not counted in max_file
_FITS = "every bucket can grow to its promised size"
_STAYS = "an acknowledged write is still there when the pod comes back"


def claim_of_store(contract: Contract) -> VolumeClaim | None:
    """The volume claim template on which store_dir lies."""
    if contract.config.store_dir is None:
        return None
    mount = mount_of(contract, contract.config.store_dir)
    return next((c for c in contract.statefulset.claims if mount is not None and c.name == mount.name), None)


def _no_claim() -> Verdict:
    return unknown("store_dir lies on no volume claim: see the_store_is_on_a_volume_of_its_own")


@rule(_FITS)
def the_buckets_fit_max_file(contract: Contract) -> Verdict:
    """What all replicas of all buckets reserve fits the servers' max_file together, and each bucket fits one
    server."""
    limit = contract.config.max_file_bytes
    if limit is None:
        return unknown("max_file is not set: see max_file_leaves_room_on_the_volume")
    if not contract.job_buckets:
        return unknown("the Job creates no bucket: see the_job_creates_every_promised_bucket")
    servers = max(1, contract.statefulset.replicas)
    reserved = sum((bucket.max_bytes or 0) * bucket.replicas for bucket in contract.job_buckets)
    each = -(-reserved // servers)
    wrong = []
    place = contract.config.at("jetstream.max_file")
    if each > limit:
        sizes = ", ".join(
            f"{b.name} {shown_bytes(b.max_bytes or 0)} x {b.replicas}" for b in contract.job_buckets
        )
        text = (
            f"max_file is {shown_bytes(limit)}, the buckets reserve {shown_bytes(each)} on each server"
            f" ({sizes})"
        )
        wrong.append(at(place, f"{text}. Raise max_file and the volume, or lower the sizes"))
    for bucket in contract.job_buckets:
        if (bucket.max_bytes or 0) > limit:
            text = (
                f"bucket {bucket.name} reserves {shown_bytes(bucket.max_bytes or 0)}, max_file is"
                f" {shown_bytes(limit)}"
            )
            wrong.append(at(bucket.place, text))
    kept = f"{shown_bytes(each)} reserved on each server fit max_file {shown_bytes(limit)}"
    return judged(wrong, kept, reserved_bytes=each, max_file_bytes=limit)


@rule(_FITS)
def max_file_leaves_room_on_the_volume(contract: Contract) -> Verdict:
    """max_file is set and at most 80 % of the volume: raft logs and the file system need the rest."""
    claim = claim_of_store(contract)
    if claim is None:
        return _no_claim()
    limit = contract.config.max_file_bytes
    place = contract.config.at("jetstream.max_file")
    wrong = []
    if limit is None:
        wrong.append(
            at(place, "max_file is not set: the server takes 75 % of what is free at its start. Set it")
        )
    elif limit > claim.storage_bytes * MOST_OF_VOLUME:
        most = shown_bytes(int(claim.storage_bytes * MOST_OF_VOLUME) // 2**30 * 2**30)
        wrong.append(
            at(
                place,
                f"max_file is {shown_bytes(limit)}, volume {claim.name} has"
                f" {shown_bytes(claim.storage_bytes)}"
                f" ({claim.at('storage_bytes')}): at most {most}, 80 % of it",
            )
        )
    return judged(
        wrong, f"max_file is {100 * (limit or 0) / max(1, claim.storage_bytes):.0f} % of the volume"
    )


@rule(_STAYS)
def the_store_is_on_a_volume_of_its_own(contract: Contract) -> Verdict:
    """store_dir lies on a volume claim of the StatefulSet: anywhere else the data dies with the pod."""
    config = contract.config
    mounts = {m.mount_path for m in contract.server_container.mounts}
    wrong = []
    if not config.jetstream or config.store_dir is None:
        wrong.append(
            at(config.at("jetstream"), "JetStream has no store_dir: data would go to a temporary folder")
        )
    elif claim_of_store(contract) is None:
        text = f"store_dir {config.store_dir} is on no volume claim; mounted are {', '.join(sorted(mounts))}"
        wrong.append(at(config.at("jetstream.store_dir"), text))
    return judged(wrong, f"store_dir {config.store_dir} is on a volume claim")


@rule("the volumes are of the promised class")
def the_volumes_are_of_the_promised_class(contract: Contract) -> Verdict:
    """The volume claims name the storage class that the promises name."""
    claim = claim_of_store(contract)
    if claim is None:
        return _no_claim()
    wanted = contract.promises.storage_class
    wrong = []
    if wanted not in (None, claim.storage_class):
        text = (
            f"storageClassName is {claim.storage_class!r}, promised is {wanted!r}"
            f" ({contract.promises.at('storage_class')})"
        )
        wrong.append(at(claim.at("storage_class"), text))
    if wanted is None:
        return judged([], "no storage class is promised")
    return judged(wrong, f"the volumes are of class {claim.storage_class}")


@rule(_STAYS)
def each_server_alone_mounts_its_volume(contract: Contract) -> Verdict:
    """The volumes are ReadWriteOnce or ReadWriteOncePod: two servers on one store destroy it."""
    claim = claim_of_store(contract)
    if claim is None:
        return _no_claim()
    wrong = []
    if not set(claim.access_modes) <= {"ReadWriteOnce", "ReadWriteOncePod"}:
        text = f"accessModes are {list(claim.access_modes)}; expected ReadWriteOnce or ReadWriteOncePod"
        wrong.append(at(claim.at("access_modes"), text))
    return judged(wrong, f"access modes are {', '.join(claim.access_modes)}")


@rule(_STAYS)
def deleting_or_scaling_keeps_the_volumes(contract: Contract) -> Verdict:
    """Volumes are retained when the StatefulSet is deleted or scaled down."""
    stateful = contract.statefulset
    wrong = [
        at(stateful.at(field), f"{key} is {value}: the data goes with it. Set {key}: Retain")
        for field, key, value in (
            ("retention_when_deleted", "whenDeleted", stateful.retention_when_deleted),
            ("retention_when_scaled", "whenScaled", stateful.retention_when_scaled),
        )
        if value != "Retain"
    ]
    return judged(wrong, "volumes are retained")


@rule(_STAYS)
def the_server_may_write_to_its_volume(contract: Contract) -> Verdict:
    """A server that is not root has an fsGroup, and the volume's mount is not read-only."""
    claim = claim_of_store(contract)
    if claim is None or contract.config.store_dir is None:
        return _no_claim()
    pod = contract.statefulset.template
    context = {**pod.security_context, **contract.server_container.security_context}
    wrong = []
    if (context.get("runAsNonRoot") or context.get("runAsUser")) and not pod.security_context.get("fsGroup"):
        text = (
            "the server runs as another user than root and no fsGroup makes the volume writable for it."
            " Set fsGroup"
        )
        wrong.append(at(pod.at("security_context"), text))
    mount = mount_of(contract, contract.config.store_dir)
    if mount is not None and mount.read_only:
        wrong.append(
            at(mount.at("read_only"), f"{posixpath.normpath(mount.mount_path)} is mounted read-only")
        )
    return judged(wrong, "the volume is writable")


RULES: tuple[Rule, ...] = (
    the_buckets_fit_max_file,
    max_file_leaves_room_on_the_volume,
    the_store_is_on_a_volume_of_its_own,
    the_volumes_are_of_the_promised_class,
    each_server_alone_mounts_its_volume,
    deleting_or_scaling_keeps_the_volumes,
    the_server_may_write_to_its_volume,
)
