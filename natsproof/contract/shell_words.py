"""The words of a POSIX shell script, each with its line: quotes, parameters, substitutions and so on."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

_OPERATORS = ("&&", "||", ";;", ">>", ">&", "<&", ">|", "<>", ";", "&", "|", "<", ">", "(", ")")
_BREAKS = frozenset(" \t\r\n;&|<>()")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#?$!-]")
_BRACED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*])(:?[-=+?]|%%?|##?)?", re.ASCII)
_HERE = re.compile(r"<<(-?)(?!<)")


class ShellSyntaxError(ValueError):
    """What cannot be read, on which line (from 1) of the script."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
        self.line, self.text = line, text


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word. `kind`: text; parameter (`text` is its name, with operator and default);
    output (`text` is the script whose result it is); unknown, such as arithmetic."""

    kind: str
    text: str = ""
    quoted: bool = False
    operator: str = ""
    default: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    parts: tuple[Part, ...]
    line: int

    @property
    def literal(self) -> str | None:
        """The text if nothing is to be expanded."""
        if any(part.kind != "text" for part in self.parts):
            return None
        return "".join(part.text for part in self.parts)

    @property
    def bare(self) -> str | None:
        """The text if nothing is quoted or expanded: only such a word can be reserved."""
        return None if any(part.quoted for part in self.parts) else self.literal


@dataclass(slots=True)
class Here:
    """A here-document. Its parts are known once the line that asks for it has ended."""

    end: str
    strip: bool
    expand: bool
    line: int
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: word, operator, newline, here, end."""

    kind: str
    line: int
    text: str = ""
    word: Word | None = None
    here: Here | None = None


