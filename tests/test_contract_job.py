"""The buckets a set-up Job creates are read from its script; a real shell agrees about the words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from natsproof.clock import wait_until
from natsproof.cluster import binaries
from natsproof.contract import load_documents, shell_walk
from natsproof.contract.model import Bucket, Place
from natsproof.errors import ContractError

BASE = (Path(__file__).parent / "contracts/kustomized/base/nats.yaml").read_text()


def buckets(script: str, *, env: tuple[dict[str, Any], ...] = (), command: Any = None) -> tuple[Bucket, ...]:
    """The buckets of the small platform with another script."""
    documents = yaml.load_all(BASE, yaml.CSafeLoader)
    changed = []
    for document in filter(None, documents):
        if document["kind"] == "ConfigMap" and "setup.sh" in document["data"]:
            document["data"]["setup.sh"] = script
        if document["kind"] == "Job":
            container = document["spec"]["template"]["spec"]["containers"][0]
            container["env"] += env
            container["command"] = command or container["command"]
        changed.append(document)
    text = yaml.dump_all(changed, Dumper=yaml.CSafeDumper, sort_keys=False)
    return load_documents([("m.yaml", text)], promises_required=False).job_buckets


A = "nats kv add a --ttl=15m --replicas=3"
SCRIPTS = {
    "straight": A,
    "separate values": "nats kv add a --ttl 15m --replicas 3",
    "flags first": "nats --server nats://x:4222 --timeout=2s kv add --ttl=15m a --replicas=3 --trace",
    "alias and short": "nats -s nats://x kv new a --ttl=15m --replicas=3",
    "continued": "nats kv add a \\\n  --ttl=15m \\\n  --replicas=3",
    "quoted": "nats kv add 'a' \"--ttl=15m\" --replicas='3'",
    "variables": "T=15m\nR=3\nnats kv add a --ttl=$T --replicas \"${R}\"",
    "default": "nats kv add a --ttl=${TTL:-15m} --replicas=${N-3}",
    "function": "make() { nats kv add \"$1\" --ttl=\"$2\" \"--replicas=$3\"; }\nmake a 15m 3",
    "function with shift": "m() { n=$1; shift; nats kv add \"$n\" \"$@\"; }\nm a --ttl=15m --replicas=3",
    "wrapper": "retry() { for i in 1 2; do \"$@\" && return 0; done; return 1; }\nretry " + A,
    "loop": "for b in a; do nats kv add $b --ttl=15m --replicas=3; done",
    "split": "ARGS='--ttl=15m --replicas=3'\nnats kv add a $ARGS",
    "only if absent": "nats kv info a >/dev/null 2>&1 || " + A,
    "if": "if ! nats kv info a; then\n  " + A + "\nfi",
    "output": "out=$(" + A + " 2>&1)",
    "subshell": "(" + A + ")",
    "pipe": A + " | tee /tmp/log",
    "wait first": "until nats kv ls; do [ $((n=n+1)) -lt 60 ] || exit 1; sleep 1; done\n" + A,
    "timeout": "timeout 30 " + A,
    "exec": "exec " + A,
    "inner shell": "sh -c '" + A + "'",
    "case": "case 3 in\n 3) R=3 ;;\n *) R=1 ;;\nesac\nnats kv add a --ttl=15m --replicas=$R",
    "table": "while read -r n t c; do\n nats kv add $n --ttl=$t --replicas=$c\ndone <<EOF\na 15m 3\nEOF",
    "same twice": A + "\n" + A,
    "exit": A + "\nexit 0\nnats kv add b",
    "talk": "echo 'nats kv add c'; echo nats kv add c # nats kv add d\n" + A,
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_bucket_is_read_from_a_script(script: str) -> None:
    assert buckets(script) == (Bucket(name="a", ttl_s=900.0, replicas=3),)


RECORDER = '#!/bin/sh\nfor a in "$@"; do printf "%s\\0" "$a"; done >> "$RECORD"; printf "\\n" >> "$RECORD"\n'


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in ("timeout", "wait first", "if")])
def test_a_real_shell_runs_the_same_commands(name: str, tmp_path: Path) -> None:
    """`nats` only records its words here; what we read must contain what a shell ran."""
    fake, record = tmp_path / "nats", tmp_path / "record"
    fake.write_text(RECORDER)
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RECORD": str(record)}
    subprocess.run(["sh", "-c", SCRIPTS[name]], env=environment, cwd=tmp_path, timeout=10, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    ran = [tuple(line.split("\0")[:-1]) for line in record.read_text().splitlines()]
    read = [
        tuple(argument.text for argument in command.arguments[1:])
        for command in shell_walk.commands(SCRIPTS[name], {})
        if command.arguments[0].text == "nats"
    ]
    assert ran
    assert set(ran) <= set(read)


def test_every_setting_is_read_with_its_line() -> None:
    script = (
        "set -e\n\nnats kv add a --ttl=7d --history=5 --storage=memory --replicas=3 \\\n"
        "  --max-bucket-size=16MiB --max-value-size=1K --description='the a'\nnats kv add b\n"
    )
    first, second = buckets(script)
    assert (first.name, first.ttl_s, first.max_bytes) == ("a", 604_800.0, 1 << 24)
    assert (first.replicas, first.storage, first.history, first.max_value_bytes) == (3, "memory", 5, 1024)
    assert first.at("max_bytes").line == first.at("ttl_s").line + 1 == first.place.line + 1
    assert second == Bucket(name="b", replicas=1, storage="file", history=1)


def test_an_unlimited_bucket_says_nothing() -> None:
    assert buckets("nats kv add a --ttl=0 --max-bucket-size=-1") == (Bucket(name="a"),)


def test_the_environment_of_the_container_is_known() -> None:
    assert buckets("nats kv add a --ttl=$LIFE", env=({"name": "LIFE", "value": "5m"},))[0].ttl_s == 300
    plain = buckets("", env=({"name": "B", "value": "a"},), command=["nats", "kv", "add", "$(B)", "--ttl=5m"])
    assert plain == (Bucket(name="a", ttl_s=300.0),)


WRONG = {
    "only a run knows": ("nats kv add a --ttl=$(cat ttl)", "$(…)"),
    "unset": ("nats kv add $NAME --ttl=1m", "$NAME"),
    "secret": ("nats kv add a --ttl=$S", "$S"),
    "kubernetes size": ("nats kv add a --max-bucket-size=16Mi", "write 16MiB"),
    "wrong duration": ("nats kv add a --ttl=15", "7d"),
    "wrong flag": ("nats kv add a --max-size=1G", "no flag --max-size"),
    "two configurations": ("nats kv add a\nnats kv add a --replicas=3", "another configuration"),
    "flag twice": ("nats kv add a --ttl=1m --ttl=2m", "given twice"),
    "no name": ("nats kv add --ttl=1m", "needs one bucket name"),
    "replicas": ("nats kv add a --replicas=three", "for example 3"),
    "storage": ("nats kv add a --storage=disk", "file or memory"),
    "history": ("nats kv add a --history=65", "1 to 64"),
    "xargs": ("echo a | xargs nats kv add a", "xargs"),
    "quote": ("nats kv add 'a", "never closed"),
    "then": ("if true; nats kv add a; fi", "expected then"),
    "array": ("b=(a b)\nnats kv add a", "arrays"),
    "endless": ("f() { f; }\nf", "calls itself"),
}


@pytest.mark.parametrize(("script", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_read_is_told_with_its_place(script: str, says: str) -> None:
    secret = {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    with pytest.raises(ContractError) as error:
        buckets(script, env=(secret,))
    assert says in str(error.value)
    assert str(error.value).startswith("m.yaml:")


def test_the_place_of_a_script_in_the_job_itself_is_exact() -> None:
    inline = "command: [sh, -c]\n        args:\n        - |\n          nats kv add a"
    text = BASE.replace('command: ["/bin/sh", "/scripts/setup.sh"]', inline)
    contract = load_documents([("m.yaml", text)], promises_required=False)
    line = text.splitlines().index("          nats kv add a") + 1
    assert [bucket.place for bucket in contract.job_buckets] == [Place("m.yaml", line)]


@cache
def cli() -> Path:
    return binaries.nats_cli().path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A lone JetStream server on a free loopback port."""
    program = [
        str(binaries.nats_server("2.12.8").path),
        "-js",
        "-sd",
        str(tmp_path / "js"),
        "-a",
        "127.0.0.1",
    ]
    ports = tmp_path / "ports"
    ports.mkdir()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*program, "-p", "-1", "--ports_file_dir", str(ports)], stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        file = wait_until("the ports file", lambda: next(iter(ports.iterdir()), None), within_s=10)
        text = wait_until("the ports", file.read_text, within_s=5)
        yield json.loads(text)["nats"][0]
    finally:
        process.kill()
        process.wait(timeout=10)


