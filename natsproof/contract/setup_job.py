"""The buckets that the set-up Job will create, read from its script.

The script is read, never run: loading manifests must be safe. Every branch counts as taken, functions and
loops over known words are followed, and words that only a run knows (`$(…)`, secrets) are errors where they
decide a bucket.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from natsproof import units
from natsproof.contract import references, shell_walk
from natsproof.contract.model import Bucket, Container, Job, KubernetesObject, Place
from natsproof.contract.problems import Problems, closest
from natsproof.contract.shell_walk import Argument, Command
from natsproof.contract.shell_words import ShellSyntaxError

PlaceOf = Callable[[int], Place]

_GLOBAL_VALUES = frozenset(
    (
        *(
            "server",
            "user",
            "password",
            "token",
            "connection-name",
            "creds",
            "nkey",
            "jwt",
            "seed",
            "timeout",
        ),
        *("tlscert", "tlskey", "tlsca", "socks-proxy", "js-api-prefix", "js-event-prefix", "js-domain"),
        *("inbox-prefix", "domain", "colors", "context"),
    )
)
_GLOBAL_SWITCHES = frozenset(("tlsfirst", "no-tlsfirst", "trace", "no-context"))
_ADD_VALUES = frozenset(
    (
        *("description", "history", "storage", "ttl", "marker-ttl", "replicas", "max-value-size"),
        *("max-bucket-size", "tags", "cluster", "metadata", "republish-source", "republish-destination"),
        *("mirror", "mirror-domain", "source"),
    )
)
_ADD_SWITCHES = frozenset(("compress", "no-compress", "republish-headers"))
_REPEATABLE = frozenset(("tags", "metadata", "source"))
_FIELD = {
    "ttl": "ttl_s",
    "marker-ttl": "marker_ttl_s",
    "max-bucket-size": "max_bytes",
    "max-value-size": "max_value_bytes",
    "replicas": "replicas",
    "storage": "storage",
    "history": "history",
}
_HINT = "write `nats kv add NAME --ttl=15m --max-bucket-size=10GiB --replicas=3` with plain words"


def buckets(objects: Iterable[KubernetesObject], job: Job, problems: Problems) -> tuple[Bucket, ...]:
    """Every bucket that the Job's containers create, in order. What cannot be read goes to `problems`."""
    objects = tuple(objects)
    found: dict[str, Bucket] = {}
    for container in (*job.template.init_containers, *job.template.containers):
        for command, place_of in _commands(objects, job, container, problems):
            bucket = _bucket(command, place_of, problems)
            if bucket is None:
                continue
            first = found.setdefault(bucket.name, bucket)
            if first != bucket:
                problems.add(
                    bucket.place,
                    f"bucket {bucket.name!r} is also created with another configuration at {first.place};"
                    f" only a run would show which one wins: keep one",
                )
    return tuple(found.values())


def _commands(
    objects: tuple[KubernetesObject, ...], job: Job, container: Container, problems: Problems
) -> Iterable[tuple[Command, PlaceOf]]:
    words = [*(container.command or ()), *(container.args or ())]
    places = [container.at(f"command.{n}") for n in range(len(container.command or ()))]
    places += [container.at(f"args.{n}") for n in range(len(container.args or ()))]
    if not words:
        return
    variables = _variables(objects, job, container)
    words = [references.expand(word, {k: v for k, v in variables.items() if v is not None}) for word in words]
    script = _script(objects, job, container, words, places)
    if script is None:
        arguments = tuple(Argument(word, number) for number, word in enumerate(words, start=1))
        yield Command(1, arguments), lambda line: places[min(line, len(places)) - 1]
        return
    try:
        for command in shell_walk.commands(script.text, variables, script.arguments):
            yield command, script.place_of
    except ShellSyntaxError as error:
        problems.add(
            script.place_of(error.line),
            f"the set-up script cannot be read: {error.text}; natsproof reads scripts without running them:"
            f" {_HINT}",
        )


@dataclass(frozen=True, slots=True)
class _Script:
    text: str
    arguments: tuple[str, ...]
    place_of: PlaceOf


def _script(
    objects: tuple[KubernetesObject, ...],
    job: Job,
    container: Container,
    words: list[str],
    places: list[Place],
) -> _Script | None:
    """The script of `sh -c TEXT`, `sh FILE` or `FILE` with FILE from a ConfigMap; None for a plain
    command."""
    files = references.mounted_files(objects, job, job.template, container)
    at = 0
    if posixpath.basename(words[0]) in ("sh", "bash", "ash", "dash"):
        at = 1
        while at < len(words) and words[at].startswith("-"):
            if not words[at].startswith("--") and "c" in words[at] and at + 1 < len(words):
                return _Script(words[at + 1], tuple(words[at + 3 :]), _lines_from(places[at + 1]))
            at += 1
    if at < len(words):
        path = posixpath.normpath(posixpath.join(container.working_dir or "/", words[at]))
        if path in files:
            owner, key = files[path]
            return _Script(owner.data[key], tuple(words[at + 1 :]), lambda line: owner.line_of(key, line))
    return None


def _lines_from(first: Place) -> PlaceOf:
    return lambda line: Place(first.file, first.line + line - 1)


def _variables(
    objects: tuple[KubernetesObject, ...], job: Job, container: Container
) -> dict[str, str | None]:
    """The container's environment; None for what only a cluster knows."""
    known = references.environment(objects, job, container)
    sure = {v.name for v in container.env if v.value is not None or v.config_map is not None}
    return {name: value if name in sure else None for name, value in known.items()}


