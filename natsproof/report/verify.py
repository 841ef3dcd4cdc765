"""Whether a certificate is what it says: its schema, its files, its verdicts, its signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from natsproof.errors import HistoryError, UsageError
from natsproof.report import attestation, sigstore_bundle
from natsproof.report.certificate import (
    ATTESTATION,
    certificate,
    evidence_files,
    schema,
    sha256,
)
from natsproof.report.run_folder import RunFolder

UNSIGNED = "not signed: who made it cannot be told"
#: What the certificate derives from the run's own files, and must agree with.
DERIVED = (
    "title",
    "state",
    "exit_code",
    "contract",
    "counts",
    "claims",
    "not_tested",
    "never_judged",
    "left_out",
    "problems",
    "durability",
    "capacity",
)


def verify(
    path: Path,
    key: Ed25519PublicKey | None = None,
    identity: sigstore_bundle.Identity | None = None,
) -> list[str]:
    """Everything that is wrong with the certificate at `path`, each line naming the file; none if whole.

    Raises UsageError if there is no such file, or an identity is given where the package sigstore is not.
    """
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}; give reports/<run>/certificate.json") from None
    try:
        data = json.loads(text)
    except ValueError as problem:
        return [f"{path.name}: not JSON ({problem})"]
    errors = sorted(jsonschema.Draft202012Validator(schema()).iter_errors(data), key=lambda e: list(e.path))
    if errors:
        return [f"{path.name}: {e.json_path}: {e.message[:200]}" for e in errors[:10]]
    folder = path.parent
    wrong = list(_files(folder, data))
    wrong += _attested(folder, text, key)
    wrong += sigstore_bundle.wrong(folder, text, identity)
    return wrong or list(_verdicts(folder, data))


def signers(path: Path, *, key: bool, identity: str = "") -> list[str]:
    """In words, who signed the certificate at `path`, and whether that was looked at: with a `key`, as
    `identity`."""
    found = [_key_signer(path, key)]
    if (path.parent / sigstore_bundle.BUNDLE).is_file():
        unknown = "not checked: give --sigstore-identity and --sigstore-issuer"
        found.append(f"signed with Sigstore, {f'by {identity}, checked' if identity else unknown}")
        found = found[1:] if found[0] == UNSIGNED else found
    return found


def _key_signer(path: Path, checked: bool) -> str:
    found = json.loads((path.parent / ATTESTATION).read_text())
    names = [str(signature.get("keyid", "?"))[:16] for signature in found.get("signatures", ())]
    if not names:
        return UNSIGNED
    known = "checked with the given key" if checked else "not checked: give --key"
    return f"signed by key {', '.join(names)}, {known}"


def _files(folder: Path, data: dict[str, Any]) -> Iterator[str]:
    listed = {entry["path"]: entry for entry in (*data["evidence"], *data["documents"])}
    for name, entry in listed.items():
        file = folder / name
        if not file.is_file():
            yield f"{name}: is missing"
        elif file.stat().st_size != entry["bytes"]:
            yield f"{name}: has {file.stat().st_size} bytes, certified were {entry['bytes']}"
        elif sha256(file) != entry["sha256"]:
            yield f"{name}: was changed after it was judged"
    for file in evidence_files(folder):
        name = file.relative_to(folder).as_posix()
        if name not in listed:
            yield f"{name}: is not among the files that were judged"


def _attested(folder: Path, text: bytes, key: Ed25519PublicKey | None) -> Iterator[str]:
    try:
        statement, problem = attestation.opened(json.loads((folder / ATTESTATION).read_text()), key)
    except (OSError, ValueError, TypeError, AttributeError) as trouble:
        yield f"{ATTESTATION}: not readable ({trouble})"
        return
    if problem:
        yield f"{ATTESTATION}: {problem}"
    digests = [s.get("digest", {}).get("sha256") for s in statement.get("subject", ())]
    if hashlib.sha256(text).hexdigest() not in digests:
        yield f"certificate.json: is not the one that {ATTESTATION} is about"


def _verdicts(folder: Path, data: dict[str, Any]) -> Iterator[str]:
    """The certificate says nothing that the run's own records do not."""
    try:
        run = RunFolder(folder).read(state=data["state"])
    except HistoryError as problem:
        yield str(problem)
        return
    anew = json.loads(json.dumps(certificate(folder, run), default=str))
    for name in DERIVED:
        if anew[name] != data[name]:
            yield f"certificate.json: {name} is not what the records of the run say"
