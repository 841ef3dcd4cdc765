"""The options of a certification run, checked before anything starts."""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natsproof.certify import DEPTHS
from natsproof.errors import UsageError
from natsproof.report.run_folder import open_run

if TYPE_CHECKING:
    import pytest

#: Random schedules of faults by depth; each takes about 25 s and a start.
SCHEDULES = {"quick": 1, "standard": 4, "deep": 30}
CLUSTERS = "none, embedded, kind, context:NAME"
_CONTEXT = re.compile(r"context:[\w@:/.+-]+$")


@dataclass(frozen=True, slots=True)
class Options:
    """`cluster` is `none`, `embedded`, `kind` or `context:NAME`; paths are as the user wrote them."""

    manifests: tuple[str, ...]
    cluster: str
    seed: int
    depth: str
    reports: Path
    rejudge: Path | None = None
    baseline: Path | None = None
    server_binary: Path | None = None
    nats_binary: Path | None = None
    storage_class: str | None = None
    images: Path | None = None
    sign_key: Path | None = None
    keep: bool = False
    schedules: int = 0
    shrink_s: float = 0.0

    @property
    def random_schedules(self) -> int:
        """How many random schedules are tried: as asked, else by depth."""
        return self.schedules or SCHEDULES[self.depth]

    @property
    def per_trial(self) -> bool:
        """Whether every trial gets a cluster of its own."""
        return self.cluster == "embedded"

    def repeat(self, nodeid: str) -> str:
        """The command that runs one claim again as it was run here."""
        words = ["pytest", nodeid, "--seed", str(self.seed), "--cluster", self.cluster]
        if self.depth != "standard":
            words += ["--depth", self.depth]
        if self.manifests != ("manifests",):
            words += [f"--manifests={path}" for path in self.manifests]  # pytest takes a bare path for a test
        if self.schedules:
            words += ["--schedules", str(self.schedules)]
        if self.server_binary:
            words += ["--server-binary", str(self.server_binary)]
        return " ".join(shlex.quote(word) for word in words)


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("natsproof", "certification of a NATS platform (pytest suites/)")
    add = group.addoption
    where = "folder, file, kustomization or - for standard input; may be repeated (default: manifests/)"
    add("--manifests", action="append", metavar="PATH", help=where)
    add("--cluster", metavar="KIND", help=f"where the platform runs: {CLUSTERS} (default: embedded)")
    add("--seed", metavar="N", help="seed of everything random (default: a new one, printed)")
    add("--depth", metavar="LEVEL", help=f"how much evidence: {', '.join(DEPTHS)} (default: standard)")
    add("--reports", metavar="DIR", help="where runs leave their reports (default: reports/)")
    add("--rejudge", metavar="RUN", help="judge the histories of reports/<run> again; no cluster is started")
    add("--baseline", metavar="RUN", help="show what changed since reports/<run>")
    add("--server-binary", metavar="FILE", help="the nats-server to run instead of the manifests' version")
    add("--nats-binary", metavar="FILE", help="the nats CLI the set-up Job runs")
    add("--storage-class", metavar="NAME", help="kind: use this storage class instead of the promised one")
    add("--images", metavar="FILE", help="kind: archive with every image, for air-gapped hosts")
    add("--sign-key", metavar="FILE", help="Ed25519 private key (PEM) that signs the attestation")
    many = ", ".join(f"{number} for {depth}" for depth, number in SCHEDULES.items())
    add("--schedules", metavar="N", help=f"how many random schedules of faults (default: {many})")
    shrink = "embedded: spend up to so long on making the trial of a broken claim smaller (default: not)"
    add("--shrink", metavar="SECONDS", help=shrink)
    add("--keep", action="store_true", help="keep work folders, and logs of claims that hold")


def given(config: pytest.Config) -> bool:
    """Whether the user gave an option that only a certification has."""
    return any(config.getoption(name) for name in ("manifests", "cluster", "rejudge", "reports", "baseline"))


def _existing(config: pytest.Config, name: str, folder: bool = False) -> Path | None:
    value = config.getoption(name)
    if not value:
        return None
    path = Path(config.invocation_params.dir) / str(value)
    if not (path.is_dir() if folder else path.is_file()):
        kind = "folder" if folder else "file"
        raise UsageError(f"--{name.replace('_', '-')} {value}: no such {kind} (looked at {path})")
    return path.resolve() if folder else path  # reports/latest will soon be another


def read_options(config: pytest.Config, seed: int | None = None) -> Options:
    """Checked options. `seed` overrides (a worker gets the controller's). Raises UsageError."""
    get: Any = config.getoption
    cluster = get("cluster") or "embedded"
    if cluster not in ("none", "embedded", "kind") and not _CONTEXT.match(cluster):
        raise UsageError(f"{cluster!r} is not a --cluster. Valid: {CLUSTERS}.")
    depth = get("depth") or "standard"
    if depth not in DEPTHS:
        raise UsageError(f"{depth!r} is not a --depth. Valid: {', '.join(DEPTHS)}.")
    rejudge = _existing(config, "rejudge", folder=True)
    return Options(
        manifests=_manifests(config, rejudge),
        cluster=cluster,
        seed=_seed(get("seed"), rejudge) if seed is None else seed,
        depth=depth,
        reports=_reports(config),
        rejudge=rejudge,
        baseline=_existing(config, "baseline", folder=True),
        server_binary=_existing(config, "server_binary"),
        nats_binary=_existing(config, "nats_binary"),
        storage_class=get("storage_class"),
        images=_existing(config, "images"),
        sign_key=_existing(config, "sign_key"),
        keep=bool(get("keep")),
        schedules=_whole(get("schedules"), "--schedules", 1000),
        shrink_s=_shrink_s(get("shrink"), cluster, rejudge),
    )


def _whole(text: str | None, option: str, most: int) -> int:
    if text is None:
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise UsageError(f"{text!r} is no {option}. Valid: a whole number from 1 to {most}.")
    return int(text)


def _shrink_s(text: str | None, cluster: str, rejudge: Path | None) -> float:
    seconds = float(_whole(text, "--shrink", 86_400))
    if seconds and (cluster != "embedded" or rejudge):
        raise UsageError(
            "--shrink runs trials again, each on a platform of its own: only --cluster embedded, and "
            "not with --rejudge"
        )
    return seconds


def _seed(text: str | None, rejudge: Path | None) -> int:
    """As given; else that of the run judged again; else a new one."""
    if text is None and rejudge:
        return int(open_run(rejudge).head().get("seed", 0))
    if text is None:
        return secrets.randbelow(2**31)
    if not text.isdecimal() or int(text) >= 2**63:
        raise UsageError(f"{text!r} is not a --seed. Valid: a whole number from 0 to {2**63 - 1}.")
    return int(text)


def _manifests(config: pytest.Config, rejudge: Path | None) -> tuple[str, ...]:
    """As given; else those a rejudged run kept; else `manifests` of the project."""
    asked = config.getoption("manifests")
    if asked:
        return tuple(asked)
    if rejudge and (rejudge / "manifests").is_dir():
        return (str(rejudge / "manifests"),)
    here = config.rootpath / "manifests"
    return ("manifests",) if config.invocation_params.dir == config.rootpath else (str(here),)


def _reports(config: pytest.Config) -> Path:
    asked = config.getoption("reports")
    return config.invocation_params.dir / asked if asked else config.rootpath / "reports"
