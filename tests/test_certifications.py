"""The page of certifications in a row: what counts as a false alarm, and how many runs are between two."""

from __future__ import annotations

from bench.certifications import Run, longest_quiet, page, quiet_to_the_end


def _run(seed: int, *wrong: str, cause: str = "") -> Run:
    return Run("certify", "", seed, 1 if wrong else 0, 300.0, {"HOLDS": 280}, list(wrong), cause=cause)


RUNS = [
    _run(1),
    _run(2, "BROKEN a", cause="nats-server, finding 39"),
    _run(3),
    _run(4, "UNKNOWN b", cause="natsproof, finding 48"),
    _run(5),
    _run(6, "BROKEN c"),
    _run(7),
    _run(8),
]


def test_what_is_true_of_the_server_is_no_false_alarm() -> None:
    assert [run.seed for run in RUNS if run.is_false_alarm] == [4, 6]
    assert (longest_quiet(RUNS), quiet_to_the_end(RUNS)) == (3, 2)
    assert (longest_quiet([]), quiet_to_the_end([])) == (0, 0)


def test_the_page_names_both() -> None:
    told = page(RUNS)
    assert "**5 of 8 without BROKEN or UNKNOWN**, 2 false alarms: 3 runs at most between two, 2 since" in told
    assert "UNKNOWN b (natsproof, finding 48)" in told
