"""Reports as files: what is written while a run goes on, and every document made of it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from natsproof.errors import UsageError
from natsproof.history import NEVER_NS, History, Injection, Key, Kind, Operations, Outcome
from natsproof.history_file import write
from natsproof.report.build import build
from natsproof.report.certificate import bound, grades
from natsproof.report.compare import changes
from natsproof.report.coverage import coverage
from natsproof.report.junit import junit
from natsproof.report.logs import window
from natsproof.report.metrics import metrics
from natsproof.report.page import page
from natsproof.report.record import COMPLETE, INTERRUPTED, Claim, NotTested, Run, Shown, Title
from natsproof.report.run_folder import RunFolder, create, open_run, slug
from natsproof.report.sarif import sarif
from natsproof.report.summary import summary
from natsproof.report.timeline import COLUMNS, MAX_ROWS, timeline
from natsproof.verdict import Status

HOLDS, BROKEN, UNKNOWN = Status.HOLDS, Status.BROKEN, Status.UNKNOWN
PLACE = "manifests/configmap.yaml:31"


def claim(status: Status = HOLDS, name: str = "test_it", **values: object) -> Claim:
    defaults: dict[str, object] = {"sentence": f"It {status.value}.", "reason": f"seen <b>{name}</b>"}
    return Claim(name=name, nodeid=f"suites/test_x.py::{name}", status=status, **{**defaults, **values})  # type: ignore[arg-type]


def run_of(claims: Iterable[Claim] = (), state: str = COMPLETE, **values: object) -> Run:
    claims = tuple(claims)
    planned = values.pop("planned", tuple(c.nodeid for c in claims))
    return Run({"seed": 42}, state, claims, planned=planned, **values)  # type: ignore[arg-type]


def history(operations: int = 60, clients: int = 4, landed: bool = True) -> History:
    """Clients that put every 10 ms; the last operation never returns, every tenth fails."""
    rows = []
    for i in range(operations):
        outcome = Outcome.FAILED if i % 10 == 9 else Outcome.OK
        rows.append(
            (
                Kind.PUT,
                i % clients,
                0,
                0,
                i * 10_000_000,
                i * 10_000_000 + 2_000_000,
                outcome,
                i,
                -1,
                i,
                -1,
                -1,
            )
        )
    rows.append(
        (Kind.PUT, 0, 0, 0, operations * 10_000_000, NEVER_NS, Outcome.UNKNOWN, -1, -1, 99_999, -1, -1)
    )
    kill = Injection(
        "Kill(victim='leader')", ("nats-0",), "leader", 1, 200_000_000, 400_000_000, landed, "pid gone"
    )
    meta = {
        "began_ns": 0,
        "began_wall_ns": 1_700_000_000 * 10**9,
        "clients": [f"writer {i}" for i in range(clients)],
    }
    return History(meta, Operations.from_rows(rows), (Key("b", "k"),), injections=(kill,), marks={"drive": 5})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A finished run with a claim of each verdict and one trial."""
    made = create(tmp_path / "reports", "embedded", 42)
    made.start(
        {"seed": 42, "cluster": "embedded", "depth": "quick", "contract_digest": "a" * 64, "natsproof": "1"}
    )
    trial = made.trial_folder("kill-0123456789")
    (trial / "logs").mkdir(parents=True)
    (trial / "trial.json").write_text(json.dumps({"name": trial.name, "digest": "d", "state": "complete"}))
    (trial / "logs" / "nats-0.log").write_text("[7] 2023/11/14 22:13:20.210000 [WRN] </script><b>late</b>\n")
    write(history(), trial / "history.jsonl")
    (made.path / "manifests").mkdir()
    (made.path / "manifests" / "configmap.yaml").write_text("".join(f"line {i}\n" for i in range(1, 60)))
    lost = Shown("put #7 is lost", PLACE, trial.name, 0.07, ({"row": 7, "text": "client 3: put b/k"},))
    bad = claim(
        BROKEN, "test_bad", exhibits=(lost,), trials=(trial.name,), promises=(PLACE,), evidence={"lost": 1}
    )
    claims = [
        bad,
        claim(UNKNOWN, "test_unsure"),
        claim(evidence={"acknowledged": 3000, "lost": 0, "put_hz": 120.5}),
    ]
    for one in claims:
        made.add_claim(one)
    made.add_scope(
        "main",
        [c.nodeid for c in claims],
        [NotTested("test_power", "n", "no root", "Power.", "power loss")],
        ["x"],
    )
    made.finish(COMPLETE)
    return made


