"""attestation.sigstore.json: the statement signed by a person or a CI job, with no key to keep.

The package `sigstore` does it (`pip install 'natsproof[sigstore]'`): Fulcio gives a certificate of some
minutes for an OIDC identity, Rekor logs the signature in public. Both are services; a certification run
cannot reach them from its private network, so signing is a step after it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natsproof.errors import NotAvailableHere, UsageError

BUNDLE = "attestation.sigstore.json"
#: An identity token that was fetched elsewhere.
TOKEN_VARIABLE = "SIGSTORE_ID_TOKEN"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who must have signed: an e-mail address or workflow, and the issuer that vouches for it."""

    name: str
    issuer: str


def sign(statement: bytes) -> str:
    """The bundle, as JSON text, of an in-toto statement.

    Raises UsageError without the package or an identity, NotAvailableHere if the services do not answer.
    """
    errors, models, signing, dsse = (_package(name) for name in ("errors", "models", "sign", "dsse"))
    token = _identity_token()
    try:
        trust = models.ClientTrustConfig.production()
        if token is None:
            oidc = _package("oidc")
            identity = oidc.Issuer(trust.signing_config.get_oidc_url()).identity_token()
        else:
            identity = token
        with signing.SigningContext.from_trust_config(trust).signer(identity) as signer:
            return str(signer.sign_dsse(dsse.Statement(statement)).to_json())
    except (errors.Error, OSError) as problem:
        raise NotAvailableHere(
            f"Sigstore gave no signature ({_said(problem)}). It needs the network; the run keeps what it "
            "has, and --sign-key signs without a network"
        ) from None


def _identity_token() -> Any:
    """The token of the environment or of the CI job; None if a person can be asked in a browser."""
    oidc = _package("oidc")
    try:
        text = os.environ.get(TOKEN_VARIABLE) or oidc.detect_credential()
        if text:
            return oidc.IdentityToken(text)
    except Exception as problem:
        raise UsageError(f"--sign-sigstore: the identity token is not usable ({_said(problem)})") from None
    if sys.stdin is not None and sys.stdin.isatty():
        return None
    raise UsageError(
        "--sign-sigstore: nobody to sign as. In CI let the job have an id-token; elsewhere set "
        f"{TOKEN_VARIABLE}, or call it from a terminal with a browser"
    )


def about(folder: Path) -> list[str]:
    """The SHA-256 digests of what the bundle is about. Raises ValueError for what is no bundle."""
    try:
        envelope = json.loads((folder / BUNDLE).read_text())["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"], validate=True))
        return [str(subject["digest"]["sha256"]) for subject in statement["subject"]]
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"no Sigstore bundle of an in-toto statement: {problem!r}") from None


def wrong(folder: Path, certificate: bytes, identity: Identity | None) -> Iterator[str]:
    """What is wrong with the bundle, a line each. Without an identity the signature is not looked at."""
    if not (folder / BUNDLE).is_file():
        if identity:
            yield f"{BUNDLE}: is missing, but an identity was given"
        return
    try:
        digests = about(folder)
    except (OSError, ValueError) as problem:
        yield f"{BUNDLE}: not readable ({problem})"
        return
    if hashlib.sha256(certificate).hexdigest() not in digests:
        yield f"certificate.json: is not the one that {BUNDLE} is about"
    if identity:
        yield from _signature(folder / BUNDLE, identity)


def _signature(path: Path, identity: Identity) -> Iterator[str]:
    errors, models, checks = (_package(name) for name in ("errors", "models", "verify"))
    try:
        bundle = models.Bundle.from_json(path.read_bytes())
    except (errors.Error, ValueError) as problem:
        yield f"{BUNDLE}: no Sigstore bundle ({_said(problem)})"
        return
    policy = checks.policy.Identity(identity=identity.name, issuer=identity.issuer)
    try:
        _verifier(errors, checks).verify_dsse(bundle, policy)
    except errors.Error as problem:
        yield f"{BUNDLE}: not signed by {identity.name}: {_said(problem)}"


def _verifier(errors: Any, checks: Any) -> Any:
    """With today's trust root, or, without a network, with the newest that this host has."""
    try:
        return checks.Verifier.production()
    except errors.Error:
        return checks.Verifier.production(offline=True)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(f"sigstore.{name}")
    except ImportError:
        raise UsageError(
            "the package sigstore is not installed; it is an extra: pip install 'natsproof[sigstore]'"
        ) from None


def _said(problem: BaseException) -> str:
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text[:200]}" if text else type(problem).__name__
