"""The characters of nats.conf: comments, quoted and bare text, numbers, sizes, dates, with lines."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from natsproof import units

SPACE = " \t"
NEWLINE = "\r\n"
KEY_END = re.compile(r"[\s=:]")
_BARE_END = re.compile(r"[\r\n;,\]}\t ']|\\")
_COMMENT = re.compile(r"[^\r\n]*")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_DIGITS = re.compile(r"\d*", re.ASCII)
_SIZE_TAIL = re.compile(r"[kmgtpeKMGTPE][bBiI]*")
_ADDRESS_TAIL = re.compile(r"[0-9.:-]*")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", '"': '"', "\\": "\\"}


class ConfigSyntaxError(ValueError):
    """What is wrong, in which file and line of it."""

    def __init__(self, file: str, line: int, text: str) -> None:
        super().__init__(f"{file}:{line}: {text}")
        self.file, self.line, self.text = file, line, text


@dataclass(frozen=True, slots=True)
class Spot:
    """A line of a configuration file, by the file's path in the container."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Variable:
    name: str


class Reader:
    """A position in the text of one file."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file, self.position = text, file, 0
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def peek(self, ahead: int = 0) -> str:
        at = self.position + ahead
        return self.text[at] if at < len(self.text) else ""

    def line(self, position: int | None = None) -> int:
        return bisect_left(self.newlines, self.position if position is None else position) + 1

    def spot(self) -> Spot:
        return Spot(self.file, self.line())

    def fail(self, text: str, line: int | None = None) -> ConfigSyntaxError:
        return ConfigSyntaxError(self.file, self.line() if line is None else line, text)

    def skip(self, characters: str) -> None:
        while self.peek() and self.peek() in characters:
            self.position += 1

    def skip_spaces(self) -> None:
        while self.peek().isspace():
            self.position += 1

    def comment(self) -> bool:
        """Step over a comment if one begins here."""
        if self.peek() == "#" or self.text.startswith("//", self.position):
            match = _COMMENT.match(self.text, self.position)
            self.position = match.end() if match else len(self.text)
            return True
        return False

    def blank(self) -> None:
        """Step over spaces, newlines and comments."""
        self.skip_spaces()
        while self.comment():
            self.skip_spaces()

    def single_quoted(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            raise self.fail("the quoted text that begins here is never closed with '")
        text = self.text[self.position + 1 : end]
        self.position = end + 1
        return text

    def double_quoted(self) -> str:
        spot = self.spot()
        self.position += 1
        parts: list[str] = []
        while True:
            match = re.compile(r'["\\]').search(self.text, self.position)
            if match is None:
                raise self.fail('the quoted text that begins here is never closed with "', spot.line)
            parts.append(self.text[self.position : match.start()])
            self.position = match.end()
            if match[0] == '"':
                break
            parts.append(self.escape())
        return "".join(parts)

    def escape(self) -> str:
        """After a backslash."""
        character = self.peek()
        self.position += 1
        if character == "x":
            digits = self.text[self.position : self.position + 2]
            if not re.fullmatch(r"[0-9a-fA-F]{2}", digits):
                raise self.fail(f"found \\x{digits}, expected two hexadecimal digits after \\x")
            self.position += 2
            return chr(int(digits, 16))
        if character not in _ESCAPES or not character:
            raise self.fail(f'found \\{character}, expected one of \\xXX \\t \\n \\r \\" \\\\')
        return _ESCAPES[character]

    def block(self) -> str:
        """Text from ( to a ) alone on its line."""
        match = re.compile(r"(?<=\n)\)(?=\n|\Z)").search(self.text, self.position + 1)
        if match is None:
            raise self.fail("the block that begins here is never closed with a ) alone on its line")
        text = self.text[self.position + 1 : match.start()]
        self.position = match.end()
        return text

    def number(self) -> Any:
        """An integer with or without size suffix, a float, a date, or a word that begins with digits."""
        start, negative = self.position, self.peek() == "-"
        self.position += negative
        if not self.peek().isdigit():
            raise self.fail(f"after - found {self.peek()!r}, expected a digit; quote it if it is text")
        self.position = _DIGITS.match(self.text, self.position).end()  # type: ignore[union-attr]
        character = self.peek()
        if character == ".":
            return self.fraction(start)
        if character == "-" and not negative:
            return self.date(start)
        tail = _SIZE_TAIL.match(self.text, self.position)
        if tail:
            self.position = tail.end()
        elif negative:
            return self.integer(start)
        after = self.peek()
        if not after or after in NEWLINE + SPACE + "};,":
            return self.integer(start)
        if after.isdigit() and tail:
            raise self.fail(
                f"found {self.text[start : self.position + 1]!r}, expected a size such as 8MB; quote a"
                f' duration such as "2m30s"'
            )
        # After digits without suffix nats-server takes one more character, `]` too, and reads on as text.
        self.position += 0 if tail else 1
        return self.word(start)

    def integer(self, start: int) -> int:
        try:
            return units.conf_size(self.text[start : self.position])
        except ValueError as error:
            raise self.fail(str(error)) from None

    def fraction(self, start: int) -> float | str:
        self.position += 1
        if not self.peek().isdigit():
            raise self.fail(f"after a point found {self.peek()!r}, expected a digit; quote it if it is text")
        self.position = _DIGITS.match(self.text, self.position).end()  # type: ignore[union-attr]
        if self.peek() == ".":
            self.position = _ADDRESS_TAIL.match(self.text, self.position).end()  # type: ignore[union-attr]
            return self.text[start : self.position]
        value = float(self.text[start : self.position])
        if value == float("inf"):
            raise self.fail("the number is out of range")
        return value

    def date(self, start: int) -> str:
        match = _DATE.match(self.text, start)
        if match is None:
            raise self.fail("after digits found '-': quote it if it is text; dates are 2026-01-31T00:00:00Z")
        self.position = match.end()
        return match[0]

    def word(self, start: int | None = None) -> Any:
        """An unquoted word: a boolean, text, or `Variable` if it begins with a dollar."""
        begin = self.position if start is None else start
        parts, escaped = list[str](), False
        while True:
            match = _BARE_END.search(self.text, self.position)
            end = match.start() if match else len(self.text)
            parts.append(self.text[begin:end])
            self.position = end
            if match is None or match[0] != "\\":
                break
            escaped = True
            self.position += 1
            parts.append(self.escape())
            begin = self.position
        text = "".join(parts)
        quote = self.peek() == "'"
        if quote:
            self.position += 1
        if escaped or quote:
            return text
        if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        return Variable(text[1:]) if text.startswith("$") and start is None else text