def _bucket(command: Command, place_of: PlaceOf, problems: Problems) -> Bucket | None:
    """The bucket of a `nats kv add`; None for every other command."""
    words = [argument.text for argument in command.arguments]
    if posixpath.basename(words[0] or "") != "nats":
        if any(
            first == "kv" and second in ("add", "new") and words[0] not in ("echo", "printf", ":")
            for first, second in pairwise(words)
        ):
            problems.add(
                place_of(command.line),
                f"`nats kv add` is run through {words[0]!r}, which natsproof does not follow; {_HINT}",
            )
        return None
    parsed = _Arguments(command, place_of, problems)
    if parsed.names[:2] not in (["kv", "add"], ["kv", "new"]):
        return None
    return parsed.bucket()


class _Arguments:
    """The words of one nats command, split into names and flags."""

    def __init__(self, command: Command, place_of: PlaceOf, problems: Problems) -> None:
        self.command, self.place_of, self.problems = command, place_of, problems
        self.names: list[str | None] = []
        self.name_words: list[Argument] = []
        self.flags: dict[str, tuple[Argument, str | None]] = {}
        self.unknown: list[Argument] = []
        self.repeated: list[tuple[Argument, str]] = []
        self.split([*command.arguments[1:]])

    def split(self, arguments: list[Argument]) -> None:
        while arguments:
            word = arguments.pop(0)
            text = word.text
            if text is None or not text.startswith("-") or text == "-":
                self.names.append(text)
                self.name_words.append(word)
                continue
            if text == "--":
                self.names += [argument.text for argument in arguments]
                self.name_words += arguments
                return
            name, equals, value = text.removeprefix("--").partition("=")
            if not text.startswith("--"):
                name, equals, value = ("server", "=", text[2:]) if text.startswith("-s") else (text, "", "")
                equals = "=" if value else ""
            if name in _ADD_SWITCHES | _GLOBAL_SWITCHES:
                continue
            if name not in _ADD_VALUES | _GLOBAL_VALUES:
                self.unknown.append(word)
                continue
            if name in self.flags and name not in _REPEATABLE:
                self.repeated.append((word, name))
            if equals:
                self.flags[name] = (word, value)
            elif arguments:
                following = arguments.pop(0)
                self.flags[name] = (following, following.text)
            else:
                self.flags[name] = (word, None)

    def bucket(self) -> Bucket | None:
        line = self.command.line
        for word in self.unknown:
            flags = [f"--{name}" for name in sorted(_ADD_VALUES | _ADD_SWITCHES)]
            self.problems.add(
                self.place_of(word.line),
                f"`nats kv add` has no flag {(word.text or '').partition('=')[0]}"
                f"{closest((word.text or '').partition('=')[0], flags)}; the Job would fail",
            )
        for word, name in self.repeated:
            self.problems.add(self.place_of(word.line), f"--{name} is given twice; the nats CLI refuses that")
        if any(
            argument.text is None and argument not in self.name_words for argument in self.command.arguments
        ):
            self.report_unknown()
            return None
        if len(self.names) != 3 or self.names[2] is None:
            if None in self.names:
                self.report_unknown()
            else:
                shown = " ".join(str(name) for name in self.names[2:]) or "none"
                self.problems.add(self.place_of(line), f"`nats kv add` needs one bucket name; found {shown}")
            return None
        values: dict[str, Any] = {}
        places = {"name": self.place_of(self.name_words[2].line)}
        for flag, name in _FIELD.items():
            if flag in self.flags:
                word, text = self.flags[flag]
                places[name] = self.place_of(word.line)
                values |= self.value(flag, name, text, places[name])
        return Bucket(name=self.names[2], place=self.place_of(line), places=places, **values)

    def report_unknown(self) -> None:
        unknown = next(argument for argument in self.command.arguments if argument.text is None)
        self.problems.add(
            self.place_of(unknown.line),
            f"`nats kv add` depends on {_shown(unknown.why)}, which only a run knows; {_HINT}",
        )

    def value(self, flag: str, name: str, text: str | None, place: Place) -> dict[str, Any]:
        """The model's field for a flag; nothing where the flag says unlimited."""
        try:
            if text is None:
                raise ValueError("the value is missing")
            value: Any = _VALUES[flag](text)
        except ValueError as error:
            self.problems.add(place, f"--{flag}: {error}; the Job would fail")
            return {}
        return {} if value is None else {name: value}


def _shown(why: str) -> str:
    return f"${why}" if why.isidentifier() else why or "an unknown word"


def _ttl(text: str) -> float | None:
    value = units.cli_duration_s(text)
    if value < 0:
        raise ValueError(f"found {text}, expected no negative duration")
    return value or None


def _size(text: str) -> int | None:
    value = units.cli_size(text)
    return value if value > 0 else None


def _small_size(text: str) -> int | None:
    value = _size(text)
    if value is not None and value > 2**31 - 1:
        raise ValueError(f"{text!r} is more than the 2 GiB the nats CLI takes here")
    return value


def _replicas(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"found {text!r}, expected a number of servers (for example 3)")
    return max(int(text), 1)


def _history(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 64:
        raise ValueError(f"found {text!r}, expected a number from 1 to 64")
    return int(text)


def _storage(text: str) -> str:
    names = {"file": "file", "f": "file", "memory": "memory", "m": "memory"}
    if text not in names:
        raise ValueError(f"found {text!r}, expected file or memory")
    return names[text]


_VALUES: dict[str, Callable[[str], Any]] = {
    "ttl": _ttl,
    "marker-ttl": _ttl,
    "max-bucket-size": _size,
    "max-value-size": _small_size,
    "replicas": _replicas,
    "storage": _storage,
    "history": _history,
}