# -- what a run's state and titles mean


@pytest.mark.parametrize(
    ("run", "title", "code"),
    [
        (run_of([claim()]), Title.CERTIFIED, 0),
        (run_of([claim()], left_out=("x",)), Title.PARTIAL, 0),
        (run_of([claim()], not_tested=(NotTested("a", "a", "no root"),)), Title.PARTIAL, 0),
        (run_of([claim()], not_tested=(NotTested("a", "a", "no", promised=False),)), Title.CERTIFIED, 0),
        (run_of([claim(), claim(BROKEN, "b"), claim(UNKNOWN, "c")]), Title.NOT_CERTIFIED, 1),
        (run_of([claim(), claim(UNKNOWN, "c")]), Title.NOT_CERTIFIED, 6),
        (run_of([claim(), claim(UNKNOWN, "c", trouble="cluster")]), Title.NOT_CERTIFIED, 3),
        (run_of([claim(BROKEN, "b"), claim(UNKNOWN, "c", trouble="cluster")]), Title.NOT_CERTIFIED, 1),
        (run_of([claim()], planned=("suites/test_x.py::test_it", "y")), Title.NOT_CERTIFIED, 6),
        (run_of([]), Title.NOT_CERTIFIED, 6),
        (run_of([claim()], problems=("teardown failed",)), Title.PARTIAL, 6),
        (run_of([claim(BROKEN)], INTERRUPTED), Title.INTERRUPTED, 2),
    ],
)
def test_a_title_and_an_exit_code_claim_no_more_than_was_judged(run: Run, title: Title, code: int) -> None:
    assert (run.title, run.exit_code) == (title, code)


def test_a_grade_is_as_good_as_its_worst_claim() -> None:
    claims = [claim(grade="process kill"), claim(BROKEN, "b", grade="process kill"), claim(grade="pod moved")]
    out = [NotTested("p", "p", "no root", grade="power loss"), NotTested("q", "q", "no", grade="pod moved")]
    run = Run({"survives": ["pod moved", "partition"]}, COMPLETE, tuple(claims), tuple(out))
    assert grades(run) == {
        "pod moved": "HOLDS",
        "partition": "not tested",
        "power loss": "not tested",
        "process kill": "BROKEN",
    }


def test_a_bound_needs_violations_that_were_counted_and_absent() -> None:
    found = bound(claim(evidence={"acknowledged": 3000, "lost": 0}))
    assert found is not None
    assert (found.n, found.rate, str(found)) == (
        3000,
        0.001,
        "0 lost of 3,000 acknowledged (95 %: below 0.001)",
    )
    assert bound(claim(evidence={"acknowledged": 3000})) is None
    assert bound(claim(BROKEN, evidence={"acknowledged": 3000, "lost": 0})) is None


# -- the folder


def test_claims_come_back_as_they_were_written(folder: RunFolder) -> None:
    run = folder.read()
    assert [c.name for c in run.claims] == ["test_bad", "test_unsure", "test_it"]
    assert run.claims[0].exhibits[0].operations[0]["text"] == "client 3: put b/k"
    assert run.claims[2].evidence == {"acknowledged": 3000, "lost": 0, "put_hz": 120.5}
    assert run.not_tested[0].grade == "power loss"


