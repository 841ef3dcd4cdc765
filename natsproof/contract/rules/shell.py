"""A little of the shell's grammar: commands of a script one by one, enough to judge a set-up Job."""

from __future__ import annotations

import re
from dataclasses import dataclass

from natsproof.contract.model import Container

_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")


@dataclass(frozen=True, slots=True)
class Line:
    """A logical line: continued lines joined, comments cut. `number` counts from 1 in the script."""

    number: int
    text: str


def script_of(container: Container) -> str | None:
    """The text given to `sh -c`; None where the container runs no inline script."""
    words = [*(container.command or ()), *(container.args or ())]
    for index, word in enumerate(words):
        if re.fullmatch(r"-\w*c", word) and index + 1 < len(words):
            return words[index + 1]
    return None


def shell_flags(container: Container) -> str:
    """Flags given to the shell before the script, such as `ec` of `sh -ec`."""
    words = [*(container.command or ()), *(container.args or ())]
    return "".join(word[1:] for word in words[1:3] if re.fullmatch(r"-[a-z]+", word))


def lines_of(script: str) -> list[Line]:
    """Logical lines that are not empty."""
    lines: list[Line] = []
    pending, start = "", 0
    for number, raw in enumerate(script.splitlines(), start=1):
        text = raw if _in_quotes(raw) else _COMMENT.sub("", raw)
        start = start or number
        if text.rstrip().endswith("\\"):
            pending += text.rstrip()[:-1] + " "
            continue
        joined = (pending + text).strip()
        if joined:
            lines.append(Line(start, joined))
        pending, start = "", 0
    return lines


def _in_quotes(raw: str) -> bool:
    """Whether the first # of a line stands in quotes; then nothing is cut."""
    head = raw.split("#", 1)[0]
    return head.count("'") % 2 == 1 or head.count('"') % 2 == 1
