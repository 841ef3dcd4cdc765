"""junit.xml: one test case a claim, as CI systems read it. UNKNOWN is an error, BROKEN a failure."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from natsproof.report.record import Claim, Run
from natsproof.verdict import Status

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Text that XML 1.0 can carry."""
    return _FORBIDDEN.sub("�", text)


def junit(run: Run) -> bytes:
    head = run.header
    unknown = len(run.of(Status.UNKNOWN)) + len(run.never_judged)
    attributes = {
        "name": "natsproof",
        "timestamp": str(head.get("started_at", "")),
        "tests": str(len(run.claims) + len(run.never_judged) + len(run.not_tested)),
        "failures": str(len(run.of(Status.BROKEN))),
        "errors": str(unknown),
        "skipped": str(len(run.not_tested)),
        "time": f"{sum(claim.took_s for claim in run.claims):.3f}",
    }
    suite = Xml.Element("testsuite", attributes)
    properties = Xml.SubElement(suite, "properties")
    for name in ("seed", "depth", "cluster", "contract_digest", "image"):
        Xml.SubElement(properties, "property", name=name, value=clean(str(head.get(name, ""))))
    Xml.SubElement(properties, "property", name="title", value=run.title.value)
    for claim in run.claims:
        _case(suite, claim)
    for name in run.never_judged:
        case = _named(suite, name, 0.0)
        Xml.SubElement(case, "error", type="UNKNOWN", message="never judged: the run ended before")
    for entry in run.not_tested:
        case = _named(suite, entry.nodeid, 0.0)
        Xml.SubElement(case, "skipped", message=clean(f"not tested: {entry.reason}"))
    root = Xml.Element("testsuites", {k: v for k, v in attributes.items() if k != "timestamp"})
    root.append(suite)
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _named(suite: Xml.Element, nodeid: str, took_s: float) -> Xml.Element:
    file, _, name = nodeid.partition("::")
    class_name = clean(file.removesuffix(".py").replace("/", "."))
    return Xml.SubElement(
        suite, "testcase", classname=class_name, name=clean(name or nodeid), time=f"{took_s:.3f}"
    )


def _case(suite: Xml.Element, claim: Claim) -> None:
    case = _named(suite, claim.nodeid, claim.took_s)
    properties = Xml.SubElement(case, "properties")
    Xml.SubElement(properties, "property", name="verdict", value=claim.status.value)
    for name, value in claim.evidence.items():
        Xml.SubElement(properties, "property", name=clean(name), value=clean(str(value)))
    if claim.status is Status.HOLDS:
        return
    kind = "failure" if claim.status is Status.BROKEN else "error"
    found = Xml.SubElement(case, kind, type=claim.status.value, message=clean(claim.reason))
    lines = [claim.sentence, claim.reason]
    lines += [f"{shown.place} {shown.text}".strip() for shown in claim.exhibits]
    found.text = clean("\n".join([*lines, f"repeat: {claim.repeat}"]))
