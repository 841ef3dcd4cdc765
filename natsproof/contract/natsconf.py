"""The configuration dialect of nats-server, with the line of every key.

`key: value`, `key = value`, `key value`; maps, arrays, quoted and bare strings, blocks `( … )`, sizes with
suffixes, `$VARIABLE` (enclosing maps, then the environment, whose text is parsed again), includes relative
to the including file. Duplicate keys are legal, the last one wins; they are recorded. What nats-server
accepts by accident (a key whose value is missing, a number such as `1kbb` that it drops) is an error here.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from natsproof.contract.natsconf_text import (
    KEY_END,
    NEWLINE,
    SPACE,
    ConfigSyntaxError,
    Reader,
    Spot,
    Variable,
)

MAX_DEPTH = 64
MAX_INCLUDES = 32

__all__ = ["ConfigSyntaxError", "Parsed", "Spot", "parse"]

ReadFile = Callable[[str], str]


@dataclass
class Parsed:
    """`tree` is the nested plain dict; `spots` where each dotted path was written (`cluster.routes.0` for an
    element); `variables` every `$VAR`; `duplicates` each key written again, with the place it overrides."""

    tree: dict[str, Any] = field(default_factory=dict)
    spots: dict[str, Spot] = field(default_factory=dict)
    variables: dict[str, Spot] = field(default_factory=dict)
    variable_of: dict[str, str] = field(default_factory=dict)  # dotted path → the variable it is
    duplicates: list[tuple[str, Spot, Spot]] = field(default_factory=list)
    quoted_variables: list[tuple[str, Spot]] = field(default_factory=list)  # "$X" in quotes is literal


def parse(text: str, file: str, environment: Mapping[str, str], read_file: ReadFile | None = None) -> Parsed:
    """Parse one file as nats-server would. Raises ConfigSyntaxError."""
    parsed = Parsed()
    _Parser(text, file, dict(environment), read_file, parsed).top()
    return parsed


class _Parser(Reader):
    def __init__(
        self,
        text: str,
        file: str,
        environment: Mapping[str, str],
        read_file: ReadFile | None,
        parsed: Parsed,
        *,
        scopes: list[dict[str, Any]] | None = None,
        prefix: str = "",
        including: tuple[str, ...] = (),
        resolving: tuple[str, ...] = (),
        depth: int = 0,
    ) -> None:
        super().__init__(text, file)
        self.environment = environment
        self.read_file, self.parsed = read_file, parsed
        self.scopes = [parsed.tree] if scopes is None else scopes
        self.prefix, self.including, self.resolving = prefix, including, resolving
        self.depth = depth

    # -- maps ---------------------------------------------------------------------------------------------

    def top(self) -> None:
        """The whole file; a pair of braces around it is allowed, as in JSON."""
        braces, opened = 0, 1
        while True:
            self.blank()
            if not self.peek():
                if braces > 0:
                    raise self.fail("a { at the top is never closed with }", opened)
                return
            if self.peek() == "{":
                opened = self.line()
                braces += 1
                self.position += 1
                continue
            if self.peek() == "}" and (braces or not self.text[self.position + 1 :].strip()):
                braces -= 1
                self.position += 1
                self.skip(SPACE + ",;")
                continue
            if self.peek() == "/":
                raise self.fail("a single / begins nothing; a comment begins with # or //")
            self.entry(self.scopes[-1], self.prefix, in_map=False)
            self.value_end("" if not braces else "}", "top-level")

    def map(self, target: dict[str, Any], path: str) -> None:
        opened = self.line()
        self.position += 1
        self.scopes.append(target)
        while True:
            self.blank()
            character = self.peek()
            if not character:
                raise self.fail("the map that begins here is never closed with }", opened)
            if character == "}":
                self.position += 1
                break
            if character == "]":
                raise self.fail("found ] inside a map, expected a key or }")
            self.entry(target, path, in_map=True)
            self.value_end("}", "map")
        self.scopes.pop()

    def value_end(self, close: str, what: str) -> None:
        """After a value: a newline, a comma, a semicolon, a comment or the closing brace."""
        while self.peek() and self.peek() in SPACE + "/" and not self.text.startswith("//", self.position):
            self.position += 1
        if self.comment() or not self.peek():
            return
        character = self.peek()
        if character in NEWLINE + ";,":
            self.position += 1
        elif character == "}" and (close == "}" or what == "top-level"):
            self.position += 0 if close == "}" else 1
        else:
            raise self.fail(
                f"after a {what} value found {character!r}, expected a new line, a comma or a comment"
            )

    def entry(self, target: dict[str, Any], path: str, *, in_map: bool) -> None:
        key, spot, quoted = self.key()
        if not quoted and key.lower() == "include" and self.peek().isspace():
            self.include(target, path)
            return
        self.skip_spaces()
        if self.peek() and self.peek() in "=:":
            self.position += 1
            self.skip(SPACE)
            if in_map:
                self.skip_spaces()
            elif self.peek() and self.peek() in NEWLINE:
                raise self.fail(f"the value of {key!r} is missing; write it on the same line", spot.line)
        if not self.peek() or (self.peek() == "}" and in_map):
            raise self.fail(f"the value of {key!r} is missing", spot.line)
        if in_map and self.peek() == ",":
            raise self.fail(f"found a comma, expected the value of {key!r}", spot.line)
        self.store(target, path, key, spot)

    def store(self, target: dict[str, Any], path: str, key: str, spot: Spot) -> None:
        dotted = f"{path}.{key}" if path else key
        if dotted in self.parsed.spots:
            self.parsed.duplicates.append((dotted, self.parsed.spots[dotted], spot))
            self.forget(dotted)
        value = self.value(dotted)
        target[key] = value
        self.parsed.spots[dotted] = spot

    def forget(self, dotted: str) -> None:
        """Drop what an earlier key of the same name recorded below it."""
        for record in (self.parsed.spots, self.parsed.variable_of):
            for known in [name for name in record if name == dotted or name.startswith(dotted + ".")]:
                del record[known]

    def key(self) -> tuple[str, Spot, bool]:
        character = self.peek()
        if character in "=:":
            raise self.fail(f"found {character!r}, expected a key before it")
        spot = self.spot()
        if character in "'\"":
            end = self.text.find(character, self.position + 1)
            if end < 0:
                raise self.fail("the quoted key that begins here is never closed")
            key = self.text[self.position + 1 : end]
            self.position = end + 1
            return key, spot, True
        match = KEY_END.search(self.text, self.position)
        end = match.start() if match else len(self.text)
        key = self.text[self.position : end]
        self.position = end
        return key, spot, False

    def include(self, target: dict[str, Any], path: str) -> None:
        line = self.line()
        self.skip(SPACE)
        character = self.peek()
        if character in "'\"" and character:
            end = self.text.find(character, self.position + 1)
            if end < 0:
                raise self.fail("the name of the included file is never closed")
            name, self.position = self.text[self.position + 1 : end], end + 1
        else:
            match = re.compile(r"[\r\n;}\t ']").search(self.text, self.position)
            end = match.start() if match else len(self.text)
            name, self.position = self.text[self.position : end], end
        if not name or name[0] in "[{(\\-" or name[0].isdigit():
            raise self.fail(
                f"found {name!r}, expected the name of a file to include (for example ./auth.conf)"
            )
        # nats-server joins even an absolute name to the including file's directory.
        full = posixpath.normpath(posixpath.join(posixpath.dirname(self.file), name.lstrip("/")))
        if full in self.including or full == self.file or len(self.including) > MAX_INCLUDES:
            raise self.fail(f"{full} includes itself", line)
        if self.read_file is None:
            raise self.fail(f"include {name!r}: there is no file here to include", line)
        try:
            text = self.read_file(full)
        except KeyError as error:
            raise self.fail(f"included file {full} does not exist in the pod{error.args[0]}", line) from None
        # The included file sees no variable of ours, only the environment; its keys land in this map.
        included: dict[str, Any] = {}
        parser = _Parser(
            text, full, self.environment, self.read_file, self.parsed,
            scopes=[included], prefix=path, including=(*self.including, self.file),
            depth=self.depth + 1,
        )  # fmt: skip
        parser.top()
        target.update(included)

    # -- values -------------------------------------------------------------------------------------------

    def value(self, dotted: str) -> Any:
        character = self.peek()
        if character == "{":
            return self.nested(lambda: self.filled_map(dotted))
        if character == "[":
            return self.nested(lambda: self.array(dotted))
        if character == "'":
            return self.quoted(self.single_quoted)
        if character == '"':
            return self.quoted(self.double_quoted)
        if character == "(":
            return self.block()
        if character == ".":
            raise self.fail("a number begins with a digit, not with a point; quote it if it is text")
        if character == "-" or (character.isascii() and character.isdigit()):
            return self.number()
        spot, word = self.spot(), self.word()
        return self.variable(word.name, dotted, spot) if isinstance(word, Variable) else word

    def quoted(self, read: Callable[[], str]) -> str:
        """Quoted text; a variable in quotes is only text, which surprises: it is recorded."""
        spot, text = self.spot(), read()
        if re.fullmatch(r"\$[A-Za-z_]\w*", text):
            self.parsed.quoted_variables.append((text, spot))
        return text

    def nested(self, read: Callable[[], Any]) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"nested deeper than {MAX_DEPTH} levels")
        value = read()
        self.depth -= 1
        return value

    def filled_map(self, dotted: str) -> dict[str, Any]:
        target: dict[str, Any] = {}
        self.map(target, dotted)
        return target

    def array(self, dotted: str) -> list[Any]:
        opened = self.line()
        self.position += 1
        found: list[Any] = []
        while True:
            self.blank()
            character = self.peek()
            if not character:
                raise self.fail("the array that begins here is never closed with ]", opened)
            if character in ",/":
                raise self.fail(f"found {character!r}, expected an element of the array or ]")
            if character == "]":
                self.position += 1
                return found
            spot, path = self.spot(), f"{dotted}.{len(found)}"
            found.append(self.value(path))
            self.parsed.spots[path] = spot
            self.array_value_end()

    def array_value_end(self) -> None:
        while True:
            self.skip(SPACE)
            if self.comment():
                continue
            character = self.peek()
            if character and character in "," + NEWLINE:
                self.position += 1
                return
            if character == "]":
                return
            found = repr(character) if character else "the end of the file"
            raise self.fail(f"after an element of an array found {found}, expected a comma, a new line or ]")

    # -- variables ----------------------------------------------------------------------------------------

    def variable(self, name: str, dotted: str, spot: Spot) -> Any:
        if name.startswith("2a$"):
            return "$" + name  # a bcrypt hash, which nats-server takes as it is
        if not self.resolving:
            self.parsed.variables.setdefault(name, spot)
            self.parsed.variable_of[dotted] = name
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if name in self.resolving:
            raise self.fail(f"variable ${name} refers to itself", spot.line)
        if name not in self.environment:
            raise self.fail(
                f"variable ${name} is set neither in an enclosing map nor in the container's env"
                f"{_known(self.environment)}",
                spot.line,
            )
        return self.from_environment(name, spot)

    def from_environment(self, name: str, spot: Spot) -> Any:
        scratch = Parsed()
        parser = _Parser(
            f"pk={self.environment[name]}", f"${name}", self.environment, None, scratch,
            resolving=(*self.resolving, name),
        )  # fmt: skip
        try:
            parser.top()
        except ConfigSyntaxError as error:
            raise self.fail(
                f"variable ${name}: its value is parsed as configuration: {error.text}", spot.line
            ) from None
        return scratch.tree.get("pk", "")


def _known(names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names))
    return f" (it has {listed})" if listed else " (it has none)"
