"""Signatures as others read them: the local key's by another DSSE implementation, Sigstore's by its own.

Here is no Fulcio and no Rekor, so no valid Sigstore signature is made: tested are every refusal, and that the
package's own reader takes the bundle apart as ours does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from sigstore.models import Bundle

from natsproof.cli import main
from natsproof.errors import UsageError
from natsproof.report import sigstore_bundle
from natsproof.report.attestation import PAYLOAD_TYPE, attest, key_id
from natsproof.report.build import build
from natsproof.report.record import COMPLETE, Claim, Run
from natsproof.report.run_folder import RunFolder, create
from natsproof.report.sigstore_bundle import BUNDLE, TOKEN_VARIABLE, Identity
from natsproof.verdict import Status

WHO = Identity("release@example.org", "issuer.example.org")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = create(tmp_path / "reports", "embedded", 42)
    made.start({"seed": 42, "contract_digest": "a" * 64, "natsproof": "1", "cluster": "embedded"})
    made.add_claim(Claim("test_it", "suites/test_x.py::test_it", "It.", Status.HOLDS, "seen"))
    made.add_scope("main", ["suites/test_x.py::test_it"], [], [])
    made.finish(COMPLETE)
    build(made, made.read())
    return made


# -- the local key


def test_another_implementation_of_dsse_accepts_the_envelope(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    text, _ = attest(b"{}", Run({"seed": 1}, COMPLETE), path)
    envelope = Envelope.from_dict(json.loads(text))
    public = SSlibKey.from_crypto(key.public_key(), key_id(key.public_key()))
    assert list(envelope.verify([public], threshold=1)) == [key_id(key.public_key())]
    assert envelope.payload_type == PAYLOAD_TYPE
    statement = json.loads(envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"][0]["digest"]["sha256"] == hashlib.sha256(b"{}").hexdigest()
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([public], threshold=1)


# -- Sigstore


def bundle(certificate: bytes) -> dict[str, Any]:
    """A bundle of the published form, signed for real, with a certificate of no authority and a log entry
    of no log."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING])
    subject = x509.SubjectAlternativeName([x509.RFC822Name(WHO.name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(minutes=10))
        .add_extension(usage, critical=False)
        .add_extension(subject, critical=True)
        .sign(key, hashes.SHA256())
    )
    payload = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [
                {"name": "certificate.json", "digest": {"sha256": hashlib.sha256(certificate).hexdigest()}}
            ],
            "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
            "predicate": {},
        }
    ).encode()
    kind = PAYLOAD_TYPE.encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    text = {name: base64.b64encode(value).decode() for name, value in {
        "payload": payload, "sig": key.sign(signed, ec.ECDSA(hashes.SHA256())),
        "der": made.public_bytes(Encoding.DER), "hash": bytes(32), "body": b"{}",
    }.items()}  # fmt: skip
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": {"rawBytes": text["der"]},
            "tlogEntries": [
                {
                    "logIndex": "0",
                    "logId": {"keyId": text["hash"]},
                    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
                    "integratedTime": str(int(now.timestamp())),
                    "inclusionPromise": {"signedEntryTimestamp": text["sig"]},
                    "inclusionProof": {
                        "logIndex": "0",
                        "rootHash": text["hash"],
                        "treeSize": "1",
                        "hashes": [],
                        "checkpoint": {"envelope": "nobody\n1\n"},
                    },
                    "canonicalizedBody": text["body"],
                }
            ],
        },
        "dsseEnvelope": {
            "payload": text["payload"],
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": text["sig"]}],
        },
    }


def put_bundle(folder: RunFolder, change: str = "") -> None:
    made = json.dumps(bundle((folder.path / "certificate.json").read_bytes()))
    (folder.path / BUNDLE).write_text(change or made)


def verify_as(folder: RunFolder, who: Identity = WHO) -> int:
    words = ["--sigstore-identity", who.name, "--sigstore-issuer", who.issuer]
    return main(["verify", str(folder.path), *words])


def test_sigstores_own_reader_takes_the_bundle_as_ours_does(folder: RunFolder) -> None:
    put_bundle(folder)
    read = Bundle.from_json((folder.path / BUNDLE).read_bytes())
    envelope = read._dsse_envelope
    assert envelope is not None
    statement = json.loads(envelope._inner.payload)
    assert [s["digest"]["sha256"] for s in statement["subject"]] == sigstore_bundle.about(folder.path)


