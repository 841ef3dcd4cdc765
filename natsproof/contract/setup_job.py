"""The buckets that the set-up Job will create. First cut: straight lines."""

from __future__ import annotations

from collections.abc import Iterable

from natsproof.contract.model import Bucket, Job, KubernetesObject
from natsproof.contract.problems import Problems


def buckets(objects: Iterable[KubernetesObject], job: Job, problems: Problems) -> tuple[Bucket, ...]:
    return ()
