"""Every message that natsproof raises on purpose stands in a test, and names only options that exist.

A message is found by words of its own that some test expects, or it is listed here with the reason why no
test can or need provoke it: the list is looked at in reviews, a new message that is in neither goes red."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from natsproof import errors, options

ROOT = Path(__file__).parent.parent
RAISED = {name for name, kind in vars(errors).items() if isinstance(kind, type)} | {"ApiError", "PodRefused"}
LETTERS = 9

LIVE = "only a platform that misbehaves in that moment says it; the class of error is what callers rely on"
PASSED_ON = "the words are another's: of the cause, of the server, of another process"
NEAR = "tests/test_messages_of_hosts.py has it, with values between the words"
KIND = "said on kind: tests/test_kubernetes_kind.py, and the runs of the suites there"

#: file: {a part of the message: why no test has these words}
ELSEWHERE: dict[str, dict[str, str]] = {
    "natsproof/client/watch.py": {"consumer number": LIVE, " messages of ": LIVE},
    "natsproof/cluster/binaries.py": {
        "`": "tests/test_messages_of_hosts.py: a Go that fails; its words are in the middle",
    },
    "natsproof/cluster/embedded/cluster.py": {": HTTP status ": LIVE},
    "natsproof/cluster/kubernetes/api.py": {"current context": NEAR},
    "natsproof/cluster/kubernetes/deploy.py": {"; last state: ": KIND},
    "natsproof/cluster/kubernetes/existing.py": {"may stay behind in": LIVE},
    "natsproof/cluster/kubernetes/kind.py": {"is on no node": LIVE, "has no container to send": LIVE},
    "natsproof/cluster/kubernetes/operations.py": {"; the pod said: ": PASSED_ON},
    "natsproof/faults/upgrade.py": {"peer-remove of ": LIVE},
    "natsproof/load/workload.py": {"Locust recorded nothing": LIVE, "Locust did not begin": LIVE},
    "natsproof/session.py": {"error": PASSED_ON, "no free name": "a hundred thousand folders of one worker"},
    "natsproof/trial/lock_machine.py": {"has no leader to kill": LIVE},
}


def raises() -> Iterator[tuple[str, int, list[str]]]:
    """(file, line, the literal pieces of the message) of every raise of an error of ours."""
    for file in sorted((ROOT / "natsproof").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            called = node.exc.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if name in RAISED:
                pieces = [
                    part.value
                    for part in ast.walk(node.exc)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
                yield str(file.relative_to(ROOT)), node.lineno, pieces


def expected_words() -> str:
    """What the tests expect, as one text: escapes of patterns taken away, literals of two lines joined."""
    text = "\n".join(
        file.read_text()
        for suffix in ("*.py", "*.yaml")
        for file in sorted((ROOT / "tests").rglob(suffix))
        if file != Path(__file__)
    )
    return re.sub(r"""["']\s*\n\s*r?f?["']""", "", re.sub(r"\\(.)", r"\1", text))


def parts_of(piece: str) -> Iterator[str]:
    """Runs of two words and more, and the whole piece, of as many letters as tell it from others."""
    words = piece.strip(" :;.,(`'\n").split()
    for at in range(len(words)):
        for end in range(at + 2, len(words) + 1):
            if len(part := " ".join(words[at:end])) >= LETTERS:
                yield part
                break
    if len(whole := " ".join(words)) >= LETTERS - 3:
        yield whole


def has_words_of(pieces: list[str], expected: str) -> bool:
    return any(part in expected for piece in pieces for part in parts_of(piece))


def has_words(pieces: list[str]) -> bool:
    """Whether it says anything itself, and does not only pass on what another said."""
    return any(True for piece in pieces for _ in parts_of(piece))


EXPECTED = expected_words()


def test_every_message_is_expected_by_a_test_or_listed_with_the_reason() -> None:
    missing = [
        f"{file}:{line}: {' ... '.join(p.strip() for p in pieces if p.strip())[:90]}"
        for file, line, pieces in raises()
        if has_words(pieces)
        and not has_words_of(pieces, EXPECTED)
        and not any(part in "".join(pieces) for part in ELSEWHERE.get(file, {}))
    ]
    assert not missing, "no test expects these words:\n" + "\n".join(missing)


def test_the_list_names_only_messages_that_exist_and_that_no_test_has() -> None:
    known = list(raises())
    for file, parts in ELSEWHERE.items():
        for part in parts:
            own = [p for name, _, p in known if name == file and part in "".join(p)]
            assert own, f"{file} no longer says {part!r}"
            assert any(not has_words_of(p, EXPECTED) for p in own), f"a test has {part!r}: unlist it"


@pytest.mark.parametrize("said", ["quite unheard gobbledygook", "zzz"])
def test_words_that_no_test_has_are_noticed(said: str) -> None:
    assert not has_words_of([said], EXPECTED)


#: Of nats-server and docker, quoted in messages about their commands.
SERVERS_OWN = {"--config", "--all"}


def options_that_exist() -> set[str]:
    parser = pytest.Parser(_ispytest=True)
    options.add_options(parser)
    own = {name for group in parser._groups for option in group.options for name in option.names()}
    spelt = re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", (ROOT / "natsproof" / "cli.py").read_text())
    return own | set(spelt)


def test_messages_name_only_options_that_exist() -> None:
    there = options_that_exist()
    wrong = [
        f"{file}:{line}: {option}"
        for file, line, pieces in raises()
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(pieces))
        if option not in there | SERVERS_OWN
    ]
    assert {"--images", "--cluster", "--manifests", "--sign-key"} <= there
    assert not wrong, wrong


def test_every_exit_code_that_is_documented_is_met_in_a_test() -> None:
    decision = next((ROOT / "docs" / "decisions").glob("0004-*.md")).read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", decision, re.M)}
    met = {int(code) for code in re.findall(r"(?:returncode|exit_code|status|code) == (\d+)", EXPECTED)}
    met |= {int(code) for code in re.findall(r"main\(.*\) == (\d+)", EXPECTED)}
    assert documented == {0, 1, 2, 3, 4, 6}
    assert documented <= met
