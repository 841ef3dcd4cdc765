"""What is said when a host, a file or another program does not do its part."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from natsproof.cluster import binaries
from natsproof.cluster.embedded import podplan, stores
from natsproof.cluster.embedded.images import ALPINE
from natsproof.cluster.embedded.podplan import PodIdentity
from natsproof.cluster.embedded.refused import PodRefused
from natsproof.cluster.embedded.universe import Isolation, Universe
from natsproof.cluster.embedded.vdso import WallClock
from natsproof.cluster.embedded.volumes import PodVolumes
from natsproof.cluster.kubernetes import addons, images
from natsproof.cluster.kubernetes.api import load_configuration
from natsproof.cluster.kubernetes.link import Link
from natsproof.cluster.kubernetes.machine import command
from natsproof.cluster.kubernetes.monitoring import get_json
from natsproof.contract.loader import load_documents, read_files
from natsproof.contract.model import Contract, EnvVar
from natsproof.contract.yaml_source import MAX_CHARS, documents
from natsproof.errors import ClusterError, ContractError, HistoryError, NotAvailableHere, UsageError
from natsproof.history import SCHEMA, History, Injection, Operations
from natsproof.history_file import read, write
from natsproof.report import attestation, run_folder
from tests.sessions import ROOT
from tests.test_kubernetes_images import archive

POD = PodIdentity(
    name="nats-0", namespace="n", uid="u", ip="10.0.0.1", node="node", node_ip="10.0.0.9", hostname="nats-0",
    subdomain="nats",
)  # fmt: skip


def shipped(*changes: tuple[str, str]) -> Contract:
    files = read_files(ROOT / "manifests")
    for old, new in changes:
        assert any(old in text for _, text in files)
        files = [(name, text.replace(old, new)) for name, text in files]
    return load_documents(files)


# -- programs


@pytest.fixture
def nothing_to_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No program on PATH, an empty cache, a package index that is an empty folder, a Go that only fails."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text("#!/bin/sh\necho no route to the module proxy >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent))
    monkeypatch.setenv("NATSPROOF_CACHE", str(tmp_path / "cache"))
    for variable in ("NATSPROOF_NATS_SERVER", "NATSPROOF_NATS_CLI"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("nothing_to_be_had")
def test_a_server_that_nobody_has_is_told_with_all_that_was_tried() -> None:
    with pytest.raises(ClusterError) as told:
        binaries.nats_server("2.9.99")
    assert "no nats-server 2.9.99" in str(told.value)
    assert "nats-server 2.9.99` failed: no route to the module proxy" in str(told.value).replace("/v2@v", " ")
    assert "NATSPROOF_NATS_SERVER" in str(told.value)


@pytest.mark.usefixtures("nothing_to_be_had")
def test_a_cli_that_nobody_has_is_told_with_what_to_set() -> None:
    with pytest.raises(ClusterError, match=r"(?s)no nats 0\.0\.1.*NATSPROOF_NATS_CLI"):
        binaries.nats_cli("0.0.1")


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NATSPROOF_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ClusterError, match=r"cannot keep nats-server in .*file/bin: .*Set NATSPROOF_CACHE\."):
        binaries.nats_server("2.9.99")


def test_a_program_that_takes_too_long_is_named() -> None:
    with pytest.raises(ClusterError, match=r"wait: `sleep 5` did not end within 0\.1 s"):
        command("wait", ["sleep", "5"], within_s=0.1)
    with pytest.raises(ClusterError, match=r"fail: `false` ended with 1"):
        command("fail", ["false"])


def test_a_volume_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="nowhere is no mounted volume"):
        stores.LoopStore(tmp_path).copy_as_on_disk(tmp_path / "nowhere")


# -- the embedded cluster


def test_more_clusters_than_addresses() -> None:
    here = Universe(Isolation.LOOPBACK)
    for number in range(250):
        here.take_block(number)
    with pytest.raises(
        ClusterError, match=r"250 embedded clusters run in this process; call down\(\) on some"
    ):
        here.take_block("one more")


def test_the_clock_of_a_process_that_is_not_there() -> None:
    with pytest.raises(ClusterError, match="the clock of process 999999999: "):
        WallClock(999_999_999).shift(5)


def test_a_reference_that_leads_nowhere_holds_the_pod() -> None:
    contract = shipped()
    for variable, said in (
        (EnvVar(name="X", field_path="metadata.title"), "'metadata.title' is no field of a pod; valid: "),
        (
            EnvVar(name="X", config_map="nats-platform-config", key="x"),
            "no key 'x' in 'nats-platform-config', it has ",
        ),
        (EnvVar(name="X", config_map="none", key="x"), "configmap 'none' not found in the manifests"),
        (EnvVar(name="X", secret="none", key="x"), "secret 'none' not found in the manifests"),
    ):
        with pytest.raises(PodRefused) as told:
            podplan.environment(contract, replace(contract.server_container, env=(variable,)), POD, ALPINE)
        assert said in str(told.value)


def test_a_part_of_a_config_map_that_is_not_there_holds_the_pod(tmp_path: Path) -> None:
    contract = shipped()
    container = contract.server_container
    config = next(v for v in contract.statefulset.template.volumes if v.config_map)
    mount = next(m for m in container.mounts if m.name == config.name)
    volumes = PodVolumes(
        contract.statefulset.template,
        tmp_path,
        lambda kind, name: {"nats.conf": ""},
        Path,
        change_owner=False,
    )
    with pytest.raises(PodRefused, match=r"subPath 'nats\.cfg' is not in volume "):
        volumes.path(replace(mount, sub_path="nats.cfg"))


# -- Kubernetes


def test_an_unknown_context_is_told_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {}}]\ncontexts: [{name: staging, context: {cluster: c, user: u}}]\n"
    )
    with pytest.raises(UsageError, match=r"production: .*Known: staging"):
        load_configuration(file, "production")


def test_manifests_of_an_addon_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read as manifests: .*No such file"):
        addons.documents(tmp_path / "none.yaml")


def test_an_archive_without_the_image_is_named(tmp_path: Path) -> None:
    base = archive(tmp_path / "a.tar", "nats:2.12.3")
    with pytest.raises(ClusterError, match=r"a\.tar: does not carry nats:2\.12\.1"):
        images.lay_binary_over(
            "nats:2.12.8", base=base, base_image="nats:2.12.1", binary=base, target=tmp_path / "b.tar"
        )


def test_a_task_on_the_link_is_bounded() -> None:
    link = Link(SimpleNamespace(host="http://127.0.0.1:1", auth_settings=dict))
    try:
        with pytest.raises(ClusterError, match=r"a task on the link took more than 0\.05 s"):
            link.run(asyncio.sleep(5), within_s=0.05)
    finally:
        link.close()


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/busy" else 200)
        self.end_headers()
        self.wfile.write(b"not now")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_monitoring_answer_that_is_none_is_quoted(port: int) -> None:
    with pytest.raises(ClusterError, match="nats-0/busy: answered 503, not 200: not now"):
        get_json(port, "/busy", label="nats-0", timeout_s=2)
    with pytest.raises(ClusterError, match="nats-0/varz: answered 200 with no JSON: b'not now'"):
        get_json(port, "/varz", label="nats-0", timeout_s=2)


# -- files


def test_manifests_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "nats.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ContractError, match=r"nats\.yaml:1: not UTF-8 text \(invalid start byte at byte 3\)"):
        read_files(tmp_path)


def test_a_missing_program_for_kind_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from natsproof.cluster.kubernetes import open_cluster

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotAvailableHere, match="--cluster kind: no program 'kind' on PATH; install it"):
        open_cluster("kind", shipped(), tmp_path / "run" / "work" / "main")


def test_more_text_than_a_manifest_is_refused() -> None:
    with pytest.raises(
        ContractError, match=r"m\.yaml:1: \d+ characters are no manifest; at most \d+ are read"
    ):
        documents(" " * (MAX_CHARS + 1), "m.yaml")


def test_two_platforms_in_one_folder_are_told_apart() -> None:
    files = read_files(ROOT / "manifests")
    servers = next(text for name, text in files if name.endswith("statefulset.yaml"))
    twice = [*files, ("more.yaml", servers.replace("name: nats-platform\n", "name: nats-more\n", 1))]
    with pytest.raises(
        ContractError, match=r"several containers run nats-server: .*Give one platform at a time"
    ):
        load_documents(twice)


@pytest.mark.parametrize("read", [attestation.private_key, attestation.public_key])
def test_a_key_that_is_none_or_of_another_kind_is_told_with_what_is_expected(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"none\.pem: .*No such file"):
        read(tmp_path / "none.pem")
    other = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "other.pem"
    file.write_bytes(
        other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        if read is attestation.private_key
        else other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(UsageError, match=r"other\.pem: not an Ed25519 key\."):
        read(file)


def test_a_thousand_runs_of_one_second_are_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_folder, "slug", lambda text, *_: "x")
    monkeypatch.setattr(Path, "mkdir", _exists)
    with pytest.raises(UsageError, match="a thousand runs of one second; clean it up"):
        run_folder.create(tmp_path, "embedded", 1)


def _exists(path: Path, *_: object, exist_ok: bool = False, **__: object) -> None:
    if not exist_ok:
        raise FileExistsError(path)


def test_a_record_that_is_none_or_lost_is_named(tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    write(History({"schema": SCHEMA}, Operations.empty(), injections=(FAULT, FAULT)), file)
    whole = file.read_text()
    lost = [line for line in whole.splitlines() if '"record":"fault"' not in line or '"index":0' not in line]
    file.write_text("\n".join(lost) + "\n")
    with pytest.raises(HistoryError, match="the fault record of index 0 is missing; judge an intact copy"):
        read(file)
    file.write_text(whole.replace('"record":"fault"', '"record":"rumour"', 1))
    with pytest.raises(
        HistoryError, match=r"h\.jsonl:\d+: not a record: .*\n?.*\nExpected an object whose `record`"
    ):
        read(file)


FAULT = Injection("Kill('leader')", ("n0",), "leader", 1, 2, 3, True, "gone")