def test_a_cut_last_line_is_a_problem_and_not_a_crash(folder: RunFolder) -> None:
    path = folder.path / "claims" / "main.jsonl"
    path.write_text(path.read_text() + '{"name": "test_half", "nod')
    run = folder.read()
    assert len(run.claims) == 3
    assert run.problems[0].startswith("claims/main.jsonl:4: not readable")


def test_a_damaged_history_is_named_on_the_page(folder: RunFolder) -> None:
    (folder.trial_folder("kill-0123456789") / "history.jsonl").write_text("[1,2\n[oops]\n")
    assert "history of trial kill-0123456789" in page(folder, folder.read())


def test_a_run_without_its_process_is_interrupted(folder: RunFolder) -> None:
    folder.start({"seed": 1})
    assert folder.state() == "running"
    head = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps({**head, "pid_started_s": 1.0}))
    assert folder.state() == INTERRUPTED


def test_no_run_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run's folder: it has no run\.json"):
        open_run(tmp_path)


def test_names_are_safe_as_files() -> None:
    assert slug("../a b/ü[x]") == "a-b-x"
    assert slug("...") == "unnamed"


# -- documents


def test_junit_counts_what_ci_systems_count(folder: RunFolder) -> None:
    suite = Xml.fromstring(junit(folder.read()))[0]
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "seen <b>test_bad</b>"


def test_junit_survives_text_that_xml_cannot_carry() -> None:
    assert b"bell" in junit(run_of([claim(BROKEN, reason="bell \x07 and \ud800", name="a")]))


def test_sarif_has_every_finding_with_its_line(folder: RunFolder) -> None:
    log = json.loads(sarif(folder.read()))
    assert log["version"] == "2.1.0"
    (result,) = log["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (
        "manifests/configmap.yaml",
        31,
    )
    assert (result["ruleId"], result["level"]) == ("test_bad", "error")


def test_metrics_end_as_openmetrics_must(folder: RunFolder) -> None:
    lines = metrics(folder.read()).splitlines()
    assert lines[-1] == "# EOF"
    assert 'natsproof_claims{verdict="BROKEN"} 1' in lines
    assert 'natsproof_claim_measure{claim="suites/test_x.py::test_it",measure="put_hz"} 120.5' in lines
    sample = re.compile(r"[a-z_]+(\{([a-z_]+=\"[^\"\n]*\",?)+\})? -?[\d.e+-]+$")
    assert all(sample.match(line) for line in lines if not line.startswith("#"))


def test_the_summary_puts_first_what_does_not_hold(folder: RunFolder) -> None:
    text = summary(folder.read())
    assert text.startswith("## ❌ NOT CERTIFIED\n")
    assert text.index("BROKEN |") < text.index("UNKNOWN |") < text.index("claims hold")
    assert "0 lost of 3,000 acknowledged (95 %: below 0.001)" in text
    assert "Durability: power loss **not tested**." in text
    assert "<b>" not in text


def test_changed_verdicts_are_listed_with_their_reason() -> None:
    before, after = run_of([claim(BROKEN)]), run_of([claim(), claim(UNKNOWN, "b")])
    assert changes(before, after) == [
        "test_it: BROKEN -> HOLDS: seen <b>test_it</b>",
        "b: absent -> UNKNOWN: seen <b>b</b>",
    ]


# -- the picture


def test_a_picture_counts_every_operation_and_draws_some() -> None:
    drawn = timeline(history(5000), sample=300)
    assert drawn["summary"]["operations"] == 5001
    assert drawn["summary"]["failed"] == 500
    assert drawn["summary"]["unknown"] == 1
    assert len(drawn["sample"]) == 300
    assert drawn["rows"] == [f"writer {i}" for i in range(4)]
    assert drawn["faults"][0]["injected_s"] == 0.2
    assert len(drawn["latency_us"]["p50"]) == COLUMNS
    assert max(drawn["latency_us"]["max"]) == 2000
    assert json.dumps(drawn)


