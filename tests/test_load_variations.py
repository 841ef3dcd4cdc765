"""What a capacity run varies: each thing alone, and none of it in the mix that the knee is of."""

from __future__ import annotations

from natsproof.load.mix import PLATFORM, Chooser
from natsproof.load.variations import BUCKET, fills, measuring_mix, variations, weights


def test_every_axis_of_the_capacity_report_is_varied():
    axes: dict[str, list[int | str]] = {}
    for variation in variations(PLATFORM):
        axes.setdefault(variation.axis, []).append(variation.value)
    assert axes["value_bytes"] == [128, 1024, 16_384]
    assert axes["keys"] == [10, 100_000]
    assert axes["buckets"] == [1, 2, 4]
    assert axes["operation"] == [action.name for action in PLATFORM]


def test_puts_go_to_as_many_buckets_as_the_axis_says():
    found = {v.value: [a.bucket for a in v.actions] for v in variations(PLATFORM) if v.axis == "buckets"}
    assert {number: len(set(buckets)) for number, buckets in found.items()} == {1: 1, 2: 2, 4: 4}
    assert all(buckets[0] == BUCKET for buckets in found.values())


def test_a_platform_of_two_buckets_is_not_varied_to_four():
    two = [a for a in PLATFORM if a.bucket in ("message_state", "retry_queue")]
    assert [v.value for v in variations(two) if v.axis == "buckets"] == [1, 2]


def test_what_is_varied_is_in_the_mix_once_and_without_weight():
    mix = measuring_mix(PLATFORM)
    assert mix[: len(PLATFORM)] == PLATFORM and len(set(mix)) == len(mix)
    assert not any(action.weight for action in mix[len(PLATFORM) :])
    chooser = Chooser(mix, seed=1)
    assert max(chooser.next() for _ in range(5000)) < len(PLATFORM)


def test_only_the_variations_own_actions_are_drawn():
    mix = measuring_mix(PLATFORM)
    for variation in [*variations(PLATFORM)]:
        drawn = [mix[i] for i, weight in enumerate(weights(mix, variation.actions)) if weight]
        assert set(drawn) == set(variation.actions)
    assert [sum(map(bool, weights(mix, [action]))) for action in fills()] == [1, 1, 1]


def test_a_renewal_has_something_to_renew():
    (renew,) = (v for v in variations(PLATFORM) if v.value == "integration_locks.renew")
    assert [action.verb for action in renew.actions] == ["acquire", "renew"]
