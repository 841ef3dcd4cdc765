"""The images natsproof can stand in for: what they start, as whom, and which of our programs they carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from natsproof.contract.model import Container
from natsproof.errors import ClusterError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Image:
    """`programs` maps a path in the image to the name of a program of ours (nats-server, nats)."""

    programs: dict[str, str]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    cwd: str = "/"
    bare: bool = False  # no shell, no other programs

    def argv(self, container: Container) -> list[str]:
        """`command` replaces entry point and CMD, `args` replaces CMD; not yet expanded."""
        if container.command is not None:
            return [*container.command, *(container.args or ())]
        arguments = self.cmd if container.args is None else container.args
        if self.entrypoint == ("docker-entrypoint.sh",):  # of nats:*-alpine: options alone are the server's
            if not arguments or arguments[0].startswith("-"):
                return ["nats-server", *arguments]
            return list(arguments)
        return [*self.entrypoint, *arguments]


ALPINE = Image(
    {"/usr/local/bin/nats-server": "nats-server"},
    ("docker-entrypoint.sh",),
    ("nats-server", "--config", "/etc/nats/nats-server.conf"),
)
SCRATCH = Image(
    {"/nats-server": "nats-server"},
    ("/nats-server",),
    ("--config", "nats-server.conf"),
    env={"PATH": PATH + ":/"},
    bare=True,
)
#: Its entry point runs its arguments as they are.
BOX = Image(
    {"/usr/local/bin/nats": "nats"},
    (),
    ("/bin/sh", "-l"),
    env={
        "PATH": PATH,
        "NKEYS_PATH": "/nsc/nkeys",
        "XDG_DATA_HOME": "/nsc",
        "XDG_CONFIG_HOME": "/nsc/.config",
    },
    cwd="/root",
)


def image_of(name: str) -> Image:
    """Raises ClusterError for an image natsproof has no stand-in for."""
    repository, tag = split_image(name)
    last = repository.rsplit("/", 1)[-1]
    if last == "nats-box":
        return BOX
    if last == "nats":
        return ALPINE if "alpine" in tag else SCRATCH
    raise ClusterError(
        f"no stand-in for the image {name!r}: the embedded cluster runs nats:* and natsio/nats-box:*; "
        f"use --cluster kind for others"
    )


def known(name: str) -> bool:
    return split_image(name)[0].rsplit("/", 1)[-1] in ("nats", "nats-box")


def split_image(name: str) -> tuple[str, str]:
    """Repository and tag (`latest` if there is none)."""
    plain = name.split("@", 1)[0]
    head, colon, tag = plain.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (plain, "latest")


def expand(text: str, variables: dict[str, str]) -> str:
    """Kubernetes' `$(VAR)`: known names only, others stay as they are, `$$` is a dollar sign."""
    out, at = [], 0
    while at < len(text):
        if text.startswith("$$", at):
            out.append("$")
            at += 2
        elif text.startswith("$(", at) and (end := text.find(")", at)) > 0:
            name = text[at + 2 : end]
            out.append(variables.get(name, text[at : end + 1]))
            at = end + 1
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def expand_all(words: Sequence[str], variables: dict[str, str]) -> list[str]:
    return [expand(word, variables) for word in words]
