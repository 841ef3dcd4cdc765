"""nats.conf is read as nats-server reads it; the server itself is asked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from natsproof.clock import wait_until
from natsproof.cluster import binaries
from natsproof.contract import natsconf, server_config
from natsproof.contract.model import Place
from natsproof.contract.natsconf import ConfigSyntaxError, Spot, parse
from natsproof.contract.problems import Problems

FILE = "/etc/nats/nats.conf"

READ: list[tuple[str, dict[str, Any]]] = [
    ("port: 4222", {"port": 4222}),
    ("port = 4222 # comment\nhost 127.0.0.1 // another", {"port": 4222, "host": "127.0.0.1"}),
    ("a: 2m\nb: '2m'\nc: 2mb", {"a": 2_000_000, "b": "2m", "c": 2 << 20}),
    ("d: 1Gi\ne: 1GiB\nf: \"1G\"", {"d": 1 << 30, "e": 1 << 30, "f": "1G"}),
    ("a: 30s\nb: '2m30s'\nc: 1.5\nd: -3\ne: -1k", {"a": "30s", "b": "2m30s", "c": 1.5, "d": -3, "e": -1000}),
    ("a: true\nb: Off\nc: yes\nd: 'true'", {"a": True, "b": False, "c": True, "d": "true"}),
    ("m { a: 1, b: 2; c: 3\n d {e: f} }", {"m": {"a": 1, "b": 2, "c": 3, "d": {"e": "f"}}}),
    ("m {\n}\nn = {}", {"m": {}, "n": {}}),
    ("r: [nats://a:1, nats://b:2\n nats://c:3 # last\n]", {"r": ["nats://a:1", "nats://b:2", "nats://c:3"]}),
    ("r: [{user: a}, {user: b}]", {"r": [{"user": "a"}, {"user": "b"}]}),
    ('a: "x\\ty\\"z\\x41\\\\"', {"a": 'x\ty"z' + "A\\"}),
    ("a: (\nline 1\n  line 2\n)\nb: 1", {"a": "\nline 1\n  line 2\n", "b": 1}),
    ("'q k': v\n\"d k\": w", {"q k": "v", "d k": "w"}),
    ("{port: 4222, jetstream: {max_mem: 1G}}", {"port": 4222, "jetstream": {"max_mem": 10**9}}),
    ("a: 1\na: 2", {"a": 2}),
    ("x: 7\ny: $x\nm { x: 8, y: $x }", {"x": 7, "y": 7, "m": {"x": 8, "y": 8}}),
    ("a: $POD\nb: \"$POD\"\nc: nats://$POD:1", {"a": "nats-0", "b": "$POD", "c": "nats://$POD:1"}),
    ("a: $NUM\nb: $SIZE\nc: $LIST\nd: $HASH", {"a": 123, "b": 1 << 30, "c": ["a", "b"], "d": "ab#cd"}),
    ("p: $2a$11$abc", {"p": "$2a$11$abc"}),
    ("a: 2024-01-02T03:04:05Z", {"a": "2024-01-02T03:04:05Z"}),
    ("a: 10.0.0.1\nb: 0.0.0.0:4222", {"a": "10.0.0.1", "b": "0.0.0.0:4222"}),
    ("# nothing\n\n// at all", {}),
]  # fmt: skip
ENVIRONMENT = {"POD": "nats-0", "NUM": "123", "SIZE": "1Gi", "LIST": "[a,b]", "HASH": "ab#cd"}


@pytest.mark.parametrize(("text", "tree"), READ, ids=lambda value: repr(value)[:30])
def test_a_configuration_is_read(text: str, tree: dict[str, Any]) -> None:
    assert parse(text, FILE, ENVIRONMENT).tree == tree


WRONG = [
    ("a: 1\nb: {\n c: 1\n", 2, "never closed"),
    ("a: [1, 2\n", 1, "never closed"),
    ("a:\nb: 1", 1, "missing"),
    ("\n: 1", 2, "expected a key"),
    ('a: "x', 1, "never closed"),
    ("a: .5", 1, "begins with a digit"),
    ("a: $NOPE", 1, "POD"),
    ("a: $LOOP", 1, "refers to itself"),
    ("a: 1 }x", 1, "is missing"),
    ("a: 'x' y", 1, "expected a new line"),
    ('a: "\\q"', 1, "expected one of"),
    ("a: 1kbb", 1, "size"),
    ("a: 2m30s", 1, "quote a duration"),
    ("a: 99999999999999999999", 1, "64 bits"),
    ("a { ] }", 1, "inside a map"),
    ("a: [,]", 1, "expected an element"),
    ("include 'none.conf'", 1, "does not exist"),
    ("a: (\nx", 1, "alone on its line"),
    ("a: 2024-01", 1, "dates are"),
    ("{a: 1", 1, "never closed"),
]


@pytest.mark.parametrize(("text", "line", "says"), WRONG, ids=lambda value: repr(value)[:30])
def test_an_error_names_its_line(text: str, line: int, says: str) -> None:
    files: dict[str, str] = {}

    def read_file(name: str) -> str:
        try:
            return files[name]
        except KeyError:
            raise KeyError("") from None

    with pytest.raises(ConfigSyntaxError) as error:
        parse(text, FILE, ENVIRONMENT | {"LOOP": "$LOOP"}, read_file)
    assert (error.value.file, error.value.line) == (FILE, line), str(error.value)
    assert says in error.value.text


def test_every_key_knows_its_line() -> None:
    parsed = parse("a: 1\n\ncluster {\n  routes: [\n    x:1\n    y:2\n  ]\n  name: c\n}\na: 2", FILE, {})
    assert {path: spot.line for path, spot in parsed.spots.items()} == {
        "cluster": 3,
        "cluster.routes": 4,
        "cluster.routes.0": 5,
        "cluster.routes.1": 6,
        "cluster.name": 8,
        "a": 10,
    }
    assert parsed.duplicates == [("a", Spot(FILE, 1), Spot(FILE, 10))]


def test_an_include_is_relative_to_the_including_file_even_if_absolute() -> None:
    files = {"/etc/nats/abs/auth.conf": "user: u\ninclude more.conf", "/etc/nats/abs/more.conf": "pass: $P"}
    parsed = parse("authorization {\n include /abs/auth.conf\n}", FILE, {"P": "secret"}, files.__getitem__)
    assert parsed.tree == {"authorization": {"user": "u", "pass": "secret"}}
    assert parsed.spots["authorization.pass"] == Spot("/etc/nats/abs/more.conf", 1)


def test_an_include_of_itself_is_refused() -> None:
    with pytest.raises(ConfigSyntaxError, match="includes itself"):
        parse("include b.conf", "/a.conf", {}, {"/b.conf": "include a.conf", "/a.conf": ""}.__getitem__)


def test_a_variable_in_quotes_is_text_and_recorded() -> None:
    parsed = parse('server_name: "$POD_NAME"\nx: $POD', FILE, ENVIRONMENT)
    assert parsed.quoted_variables == [("$POD_NAME", Spot(FILE, 1))]
    assert parsed.variables == {"POD": Spot(FILE, 2)}
    assert parsed.variable_of == {"x": "POD"}


def digest_of(tree: dict[str, Any]) -> str:
    """What `nats-server -t` prints: SHA-256 of the tree in Go's JSON."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return "sha256:" + hashlib.sha256((text + "\n").encode()).hexdigest()


