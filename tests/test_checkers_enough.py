"""What evidence guards counted is kept beside what they need, also when it was enough."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from natsproof.certify import Certify
from natsproof.checkers.guards import acknowledged_puts, at_least, in_flight_at_the_fault, settled
from natsproof.checkers.operations import at_least_while
from natsproof.errors import EvidenceMissing
from natsproof.verdict import holds
from tests.test_checkers_service import fault, history, puts

TWO_FAULTS = history(puts(*range(10), *range(41, 45)), injections=[fault(5, 20), fault(40, 55)])


def certify():
    session = SimpleNamespace(folder=SimpleNamespace(trial_folder=lambda name: name))
    return Certify(SimpleNamespace(), "quick", lambda: session, "", "")  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("guard", "fewest"),
    [
        (at_least(3, acknowledged_puts), 14),
        (at_least(3, acknowledged_puts, when="during"), 4),
        (at_least(3, acknowledged_puts, when="after"), 0),
        (at_least(3, acknowledged_puts, when="during", fault="Pause"), None),
        (in_flight_at_the_fault(), 0),
        (at_least_while(1, acknowledged_puts), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_guard_counts_the_fewest_of_all_faults(guard, fewest):
    assert guard.fewest(TWO_FAULTS) == fewest
    assert bool(guard(TWO_FAULTS)) is (fewest is None or fewest < guard.needed)


def test_what_was_enough_is_kept_beside_what_was_needed():
    claim = certify()
    given = [at_least(12, acknowledged_puts), lambda _: None]
    claim.that(TWO_FAULTS, lambda _: holds("all there"), given=given)
    (check,) = claim.checks
    assert check["counted"] == [
        {"guard": "at_least(12, acknowledged_puts, ever)", "counted": 14, "needed": 12}
    ]


def test_what_was_too_little_is_kept_too():
    claim = certify()
    with pytest.raises(EvidenceMissing, match=r"only 4 acknowledged puts during .*, 5 needed"):
        claim.that(
            TWO_FAULTS,
            lambda _: holds("all there"),
            given=[at_least(5, acknowledged_puts, when="during"), settled],
        )
    assert [one["counted"] for one in claim.checks[0]["counted"]] == [4]


def test_a_promise_that_is_named_twice_is_listed_once():
    claim = certify()
    for _ in range(2):
        claim.that(TWO_FAULTS, lambda _: holds("all there"), promise=["promises.yaml:26", "promises.yaml:26"])
    assert claim.promises == ["promises.yaml:26"]
