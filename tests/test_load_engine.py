"""The engine starts what is due whatever is in flight; the mix draws what it is weighed to draw."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from natsproof.clock import now_ns
from natsproof.errors import UsageError
from natsproof.load.actions import Actions
from natsproof.load.engine import Engine
from natsproof.load.frames import SAMPLES, FrameReader, frame
from natsproof.load.locust_settings import Settings
from natsproof.load.mix import PLATFORM, Action, Chooser, noisy, only, share
from natsproof.load.schedule import Pacer
from natsproof.load.spec import GeneratorSpec


def run(rate_hz, seconds, perform, *, max_in_flight=10_000):
    """An engine over a schedule that is due already, so that nothing depends on timing."""

    async def all_of_it():
        end = now_ns()
        began = end - int(seconds * 1e9)
        pacer = Pacer(began, seed=1, arrivals="even")
        pacer.set_rate(rate_hz, began)
        engine = Engine(pacer, lambda: 0, perform, max_in_flight=max_in_flight)
        await engine.run(lambda: end)
        left = await engine.drain(0.05)
        return engine, engine.take_samples(), left

    return asyncio.run(all_of_it())


def test_a_stalled_platform_meets_every_arrival():
    async def never(action):
        await asyncio.Event().wait()
        return action, 0

    engine, samples, left = run(100, 2.0, never)
    assert engine.progress.started == 200
    assert len(samples) == 0 and left == 200


def test_every_arrival_is_answered_once_with_its_intended_start():
    async def at_once(action):
        return action, 0

    engine, samples, left = run(100, 2.0, at_once)
    assert len(samples) == 200 and left == 0
    assert len(set(samples["intended_ns"].tolist())) == 200
    assert (samples["sent_ns"] >= samples["intended_ns"]).all()
    assert engine.progress.in_flight == 0


def test_more_in_flight_than_allowed_is_refused_and_counted():
    async def never(action):
        await asyncio.Event().wait()
        return action, 0

    engine, _, _ = run(100, 2.0, never, max_in_flight=50)
    assert engine.progress.started == 50 and engine.progress.refused == 150


def test_actions_are_drawn_by_weight():
    chooser = Chooser(PLATFORM, seed=3)
    drawn = Counter(chooser.next() for _ in range(20_000))
    for index, action in enumerate(PLATFORM):
        assert drawn[index] / 20_000 == pytest.approx(action.weight / 100, abs=0.01)


def test_new_weights_hold_from_the_next_draw_on():
    chooser = Chooser(PLATFORM, seed=3)
    chooser.next()
    chooser.weigh([0.0] * 8 + [1.0])
    assert {chooser.next() for _ in range(50)} == {8}


def test_weights_of_another_mix_are_refused():
    with pytest.raises(UsageError, match="9 weights are needed"):
        Chooser(PLATFORM, seed=1).weigh([1.0])


def test_shares_of_the_platform_mix():
    assert share(PLATFORM, writing=True) == pytest.approx(0.8)
    assert share(PLATFORM, bucket="integration_locks") == pytest.approx(0.22)
    assert share(noisy(PLATFORM, "message_state", 10), bucket="message_state") > 0.9
    assert {a.bucket for a in only(PLATFORM, "retry_queue")} == {"retry_queue"}


def test_an_action_without_what_it_needs_is_refused():
    with pytest.raises(UsageError, match=r"integration_locks.release needs integration_locks.acquire"):
        Actions([Action("integration_locks", "release", 1.0)], None, prefix="p", worker=0)  # type: ignore[arg-type]


def test_frames_survive_any_cut():
    sent = frame(SAMPLES, b"abc") + frame(b"E", b"") + frame(b"R", b"x" * 1000)
    for size in (1, 3, 7, 1000, len(sent)):
        reader, got = FrameReader(), []
        for start in range(0, len(sent), size):
            got += reader.feed(sent[start : start + size])
        assert got == [(SAMPLES, b"abc"), (b"E", b""), (b"R", b"x" * 1000)]


def test_a_spec_travels_as_json():
    spec = GeneratorSpec(urls=("nats://a:1",), seed=4, worker=2, record="x", first_value=9)
    assert GeneratorSpec.from_json(spec.to_json()) == spec


def test_settings_come_from_the_environment():
    given = {"NATS_URL": "nats://a:1,nats://b:2", "NATSPROOF_SHAPE": "spike", "NATSPROOF_RATE_HZ": "50"}
    settings = Settings.from_environment(given)
    assert settings.urls == ("nats://a:1", "nats://b:2")
    assert [s.rate_hz for s in settings.stages()] == [50, 150, 50]
    stages = Settings.from_environment({"NATSPROOF_STAGES": "[[10, 2], [20, 3]]"})
    assert stages.shaped and [s.duration_s for s in stages.stages()] == [2, 3]


@pytest.mark.parametrize(("name", "value"), [("NATSPROOF_RATE_HZ", "many"), ("NATSPROOF_SHAPE", "zigzag")])
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(UsageError, match=name):
        Settings.from_environment({name: value})
