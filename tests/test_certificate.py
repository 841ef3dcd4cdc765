"""The certificate: its schema, and that any changed byte is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from natsproof.errors import UsageError
from natsproof.report.attestation import attest, opened, private_key, public_key
from natsproof.report.build import build
from natsproof.report.certificate import schema
from natsproof.report.record import COMPLETE, Claim, Run
from natsproof.report.run_folder import RunFolder, create
from natsproof.report.verify import signers, verify
from natsproof.verdict import Status


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    made = Ed25519PrivateKey.generate()
    path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    return path


def claim(name: str, status: Status) -> Claim:
    return Claim(
        name, f"suites/test_x.py::{name}", "It.", status, "seen", evidence={"acknowledged": 9, "lost": 0}
    )


@pytest.fixture
def folder(tmp_path: Path, key: Path) -> RunFolder:
    made = create(tmp_path / "reports", "embedded", 42)
    made.start({"seed": 42, "contract_digest": "a" * 64, "natsproof": "1", "cluster": "embedded"})
    trial = made.trial_folder("kill")
    trial.mkdir()
    (trial / "trial.json").write_text(json.dumps({"name": "kill", "digest": "d", "state": "complete"}))
    (trial / "history.jsonl").write_text('{"record":"meta","schema":"natsproof.history/1","began_ns":0}\n')
    claims = [claim("test_good", Status.HOLDS), claim("test_bad", Status.BROKEN)]
    for one in claims:
        made.add_claim(one)
    made.add_scope("main", [one.nodeid for one in claims], [], [])
    made.finish(COMPLETE)
    build(made, made.read(), sign_key=key)
    return made


def test_the_published_schema_is_a_schema_and_every_certificate_obeys_it(folder: RunFolder) -> None:
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema())
    validator(schema()).validate(json.loads((folder.path / "certificate.json").read_text()))


def test_a_whole_certificate_is_accepted(folder: RunFolder, key: Path) -> None:
    path = folder.path / "certificate.json"
    assert verify(path, public_key(key)) == []
    assert verify(path, public_key(key.with_name("public.pem"))) == []
    assert "checked with the given key" in signers(path, key=True)[0]


def _files(folder: RunFolder) -> list[str]:
    return sorted(str(p.relative_to(folder.path)) for p in folder.path.rglob("*") if p.is_file())


def test_any_changed_byte_of_any_file_is_refused_by_name(folder: RunFolder, key: Path) -> None:
    public = public_key(key)
    files = _files(folder)
    assert len(files) >= 11
    for name in files:
        path = folder.path / name
        before = path.read_bytes()
        for position in {0, len(before) // 2, len(before) - 2}:
            changed = bytearray(before)
            changed[position] ^= 1
            path.write_bytes(changed)
            wrong = verify(folder.path / "certificate.json", public)
            assert any(line.startswith((name, "attestation", "certificate")) for line in wrong), (
                name,
                position,
            )
            if name not in ("certificate.json", "attestation.intoto.json"):
                assert wrong == [f"{name}: was changed after it was judged"]
        path.write_bytes(before)
    assert verify(folder.path / "certificate.json", public) == []


def test_a_missing_and_an_added_file_are_named(folder: RunFolder) -> None:
    (folder.trial_folder("kill") / "history.jsonl").unlink()
    (folder.trial_folder("kill") / "other.jsonl").write_text("")
    wrong = verify(folder.path / "certificate.json")
    assert "trials/kill/history.jsonl: is missing" in wrong
    assert "trials/kill/other.jsonl: is not among the files that were judged" in wrong


def _forge(folder: RunFolder, change: Callable[[dict[str, object]], None]) -> list[str]:
    """Change the certificate and make a fitting unsigned attestation, as a forger without the key can."""
    path = folder.path / "certificate.json"
    data = json.loads(path.read_text())
    change(data)
    text = json.dumps(data)
    path.write_text(text)
    statement, _ = attest(text.encode(), Run({}, COMPLETE), None)
    (folder.path / "attestation.intoto.json").write_text(statement)
    return verify(path)


def test_a_better_title_than_the_records_give_is_refused(folder: RunFolder) -> None:
    wrong = _forge(folder, lambda data: data.update(title="CERTIFIED", exit_code=0))
    assert wrong == [
        "certificate.json: title is not what the records of the run say",
        "certificate.json: exit_code is not what the records of the run say",
    ]


def test_an_unsigned_forgery_is_refused_where_a_key_is_demanded(folder: RunFolder, key: Path) -> None:
    _forge(folder, lambda data: None)
    wrong = verify(folder.path / "certificate.json", public_key(key))
    assert wrong == ["attestation.intoto.json: not signed, but a key was given"]


def test_a_strangers_signature_is_refused(folder: RunFolder, tmp_path: Path) -> None:
    stranger = Ed25519PrivateKey.generate().public_key()
    (wrong,) = verify(folder.path / "certificate.json", stranger)
    assert wrong.startswith("attestation.intoto.json: not signed by the given key")


def test_what_breaks_the_schema_is_named(folder: RunFolder) -> None:
    wrong = _forge(folder, lambda data: data.update(title="SPLENDID"))
    assert len(wrong) == 1
    assert wrong[0].startswith("certificate.json: $.title: 'SPLENDID' is not one of ['CERTIFIED', ")


def test_the_statement_is_a_test_result_about_certificate_and_contract(folder: RunFolder, key: Path) -> None:
    envelope = json.loads((folder.path / "attestation.intoto.json").read_text())
    statement, problem = opened(envelope, public_key(key))
    assert problem == ""
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert [subject["name"] for subject in statement["subject"]] == ["certificate.json", "contract"]
    assert statement["predicate"]["result"] == "FAILED"
    assert statement["predicate"]["failedTests"] == ["suites/test_x.py::test_bad"]


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_an_unfit_key_is_refused_with_the_way_to_a_fit_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pem").write_bytes(content)
    with pytest.raises(UsageError, match="openssl genpkey -algorithm ed25519"):
        private_key(tmp_path / "bad.pem")
    with pytest.raises(UsageError, match=r"(?i)ed25519"):
        public_key(tmp_path / "bad.pem")


def test_no_certificate_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give reports/<run>/certificate\.json"):
        verify(tmp_path / "certificate.json")