def test_a_bundle_that_nobody_vouches_for_is_refused(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    put_bundle(folder)
    assert verify_as(folder) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"REFUSED {BUNDLE}: not signed by release@example.org: ")


def test_without_an_identity_a_bundle_is_said_to_be_unchecked(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    put_bundle(folder)
    assert main(["verify", str(folder.path)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "signed with Sigstore, not checked: give --sigstore-identity and --sigstore-issuer"
    )


@pytest.mark.parametrize("content", ["nonsense", "[]", "{}", '{"dsseEnvelope": {"payload": "!"}}'])
def test_what_is_no_bundle_is_refused_by_name(
    folder: RunFolder, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_bundle(folder, content)
    assert main(["verify", str(folder.path)]) == 1
    assert capsys.readouterr().out.startswith(f"REFUSED {BUNDLE}: not readable (")


def test_a_bundle_that_sigstore_cannot_read_is_refused(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bundle((folder.path / "certificate.json").read_bytes())
    put_bundle(folder, json.dumps({"dsseEnvelope": made["dsseEnvelope"]}))
    assert verify_as(folder) == 1
    assert f"REFUSED {BUNDLE}: no Sigstore bundle (" in capsys.readouterr().out


def test_a_missing_bundle_and_one_of_another_certificate_are_refused(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_as(folder) == 1
    assert f"REFUSED {BUNDLE}: is missing, but an identity was given" in capsys.readouterr().out
    (folder.path / BUNDLE).write_text(json.dumps(bundle(b"another")))
    assert main(["verify", str(folder.path)]) == 1
    assert f"REFUSED certificate.json: is not the one that {BUNDLE} is about" in capsys.readouterr().out


def test_a_bundle_of_an_older_certificate_does_not_outlive_it(folder: RunFolder) -> None:
    put_bundle(folder)
    assert build(folder, folder.read()) == [], "the same certificate again: its signature stays"
    assert (folder.path / BUNDLE).is_file()
    folder.add_claim(Claim("test_other", "suites/test_x.py::test_other", "It.", Status.BROKEN, "seen"))
    assert build(folder, folder.read()) == [
        f"{BUNDLE} was of an older certificate and is gone; sign again with --sign-sigstore"
    ]
    assert not (folder.path / BUNDLE).exists()


def test_an_identity_without_its_issuer_is_wrong_use(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(folder.path), "--sigstore-identity", "x"]) == 4
    assert "--sigstore-identity and --sigstore-issuer belong together" in capsys.readouterr().err


def test_without_the_extra_its_name_is_told(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sigstore"]:
        monkeypatch.setitem(sys.modules, name, None)
    put_bundle(folder)
    assert verify_as(folder) == 4
    assert "it is an extra: pip install 'natsproof[sigstore]'" in capsys.readouterr().err
    assert main(["report", str(folder.path), "--sign-sigstore"]) == 4


def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CI that vouches for a job, and no terminal."""
    for name in list(os.environ):
        if name.startswith(("ACTIONS_ID_TOKEN", "GITHUB_", "GITLAB_", "CIRCLE", "BUILDKITE", "SIGSTORE_")):
            monkeypatch.delenv(name)


def test_signing_as_nobody_says_what_to_do(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _alone(monkeypatch)
    assert main(["report", str(folder.path), "--sign-sigstore"]) == 4
    assert f"nobody to sign as. In CI let the job have an id-token; elsewhere set {TOKEN_VARIABLE}" in (
        capsys.readouterr().err
    )
    assert (folder.path / "certificate.json").is_file()
    monkeypatch.setenv(TOKEN_VARIABLE, "no.jwt")
    with pytest.raises(UsageError, match="the identity token is not usable"):
        sigstore_bundle.sign(b"{}")


def test_signing_without_a_network_leaves_the_run_as_it_is(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _alone(monkeypatch)
    now = int(datetime.now(UTC).timestamp())
    claims = {"aud": "sigstore", "iss": "issuer.example.org", "sub": "me", "iat": now, "exp": now + 600}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)] + [b"unsigned"]
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")  # nobody is there
    assert main(["report", str(folder.path), "--sign-sigstore"]) == 3
    assert "Sigstore gave no signature (TUFError" in capsys.readouterr().err
    assert not (folder.path / BUNDLE).exists()
    assert main(["verify", str(folder.path)]) == 0