def test_each_bucket_has_its_own_longest_silence() -> None:
    """One that is silent for 5 s while the other goes on is said to be silent for 5 s."""
    times = {0: [0.0, 1.0, 6.0, 7.0], 1: [i * 0.5 for i in range(15)]}
    rows = [
        (Kind.PUT, 0, 0, key, int(at_s * 1e9), int(at_s * 1e9) + 1, Outcome.OK, i, -1, i, -1, -1)
        for key, moments in times.items()
        for i, at_s in enumerate(moments)
    ]
    seen = History({"began_ns": 0}, Operations.from_rows(rows), (Key("state", "k"), Key("locks", "k")))
    assert timeline(seen)["summary"]["silences"] == [
        {"bucket": "state", "longest_s": 5.0, "from_s": 1.0},
        {"bucket": "locks", "longest_s": 0.5, "from_s": 0.0},
    ]


def test_many_clients_share_rows() -> None:
    drawn = timeline(history(5000, clients=500))
    assert len(drawn["rows"]) <= MAX_ROWS
    assert drawn["summary"]["clients"] == 500


def test_a_picture_of_nothing_is_empty() -> None:
    drawn = timeline(History({"began_ns": 0}, Operations.empty()))
    assert (drawn["rows"], drawn["sample"], drawn["summary"]["operations"]) == ([], [], 0)


def test_coverage_counts_what_landed_by_role_and_phase() -> None:
    table = coverage([history(), history(landed=False)]).table()
    assert table["columns"] == [{"role": "leader", "phase": "drive"}]
    assert table["rows"] == [
        {"fault": "Kill", "cells": [{"text": "1 landed, 1 missed", "landed": 1, "missed": 1}]}
    ]


def test_log_lines_are_placed_on_the_clock_of_the_history(tmp_path: Path) -> None:
    (tmp_path / "nats-0.log").write_text(
        "[7] 2023/11/14 22:13:20.210000 [INF] near the kill\n"
        "[7] 2023/11/14 22:13:29.000000 [INF] far from all\n"
        "[7] 2023/11/14 22:13:29.500000 [ERR] loud\nno line of a server\n"
    )
    (found,) = window(history(), tmp_path)
    assert [(line["at_s"], line["text"]) for line in found["lines"]] == [
        (0.21, "near the kill"),
        (9.5, "loud"),
    ]


# -- the page


def test_the_page_is_self_contained_and_escapes_what_it_shows(folder: RunFolder) -> None:
    text = page(folder, folder.read())
    assert "seen &lt;b&gt;test_bad&lt;/b&gt;" in text
    assert "<b>late" not in text
    assert "&lt;/script&gt;&lt;b&gt;late" in text
    assert not re.search(r"""(src|href)=["'](?!#|data:|[\w-]+/report)""", text)
    assert "://" not in text
    assert text.index("NOT CERTIFIED") < text.index("test_bad")
    assert '<span class="here"><i>31</i>line 31</span>' in text


@pytest.mark.browser
def test_the_page_opens_in_chromium_without_errors_or_requests(folder: RunFolder, tmp_path: Path) -> None:
    build(folder, folder.read())
    report = folder.path / "report.html"
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9",  # its own calls home
            f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={tmp_path / 'net.json'}",
            "--virtual-time-budget=3000", "--dump-dom", f"file://{report}",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert re.search(r"<output class=\"muted\"[^>]*></output>", done.stdout)
    assert re.search(r'<canvas [^>]*style="height: \d+', done.stdout), "the timeline was not drawn"
    asked = [event.get("params", {}) for event in json.loads((tmp_path / "net.json").read_text())["events"]]
    of_the_page = [p["url"] for p in asked if p.get("initiator", "not an origin") != "not an origin"]
    assert not [url for url in of_the_page if not url.startswith(("file:", "data:"))]


def test_numbers_of_numpy_do_not_reach_files() -> None:
    assert "int64" not in json.dumps(timeline(history(10)))
    with pytest.raises(TypeError):
        json.dumps(np.int64(1))