@pytest.mark.cluster
def test_the_real_cli_creates_the_buckets_that_were_read(server: str, tmp_path: Path) -> None:
    sizes = ("16MiB", "16MB", "16M", "16777216", "1GiB", "512k", "0", "-1")
    lives = ("15m", "7d", "1w", "1h30m", "1.5d", "1M", "250ms", "0")
    lines = [
        f"nats kv add b{n} --max-bucket-size={size} --ttl={life} --history={n + 1}"
        for n, (size, life) in enumerate(zip(sizes, lives, strict=True))
    ]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nats").symlink_to(cli())
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "NATS_URL": server,
        "HOME": str(tmp_path),
    }
    shell = shutil.which("sh") or "/bin/sh"
    script = "\n".join(["set -e", *lines])
    subprocess.run([shell, "-c", script], env=environment, check=True, timeout=30, capture_output=True)
    for bucket in buckets(script):
        done = subprocess.run([shell, "-c", f"nats stream info KV_{bucket.name} --json"], env=environment,
                              check=True, timeout=10, capture_output=True, text=True)  # fmt: skip
        config = json.loads(done.stdout)["config"]
        assert config["max_age"] == int((bucket.ttl_s or 0) * 10**9), bucket
        assert config["max_bytes"] == (bucket.max_bytes or -1), bucket
        assert config["max_msgs_per_subject"] == bucket.history, bucket
