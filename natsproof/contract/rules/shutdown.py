"""Shutdown: a server hands over before it goes."""

from __future__ import annotations

import posixpath
import re

from natsproof.contract.model import Contract, VolumeMount
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Verdict, unknown

_PROMISE = "a planned restart costs clients a moment only"
_STOPPING_S = 20  # after lame duck: JetStream stops, the kubelet signals; what the field's chart allows
_LDM = re.compile(r"ldm(?:=(?P<pid>.*))?")


def _signal(contract: Contract) -> str | None:
    """The word given to nats-server's signal flag in preStop, such as `ldm=/var/run/nats/nats.pid`."""
    command = " ".join(contract.server_container.pre_stop_command or ())
    match = re.search(r"nats-server\s.*?--?(?:signal|sl)[=\s]+(\S+)", command)
    return match[1].strip("'\"") if match else None


def mount_of(contract: Contract, path: str) -> VolumeMount | None:
    """The innermost mount of the server's container that holds `path`."""
    wanted = posixpath.normpath(path) + "/"
    inside = [
        m
        for m in contract.server_container.mounts
        if wanted.startswith(posixpath.normpath(m.mount_path).rstrip("/") + "/")
    ]
    return max(inside, key=lambda m: len(m.mount_path), default=None)


@rule(_PROMISE)
def pre_stop_hands_leadership_over(contract: Contract) -> Verdict:
    """preStop puts the server into lame duck mode: it hands over its leaderships and lets clients move before
    it stops."""
    container = contract.server_container
    word = _signal(contract)
    wrong = []
    if word is None or not _LDM.fullmatch(word):
        found = " ".join(container.pre_stop_command or ()) or "nothing"
        right = f'["nats-server", "-sl=ldm={contract.config.pid_file or "<pid_file>"}"]'
        text = f"preStop runs {found}; expected {right}"
        wrong.append(at(container.at("pre_stop_command"), text))
    return judged(wrong, "preStop signals ldm")


@rule(_PROMISE)
def the_pid_file_is_where_pre_stop_looks(contract: Contract) -> Verdict:
    """nats.conf writes the pid file at the path that preStop reads."""
    match = _LDM.fullmatch(_signal(contract) or "")
    if match is None:
        return unknown("preStop does not signal ldm: see pre_stop_hands_leadership_over")
    wrong = []
    if match["pid"] is None or match["pid"] != contract.config.pid_file:
        text = f"pid_file is {contract.config.pid_file!r}, preStop reads {match['pid']!r}. Make them the same"
        wrong.append(at(contract.config.at("pid_file"), text))
    return judged(wrong, f"the pid file is {contract.config.pid_file}")


@rule(_PROMISE)
def the_pid_file_can_be_written(contract: Contract) -> Verdict:
    """The pid file lies in a mount that the server may write to."""
    path = contract.config.pid_file
    if path is None:
        return unknown("nats.conf has no pid_file: see the_pid_file_is_where_pre_stop_looks")
    mount = mount_of(contract, path)
    volumes = {v.name: v for v in contract.statefulset.template.volumes}
    wrong = []
    if mount is None:
        if contract.server_container.security_context.get("readOnlyRootFilesystem"):
            text = (
                f"pid_file {path} is in no mount and the root file system is read-only. Mount an"
                " emptyDir there"
            )
            wrong.append(at(contract.config.at("pid_file"), text))
    elif mount.read_only or ((v := volumes.get(mount.name)) is not None and (v.config_map or v.secret)):
        text = f"pid_file {path} is in the read-only mount {mount.mount_path}. Mount an emptyDir there"
        wrong.append(at(mount.place, text))
    return judged(wrong, f"{path} is writable")


@rule(_PROMISE)
def lame_duck_fits_the_grace_period(contract: Contract) -> Verdict:
    """terminationGracePeriodSeconds exceeds lame duck by 20 s: SIGTERM is ignored in lame duck and SIGKILL
    ends it."""
    pod = contract.statefulset.template
    duration_s = contract.config.lame_duck_duration_s or 120.0
    wrong = []
    if pod.termination_grace_period_s < duration_s + _STOPPING_S:
        wrong.append(
            at(
                pod.at("termination_grace_period_s"),
                f"terminationGracePeriodSeconds is {pod.termination_grace_period_s}; lame_duck_duration is"
                f" {duration_s:g} s ({contract.config.at('lame_duck_duration')}), so"
                f" {duration_s + _STOPPING_S:g} or"
                " more is needed",
            )
        )
    return judged(wrong, f"{pod.termination_grace_period_s} s of grace, {duration_s:g} s of lame duck")


@rule(_PROMISE)
def the_server_accepts_its_lame_duck_times(contract: Contract) -> Verdict:
    """lame_duck_duration is 30 s or more and the grace period in it shorter: else the server exits at
    start."""
    config = contract.config
    duration_s = config.lame_duck_duration_s or 120.0
    grace_s = config.lame_duck_grace_s or 10.0
    wrong = []
    if duration_s < 30:
        wrong.append(
            at(config.at("lame_duck_duration"), f"lame_duck_duration is {duration_s:g} s, the least is 30s")
        )
    elif grace_s >= duration_s:
        text = (
            f"lame_duck_grace_period {grace_s:g} s must be shorter than lame_duck_duration {duration_s:g} s"
        )
        wrong.append(at(config.at("lame_duck_grace_period"), text))
    return judged(wrong, f"lame duck lasts {duration_s:g} s, {grace_s:g} s of it grace")


RULES: tuple[Rule, ...] = (
    pre_stop_hands_leadership_over,
    the_pid_file_is_where_pre_stop_looks,
    the_pid_file_can_be_written,
    lame_duck_fits_the_grace_period,
    the_server_accepts_its_lame_duck_times,
)