def tokens(script: str) -> Iterator[Token]:
    """All tokens, the last of kind `end`. Raises ShellSyntaxError."""
    return _Lexer(script).tokens()


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0
        self.newlines = [match.start() for match in re.finditer("\n", text)]
        self.waiting: list[Here] = []

    def line(self) -> int:
        return bisect_left(self.newlines, self.position) + 1

    def peek(self) -> str:
        return self.text[self.position] if self.position < len(self.text) else ""

    def tokens(self) -> Iterator[Token]:
        while True:
            self.skip_blanks()
            line, character = self.line(), self.peek()
            if not character:
                break
            here = _HERE.match(self.text, self.position)
            if character == "\n":
                self.position += 1
                self.read_here_documents()
                yield Token("newline", line, "\n")
            elif here:
                self.position = here.end()
                yield Token("here", line, "<<", here=self.here(line, strip=bool(here[1])))
            elif operator := self.operator():
                self.position += len(operator)
                yield Token("operator", line, operator)
            else:
                yield Token("word", line, word=self.word())
        self.read_here_documents()
        yield Token("end", self.line(), "the end of the script")

    def skip_blanks(self) -> None:
        while self.peek():
            if self.peek() in " \t\r":
                self.position += 1
            elif self.text.startswith("\\\n", self.position):
                self.position += 2
            elif self.peek() == "#":
                end = self.text.find("\n", self.position)
                self.position = len(self.text) if end < 0 else end
            else:
                return

    def operator(self) -> str:
        return next((op for op in _OPERATORS if self.text.startswith(op, self.position)), "")

    def here(self, line: int, *, strip: bool) -> Here:
        self.skip_blanks()
        word = self.word()
        end = word.literal
        if not end:
            raise ShellSyntaxError(line, "<< needs the plain word that ends the here-document, such as EOF")
        here = Here(end, strip, expand=word.bare is not None, line=line)
        self.waiting.append(here)
        return here

    def read_here_documents(self) -> None:
        for here in self.waiting:
            lines: list[str] = []
            while True:
                if self.position >= len(self.text):
                    raise ShellSyntaxError(here.line, f"the here-document is never ended by {here.end}")
                end = self.text.find("\n", self.position)
                end = len(self.text) if end < 0 else end
                line = self.text[self.position : end]
                self.position = min(end + 1, len(self.text))
                line = line.lstrip("\t") if here.strip else line
                if line.rstrip("\r") == here.end:
                    break
                lines.append(line + "\n")
            text = "".join(lines)
            here.parts = (
                tuple(_Lexer(text).double_quoted("")) if here.expand else (Part("text", text, quoted=True),)
            )
        self.waiting = []

    def word(self) -> Word:
        line, parts = self.line(), list[Part]()
        while self.peek() and self.peek() not in _BREAKS:
            character = self.peek()
            if character == "'":
                parts.append(self.single_quoted())
            elif character == '"':
                self.position += 1
                inner = self.double_quoted('"')
                parts += inner or [Part("text", "", quoted=True)]
            elif character == "\\":
                if not self.text.startswith("\\\n", self.position):
                    parts.append(Part("text", self.text[self.position + 1 : self.position + 2], quoted=True))
                self.position += 2
            elif character in "$`":
                parts.append(self.expansion(quoted=False))
            else:
                start = self.position
                while self.peek() and self.peek() not in _BREAKS and self.peek() not in "'\"\\$`":
                    self.position += 1
                parts.append(Part("text", self.text[start : self.position]))
        return Word(tuple(parts), line)

    def single_quoted(self) -> Part:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            raise ShellSyntaxError(self.line(), "the quote ' is never closed")
        text = self.text[self.position + 1 : end]
        self.position = end + 1
        return Part("text", text, quoted=True)

    def double_quoted(self, close: str) -> list[Part]:
        """Up to the closing quote, or to the end if there is none (a here-document)."""
        line, parts, plain = self.line(), list[Part](), list[str]()

        def flush() -> None:
            if plain:
                parts.append(Part("text", "".join(plain), quoted=True))
                plain.clear()

        while True:
            character = self.peek()
            if not character:
                if close:
                    raise ShellSyntaxError(line, f"the quote {close} is never closed")
                flush()
                return parts
            if character == close:
                self.position += 1
                flush()
                return parts
            if character == "\\":
                following = self.text[self.position + 1 : self.position + 2]
                if following != "\n":
                    plain.append(following if following in '$`"\\' else "\\" + following)
                self.position += 2
            elif character in "$`":
                flush()
                parts.append(self.expansion(quoted=True))
            else:
                plain.append(character)
                self.position += 1

    def expansion(self, *, quoted: bool) -> Part:
        """What begins with a dollar or a backquote."""
        line = self.line()
        if self.peek() == "`":
            end = self.text.find("`", self.position + 1)
            if end < 0:
                raise ShellSyntaxError(line, "the quote ` is never closed")
            inner, self.position = self.text[self.position + 1 : end], end + 1
            return Part("output", "\n" * (line - 1) + inner, quoted)
        if self.text.startswith("$((", self.position):
            self.position = self.closing("))", self.position + 3, line) + 2
            return Part("unknown", "$((…))", quoted)
        if self.text.startswith("$(", self.position):
            start = self.position + 2
            end = self.closing(")", start, line)
            self.position = end + 1
            return Part("output", "\n" * (line - 1) + self.text[start:end], quoted)
        if self.text.startswith("${", self.position):
            return self.braced(line, quoted=quoted)
        match = _PARAMETER.match(self.text, self.position + 1)
        self.position = match.end() if match else self.position + 1
        return Part("parameter", match[0], quoted) if match else Part("text", "$", quoted)

    def closing(self, close: str, start: int, line: int) -> int:
        """Where the bracket opened at `start` closes, quotes and inner brackets skipped."""
        depth, at = 0, start
        while at < len(self.text):
            character = self.text[at]
            if depth == 0 and self.text.startswith(close, at):
                return at
            if character == "\\":
                at += 1
            elif character == "'" and close != "))":
                at = self.text.find("'", at + 1)
                if at < 0:
                    break
            elif character in "({":
                depth += 1
            elif character in ")}" and depth:
                depth -= 1
            at += 1
        raise ShellSyntaxError(line, f"what begins here is never closed with {close}")

    def braced(self, line: int, *, quoted: bool) -> Part:
        start = self.position + 2
        end = self.closing("}", start, line)
        inner = self.text[start:end]
        self.position = end + 1
        match = _BRACED.match(inner)
        if match is None or (not match[2] and match.end() < len(inner)):
            return Part("unknown", "${" + inner + "}", quoted)
        rest = inner[match.end() :]
        default = tuple(_Lexer(rest).double_quoted("")) if rest else ()
        if len(rest) > 1 and rest[0] == rest[-1] and rest[0] in "'\"":
            default = tuple(_Lexer(rest[1:-1]).double_quoted(""))
        return Part("parameter", match[1], quoted, match[2] or "", default)
