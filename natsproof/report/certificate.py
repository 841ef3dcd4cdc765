"""certificate.json: what a release manager signs. Its schema is `certificate.schema.json` beside this."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from natsproof.report.record import Claim, Run
from natsproof.report.sigstore_bundle import BUNDLE
from natsproof.verdict import Status

SCHEMA = "natsproof.certificate/1"
CERTIFICATE, ATTESTATION = "certificate.json", "attestation.intoto.json"
#: Files made from the others; all else in a run's folder is evidence.
DOCUMENTS = ("report.html", "junit.xml", "summary.md", "results.sarif", "metrics.prom")
#: Violations and what they are counted among, by their names in evidence; the first pair present is used.
COUNTED = (
    ("lost", "acknowledged"),
    ("violations", "reads"),
    ("violations", "operations"),
    ("missed", "demanded"),
    ("missing", "messages"),
    ("stolen", "acquisitions"),
)


def schema() -> dict[str, Any]:
    """The published JSON schema of the certificate."""
    text = files("natsproof.report").joinpath("certificate.schema.json").read_text()
    return dict(json.loads(text))


@dataclass(frozen=True, slots=True)
class Bound:
    """No `violation` in `n` `counted`: with 95 % confidence its rate is below `rate` = 3/n."""

    violation: str
    counted: str
    n: int

    @property
    def rate(self) -> float:
        return 3 / self.n

    def __str__(self) -> str:
        return f"0 {self.violation} of {self.n:,} {self.counted} (95 %: below {self.rate:.2g})"

    def as_json(self) -> dict[str, str | int | float]:
        return {"violation": self.violation, "counted": self.counted, "n": self.n, "rate": self.rate}


def bound(claim: Claim) -> Bound | None:
    """What HOLDS rests on; None where no violations were counted or the claim does not hold."""
    if claim.status is not Status.HOLDS:
        return None
    for violation, counted in COUNTED:
        count = claim.evidence.get(counted)
        if claim.evidence.get(violation) == 0 and isinstance(count, int) and count > 0:
            return Bound(violation.replace("_", " "), counted.replace("_", " "), count)
    return None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def evidence_files(folder: Path) -> Iterator[Path]:
    """Every file a verdict rests on, sorted; generated documents, drafts and links are none."""
    generated = {*DOCUMENTS, CERTIFICATE, ATTESTATION, BUNDLE}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or path.is_symlink() or path.name.startswith("."):
            continue
        if relative.parts[0] != "work" and str(relative) not in generated:
            yield path


def digests(folder: Path, paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [
        {"path": p.relative_to(folder).as_posix(), "bytes": p.stat().st_size, "sha256": sha256(p)}
        for p in paths
    ]


def certificate(folder: Path, run: Run) -> dict[str, Any]:
    """The certificate of a run whose other documents are written already."""
    head = run.header
    return {
        "schema": SCHEMA,
        "title": run.title.value,
        "state": run.state,
        "interrupted_by": head.get("interrupted_by", ""),
        "exit_code": run.exit_code,
        "run": {
            name: head.get(name, "")
            for name in (
                "started_at",
                "ended_at",
                "seed",
                "depth",
                "cluster",
                "isolation",
                "command",
                "rejudged",
            )
        },
        "contract": {
            "digest": head.get("contract_digest", ""),
            "manifests": head.get("manifests", []),
            "image": head.get("image", ""),
        },
        "software": {
            "natsproof": head.get("natsproof", ""),
            "commit": head.get("commit", ""),
            "server": head.get("server", {}),
            "cli": head.get("cli", {}),
        },
        "host": head.get("host", {}),
        "differences": _differences(run),
        "durability": grades(run),
        "capacity": capacity(run.claims),
        "counts": counts(run),
        "claims": [_claim(claim) for claim in run.claims],
        "not_tested": [
            {"name": n.nodeid, "sentence": n.sentence, "reason": n.reason, "promised": n.promised}
            for n in run.not_tested
        ],
        "never_judged": list(run.never_judged),
        "left_out": list(run.left_out),
        "problems": list(run.problems),
        "trials": [
            {key: trial.get(key) for key in ("name", "digest", "seed", "state", "operations", "took_s")}
            for trial in run.trials.values()
        ],
        "evidence": digests(folder, evidence_files(folder)),
        "documents": digests(folder, (folder / name for name in DOCUMENTS if (folder / name).is_file())),
    }


def counts(run: Run) -> dict[str, int]:
    return {
        **{status.value: len(run.of(status)) for status in Status},
        "not_tested": len(run.not_tested),
        "never_judged": len(run.never_judged),
        "left_out": len(run.left_out),
    }


def grades(run: Run) -> dict[str, str]:
    """The worst verdict of each grade of durability, those that the contract promises first; `not tested`
    where no claim of it was judged."""
    rank = {"not tested": 0, "HOLDS": 1, "UNKNOWN": 2, "BROKEN": 3}
    promised = run.header.get("survives") or ()
    found: dict[str, str] = dict.fromkeys(map(str, promised), "not tested")
    pairs = [(n.grade, "not tested") for n in run.not_tested]
    pairs += [(c.grade, c.status.value) for c in run.claims]
    for grade, said in pairs:
        if grade and rank[said] >= rank[found.get(grade, "not tested")]:
            found[grade] = said
    return found


def capacity(claims: Iterable[Claim]) -> dict[str, int | float | str]:
    """Rates that claims measured, by the name they were measured under."""
    return {
        name: value
        for claim in claims
        for name, value in claim.evidence.items()
        if name.endswith(("_hz", "_per_s")) or name.startswith("capacity")
    }


def _claim(claim: Claim) -> dict[str, Any]:
    data = claim.as_json()
    found = bound(claim)
    data["bound_95"] = found and found.as_json()
    return data


def _differences(run: Run) -> list[str]:
    """Where the cluster ran something else than the manifests say, as clusters declared it."""
    found: dict[str, None] = {}
    for trial in run.trials.values():
        cluster = trial.get("cluster")
        if isinstance(cluster, Mapping):
            found.update(dict.fromkeys(str(text) for text in cluster.get("differences", ())))
    return list(found)
