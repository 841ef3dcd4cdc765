"""Whatever the input: a Contract or a ContractError that says where, never another exception."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natsproof.contract import load_documents, natsconf, shell_walk
from natsproof.contract.shell_words import ShellSyntaxError
from natsproof.errors import ContractError

BASE = (Path(__file__).parent / "contracts/kustomized/base/nats.yaml").read_text()
DOCUMENTS = [document for document in yaml.load_all(BASE, yaml.CSafeLoader) if document]
QUICK = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

WORDS = st.sampled_from(
    [
        "",
        "nats",
        "8Gi",
        "-1",
        "1e3",
        "null",
        "true",
        "~",
        "$(X)",
        "é",
        "10G",
        "nats://x:1",
        "a: b",
        "{",
        "\x00",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70_000),
    st.integers(),
    st.floats(allow_nan=False),
    WORDS,
    st.text(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
CONF = st.lists(
    st.sampled_from(
        [
            "port",
            ":",
            "=",
            " ",
            "\n",
            "{",
            "}",
            "[",
            "]",
            ",",
            ";",
            "4222",
            "2m",
            "1Gi",
            '"',
            "'",
            "\\x4",
            "$A",
            "(",
            "jetstream",
            "store_dir",
            "max_file",
            "cluster",
            "routes",
            "include",
            "#",
            "//",
            "true",
            "-1",
            ")",
            "\n)\n",
            "nats://a:1",
            "lame_duck_duration",
            "30s",
            "1.5",
            "1.2.3.4",
            "2024-01-01",
            "server_name",
            "²",
            "\r",
            "é",
        ]
    )
    | st.text(max_size=3),
    max_size=25,
).map("".join)
SHELL = st.lists(
    st.sampled_from(
        [
            "nats kv add a",
            " --ttl=15m",
            " --replicas 3",
            "\n",
            ";",
            "&&",
            "||",
            "|",
            "(",
            ")",
            "{ ",
            " }",
            "if ",
            "$x",
            "; then ",
            " fi",
            "for x in a b",
            "; do ",
            " done",
            "case $x in",
            " a) ",
            ";;",
            " esac",
            "f() ",
            '"',
            "'",
            "<<EOF\n",
            "EOF\n",
            "$(",
            "`",
            "${x:-y}",
            "${",
            "$((",
            "))",
            "\\",
            "x=1 ",
            "while read a",
            ">f",
            "2>&1",
            "#",
        ]
    )
    | st.text(max_size=2),
    max_size=25,
).map("".join)


def dumped(documents: list[Any], **options: Any) -> str:
    return str(yaml.dump_all(documents, Dumper=yaml.CSafeDumper, **options))


def judged(text: str) -> ContractError | None:
    """The error of loading a text; anything but a ContractError fails the test."""
    try:
        load_documents([("m.yaml", text)], promises_required=False)
    except ContractError as error:
        assert re.match(r"(m\.yaml|<manifests>)(:\d+)?: \S", str(error)), str(error)
        return error
    return None


def paths(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths(child, (*at, key))


PATHS = list(paths(DOCUMENTS))[1:]


def edited(path: tuple[Any, ...], value: Any, *, delete: bool) -> list[Any]:
    documents = copy.deepcopy(DOCUMENTS)
    parent: Any = documents
    for step in path[:-1]:
        parent = parent[step]
    if delete:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return documents


def test_the_unchanged_manifests_load() -> None:
    assert judged(BASE) is None
    assert judged(dumped(DOCUMENTS)) is None


def test_any_one_field_may_be_missing() -> None:
    for path in PATHS[::3]:
        judged(dumped(edited(path, None, delete=True)))


@QUICK
@given(st.sampled_from(PATHS), VALUES)
def test_any_field_may_hold_anything(path: tuple[Any, ...], value: Any) -> None:
    judged(dumped(edited(path, value, delete=False), allow_unicode=True))


@QUICK
@given(st.integers(0, len(BASE) - 1), st.integers(0, 12), st.text(max_size=4))
def test_any_characters_may_be_changed(at: int, count: int, new: str) -> None:
    judged(BASE[:at] + new + BASE[at + count :])


@QUICK
@given(st.text() | VALUES.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
def test_any_text_may_be_given(text: str) -> None:
    assert judged(text) is not None


@QUICK
@given(CONF)
def test_any_server_configuration_may_be_given(conf: str) -> None:
    documents = edited((1, "data", "nats.conf"), conf, delete=False)
    judged(dumped(documents, allow_unicode=True))


@QUICK
@given(st.binary(max_size=60))
def test_any_bytes_may_be_a_server_configuration(data: bytes) -> None:
    with contextlib.suppress(natsconf.ConfigSyntaxError):
        natsconf.parse(data.decode("utf-8", "surrogateescape"), "/c/nats.conf", {"A": "1"}, {}.__getitem__)


@QUICK
@given(SHELL)
def test_any_set_up_script_may_be_given(script: str) -> None:
    with contextlib.suppress(ShellSyntaxError):
        shell_walk.commands(script, {"x": "v", "y": None}, ("a", "b"))


@QUICK
@given(VALUES)
def test_any_promises_may_be_given(value: Any) -> None:
    promises = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "p", "namespace": "nats"},
        "data": {"promises.yaml": yaml.safe_dump({"buckets": value, "recovery": value}, allow_unicode=True)},
    }
    judged(dumped([*DOCUMENTS, promises], allow_unicode=True))


def test_a_bomb_of_aliases_is_refused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    error = judged(bomb)
    assert error is not None and "aliases expanded" in str(error)


def test_deep_nesting_is_refused() -> None:
    for opening in ("[", "{a: ", "- "):
        error = judged(opening * 5000)
        assert error is not None
    natsconf_error = None
    try:
        natsconf.parse("a: " + "[" * 3000, "/c", {})
    except natsconf.ConfigSyntaxError as found:
        natsconf_error = found
    assert natsconf_error is not None and "nested deeper" in str(natsconf_error)
