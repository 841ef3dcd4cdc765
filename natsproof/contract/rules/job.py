"""The set-up Job: it waits, makes the buckets, checks them, and fails where it must."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from natsproof.contract.model import Container, Contract
from natsproof.contract.rules.network import pod_of_host, target_of
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.contract.rules.shell import Line, lines_of, script_of, shell_flags
from natsproof.verdict import Exhibit, Verdict, unknown

_PROMISE = "a completed Job means that every bucket is there as promised"
_ADD = re.compile(r"\bnats\s+(?:-\S+\s+)*kv\s+(?:add|new)\s+(\S+)")
_READ = re.compile(r"\bnats\s+(?:-\S+\s+)*(?:stream\s+info|kv\s+(?:info|status))\b")
_SET = re.compile(r"set\s+(?P<flags>(?:[-+]\w+\s*)+)")
_ARGUMENTS = re.compile(r'"\$@"[^);]*\)?')
_LEAVES = re.compile(r"\b(?:break|return|exit 0)\b")
_FUNCTION = re.compile(r"(\w+)\s*\(\)\s*\{?")


def _script(contract: Contract) -> tuple[Container, list[Line]] | None:
    if contract.job is None or not contract.job.template.containers:
        return None
    container = contract.job.template.containers[0]
    script = script_of(container)
    return None if script is None else (container, lines_of(script))


def _no_script() -> Verdict:
    return unknown("there is no set-up Job with an inline script")


def _stops_on_error(container: Container, lines: list[Line]) -> bool:
    """Whether `set -e` holds at the first `nats kv add` and is never switched off again."""
    on = "e" in shell_flags(container).replace("c", "")
    for line in lines:
        for match in _SET.finditer(line.text):
            for flag in match["flags"].split():
                if "e" in flag[1:]:
                    on = flag[0] == "-"
                    if not on:
                        return False
        if _ADD.search(line.text) and not on:
            return False
    return on


def _hidden(text: str, end: int) -> str | None:
    """How a line hides the failure of the command whose words so far end at `end`, if it does."""
    rest = text[end:]
    if "||" in rest:
        return "`||` answers its failure"
    if re.search(r"(?<![|>&])\|(?!\|)", rest):
        return "only the last command of a pipeline counts"
    if re.search(r"(?<![&>])&(?![&>1])", rest):
        return "`&` runs it in the background"
    if "&&" in rest or re.match(r"(?:if|while|until|!)\b", text) or text.startswith("!"):
        return "`set -e` does not apply to a condition"
    return None


def _functions(lines: list[Line]) -> dict[str, list[Line]]:
    """The lines of each function's body."""
    found: dict[str, list[Line]] = {}
    inside: str | None = None
    for line in lines:
        start = _FUNCTION.match(line.text)
        if start:
            inside = start[1]
        if inside:
            found.setdefault(inside, []).append(line)
        if line.text.endswith("}"):
            inside = None
    return found


def _swallowed(body: list[Line]) -> tuple[Line, str] | None:
    """Where a function that runs its arguments hides their failure. `until` may ask again: it ends with a
    success, unless something else leaves the loop."""
    for index, line in enumerate(body):
        match = _ARGUMENTS.search(line.text)
        if match is None:
            continue
        if not line.text.startswith("until "):
            how = _hidden(line.text, match.end())
            if how:
                return line, how
            continue
        for later in body[index + 1 :]:
            if later.text.startswith("done"):
                break
            if _LEAVES.search(later.text):
                return later, "it leaves the loop that asks again"
    return None


@rule(_PROMISE)
def the_job_fails_when_a_bucket_cannot_be_made(contract: Contract) -> Verdict:
    """Under `set -e`, each `nats kv add` is a command of its own whose failure ends the container."""
    found = _script(contract)
    if found is None:
        return _no_script()
    container, lines = found
    wrong: list[Exhibit] = []
    if not _stops_on_error(container, lines):
        wrong.append(
            at(container.at("args"), "the script goes on after a failed command. Begin it with `set -eu`")
        )
    adds = [line for line in lines if _ADD.search(line.text)]
    hidden = [(line, _hidden(line.text, m.end())) for line in adds if (m := _ADD.search(line.text))]
    wrappers = {line.text.split()[0] for line in adds}
    bodies = [body for name, body in _functions(lines).items() if name in wrappers]
    hidden += [swallowed for body in bodies if (swallowed := _swallowed(body))]
    for line, how in hidden:
        if how:
            text = (
                f"line {line.number} of the script, `{line.text}`, hides its failure: {how}. Write the"
                " command alone"
            )
            wrong.append(at(container.at("args"), text))
    return judged(wrong, f"{len(adds)} buckets are made by commands whose failure counts", commands=len(adds))


@rule(_PROMISE)
def the_job_checks_what_the_servers_have(contract: Contract) -> Verdict:
    """After creating the buckets the Job reads back each one's configuration, so that drift is not taken for
    success."""
    found = _script(contract)
    if found is None:
        return _no_script()
    checked = _read_back(found[1])
    buckets = contract.job_buckets
    if not buckets:
        return unknown("the Job creates no bucket: see the_job_creates_every_promised_bucket")
    wrong = [
        at(
            bucket.place,
            f"the Job does not read back bucket {bucket.name} after making it. Compare `nats stream info`",
        )
        for bucket in buckets
        if bucket.name not in checked and f"KV_{bucket.name}" not in checked
    ]
    return judged(wrong, f"{len(buckets) - len(wrong)} buckets are read back", buckets=len(buckets))


