"""Environment variables: used where set, and read as what they are. (One that is used and not set is refused
by the loader already, as nats-server would.)"""

from __future__ import annotations

import base64
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from natsproof.contract import natsconf
from natsproof.contract.model import Container, Contract, EnvVar
from natsproof.contract.rules.pinning import containers_of
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.contract.rules.shell import script_of
from natsproof.verdict import Verdict

_PROMISE = "the configuration means what it says"
_LITERAL = re.compile(r"\$\(?[A-Za-z_]\w*\)?")
_PLAIN_WORD = re.compile(r"[A-Za-z][\w.:/-]*")
_OTHER_TYPES = {"true", "false", "yes", "no", "on", "off"}
# Read by the Go runtime, the C library or the nats CLI without being named in the manifests.
_KNOWN = re.compile(
    r"GO(?:MEMLIMIT|MAXPROCS|GC|DEBUG|TRACEBACK)|HOME|USER|TZ|TMPDIR|PATH|NATS_(?:URL|USER|PASSWORD|TOKEN|CREDS"
    r"|NKEY|CERT|KEY|CA|TIMEOUT|CONTEXT|COLOR)|XDG_CONFIG_HOME|NO_COLOR"
)


@rule(_PROMISE)
def every_environment_variable_is_used(contract: Contract) -> Verdict:
    """Each variable of a container is read: by nats.conf, its command or a known program."""
    wrong = []
    count = 0
    for container in containers_of(contract):
        for env in container.env:
            count += 1
            if not _is_used(env, container, contract):
                text = (
                    f"{env.name} is set in container {container.name}, but nothing reads it. Use it or"
                    " remove it"
                )
                wrong.append(at(env.place, text))
    return judged(wrong, f"{count} environment variables are used", variables=count)


def _is_used(env: EnvVar, container: Container, contract: Contract) -> bool:
    if _KNOWN.fullmatch(env.name):
        return True
    if container is contract.server_container and env.name in contract.config.variables:
        return True
    expanded = [*(container.command or ()), *(container.args or ()), *(e.value or "" for e in container.env)]
    if any(f"$({env.name})" in word for word in expanded):
        return True
    script = script_of(container)
    return script is not None and re.search(rf"\$\{{?{re.escape(env.name)}\b", script) is not None


@rule(_PROMISE)
def no_variable_is_taken_literally(contract: Contract) -> Verdict:
    """No value in nats.conf has a $VAR as text: quoted or inside another word it is not replaced."""
    wrong = [
        at(
            contract.config.at(path),
            f"{path} is {text!r}: nats-server replaces a variable only as a whole value without quotes",
        )
        for path, text in _texts(contract.config.tree, "")
        if _LITERAL.search(text) and not re.match(r"\$2[abxy]\$", text)
    ]
    return judged(wrong, "no variable is taken literally")


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{path}.{index}")
    elif isinstance(value, str):
        yield path, value


@rule(_PROMISE)
def every_variable_is_read_as_text(contract: Contract) -> Verdict:
    """A value put into nats.conf by a variable begins with a letter and is no keyword: 12k would become
    12000."""
    wrong = []
    for env in contract.server_container.env:
        value = _known_value(env, contract)
        if env.name not in contract.config.variables or value is None:
            continue
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        if not quoted and (not _PLAIN_WORD.fullmatch(value) or value.lower() in _OTHER_TYPES):
            text = f"the value of {env.name} is read again as configuration and would change its meaning"
            wrong.append(at(env.place, f"{text}. Begin with a letter, use letters, digits, - and _"))
    return judged(wrong, "every variable is read as text")


def _known_value(env: EnvVar, contract: Contract) -> str | None:
    """The value, of a Secret or ConfigMap among the manifests too; None where Kubernetes decides."""
    if env.value is not None:
        return None if "$(" in env.value else env.value
    kind, name = ("Secret", env.secret) if env.secret else ("ConfigMap", env.config_map)
    for found in contract.of_kind(kind):
        if name is not None and found.name == name and env.key is not None:
            plain = (found.raw.get("stringData" if env.secret else "data") or {}).get(env.key)
            if plain is None and env.secret and (coded := (found.raw.get("data") or {}).get(env.key)):
                plain = base64.b64decode(coded).decode(errors="replace")
            return None if plain is None else str(plain)
    return None


@rule(_PROMISE)
def no_key_is_written_twice(contract: Contract) -> Verdict:
    """No key stands twice in a block of nats.conf: the server takes the last without a word."""
    data = contract.config_map.data
    environment = dict.fromkeys(contract.config.variables, "any")

    def included(path: str) -> str:
        return data.get(posixpath.basename(path), "")

    wrong = []
    for key in data:
        try:
            parsed = natsconf.parse(data[key], key, environment, included)
        except natsconf.ConfigSyntaxError:
            continue  # no configuration by itself; the loader read the one that is
        for dotted, first, second in parsed.duplicates:
            earlier = contract.config_map.line_of(posixpath.basename(first.file), first.line)
            text = f"{dotted} overrides the one at {earlier}. Keep one of the two"
            wrong.append(at(contract.config_map.line_of(posixpath.basename(second.file), second.line), text))
    return judged(wrong, "every key stands once")


RULES: tuple[Rule, ...] = (
    every_environment_variable_is_used,
    no_variable_is_taken_literally,
    every_variable_is_read_as_text,
    no_key_is_written_twice,
)
