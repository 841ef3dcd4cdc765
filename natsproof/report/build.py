"""All documents of a run from its folder, at its end or at any later time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from natsproof.report.attestation import attest
from natsproof.report.certificate import ATTESTATION, CERTIFICATE, DOCUMENTS, certificate
from natsproof.report.junit import junit
from natsproof.report.metrics import metrics
from natsproof.report.page import page
from natsproof.report.record import Run
from natsproof.report.run_folder import RunFolder, write_atomically
from natsproof.report.sarif import sarif
from natsproof.report.summary import summary


def build(folder: RunFolder, run: Run, *, sign_key: Path | None = None) -> list[str]:
    """Write every document; the certificate comes last, for it carries the digests of the others.

    Gives notes for the terminal. Raises OSError if the disk does not take a document; those written before
    stay. Raises UsageError for a key that cannot sign.
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
    statement, notes = attest(text.encode(), run, sign_key)
    write_atomically(path / ATTESTATION, statement)
    return notes
