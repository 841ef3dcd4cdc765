"""attestation.intoto.json: an in-toto test-result statement, in a DSSE envelope if there is a key."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from natsproof.errors import UsageError
from natsproof.report.record import Run, Title
from natsproof.verdict import Status

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def statement(certificate: bytes, run: Run) -> dict[str, Any]:
    """Subjects are the certificate and the contract. UNKNOWN claims and all that was left out are warned:
    PASSED is for CERTIFIED alone."""
    result = {Title.CERTIFIED: "PASSED", Title.PARTIAL: "WARNED"}.get(run.title, "FAILED")
    if result == "FAILED" and not run.of(Status.BROKEN):
        result = "WARNED"
    subjects = [{"name": "certificate.json", "digest": {"sha256": hashlib.sha256(certificate).hexdigest()}}]
    if digest := run.header.get("contract_digest"):
        subjects.append({"name": "contract", "digest": {"sha256": str(digest)}})
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "result": result,
            "configuration": [
                {
                    "name": "run",
                    "annotations": {k: str(run.header.get(k, "")) for k in ("seed", "depth", "cluster")},
                },
                {"name": "image", "uri": str(run.header.get("image", ""))},
            ],
            "passedTests": [claim.nodeid for claim in run.of(Status.HOLDS)],
            "warnedTests": [claim.nodeid for claim in run.of(Status.UNKNOWN)] + list(run.never_judged),
            "failedTests": [claim.nodeid for claim in run.of(Status.BROKEN)],
        },
    }


def attest(certificate: bytes, run: Run, sign_key: Path | None) -> tuple[str, list[str]]:
    """The text of the attestation and notes for the terminal. Raises UsageError for an unusable key."""
    made = statement(certificate, run)
    if sign_key is None:
        return json.dumps(made, indent=1) + "\n", []
    key = private_key(sign_key)
    payload = json.dumps(made, separators=(",", ":")).encode()
    name = key_id(key.public_key())
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": name, "sig": base64.b64encode(key.sign(_pae(payload))).decode()}],
    }
    return json.dumps(envelope, indent=1) + "\n", [f"signed by key {name[:16]}"]


def private_key(path: Path) -> Ed25519PrivateKey:
    """Raises UsageError, with the command that makes a fit key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as problem:
        raise UsageError(f"--sign-key {path}: {problem}. {_HOW}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"--sign-key {path}: not an Ed25519 key. {_HOW}")
    return key


_HOW = "Make one: openssl genpkey -algorithm ed25519 -out key.pem"


def public_key(path: Path) -> Ed25519PublicKey:
    """From a public or a private PEM file. Raises UsageError."""
    try:
        data = path.read_bytes()
        if b"PRIVATE KEY" in data:
            return private_key(path).public_key()
        key = load_pem_public_key(data)
    except (OSError, ValueError) as problem:
        raise UsageError(f"--key {path}: {problem}. Expected a PEM file with an Ed25519 key.") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"--key {path}: not an Ed25519 key. Expected a PEM file with an Ed25519 key.")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's DER form."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def opened(attestation: Mapping[str, Any], key: Ed25519PublicKey | None) -> tuple[dict[str, Any], str]:
    """(statement, "" or what is wrong with its signature). Without a key signatures are not looked at."""
    if "payload" not in attestation:
        return dict(attestation), "not signed, but a key was given" if key else ""
    payload = base64.b64decode(str(attestation["payload"]))
    found: dict[str, Any] = json.loads(payload)
    if key is None:
        return found, ""
    for signature in attestation.get("signatures", ()):
        if signature.get("keyid") not in ("", None, key_id(key)):
            continue
        try:
            key.verify(base64.b64decode(str(signature["sig"])), _pae(payload))
        except (InvalidSignature, ValueError, KeyError):
            return found, "the signature does not fit its content"
        return found, ""
    return found, f"not signed by the given key {key_id(key)[:16]}"
