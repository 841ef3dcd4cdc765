"""The command `natsproof`: what people do with manifests and reports beside running pytest.

Exit codes: 0 in order · 1 refused or broken · 4 wrong use or manifests · 6 not decided.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from natsproof import __version__
from natsproof.errors import ContractError, NatsproofError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except (ContractError, UsageError) as problem:
        print(f"natsproof: {problem}", file=sys.stderr)
        return 4
    except (NatsproofError, OSError) as problem:
        print(f"natsproof: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(4, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="natsproof", description="Certify a NATS platform with: pytest suites/")
    parser.add_argument("--version", action="version", version=f"natsproof {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    lint = commands.add_parser("lint", help="what the manifests alone decide, in under a second")
    lint.add_argument(
        "manifests", nargs="?", default="manifests", help="folder, file or - (default: manifests)"
    )
    lint.add_argument("--sarif", type=Path, metavar="FILE", help="also write the findings as SARIF")
    lint.add_argument("--format", default="text", choices=("text", "github"), help="github: annotations")
    lint.set_defaults(run=_lint)

    promises = commands.add_parser("promises", help="draft promises.yaml from manifests that carry none")
    promises.add_argument("manifests", nargs="?", default="manifests", help="folder, file or -")
    promises.set_defaults(run=_promises)

    verify = commands.add_parser("verify", help="check a certificate: schema, files, verdicts, signature")
    verify.add_argument("certificate", type=Path, help="reports/<run>/certificate.json, or the folder")
    verify.add_argument("--key", type=Path, metavar="PEM", help="the Ed25519 key that must have signed it")
    verify.add_argument("--sigstore-identity", metavar="WHO", help="who must have signed it with Sigstore")
    verify.add_argument("--sigstore-issuer", metavar="ISSUER", help="the OIDC issuer of that identity")
    verify.set_defaults(run=_verify)

    report = commands.add_parser("report", help="build the documents of a run again from its files")
    report.add_argument("folder", type=Path, help="reports/<run>")
    report.add_argument("--sign-key", type=Path, metavar="PEM", help="Ed25519 private key")
    report.add_argument("--sign-sigstore", action="store_true", help="sign with Sigstore (needs a network)")
    report.set_defaults(run=_report)

    trend = commands.add_parser("trend", help="verdict flips, recovery, capacity and run time over runs")
    trend.add_argument("reports", type=Path, nargs="?", default=Path("reports"))
    trend.add_argument("--html", type=Path, metavar="FILE", help="the page (default: reports/trend.html)")
    trend.set_defaults(run=_trend)

    doctor = commands.add_parser("doctor", help="what this host can run, claim by claim")
    doctor.add_argument("suites", type=Path, nargs="?", default=Path("suites"))
    doctor.add_argument("--cluster", default="embedded", help="embedded, kind, context:NAME")
    doctor.add_argument("--manifests", default="manifests")
    doctor.set_defaults(run=_doctor)
    return parser


def _lint(chosen: argparse.Namespace) -> int:
    from natsproof.lint import lint

    code, text = lint(chosen.manifests, chosen.sarif, chosen.format)
    print(text)
    return code


def _promises(chosen: argparse.Namespace) -> int:
    from natsproof.contract.draft import draft
    from natsproof.contract.loader import load

    print(draft(load(chosen.manifests, promises_required=False)), end="")
    return 0


def _verify(chosen: argparse.Namespace) -> int:
    from natsproof.report.attestation import public_key
    from natsproof.report.certificate import CERTIFICATE
    from natsproof.report.sigstore_bundle import Identity
    from natsproof.report.verify import signers, verify

    path = chosen.certificate / CERTIFICATE if chosen.certificate.is_dir() else chosen.certificate
    who, issuer = chosen.sigstore_identity, chosen.sigstore_issuer
    if bool(who) != bool(issuer):
        raise UsageError(
            "--sigstore-identity and --sigstore-issuer belong together: who, vouched for by whom"
        )
    identity = Identity(who, issuer) if who else None
    wrong = verify(path, public_key(chosen.key) if chosen.key else None, identity)
    for line in wrong:
        print(f"REFUSED {line}")
    if wrong:
        return 1
    print(f"{path}: whole: every file is the one that was judged")
    for line in signers(path, key=chosen.key is not None, identity=who or ""):
        print(line)
    return 0


def _report(chosen: argparse.Namespace) -> int:
    from natsproof.report.build import build
    from natsproof.report.record import INTERRUPTED, RUNNING
    from natsproof.report.run_folder import open_run

    folder = open_run(chosen.folder)
    state = folder.state()
    if state == RUNNING:
        raise UsageError(f"{folder.path}: this run still goes on (process {folder.head().get('pid')})")
    if state == INTERRUPTED and folder.head().get("state") == RUNNING:
        folder.finish(INTERRUPTED, interrupted_by="the death of its process")
    run = folder.read(state)
    for note in build(folder, run, sign_key=chosen.sign_key, sign_sigstore=chosen.sign_sigstore):
        print(note)
    print(f"{run.title.value}: {folder.path / 'report.html'}")
    return 0


def _trend(chosen: argparse.Namespace) -> int:
    from natsproof.report.run_folder import write_atomically
    from natsproof.report.trend import as_page, as_text, nights

    found = nights(chosen.reports)
    target = chosen.html or chosen.reports / "trend.html"
    write_atomically(target, as_page(found))
    print(as_text(found), end="")
    print(f"page: {target}")
    return 0


def _doctor(chosen: argparse.Namespace) -> int:
    from natsproof.doctor import doctor

    return doctor(chosen.suites, ["--cluster", chosen.cluster, "--manifests", chosen.manifests])


if __name__ == "__main__":
    sys.exit(main())
