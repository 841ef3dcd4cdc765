"""All documents of a run from its folder, at its end or at any later time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from natsproof.report import sigstore_bundle
from natsproof.report.attestation import attest, statement
from natsproof.report.certificate import ATTESTATION, CERTIFICATE, DOCUMENTS, certificate
from natsproof.report.junit import junit
from natsproof.report.metrics import metrics
from natsproof.report.page import page
from natsproof.report.record import Run
from natsproof.report.run_folder import RunFolder, write_atomically
from natsproof.report.sarif import sarif
from natsproof.report.summary import summary


def build(
    folder: RunFolder, run: Run, *, sign_key: Path | None = None, sign_sigstore: bool = False
) -> list[str]:
    """Write every document; the certificate comes last, for it carries the digests of the others.

    Gives notes for the terminal. Raises OSError if the disk does not take a document; those written before
    stay. Raises UsageError for a key that cannot sign, and what `sigstore_bundle.sign` raises.
    """
    path = folder.path
    writers: dict[str, Callable[[], str | bytes]] = {
        "junit.xml": lambda: junit(run),
        "summary.md": lambda: summary(run),
        "results.sarif": lambda: sarif(run),
        "metrics.prom": lambda: metrics(run),
        "report.html": lambda: page(folder, run),
    }
    assert set(writers) == set(DOCUMENTS)
    for name, write in writers.items():
        write_atomically(path / name, write())
    text = json.dumps(certificate(path, run), indent=1, default=str) + "\n"
    write_atomically(path / CERTIFICATE, text)
    attestation, notes = attest(text.encode(), run, sign_key)
    write_atomically(path / ATTESTATION, attestation)
    notes += _drop_old_bundle(path, text.encode())
    if sign_sigstore:
        bundle = sigstore_bundle.sign(json.dumps(statement(text.encode(), run)).encode())
        write_atomically(path / sigstore_bundle.BUNDLE, bundle + "\n")
        notes.append(f"signed with Sigstore: {path / sigstore_bundle.BUNDLE}")
    return notes


def _drop_old_bundle(path: Path, certificate: bytes) -> list[str]:
    """A Sigstore signature of another certificate than the one just written signs nothing that is there."""
    bundle = path / sigstore_bundle.BUNDLE
    if not bundle.is_file():
        return []
    try:
        if hashlib.sha256(certificate).hexdigest() in sigstore_bundle.about(path):
            return []
    except ValueError:
        pass
    bundle.unlink()
    return [f"{bundle.name} was of an older certificate and is gone; sign again with --sign-sigstore"]