@cache
def server() -> Path:
    return binaries.nats_server("2.12.8").path


def checked_by_the_server(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "nats.conf"
    file.write_text(text)
    return subprocess.run(
        [str(server()), "-t", "-c", str(file)],
        capture_output=True, text=True, timeout=20, check=False, env=os.environ | ENVIRONMENT,
    )  # fmt: skip


@pytest.mark.cluster
@pytest.mark.parametrize(
    "text",
    [
        "server_name: n1\nport: 4222\nmax_payload: 2m\n",
        'jetstream { store_dir: "/data", max_mem: "1G", max_file: 10GiB, sync_interval: always }',
        "jetstream: enabled\nlame_duck_duration: 30s # comment\nlame_duck_grace_period: '10s'",
        "{debug: off, logtime: Yes, server_name: 'x<y'}",
        "cluster {\n name: c, port: 6222\n routes = [\n nats://a:1 // 1\n nats://b:2\n]\n no_advertise on\n}",
        'server_name: "tab\\there\\x21"\nping_max: 3\nping_max: 4\n',
        'port: 4k\nmax_connections: 64K\nwrite_deadline: "2s"',
    ],
)
def test_the_server_reads_the_same_tree(text: str, tmp_path: Path) -> None:
    done = checked_by_the_server(text, tmp_path)
    assert done.returncode == 0, done.stderr
    assert digest_of(natsconf.parse(text, FILE, {}).tree) in done.stderr


SPELLINGS = [
    ("64M", '"1G"', "always", "1MB"),
    ("64Mi", "1GiB", '"10s"', "2m"),
    ("1k", '"512M"', "'1m30s'", "65536"),
    ('"8192K"', "1gb", "90s", "64kib"),
]


@pytest.mark.cluster
@pytest.mark.parametrize(("memory", "file", "sync", "payload"), SPELLINGS)
def test_a_running_server_has_what_was_read(
    memory: str, file: str, sync: str, payload: str, tmp_path: Path
) -> None:
    text = (
        f"server_name: n\nmax_payload: {payload}\nlisten: '127.0.0.1:-1'\nhttp: '127.0.0.1:-1'\n"
        f"jetstream {{ store_dir: {tmp_path}/js, max_mem: {memory}, max_file: {file}, sync: {sync} }}"
    )
    problems = Problems()
    parsed = natsconf.parse(text.replace(":-1", ":4222"), FILE, {})
    read = server_config.read(parsed, Place(FILE, 1), lambda spot: Place(spot.file, spot.line), problems)
    problems.raise_if_any()
    varz = varz_of(text, tmp_path)
    config = varz["jetstream"]["config"]
    assert (config["max_memory"], config["max_storage"]) == (read.max_memory_bytes, read.max_file_bytes)
    assert varz["max_payload"] == read.max_payload_bytes
    assert config.get("sync_always", False) == read.sync_always
    if read.sync_interval_s is not None:
        assert config["sync_interval"] == int(read.sync_interval_s * 10**9)


def varz_of(text: str, folder: Path) -> Any:
    """What a server started with this configuration says of itself."""
    (folder / "nats.conf").write_text(text)
    (folder / "ports").mkdir()
    command = [str(server()), "-c", str(folder / "nats.conf"), "--ports_file_dir", str(folder / "ports")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = wait_until("ports file", lambda: next((folder / "ports").iterdir(), None), within_s=10)
        ports = wait_until("ports", found.read_text, within_s=5)
        with urlopen(json.loads(ports)["monitoring"][0] + "/varz", timeout=5) as answer:
            return json.load(answer)
    finally:
        process.kill()
        process.wait(timeout=10)


@pytest.mark.cluster
@pytest.mark.parametrize(
    "text", [text for text, _, _ in WRONG if "include" not in text and "LOOP" not in text]
)
def test_what_we_refuse_the_server_does_not_take_either(text: str, tmp_path: Path) -> None:
    assert checked_by_the_server(text, tmp_path).returncode != 0
