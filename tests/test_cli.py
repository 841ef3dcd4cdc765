"""The command `natsproof`: every command, its exit codes and messages."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from natsproof.cli import main
from natsproof.contract.rules.rule import Rule
from natsproof.report.build import build
from natsproof.report.record import COMPLETE, INTERRUPTED, Claim, Run
from natsproof.report.run_folder import RunFolder, create
from natsproof.report.trend import as_page, flips, groups, nights, series
from natsproof.terminal import summary as end_lines
from natsproof.verdict import Status, unknown
from tests.sessions import BROKEN, HOLDS, Session, environment, lay_out, session

__all__ = ["session"]

MANIFESTS = Path(__file__).parent.parent / "manifests"


def run_with(
    reports: Path,
    status: Status,
    recovery_s: float,
    seed: int,
    *,
    state: str = COMPLETE,
    left_out: tuple[str, ...] = (),
    **head: object,
) -> RunFolder:
    made = create(reports, "embedded", seed)
    made.start(
        {
            "seed": seed,
            "cluster": "embedded",
            "depth": "quick",
            "contract_digest": "c",
            "natsproof": "1",
            "started_at": f"2026-01-01T00:00:{seed:02}Z",
            **head,
        }
    )
    made.add_claim(
        Claim(
            "test_it",
            "suites/test_x.py::test_it",
            "It.",
            status,
            "seen",
            evidence={"recovery_max_s": recovery_s},
        )
    )
    made.add_scope("main", ["suites/test_x.py::test_it"], [], left_out)
    made.finish(state)
    build(made, made.read())
    return made


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    for seed, (status, recovery_s) in enumerate(
        [(Status.HOLDS, 4.0), (Status.BROKEN, 31.5), (Status.BROKEN, 33.0), (Status.HOLDS, 5.0)]
    ):
        run_with(folder, status, recovery_s, seed)
    return folder


# -- lint


def test_lint_judges_the_shipped_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(MANIFESTS)]) == 0
    assert "0 BROKEN, 0 UNKNOWN" in capsys.readouterr().out


@pytest.fixture
def one_replica(tmp_path: Path) -> Path:
    """The shipped manifests with a defect: two servers instead of three."""
    copy = tmp_path / "manifests"
    shutil.copytree(MANIFESTS, copy)
    path = copy / "statefulset.yaml"
    path.write_text(path.read_text().replace("replicas: 3", "replicas: 2"))
    return copy


def test_lint_names_the_line_and_exits_1(one_replica: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sarif = one_replica.parent / "found.sarif"
    assert main(["lint", str(one_replica), "--sarif", str(sarif)]) == 1
    out = capsys.readouterr().out
    broken = [line for line in out.splitlines() if ": BROKEN " in line]
    assert broken
    assert all(line.startswith(f"{one_replica}/") for line in broken)
    results = json.loads(sarif.read_text())["runs"][0]["results"]
    assert len([r for r in results if r["level"] == "error"]) == len(broken)


def test_lint_annotates_changes_on_github(one_replica: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(one_replica), "--format", "github"]) == 1
    assert f"::error file={one_replica}/" in capsys.readouterr().out


def test_lint_of_what_cannot_be_read_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("kind: [\n")
    assert main(["lint", str(tmp_path / "bad.yaml")]) == 4
    assert "bad.yaml:" in capsys.readouterr().err


def test_lint_that_cannot_decide_exits_6(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("natsproof.lint.RULES", [Rule("it_is_so", "It.", "x", lambda _: unknown("no Job"))])
    assert main(["lint", str(MANIFESTS)]) == 6
    assert "UNKNOWN it_is_so: no Job" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(MANIFESTS), "--sarif", str(tmp_path / "nowhere" / "s.sarif")]) == 3
    assert "natsproof: FileNotFoundError: " in capsys.readouterr().err


# -- verify


def test_verify_accepts_a_whole_certificate(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(reports / "latest")]) == 0
    out = capsys.readouterr().out
    assert "whole: every file is the one that was judged" in out
    assert "not signed: who made it cannot be told" in out


def test_verify_refuses_by_name(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (reports / "latest" / "report.html").write_text("all is well")
    assert main(["verify", str(reports / "latest" / "certificate.json")]) == 1
    assert capsys.readouterr().out.startswith("REFUSED report.html: has 11 bytes, certified were ")


# -- report


def test_report_builds_the_documents_again(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = reports / "latest" / "report.html"
    page.unlink()
    assert main(["report", str(reports / "latest")]) == 0
    assert page.is_file()
    assert capsys.readouterr().out.startswith("CERTIFIED: ")
    assert main(["verify", str(reports / "latest")]) == 0


def test_report_of_a_run_that_goes_on_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = create(tmp_path, "embedded", 1)
    made.start({"seed": 1})
    assert main(["report", str(made.path)]) == 4
    assert "this run still goes on (process " in capsys.readouterr().err


def test_report_of_no_run_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 4
    assert "it has no run.json" in capsys.readouterr().err


# -- trend


def test_trend_shows_flips_and_courses(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trend", str(reports)]) == 0
    out = capsys.readouterr().out
    assert "2 verdict flips" in out
    assert "suites/test_x.py::test_it: HOLDS -> BROKEN" in out
    assert "embedded, quick: 4 whole runs" in out
    assert "recovery_max_s: 4 -> 5 (least 4, most 33)" in out
    page = (reports / "trend.html").read_text()
    assert 'aria-label="recovery_max_s over 4 runs on embedded, quick, from 4 to 5"' in page


def test_trend_follows_each_claim_over_the_runs_that_judged_it(reports: Path) -> None:
    found = nights(reports)
    assert [night.run.header["seed"] for night in found.nights] == [0, 1, 2, 3]
    assert [(flip.before, flip.after) for flip in flips(found.nights)] == [
        ("HOLDS", "BROKEN"),
        ("BROKEN", "HOLDS"),
    ]
    assert series(found.nights)["recovery_max_s"] == [4.0, 31.5, 33.0, 5.0]
    assert "://" not in as_page(found)


def test_trend_compares_like_with_like(reports: Path) -> None:
    """A part, a rejudged, an interrupted run, another cluster and another depth join no course."""
    run_with(reports, Status.BROKEN, 90.0, 10, partial=True)
    run_with(reports, Status.HOLDS, 91.0, 11, rejudged="reports/x")
    run_with(reports, Status.HOLDS, 92.0, 12, state=INTERRUPTED)
    run_with(reports, Status.HOLDS, 93.0, 13, cluster="kind")
    run_with(reports, Status.HOLDS, 94.0, 14, depth="standard")
    run_with(reports, Status.HOLDS, 95.0, 15, left_out=("a", "b"))
    found = nights(reports)
    assert [night.kind for night in found.nights[4:]] == [
        "part", "rejudged", "interrupted", "whole", "whole", "part",
    ]  # fmt: skip
    courses = {name: series(runs)["recovery_max_s"] for name, runs in groups(found.nights).items()}
    assert courses == {
        "embedded, quick": [4.0, 31.5, 33.0, 5.0],
        "kind, quick": [93.0],
        "embedded, standard": [94.0],
    }
    assert [(flip.after, flip.night) for flip in flips(found.nights)[2:]] == [
        ("BROKEN", found.nights[4].name),
        ("HOLDS", found.nights[6].name),
    ], "a part judged the platform, a rejudged run did not"


def test_trend_tells_a_flip_of_changed_manifests(reports: Path) -> None:
    run_with(reports, Status.BROKEN, 1.0, 9, contract_digest="d")
    assert [flip.contract_changed for flip in flips(nights(reports).nights)] == [False, False, True]


def test_trend_names_a_run_that_cannot_be_read(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = run_with(reports, Status.HOLDS, 1.0, 9)
    (bad.path / "run.json").write_text("{")
    assert main(["trend", str(reports)]) == 0
    assert f"not readable: {bad.path.name}: " in capsys.readouterr().out
    assert bad.path.name in (reports / "trend.html").read_text()


def test_trend_of_nothing_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trend", str(tmp_path)]) == 4
    assert "no run here; pytest suites/ leaves one" in capsys.readouterr().err


# -- what a run says at its end


def test_latest_is_the_run_that_it_was_at_the_start(session: Session) -> None:
    assert session(BROKEN).returncode == 1
    done = session(HOLDS + BROKEN.replace("one_is_lost", "all_is_well"), "--baseline", "reports/latest")
    assert "test_a_put_survives: BROKEN -> HOLDS" in done.stdout, done.stdout


def test_a_long_reason_is_one_line_of_bounded_length(reports: Path) -> None:
    long = Claim("test_it", "suites/test_x.py::test_it", "It.", Status.UNKNOWN, "down\n" + "log line\n" * 500)
    lines = [line for line, _ in end_lines(Run({}, COMPLETE, (long,)), reports, [])]
    (said,) = [line for line in lines if line.startswith("UNKNOWN test_it: down log line")]
    assert said.endswith(" ...")
    assert len(said) < 500


# -- doctor, and what runs lint for others


def doctor(folder: Path, claims: str) -> subprocess.CompletedProcess[str]:
    lay_out(folder, claims)
    return subprocess.run(
        [sys.executable, "-m", "natsproof.cli", "doctor", "--cluster", "none", "--manifests", str(MANIFESTS)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_doctor_says_claim_by_claim_what_can_be_decided(tmp_path: Path) -> None:
    done = doctor(
        tmp_path, HOLDS + HOLDS.replace("def ", "@pytest.mark.needs('PowerCuttable')\ndef test_power_")
    )
    assert done.returncode == 6, done.stderr
    lines = done.stdout.splitlines()
    assert "can    suites/test_it.py::test_nothing_is_lost" in lines
    reason = "the none cluster here is not PowerCuttable"
    assert f"cannot suites/test_it.py::test_power_test_nothing_is_lost: {reason}" in lines
    assert not (tmp_path / "reports").exists()


def test_doctor_has_nothing_to_say_where_all_can_be_decided(tmp_path: Path) -> None:
    done = doctor(tmp_path, HOLDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot" not in done.stdout


def test_the_pre_commit_hook_runs_a_command_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    (hook,) = yaml.safe_load((MANIFESTS.parent / ".pre-commit-hooks.yaml").read_text())
    name, *words = [*hook["entry"].split(), *hook["args"]]
    assert name == "natsproof"
    assert main([*words[:-1], str(MANIFESTS)]) == 0
    assert not hook["pass_filenames"]


def test_the_action_runs_a_command_that_exists(tmp_path: Path) -> None:
    action = yaml.safe_load((MANIFESTS.parent / "action.yml").read_text())
    command = action["runs"]["steps"][-1]["run"]
    words = shlex.split(command.replace("$MANIFESTS", str(MANIFESTS)).replace("$SARIF", str(tmp_path / "s")))
    assert words[0] == "$RUNNER_TEMP/natsproof/bin/natsproof"
    assert main(words[1:]) == 0
    assert (tmp_path / "s").is_file()


# -- the parser


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["lint", "--nonsense"], ["verify"]])
def test_a_wrong_call_exits_4_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 4
    assert "usage: natsproof" in capsys.readouterr().err
