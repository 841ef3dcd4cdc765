"""report.html"""

from __future__ import annotations

import html

from natsproof.report.record import Run
from natsproof.report.run_folder import RunFolder


def page(folder: RunFolder, run: Run) -> str:
    """One self-contained page."""
    rows = "".join(
        f"<tr><td>{c.status.value}</td><td>{html.escape(c.sentence)}</td><td>{html.escape(c.reason)}</td></tr>"
        for c in run.claims
    )
    title = run.title.value
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<h1>{title}</h1><table>{rows}</table></html>\n"
    )
