"""Parts of the embedded cluster that need no server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from natsproof.cluster import binaries
from natsproof.cluster.embedded import dns
from natsproof.cluster.embedded.images import ALPINE, BOX, SCRATCH, expand, image_of
from natsproof.cluster.embedded.kubelet import ContainerState
from natsproof.cluster.embedded.loopback import listen_on, translate
from natsproof.cluster.embedded.probes import port_of
from natsproof.cluster.embedded.runtime import StartGate
from natsproof.cluster.embedded.stores import copy_sparse
from natsproof.cluster.embedded.universe import hardware_address
from natsproof.cluster.embedded.volumes import write_atomically
from natsproof.contract.model import Container, ContainerPort, Service
from natsproof.errors import ClusterError, UsageError


@pytest.mark.parametrize(
    ("image", "version", "floating"),
    [
        ("nats:2.12.8-alpine", "2.12.8", False),
        ("nats:2.12.8", "2.12.8", False),
        ("docker.io/library/nats:2.12.8-alpine3.22", "2.12.8", False),
        ("registry:5000/nats:2.12.8-scratch@sha256:0", "2.12.8", False),
        ("nats:2.12.0-RC.1-alpine", "2.12.0-RC.1", False),
        ("nats:2.12-alpine", "2.12.15", True),
        ("nats:alpine", "2.15.2", True),
        ("nats", "2.15.2", True),
        ("registry:5000/nats", "2.15.2", True),
    ],
)
def test_a_tag_names_a_version(image: str, version: str, floating: bool) -> None:
    assert binaries.image_version(image) == (version, floating)


def test_a_tag_without_a_version_is_refused_with_a_right_one() -> None:
    with pytest.raises(
        ClusterError, match=r"'edge' is no nats-server version; expected .* nats:2.12.8-alpine"
    ):
        binaries.image_version("nats:edge")


def test_an_explicit_program_wins_and_is_recorded(tmp_path: Path) -> None:
    program = tmp_path / "my-server"
    program.write_text("#!/bin/sh\necho 'nats-server: v2.10.1'\n")
    program.chmod(0o755)
    found = binaries.nats_server("2.12.8", explicit=program)
    assert (found.version, found.path, found.origin) == ("2.10.1", program, "explicit (an argument)")
    assert len(found.sha256) == 64


def test_an_explicit_program_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATSPROOF_NATS_SERVER", str(tmp_path / "nothing"))
    with pytest.raises(
        UsageError, match=r"NATSPROOF_NATS_SERVER names .*nothing, which is no executable file"
    ):
        binaries.nats_server("2.12.8")


def test_the_cache_is_believed_while_the_file_is_the_one_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATSPROOF_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    fresh = tmp_path / "fresh"
    (tmp_path / "bin").mkdir()
    fresh.write_text("#!/bin/sh\necho v0.4.0\n")
    fresh.chmod(0o755)
    kept = binaries._keep(fresh, "nats", "0.4.0", "a test")
    assert binaries.nats_cli("0.4.0") == kept
    kept.path.write_text("another file")
    assert binaries._cached("nats", "0.4.0") is None


def test_a_fetched_program_of_another_version_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATSPROOF_CACHE", str(tmp_path))
    fresh = tmp_path / "fresh"
    fresh.write_text("#!/bin/sh\necho v0.3.0\n")
    with pytest.raises(ClusterError, match=r"gave nats 0\.3\.0, not 0\.4\.0"):
        binaries._keep(fresh, "nats", "0.4.0", "a test")


def test_setup_finds_the_images_in_the_manifests() -> None:
    assert binaries._images(Path(__file__).parent.parent / "manifests") == ["nats:2.12.8-alpine"]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(POD)-x", "nats-0-x"),
        ("$$(POD)", "$(POD)"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$POD", "$POD"),
        ("$(POD", "$(POD"),
        ("a$$b", "a$b"),
    ],
)
def test_variables_expand_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"POD": "nats-0"}) == expanded


@pytest.mark.parametrize(
    ("command", "args", "argv"),
    [
        (None, None, ["nats-server", "--config", "/etc/nats/nats-server.conf"]),
        (None, ("-js",), ["nats-server", "-js"]),
        (None, ("sh", "-c", "x"), ["sh", "-c", "x"]),
        (("nats-server",), None, ["nats-server"]),
        (("nats-server",), ("-c", "f"), ["nats-server", "-c", "f"]),
    ],
)
def test_the_alpine_image_starts_as_its_entry_point_does(
    command: tuple[str, ...] | None, args: tuple[str, ...] | None, argv: list[str]
) -> None:
    assert ALPINE.argv(Container(name="nats", image="nats:2-alpine", command=command, args=args)) == argv


def test_images_are_known_by_name_and_flavour() -> None:
    assert image_of("natsio/nats-box:0.18.0") is BOX
    assert image_of("nats:2.12.8") is SCRATCH
    with pytest.raises(ClusterError, match=r"no stand-in for the image 'redis:7'.*--cluster kind"):
        image_of("redis:7")


def resolve(
    name: str, *, headless: bool = True, publish: bool = False, ready: tuple[bool, ...] = (True, True)
) -> list[str] | None:
    service = Service(
        kind="Service",
        api_version="v1",
        name="svc",
        namespace="ns",
        headless=headless,
        selector={"app": "nats"},
        publish_not_ready=publish,
    )
    pods = [
        dns.Endpoint(f"nats-{n}", "svc", f"10.0.0.{n}", ok, {"app": "nats"}) for n, ok in enumerate(ready)
    ]
    pods.append(dns.Endpoint("job", "", "10.0.0.9", True, {"app": "job"}))
    return dns.resolve(name, [service], pods, namespace="ns", domain="cluster.local")


def test_a_pod_has_a_name_under_its_headless_service() -> None:
    assert resolve("nats-1.svc.ns.svc.cluster.local.") == ["10.0.0.1"]
    assert resolve("NATS-1.svc.ns.svc.cluster.local") == ["10.0.0.1"]


def test_a_pod_has_a_name_under_a_service_with_an_address_as_coredns_answers() -> None:
    assert resolve("nats-1.svc.ns.svc.cluster.local", headless=False) == ["10.0.0.1"]
    assert resolve("nats-1.svc.ns.svc.cluster.local", headless=False, ready=(True, False)) is None


def test_a_pod_that_is_not_ready_has_a_name_only_if_published() -> None:
    name = "nats-1.svc.ns.svc.cluster.local"
    assert resolve(name, ready=(True, False)) is None
    assert resolve(name, ready=(True, False), publish=True) == ["10.0.0.1"]


def test_a_service_names_its_ready_pods() -> None:
    assert resolve("svc.ns.svc.cluster.local", ready=(False, True)) == ["10.0.0.1"]
    assert resolve("svc.ns.svc.cluster.local", ready=(False, False)) is None
    assert resolve("svc.ns.svc.cluster.local", ready=(False, False), headless=False) == []


@pytest.mark.parametrize(
    "name",
    [
        "svc.other.svc.cluster.local",
        "svc",
        "example.org",
        "job.svc.ns.svc.cluster.local",
        "x.nats-1.svc.ns.svc.cluster.local",
        "",
    ],
)
def test_other_names_do_not_exist(name: str) -> None:
    assert resolve(name) is None


def test_a_config_map_is_exchanged_in_one_step(tmp_path: Path) -> None:
    write_atomically(tmp_path, {"nats.conf": "one"})
    first = (tmp_path / "..data").readlink()
    write_atomically(tmp_path, {"nats.conf": "two"})
    assert (tmp_path / "nats.conf").read_text() == "two"
    assert (tmp_path / "..data").readlink() != first
    assert (tmp_path / "nats.conf").is_symlink()


def test_restarts_wait_0_10_20_up_to_300_seconds() -> None:
    state = ContainerState(Container(name="nats", image="nats"))
    now = 10**18  # a start in the future: the container ran for no time
    assert [state.back_off(now) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]


def test_back_off_is_forgotten_after_ten_good_minutes() -> None:
    state = ContainerState(Container(name="nats", image="nats"))
    state.back_off(10**18)
    assert state.back_off(-(10**13)) == 0


def test_a_probe_port_may_be_a_name() -> None:
    container = Container(name="n", image="nats", ports=(ContainerPort(name="monitor", container_port=8222),))
    assert [port_of(container, p) for p in ("monitor", 8222, "8222", "nothing")] == [8222, 8222, 8222, 0]


def test_a_start_gate_opens_when_all_have_arrived() -> None:
    gate = StartGate(2)
    gate.arrived()
    assert not gate.opened.is_set()
    gate.arrived()
    assert gate.opened.is_set()
    gate.close()


def test_a_start_gate_opens_in_time_for_who_is_there() -> None:
    async def wait() -> None:
        gate = StartGate(2)
        asyncio.get_running_loop().call_soon(gate.open)
        await gate.opened.wait()
        gate.close()

    asyncio.run(wait())


def test_loopback_replaces_whole_paths_and_names_only() -> None:
    paths, names = {"/data": "/w/v"}, {"n-0.svc": "127.77.1.10", "svc.ns": "127.77.1.11"}
    assert (
        translate("store: /data/js, /database, x/data", paths, names) == "store: /w/v/js, /database, x/data"
    )
    assert translate("nats://n-0.svc:6222 n-0.svc.x an-0.svc svc.ns", paths, names) == (
        "nats://127.77.1.10:6222 n-0.svc.x an-0.svc 127.77.1.11"
    )


def test_loopback_listens_on_the_pods_address() -> None:
    text = listen_on("port: 4222\ncluster {\n  listen: 0.0.0.0:6222\n}\n", "127.77.1.10")
    assert text.splitlines()[1:4] == ["cluster {", '  host: "127.77.1.10"', "  listen: 127.77.1.10:6222"]
    assert text.endswith('\nhost: "127.77.1.10"\n')


def test_a_sparse_copy_keeps_content_and_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    with source.open("wb") as file:
        file.seek(8 << 20)
        file.write(b"data")
        file.truncate(64 << 20)
    copy_sparse(source, target)
    assert target.stat().st_size == 64 << 20
    assert target.stat().st_blocks * 512 < 1 << 20
    assert target.read_bytes()[8 << 20 :][:4] == b"data"


def test_a_pods_hardware_address_follows_from_its_address() -> None:
    assert hardware_address("198.18.1.10") == "02:42:c6:12:01:0a"


def test_a_bare_name_with_a_search_suffix_is_answered_with_no_such_name() -> None:
    """`nowhere` is asked for as `nowhere.svc.cluster.local` too: one label, no namespace (findings, 12)."""
    answer = dns.resolve("nowhere.svc.cluster.local", [], [], namespace="n", domain="cluster.local")
    assert answer is None
