"""Container images from files: which archive has which image, and a pinned server laid over another.

Nothing here needs a registry or changes the images of the local container engine. An archive is what
`docker save` writes (`manifest.json` beside layers). The server's own image is made, where nobody has
it, from any other `nats:` image by one more layer that holds the pinned binary.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natsproof.cluster import binaries
from natsproof.contract.model import Container, Contract, StatefulSet
from natsproof.errors import ClusterError, UsageError

SERVER_PATH = "usr/local/bin/nats-server"


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where an image comes from: `archive`, and `how` (given, engine, built) with its `detail`."""

    image: str
    archive: Path
    how: str
    detail: str = ""


def short_name(image: str) -> str:
    """`docker.io/library/nats:1` and `nats:1` are one image: the short form, tag `latest` filled in."""
    for prefix in ("docker.io/library/", "docker.io/"):
        image = image.removeprefix(prefix)
    last = image.rsplit("/", 1)[-1]
    return image if ":" in last or "@" in last else f"{image}:latest"


def images_in(archive: Path) -> tuple[str, ...]:
    """The tags an archive carries. Raises UsageError for what is no image archive."""
    try:
        with tarfile.open(archive) as tar:
            entries = _manifest(tar, archive)
    except (OSError, tarfile.TarError) as problem:
        raise UsageError(
            f"{archive}: no image archive ({problem}); expected what `docker save -o FILE` writes"
        ) from None
    return tuple(short_name(tag) for entry in entries for tag in entry.get("RepoTags") or ())


def images_of(contract: Contract, *, also: Iterable[str] = ()) -> tuple[str, ...]:
    """Every image the contract's pods name, server's first, without repetition."""
    found: list[Container] = [contract.server_container]
    for thing in contract.objects:
        template = thing.template if isinstance(thing, StatefulSet) else getattr(thing, "template", None)
        if template is not None:
            found += [*template.containers, *template.init_containers]
    return tuple(dict.fromkeys(short_name(name) for name in (*(c.image for c in found), *also)))


def is_server_image(image: str) -> bool:
    return re.match(r"(?:.*/)?nats:\d", short_name(image)) is not None


def lay_binary_over(image: str, *, base: Path, base_image: str, binary: Path, target: Path) -> Path:
    """Write to `target` an archive of `image`: `base_image` of archive `base` plus one layer with `binary`.

    The same inputs give the same bytes. Raises ClusterError if `base` does not carry `base_image`.
    """
    layer = _layer({SERVER_PATH: binary.read_bytes()})
    layer_name = f"{hashlib.sha256(layer).hexdigest()}.tar"
    with tarfile.open(base) as source:
        entry = _entry(source, base, base_image)
        config = json.loads(_bytes(source, entry["Config"]))
        config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(layer).hexdigest())
        config.setdefault("history", []).append({"created_by": f"natsproof: nats-server of {image}"})
        version = binaries.image_version(image)[0]
        environment = config["config"].get("Env") or []
        config["config"]["Env"] = [
            f"NATS_SERVER={version}" if setting.startswith("NATS_SERVER=") else setting
            for setting in environment
        ]
        encoded = json.dumps(config, sort_keys=True).encode()
        config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
        manifest = [
            {"Config": config_name, "RepoTags": [image], "Layers": [*entry["Layers"], layer_name]},
        ]
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}.partial")  # two runs may build it at once
        with tarfile.open(partial, "w") as out:
            for name in entry["Layers"]:
                _add(out, name, _bytes(source, name))
            _add(out, layer_name, layer)
            _add(out, config_name, encoded)
            _add(out, "manifest.json", json.dumps(manifest).encode())
    partial.replace(target)
    return target


def choose(
    wanted: Sequence[str],
    archives: Sequence[Path],
    *,
    cache: Path,
    export: Callable[[str, Path], bool] = lambda image, file: False,
    server: Callable[[str], binaries.Binary] = binaries.nats_server,
) -> tuple[ImageSource, ...]:
    """Find each wanted image: in an archive, by `export(image, file)` from the engine, or by building.

    `export` answers False where the engine does not have the image; `server(version)` finds the binary
    to build with. Raises ClusterError that names every image which nothing provides.
    """
    carried = {image: archive for archive in reversed(archives) for image in images_in(archive)}
    sources, missing = [], []
    for image in map(short_name, wanted):
        file = cache / (re.sub(r"[^\w.-]", "_", image) + ".tar")
        if image in carried:
            sources.append(ImageSource(image, carried[image], "given", str(carried[image])))
        elif export(image, file):
            sources.append(ImageSource(image, file, "engine", "docker image of this host"))
        elif is_server_image(image) and (base := _server_base(carried)):
            binary = server(binaries.image_version(image)[0])
            lay_binary_over(image, base=carried[base], base_image=base, binary=binary.path, target=file)
            detail = f"{base} with nats-server {binary.version} ({binary.origin}, SHA-256 {binary.sha256})"
            sources.append(ImageSource(image, file, "built", detail))
        else:
            missing.append(image)
    if missing:
        given = ", ".join(map(str, archives)) or "none"
        raise ClusterError(
            f"no source for image {', '.join(missing)}. Looked into the archives given ({given}) and "
            "into the images of the local docker. Pull it, or name an archive with it (--images FILE)"
        )
    return tuple(sources)


def _server_base(carried: Iterable[str]) -> str | None:
    """The newest nats image among the archives: the least distance to the pinned one."""
    bases = [image for image in carried if is_server_image(image)]
    return max(bases, key=lambda i: [int(n) for n in re.findall(r"\d+", i.rsplit(":", 1)[1])], default=None)


def _layer(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            _add(tar, name, content, mode=0o755)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


def _bytes(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    if member is None:
        raise ClusterError(f"{tar.name!r}: {name} is no regular file in the image archive")
    return member.read()


def _manifest(tar: tarfile.TarFile, archive: Path) -> list[dict[str, Any]]:
    try:
        loaded: list[dict[str, Any]] = json.loads(_bytes(tar, "manifest.json"))
    except KeyError:
        raise UsageError(f"{archive}: has no manifest.json; expected what `docker save` writes") from None
    return loaded


def _entry(tar: tarfile.TarFile, archive: Path, image: str) -> dict[str, Any]:
    for entry in _manifest(tar, archive):
        if image in [short_name(tag) for tag in entry.get("RepoTags") or ()]:
            return entry
    raise ClusterError(f"{archive}: does not carry {image}")
