"""The contract under test, known before suites are imported: their trials name its buckets."""

from __future__ import annotations

from pathlib import Path

from natsproof.contract.loader import load
from natsproof.contract.model import Contract

#: What suites are about when no session has chosen: tools that import them beside pytest.
SHIPPED = Path(__file__).parent.parent / "manifests"

_chosen: list[Contract] = []


def choose(contract: Contract) -> None:
    """From now on suites that are imported are about this contract."""
    _chosen[:] = [contract]


def contract() -> Contract:
    """The chosen contract, the shipped one if none was. Raises ContractError."""
    if not _chosen:
        choose(load(SHIPPED))
    return _chosen[0]


def buckets() -> tuple[str, ...]:
    """Names of the promised buckets, in the order of promises.yaml."""
    return tuple(bucket.name for bucket in contract().promises.buckets)


def lock_bucket() -> str:
    """The promised bucket for locks: the first with `lock` in its name, else the first at all. What locks
    need of a bucket, conditional writes and expiry, any of them must do."""
    names = buckets()
    return next((name for name in names if "lock" in name), names[0])
