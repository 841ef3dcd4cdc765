"""Which commands a shell script can run, and with which words: every branch taken, nothing executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from natsproof.contract.shell_syntax import Node, parse
from natsproof.contract.shell_words import Here, Part, ShellSyntaxError, Word

MAX_STEPS = 20_000
MAX_CALLS = 30
_SETTERS = frozenset(("export", "local", "readonly", "declare", "typeset"))
_PREFIXES = frozenset(("exec", "command", "nohup", "time", "env", "timeout", "sudo", "nice"))
_SHELLS = frozenset(("sh", "bash", "ash", "dash", "/bin/sh", "/bin/bash", "/bin/ash"))


@dataclass(frozen=True, slots=True)
class Argument:
    """One word of a command after expansion; None where it depends on what only a run knows (`why`)."""

    text: str | None
    line: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    line: int
    arguments: tuple[Argument, ...]


@dataclass(slots=True)
class _State:
    variables: dict[str, str | None]
    positional: list[Argument]
    functions: dict[str, Node] = field(default_factory=dict)
    ended: bool = False

    def copy(self) -> _State:
        return _State(dict(self.variables), list(self.positional), dict(self.functions), self.ended)


def commands(
    script: str, variables: Mapping[str, str | None], arguments: tuple[str, ...] = ()
) -> list[Command]:
    """Every command that the script can run, in order, loops over known words unrolled.

    `variables` is the environment; None for a value that is not known. Raises ShellSyntaxError.
    """
    walker = _Walker()
    state = _State(dict(variables), [Argument(text, 1) for text in arguments])
    walker.sequence(parse(script), state)
    return walker.found


class _Walker:
    def __init__(self) -> None:
        self.found: list[Command] = []
        self.steps = 0
        self.calls = 0

    def sequence(self, nodes: list[Node], state: _State) -> None:
        for node in nodes:
            if state.ended:
                return
            self.node(node, state)

    def node(self, node: Node, state: _State) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ShellSyntaxError(node.line, f"more than {MAX_STEPS} commands; a set-up script needs few")
        if node.kind == "simple":
            self.simple(node, state)
        elif node.kind == "choice":
            self.choice(node, state)
        elif node.kind == "case":
            self.case(node, state)
        elif node.kind == "for":
            self.for_loop(node, state)
        elif node.kind == "while":
            self.while_loop(node, state)
        elif node.kind == "function":
            state.functions[node.name] = node
        elif node.subshell:
            self.sequence(node.bodies[0], state.copy())
        else:
            self.sequence(node.bodies[0], state)

    # -- branches and loops -------------------------------------------------------------------------------

    def choice(self, node: Node, state: _State) -> None:
        """The first body runs, each other may: afterwards only what all outcomes agree on is known."""
        self.sequence(node.bodies[0], state)
        self.branches(node.bodies[1:], state)

    def branches(self, bodies: list[list[Node]], state: _State) -> None:
        if state.ended:
            return
        outcomes = [state.copy()]
        for body in bodies:
            branch = state.copy()
            self.sequence(body, branch)
            if not branch.ended:
                outcomes.append(branch)
        for name in {name for outcome in outcomes for name in outcome.variables}:
            values = {outcome.variables.get(name, "") for outcome in outcomes}
            state.variables[name] = values.pop() if len(values) == 1 else None
        for outcome in outcomes:
            state.functions |= outcome.functions

    def case(self, node: Node, state: _State) -> None:
        subject = self.text(node.words[0], state)
        patterns = [[self.text(word, state) for word in words] for words in node.patterns]
        if subject is not None and all(p is not None for words in patterns for p in words):
            for words, body in zip(patterns, node.bodies, strict=True):
                if any(fnmatchcase(subject, str(pattern)) for pattern in words):
                    self.sequence(body, state)
                    return
            return
        self.branches(node.bodies, state)

    def for_loop(self, node: Node, state: _State) -> None:
        if node.listed:
            values = [field for word in node.words for field in self.fields(word, state)]
        else:
            values = list(state.positional)
        for value in values:
            state.variables[node.name] = value.text
            self.sequence(node.bodies[0], state)

    def while_loop(self, node: Node, state: _State) -> None:
        names = self.read_names(node.bodies[0])
        if names and node.here is not None and (text := self.here_text(node.here, state)) is not None:
            for line in text.splitlines():
                fields = line.split(None, max(len(names) - 1, 0))
                for number, name in enumerate(names):
                    state.variables[name] = fields[number].strip() if number < len(fields) else ""
                self.sequence(node.bodies[1], state)
            return
        for name in _assigned([*node.bodies[0], *node.bodies[1]]):
            state.variables[name] = None
        self.sequence(node.bodies[0], state)
        inside = state.copy()
        self.sequence(node.bodies[1], inside)

    def read_names(self, condition: list[Node]) -> list[str]:
        """The variables of a `while read` loop; none for another loop."""
        if len(condition) != 1 or condition[0].kind != "simple" or not condition[0].words:
            return []
        words = [word.literal for word in condition[0].words]
        if words[0] != "read":
            return []
        return [word for word in words[1:] if word and not word.startswith("-")]

    def here_text(self, here: Here, state: _State) -> str | None:
        return self.text(Word(here.parts, here.line), state)

    # -- commands -----------------------------------------------------------------------------------------

    def simple(self, node: Node, state: _State) -> None:
        for name, value in node.assignments:
            state.variables[name] = self.text(value, state)
        arguments = [field for word in node.words for field in self.fields(word, state)]
        if arguments:
            self.run(arguments, node.line, state)

    def run(self, arguments: list[Argument], line: int, state: _State) -> None:
        name = arguments[0].text
        if name in state.functions:
            self.call(state.functions[name], arguments[1:], line, state)
        elif name in ("exit", "return"):
            state.ended = True
        elif name in _SETTERS:
            for argument in arguments[1:]:
                self.assign(argument, state)
        elif name == "unset":
            for argument in arguments[1:]:
                state.variables.pop(argument.text or "", None)
        elif name == "read":
            for argument in arguments[1:]:
                state.variables[argument.text or ""] = None
        elif name == "shift":
            count = (arguments[1].text if len(arguments) > 1 else None) or "1"
            state.positional = state.positional[int(count) if count.isdigit() else 1 :]
        elif name == "set" and any(argument.text == "--" for argument in arguments):
            at = next(n for n, argument in enumerate(arguments) if argument.text == "--")
            state.positional = arguments[at + 1 :]
        elif name in _PREFIXES:
            self.run_prefixed(arguments, line, state)
        elif name in _SHELLS and any((a.text or "") in ("-c", "-ec", "-euc", "-xc") for a in arguments[1:]):
            self.run_inner(arguments, line, state)
        else:
            self.found.append(Command(line, tuple(arguments)))

    def assign(self, argument: Argument, state: _State) -> None:
        name, equals, value = (argument.text or "").partition("=")
        if equals:
            state.variables[name] = value
        elif argument.text is None and argument.why.isidentifier():
            state.variables[argument.why] = None

    def run_prefixed(self, arguments: list[Argument], line: int, state: _State) -> None:
        """`timeout 30 nats …`: the command begins where the prefix's own options and numbers end."""
        rest = arguments[1:]
        while rest and (text := rest[0].text) is not None:
            if not (text.startswith("-") or "=" in text or text[:1].isdigit()):
                break
            rest = rest[1:]
        if rest:
            self.run(rest, line, state)

    def run_inner(self, arguments: list[Argument], line: int, state: _State) -> None:
        at = next(
            n for n, a in enumerate(arguments) if (a.text or "").startswith("-") and "c" in (a.text or "")
        )
        inner = arguments[at + 1] if at + 1 < len(arguments) else None
        if inner is None or inner.text is None:
            raise ShellSyntaxError(line, "a script given to sh -c must be plain text to be read")
        child = _State(dict(state.variables), arguments[at + 3 :], dict(state.functions))
        self.nested("\n" * (inner.line - 1) + inner.text, child, line)

    def nested(self, script: str, state: _State, line: int) -> None:
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise ShellSyntaxError(line, f"calls nested deeper than {MAX_CALLS}")
        self.sequence(parse(script), state)
        self.calls -= 1

    def call(self, function: Node, arguments: list[Argument], line: int, state: _State) -> None:
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise ShellSyntaxError(line, f"function {function.name} calls itself without end")
        outer = state.positional
        state.positional = arguments
        self.sequence(function.bodies[0], state)
        state.positional, state.ended = outer, False
        self.calls -= 1

    # -- expansion ----------------------------------------------------------------------------------------

    def text(self, word: Word, state: _State) -> str | None:
        """A word as one text without splitting, None if it is not known."""
        texts = [self.part(part, word.line, state) for part in word.parts]
        return None if None in texts else "".join(str(text) for text in texts)

    def fields(self, word: Word, state: _State) -> Iterator[Argument]:
        """The arguments that a word becomes: unquoted expansions are split at blanks."""
        if len(word.parts) == 1 and word.parts[0].kind == "parameter" and word.parts[0].text in "@*":
            yield from state.positional
            return
        current: list[str] = []
        began, why = False, ""
        for part in word.parts:
            value = self.part(part, word.line, state)
            if value is None:
                why = part.text if part.kind != "output" else "$(…)"
                began = True
            elif part.kind == "text" or part.quoted:
                current.append(value)
                began = True
            else:
                pieces = value.split()
                if not pieces:
                    continue
                if value[:1].isspace() and began:
                    yield _argument(current, why, word.line)
                    current, why = [], ""
                for piece in pieces[:-1]:
                    yield _argument([*current, piece], why, word.line)
                    current, why = [], ""
                current.append(pieces[-1])
                began = True
        if began:
            yield _argument(current, why, word.line)

    def part(self, part: Part, line: int, state: _State) -> str | None:
        if part.kind == "text":
            return part.text
        if part.kind == "output":
            self.nested(part.text, state.copy(), line)
            return None
        if part.kind == "unknown":
            return None
        return self.parameter(part, line, state)

    def parameter(self, part: Part, line: int, state: _State) -> str | None:
        value = self.value_of(part.text, state)
        known = part.text in state.variables or part.text.isdigit() or part.text in "@*#"
        if not part.operator:
            return value if known else None
        if part.operator not in (":-", "-", ":=", "=", ":+", "+", ":?", "?"):
            return None
        if known and value is None:
            return None
        default = self.text(Word(part.default, line), state)
        present = bool(value) if part.operator.startswith(":") else known
        if part.operator.endswith("+"):
            return default if present else ""
        if part.operator.endswith("=") and not present:
            state.variables[part.text] = default
        return value if present else default

    def value_of(self, name: str, state: _State) -> str | None:
        if name.isdigit():
            number = int(name)
            if number == 0:
                return "sh"
            return state.positional[number - 1].text if number <= len(state.positional) else ""
        if name in "@*":
            texts = [argument.text for argument in state.positional]
            return None if None in texts else " ".join(str(text) for text in texts)
        if name == "#":
            return str(len(state.positional))
        return state.variables.get(name)


def _argument(parts: list[str], why: str, line: int) -> Argument:
    return Argument(None if why else "".join(parts), line, why)


def _assigned(nodes: list[Node]) -> set[str]:
    """Names that a loop may change."""
    names: set[str] = set()
    for node in nodes:
        names |= {name for name, _ in node.assignments}
        if node.kind == "for":
            names.add(node.name)
        if node.kind == "simple" and node.words and node.words[0].literal == "read":
            names |= {word.literal or "" for word in node.words[1:]}
        for body in node.bodies:
            names |= _assigned(body)
    return names
