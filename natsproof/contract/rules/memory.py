"""Memory: the server stays within what the node gives it."""

from __future__ import annotations

import re

from natsproof.contract.model import Contract
from natsproof.contract.rules.rule import Rule, at, judged, rule, shown_bytes
from natsproof.verdict import Verdict, unknown

_PROMISE = "a server is not killed for its memory"
_GO_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB|TiB)?")
_GO_POWER = {None: 0, "B": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}


def go_memory_bytes(text: str) -> int | None:
    """What Go's runtime makes of GOMEMLIMIT; None if it refuses it (`7Gi` is Kubernetes' grammar, not
    Go's)."""
    match = _GO_SIZE.fullmatch(text)
    return int(match[1]) * 1024 ** _GO_POWER[match[2]] if match else None


@rule(_PROMISE)
def memory_is_requested_and_limited(contract: Contract) -> Verdict:
    """The server requests memory, so that the scheduler finds room, and is limited, so that it cannot take
    the node."""
    resources = contract.server_container.resources
    place = contract.server_container.at("resources")
    wrong = []
    if resources.memory_request_bytes is None:
        wrong.append(
            at(place, "the server requests no memory; set resources.requests.memory (for example 4Gi)")
        )
    if resources.memory_limit_bytes is None:
        wrong.append(
            at(place, "the server's memory has no limit; set resources.limits.memory (for example 8Gi)")
        )
    return judged(wrong, "memory is requested and limited")


@rule(_PROMISE)
def max_mem_fits_the_memory_request(contract: Contract) -> Verdict:
    """JetStream's max_mem is at most half the memory request: the server itself needs the rest."""
    request = contract.server_container.resources.memory_request_bytes
    if request is None:
        return unknown("no memory is requested: see memory_is_requested_and_limited")
    limit = contract.config.max_memory_bytes
    place = contract.config.at("jetstream.max_mem")
    wrong = []
    if limit is None:
        wrong.append(at(place, "max_mem is not set: the server takes 75 % of the node's memory. Set it"))
    elif limit > request // 2:
        wrong.append(
            at(
                place,
                f"max_mem is {shown_bytes(limit)}, requested are {shown_bytes(request)}"
                f" ({contract.server_container.resources.at('memory_request_bytes')}): beyond its request a"
                " pod is"
                f" evicted first. At most {shown_bytes(request // 2)}",
            )
        )
    return judged(wrong, f"max_mem {shown_bytes(limit or 0)} fits the request of {shown_bytes(request)}")


@rule(_PROMISE)
def go_knows_the_memory_limit(contract: Contract) -> Verdict:
    """GOMEMLIMIT is set to at most 90 % of the memory limit: Go does not see the container's limit by
    itself."""
    limit = contract.server_container.resources.memory_limit_bytes
    if limit is None:
        return unknown("memory is not limited: see memory_is_requested_and_limited")
    container = contract.server_container
    env = next((e for e in container.env if e.name == "GOMEMLIMIT"), None)
    if env is not None and env.value is None:
        text = "GOMEMLIMIT is not a plain value: it cannot be compared with the limit"
        return judged([at(env.place, f"{text}. Write it, for example {shown_bytes(limit * 7 // 8)}")], "")
    found = go_memory_bytes(env.value or "") if env else None
    right = shown_bytes(limit * 7 // 8).replace(" ", "")
    wrong = []
    if env is None:
        wrong.append(
            at(container.at("env"), f"GOMEMLIMIT is not set, the limit is {shown_bytes(limit)}. Set {right}")
        )
    elif found is None:
        wrong.append(
            at(env.at("value"), f"GOMEMLIMIT {env.value!r} is no size to Go, which exits then. Set {right}")
        )
    elif not limit // 2 <= found <= limit * 9 // 10:
        text = (
            f"GOMEMLIMIT is {env.value}, the limit is {shown_bytes(limit)}: expected half to nine tenths"
            " of it"
        )
        wrong.append(at(env.at("value"), f"{text}, for example {right}"))
    return judged(wrong, f"GOMEMLIMIT fits the limit of {shown_bytes(limit)}")


RULES: tuple[Rule, ...] = (
    memory_is_requested_and_limited,
    max_mem_fits_the_memory_request,
    go_knows_the_memory_limit,
)
