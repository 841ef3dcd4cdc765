"""A scaled twin stands for its bucket if it differs from it in nothing that matters to expiry."""

from __future__ import annotations

from natsproof.checkers.expiry import values_expire_on_time
from natsproof.history import History
from natsproof.verdict import Verdict, unknown

#: What a twin is given: its name, and a size and times in proportion to its life.
SCALED = frozenset({"name", "subjects", "max_age", "max_bytes", "duplicate_window"})


class TwinExpires:
    """Values in the twin of `bucket` expire on time, and its configuration, as the server has it, is that of
    the bucket but for what is scaled. Reads the observations `twin` (natsproof.workloads.twins)."""

    def __init__(self, bucket: str, late_s: float) -> None:
        self.bucket, self.late_s = bucket, late_s

    def __call__(self, history: History) -> Verdict:
        twins = [o.data for o in history.observed("twin") if o.data.get("of") == self.bucket]
        if not twins:
            return unknown(f"no twin of {self.bucket} was made")
        real, made = twins[0]["of_config"], twins[0]["config"]
        fields = (real.keys() | made.keys()) - SCALED
        if unlike := sorted(f for f in fields if real.get(f) != made.get(f)):
            said = "; ".join(f"{f} is {made.get(f)!r} instead of {real.get(f)!r}" for f in unlike)
            return unknown(f"the twin of {self.bucket} does not stand for it: {said}")
        return values_expire_on_time(self.late_s)(history.of_bucket(twins[0]["bucket"]))
