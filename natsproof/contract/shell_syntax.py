"""POSIX shell scripts as a tree: enough to read which commands a script can run, without running it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from natsproof.contract.shell_words import Here, Part, ShellSyntaxError, Token, Word, tokens

_REDIRECTIONS = frozenset((">>", ">&", "<&", ">|", "<>", "<", ">"))
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ENDS = frozenset(("then", "do", "done", "fi", "else", "elif", "esac", "}"))
MAX_DEPTH = 40


@dataclass(slots=True)
class Node:
    """One command. `kind`:

    simple    words, assignments, here
    choice    bodies that may or may not run, in order (if, && and ||); `sure` leading ones always do
    case      words[0], patterns and bodies
    for       name, words (None in `listed`: the positional parameters), bodies[0]
    while     bodies[0] the condition, bodies[1] the body, here
    function  name, bodies[0]
    group     bodies[0]; `subshell` says whether assignments stay inside
    """

    kind: str
    line: int
    words: list[Word] = field(default_factory=list)
    assignments: list[tuple[str, Word]] = field(default_factory=list)
    bodies: list[list[Node]] = field(default_factory=list)
    patterns: list[list[Word]] = field(default_factory=list)
    name: str = ""
    here: Here | None = None
    subshell: bool = False
    listed: bool = True


def parse(script: str) -> list[Node]:
    """The commands of a script in order. Raises ShellSyntaxError."""
    parser = _Parser(list(tokens(script)))
    nodes = parser.sequence()
    if parser.token.kind != "end":
        raise parser.fail("a command")
    return nodes


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self.found, self.position, self.depth = found, 0, 0

    @property
    def token(self) -> Token:
        return self.found[self.position]

    def advance(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.position += 1
        return token

    def fail(self, expected: str) -> ShellSyntaxError:
        token = self.token
        shown = (token.word.literal or "an expansion") if token.word else token.text
        shown = "the end of the line" if token.kind == "newline" else shown
        return ShellSyntaxError(token.line, f"found {shown!r}, expected {expected}")

    def is_operator(self, *texts: str) -> bool:
        return self.token.kind == "operator" and self.token.text in texts

    def reserved(self) -> str | None:
        return self.token.word.bare if self.token.word else None

    def expect(self, word: str) -> None:
        if self.reserved() != word:
            raise self.fail(word)
        self.advance()

    def skip_newlines(self) -> None:
        while self.token.kind == "newline":
            self.advance()

    # -- lists --------------------------------------------------------------------------------------------

    def sequence(self) -> list[Node]:
        """Commands up to a word or operator that ends a list."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ShellSyntaxError(self.token.line, f"nested deeper than {MAX_DEPTH} levels")
        nodes: list[Node] = []
        while True:
            while self.token.kind == "newline" or self.is_operator(";", "&"):
                self.advance()
            if self.token.kind == "end" or self.is_operator(")", ";;") or self.reserved() in _ENDS:
                self.depth -= 1
                return nodes
            nodes.append(self.and_or())

    def and_or(self) -> Node:
        first = self.pipeline()
        bodies = [[first]]
        while self.is_operator("&&", "||"):
            self.advance()
            self.skip_newlines()
            bodies.append([self.pipeline()])
        return first if len(bodies) == 1 else Node("choice", first.line, bodies=bodies)

    def pipeline(self) -> Node:
        while self.reserved() == "!":
            self.advance()
        first = self.command()
        commands = [first]
        while self.is_operator("|"):
            self.advance()
            self.skip_newlines()
            commands.append(self.command())
        if len(commands) == 1:
            return first
        inner = [Node("group", c.line, bodies=[[c]], subshell=True) for c in commands]
        return Node("group", first.line, bodies=[inner])

    # -- commands -----------------------------------------------------------------------------------------

    def command(self) -> Node:
        readers = {
            "if": self.if_command,
            "for": self.for_command,
            "while": self.while_command,
            "until": self.while_command,
            "case": self.case_command,
            "{": self.brace_group,
            "function": self.function_keyword,
        }
        line = self.token.line
        if self.is_operator("("):
            self.advance()
            node = Node("group", line, bodies=[self.sequence()], subshell=True)
            if not self.is_operator(")"):
                raise self.fail(")")
            self.advance()
        elif (reader := readers.get(self.reserved() or "")) is not None:
            node = reader()
        else:
            return self.simple()
        self.redirections(node)
        return node

    def redirections(self, node: Node) -> None:
        while True:
            if self.token.kind == "here":
                node.here = self.advance().here
            elif self.is_operator(*_REDIRECTIONS):
                self.advance()
                if self.token.word is None:
                    raise self.fail("a file after the redirection")
                self.advance()
            elif self.descriptor():
                self.advance()
            else:
                return

    def descriptor(self) -> bool:
        """Whether this word is the number of `2>file`: digits right before a redirection."""
        following = self.found[self.position + 1] if self.position + 1 < len(self.found) else self.token
        return bool(
            self.token.word
            and (self.token.word.bare or "").isdigit()
            and (
                following.kind == "here" or (following.kind == "operator" and following.text in _REDIRECTIONS)
            )
        )

    def simple(self) -> Node:
        node = Node("simple", self.token.line)
        while True:
            self.redirections(node)
            word = self.token.word
            if word is None:
                break
            if not node.words and (assignment := _assignment(word)):
                self.advance()
                if not assignment[1].parts and self.is_operator("("):
                    raise ShellSyntaxError(
                        word.line, "arrays are not read; list the words in a `for` instead"
                    )
                node.assignments.append(assignment)
                continue
            self.advance()
            node.words.append(word)
            if len(node.words) == 1 and self.is_operator("("):
                return self.function_body(node, word)
        if not node.words and not node.assignments and node.here is None and self.position == 0:
            raise self.fail("a command")
        if not node.words and not node.assignments and self.found[self.position - 1].kind == "operator":
            if self.found[self.position - 1].text in _REDIRECTIONS:
                raise self.fail("a file after the redirection")
            raise self.fail("a command")
        return node

    def function_body(self, node: Node, word: Word) -> Node:
        name = word.bare
        if name is None or not _NAME.fullmatch(name):
            raise self.fail("a command; a name before ( must be a plain word")
        self.advance()
        if not self.is_operator(")"):
            raise self.fail(") after ( in the definition of a function")
        self.advance()
        return self.defined(name, node.line)

    def defined(self, name: str, line: int) -> Node:
        self.skip_newlines()
        return Node("function", line, name=name, bodies=[[self.command()]])

    def function_keyword(self) -> Node:
        line = self.advance().line
        name = self.reserved()
        if not name:
            raise self.fail("the name of the function")
        self.advance()
        if self.is_operator("("):
            self.advance()
            if not self.is_operator(")"):
                raise self.fail(")")
            self.advance()
        return self.defined(name, line)

    def brace_group(self) -> Node:
        line = self.advance().line
        node = Node("group", line, bodies=[self.sequence()])
        self.expect("}")
        return node

    def if_command(self) -> Node:
        line = self.advance().line
        node = Node("choice", line, bodies=[self.sequence()])
        self.expect("then")
        node.bodies.append(self.sequence())
        while self.reserved() == "elif":
            self.advance()
            node.bodies.append(self.sequence())
            self.expect("then")
            node.bodies.append(self.sequence())
        if self.reserved() == "else":
            self.advance()
            node.bodies.append(self.sequence())
        self.expect("fi")
        return node

    def for_command(self) -> Node:
        node = Node("for", self.advance().line)
        name = self.reserved()
        if not name or not _NAME.fullmatch(name):
            raise self.fail("the name of the loop's variable")
        node.name = name
        self.advance()
        self.skip_newlines()
        node.listed = self.reserved() == "in"
        if node.listed:
            self.advance()
            while self.token.word is not None:
                node.words.append(self.token.word)
                self.advance()
        while self.token.kind == "newline" or self.is_operator(";"):
            self.advance()
        self.expect("do")
        node.bodies.append(self.sequence())
        self.expect("done")
        return node

    def while_command(self) -> Node:
        node = Node("while", self.advance().line, bodies=[self.sequence()])
        self.expect("do")
        node.bodies.append(self.sequence())
        self.expect("done")
        return node

    def case_command(self) -> Node:
        node = Node("case", self.advance().line)
        if self.token.word is None:
            raise self.fail("the word that case looks at")
        node.words.append(self.token.word)
        self.advance()
        self.skip_newlines()
        self.expect("in")
        self.skip_newlines()
        while self.reserved() != "esac":
            if self.is_operator("("):
                self.advance()
            node.patterns.append(self.case_patterns())
            node.bodies.append(self.sequence())
            if self.is_operator(";;"):
                self.advance()
            elif self.reserved() != "esac":
                raise self.fail(";; or esac")
            self.skip_newlines()
        self.advance()
        return node

    def case_patterns(self) -> list[Word]:
        patterns: list[Word] = []
        while self.token.word is not None:
            patterns.append(self.token.word)
            self.advance()
            if self.is_operator("|"):
                self.advance()
        if not patterns or not self.is_operator(")"):
            raise self.fail("a pattern and )")
        self.advance()
        return patterns


def _assignment(word: Word) -> tuple[str, Word] | None:
    """The name and the value if a word is `name=value`."""
    if not word.parts or word.parts[0].kind != "text" or word.parts[0].quoted:
        return None
    match = _ASSIGNMENT.fullmatch(word.parts[0].text)
    if match is None:
        return None
    first = (Part("text", match[2]),) if match[2] else ()
    return match[1], Word(first + word.parts[1:], word.line)