def _read_back(lines: list[Line]) -> set[str]:
    """Names given to `nats stream info` and the like, or to a function that contains one, after the first
    creation."""
    first = next((i for i, line in enumerate(lines) if _ADD.search(line.text)), len(lines))
    readers: set[str] = set()
    names: set[str] = set()
    inside: str | None = None
    for index, line in enumerate(lines):
        start = _FUNCTION.match(line.text)
        if start:
            inside = start[1]
        if inside and _READ.search(line.text):
            readers.add(inside)
        if line.text == "}":
            inside = None
        words = line.text.split()
        if index > first and (words[0] in readers or (inside is None and _READ.search(line.text))):
            names.update(word.strip("\"'") for word in words)
    return names


@rule(_PROMISE)
def the_job_waits_for_the_servers(contract: Contract) -> Verdict:
    """Before the first bucket the script waits in a loop with an end: servers may still be starting."""
    found = _script(contract)
    if found is None:
        return _no_script()
    container, lines = found
    inside = {line.number for body in _functions(lines).values() for line in body}
    before = []
    for line in lines:
        if _ADD.search(line.text):
            break
        if line.number not in inside:
            before.append(line.text)
    loops = any(re.match(r"(until|while|for)\b", text) for text in before)
    ends = any(re.search(r"\bexit\s+[1-9]", text) for text in before) or any(
        t.startswith("for ") for t in before
    )
    wrong = []
    if not loops or not ends:
        what = "waits without an end" if loops else "does not wait"
        text = (
            f"the script {what} before its first `nats kv add`. Loop until `nats kv ls` answers, exit 1"
            " after a while"
        )
        wrong.append(at(container.at("args"), text))
    return judged(wrong, "the script waits, and not for ever")


@rule(_PROMISE)
def the_job_ends(contract: Contract) -> Verdict:
    """The Job has a deadline and few retries, so a failure that lasts is shown."""
    job = contract.job
    if job is None:
        return _no_script()
    wrong = []
    if job.active_deadline_s is None:
        wrong.append(
            at(job.place, "the Job has no activeDeadlineSeconds: it may hang for ever. Set one (600)")
        )
    if job.backoff_limit > 6:
        wrong.append(
            at(job.at("backoff_limit"), f"backoffLimit is {job.backoff_limit}; 6 or less show a failure")
        )
    return judged(wrong, f"the Job ends within {job.active_deadline_s} s")


@rule("the operator can read what the Job did")
def the_log_of_the_job_stays_readable(contract: Contract) -> Verdict:
    """A finished Job keeps its pods for an hour or more, and a failed try is not replaced in place
    (restartPolicy Never)."""
    job = contract.job
    if job is None:
        return _no_script()
    wrong = []
    if job.ttl_after_finished_s is not None and job.ttl_after_finished_s < 3600:
        text = (
            f"ttlSecondsAfterFinished is {job.ttl_after_finished_s}: the log is gone before it is read."
            " Remove it"
        )
        wrong.append(at(job.at("ttl_after_finished_s"), text))
    if job.template.restart_policy != "Never":
        text = (
            f"restartPolicy is {job.template.restart_policy}: at the last failure the pod and its log"
            " are deleted"
        )
        wrong.append(at(job.template.at("restart_policy"), f"{text}. Use Never"))
    return judged(wrong, "logs of the Job stay")


@rule(_PROMISE)
def the_job_asks_this_platform(contract: Contract) -> Verdict:
    """The server address of the Job is a Service of the manifests, or a pod of the set, with the client
    port."""
    if contract.job is None or not contract.job.template.containers:
        return _no_script()
    container = contract.job.template.containers[0]
    script = script_of(container) or ""
    given = [(e.at("value"), e.value) for e in container.env if e.name == "NATS_URL" and e.value]
    given += [
        (container.at("args"), url) for url in re.findall(r"--server[= ](\S+)", script) if "$" not in url
    ]
    wrong = []
    if not given:
        wrong.append(at(container.place, "the Job names no server: set NATS_URL or --server"))
    for place, value in given:
        for url in value.split(","):
            if not _reaches(url, contract):
                names = ", ".join(f"{s.name}:{p.port}" for s in contract.services for p in s.ports)
                wrong.append(at(place, f"{url} is no client port of this platform; Services: {names}"))
    return judged(wrong, f"the Job asks {', '.join(value for _, value in given)}")


def _reaches(url: str, contract: Contract) -> bool:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    client = contract.config.port or 4222
    try:
        port = parts.port or 4222
    except ValueError:
        return False
    host = (parts.hostname or "").rstrip(".")
    if pod_of_host(host, contract):
        return port == client
    first, _, rest = host.partition(".")
    namespace = (contract.job.namespace if contract.job else None) or contract.namespace
    for service in contract.services:
        home = service.namespace or contract.namespace
        if service.name != first or (not rest and home != namespace):
            continue
        if rest and rest != home and not f"{rest}.".startswith(f"{home}.svc."):
            continue
        return any(one.port == port and target_of(one, contract) == client for one in service.ports)
    return False


RULES: tuple[Rule, ...] = (
    the_job_fails_when_a_bucket_cannot_be_made,
    the_job_checks_what_the_servers_have,
    the_job_waits_for_the_servers,
    the_job_ends,
    the_log_of_the_job_stays_readable,
    the_job_asks_this_platform,
)
